#include "gateway/gauge.h"

#include "core/clock.h"

#define SAMPLE_MIN_MS 500
#define JOINS_REFUSED 4

const char *mptcp_truth_name(enum mptcp_truth truth)
{
    static const char names[][12] = {"unknown", "ok", "stripped"};

    return names[truth];
}

void gauge_forget(struct gauge *g)
{
    *g = (struct gauge){
        .starting = g->starting, .plain = g->plain, .health = g->health, .spent = g->spent};
}

void gauge_sample(struct gauge *g, const struct uplinks *uplinks, const struct uplink *uplink,
                  uint64_t now_ms)
{
    struct uplink_counters now;
    uint64_t elapsed = now_ms - g->sampled_ms;

    if (g->sampled_ms && elapsed < SAMPLE_MIN_MS)
        return;
    if (uplinks_read_counters(uplinks, uplink, &now) < 0) {
        g->rx_bps = g->tx_bps = 0;
        g->sampled_ms = 0;
        return;
    }
    /* A new interface counts from zero. */
    bool goes_on = g->sampled_ms && now.rx_bytes >= g->rx_bytes && now.tx_bytes >= g->tx_bytes;
    g->rx_bps = goes_on ? (now.rx_bytes - g->rx_bytes) * 8000 / elapsed : 0;
    g->tx_bps = goes_on ? (now.tx_bytes - g->tx_bytes) * 8000 / elapsed : 0;
    g->rx_bytes = now.rx_bytes;
    g->tx_bytes = now.tx_bytes;
    g->sampled_ms = now_ms;
}

/* A welcome that was under way when the last answer came, or when it died, came within so long. */
#define WELCOME_LATE_MS 2000

/* By silence, or by the word of a host where nobody listens. */
static bool is_unanswered(const struct health *h)
{
    return h->verdict == HEALTH_DEAD || h->refused;
}

static bool is_answered(const struct health *h)
{
    return h->srtt_us > 0 && !is_unanswered(h);
}

void gauge_rtt(struct gauge *g, uint32_t rtt_us)
{
    uint64_t smoothed = g->rtt_us ? ((uint64_t)g->rtt_us * 7 + rtt_us) / 8 : rtt_us;

    if (!is_answered(&g->health))
        g->rtt_us = smoothed ? (uint32_t)smoothed : 1; /* 0 would be "never" */
}

static uint64_t unanswered_since_us(const struct health *h)
{
    return h->verdict == HEALTH_DEAD ? h->dead_us : h->refused_from_us;
}

/* Where answers came after that it was alive for a while, and nothing was outlived. */
static bool outlives_probes(const struct health *h, uint64_t now_ms)
{
    uint64_t since_us = unanswered_since_us(h);
    uint64_t last_us = h->answered_us > since_us ? h->answered_us : since_us;

    return is_unanswered(h) && now_ms > last_us / 1000 + WELCOME_LATE_MS;
}

void gauge_welcomed(struct gauge *g, uint64_t now_ms)
{
    g->welcomed_ms = now_ms;
    g->tcp_works = g->welcomed = true;
    if (outlives_probes(&g->health, now_ms))
        g->outlived_us = unanswered_since_us(&g->health);
}

void gauge_unheard(struct gauge *g)
{
    g->tcp_works = false;
    g->outlived_us = 0;
}

/* The concentrator has welcomed us there although its probes had ceased. */
static bool outlived_probes(const struct gauge *g)
{
    return is_unanswered(&g->health) && g->outlived_us &&
           g->outlived_us == unanswered_since_us(&g->health);
}

void gauge_join_failed(struct gauge *g)
{
    if (++g->failed_joins < JOINS_REFUSED)
        return;
    if (g->health.verdict == HEALTH_UP && (!g->health.refused || outlived_probes(g)))
        g->mptcp = MPTCP_STRIPPED;
    else if (g->health.verdict == HEALTH_DEAD && outlived_probes(g))
        g->outlived_us = 0; /* dead after all */
}

/* Where none was ever answered, but refused, and is no more, it has died. */
static bool were_always_blocked(const struct gauge *g)
{
    const struct health *h = &g->health;

    return g->tcp_works && !h->answered_us && (h->refused || !h->refused_us);
}

static bool probes_are_blocked(const struct gauge *g)
{
    return were_always_blocked(g) || outlived_probes(g);
}

enum health_verdict gauge_verdict(const struct gauge *g)
{
    return probes_are_blocked(g) ? HEALTH_UP : g->health.verdict;
}

enum uplink_state gauge_state(const struct gauge *g, const struct uplink *uplink)
{
    static const enum uplink_state states[] = {[HEALTH_PROBING] = UPLINK_PROBING,
                                               [HEALTH_UP] = UPLINK_UP,
                                               [HEALTH_DEGRADED] = UPLINK_DEGRADED,
                                               [HEALTH_DEAD] = UPLINK_DEAD};

