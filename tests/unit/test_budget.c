/* What an uplink may carry in a month: months of every length, clocks that err, counters that begin
 * anew, and when the limit counts as reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "gateway/budget.h"

#define HOUR 3600
#define DAY (24 * HOUR)
#define MB UINT64_C(1000000)
#define GB (1000 * MB)

static void use_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

static int in_utc(void **state)
{
    use_zone("UTC0");
    return 0;
}

/* Local time. */
static int64_t at(int year, int month, int day, int hour)
{
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_isdst = -1};

    return (int64_t)mktime(&tm);
}

static struct budget_reading reading(uint32_t ifindex, uint64_t rx, uint64_t tx)
{
    return (struct budget_reading){ifindex, rx, tx};
}

static uint64_t add(struct budget *b, uint32_t ifindex, uint64_t rx, uint64_t tx)
{
    struct budget_reading now = reading(ifindex, rx, tx);

    return budget_add(b, &now, b->sampled_ms + 1000);
}

/* ---- the calendar ---- */

/* Where time_t has 32 bits, as with some libraries, it ends in January 2038. */
static int last_year(void)
{
    return sizeof(time_t) > 4 ? 2370 : 2037;
}

static void a_month_begins_at_midnight_of_its_day(void **state)
{
    static const struct {
        int now[4];
        uint32_t day;
        int start[3], end[3];
    } cases[] = {
        {{2026, 11, 28, 22}, 1, {2026, 11, 1}, {2026, 12, 1}},
        {{2026, 11, 1, 0}, 1, {2026, 11, 1}, {2026, 12, 1}},
        {{2026, 12, 31, 23}, 1, {2026, 12, 1}, {2027, 1, 1}},
        {{2026, 1, 14, 23}, 15, {2025, 12, 15}, {2026, 1, 15}},
        {{2026, 1, 15, 0}, 15, {2026, 1, 15}, {2026, 2, 15}},
        /* The last day, where there is no 31st, no 30th, no 29th. */
        {{2026, 2, 27, 23}, 31, {2026, 1, 31}, {2026, 2, 28}},
        {{2026, 2, 28, 0}, 31, {2026, 2, 28}, {2026, 3, 31}},
        {{2026, 3, 30, 12}, 31, {2026, 2, 28}, {2026, 3, 31}},
        {{2026, 4, 30, 12}, 31, {2026, 4, 30}, {2026, 5, 31}},
        {{2028, 2, 29, 0}, 30, {2028, 2, 29}, {2028, 3, 30}},
        {{2028, 2, 28, 23}, 29, {2028, 1, 29}, {2028, 2, 29}},
        {{2026, 3, 1, 0}, 29, {2026, 2, 28}, {2026, 3, 29}},
        {{2100, 2, 28, 1}, 29, {2100, 2, 28}, {2100, 3, 29}}, /* no leap year */
        {{2000, 2, 28, 1}, 29, {2000, 1, 29}, {2000, 2, 29}}, /* a leap year */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int *n = cases[i].now, *s = cases[i].start, *e = cases[i].end;
        if (n[0] >= last_year())
            continue;
        int64_t now_s = at(n[0], n[1], n[2], n[3]);
        assert_int_equal(budget_month_start(now_s, cases[i].day), at(s[0], s[1], s[2], 0));
        assert_int_equal(budget_month_end(now_s, cases[i].day), at(e[0], e[1], e[2], 0));
    }
}

/* Every second of 400 years (of 67) belongs to one month: where one ends the next begins. */
static void months_lie_side_by_side(void **state)
{
    for (uint32_t day = 1; day <= 31; day++) {
        int64_t start_s = budget_month_start(at(1970, 3, 1, 0), day),
                last_s = at(last_year(), 1, 1, 0);
        while (start_s < last_s) {
            int64_t end_s = budget_month_end(start_s, day);
            assert_true(end_s - start_s >= 28 * DAY && end_s - start_s <= 31 * DAY);
            assert_int_equal(budget_month_start(end_s - 1, day), start_s);
            assert_int_equal(budget_month_start(end_s, day), end_s);
            start_s = end_s;
        }
    }
}

/* In Berlin the year begins an hour before it does in London; in March an hour is missing. */
static void midnight_is_local(void **state)
{
    use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    int64_t new_year_s = at(2027, 1, 1, 0);
    assert_int_equal(budget_month_start(new_year_s, 1), new_year_s);
    assert_int_equal(budget_month_start(new_year_s - 1, 1), at(2026, 12, 1, 0));
    assert_int_equal(new_year_s % DAY, 23 * HOUR);
    assert_int_equal(budget_month_end(at(2026, 3, 1, 0), 1) - at(2026, 3, 1, 0), 31 * DAY - HOUR);
    assert_int_equal(budget_month_start(at(2026, 3, 29, 12), 29), at(2026, 3, 29, 0));
    in_utc(state);
}

