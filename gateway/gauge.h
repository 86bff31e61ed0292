/* What the gateway has measured of each uplink beside the kernel's word: round-trip time, whether
 * MPTCP survives, bytes and rates. Plain data with a few rules; owned by the gateway. */
#ifndef GATEWAY_GAUGE_H
#define GATEWAY_GAUGE_H

#include <stdint.h>

#include "config/gateway_config.h"
#include "gateway/capacity.h"
#include "gateway/health.h"
#include "gateway/saturation.h"
#include "gateway/scheduler.h"
#include "gateway/uplink.h"
#include "gateway/worth.h"

enum mptcp_truth { MPTCP_UNKNOWN, MPTCP_OK, MPTCP_STRIPPED };
const char *mptcp_truth_name(enum mptcp_truth truth);

struct gauge {
    struct health health;     /* by probes (gateway/vitals.h) */
    struct capacity capacity; /* by vitals, too */
    struct saturation saturation;
    struct worth worth;   /* in a bond */
    bool spent;           /* beyond its data budget (gateway/ledger.h): the last resort */
    bool tcp_works;       /* a connection to a concentrator was made there */
    bool welcomed;        /* likewise, and the concentrator itself answered, not its kernel alone */
    uint32_t rtt_us;      /* smoothed as in RFC 6298; 0: never measured */
    uint64_t welcomed_ms; /* when a trunk was last welcomed that began there; 0: never */
    uint64_t proved_us;   /* the death that is not the concentrator's silence; 0: none */
    uint64_t outlived_us; /* the death, or refusal (when it began), a welcome has belied; 0: none */
    uint32_t starting;    /* trunks that dial there, or carry the first bytes of a flow */
    enum mptcp_truth mptcp;
    bool lost_mptcp;       /* the last connection there fell back, perhaps by losses alone */
    bool strips_late;      /* only behind the handshake: trunks are dialled without MPTCP there */
    uint32_t failed_joins; /* in a row, of all connections */
    uint32_t plain;        /* connections over plain TCP that run there, and are not quiet */
    uint64_t rx_bytes, tx_bytes; /* the interface's counters at sampled_ms */
    uint64_t rx_bps, tx_bps;
    uint64_t sampled_ms; /* 0: never */
};

/* One gauge for each uplink, by its index; and what schedulers keep. */
struct gauges {
    struct gauge of[UPLINKS_MAX];
    struct scheduler_memory memory;
    uint32_t turns; /* connections that were placed so far */
};

/* Of a connection that was made there: to whatever concentrator, and behind whatever was queued. It
 * counts only where no probes tell better. */
void gauge_rtt(struct gauge *gauge, uint32_t rtt_us);
/* An uplink with another address may be another network: forget what was measured (all but
 * what counts connections, and health, which is vitals' to forget). */
void gauge_forget(struct gauge *gauge);
/* A trunk that began there was welcomed. */
void gauge_welcomed(struct gauge *gauge, uint64_t now_ms);
/* A connection that was made to find out was not answered. */
void gauge_unheard(struct gauge *gauge);
/* A connection's further subflow there failed. Where all do, while the uplink lives, something on
 * the way refuses them: as good as stripped. */
void gauge_join_failed(struct gauge *gauge);
/* Reads the interface's counters, and takes the rate since the last reading when that is at least
 * half a second old. */
void gauge_sample(struct gauge *gauge, const struct uplinks *uplinks, const struct uplink *uplink,
                  uint64_t now_ms);

/* What is to be thought of the uplink: what its probes say; but where none was ever answered, or is
 * any more, and yet connections are made, they are blocked, and it is up as far as anybody can
 * tell. Where the concentrator's host refuses them, and no connection is made, the concentrator is
 * not there: the uplink is as well as it was. */
enum health_verdict gauge_verdict(const struct gauge *gauge);
/* The uplink's state for a person, from the kernel's word and the verdict, and why it is not simply
 * up ("" where it is). */
enum uplink_state gauge_state(const struct gauge *gauge, const struct uplink *uplink);
const char *gauge_reason(const struct gauge *gauge, const struct uplink *uplink);
/* The round trip as it is now; 0: unknown, as that of an uplink which carries nothing is. */
uint32_t gauge_current_rtt_us(const struct gauge *gauge, const struct uplink *uplink);
/* Its probes are answered: how much is lost, and how round trips vary, is known. */
bool gauge_is_probed(const struct gauge *gauge, const struct uplink *uplink);
bool gauge_is_answered(const struct gauge *gauge); /* likewise, whatever the kernel says of it */
/* How long an answer takes these seconds: to a probe, or to a connection where those are blocked.
 * 0: unknown. */
uint32_t gauge_delay_us(const struct gauge *gauge);
/* It may have died just now, or did in the last minute: such a one may do so again. */
bool gauge_is_unsteady(const struct gauge *gauge);
/* Its probes are refused, and whether they alone are, no connection has told yet. */
bool gauge_is_refused(const struct gauge *gauge);

/* Once a second, after the samples: true when an uplink's worth in a bond has changed. */
bool gauges_judge_worth(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                        uint64_t now_ms);
/* Likewise, after that: true when some scheduler gives other roles now. */
bool gauges_look(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                 uint64_t now_ms);
/* Whenever a capacity was measured: true when an uplink has become saturated, or is no more. */
bool gauges_judge_saturation(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                             uint64_t now_ms);
/* Whenever an uplink was judged: true when a death is proved now to be an uplink's own. It is when
 * another one has been answered since, for as long as that may be the concentrator alone that is
 * silent. One that has come back meanwhile proves it a second later, for the concentrator may have
 * been away, and comes back by one uplink a little before the others. A refusal proves what was 3 s
 * before: a host that has just refused others is silent for about a second. Where probes are
 * blocked there is nothing to wait for. */
bool gauges_prove_deaths(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family);
/* One is dead, and that is not proved: those that live are to be asked. */
bool gauges_are_in_question(const struct gauges *gauges, const struct uplinks *uplinks,
                            uint8_t family);
/* Those that lead somewhere, for what goes by one alone, and pays for each move: bit i for uplink
 * i. Those that live, and those whose death is not proved. One whose data budget is used up is
 * among them only where there is no other; or never, by its on_budget. Where there is none at all
 * they are those that are usable. */
uint32_t gauges_carriers(const struct gauges *gauges, const struct uplinks *uplinks,
                         uint8_t family);
/* By every usable uplink no word comes from the concentrator: neither answers to probes nor, where
 * none was ever answered, a welcome. Then it is rather the concentrator that is silent. (Subflows
 * join one that hangs all the same: its kernel lets them.) */
bool gauges_are_mute(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family);
/* Likewise, and by one of them at least its host says so. */
bool gauges_are_refused(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family);

/* The schedule of a connection as things are now. family: of the concentrator's address; placement:
 * as in scheduler_decide(). */
void gauges_schedule(const struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                     const struct demand *demand, const struct placement *placement,
                     struct schedule *out);
/* The first one of a new connection: it is given its placement. */
void gauges_place(struct gauges *gauges, const struct uplinks *uplinks, uint8_t family,
                  const struct demand *demand, struct schedule *out);

#endif
