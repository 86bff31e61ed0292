/* Which uplinks would slow a bond: what was measured, and what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/worth.h"

#define MBIT 1000000ull

static struct worth w[2];
/* What the first carries while the second stands by; 0: as much as beside it. */
static uint64_t freed_bps;
/* What it carries less every other second. */
static uint64_t dip_bps;

static int start(void **state)
{
    memset(w, 0, sizeof(w));
    freed_bps = dip_bps = 0;
    return 0;
}

/* For so many seconds; true when anything changed. */
static bool run(const struct worth_view views[2], uint64_t from_s, uint64_t seconds)
{
    bool changed = false;

    for (uint64_t s = from_s; s < from_s + seconds; s++) {
        struct worth_view now[2] = {views[0], views[1]};
        if (worth_is_slow(&w[1])) {
            now[0].bps = freed_bps ? freed_bps : now[0].bps;
            now[1].bps = 0;
        }
        now[0].bps -= s % 2 ? 0 : dip_bps;
        changed |= worth_judge(w, now, 2, s * 1000);
    }
    return changed;
}

/* An uplink that is full. */
static struct worth_view full(uint64_t mbps, uint32_t rtt_ms, uint32_t loss_permille)
{
    return (struct worth_view){.usable = true,
                               .bps = mbps * MBIT,
                               .full = true,
                               .min_rtt_us = rtt_ms * 1000,
                               .loss_permille = loss_permille};
}

/* One that was never full: its losses are not of its own making. */
static struct worth_view lossy(uint64_t mbps, uint32_t rtt_ms, uint32_t loss_permille)
{
    struct worth_view view = full(mbps, rtt_ms, loss_permille);

    view.full = false;
    return view;
}

/* What was carried counts for more than what should have been. */
static void a_full_one_is_what_it_carries(void **state)
{
    const struct worth_view views[2] = {full(48, 20, 0), full(56, 60, 10)};

    assert_false(run(views, 1, 100));
}

static void comparable_ones_take_part(void **state)
{
    const struct worth_view homes[][2] = {
        {full(50, 20, 0), full(60, 60, 0)},
        {full(16, 30, 0), full(50, 60, 0)},
        {full(300, 10, 0), full(100, 50, 0)},
        {full(43, 206, 0), full(4, 6, 0)}, /* small, but near */
        {full(57, 30, 0), full(8, 35, 0)}, /* or as far */
    };

    for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
        memset(w, 0, sizeof(w));
        assert_false(run(homes[i], 1, 100));
    }
}

/* On a far one TCP takes its time to begin: what it carries meanwhile says nothing, unless it loses
 * packets, or is full already. */
static void who_has_just_begun_is_given_time(void **state)
{
    struct worth_view views[2] = {full(140, 160, 0), lossy(2, 435, 0)};

    assert_false(run(views, 1, 8));
    assert_true(run(views, 9, 4));
    memset(w, 0, sizeof(w));
    views[1].loss_permille = 20;
    assert_true(run(views, 1, 3));
    memset(w, 0, sizeof(w));
    views[1] = full(2, 435, 0);
    assert_true(run(views, 1, 3));
}

/* Its start has overrun the queue, and with it a probe was lost. */
static void who_has_just_begun_is_what_it_carries(void **state)
{
    const struct worth_view views[2] = {lossy(70, 356, 10), lossy(16, 366, 0)};
    const struct worth_view turned[2] = {views[1], views[0]};

    assert_false(run(views, 1, 7));
    memset(w, 0, sizeof(w));
    assert_false(run(turned, 1, 7));
}

static void the_far_slower_stands_by(void **state)
{
    const struct worth_view pairs[][2] = {
        {full(58, 32, 0), full(2, 100, 0)},  {full(64, 29, 0), full(4, 32, 0)},
        {full(16, 7, 12), full(1, 5, 8)},    {full(130, 579, 0), full(2, 11, 0)},
        {full(35, 45, 1), lossy(2, 98, 20)}, /* whatever its rate might be */
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        memset(w, 0, sizeof(w));
        assert_true(run(pairs[i], 1, 3));
        assert_false(worth_is_slow(&w[0]));
        assert_true(worth_is_slow(&w[1]));
        assert_non_null(strstr(w[1].reason, "would slow the others: "));
    }
}

/* What was never full may carry more than was seen. */
static void nobody_is_judged_by_what_he_was_not_asked_for(void **state)
{
    struct worth_view views[2] = {full(50, 20, 0), full(20, 60, 0)};

    views[1].full = false;
    views[1].bps = 8 * MBIT;
    assert_false(run(views, 1, 10));
    views[1].bps = 0; /* unknown */
    assert_false(run(views, 20, 10));
}

/* What asks for less than there is leaves little for the longer way. */
static void where_nobody_asks_for_more_nothing_is_known(void **state)
{
    struct worth_view views[2] = {full(43, 20, 0), full(3, 60, 0)};

    views[0].full = views[1].full = false;
    assert_false(run(views, 1, 100));
    views[0].full = true; /* now he does, and gets no more there */
    assert_true(run(views, 101, 3));
}

/* How often it begins to stand by in an hour, and for how many seconds at most. */
static void count(const struct worth_view views[2], unsigned *times, uint64_t *longest_s)
{
    uint64_t since = 0;

    *times = 0;
    *longest_s = 0;
    for (uint64_t s = 1; s < 3600; s++) {
        bool before = worth_is_slow(&w[1]);
        run(views, s, 1);
        if (!before && worth_is_slow(&w[1])) {
            since = s;
            ++*times;
        }
        if (before && !worth_is_slow(&w[1])) {
            assert_string_equal(w[1].reason, "");
            *longest_s = s - since > *longest_s ? s - since : *longest_s;
        }
    }
}

