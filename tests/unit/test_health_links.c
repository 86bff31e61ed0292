/* Links that live and links that die, simulated, and a caller that probes them as the gateway does:
 * how soon a death is noticed, and how often one is invented. Prints a table of what it found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "gateway/health.h"
#include "tests/unit/wire.h"

#define MS 1000ull
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define DROPS 40

struct caller {
    struct health health;
    struct wire wire;
    uint64_t seq, probe_at_us, hear_at_us, look_at_us, packets;
    unsigned deaths, doubts;
    uint32_t load_permille; /* downward, in the seconds before a drop */
    uint64_t degraded_us, dead_us;
};

static void caller_init(struct caller *c, uint64_t seed)
{
    *c = (struct caller){0};
    health_init(&c->health);
    wire_init(&c->wire, seed);
}

static void probe(struct caller *c)
{
    bool busy = c->wire.traffic_us || c->health.doubtful || c->health.verdict == HEALTH_PROBING ||
                c->health.verdict == HEALTH_DEAD;
    uint64_t interval = busy ? 60 * MS : 10 * SECOND;

    if (c->probe_at_us > c->wire.now_us + interval)
        c->probe_at_us = c->wire.now_us;
    if (c->wire.now_us < c->probe_at_us)
        return;
    health_sent(&c->health, ++c->seq, c->wire.now_us);
    wire_probe(&c->wire, c->seq);
    c->probe_at_us = c->wire.now_us + interval;
    c->look_at_us = health_next_us(&c->health);
}

static void look(struct caller *c)
{
    enum health_verdict before = c->health.verdict;

    bool changed = health_look(&c->health, c->wire.now_us);
    c->look_at_us = health_next_us(&c->health);
    if (!changed)
        return;
    c->deaths += c->health.verdict == HEALTH_DEAD && before != HEALTH_DEAD;
    c->doubts += c->health.doubtful;
}

/* One millisecond. */
static void step(struct caller *c)
{
    uint64_t now;

    wire_step(&c->wire);
    now = c->wire.now_us;
    c->packets += c->wire.n_packets;
    for (size_t i = 0; i < c->wire.n_answers; i++)
        health_answered(&c->health, c->wire.answers[i], now);
    if (c->wire.traffic_us && now >= c->hear_at_us) {
        health_heard(&c->health, c->packets, now);
        c->packets = 0;
        c->hear_at_us = now + 15 * MS;
    }
    if (c->wire.n_answers || c->hear_at_us == now + 15 * MS || now >= c->look_at_us)
        look(c);
    probe(c);
    c->degraded_us += c->health.verdict == HEALTH_DEGRADED ? WIRE_STEP_US : 0;
    c->dead_us += c->health.verdict == HEALTH_DEAD ? WIRE_STEP_US : 0;
}

static void run_for(struct caller *c, uint64_t us)
{
    for (uint64_t end = c->wire.now_us + us; c->wire.now_us < end;)
        step(c);
}

/* ---- how soon a death is noticed ---- */

struct detection {
    uint64_t median_us, p95_us, most_us;
    unsigned false_deaths;
    enum health_direction direction;
};

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t time_to_death(struct caller *c, bool cut_up, bool cut_down)
{
    uint64_t start = c->wire.now_us;

    c->wire.cut[WIRE_UP] = cut_up;
    c->wire.cut[WIRE_DOWN] = cut_down;
    while (c->health.verdict != HEALTH_DEAD && c->wire.now_us < start + 30 * SECOND)
        step(c);
    return c->wire.now_us - start;
}

/* Between two drops the link works for so long that the second is no flapping. */
static struct detection drop_often(struct caller *c, bool cut_up, bool cut_down, const char *name)
{
    uint64_t times[DROPS];
    struct detection d = {0};

    for (unsigned i = 0; i < DROPS; i++) {
        run_for(c, 21 * SECOND + wire_random(&c->wire, SECOND));
        c->wire.load_permille[WIRE_DOWN] = c->load_permille;
        run_for(c, 10 * SECOND);
        while (c->health.verdict == HEALTH_DEAD)
            step(c);
        d.false_deaths += c->deaths;
        times[i] = time_to_death(c, cut_up, cut_down);
        d.direction = c->health.direction;
        run_for(c, 3 * SECOND); /* less would be a stall, and known from then on */
        c->wire.cut[WIRE_UP] = c->wire.cut[WIRE_DOWN] = false;
        c->wire.load_permille[WIRE_DOWN] = 0;
        run_for(c, 5 * SECOND);
        assert_int_not_equal(c->health.verdict, HEALTH_DEAD);
        c->deaths = 0;
    }
    qsort(times, DROPS, sizeof(times[0]), by_size);
    d.median_us = times[DROPS / 2];
    d.p95_us = times[DROPS * 95 / 100];
    d.most_us = times[DROPS - 1];
    printf("  %-44s median %5u ms  p95 %5u ms  most %5u ms  false %u\n", name,
           (unsigned)(d.median_us / MS), (unsigned)(d.p95_us / MS), (unsigned)(d.most_us / MS),
           d.false_deaths);
    return d;
}

