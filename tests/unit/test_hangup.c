/* Resets, noticed on sockets that nobody reads. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/hangup.h"
#include "core/list.h"
#include "core/mptcp.h"
#include "tests/unit/netns.h"
#include "tests/unit/pairs.h"

#define WAIT_MS 5000

struct watched {
    struct hangup hangup;
    struct hangup_watch *watch;
    int calls;
    /* What the callback closes, as the end of one relay closes two sockets. */
    int closes[2];
};

struct scene {
    struct event_base *base;
    struct hangup_watch *watch;
    struct pair pair;
    struct watched at;
    size_t descriptors;
};

static void on_hangup(struct hangup *hangup)
{
    struct watched *w = list_entry(hangup, struct watched, hangup);

    w->calls++;
    for (int i = 0; i < 2; i++) {
        if (w->closes[i] == -1)
            continue;
        hangup_remove(w->watch, w->closes[i]);
        close(w->closes[i]);
        w->closes[i] = -1;
    }
}

static struct watched watched(void)
{
    return (struct watched){.hangup.on_hangup = on_hangup, .closes = {-1, -1}};
}

static void scene_start(struct scene *s, enum pair_kind kind)
{
    s->descriptors = descriptors_open();
    s->base = event_base_new();
    s->watch = hangup_watch_new(s->base);
    assert_non_null(s->watch);
    s->pair = pair_new(kind);
    s->at = watched();
    assert_int_equal(hangup_add(s->watch, s->pair.a, &s->at.hangup), 0);
}

static void drop(int *fd)
{
    if (*fd != -1)
        close(*fd);
    *fd = -1;
}

static void scene_end(struct scene *s)
{
    drop(&s->pair.a);
    drop(&s->pair.b);
    hangup_watch_free(s->watch);
    event_base_free(s->base);
    assert_int_equal(descriptors_open(), s->descriptors);
}

/* All that is there to be told. */
static void settle(struct scene *s)
{
    for (int i = 0; i < 3; i++)
        event_base_loop(s->base, EVLOOP_NONBLOCK);
}

static void until_called(struct scene *s, struct watched *w)
{
    static const struct timeval patience = {.tv_sec = WAIT_MS / 1000};
    uint64_t deadline = clock_now_ms() + WAIT_MS;

    while (w->calls == 0 && clock_now_ms() < deadline) {
        event_base_loopexit(s->base, &patience);
        event_base_loop(s->base, EVLOOP_ONCE);
    }
    assert_int_equal(w->calls, 1);
}

static void reset_other(struct scene *s)
{
    mptcp_reset(s->pair.b);
    s->pair.b = -1;
}

static int error_of(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
    return error;
}

static void fill(int fd)
{
    static const char block[65536];

    while (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
}

static void tells_of_a_reset(void **state)
{
    for (enum pair_kind kind = PAIR_TCP; kind <= PAIR_MPTCP; kind++) {
        for (int how = 0; how < 5; how++) {
            struct scene s;
            scene_start(&s, kind);
            if (how == 1 || how == 3)
                fill(s.pair.a);
            if (how == 2 || how == 3)
                fill(s.pair.b);
            if (how == 4)
                shutdown(s.pair.a, SHUT_WR);
            settle(&s);
            assert_int_equal(s.at.calls, 0);
            reset_other(&s);
            until_called(&s, &s.at);
            assert_int_equal(error_of(s.pair.a), ECONNRESET);
            settle(&s);
            assert_int_equal(s.at.calls, 1);
            scene_end(&s);
        }
    }
}

/* The peer ended its direction before: TCP says EPIPE then. */
static void tells_of_a_reset_behind_an_end(void **state)
{
    for (enum pair_kind kind = PAIR_TCP; kind <= PAIR_MPTCP; kind++) {
        struct scene s;
        char byte;
        scene_start(&s, kind);
        shutdown(s.pair.b, SHUT_WR);
        while (recv(s.pair.a, &byte, 1, 0) != 0)
            assert_int_equal(errno, EAGAIN);
        settle(&s);
        assert_int_equal(s.at.calls, 0);
        reset_other(&s);
        until_called(&s, &s.at);
        assert_int_not_equal(error_of(s.pair.a), 0);
        scene_end(&s);
    }
}

/* Both directions ended in order: that is told, too, and it is no error. */
static void an_orderly_end_is_no_error(void **state)
{
    struct scene s;

    scene_start(&s, PAIR_TCP);
    shutdown(s.pair.a, SHUT_WR);
    shutdown(s.pair.b, SHUT_WR);
    until_called(&s, &s.at);
    assert_int_equal(error_of(s.pair.a), 0);
    scene_end(&s);
}

static void data_is_no_hangup(void **state)
{
    struct scene s;

    scene_start(&s, PAIR_TCP);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(send(s.pair.b, "data", 4, 0), 4);
        settle(&s);
    }
    assert_int_equal(s.at.calls, 0);
    scene_end(&s);
}

