/* What is measured of an uplink: smoothed, turned into rates, and handed to the scheduler. The
 * uplinks themselves are played by the test. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/clock.h"
#include "gateway/gauge.h"

/* ---- the clock, and the uplinks ---- */

static uint64_t clock_ms;

uint64_t clock_now_ms(void)
{
    return clock_ms;
}

uint64_t clock_boot_ms(void)
{
    return clock_ms;
}

uint64_t clock_wall_ms(void)
{
    return clock_ms;
}

struct uplinks {
    size_t n;
    struct uplink of[UPLINKS_MAX];
};

static uint64_t counter_rx, counter_tx;
static int counter_error, counter_reads;

size_t uplinks_count(const struct uplinks *uplinks)
{
    return uplinks->n;
}

const struct uplink *uplinks_get(const struct uplinks *uplinks, size_t index)
{
    return &uplinks->of[index];
}

bool uplink_usable(const struct uplink *uplink, uint8_t family)
{
    return family == 6 ? uplink->v6.usable : uplink->v4.usable;
}

int uplinks_read_counters(const struct uplinks *uplinks, const struct uplink *uplink,
                          struct uplink_counters *out)
{
    counter_reads++;
    *out = (struct uplink_counters){.rx_bytes = counter_rx, .tx_bytes = counter_tx};
    return counter_error;
}

/* ---- round-trip times ---- */

static void the_first_rtt_is_taken_as_it_is(void **state)
{
    struct gauge g = {0};

    gauge_rtt(&g, 40000);
    assert_int_equal(g.rtt_us, 40000);
    gauge_rtt(&g, 48000);
    assert_int_equal(g.rtt_us, 41000);
}

/* Those of another concentrator, or of a join under load, do not spoil them. */
static void probes_tell_better_than_connections(void **state)
{
    struct gauge g = {.rtt_us = 20000, .health = {.srtt_us = 20000, .verdict = HEALTH_UP}};

    gauge_rtt(&g, 200000);
    assert_int_equal(g.rtt_us, 20000);
    g.health.verdict = HEALTH_DEAD; /* they no longer do */
    gauge_rtt(&g, 28000);
    assert_int_equal(g.rtt_us, 21000);
}

static void rtt_follows_and_stays_within(void **state)
{
    struct gauge g = {0};
    uint32_t before = 100000;

    gauge_rtt(&g, before);
    for (int i = 0; i < 120; i++) {
        gauge_rtt(&g, 20000);
        assert_true(g.rtt_us < before || g.rtt_us <= 20007);
        assert_true(g.rtt_us >= 20000);
        before = g.rtt_us;
    }
    assert_in_range(g.rtt_us, 20000, 20010);
    for (int i = 0; i < 200; i++)
        gauge_rtt(&g, UINT32_MAX);
    assert_true(g.rtt_us > UINT32_MAX - 10);
}

/* Something so near that the clock did not move is measured all the same: 0 means never. */
static void a_very_short_rtt_is_measured(void **state)
{
    struct gauge g = {0};

    gauge_rtt(&g, 0);
    assert_int_not_equal(g.rtt_us, 0);
    for (int i = 0; i < 100; i++) {
        gauge_rtt(&g, 0);
        assert_int_not_equal(g.rtt_us, 0);
    }
}

static void forgets(void **state)
{
    struct gauge g = {.rtt_us = 1,
                      .mptcp = MPTCP_OK,
                      .rx_bytes = 2,
                      .rx_bps = 3,
                      .sampled_ms = 4,
                      .tcp_works = true,
                      .capacity.down.bps = 5,
                      .saturation.saturated = true,
                      .health.verdict = HEALTH_UP};

    gauge_forget(&g);
    assert_int_equal(g.capacity.down.bps, 0);
    assert_false(g.saturation.saturated);
    assert_int_equal(g.rtt_us, 0);
    assert_int_equal(g.mptcp, MPTCP_UNKNOWN);
    assert_int_equal(g.rx_bps + g.sampled_ms, 0);
    assert_false(g.tcp_works);
    assert_int_equal(g.health.verdict, HEALTH_UP); /* not its to forget */
}