    return uplink->state == UPLINK_DOWN ? UPLINK_DOWN : states[gauge_verdict(g)];
}

const char *gauge_reason(const struct gauge *g, const struct uplink *uplink)
{
    if (uplink->state == UPLINK_DOWN)
        return uplink->reason;
    if (probes_are_blocked(g) && is_unanswered(&g->health))
        return "answers no probes: is UDP let through?";
    if (g->health.reason[0])
        return g->health.reason;
    return g->spent ? "its data budget is used up: for when no other is well" : g->worth.reason;
}

static bool carries(const struct gauge *g, const struct uplink *uplink)
{
    enum uplink_state state = gauge_state(g, uplink);

    return state == UPLINK_UP || state == UPLINK_DEGRADED;
}

uint32_t gauge_current_rtt_us(const struct gauge *g, const struct uplink *uplink)
{
    return carries(g, uplink) ? g->rtt_us : 0;
}

bool gauge_is_probed(const struct gauge *g, const struct uplink *uplink)
{
    return carries(g, uplink) && is_answered(&g->health);
}

bool gauge_is_answered(const struct gauge *g)
{
    return is_answered(&g->health);
}

bool gauge_is_refused(const struct gauge *g)
{
    return g->health.refused && !probes_are_blocked(g);
}

static bool is_mute(const struct gauge *g)
{
    return is_unanswered(&g->health) && (g->health.answered_us || !g->welcomed) &&
           !outlived_probes(g);
}

static bool may_carry(const struct gauge *g, const struct uplink *uplink, uint8_t family)
{
    bool off = g->spent && uplink->config->on_budget == ON_BUDGET_OFF;

    return uplink_usable(uplink, family) && !off;
}

#define BACK_US 1000000u
#define REFUSED_US 3000000u

static bool is_unproved(const struct gauge *g)
{
    return gauge_verdict(g) == HEALTH_DEAD && g->health.dead_us != g->proved_us;
}

/* That the one which is dead is so by itself: other lives, and has been heard since. */
static bool proves(const struct gauge *other, const struct gauge *dead)
{
    const struct health *h = &other->health;
    uint64_t since_us = dead->health.dead_us;

    if (gauge_verdict(other) == HEALTH_DEAD)
        return false;
    if (h->returned_us > since_us)
        since_us = h->returned_us + BACK_US;
    return probes_are_blocked(other) || h->carried_us >= since_us ||
           h->refused_us >= since_us + REFUSED_US;
}

bool gauges_prove_deaths(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family)
{
    size_t n = uplinks_count(uplinks);
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        struct gauge *dead = &gauges->of[i];
        bool proved = false;
        if (!is_unproved(dead) || dead->health.returning)
            continue;
        for (size_t j = 0; j < n && !proved; j++)
            proved = uplink_usable(uplinks_get(uplinks, j), family) && proves(&gauges->of[j], dead);
        if (proved)
            dead->proved_us = dead->health.dead_us;
        any = any || proved;
    }
    return any;
}

bool gauges_are_in_question(const struct gauges *gauges, const struct uplinks *uplinks,
                            uint8_t family)
{
    for (size_t i = 0; i < uplinks_count(uplinks); i++) {
        if (uplink_usable(uplinks_get(uplinks, i), family) && is_unproved(&gauges->of[i]))
            return true;
    }
    return false;
}

uint32_t gauges_carriers(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family)
{
    uint32_t well = 0, spent = 0, dead = 0;

    for (size_t i = 0; i < uplinks_count(uplinks); i++) {
        const struct gauge *g = &gauges->of[i];
        if (!may_carry(g, uplinks_get(uplinks, i), family))
            continue;
        if (gauge_verdict(g) == HEALTH_DEAD && !is_unproved(g))
            dead |= UINT32_C(1) << i;
        else if (g->spent)
            spent |= UINT32_C(1) << i;
        else
            well |= UINT32_C(1) << i;
    }
    return well ? well : spent ? spent : dead;
}

bool gauges_are_mute(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family)
{
    size_t usable = 0, mute = 0;

    for (size_t i = 0; i < uplinks_count(uplinks); i++) {
        if (!uplink_usable(uplinks_get(uplinks, i), family))
            continue;
        usable++;
        mute += is_mute(&gauges->of[i]);
    }
    return usable > 0 && mute == usable;
}

bool gauges_are_refused(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family)
{
    bool refused = false;

    for (size_t i = 0; i < uplinks_count(uplinks); i++)
        refused = refused || (uplink_usable(uplinks_get(uplinks, i), family) &&
                              gauge_is_refused(&gauges->of[i]));
    return refused && gauges_are_mute(gauges, uplinks, family);
}

/* A concentrator takes 32 connections from an address before their HELLO, by default, and any
 * number from one where a gateway was welcomed in the last 10 minutes. */
#define UNPROVED_STARTS 16
#define PROVED_MS (8 * 60 * 1000)

