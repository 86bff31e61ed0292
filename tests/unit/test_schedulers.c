/* The schedulers that give a flow one uplink: which one, when, and how the flows share them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/scheduler.h"

/* For a new connection, by schedulers that remember nothing. */
static void decide(enum scheduler_kind kind, uint32_t turn, const struct uplink_view *u, size_t n,
                   uint32_t allowed, struct schedule *out)
{
    struct demand demand = {kind, allowed};
    struct placement newborn = {.turn = turn, .home = UPLINK_NONE};
    struct scheduler_memory memory = {0};

    scheduler_decide(&demand, &newborn, &memory, u, n, out);
}

/* ---- failover ---- */

/* Who is active, or UPLINK_NONE. */
static size_t lead_of(const struct schedule *s)
{
    size_t lead = UPLINK_NONE;

    for (size_t i = 0; i < UPLINKS_MAX; i++) {
        if (s->roles[i] == ROLE_ACTIVE) {
            assert_int_equal(lead, UPLINK_NONE); /* one */
            lead = i;
        }
    }
    return lead;
}

/* Every candidate stands by but one, with which the order begins. */
static size_t sole_lead(const struct schedule *s)
{
    size_t lead = lead_of(s), standby = 0;

    for (size_t i = 0; i < UPLINKS_MAX; i++)
        standby += s->roles[i] == ROLE_STANDBY;
    assert_false(s->narrows);
    assert_int_equal(s->n_order, standby + (lead != UPLINK_NONE));
    return lead;
}

static const struct failover_case {
    const char *why;
    struct uplink_view u[3];
    uint32_t allowed;
    size_t lead;
    uint8_t first; /* to be dialled */
    size_t used;
} failovers[] = {
    {"the cheapest",
     {{.usable = true, .cost = 10}, {.usable = true, .cost = 0}, {.usable = true, .cost = 5}},
     7,
     1,
     1,
     3},
    {"the first of equally cheap ones, whatever their delay",
     {{.usable = true, .rtt_us = 90000}, {.usable = true, .rtt_us = 1000}, {.usable = true}},
     7,
     0,
     0,
     3},
    {"what would slow a bond may lead",
     {{.usable = true, .slow = true}, {.usable = true}, {.usable = true}},
     7,
     0,
     0,
     3},
    {"in doubt as before",
     {{.usable = true, .doubtful = true}, {.usable = true, .cost = 1}, {.usable = true, .cost = 2}},
     7,
     0,
     0,
     3},
    {"the dead are no standby",
     {{.usable = true, .dead = true}, {.usable = true, .cost = 1}, {.usable = true, .cost = 1}},
     7,
     1,
     1,
     2},
    {"all dead: the cheapest of them",
     {{.usable = true, .dead = true, .cost = 2}, {.usable = true, .dead = true}, {0}},
     7,
     1,
     1,
     2},
    {"no subflow joins where MPTCP is stripped",
     {{.usable = true, .stripped = true}, {.usable = true, .cost = 1}, {.usable = true, .cost = 2}},
     7,
     1,
     1,
     2},
    {"what is not allowed", {{.usable = true}, {.usable = true}, {.usable = true}}, 6, 1, 1, 2},
    {"none", {{0}, {0}, {0}}, 7, UPLINK_NONE, 0, 0},
};

static void failover_prefers_the_cheapest_that_is_well(void **state)
{
    for (size_t i = 0; i < sizeof(failovers) / sizeof(failovers[0]); i++) {
        const struct failover_case *c = &failovers[i];
        struct schedule s;

        decide(SCHEDULER_FAILOVER, 0, c->u, 3, c->allowed, &s);
        if (sole_lead(&s) != c->lead || s.n_order != c->used || s.order[0] != c->first)
            fail_msg("%s: lead %zu, first %u, %zu used", c->why, lead_of(&s), s.order[0],
                     s.n_order);
    }
}

/* ---- spread ---- */

#define FLOWS 200

static size_t home_of(uint32_t turn, const struct uplink_view *u, size_t n, uint32_t allowed)
{
    struct schedule s;

    decide(SCHEDULER_SPREAD, turn, u, n, allowed, &s);
    assert_int_equal(s.placement.turn, turn);
    assert_int_equal(s.placement.home, sole_lead(&s));
    assert_int_equal(s.order[0], s.placement.home);
    return s.placement.home;
}

