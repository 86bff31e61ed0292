/* Which uplink plays which role for a flow. The door to gateway/schedulers, where each scheduler is
 * a file and a row of the table in scheduler.c. All of it is pure: what is known of the uplinks,
 * and the time, go in; roles come out. What a scheduler has to remember is plain data of its
 * caller's. */
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
    bool usable;    /* it has a way out */
    bool dead;      /* which leads nowhere, as far as we know: the last resort */
    bool doubtful;  /* it may just have died */
    bool slow;      /* it would slow a bond (gateway/worth.h) */
    bool stripped;  /* MPTCP does not survive on it */
    bool spent;     /* its data budget is used up: for when nothing else lives */
    bool saturated; /* it carries about all that it can, in one direction at least */
    uint32_t cost;
    uint32_t rank;          /* in the configuration's order */
    uint32_t weight;        /* 0: none configured */
    uint32_t rtt_us;        /* smoothed; 0: not measured yet */
    uint32_t delay_us;      /* round trips, queues included, over the last seconds; 0: unknown */
    uint32_t loss_permille; /* of probes */
    uint64_t down_capacity_bps, up_capacity_bps; /* what it can carry; 0: unknown */
    uint32_t starting;                           /* flows that are just beginning there */
    uint32_t plain; /* connections that have only this uplink, by plain TCP; not quiet ones */
    /* The concentrator takes few more connections from there before one has proved who we are. */
    bool crowded;
};

/* What a flow asks for. */
struct demand {
    enum scheduler_kind scheduler;
    uint32_t uplinks; /* bit i: uplink i may be used */
};

/* What a connection keeps from one decision to the next. */
struct placement {
    uint32_t turn; /* how many there were before it */
    uint8_t home;  /* the uplink that it was given when it began, or UPLINK_NONE */
};
#define UPLINK_NONE UPLINKS_MAX

struct schedule {
    enum role roles[UPLINKS_MAX];
    /* A flow that carries little runs on one uplink, with the other active ones standing by; while
     * it carries much, it has them all. The kernel would spread even a single answer over all
     * uplinks, and a page would wait for the slowest. */
    bool narrows;
    /* Uplinks on which the first subflow may start, best first. */
    uint8_t order[UPLINKS_MAX];
    size_t n_order;
    struct placement placement; /* for the next decision on the same connection */
};

/* Of gateway/schedulers/latency.c. */
struct latency_memory {
    uint8_t order[UPLINKS_MAX]; /* of all uplinks, the best first */
    size_t n;                   /* 0: not yet */
    /* Since when an uplink has been clearly better than the one before it; 0: it is not. */
    uint64_t since_ms[UPLINKS_MAX];
    uint64_t looked_ms, moved_ms;
    uint32_t moves; /* each within a minute of the last */
};

/* What schedulers remember of the uplinks, each in a member of its own. Zero: nothing yet. It is
 * the same for all flows, whichever uplinks they may use. */
struct scheduler_memory {
    struct latency_memory latency;
};

/* When the first flow begins, and once a second while flows run. True when roles may have changed:
 * decide anew for all flows. */
bool scheduler_look(struct scheduler_memory *memory, const struct uplink_view *uplinks, size_t n,
                    uint64_t now_ms);

/* placement: of the connection, as it stands in its last schedule; at its birth, with its turn and
 * no home. NULL: the roles that uplinks have for flows as a whole. */
void scheduler_decide(const struct demand *demand, const struct placement *placement,
                      const struct scheduler_memory *memory, const struct uplink_view *uplinks,
                      size_t n, struct schedule *out);

#endif