static void make_dsl(struct caller *c, uint64_t seed)
{
    caller_init(c, seed);
    c->wire.base_us = 10 * MS;
    c->wire.traffic_us = 4 * MS;
}

static void make_mild_lte(struct caller *c, uint64_t seed)
{
    caller_init(c, seed);
    c->wire.base_us = 28 * MS;
    c->wire.wander_max_us = 10 * MS;
    c->wire.wander_slope = 300;
    c->wire.loss_ppm = 2000;
    c->wire.traffic_us = 5 * MS;
}

static void a_stable_line_that_drops(void **state)
{
    static struct caller c;

    make_dsl(&c, 1);
    struct detection d = drop_often(&c, true, true, "20 ms line, traffic, silent drop");
    assert_in_range(d.median_us, 50 * MS, 130 * MS);
    assert_in_range(d.p95_us, 0, 160 * MS);
    assert_int_equal(d.false_deaths, 0);
    assert_int_equal(d.direction, HEALTH_BOTH);
}

static void a_mild_radio_that_drops(void **state)
{
    static struct caller c;

    make_mild_lte(&c, 2);
    struct detection d = drop_often(&c, true, true, "60 ms LTE, mild jitter, silent drop");
    assert_in_range(d.median_us, 90 * MS, 210 * MS);
    assert_in_range(d.p95_us, 0, 260 * MS);
    assert_int_equal(d.false_deaths, 0);
}

/* The queue holds what was sent before; once it is lost, nothing drains from it. */
static void a_line_with_a_full_queue_that_drops(void **state)
{
    static struct caller c;

    make_dsl(&c, 3);
    c.load_permille = 1500;
    struct detection d = drop_often(&c, true, true, "20 ms line, 2 s queue, silent drop");
    assert_in_range(d.p95_us, 0, 250 * MS);
    assert_int_equal(d.false_deaths, 0);
}

static void a_radio_that_stalls_and_drops(void **state)
{
    static struct caller c;

    make_mild_lte(&c, 4);
    run_for(&c, 30 * SECOND);
    c.wire.stalled_until_us = c.wire.now_us + 500 * MS;
    run_for(&c, 60 * SECOND);
    c.deaths = 0;
    uint64_t time = time_to_death(&c, true, true);
    printf("  %-44s        %5u ms\n", "60 ms LTE that had stalled for 500 ms",
           (unsigned)(time / MS));
    assert_in_range(time, 700 * MS, 1500 * MS);
}

static void upward_loss_of_a_stream(void **state)
{
    static struct caller c;

    make_dsl(&c, 5);
    struct detection d = drop_often(&c, true, false, "20 ms line, upward lost, steady stream down");
    assert_in_range(d.median_us, 0, 350 * MS);
    assert_int_equal(d.false_deaths, 0);
    assert_int_equal(d.direction, HEALTH_UPWARD);
    make_mild_lte(&c, 6);
    d = drop_often(&c, true, false, "60 ms LTE, upward lost, steady stream down");
    assert_in_range(d.median_us, 0, 400 * MS);
    assert_int_equal(d.false_deaths, 0);
    assert_int_equal(d.direction, HEALTH_UPWARD);
}

static void upward_loss_of_tcp(void **state)
{
    static struct caller c;

    make_dsl(&c, 7);
    c.wire.tcp = true;
    struct detection d = drop_often(&c, true, false, "20 ms line, upward lost, TCP down");
    assert_in_range(d.median_us, 0, 350 * MS);
    assert_int_equal(d.false_deaths, 0);
}

static void downward_loss(void **state)
{
    static struct caller c;

    make_dsl(&c, 8);
    struct detection d = drop_often(&c, false, true, "20 ms line, downward lost");
    assert_in_range(d.median_us, 0, 160 * MS);
    make_mild_lte(&c, 9);
    d = drop_often(&c, false, true, "60 ms LTE, downward lost");
    assert_in_range(d.median_us, 0, 350 * MS);
}