/* Of 200 flows in a row, every so-and-so-many-th, from any on. The others are someone else's. */
static void check_shares(const struct uplink_view *u, size_t n, const double *percent)
{
    for (uint32_t first = 0; first < 10000; first += 137) {
        for (uint32_t step = 1; step <= 7; step++) {
            unsigned on[UPLINKS_MAX] = {0};
            for (uint32_t i = 0; i < FLOWS; i++)
                on[home_of(first + i * step, u, n, UINT32_MAX)]++;
            for (size_t i = 0; i < n; i++) {
                double off = on[i] * 100.0 / FLOWS - percent[i];
                if (off > 2.5 || off < -2.5)
                    fail_msg("from %u by %u: %u flows on uplink %zu", first, step, on[i], i);
            }
        }
    }
}

static const struct share_case {
    struct uplink_view u[3];
    double percent[3];
} shares[] = {
    {{{.usable = true, .weight = 3}, {.usable = true, .weight = 1}, {0}}, {75, 25, 0}},
    {{{.usable = true, .weight = 3}, {.usable = true}, {.usable = true, .weight = 6}},
     {30, 10, 60}},                                           /* without one beside others: 1 */
    {{{.usable = true}, {.usable = true}, {0}}, {50, 50, 0}}, /* nothing is known */
    {{{.usable = true, .down_capacity_bps = 50000000, .up_capacity_bps = 1},
      {.usable = true, .down_capacity_bps = 200000000},
      {0}},
     {20, 80, 0}},
    {{{.usable = true, .weight = 1, .down_capacity_bps = 1},
      {.usable = true, .weight = 1, .down_capacity_bps = 900000000},
      {0}},
     {50, 50, 0}}, /* weights come first */
    {{{.usable = true, .down_capacity_bps = 10000000},
      {.usable = true},
      {.usable = true, .down_capacity_bps = 30000000}},
     {100. / 6, 100. / 3, 50}}, /* unknown: as the others on average */
    {{{.usable = true, .weight = 1000000}, {.usable = true, .weight = 1000000}, {0}}, {50, 50, 0}},
    {{{.usable = true, .down_capacity_bps = 1000000000000},
      {.usable = true, .down_capacity_bps = 1000000000000},
      {0}},
     {50, 50, 0}}, /* without overflow */
};

static void flows_are_spread_by_weight_or_capacity(void **state)
{
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
        check_shares(shares[i].u, shares[i].u[2].usable ? 3 : 2, shares[i].percent);
}

/* Who leads the connection now that was given `home` in its turn. */
static size_t lead_with_home(uint32_t turn, uint8_t home, const struct uplink_view *u,
                             uint32_t allowed)
{
    struct demand demand = {SCHEDULER_SPREAD, allowed};
    struct placement placement = {turn, home};
    struct scheduler_memory memory = {0};
    struct schedule s;

    scheduler_decide(&demand, &placement, &memory, u, 3, &s);
    assert_int_equal(s.placement.home, home);
    return sole_lead(&s);
}

static void a_flow_keeps_its_home(void **state)
{
    struct uplink_view u[3] = {{.usable = true, .weight = 1},
                               {.usable = true, .weight = 8},
                               {.usable = true, .weight = 8}};

    for (uint32_t turn = 0; turn < FLOWS; turn++) {
        for (uint8_t home = 0; home < 3; home++)
            assert_int_equal(lead_with_home(turn, home, u, 7), home);
    }
}