static void days_that_are_left(void **state)
{
    struct budget b;

    budget_init(&b, GB, 1, NULL);
    assert_int_equal(budget_days_left(&b, at(2026, 11, 28, 22)), 3);
    assert_int_equal(budget_days_left(&b, at(2026, 11, 30, 23)), 1);
    assert_int_equal(budget_days_left(&b, at(2026, 12, 1, 0)), 31);
}

/* ---- turning the month ---- */

static void a_new_month_begins_with_nothing(void **state)
{
    struct budget b;

    budget_init(&b, 100 * MB, 1, NULL);
    add(&b, 3, 0, 0);
    assert_false(budget_turn(&b, at(2026, 11, 30, 23)));
    add(&b, 3, 60 * MB, 50 * MB);
    assert_int_equal(budget_judge(&b, 0), BUDGET_SPENT);
    assert_false(budget_turn(&b, at(2026, 11, 30, 23) + 3599));
    assert_true(budget_turn(&b, at(2026, 12, 1, 0)));
    assert_int_equal(b.count.now.used, 0);
    assert_int_equal(budget_judge(&b, 0), BUDGET_OK);
    assert_int_equal(b.count.other.used, 110 * MB);
}

/* Until somebody who knows has told the time, it counts in the month that was last known; where
 * none was, in the first that is found. */
static void before_the_time_is_known(void **state)
{
    struct budget b, after;

    budget_init(&b, GB, 1, NULL);
    add(&b, 3, 0, 0);
    add(&b, 3, 5 * MB, 0);
    assert_int_equal(b.count.now.start_s, 0);
    assert_false(budget_turn(&b, at(2026, 11, 28, 0)));
    assert_int_equal(b.count.now.used, 5 * MB);

    budget_init(&after, GB, 1, &b.count);
    add(&after, 3, 6 * MB, 0);
    assert_int_equal(after.count.now.start_s, at(2026, 11, 1, 0));
    assert_int_equal(after.count.now.used, 6 * MB);
    assert_true(budget_turn(&after, at(2026, 12, 2, 0)));
    assert_int_equal(after.count.now.used, 0);
}

/* Each month keeps its own count, wherever the clock jumps in between. */
static void a_clock_jumps_back_and_forth(void **state)
{
    struct budget b;

    budget_init(&b, GB, 1, NULL);
    add(&b, 3, 0, 0);
    budget_turn(&b, at(2026, 11, 28, 0));
    add(&b, 3, 10 * MB, 0);
    assert_true(budget_turn(&b, at(2031, 5, 1, 0)));
    add(&b, 3, 11 * MB, 0);
    assert_int_equal(b.count.now.used, MB);
    assert_true(budget_turn(&b, at(2026, 11, 28, 1)));
    assert_int_equal(b.count.now.used, 10 * MB);
    assert_true(budget_turn(&b, at(1971, 1, 2, 0)));
    assert_true(budget_turn(&b, at(2026, 11, 28, 1)));
    assert_int_equal(b.count.now.used, 10 * MB);
    assert_true(budget_turn(&b, at(2026, 12, 1, 0)));
    assert_int_equal(b.count.now.used, 0);
    assert_true(budget_turn(&b, at(2026, 11, 30, 23)));
    assert_int_equal(b.count.now.used, 10 * MB);
    assert_true(budget_turn(&b, at(2026, 12, 1, 0)));
    assert_int_equal(b.count.now.used, 0);
}

static void another_zone_is_no_other_month(void **state)
{
    struct budget b;

    budget_init(&b, GB, 1, NULL);
    add(&b, 3, 0, 0);
    budget_turn(&b, at(2026, 11, 28, 0));
    add(&b, 3, 10 * MB, 0);
    use_zone("LINT-14");
    assert_false(budget_turn(&b, at(2026, 11, 28, 0)));
    use_zone("AoE12");
    assert_false(budget_turn(&b, at(2026, 11, 28, 0)));
    assert_int_equal(b.count.now.used, 10 * MB);
    assert_int_equal(b.count.now.start_s, at(2026, 11, 1, 0));
    in_utc(state);
}