/* Probes alone: a line that has lost none of a thousand is believed at once, another is not. */
static void only_the_probes_speak(void **state)
{
    static struct caller c;

    make_dsl(&c, 10);
    c.wire.traffic_us = 3600 * SECOND;
    run_for(&c, 3 * MINUTE);
    struct detection d = drop_often(&c, true, true, "20 ms line, probed densely, no traffic");
    assert_in_range(d.p95_us, 0, 160 * MS);
    assert_int_equal(d.false_deaths, 0);
    make_dsl(&c, 11);
    c.wire.traffic_us = 0;
    d = drop_often(&c, true, true, "20 ms line, idle, one probe each 10 s");
    assert_in_range(d.most_us, 0, 10500 * MS);
    assert_int_equal(d.false_deaths, 0);
}

/* ---- how often one is invented ---- */

static void report(const struct caller *c, const char *name)
{
    printf("  %-44s false %u  doubts %u  degraded %u s  dead %u s\n", name, c->deaths, c->doubts,
           (unsigned)(c->degraded_us / SECOND), (unsigned)(c->dead_us / SECOND));
}

static void make_ugly_lte(struct caller *c, uint64_t seed)
{
    caller_init(c, seed);
    c->wire.base_us = 20 * MS;
    c->wire.wander_max_us = 180 * MS;
    c->wire.wander_slope = 400;
    c->wire.loss_ppm = 5000; /* each way */
    c->wire.traffic_us = 6 * MS;
}

/* Loads that come and go: a queue of up to two seconds, one way or the other. */
static void change_load(struct caller *c)
{
    for (int d = 0; d < 2; d++)
        c->wire.load_permille[d] = wire_random(&c->wire, 3) ? 300 : 1500;
}

static void live_with_ugly_lte(struct caller *c, uint64_t us, bool stalls)
{
    for (uint64_t end = c->wire.now_us + us; c->wire.now_us < end;) {
        change_load(c);
        run_for(c, 5 * SECOND + wire_random(&c->wire, 10 * SECOND));
        if (stalls && wire_random(&c->wire, 4) == 0)
            c->wire.stalled_until_us = c->wire.now_us + 500 * MS + wire_random(&c->wire, 500 * MS);
    }
}

static void ugly_radio_is_alive(void **state)
{
    static struct caller c;

    for (uint64_t seed = 20; seed < 22; seed++) {
        make_ugly_lte(&c, seed);
        live_with_ugly_lte(&c, 30 * MINUTE, false);
        report(&c, "ugly LTE: jitter, loss, queues; 30 min");
        assert_int_equal(c.deaths, 0);
    }
}

static void a_radio_is_known_by_its_stalls(void **state)
{
    static struct caller c;

    for (uint64_t seed = 30; seed < 32; seed++) {
        make_ugly_lte(&c, seed);
        live_with_ugly_lte(&c, MINUTE, false);
        c.wire.stalled_until_us = c.wire.now_us + 500 * MS;
        run_for(&c, 20 * SECOND);
        assert_in_range(c.deaths, 0, 1);
        c.deaths = 0;
        live_with_ugly_lte(&c, 30 * MINUTE, true);
        report(&c, "the same with stalls of 0.5-1 s, after one");
        assert_int_equal(c.deaths, 0);
    }
}

static void a_stall_may_be_long_ago(void **state)
{
    static struct caller c;

    make_ugly_lte(&c, 33);
    live_with_ugly_lte(&c, MINUTE, false);
    c.wire.stalled_until_us = c.wire.now_us + 900 * MS;
    live_with_ugly_lte(&c, 11 * MINUTE, false);
    c.deaths = 0;
    c.wire.stalled_until_us = c.wire.now_us + 900 * MS;
    run_for(&c, 10 * SECOND);
    assert_int_equal(c.deaths, 0);
}

static void heavy_loss_degrades(void **state)
{
    static struct caller c;

    make_mild_lte(&c, 40);
    c.wire.loss_ppm = 0;
    run_for(&c, 30 * SECOND);
    c.wire.loss_ppm = 225000; /* 40 % of round trips */
    run_for(&c, 30 * MINUTE);
    report(&c, "LTE, loses 40 % suddenly; 30 min");
    assert_int_equal(c.deaths, 0);
    assert_int_equal(c.health.verdict, HEALTH_DEGRADED);
    assert_in_range(c.health.loss_permille, 200, 600);
    assert_true(c.degraded_us > 29 * MINUTE);
    c.wire.loss_ppm = 0;
    run_for(&c, 30 * SECOND);
    assert_int_equal(c.health.verdict, HEALTH_UP);
}

