/* Signals, as a daemon takes them. */
#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/daemon.h"
#include "core/log.h"
#include "tests/unit/pairs.h"

struct calls {
    int reloads, stops, children;
    struct event_base *base;
};

static void on_reload(void *arg)
{
    ((struct calls *)arg)->reloads++;
}

static void on_stop(void *arg)
{
    ((struct calls *)arg)->stops++;
}

static void on_child(void *arg)
{
    ((struct calls *)arg)->children++;
}

struct scene {
    struct event_base *base;
    struct daemon *daemon;
    struct calls calls;
    size_t descriptors;
};

static void scene_start(struct scene *s, void (*child)(void *arg))
{
    *s = (struct scene){.descriptors = descriptors_open()};
    s->base = event_base_new();
    const struct daemon_handlers handlers = {
        .reload = on_reload, .stop = on_stop, .child = child, .arg = &s->calls};
    s->daemon = daemon_new(s->base, &handlers);
    assert_non_null(s->daemon);
}

static void scene_end(struct scene *s)
{
    daemon_free(s->daemon);
    event_base_free(s->base);
    assert_int_equal(descriptors_open(), s->descriptors);
}

/* A signal to ourselves is there when raise() returns; the loop hears of it in one turn. */
static void take(struct scene *s, int signal)
{
    assert_int_equal(raise(signal), 0);
    event_base_loop(s->base, EVLOOP_ONCE);
}

static void expect_calls(struct scene *s, int reloads, int stops, int children)
{
    assert_int_equal(s->calls.reloads, reloads);
    assert_int_equal(s->calls.stops, stops);
    assert_int_equal(s->calls.children, children);
}

static void hangup_reloads(void **state)
{
    struct scene s;

    scene_start(&s, on_child);
    for (int i = 1; i < 4; i++) {
        take(&s, SIGHUP);
        expect_calls(&s, i, 0, 0);
    }
    assert_false(event_base_got_break(s.base));
    scene_end(&s);
}

/* The first asks to stop; a second, of either kind, ends the loop at once, and asks nobody. */
static void a_second_signal_stops_at_once(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT};

    for (int i = 0; i < 4; i++) {
        struct scene s;
        scene_start(&s, NULL);
        take(&s, signals[i / 2]);
        expect_calls(&s, 0, 1, 0);
        assert_false(event_base_got_break(s.base));
        log_set_level(LOG_LEVEL_ERROR);
        take(&s, signals[i % 2]);
        log_set_level(LOG_LEVEL_INFO);
        expect_calls(&s, 0, 1, 0);
        assert_true(event_base_got_break(s.base));
        scene_end(&s);
    }
}

static void a_reload_while_stopping_is_no_second_signal(void **state)
{
    struct scene s;

    scene_start(&s, NULL);
    take(&s, SIGTERM);
    take(&s, SIGHUP);
    expect_calls(&s, 1, 1, 0);
    assert_false(event_base_got_break(s.base));
    scene_end(&s);
}

static void children_are_told_of(void **state)
{
    for (int wanted = 0; wanted < 2; wanted++) {
        struct scene s;
        int status;
        scene_start(&s, wanted ? on_child : NULL);
        pid_t pid = fork();
        if (pid == 0)
            _exit(3);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), 3);
        event_base_loop(s.base, EVLOOP_ONCE);
        expect_calls(&s, 0, 0, wanted);
        scene_end(&s);
    }
}

static void a_broken_pipe_does_not_kill(void **state)
{
    struct scene s;

    signal(SIGPIPE, SIG_DFL);
    scene_start(&s, NULL);
    struct pair pair = pair_new(PAIR_UNIX);
    close(pair.b);
    assert_int_equal(write(pair.a, "x", 1), -1);
    close(pair.a);
    scene_end(&s);
}

static void a_signal_after_the_end_changes_nothing(void **state)
{
    struct scene s;

    scene_start(&s, NULL);
    scene_end(&s);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(raise(SIGINT), 0);
}

static void frees_nothing(void **state)
{
    daemon_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hangup_reloads),
        cmocka_unit_test(a_second_signal_stops_at_once),
        cmocka_unit_test(a_reload_while_stopping_is_no_second_signal),
        cmocka_unit_test(children_are_told_of),
        cmocka_unit_test(a_broken_pipe_does_not_kill),
        cmocka_unit_test(a_signal_after_the_end_changes_nothing),
        cmocka_unit_test(frees_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