/* ---- rates ---- */

static void sample_at(struct gauge *g, uint64_t now_ms, uint64_t rx, uint64_t tx)
{
    static const struct uplink uplink;

    counter_rx = rx;
    counter_tx = tx;
    gauge_sample(g, NULL, &uplink, now_ms);
}

static void rates_are_bits_per_second(void **state)
{
    struct gauge g = {0};

    counter_error = 0;
    sample_at(&g, 1000, 5000000, 100);
    assert_int_equal(g.rx_bytes, 5000000);
    assert_int_equal(g.tx_bytes, 100);
    assert_int_equal(g.rx_bps + g.tx_bps, 0); /* of the time before nothing is known */
    sample_at(&g, 2000, 6000000, 600);
    assert_int_equal(g.rx_bps, 8000000);
    assert_int_equal(g.tx_bps, 4000);
    sample_at(&g, 4000, 7000000, 600);
    assert_int_equal(g.rx_bps, 4000000);
    assert_int_equal(g.tx_bps, 0);
    assert_int_equal(g.rx_bytes, 7000000);
}

static void samples_are_half_a_second_apart(void **state)
{
    struct gauge g = {0};

    counter_error = 0;
    sample_at(&g, 1000, 1000, 0);
    counter_reads = 0;
    sample_at(&g, 1001, 9999, 0);
    sample_at(&g, 1499, 9999, 0);
    assert_int_equal(counter_reads, 0);
    assert_int_equal(g.rx_bytes, 1000);
    sample_at(&g, 1500, 2000, 0);
    assert_int_equal(counter_reads, 1);
    assert_int_equal(g.rx_bps, 16000);
}

/* The interface went and came back: its counters begin at zero, which is no rate. */
static void a_new_interface_has_no_rate_yet(void **state)
{
    struct gauge g = {0};

    counter_error = 0;
    sample_at(&g, 1000, 1000000, 1000000);
    sample_at(&g, 2000, 2000000, 2000000);
    sample_at(&g, 3000, 500, 800);
    assert_int_equal(g.rx_bytes, 500);
    assert_int_equal(g.rx_bps, 0);
    assert_int_equal(g.tx_bps, 0);
    sample_at(&g, 4000, 1500, 800);
    assert_int_equal(g.rx_bps, 8000);
}

static void no_interface_no_rate(void **state)
{
    struct gauge g = {0};

    counter_error = 0;
    sample_at(&g, 1000, 1000, 1000);
    sample_at(&g, 2000, 2000, 2000);
    assert_int_equal(g.rx_bps, 8000);
    counter_error = -ENODEV;
    sample_at(&g, 3000, 0, 0);
    assert_int_equal(g.rx_bps + g.tx_bps, 0);
    counter_error = 0;
    sample_at(&g, 3001, 1000000, 5000); /* at once, and again without a rate */
    assert_int_equal(g.rx_bps, 0);
    assert_int_equal(g.rx_bytes, 1000000);
    sample_at(&g, 4001, 1001000, 5000);
    assert_int_equal(g.rx_bps, 8000);
}

/* ---- the schedule ---- */

static void schedule(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                     uint32_t allowed, struct schedule *out)
{
    struct demand demand = {SCHEDULER_BOND, allowed};

    gauges_schedule(gauges, uplinks, family, &demand, NULL, out);
}

