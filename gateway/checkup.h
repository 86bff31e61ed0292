/* A look at every uplink by itself, without a gateway that runs, or beside one: does it lead to the
 * concentrator, does MPTCP survive there, is the key accepted, how far is it, what gets lost, how
 * large a packet gets through. Blocks; changes nothing. */
#ifndef GATEWAY_CHECKUP_H
#define GATEWAY_CHECKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "config/gateway_config.h"
#include "gateway/trunk.h"
#include "gateway/uplink.h"

#define CHECKUP_PROBES 10

struct checkup_result {
    struct uplink uplink; /* as it was; its config is the gateway's */
    bool tried;           /* it had a way out; else all that follows is empty */
    bool welcomed;        /* the concentrator takes our key */
    enum trunk_failure why;
    int error;           /* unless it was welcomed: why, as in gateway/trunk.h */
    uint32_t connect_ms; /* where it was connected to */
    bool connected, mptcp;
    unsigned answered; /* of CHECKUP_PROBES */
    double rtt_ms;     /* the median of these */
    unsigned mtu;      /* the largest packet of those tried that got there; 0: unknown */
    bool has_clock;    /* the concentrator has told its time: */
    int64_t ahead_ms;  /* ours is so much later */
};

/* Of one concentrator of the configuration; out: one for each of its uplinks, in its order. Takes
 * up to about 10 s. Returns 0, or -errno. */
int checkup_run(const struct gateway_config *config, size_t concentrator,
                struct checkup_result out[UPLINKS_MAX]);

#endif
