/* What goes first does not wait until all others have had their turn. */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/loop.h"

#define BUSY 300 /* always readable, and each takes its time */
#define TAKES_US 1000
#define ROUNDS 3 /* of all of them; behind the first there is something to do that goes first */
#define SOON 10  /* of them may be had before it: 10 ms */

struct scene {
    struct event_base *base;
    struct event *busy[BUSY], *first;
    int pair[2];  /* readable by those that are busy */
    int alarm[2]; /* by the one that goes first */
    unsigned turns[BUSY], had, asked_at, waited;
};

static uint64_t now_us = 1000000;

/* libevent's clock, too: time passes by what is done, whatever else the machine does. The kernel's
 * coarse clock, which libevent asks, stands still while a virtual machine is not scheduled. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    now->tv_sec = (time_t)(now_us / 1000000);
    now->tv_nsec = (long)(now_us % 1000000 * 1000);
    return 0;
}

struct turn {
    struct scene *scene;
    unsigned *turns;
};

static void on_busy(evutil_socket_t fd, short what, void *arg)
{
    struct turn *turn = arg;
    struct scene *s = turn->scene;

    now_us += TAKES_US;
    ++*turn->turns;
    if (++s->had == BUSY + 1) { /* a look has just been taken */
        assert_int_equal(write(s->alarm[1], "", 1), 1);
        s->asked_at = s->had;
    }
    if (s->had == ROUNDS * BUSY)
        event_base_loopbreak(s->base);
}

static void on_alarm(evutil_socket_t fd, short what, void *arg)
{
    struct scene *s = arg;
    char byte;

    assert_int_equal(read(fd, &byte, 1), 1);
    s->waited = s->had - s->asked_at;
}

static void listen_to_alarm(struct scene *s, bool goes_first)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s->alarm), 0);
    s->first = event_new(s->base, s->alarm[0], EV_READ | EV_PERSIST, on_alarm, s);
    if (goes_first)
        loop_goes_first(s->first);
    assert_int_equal(event_add(s->first, NULL), 0);
}

/* How many of the others were had before it. */
static unsigned run(struct scene *s, bool goes_first)
{
    static struct turn turns[BUSY];

    *s = (struct scene){.base = loop_new()};
    assert_non_null(s->base);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s->pair), 0);
    assert_int_equal(write(s->pair[1], "", 1), 1);
    for (int i = 0; i < BUSY; i++) {
        turns[i] = (struct turn){s, &s->turns[i]};
        s->busy[i] = event_new(s->base, dup(s->pair[0]), EV_READ | EV_PERSIST, on_busy, &turns[i]);
        assert_int_equal(event_add(s->busy[i], NULL), 0);
    }
    listen_to_alarm(s, goes_first);
    assert_int_equal(event_base_dispatch(s->base), 0);
    return s->waited;
}

static void end(struct scene *s)
{
    for (int i = 0; i < BUSY; i++) {
        close(event_get_fd(s->busy[i]));
        event_free(s->busy[i]);
    }
    event_free(s->first);
    event_base_free(s->base);
    for (int i = 0; i < 2; i++) {
        close(s->pair[i]);
        close(s->alarm[i]);
    }
}

static void test_what_goes_first(void **state)
{
    struct scene s;

    assert_in_range(run(&s, true), 0, SOON);
    end(&s);
}

/* It is the loop's doing, not chance. */
static void test_what_does_not(void **state)
{
    struct scene s;

    assert_in_range(run(&s, false), BUSY / 2, ROUNDS * BUSY);
    end(&s);
}

static void test_the_others_take_turns(void **state)
{
    struct scene s;

    run(&s, true);
    for (int i = 0; i < BUSY; i++)
        assert_in_range(s.turns[i], ROUNDS - 1, ROUNDS + 1);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_goes_first),
        cmocka_unit_test(test_what_does_not),
        cmocka_unit_test(test_the_others_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
