/* What is kept of the changes, what is held back of those that flap, and that the newest state
 * always comes out. Time is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/events.h"
#include "core/events_limit.h"

static uint64_t now_ms, wall_ms;

uint64_t __wrap_clock_now_ms(void);
uint64_t __wrap_clock_boot_ms(void);
uint64_t __wrap_clock_wall_ms(void);

uint64_t __wrap_clock_now_ms(void)
{
    return now_ms;
}

uint64_t __wrap_clock_boot_ms(void)
{
    return now_ms;
}

uint64_t __wrap_clock_wall_ms(void)
{
    return wall_ms;
}

struct lab {
    struct event_base *base;
    struct events *events;
};

static int lab_up(void **state)
{
    struct lab *lab = calloc(1, sizeof(*lab));

    now_ms = 41250;
    wall_ms = UINT64_C(1795888882125);
    lab->base = event_base_new();
    lab->events = events_new(lab->base);
    assert_non_null(lab->events);
    *state = lab;
    return 0;
}

static int lab_down(void **state)
{
    struct lab *lab = *state;

    events_free(lab->events);
    event_base_free(lab->base);
    free(lab);
    return 0;
}

static void add(struct events *events, const char *name, const char *what)
{
    const struct event_note note = {.kind = "uplink", .name = name, .what = what};

    events_add(events, &note);
}

static void add_numbered(struct events *events, const char *name, int i)
{
    char what[16];

    snprintf(what, sizeof(what), "state-%d", i);
    add(events, name, what);
}

static void assert_newest(const struct events *events, const char *part)
{
    const char *line = events_line(events, events_newest(events));

    assert_non_null(line);
    if (!strstr(line, part))
        fail_msg("no %s in %s", part, line);
}

/* ---- the limit ---- */

static void ten_in_any_ten_seconds(void **state)
{
    struct events_limit limit = {0};
    uint32_t held;

    /* One each 100 ms for a minute: whatever window of 10 s one looks at. */
    uint64_t passed_ms[600];
    size_t n = 0;
    for (uint64_t ms = 5; ms < 60000; ms += 100) {
        if (events_limit_pass(&limit, ms, &held))
            passed_ms[n++] = ms;
    }
    for (size_t i = 10; i < n; i++)
        assert_true(passed_ms[i] - passed_ms[i - 10] >= 10000);
    assert_int_equal(n, 60);
    assert_int_equal(events_limit_last_ms(&limit), passed_ms[n - 1]);
    assert_int_equal(events_limit_opens_ms(&limit), passed_ms[n - 10] + 10000);
}

static void what_was_held_back_is_counted_once(void **state)
{
    struct events_limit limit = {0};
    uint32_t held;

    assert_int_equal(events_limit_last_ms(&limit), 0);
    for (int i = 0; i < 10; i++) {
        assert_true(events_limit_pass(&limit, 1000, &held));
        assert_int_equal(held, 0);
    }
    for (int i = 0; i < 7; i++)
        assert_false(events_limit_pass(&limit, 10999, &held));
    assert_true(events_limit_pass(&limit, 11000, &held));
    assert_int_equal(held, 7);
    assert_true(events_limit_pass(&limit, 11000, &held));
    assert_int_equal(held, 0);
}

/* ---- the log ---- */

static void an_event_is_a_line(void **state)
{
    struct lab *lab = *state;
    struct event_note note = {.kind = "uplink",
                              .name = "dsl",
                              .what = "down",
                              .before = "up",
                              .reason = "no carrier",
                              .figures = json_tokener_parse("{\"rtt_ms\":20.125,\"n\":3}")};

    assert_int_equal(events_newest(lab->events), 0);
    assert_null(events_line(lab->events, 0));
    events_add(lab->events, &note);
    assert_string_equal(
        events_line(lab->events, 1),
        "{\"seq\":1,\"time\":\"2026-11-28T18:01:22.125Z\",\"boot_s\":41.25,\"kind\":\"uplink\","
        "\"name\":\"dsl\",\"what\":\"down\",\"before\":\"up\",\"reason\":\"no carrier\","
        "\"figures\":{\"rtt_ms\":20.125,\"n\":3}}");
    wall_ms = 7;
    add(lab->events, "lte", "up");
    assert_string_equal(events_line(lab->events, 2),
                        "{\"seq\":2,\"time\":\"1970-01-01T00:00:00.007Z\",\"boot_s\":41.25,"
                        "\"kind\":\"uplink\",\"name\":\"lte\",\"what\":\"up\",\"before\":\"\","
                        "\"reason\":\"\"}");
    assert_null(events_line(lab->events, 3));
}

static void nobody_needs_to_listen(void **state)
{
    struct event_note note = {.kind = "uplink", .figures = json_object_new_object()};

    events_add(NULL, &note);
    events_free(NULL);
}

static void the_last_256_are_kept(void **state)
{
    struct lab *lab = *state;

    for (int i = 1; i <= 300; i++) {
        now_ms += 1000;
        add_numbered(lab->events, "dsl", i);
    }
    assert_int_equal(events_newest(lab->events), 300);
    assert_null(events_line(lab->events, 44));
    for (int i = 45; i <= 300; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "\"what\":\"state-%d\"", i);
        assert_non_null(strstr(events_line(lab->events, (uint64_t)i), expected));
    }
}