static void the_schedule_knows_what_was_measured(void **state)
{
    static const struct uplink_config config;
    struct uplinks uplinks = {.n = 4};
    struct gauges gauges = {0};
    struct schedule s;

    for (size_t i = 0; i < 4; i++) {
        uplinks.of[i] =
            (struct uplink){.config = &config, .v4.usable = i != 2, .v6.usable = i == 2};
        gauges.of[i].rtt_us = (uint32_t)(40000 - 10000 * i);
    }
    gauges.of[3].mptcp = MPTCP_STRIPPED;
    gauges.of[1].mptcp = MPTCP_OK;
    schedule(&gauges, &uplinks, 4, UINT32_MAX, &s);
    assert_int_equal(s.n_order, 2);
    assert_int_equal(s.order[0], 1);
    assert_int_equal(s.order[1], 0);
    assert_int_equal(s.roles[3], ROLE_OFF);
    schedule(&gauges, &uplinks, 6, UINT32_MAX, &s);
    assert_int_equal(s.n_order, 1);
    assert_int_equal(s.order[0], 2);
    schedule(&gauges, &uplinks, 4, 1u << 0 | 1u << 2, &s);
    assert_int_equal(s.n_order, 1);
    assert_int_equal(s.order[0], 0);
}

static uint8_t first_of(const struct gauges *gauges, const struct uplinks *uplinks)
{
    struct schedule s;

    schedule(gauges, uplinks, 4, UINT32_MAX, &s);
    assert_int_equal(s.n_order, uplinks->n);
    return s.order[0];
}

/* While no concentrator has welcomed us from an address, it takes few connections from there. */
static void an_unproved_uplink_is_not_crowded_with_starts(void **state)
{
    static const struct uplink_config config;
    struct uplinks uplinks = {.n = 2};
    struct gauges gauges = {0};

    for (size_t i = 0; i < 2; i++)
        uplinks.of[i] = (struct uplink){.config = &config, .v4.usable = true};
    gauges.of[0].rtt_us = 1000;
    gauges.of[1].rtt_us = 900000;
    clock_ms = 5000000;
    gauges.of[0].starting = 15;
    assert_int_equal(first_of(&gauges, &uplinks), 0);
    gauges.of[0].starting = 16;
    assert_int_equal(first_of(&gauges, &uplinks), 1);
    gauges.of[1].starting = 16; /* both: the sooner one */
    assert_int_equal(first_of(&gauges, &uplinks), 0);
    gauges.of[1].starting = 0;
    gauges.of[0].welcomed_ms = clock_ms;
    assert_int_equal(first_of(&gauges, &uplinks), 0);
    clock_ms += 7 * 60 * 1000;
    assert_int_equal(first_of(&gauges, &uplinks), 0);
    clock_ms += 60 * 1000; /* the proof grows old before it does at the concentrator */
    assert_int_equal(first_of(&gauges, &uplinks), 1);
    gauges.of[0].welcomed_ms = clock_ms;
    gauge_forget(&gauges.of[0]); /* another address has proved nothing yet */
    gauges.of[0].rtt_us = 1000;
    assert_int_equal(gauges.of[0].starting, 16);
    assert_int_equal(first_of(&gauges, &uplinks), 1);
}

/* ---- what is to be thought of it ---- */

static void the_probes_decide(void **state)
{
    static const struct {
        enum health_verdict verdict;
        enum uplink_state state;
    } all[] = {{HEALTH_PROBING, UPLINK_PROBING},
               {HEALTH_UP, UPLINK_UP},
               {HEALTH_DEGRADED, UPLINK_DEGRADED},
               {HEALTH_DEAD, UPLINK_DEAD}};
    struct uplink up = {.state = UPLINK_UP}, down = {.state = UPLINK_DOWN, .reason = "no carrier"};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct gauge g = {.health = {.verdict = all[i].verdict, .reason = "so they say"}};
        for (int answered = 0; answered < 2; answered++) {
            g.health.answered_us = 5 * (uint64_t)answered;
            g.tcp_works = answered; /* what was answered once is not blocked */
            assert_int_equal(gauge_verdict(&g), all[i].verdict);
            assert_int_equal(gauge_state(&g, &up), all[i].state);
            assert_string_equal(gauge_reason(&g, &up), "so they say");
            assert_int_equal(gauge_state(&g, &down), UPLINK_DOWN);
            assert_string_equal(gauge_reason(&g, &down), "no carrier");
        }
    }
}