/* What was counted stays counted. */
static void another_day_in_the_configuration(void **state)
{
    struct budget b, after;

    budget_init(&b, GB, 1, NULL);
    add(&b, 3, 0, 0);
    budget_turn(&b, at(2026, 11, 28, 0));
    add(&b, 3, 10 * MB, 0);
    budget_init(&after, GB, 15, &b.count);
    assert_false(budget_turn(&after, at(2026, 11, 28, 0)));
    assert_int_equal(after.count.now.used, 10 * MB);
    assert_int_equal(after.count.now.start_s, at(2026, 11, 15, 0));
    assert_int_equal(after.count.day, 15);
}

/* ---- counting ---- */

static void counts_both_directions_from_the_first_reading(void **state)
{
    struct budget b;

    budget_init(&b, GB, 1, NULL);
    assert_int_equal(add(&b, 3, 700, 70), 0); /* before its time */
    assert_int_equal(add(&b, 3, 1000, 100), 330);
    assert_int_equal(add(&b, 3, 1000, 100), 0);
    assert_int_equal(b.count.now.used, 330);
}

static void an_interface_that_begins_anew(void **state)
{
    struct budget b;

    budget_init(&b, GB, 1, NULL);
    add(&b, 3, 1000, 1000);
    assert_int_equal(add(&b, 3, 50, 10), 60);      /* its driver was reset */
    assert_int_equal(add(&b, 3, 60, 5), 15);       /* one direction of it */
    assert_int_equal(add(&b, 9, 5000, 600), 5600); /* made again: pppd came back */
    assert_int_equal(b.rate, 0);                   /* in no known time */
    assert_int_equal(add(&b, 3, 7000, 700), 7700);
    assert_int_equal(add(&b, 3, 7001, 700), 1);
}

static void a_counter_of_32_bits_wraps(void **state)
{
    struct budget b;

    budget_init(&b, GB, 1, NULL);
    add(&b, 3, UINT32_MAX - 99, 0);
    assert_int_equal(add(&b, 3, 200, 0), 300);
    add(&b, 3, UINT64_C(3) << 30, 0);
    assert_int_equal(add(&b, 3, 200, 0), 200); /* a reset, far from the end */
    add(&b, 3, UINT64_C(1) << 33, 0);
    assert_int_equal(add(&b, 3, 300, 0), 300); /* it counts in 64 */
}

/* It goes on with what the interface says, in the same life of the machine; after another start of
 * the machine, all that it says is new. */
static void a_restart_counts_what_came_in_between(void **state)
{
    struct budget b, after;

    budget_init(&b, GB, 1, NULL);
    add(&b, 3, 1000, 1000);
    add(&b, 3, 2000, 1000);
    budget_init(&after, GB, 1, &b.count);
    assert_int_equal(add(&after, 3, 2500, 1000), 500);
    assert_int_equal(after.count.now.used, 1500);
    assert_int_equal(after.rate, 0);

    struct budget_count rebooted = after.count;
    rebooted.last = (struct budget_reading){0};
    budget_init(&after, GB, 1, &rebooted);
    assert_int_equal(add(&after, 3, 5000, 2), 5002);
}

/* ---- the verdict ---- */

static void four_fifths_and_all(void **state)
{
    struct budget b;

    budget_init(&b, 100 * MB, 1, NULL);
    b.count.now.used = 80 * MB - 1;
    assert_int_equal(budget_judge(&b, 0), BUDGET_OK);
    b.count.now.used++;
    assert_int_equal(budget_judge(&b, 0), BUDGET_LOW);
    b.count.now.used = 100 * MB - 1;
    assert_int_equal(budget_judge(&b, 0), BUDGET_LOW);
    b.count.now.used++;
    assert_int_equal(budget_judge(&b, 0), BUDGET_SPENT);
}

/* It counts as used, but for no more than a twentieth of the budget, and for good. */
static void what_is_under_way(void **state)
{
    struct budget b;

    budget_init(&b, 100 * MB, 1, NULL);
    b.count.now.used = 94900 * 1000;
    b.rx_rate = 6 * MB;
    assert_int_equal(budget_judge(&b, 100000), BUDGET_LOW);
    assert_int_equal(budget_judge(&b, 1000000), BUDGET_LOW);
    b.count.now.used = 99500 * 1000;
    assert_int_equal(budget_judge(&b, 0), BUDGET_LOW);
    assert_int_equal(budget_judge(&b, 100000), BUDGET_SPENT);
    b.rx_rate = 0;
    assert_int_equal(budget_judge(&b, 100000), BUDGET_SPENT);
}