static void bursts_of_loss_do_not_kill(void **state)
{
    static struct caller c;

    make_dsl(&c, 41);
    c.wire.burst_ppm = 3000;
    c.wire.burst_end_ppm = 250000;
    run_for(&c, 30 * MINUTE);
    report(&c, "20 ms line, bursts of 4 lost; 30 min");
    assert_int_equal(c.deaths, 0);
}

static void an_idle_uplink_may_lose_a_probe(void **state)
{
    static struct caller c;

    make_dsl(&c, 42);
    c.wire.traffic_us = 0;
    c.wire.loss_ppm = 10000;
    run_for(&c, 60 * MINUTE);
    report(&c, "20 ms line, idle, loses 2 %; 1 h");
    assert_int_equal(c.deaths, 0);
    assert_true(c.doubts > 2);
    make_ugly_lte(&c, 43);
    c.wire.traffic_us = 0;
    run_for(&c, 60 * MINUTE);
    report(&c, "ugly LTE, idle; 1 h");
    assert_int_equal(c.deaths, 0);
}

/* Pages of half a second, and pauses. */
static void traffic_that_comes_and_goes(void **state)
{
    static struct caller c;

    make_mild_lte(&c, 44);
    c.wire.loss_ppm = 5000;
    for (int i = 0; i < 600; i++) {
        c.wire.traffic_us = 3 * MS;
        c.wire.next_traffic_us = 0;
        run_for(&c, 500 * MS);
        c.wire.traffic_us = 3600 * SECOND;
        run_for(&c, 500 * MS + wire_random(&c.wire, 3 * SECOND));
    }
    report(&c, "LTE, loses 1 %, pages and pauses; 20 min");
    assert_int_equal(c.deaths, 0);
}

/* ---- deaths of other kinds ---- */

static void a_slow_death(void **state)
{
    static struct caller c;

    make_mild_lte(&c, 50);
    run_for(&c, 30 * SECOND);
    for (int i = 0; i < 100; i++) {
        c.wire.loss_ppm = 10000u * (unsigned)i;
        run_for(&c, 200 * MS);
        if (i == 40)
            assert_int_equal(c.health.verdict, HEALTH_DEGRADED);
    }
    c.wire.loss_ppm = 1000000;
    time_to_death(&c, false, false);
    report(&c, "LTE that loses ever more, for 20 s");
    assert_int_equal(c.health.verdict, HEALTH_DEAD);
    assert_int_equal(c.deaths, 1);
    assert_in_range(c.degraded_us, 10 * SECOND, 22 * SECOND);
}

static void one_that_flaps_waits_a_little(void **state)
{
    static struct caller c;

    make_dsl(&c, 51);
    run_for(&c, 10 * SECOND);
    for (int i = 0; i < 100; i++) {
        c.wire.cut[WIRE_UP] = true;
        run_for(&c, SECOND);
        c.wire.cut[WIRE_UP] = false;
        run_for(&c, 5 * SECOND);
    }
    report(&c, "20 ms line, 1 s off and 5 s on, 100 times");
    assert_in_range(c.deaths, 95, 101);
    run_for(&c, 40 * SECOND);
    assert_int_equal(c.health.verdict, HEALTH_UP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stable_line_that_drops),
        cmocka_unit_test(a_mild_radio_that_drops),
        cmocka_unit_test(a_line_with_a_full_queue_that_drops),
        cmocka_unit_test(a_radio_that_stalls_and_drops),
        cmocka_unit_test(upward_loss_of_a_stream),
        cmocka_unit_test(upward_loss_of_tcp),
        cmocka_unit_test(downward_loss),
        cmocka_unit_test(only_the_probes_speak),
        cmocka_unit_test(ugly_radio_is_alive),
        cmocka_unit_test(a_radio_is_known_by_its_stalls),
        cmocka_unit_test(a_stall_may_be_long_ago),
        cmocka_unit_test(heavy_loss_degrades),
        cmocka_unit_test(bursts_of_loss_do_not_kill),
        cmocka_unit_test(an_idle_uplink_may_lose_a_probe),
        cmocka_unit_test(traffic_that_comes_and_goes),
        cmocka_unit_test(a_slow_death),
        cmocka_unit_test(one_that_flaps_waits_a_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