/* "20 ms, 0 %" of an uplink that carries nothing would be what was. */
static void what_was_measured_holds_while_it_lives(void **state)
{
    static const struct {
        enum health_verdict verdict;
        bool holds;
    } all[] = {
        {HEALTH_PROBING, false}, {HEALTH_UP, true}, {HEALTH_DEGRADED, true}, {HEALTH_DEAD, false}};
    struct uplink up = {.state = UPLINK_UP}, down = {.state = UPLINK_DOWN};
    struct gauge g = {.rtt_us = 20000, .health = {.srtt_us = 20000, .answered_us = 1}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        g.health.verdict = all[i].verdict;
        assert_int_equal(gauge_current_rtt_us(&g, &up), all[i].holds ? 20000 : 0);
        assert_int_equal(gauge_is_probed(&g, &up), all[i].holds);
        assert_int_equal(gauge_current_rtt_us(&g, &down), 0);
        assert_false(gauge_is_probed(&g, &down));
    }
    g.health.verdict = HEALTH_UP;
    g.health.refused = true; /* nobody counts what is lost */
    assert_int_equal(gauge_current_rtt_us(&g, &up), 20000);
    assert_false(gauge_is_probed(&g, &up));
    g = (struct gauge){.rtt_us = 30000, .tcp_works = true, .health.verdict = HEALTH_DEAD};
    assert_int_equal(gauge_current_rtt_us(&g, &up), 30000); /* by connections */
    assert_false(gauge_is_probed(&g, &up));
}

/* No probe was ever answered, and yet connections are made: nobody can tell more. */
static void blocked_probes_say_nothing(void **state)
{
    struct uplink up = {.state = UPLINK_UP}, down = {.state = UPLINK_DOWN, .reason = "no carrier"};
    struct gauge g = {.tcp_works = true,
                      .health = {.verdict = HEALTH_DEAD, .reason = "no answer for 9 s"}};

    assert_int_equal(gauge_verdict(&g), HEALTH_UP);
    assert_int_equal(gauge_state(&g, &up), UPLINK_UP);
    assert_string_equal(gauge_reason(&g, &up), "answers no probes: is UDP let through?");
    assert_int_equal(gauge_state(&g, &down), UPLINK_DOWN);
    assert_string_equal(gauge_reason(&g, &down), "no carrier");
    g.health.answered_us = 1; /* they are let through: it is dead */
    assert_int_equal(gauge_verdict(&g), HEALTH_DEAD);
    assert_int_equal(gauge_state(&g, &up), UPLINK_DEAD);
    assert_string_equal(gauge_reason(&g, &up), "no answer for 9 s");
    g.health.answered_us = 0;
    gauge_forget(&g); /* another network: no connection was made there */
    assert_int_equal(gauge_verdict(&g), HEALTH_DEAD);
}

/* A provider begins to block probes: the concentrator's own word belies the death. */
static void a_welcome_outlives_the_probes(void **state)
{
    struct uplink up = {.state = UPLINK_UP};
    struct gauge g = {.health = {.verdict = HEALTH_DEAD,
                                 .answered_us = 9500000,
                                 .dead_us = 10000000,
                                 .reason = "no answer for 9 s"}};

    gauge_welcomed(&g, 12000); /* it was under way */
    assert_int_equal(gauge_verdict(&g), HEALTH_DEAD);
    gauge_welcomed(&g, 12001);
    assert_int_equal(gauge_verdict(&g), HEALTH_UP);
    assert_string_equal(gauge_reason(&g, &up), "answers no probes: is UDP let through?");
    g.health.answered_us = 20000000; /* let through again: it lives on until that is sure */
    assert_int_equal(gauge_verdict(&g), HEALTH_UP);
    for (int i = 0; i < 4; i++)
        gauge_join_failed(&g);
    assert_int_equal(gauge_verdict(&g), HEALTH_DEAD); /* after all */
    gauge_welcomed(&g, 22001);
    assert_int_equal(gauge_verdict(&g), HEALTH_UP);
    g.health.dead_us = 30000000; /* it was back, and another death is another matter */
    assert_int_equal(gauge_verdict(&g), HEALTH_DEAD);
}

