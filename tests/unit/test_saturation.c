/* When a dearer uplink is to help, and when it is to stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/saturation.h"

#define MBIT 1000000ull
#define STEP_MS 50 /* windows of the uplinks end at different times */

enum { DSL, LTE, SATELLITE, N };

static struct saturation s[N];
static struct capacity capacities[N];
static struct saturation_view views[N];
static uint64_t now_ms;
static unsigned changes;

static int start(void **state)
{
    memset(s, 0, sizeof(s));
    memset(capacities, 0, sizeof(capacities));
    for (size_t i = 0; i < N; i++)
        views[i] = (struct saturation_view){
            .usable = true, .cost = (uint32_t)i * 10, .capacity = &capacities[i]};
    for (size_t i = 0; i < N; i++)
        capacities[i].since_us = 1; /* somebody looks */
    capacities[DSL].down = (struct capacity_way){.bps = 50 * MBIT, .proven = true};
    now_ms = 1000;
    saturation_judge(s, views, N, now_ms);
    changes = 0;
    return 0;
}

static void set(size_t i, uint64_t mbps, bool full)
{
    capacities[i].down.rate_bps = mbps * MBIT;
    capacities[i].up.rate_bps = mbps * MBIT / 40;
    capacities[i].full = full;
}

static void run(uint64_t ms)
{
    for (uint64_t end_ms = now_ms + ms; now_ms < end_ms;) {
        now_ms += STEP_MS;
        changes += saturation_judge(s, views, N, now_ms);
    }
}

static void saturate(void)
{
    set(DSL, 50, true);
    run(1000);
    assert_true(s[DSL].saturated);
    set(LTE, 60, true);
}

static void a_page_is_no_reason(void **state)
{
    for (int i = 0; i < 20; i++) {
        set(DSL, 50, true);
        run(250);
        set(DSL, 0, false);
        run(500);
    }
    assert_int_equal(changes, 0);
}

static void a_download_is(void **state)
{
    set(DSL, 50, true);
    run(200);
    set(DSL, 48, false); /* a moment in which the sender recovers */
    run(50);
    set(DSL, 50, true);
    run(200);
    assert_true(s[DSL].saturated);
    assert_false(s[LTE].saturated);
    run(60000);
    assert_int_equal(changes, 1);
}

/* Both half empty: together they carry what the cheaper one can. */
static void less_demand_ends_it(void **state)
{
    saturate();
    run(2000);
    set(DSL, 12, false);
    set(LTE, 8, false);
    run(900);
    assert_true(s[DSL].saturated);
    run(200);
    assert_false(s[DSL].saturated);
    set(DSL, 20, false);
    set(LTE, 0, false);
    run(60000);
    assert_int_equal(changes, 3); /* it, the dearer one, and its end; both ended at once */
}

static void demand_that_goes_on_does_not(void **state)
{
    saturate();
    set(DSL, 40, false); /* not full for once: both together are far from done */
    set(LTE, 55, false);
    run(4000);
    assert_true(s[DSL].saturated);
    set(DSL, 30, true); /* little, but a queue */
    set(LTE, 5, false);
    run(60000);
    assert_true(s[DSL].saturated);
}

static void each_direction_must_fit(void **state)
{
    capacities[DSL].up = (struct capacity_way){.bps = 10 * MBIT, .proven = true};
    saturate();
    set(DSL, 10, false);
    set(LTE, 10, false);
    capacities[LTE].up.rate_bps = 15 * MBIT;
    run(4000);
    assert_true(s[DSL].saturated);
    capacities[LTE].up.rate_bps = 5 * MBIT;
    run(1100);
    assert_false(s[DSL].saturated);
}

/* What was proven is history, or what the other carries is pinned there. */
static void a_try_that_fails_is_not_repeated_soon(void **state)
{
    uint64_t wait_ms = 5000;

    saturate();
    for (int i = 0; i < 10; i++) {
        set(DSL, 30, false);
        set(LTE, 30, false);
        run(wait_ms - 200);
        assert_true(s[DSL].saturated);
        run(400);
        assert_false(s[DSL].saturated);
        set(DSL, 50, true);
        run(500);
        assert_true(s[DSL].saturated);
        wait_ms = i < 6 ? 2 * wait_ms : wait_ms;
    }
    assert_int_equal(wait_ms, 320000);
    set(DSL, 30, false);
    run(wait_ms + 200);
    assert_false(s[DSL].saturated);
    run(5000);
    saturate(); /* long after: that try was not in vain */
    set(DSL, 30, false);
    run(5200);
    assert_false(s[DSL].saturated);
}

