/* The WAN uplinks: what the kernel says of each (carrier, addresses, default gateway), and the
 * state that follows from it. Found and followed through rtnetlink. */
#ifndef GATEWAY_UPLINK_H
#define GATEWAY_UPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>

#include "config/gateway_config.h"
#include "core/addr.h"

enum uplink_state { UPLINK_DOWN, UPLINK_PROBING, UPLINK_UP, UPLINK_DEGRADED, UPLINK_DEAD };
const char *uplink_state_name(enum uplink_state state);

/* One family's way out. */
struct uplink_route {
    struct addr address; /* family 0: none */
    uint8_t prefix;      /* of the interface's network */
    struct addr gateway; /* family 0: none needed (point to point) */
    bool usable;         /* an address, and a gateway or a point-to-point link */
};

struct uplink {
    const struct uplink_config *config;
    uint32_t index;     /* its place in the configuration; also its bit in a rule's mask */
    uint8_t address_id; /* index + 1: its MPTCP address id */
    uint32_t ifindex;   /* 0: no such interface */
    bool carrier;
    bool barred; /* by uplinks_bar() */
    struct uplink_route v4, v6;
    enum uplink_state state;
    char reason[96]; /* why it is not up, for a person: "no carrier"; "" when up */
};

/* The route of the family (4 or 6) that the concentrator's address needs. */
const struct uplink_route *uplink_route(const struct uplink *uplink, uint8_t family);
/* May a flow to a concentrator of that family use it now? */
bool uplink_usable(const struct uplink *uplink, uint8_t family);

/* False in a place that is free (struct gateway_config): to all who look at it there is an uplink
 * that is down. */
bool uplink_exists(const struct uplink *uplink);
const char *uplink_name(const struct uplink *uplink); /* "(removed)" there */

struct uplinks;

/* Something of this uplink changed (state, address, gateway, interface): before and after. Called
 * from the event loop, after all uplinks have been assessed anew. Both may be equal: an interface
 * that went away and came back within milliseconds is as before, but the kernel has dropped its
 * routes: apply them again. It must not free the uplinks. */
typedef void uplink_changed(void *arg, const struct uplink *before, const struct uplink *now);

/* Reads the kernel's state before returning (without calling changed), then follows it. config must
 * outlive it, up to uplinks_reload(). family: of the concentrators (4, 6, or 0 for either): an
 * uplink is up when it has a route of it. Returns 0, or -errno. */
int uplinks_new(struct uplinks **out, struct event_base *base, const struct gateway_config *config,
                uint8_t family, uplink_changed *changed, void *arg);
void uplinks_free(struct uplinks *uplinks); /* NULL is fine */
/* From now on those of config, made by gateway_config_reload() from the one before. Calls changed()
 * before returning, for every place whose uplink is another one now, too. */
void uplinks_reload(struct uplinks *uplinks, const struct gateway_config *config, uint8_t family);
/* Of places, free ones too. */
size_t uplinks_count(const struct uplinks *uplinks);
const struct uplink *uplinks_get(const struct uplinks *uplinks, size_t index);
/* The indexes of those that exist, in the configuration's order. Returns how many. */
size_t uplinks_in_order(const struct uplinks *uplinks, uint8_t order[UPLINKS_MAX]);

/* It may not be used, whatever the kernel says: it is down; or no longer so. Tells of it as of any
 * change, from the event loop. */
void uplinks_bar(struct uplinks *uplinks, size_t index, bool barred);

/* What the interface has carried since it exists. */
struct uplink_counters {
    uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets;
};
/* Returns 0, or -errno. */
int uplinks_read_counters(const struct uplinks *uplinks, const struct uplink *uplink,
                          struct uplink_counters *out);

#endif