/* Packets that come in bursts are no higher rate. */
static void the_rate_is_smoothed(void **state)
{
    struct budget b;
    struct budget_reading now = reading(3, 0, 0);
    uint64_t now_ms = 1000;

    budget_init(&b, 100 * MB, 1, NULL);
    budget_add(&b, &now, now_ms);
    for (int i = 0; i < 100; i++) {
        now.rx_bytes += i % 4 == 0 ? MB / 2 : 0; /* every 80 ms */
        budget_add(&b, &now, now_ms += 20);
    }
    assert_in_range(b.rate, 5 * MB, 15 * MB / 2);
    now.rx_bytes += 12 * MB;
    budget_add(&b, &now, now_ms += 2000);
    assert_int_equal(b.rate, 6 * MB);
    assert_int_equal(b.rx_rate, 6 * MB);
    now.tx_bytes += 12 * MB;
    budget_add(&b, &now, now_ms += 2000);
    assert_int_equal(b.rate, 6 * MB);
    assert_int_equal(b.rx_rate, 0);
}

/* What was kept back for what is under way may not have come. With a higher limit there is more. */
static void spent_it_stays_over_a_restart(void **state)
{
    struct budget b, after;

    budget_init(&b, 100 * MB, 1, NULL);
    b.count.now.used = 99500 * 1000;
    b.rx_rate = 6 * MB;
    assert_int_equal(budget_judge(&b, 100000), BUDGET_SPENT);
    budget_init(&after, 100 * MB, 1, &b.count);
    assert_int_equal(budget_judge(&after, 0), BUDGET_SPENT);
    budget_init(&after, 110 * MB, 1, &b.count);
    assert_int_equal(budget_judge(&after, 0), BUDGET_LOW);
    budget_init(&after, 90 * MB, 1, &b.count);
    assert_int_equal(budget_judge(&after, 0), BUDGET_SPENT);
}

/* At whatever rate up to 1 Gb/s, from the first megabyte on: the limit is not overrun by more than
 * a look's worth; and who is far from it, or idle, is seldom looked at. */
static void looks_in_time(void **state)
{
    static const uint64_t rates[] = {MB / 8, 6 * MB, 125 * MB / 10, 125 * MB};

    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct budget b;
        uint64_t limit = rates[i] * 100, used = 0, now_ms = 1000;
        struct budget_reading now = reading(3, 0, 0);
        unsigned looks = 0;

        budget_init(&b, limit, 1, NULL);
        budget_add(&b, &now, now_ms);
        while (budget_judge(&b, 0) != BUDGET_SPENT) {
            uint32_t ms = budget_next_ms(&b);
            now_ms += ms;
            now.rx_bytes = used += rates[i] * ms / 1000;
            budget_add(&b, &now, now_ms);
            looks++;
        }
        assert_true(used <= limit + rates[i] * 20 / 1000);
        assert_true(looks < 100 || rates[i] < 12 * MB);
        assert_int_equal(budget_next_ms(&b), 5000);
    }
}

static void sleeps_where_nothing_can_happen(void **state)
{
    struct budget b;

    budget_init(&b, 50 * GB, 1, NULL);
    assert_int_equal(budget_next_ms(&b), 5000);
    budget_init(&b, INT64_MAX, 31, NULL);
    assert_int_equal(budget_next_ms(&b), 5000);
    budget_init(&b, MB, 1, NULL);
    assert_int_equal(budget_next_ms(&b), 200); /* little is left, but nothing comes */
    b.rate = 5 * MB;
    assert_int_equal(budget_next_ms(&b), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_month_begins_at_midnight_of_its_day),
        cmocka_unit_test(months_lie_side_by_side),
        cmocka_unit_test(midnight_is_local),
        cmocka_unit_test(days_that_are_left),
        cmocka_unit_test(a_new_month_begins_with_nothing),
        cmocka_unit_test(before_the_time_is_known),
        cmocka_unit_test(a_clock_jumps_back_and_forth),
        cmocka_unit_test(another_zone_is_no_other_month),
        cmocka_unit_test(another_day_in_the_configuration),
        cmocka_unit_test(counts_both_directions_from_the_first_reading),
        cmocka_unit_test(an_interface_that_begins_anew),
        cmocka_unit_test(a_counter_of_32_bits_wraps),
        cmocka_unit_test(a_restart_counts_what_came_in_between),
        cmocka_unit_test(four_fifths_and_all),
        cmocka_unit_test(what_is_under_way),
        cmocka_unit_test(the_rate_is_smoothed),
        cmocka_unit_test(spent_it_stays_over_a_restart),
        cmocka_unit_test(looks_in_time),
        cmocka_unit_test(sleeps_where_nothing_can_happen),
    };

    return cmocka_run_group_tests(tests, in_utc, NULL);
}