static bool is_crowded(const struct gauge *g, uint64_t now_ms)
{
    bool proved = g->welcomed_ms && now_ms - g->welcomed_ms < PROVED_MS;

    return !proved && g->starting >= UNPROVED_STARTS;
}

#define JUST_BACK_US (60 * 1000000ull)

bool gauge_is_unsteady(const struct gauge *g)
{
    const struct health *h = &g->health;

    return h->doubtful || (h->returned && h->now_us - h->returned_us < JUST_BACK_US);
}

/* Probes that were lost with the uplink itself say nothing of how it is while it lives. */
static uint32_t loss_while_alive(const struct gauge *g)
{
    return gauge_is_unsteady(g) ? 0 : g->health.loss_permille;
}

bool gauges_judge_worth(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                        uint64_t now_ms)
{
    struct worth worths[UPLINKS_MAX];
    struct worth_view views[UPLINKS_MAX];
    size_t n = uplinks_count(uplinks);

    for (size_t i = 0; i < n; i++) {
        const struct gauge *g = &gauges->of[i];
        worths[i] = g->worth;
        views[i] = (struct worth_view){.usable = uplink_usable(uplinks_get(uplinks, i), family) &&
                                                 gauge_verdict(g) != HEALTH_DEAD &&
                                                 g->mptcp != MPTCP_STRIPPED,
                                       .bps = g->rx_bps > g->tx_bps ? g->rx_bps : g->tx_bps,
                                       .full = g->capacity.full,
                                       .min_rtt_us = (uint32_t)g->health.min_rtt_us,
                                       .loss_permille = loss_while_alive(g)};
    }
    bool changed = worth_judge(worths, views, n, now_ms);
    for (size_t i = 0; i < n; i++)
        gauges->of[i].worth = worths[i];
    return changed;
}

bool gauges_judge_saturation(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                             uint64_t now_ms)
{
    struct saturation of[UPLINKS_MAX];
    struct saturation_view views[UPLINKS_MAX];
    size_t n = uplinks_count(uplinks);

    for (size_t i = 0; i < n; i++) {
        const struct gauge *g = &gauges->of[i];
        const struct uplink *u = uplinks_get(uplinks, i);
        of[i] = g->saturation;
        views[i] = (struct saturation_view){.usable = uplink_usable(u, family) &&
                                                      gauge_verdict(g) != HEALTH_DEAD,
                                            .cost = u->config->cost,
                                            .capacity = &g->capacity};
    }
    bool changed = saturation_judge(of, views, n, now_ms);
    for (size_t i = 0; i < n; i++)
        gauges->of[i].saturation = of[i];
    return changed;
}

uint32_t gauge_delay_us(const struct gauge *g)
{
    return g->health.delay_us ? (uint32_t)g->health.delay_us : g->rtt_us;
}

/* Returns how many there are. */
static size_t view_all(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                       uint64_t now_ms, struct uplink_view *views)
{
    size_t n = uplinks_count(uplinks);

    for (size_t i = 0; i < n; i++) {
        const struct uplink *u = uplinks_get(uplinks, i);
        const struct gauge *g = &gauges->of[i];
        views[i] = (struct uplink_view){.usable = uplink_usable(u, family),
                                        .dead = gauge_verdict(g) == HEALTH_DEAD,
                                        .doubtful = g->health.doubtful,
                                        .slow = worth_is_slow(&g->worth),
                                        .stripped = g->mptcp == MPTCP_STRIPPED,
                                        .saturated = g->saturation.saturated,
                                        .spent = g->spent,
                                        .cost = u->config->cost,
                                        .weight = u->config->weight,
                                        .rank = u->config->rank,
                                        .rtt_us = g->rtt_us,
                                        .delay_us = gauge_delay_us(g),
                                        .loss_permille = loss_while_alive(g),
                                        .down_capacity_bps = capacity_proven_bps(&g->capacity.down),
                                        .up_capacity_bps = capacity_proven_bps(&g->capacity.up),
                                        .starting = g->starting,
                                        .plain = g->plain,
                                        .crowded = is_crowded(g, now_ms)};
    }
    return n;
}

bool gauges_look(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                 uint64_t now_ms)
{
    struct uplink_view views[UPLINKS_MAX];
    size_t n = view_all(gauges, uplinks, family, now_ms, views);

    return scheduler_look(&gauges->memory, views, n, now_ms);
}

void gauges_schedule(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                     const struct demand *demand, const struct placement *placement,
                     struct schedule *out)
{
    struct uplink_view views[UPLINKS_MAX];
    size_t n = view_all(gauges, uplinks, family, clock_now_ms(), views);

    scheduler_decide(demand, placement, &gauges->memory, views, n, out);
}

void gauges_place(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                  const struct demand *demand, struct schedule *out)
{
    struct placement newborn = {.turn = gauges->turns++, .home = UPLINK_NONE};

    gauges_schedule(gauges, uplinks, family, demand, &newborn, out);
}