/* So that the ring is bounded, whatever comes. */
static void a_long_event_leaves_out_the_figures(void **state)
{
    struct lab *lab = *state;
    char reason[4096];
    struct event_note note = {.kind = "uplink", .name = "dsl", .what = "down", .reason = "short"};

    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    note.figures = json_object_new_object();
    json_object_object_add(note.figures, "text", json_object_new_string(reason));
    events_add(lab->events, &note);
    assert_newest(lab->events, "\"reason\":\"short\"}");
    note.figures = NULL;
    note.reason = reason;
    events_add(lab->events, &note);
    assert_newest(lab->events, "\"before\":\"\"}");
    assert_int_equal(events_newest(lab->events), 2);
}

/* ---- what flaps ---- */

static void what_flaps_is_held_back(void **state)
{
    struct lab *lab = *state;

    for (int i = 1; i <= 50; i++)
        add_numbered(lab->events, "dsl", i);
    assert_int_equal(events_newest(lab->events), 10);
    assert_newest(lab->events, "\"what\":\"state-10\"");
    add(lab->events, "lte", "up"); /* another one is heard */
    assert_int_equal(events_newest(lab->events), 11);
    now_ms += 10000;
    add(lab->events, "dsl", "last");
    assert_int_equal(events_newest(lab->events), 12);
    assert_newest(lab->events, "\"what\":\"last\"");
    assert_newest(lab->events, "\"held\":40}");
    events_release(lab->events);
    assert_int_equal(events_newest(lab->events), 12);
}

static void the_newest_state_comes_out_when_the_time_is_over(void **state)
{
    struct lab *lab = *state;

    for (int i = 1; i <= 50; i++)
        add_numbered(lab->events, "dsl", i);
    now_ms += 9999;
    wall_ms += 9999;
    events_release(lab->events);
    assert_int_equal(events_newest(lab->events), 10);
    now_ms++;
    wall_ms++;
    events_release(lab->events);
    assert_int_equal(events_newest(lab->events), 11);
    assert_newest(lab->events, "\"what\":\"state-50\"");
    assert_newest(lab->events, "\"held\":39}");
    assert_newest(lab->events, "18:01:22.125Z"); /* when it happened */
    events_release(lab->events);
    assert_int_equal(events_newest(lab->events), 11);
}

/* The one that comes late is the only one: nothing is left out. */
static void one_held_back_is_only_late(void **state)
{
    struct lab *lab = *state;

    for (int i = 1; i <= 11; i++)
        add_numbered(lab->events, "dsl", i);
    now_ms += 10000;
    events_release(lab->events);
    assert_newest(lab->events, "\"what\":\"state-11\"");
    assert_null(strstr(events_line(lab->events, 11), "held"));
}

/* Of a thousand names, all are heard, and none that was held back is lost. */
static void more_sources_than_places(void **state)
{
    struct lab *lab = *state;
    bool found = false;

    for (int i = 1; i <= 12; i++)
        add_numbered(lab->events, "dsl", i);
    for (int i = 1; i <= 70; i++) {
        now_ms++;
        add_numbered(lab->events, "other", i);
        char name[16];
        snprintf(name, sizeof(name), "flow-%d", i);
        add(lab->events, name, "up");
    }
    for (uint64_t seq = 1; seq <= events_newest(lab->events); seq++)
        found |= strstr(events_line(lab->events, seq), "\"what\":\"state-12\"") != NULL;
    assert_true(found);
    assert_newest(lab->events, "\"name\":\"flow-70\"");
}

/* With the real timer, which must be armed for as long as it takes. */
static void the_timer_is_armed(void **state)
{
    struct lab *lab = *state;

    assert_int_equal(event_base_get_num_events(lab->base, EVENT_BASE_COUNT_ADDED), 0);
    for (int i = 1; i <= 11; i++)
        add_numbered(lab->events, "dsl", i);
    assert_int_equal(event_base_get_num_events(lab->base, EVENT_BASE_COUNT_ADDED), 1);
    now_ms += 9995;
    add_numbered(lab->events, "dsl", 12); /* rearms it: 5 ms are left */
    now_ms += 5;
    event_base_loop(lab->base, EVLOOP_ONCE);
    assert_newest(lab->events, "\"what\":\"state-12\"");
    assert_int_equal(event_base_get_num_events(lab->base, EVENT_BASE_COUNT_ADDED), 0);
}

#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, lab_up, lab_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_in_any_ten_seconds),
        cmocka_unit_test(what_was_held_back_is_counted_once),
        LAB_TEST(an_event_is_a_line),
        cmocka_unit_test(nobody_needs_to_listen),
        LAB_TEST(the_last_256_are_kept),
        LAB_TEST(a_long_event_leaves_out_the_figures),
        LAB_TEST(what_flaps_is_held_back),
        LAB_TEST(the_newest_state_comes_out_when_the_time_is_over),
        LAB_TEST(one_held_back_is_only_late),
        LAB_TEST(more_sources_than_places),
        LAB_TEST(the_timer_is_armed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
