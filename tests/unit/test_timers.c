/* Room for timers: those there is room for run, whatever memory is left. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/timers.h"

#define MANY 1000

/* libevent's memory: as long as there is some. */
static bool memory_is_short;

static void *event_malloc(size_t size)
{
    return memory_is_short ? NULL : malloc(size);
}

static void *event_realloc(void *old, size_t size)
{
    return memory_is_short ? NULL : realloc(old, size);
}

struct scene {
    struct timers timers;
    struct event *of[MANY];
};

static void never(evutil_socket_t fd, short what, void *arg)
{
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));

    memory_is_short = false;
    s->timers.base = event_base_new();
    for (size_t i = 0; i < MANY; i++)
        s->of[i] = evtimer_new(s->timers.base, never, NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    for (size_t i = 0; i < MANY; i++)
        event_free(s->of[i]);
    event_base_free(s->timers.base);
    free(s);
    return 0;
}

static size_t count_that_run(struct scene *s)
{
    static const struct timeval hour = {.tv_sec = 3600};
    size_t n = 0;

    while (n < MANY && event_add(s->of[n], &hour) == 0)
        n++;
    return n;
}

static void a_timer_needs_memory(void **state)
{
    memory_is_short = true;
    assert_int_equal(count_that_run(*state), 0);
}

static void those_there_is_room_for_need_none(void **state)
{
    struct scene *s = *state;

    assert_int_equal(timers_reserve(&s->timers, 100), 0);
    assert_int_equal(timers_reserve(&s->timers, MANY), 0);
    memory_is_short = true;
    assert_int_equal(count_that_run(s), MANY);
    assert_int_equal(event_base_get_num_events(s->timers.base, EVENT_BASE_COUNT_ADDED), MANY);
}

static void room_that_cannot_be_made_leaves_what_there_is(void **state)
{
    struct scene *s = *state;

    assert_int_equal(timers_reserve(&s->timers, 100), 0);
    memory_is_short = true;
    assert_int_equal(timers_reserve(&s->timers, MANY), -ENOMEM);
    assert_int_equal(event_base_get_num_events(s->timers.base, EVENT_BASE_COUNT_ADDED), 0);
    assert_int_equal(timers_reserve(&s->timers, 100), 0);
    assert_in_range(count_that_run(s), 100, MANY - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_timer_needs_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(those_there_is_room_for_need_none, setup, teardown),
        cmocka_unit_test_setup_teardown(room_that_cannot_be_made_leaves_what_there_is, setup,
                                        teardown),
    };

    event_set_mem_functions(event_malloc, event_realloc, free);
    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