/* It flaps: back for so short a time that its probes have not proved it, which let a trunk through;
 * and gone again. */
static void a_welcome_between_two_losses_outlives_nothing(void **state)
{
    struct gauge g = {
        .health = {.verdict = HEALTH_DEAD, .dead_us = 10000000, .answered_us = 13000000}};

    gauge_welcomed(&g, 13050);
    assert_int_equal(gauge_verdict(&g), HEALTH_DEAD);
    gauge_welcomed(&g, 15000);
    assert_int_equal(gauge_verdict(&g), HEALTH_DEAD);
    gauge_welcomed(&g, 15001);
    assert_int_equal(gauge_verdict(&g), HEALTH_UP);
}

/* The concentrator does not run, and its host says so. The uplinks carry; but they lead nowhere. */
static void a_refusal_is_the_concentrators(void **state)
{
    struct uplinks uplinks = {.n = 2};
    struct gauges gauges = {0};
    struct gauge *first = &gauges.of[0], *second = &gauges.of[1];

    for (size_t i = 0; i < 2; i++) {
        uplinks.of[i] = (struct uplink){.state = UPLINK_UP, .v4.usable = true};
        gauges.of[i].health =
            (struct health){.verdict = HEALTH_UP, .answered_us = 5, .reason = "refuses"};
        gauge_welcomed(&gauges.of[i], 1);
    }
    first->health.refused = true;
    first->health.refused_from_us = first->health.refused_us = 10000000;
    gauge_welcomed(first, 12000); /* it was under way */
    assert_true(gauge_is_refused(first));
    assert_int_equal(gauge_state(first, &uplinks.of[0]), UPLINK_UP);
    assert_string_equal(gauge_reason(first, &uplinks.of[0]), "refuses");
    assert_false(gauges_are_mute(&gauges, &uplinks, 4)); /* the other one leads there */
    assert_false(gauges_are_refused(&gauges, &uplinks, 4));
    second->health.refused = true;
    second->health.refused_from_us = 11000000;
    assert_true(gauges_are_mute(&gauges, &uplinks, 4));
    assert_true(gauges_are_refused(&gauges, &uplinks, 4));
    second->health.verdict = HEALTH_DEAD;
    assert_true(gauges_are_refused(&gauges, &uplinks, 4));
    first->health.verdict = HEALTH_DEAD;
    first->health.refused = second->health.refused = false;
    assert_true(gauges_are_mute(&gauges, &uplinks, 4));
    assert_false(gauges_are_refused(&gauges, &uplinks, 4));
    first->health.verdict = HEALTH_UP;
    first->health.refused = true;
    for (int i = 0; i < 9; i++) /* a concentrator that is gone strips nothing */
        gauge_join_failed(first);
    assert_int_equal(first->mptcp, MPTCP_UNKNOWN);
}

/* It rejects UDP only, or a firewall does in its name: connections tell. */
static void a_welcome_outlives_a_refusal(void **state)
{
    struct uplinks uplinks = {.n = 1, .of[0] = {.state = UPLINK_UP, .v4.usable = true}};
    struct gauges gauges = {0};
    struct gauge *g = &gauges.of[0];

    g->health = (struct health){
        .verdict = HEALTH_UP, .answered_us = 5, .refused = true, .refused_from_us = 10000000};
    gauge_welcomed(g, 12001);
    assert_false(gauge_is_refused(g));
    assert_false(gauges_are_mute(&gauges, &uplinks, 4));
    assert_string_equal(gauge_reason(g, &uplinks.of[0]), "answers no probes: is UDP let through?");
    g->health.verdict = HEALTH_DEAD; /* no refusals any more */
    g->health.refused = false;
    g->health.dead_us = 20000000;
    assert_int_equal(gauge_verdict(g), HEALTH_DEAD);
}

