/* Our routing tables and policy rules, all tagged with ROUTES_PROTOCOL: one table for each uplink
 * with its default route, a rule `from ADDRESS` that leads there, and the local table that TPROXY
 * needs. Nothing else is touched. */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include <stdint.h>

#include "config/gateway_config.h"
#include "gateway/uplink.h"

/* Our own rtnetlink protocol number (RTPROT_*, FRA_PROTOCOL): unused in rt_protos of iproute2,
 * FRR, BIRD and OpenWrt. */
#define ROUTES_PROTOCOL 171

struct routes;

/* Removes leftovers of an earlier life first. Returns 0, or -errno (-EPERM). config must outlive
 * it. */
int routes_new(struct routes **out, const struct gateway_config *config);
void routes_free(struct routes *routes); /* leaves the kernel's state alone; NULL is fine */

/* Makes the uplink's tables and rules (both families) what it needs now; an uplink that is down
 * has none. Idempotent. Returns 0, or the first -errno. */
int routes_apply(struct routes *routes, const struct uplink *uplink);
/* Interception: `fwmark MARK lookup TABLE`, and there `local default dev lo`; both families. */
int routes_intercept(struct routes *routes, bool on);

/* Deletes every rule and route with our protocol number in this namespace. Opens a socket of its
 * own: the guard calls it after the daemon's death. Returns 0, or -errno. */
int routes_flush(void);

#endif