/* The flows of a home that is away are spread over the rest, by weight, and come back. */
static void stand_ins_are_spread_likewise(void **state)
{
    struct uplink_view u[3] = {{.usable = true, .weight = 2},
                               {.usable = true, .weight = 3},
                               {.usable = true, .weight = 1}};
    struct uplink_view away[] = {{.weight = 2},
                                 {.usable = true, .weight = 2, .dead = true},
                                 {.usable = true, .weight = 2, .stripped = true}};

    for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++) {
        unsigned on[3] = {0}, displaced = 0;
        for (uint32_t turn = 0; turn < 3 * FLOWS; turn++) {
            u[0] = (struct uplink_view){.usable = true, .weight = 2};
            uint8_t home = (uint8_t)home_of(turn, u, 3, 7);
            u[0] = away[i];
            size_t lead = lead_with_home(turn, home, u, 7);
            if (home != 0) {
                assert_int_equal(lead, home); /* nobody else moves */
                continue;
            }
            displaced++;
            on[lead]++;
            assert_int_equal(lead_with_home(turn, home, u, 1 | 4), 2);
        }
        assert_int_equal(on[0], 0);
        assert_in_range(displaced, 195, 205);
        assert_in_range(on[1], 143, 157); /* three quarters of 200 */
    }
}

static void new_flows_find_a_home_whatever_there_is(void **state)
{
    struct uplink_view u[3] = {{.usable = true, .stripped = true, .weight = 99},
                               {.usable = true},
                               {.usable = true, .dead = true, .weight = 99}};
    struct demand demand = {SCHEDULER_SPREAD, 7};
    struct scheduler_memory memory = {0};
    struct schedule s;

    for (uint32_t turn = 0; turn < FLOWS; turn++) {
        assert_int_equal(home_of(turn, u, 3, 7), 1);
        assert_int_equal(home_of(turn, u, 3, 5), 0); /* stripped, but all there is */
        assert_int_equal(home_of(turn, u, 3, 4), 2);
        decide(SCHEDULER_SPREAD, turn, u, 3, 0, &s);
        assert_int_equal(s.n_order, 0);
    }
    /* Of flows as a whole, each uplink has a part. */
    scheduler_decide(&demand, NULL, &memory, u, 3, &s);
    assert_int_equal(s.roles[0], ROLE_OFF);
    assert_int_equal(s.roles[1], ROLE_ACTIVE);
    u[0].stripped = false;
    scheduler_decide(&demand, NULL, &memory, u, 3, &s);
    assert_int_equal(s.roles[0], ROLE_ACTIVE);
    assert_int_equal(s.roles[1], ROLE_ACTIVE);
    assert_int_equal(s.roles[2], ROLE_OFF);
}

/* ---- latency ---- */

#define S 1000ull

static struct scheduler_memory memory;
static struct uplink_view links[3];
static uint64_t now_ms;

static void set_delays(uint32_t a_ms, uint32_t b_ms, uint32_t c_ms)
{
    links[0].delay_us = a_ms * 1000;
    links[1].delay_us = b_ms * 1000;
    links[2].delay_us = c_ms * 1000;
}

static size_t fastest(uint32_t allowed)
{
    struct demand demand = {SCHEDULER_LATENCY, allowed};
    struct placement placement = {.home = UPLINK_NONE};
    struct schedule s;

    scheduler_decide(&demand, &placement, &memory, links, 3, &s);
    return sole_lead(&s);
}

/* Looks each second for so long. Returns how often the lead has changed. */
static unsigned look_for(uint64_t ms)
{
    unsigned moves = 0;

    for (uint64_t end = now_ms + ms; now_ms < end;) {
        size_t before = fastest(7);
        now_ms += S;
        bool changed = scheduler_look(&memory, links, 3, now_ms);
        if (fastest(7) == before)
            continue;
        assert_true(changed);
        moves++;
    }
    return moves;
}

static int begin_latency(void **state)
{
    memory = (struct scheduler_memory){0};
    now_ms = 1000000;
    for (size_t i = 0; i < 3; i++)
        links[i] = (struct uplink_view){.usable = true};
    set_delays(60, 20, 600);
    assert_int_equal(fastest(7), 1); /* before any look, too */
    scheduler_look(&memory, links, 3, now_ms);
    assert_int_equal(fastest(7), 1);
    return 0;
}

