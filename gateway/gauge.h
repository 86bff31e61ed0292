/* What the gateway has measured of each uplink beside the kernel's word: round-trip time, whether
 * MPTCP survives, bytes and rates. Plain data with a few rules; owned by the gateway. */
#ifndef GATEWAY_GAUGE_H
#define GATEWAY_GAUGE_H

#include <stdint.h>

#include "config/gateway_config.h"
#include "gateway/scheduler.h"
#include "gateway/uplink.h"

enum mptcp_truth { MPTCP_UNKNOWN, MPTCP_OK, MPTCP_STRIPPED };
const char *mptcp_truth_name(enum mptcp_truth truth);

struct gauge {
    uint32_t rtt_us;      /* smoothed as in RFC 6298; 0: never measured */
    uint64_t welcomed_ms; /* when a trunk was last welcomed that began there; 0: never */
    uint32_t starting;    /* trunks that dial there, or carry the first bytes of a flow */
    enum mptcp_truth mptcp;
    uint64_t rx_bytes, tx_bytes; /* the interface's counters at sampled_ms */
    uint64_t rx_bps, tx_bps;
    uint64_t sampled_ms; /* 0: never */
};

/* One gauge for each uplink, by its index. */
struct gauges {
    struct gauge of[UPLINKS_MAX];
};

void gauge_rtt(struct gauge *gauge, uint32_t rtt_us);
/* An uplink with another address may be another network: forget what was measured (all but
 * starting). */
void gauge_forget(struct gauge *gauge);
/* Reads the interface's counters, and takes the rate since the last reading when that is at least
 * half a second old. */
void gauge_sample(struct gauge *gauge, const struct uplink *uplink, uint64_t now_ms);

/* The schedule of a flow as things are now. family: of the concentrator's address. */
void gauges_schedule(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                     enum scheduler_kind kind, uint32_t allowed, struct schedule *out);

#endif
