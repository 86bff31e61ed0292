#include "gateway/gauge.h"

#include "core/clock.h"

#define SAMPLE_MIN_MS 500

const char *mptcp_truth_name(enum mptcp_truth truth)
{
    static const char *const names[] = {"unknown", "ok", "stripped"};

    return names[truth];
}

void gauge_rtt(struct gauge *g, uint32_t rtt_us)
{
    uint64_t smoothed = g->rtt_us ? ((uint64_t)g->rtt_us * 7 + rtt_us) / 8 : rtt_us;

    g->rtt_us = smoothed ? (uint32_t)smoothed : 1; /* 0 would be "never" */
}

void gauge_forget(struct gauge *g)
{
    *g = (struct gauge){.starting = g->starting};
}

void gauge_sample(struct gauge *g, const struct uplink *uplink, uint64_t now_ms)
{
    uint64_t rx, tx;
    uint64_t elapsed = now_ms - g->sampled_ms;

    if (g->sampled_ms && elapsed < SAMPLE_MIN_MS)
        return;
    if (uplink_counters(uplink, &rx, &tx) < 0) {
        g->rx_bps = g->tx_bps = 0;
        g->sampled_ms = 0;
        return;
    }
    /* A new interface counts from zero. */
    bool goes_on = g->sampled_ms && rx >= g->rx_bytes && tx >= g->tx_bytes;
    g->rx_bps = goes_on ? (rx - g->rx_bytes) * 8000 / elapsed : 0;
    g->tx_bps = goes_on ? (tx - g->tx_bytes) * 8000 / elapsed : 0;
    g->rx_bytes = rx;
    g->tx_bytes = tx;
    g->sampled_ms = now_ms;
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

void gauges_schedule(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                     enum scheduler_kind kind, uint32_t allowed, struct schedule *out)
{
    struct uplink_view views[UPLINKS_MAX];
    size_t n = uplinks_count(uplinks);
    uint64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < n; i++) {
        const struct uplink *u = uplinks_get(uplinks, i);
        views[i] = (struct uplink_view){.usable = uplink_usable(u, family),
                                        .stripped = gauges->of[i].mptcp == MPTCP_STRIPPED,
                                        .cost = u->config->cost,
                                        .rtt_us = gauges->of[i].rtt_us,
                                        .starting = gauges->of[i].starting,
                                        .crowded = is_crowded(&gauges->of[i], now_ms)};
    }
    scheduler_decide(kind, views, n, allowed, out);
}