/* The same from the beginning: that it carries is known by refusals, and that it died by their end.
 */
static void what_was_refused_from_the_beginning(void **state)
{
    struct uplink up = {.state = UPLINK_UP};
    struct gauge g = {.tcp_works = true,
                      .health = {.verdict = HEALTH_UP,
                                 .refused = true,
                                 .refused_us = 10000000,
                                 .refused_from_us = 10000000}};

    assert_string_equal(gauge_reason(&g, &up), "answers no probes: is UDP let through?");
    g.health.verdict = HEALTH_DEAD;
    g.health.refused = false;
    g.health.dead_us = 20000000;
    assert_int_equal(gauge_state(&g, &up), UPLINK_DEAD);
    gauge_welcomed(&g, 23000);
    assert_int_equal(gauge_state(&g, &up), UPLINK_UP);
}

static void the_schedule_knows_the_dead_and_the_doubtful(void **state)
{
    static const struct uplink_config config;
    struct uplinks uplinks = {.n = 4};
    struct gauges gauges = {0};
    struct schedule s;

    for (size_t i = 0; i < 4; i++) {
        uplinks.of[i] = (struct uplink){.config = &config, .v4.usable = true};
        gauges.of[i].health = (struct health){.verdict = HEALTH_UP, .answered_us = 5};
    }
    gauges.of[1].health.verdict = HEALTH_DEAD;
    gauges.of[2].health.doubtful = true;
    gauges.of[3].health = (struct health){.verdict = HEALTH_DEAD};
    gauges.of[3].tcp_works = true; /* its probes are blocked */
    schedule(&gauges, &uplinks, 4, UINT32_MAX, &s);
    assert_int_equal(s.roles[0], ROLE_ACTIVE);
    assert_int_equal(s.roles[1], ROLE_OFF);
    assert_int_equal(s.roles[2], ROLE_STANDBY);
    assert_int_equal(s.roles[3], ROLE_ACTIVE);
    assert_int_equal(s.order[2], 2);
    schedule(&gauges, &uplinks, 4, 1u << 1, &s);
    assert_int_equal(s.roles[1], ROLE_ACTIVE);
}

/* Saturation is of what is usable and alive; what it becomes, the schedule knows. */
static void the_saturated_need_help(void **state)
{
    static const struct uplink_config configs[] = {{.cost = 0}, {.cost = 10}};
    struct uplinks uplinks = {.n = 2};
    struct gauges gauges = {0};
    struct demand demand = {SCHEDULER_OVERFLOW, UINT32_MAX};
    struct schedule s;

    for (size_t i = 0; i < 2; i++) {
        uplinks.of[i] = (struct uplink){.config = &configs[i], .v4.usable = true};
        gauges.of[i].health = (struct health){.verdict = HEALTH_UP, .answered_us = 5};
        gauges.of[i].capacity.full = true;
    }
    gauges.of[1].health.verdict = HEALTH_DEAD;
    for (clock_ms = 1000; clock_ms < 1300; clock_ms += 100)
        assert_false(gauges_judge_saturation(&gauges, &uplinks, 4, clock_ms));
    assert_true(gauges_judge_saturation(&gauges, &uplinks, 4, clock_ms));
    assert_true(gauges.of[0].saturation.saturated);
    assert_false(gauges.of[1].saturation.saturated);
    gauges.of[1].health.verdict = HEALTH_UP;
    gauges_schedule(&gauges, &uplinks, 4, &demand, NULL, &s);
    assert_int_equal(s.roles[1], ROLE_ACTIVE);
    gauges.of[0].saturation.saturated = false;
    gauges_schedule(&gauges, &uplinks, 4, &demand, NULL, &s);
    assert_int_equal(s.roles[1], ROLE_STANDBY);
}

