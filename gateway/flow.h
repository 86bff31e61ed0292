/* One LAN connection on its way: original destination, policy, trunk, relay, end. */
#ifndef GATEWAY_FLOW_H
#define GATEWAY_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "core/list.h"
#include "core/relay.h"
#include "gateway/concentrators.h"
#include "gateway/rules.h"

enum flow_state {
    FLOW_CHOOSING, /* policy known; the client's first bytes may decide how it is carried */
    FLOW_GREETING, /* OPEN is out */
    FLOW_RELAYING,
    FLOW_CLOSED
};

struct flow;

/* Told once, when the flow has closed. failed: by a fault between us and the concentrator, not by
 * the will or the state of the client or the destination. The owner frees it later, from outside
 * its callbacks. */
typedef void flow_closed(void *arg, struct flow *flow, bool failed);

/* What all flows of a gateway share. */
struct flow_context {
    const struct gateway_config *config;
    const struct rules *rules; /* of config */
    const struct trunk_context *trunks;
    struct concentrators *concentrators;
    struct relay_group *relays;
    flow_closed *closed;
    void *arg;
};

/* fd is an intercepted connection (its getsockname() is the original destination); it is taken,
 * also when NULL (out of memory) is returned. */
struct flow *flow_new(const struct flow_context *context, uint64_t id, int fd,
                      const struct addr *client);
/* Sets it going; closed() may come at once. */
void flow_start(struct flow *flow);
/* Resets what is left of it. NULL is fine. */
void flow_free(struct flow *flow);
/* To be called every second: a flow that has become quiet gives uplinks back; one that carries much
 * replaces a path that has died for it alone. */
void flow_look(struct flow *flow, uint64_t now_ms);
/* The uplinks have changed: its roles follow. */
void flow_reschedule(struct flow *flow);
/* The context has other rules: its uplinks and its scheduler are as the first that matches now
 * says. It stays sealed, or plain; and where it would now go direct or be refused, that is for
 * those to come. */
void flow_follow_rules(struct flow *flow);
/* Does its scheduler need to know how near every uplink is, and has it carried something since
 * then?
 */
bool flow_compares(const struct flow *flow, uint64_t since_ms);
/* Its concentrator is down: a flow that has not been opened there never will be. */
void flow_give_up(struct flow *flow);
/* Does it begin, or has it carried something since then? */
bool flow_is_active(const struct flow *flow, uint64_t since_ms);
/* The owner's mark: for which state of the uplinks it has been rescheduled. */
uint32_t *flow_mark(struct flow *flow);

struct flow_status {
    uint64_t id;
    enum flow_state state;
    struct addr client, destination;
    const char *rule, *concentrator, *first_uplink; /* "" while unknown */
    enum scheduler_kind scheduler;
    bool sealed, is_mptcp;
    uint64_t age_ms, rx_bytes, tx_bytes; /* as the client sees it: rx is what it receives */
    const struct paths *paths;           /* NULL: none */
    int far_fd;                          /* -1: none */
};
void flow_status(const struct flow *flow, struct flow_status *out);

/* For the owner's list. */
struct list *flow_node(struct flow *flow);
struct flow *flow_of_node(struct list *node);

#endif