static void removed_is_not_called(void **state)
{
    struct scene s;

    scene_start(&s, PAIR_TCP);
    hangup_remove(s.watch, s.pair.a);
    hangup_remove(s.watch, s.pair.a);
    reset_other(&s);
    settle(&s);
    assert_int_equal(s.at.calls, 0);
    scene_end(&s);
}

/* Many hang up together, and the first one closes the others: they are not called. */
static void closed_meanwhile_is_not_called(void **state)
{
    struct scene s;

    scene_start(&s, PAIR_TCP);
    struct pair second = pair_new(PAIR_TCP), third = pair_new(PAIR_TCP);
    struct watched others[2] = {watched(), watched()};
    assert_int_equal(hangup_add(s.watch, second.a, &others[0].hangup), 0);
    assert_int_equal(hangup_add(s.watch, third.a, &others[1].hangup), 0);
    s.at.watch = others[0].watch = others[1].watch = s.watch;
    s.at.closes[0] = second.a;
    s.at.closes[1] = third.a;
    others[0].closes[0] = s.pair.a;
    others[0].closes[1] = third.a;
    others[1].closes[0] = s.pair.a;
    others[1].closes[1] = second.a;
    reset_other(&s);
    mptcp_reset(second.b);
    mptcp_reset(third.b);
    settle(&s);
    assert_int_equal(s.at.calls + others[0].calls + others[1].calls, 1);
    drop(s.at.calls ? &s.pair.a : others[0].calls ? &second.a : &third.a);
    s.pair.a = -1;
    scene_end(&s);
}

static void a_reset_before_adding_is_told(void **state)
{
    struct scene s;

    scene_start(&s, PAIR_TCP);
    struct pair late = pair_new(PAIR_TCP);
    struct watched at = watched();
    mptcp_reset(late.b);
    assert_int_equal(hangup_add(s.watch, late.a, &at.hangup), 0);
    until_called(&s, &at);
    close(late.a);
    scene_end(&s);
}

static void refuses_what_cannot_be_watched(void **state)
{
    struct scene s;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    scene_start(&s, PAIR_UNIX);
    assert_int_equal(hangup_add(s.watch, -1, &s.at.hangup), -EBADF);
    assert_int_equal(hangup_add(s.watch, null, &s.at.hangup), -EPERM);
    assert_int_equal(hangup_add(s.watch, s.pair.a, &s.at.hangup), -EEXIST);
    hangup_remove(s.watch, -1);
    scene_end(&s);
    close(null);
    hangup_watch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_of_a_reset),
        cmocka_unit_test(tells_of_a_reset_behind_an_end),
        cmocka_unit_test(an_orderly_end_is_no_error),
        cmocka_unit_test(data_is_no_hangup),
        cmocka_unit_test(removed_is_not_called),
        cmocka_unit_test(closed_meanwhile_is_not_called),
        cmocka_unit_test(a_reset_before_adding_is_told),
        cmocka_unit_test(refuses_what_cannot_be_watched),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