static void truths_have_names(void **state)
{
    assert_string_equal(mptcp_truth_name(MPTCP_UNKNOWN), "unknown");
    assert_string_equal(mptcp_truth_name(MPTCP_OK), "ok");
    assert_string_equal(mptcp_truth_name(MPTCP_STRIPPED), "stripped");
}

#define SECOND_US 1000000

/* Three of them, all answered by a probe that left at 1 s. */
struct house {
    struct uplink_config configs[3];
    struct uplinks uplinks;
    struct gauges gauges;
};

static void fill(struct house *h)
{
    *h = (struct house){.uplinks.n = 3};
    for (size_t i = 0; i < 3; i++) {
        h->uplinks.of[i].config = &h->configs[i];
        h->uplinks.of[i].v4.usable = true;
        h->gauges.of[i].health.verdict = HEALTH_UP;
        h->gauges.of[i].health.answered_us = h->gauges.of[i].health.carried_us = SECOND_US;
    }
}

static void kill(struct house *h, size_t i, uint64_t at_us)
{
    h->gauges.of[i].health.verdict = HEALTH_DEAD;
    h->gauges.of[i].health.dead_us = at_us;
}

static uint32_t carriers(const struct house *h)
{
    return gauges_carriers(&h->gauges, &h->uplinks, 4);
}

static bool prove(struct house *h)
{
    return gauges_prove_deaths(&h->gauges, &h->uplinks, 4);
}

static bool in_question(const struct house *h)
{
    return gauges_are_in_question(&h->gauges, &h->uplinks, 4);
}

/* What goes by one uplink alone: one beyond its budget only where there is no other, or never. */
static void carriers_and_budgets(void **state)
{
    struct house h;

    fill(&h);
    h.gauges.of[1].spent = h.gauges.of[2].spent = true;
    h.configs[2].on_budget = ON_BUDGET_OFF;
    assert_int_equal(carriers(&h), 1);
    kill(&h, 0, 2 * SECOND_US);
    assert_int_equal(carriers(&h), 1);
    h.gauges.of[0].proved_us = 2 * SECOND_US;
    assert_int_equal(carriers(&h), 2);
    kill(&h, 1, 2 * SECOND_US);
    h.gauges.of[1].proved_us = 2 * SECOND_US;
    assert_int_equal(carriers(&h), 3);
    h.uplinks.of[0].v4.usable = h.uplinks.of[1].v4.usable = false;
    assert_int_equal(carriers(&h), 0);
    h.gauges.of[2].spent = false;
    assert_int_equal(carriers(&h), 4);
}

/* The concentrator is gone: one after the other falls silent, and none is worse than another. */
static void a_silence_of_all_proves_nothing(void **state)
{
    struct house h;

    fill(&h);
    assert_false(in_question(&h));
    for (size_t i = 0; i < 3; i++) {
        kill(&h, i, 2 * SECOND_US + i);
        assert_false(prove(&h));
        assert_int_equal(carriers(&h), 7);
        assert_true(in_question(&h));
    }
}

static void one_that_is_answered_proves_the_death_of_another(void **state)
{
    struct house h;

    fill(&h);
    kill(&h, 0, 2 * SECOND_US);
    h.gauges.of[1].health.carried_us = 2 * SECOND_US - 1; /* the answer may come later */
    assert_false(prove(&h));
    h.gauges.of[1].health.carried_us++;
    assert_true(prove(&h));
    assert_false(prove(&h)); /* once */
    assert_false(in_question(&h));
    assert_int_equal(carriers(&h), 6);
    kill(&h, 1, 3 * SECOND_US); /* it, too, and who knows of what */
    kill(&h, 2, 3 * SECOND_US);
    assert_false(prove(&h));
    assert_int_equal(carriers(&h), 6);
    kill(&h, 0, 4 * SECOND_US); /* it was back in between: another death */
    assert_int_equal(carriers(&h), 7);
}