static const struct delay_case {
    const char *why;
    uint32_t ms[3], loss_permille[3];
    size_t lead; /* after a while in which it was uplink 1 at 20 ms, beside 60 and 600 */
} delays[] = {
    {"as before", {60, 20, 600}, {0}, 1},
    {"alike: it stays", {20, 20, 20}, {0}, 1},
    {"a little better: it stays", {50, 60, 46}, {0}, 1},
    {"clearly better", {44, 60, 46}, {0}, 0},
    {"a quarter, but of nearly nothing", {1, 5, 600}, {0}, 1},
    {"the best of two that are better", {40, 60, 20}, {0}, 2},
    {"loss counts", {30, 20, 600}, {0, 100, 0}, 0},
    {"a little loss counts little", {30, 20, 600}, {0, 10, 0}, 1},
    {"and does not count more than delay", {60, 20, 600}, {0, 20, 0}, 1},
    {"unknown: behind what is known", {60, 0, 600}, {0}, 0},
    {"all unknown", {0, 0, 0}, {0}, 1},
};

static void latency_prefers_the_lowest_delay(void **state)
{
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        const struct delay_case *c = &delays[i];

        begin_latency(state);
        look_for(5 * S);
        set_delays(c->ms[0], c->ms[1], c->ms[2]);
        for (size_t j = 0; j < 3; j++)
            links[j].loss_permille = c->loss_permille[j];
        look_for(20 * S);
        if (fastest(7) != c->lead)
            fail_msg("%s: %zu leads", c->why, fastest(7));
    }
}

static void one_move_for_each_change(void **state)
{
    for (int i = 0; i < 4; i++) {
        set_delays(20, 60, 600);
        assert_int_equal(look_for(S), 0); /* it might be over in a moment */
        assert_int_equal(look_for(29 * S), 1);
        assert_int_equal(fastest(7), 0);
        set_delays(60, 20, 600);
        assert_int_equal(look_for(30 * S), 1);
    }
}

/* As when the flows themselves are what fills a queue. */
static void it_does_not_swing(void **state)
{
    unsigned moves = 0;

    for (int i = 0; i < 60; i++) {
        set_delays(fastest(7) == 0 ? 100 : 20, fastest(7) == 1 ? 100 : 20, 600);
        moves += look_for(S);
    }
    assert_in_range(moves, 2, 9);
}

static void doubt_moves_nobody(void **state)
{
    links[1].doubtful = true;
    assert_int_equal(look_for(10 * S), 0);
    assert_int_equal(fastest(7), 1);
}

static void what_is_out_of_use_is_passed(void **state)
{
    for (int i = 0; i < 3; i++) {
        begin_latency(state);
        links[1].usable = i != 0;
        links[1].dead = i == 1;
        links[1].stripped = i == 2;
        assert_int_equal(fastest(7), 0);
        assert_int_equal(look_for(5 * S), 0);
        assert_int_equal(fastest(6), 2);
    }
}

static void each_flow_has_the_best_that_it_may_use(void **state)
{
    assert_int_equal(fastest(1 | 4), 0);
    assert_int_equal(fastest(4), 2);
    set_delays(60, 20, 10);
    look_for(30 * S);
    assert_int_equal(fastest(1 | 4), 2);
    assert_int_equal(fastest(1 | 2), 1);
}

/* No flow ran: the next one begins where it is best, at once. */
static void after_a_pause_the_best_leads(void **state)
{
    set_delays(20, 22, 600);
    now_ms += 60 * S;
    assert_true(scheduler_look(&memory, links, 3, now_ms));
    assert_int_equal(fastest(7), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failover_prefers_the_cheapest_that_is_well),
        cmocka_unit_test(flows_are_spread_by_weight_or_capacity),
        cmocka_unit_test(a_flow_keeps_its_home),
        cmocka_unit_test(stand_ins_are_spread_likewise),
        cmocka_unit_test(new_flows_find_a_home_whatever_there_is),
        cmocka_unit_test_setup(latency_prefers_the_lowest_delay, begin_latency),
        cmocka_unit_test_setup(one_move_for_each_change, begin_latency),
        cmocka_unit_test_setup(it_does_not_swing, begin_latency),
        cmocka_unit_test_setup(doubt_moves_nobody, begin_latency),
        cmocka_unit_test_setup(what_is_out_of_use_is_passed, begin_latency),
        cmocka_unit_test_setup(each_flow_has_the_best_that_it_may_use, begin_latency),
        cmocka_unit_test_setup(after_a_pause_the_best_leads, begin_latency),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