static void repeated_bursts_need_more(void **state)
{
    uint64_t patience_ms[] = {300, 600, 1200, 2400, 2400};

    for (int i = 0; i < 5; i++) {
        set(DSL, 50, true);
        run(patience_ms[i] - STEP_MS);
        assert_false(s[DSL].saturated);
        run(STEP_MS);
        assert_true(s[DSL].saturated);
        set(DSL, 0, false);
        run(1100);
        assert_false(s[DSL].saturated);
    }
    set(DSL, 50, true);
    run(6000); /* this one was worth it */
    set(DSL, 0, false);
    run(2000);
    set(DSL, 50, true);
    run(300);
    assert_true(s[DSL].saturated);
    set(DSL, 0, false);
    run(1100);
    now_ms += 300000; /* and bursts are forgotten */
    set(DSL, 50, true);
    run(400);
    assert_true(s[DSL].saturated);
}

static void a_pause_ends_it(void **state)
{
    saturate();
    set(DSL, 0, false);
    set(LTE, 0, false);
    now_ms += 3600000;
    saturation_judge(s, views, N, now_ms);
    assert_false(s[DSL].saturated);
    set(DSL, 50, true);
    saturation_judge(s, views, N, now_ms += 3600000); /* full, but not for an hour */
    assert_false(s[DSL].saturated);
}

/* The next piece of a film must find it so. */
static void it_ends_with_the_last_flow(void **state)
{
    saturate();
    set(DSL, 0, false);
    set(LTE, 0, false);
    run(500);
    for (size_t i = 0; i < N; i++) {
        assert_true(s[DSL].saturated);
        capacity_rest(&capacities[i]);
        run(STEP_MS);
    }
    assert_false(s[DSL].saturated);
    assert_int_equal(s[DSL].bursts, 1);
}

/* The third opens when the second is full, too, and ends when both would do. */
static void tiers_follow_each_other(void **state)
{
    saturate();
    capacities[LTE].down = (struct capacity_way){.bps = 60 * MBIT, .proven = true};
    run(1000);
    assert_true(s[DSL].saturated && s[LTE].saturated);
    set(SATELLITE, 20, false);
    set(DSL, 35, false);
    set(LTE, 40, false);
    run(1200);
    assert_true(s[DSL].saturated);
    assert_false(s[LTE].saturated);
}

static void equals_share_what_there_is(void **state)
{
    views[LTE].cost = 0;
    capacities[LTE].down = (struct capacity_way){.bps = 60 * MBIT, .proven = true};
    saturate();
    set(DSL, 40, false);
    set(LTE, 40, false);
    run(1200);
    assert_false(s[DSL].saturated);
}

static void what_is_dead_counts_for_nothing(void **state)
{
    capacities[LTE].down = (struct capacity_way){.bps = 60 * MBIT, .proven = true};
    views[LTE].cost = 0;
    views[LTE].usable = false;
    saturate();
    set(LTE, 0, false);
    set(DSL, 10, false);
    set(SATELLITE, 40, false);
    run(4000);
    assert_true(s[DSL].saturated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_page_is_no_reason, start),
        cmocka_unit_test_setup(a_download_is, start),
        cmocka_unit_test_setup(less_demand_ends_it, start),
        cmocka_unit_test_setup(demand_that_goes_on_does_not, start),
        cmocka_unit_test_setup(each_direction_must_fit, start),
        cmocka_unit_test_setup(a_try_that_fails_is_not_repeated_soon, start),
        cmocka_unit_test_setup(repeated_bursts_need_more, start),
        cmocka_unit_test_setup(a_pause_ends_it, start),
        cmocka_unit_test_setup(it_ends_with_the_last_flow, start),
        cmocka_unit_test_setup(tiers_follow_each_other, start),
        cmocka_unit_test_setup(equals_share_what_there_is, start),
        cmocka_unit_test_setup(what_is_dead_counts_for_nothing, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