static void one_that_harms_takes_part_more_and_more_rarely(void **state)
{
    const struct worth_view views[2] = {full(14, 32, 0), full(2, 100, 0)};
    unsigned times;
    uint64_t longest_s;

    freed_bps = 58 * MBIT;
    count(views, &times, &longest_s);
    assert_in_range(times, 7, 12);
    assert_int_equal(longest_s, 480 + 3);
}

static void why_is_told_in_figures(void **state)
{
    const struct worth_view views[2] = {full(14, 32, 0), full(2, 100, 0)};

    freed_bps = 58 * MBIT;
    run(views, 1, 2);
    assert_string_equal(w[1].reason, "would slow the others: 2.0 Mb/s at 100 ms beside 14.0 Mb/s");
    run(views, 3, 10);
    assert_true(worth_is_slow(&w[1]));
    assert_string_equal(w[1].reason, "slows the others: 16.0 Mb/s with it, 58.0 without it");
}

/* Half of what it carries is enough. */
static void one_that_harms_a_little_helps(void **state)
{
    const struct worth_view views[2] = {full(18, 7, 0), full(4, 18, 0)};

    freed_bps = 19500000;
    run(views, 1, 8);
    assert_false(worth_is_slow(&w[1]));
    start(state);
    freed_bps = 20500000;
    run(views, 1, 8);
    assert_true(worth_is_slow(&w[1]));
}

/* Where an estimate was wrong, it costs three seconds, and more and more rarely. */
static void one_that_helps_is_left_in_peace(void **state)
{
    const struct worth_view views[2] = {full(18, 7, 0), full(4, 18, 0)};
    unsigned times;
    uint64_t longest_s;

    freed_bps = 19 * MBIT;
    dip_bps = 9 * MBIT;
    count(views, &times, &longest_s);
    assert_in_range(times, 7, 12);
    assert_int_equal(longest_s, 3);
}

/* A far one takes its time to grow. */
static void a_trial_takes_twenty_round_trips(void **state)
{
    const struct worth_view views[2] = {full(140, 400, 0), full(2, 435, 0)};

    run(views, 1, 2);
    assert_true(worth_is_slow(&w[1]));
    assert_false(run(views, 3, 7));
    assert_true(run(views, 10, 1));
}

/* What is asked for later may be much more, or less; and who asks for a few seconds at a time must
 * not be slowed each time. */
static void where_nobody_asks_the_estimate_holds(void **state)
{
    const struct worth_view views[2] = {full(18, 7, 0), full(4, 18, 0)};
    const struct worth_view idle[2] = {full(0, 7, 0), full(0, 18, 0)};

    run(views, 1, 2);
    assert_true(worth_is_slow(&w[1]));
    assert_false(run(idle, 3, 2));
    assert_false(run(views, 5, 50));
    assert_non_null(strstr(w[1].reason, "would slow the others: "));
    assert_true(run(views, 55, 15));
    assert_false(run(views, 75, 50)); /* a trial of its own, and peace */
    assert_false(worth_is_slow(&w[1]));
}

/* Two at once, and nobody could tell whose doing it was. */
static void one_is_tried_at_a_time(void **state)
{
    struct worth three[3] = {0};

    for (uint64_t s = 1; s < 7; s++) {
        struct worth_view views[3] = {full(58, 32, 0), full(2, 100, 0), full(2, 100, 0)};
        for (size_t i = 0; i < 3; i++)
            views[i].bps = worth_is_slow(&three[i]) ? 0 : views[i].bps;
        worth_judge(three, views, 3, s * 1000);
        assert_false(worth_is_slow(&three[1]) && worth_is_slow(&three[2]));
    }
    assert_false(worth_is_slow(&three[1])); /* the first carried no more without it */
    assert_true(worth_is_slow(&three[2]));
}

static void the_last_one_takes_part_whatever_it_is(void **state)
{
    struct worth_view views[2] = {full(58, 32, 0), full(2, 100, 0)};

    views[0].usable = false;
    assert_false(run(views, 1, 10));
}

static void absurd_figures_break_nothing(void **state)
{
    struct worth_view views[2] = {{.usable = true, .bps = UINT64_MAX / 2, .loss_permille = 1000},
                                  {.usable = true, .bps = 1, .full = true}};

    run(views, 0, 10);
    views[1].min_rtt_us = UINT32_MAX;
    views[0].min_rtt_us = 1;
    run(views, 10, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(comparable_ones_take_part, start),
        cmocka_unit_test_setup(a_full_one_is_what_it_carries, start),
        cmocka_unit_test_setup(who_has_just_begun_is_given_time, start),
        cmocka_unit_test_setup(who_has_just_begun_is_what_it_carries, start),
        cmocka_unit_test_setup(the_far_slower_stands_by, start),
        cmocka_unit_test_setup(nobody_is_judged_by_what_he_was_not_asked_for, start),
        cmocka_unit_test_setup(where_nobody_asks_for_more_nothing_is_known, start),
        cmocka_unit_test_setup(one_that_harms_takes_part_more_and_more_rarely, start),
        cmocka_unit_test_setup(why_is_told_in_figures, start),
        cmocka_unit_test_setup(one_that_harms_a_little_helps, start),
        cmocka_unit_test_setup(one_that_helps_is_left_in_peace, start),
        cmocka_unit_test_setup(a_trial_takes_twenty_round_trips, start),
        cmocka_unit_test_setup(where_nobody_asks_the_estimate_holds, start),
        cmocka_unit_test_setup(one_is_tried_at_a_time, start),
        cmocka_unit_test_setup(the_last_one_takes_part_whatever_it_is, start),
        cmocka_unit_test_setup(absurd_figures_break_nothing, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