/* It comes back to one uplink first. */
static void the_concentrator_was_away(void **state)
{
    struct house h;

    fill(&h);
    h.uplinks.of[2].v4.usable = false;
    kill(&h, 0, 2 * SECOND_US);
    kill(&h, 1, 2 * SECOND_US);
    h.gauges.of[1].health.verdict = HEALTH_UP;
    h.gauges.of[1].health.returned_us = h.gauges.of[1].health.carried_us = 9 * SECOND_US;
    assert_false(prove(&h));
    h.gauges.of[1].health.carried_us = 10 * SECOND_US;
    h.gauges.of[0].health.returning = true;
    assert_false(prove(&h));
    assert_int_equal(carriers(&h), 3);
    h.gauges.of[0].health.returning = false;
    assert_true(prove(&h));
    assert_int_equal(carriers(&h), 2);
}

/* Its host refuses one probe a second, and is silent to the rest. */
static void a_refusal_proves_little(void **state)
{
    struct house h;

    fill(&h);
    kill(&h, 0, 2 * SECOND_US);
    h.gauges.of[1].health.refused = true;
    h.gauges.of[1].health.refused_us = 5 * SECOND_US - 1;
    assert_false(prove(&h));
    h.gauges.of[1].health.refused_us++;
    assert_true(prove(&h));
}

/* It will never be answered. */
static void one_whose_probes_are_blocked_proves_it_at_once(void **state)
{
    struct house h;

    fill(&h);
    h.gauges.of[1] = (struct gauge){.tcp_works = true, .health.verdict = HEALTH_DEAD};
    h.uplinks.of[2].v4.usable = false;
    kill(&h, 0, 2 * SECOND_US);
    assert_true(prove(&h));
    assert_int_equal(carriers(&h), 2);
    fill(&h);
    kill(&h, 0, 2 * SECOND_US);
    h.gauges.of[1].health.carried_us = 2 * SECOND_US;
    h.uplinks.of[1].v4.usable = false; /* it is down: its word is an old one */
    assert_false(prove(&h));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rtt_is_taken_as_it_is),
        cmocka_unit_test(probes_tell_better_than_connections),
        cmocka_unit_test(rtt_follows_and_stays_within),
        cmocka_unit_test(a_very_short_rtt_is_measured),
        cmocka_unit_test(forgets),
        cmocka_unit_test(rates_are_bits_per_second),
        cmocka_unit_test(samples_are_half_a_second_apart),
        cmocka_unit_test(a_new_interface_has_no_rate_yet),
        cmocka_unit_test(no_interface_no_rate),
        cmocka_unit_test(the_schedule_knows_what_was_measured),
        cmocka_unit_test(an_unproved_uplink_is_not_crowded_with_starts),
        cmocka_unit_test(the_probes_decide),
        cmocka_unit_test(what_was_measured_holds_while_it_lives),
        cmocka_unit_test(blocked_probes_say_nothing),
        cmocka_unit_test(a_welcome_outlives_the_probes),
        cmocka_unit_test(a_welcome_between_two_losses_outlives_nothing),
        cmocka_unit_test(a_refusal_is_the_concentrators),
        cmocka_unit_test(a_welcome_outlives_a_refusal),
        cmocka_unit_test(what_was_refused_from_the_beginning),
        cmocka_unit_test(the_schedule_knows_the_dead_and_the_doubtful),
        cmocka_unit_test(the_saturated_need_help),
        cmocka_unit_test(truths_have_names),
        cmocka_unit_test(carriers_and_budgets),
        cmocka_unit_test(a_silence_of_all_proves_nothing),
        cmocka_unit_test(one_that_is_answered_proves_the_death_of_another),
        cmocka_unit_test(the_concentrator_was_away),
        cmocka_unit_test(a_refusal_proves_little),
        cmocka_unit_test(one_whose_probes_are_blocked_proves_it_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
