/* Which uplink plays which role for a flow: a pure function of policy and uplinks. */
#ifndef GATEWAY_SCHEDULER_H
#define GATEWAY_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/gateway_config.h"

enum role {
    ROLE_OFF,     /* no subflow there */
    ROLE_STANDBY, /* joined with the backup flag */
    ROLE_ACTIVE
};
const char *role_name(enum role role);

/* What is known of an uplink when the decision falls. */
struct uplink_view {
    bool usable;   /* it has a way out */
    bool dead;     /* which leads nowhere, as far as we know: the last resort */
    bool doubtful; /* it may just have died */
    bool slow;     /* it would slow a bond (gateway/worth.h) */
    bool stripped; /* MPTCP does not survive on it */
    uint32_t cost;
    uint32_t rtt_us;   /* 0: not measured yet */
    uint32_t starting; /* flows that are just beginning there */
    uint32_t plain;    /* flows that have only this uplink, by plain TCP */
    /* The concentrator takes few more connections from there before one has proved who we are. */
    bool crowded;
};

struct schedule {
    enum role roles[UPLINKS_MAX];
    /* A flow that carries little runs on one uplink, with the other active ones standing by; while
     * it carries much, it has them all. The kernel would spread even a single answer over all
     * uplinks, and a page would wait for the slowest. */
    bool narrows;
    /* Uplinks on which the first subflow may start, best first. */
    uint8_t order[UPLINKS_MAX];
    size_t n_order;
};

/* allowed: bit i for uplink i. */
void scheduler_decide(enum scheduler_kind kind, const struct uplink_view *uplinks, size_t n,
                      uint32_t allowed, struct schedule *out);

#endif
