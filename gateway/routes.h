/* Our routing tables and policy rules, all tagged with ROUTES_PROTOCOL: one table for each uplink
 * with its default route, rules that lead there (`from ADDRESS`; `fwmark` for direct flows, where a
 * rule of the configuration names the uplink), the local table that TPROXY needs, and the default
 * route of what is not proxied. Nothing else is touched.
 *
 * table           priority       of the configuration's routing_table and rule_priority on
 * +0              +0             intercepted packets; before any rule of others with a lower number
 * +1 ... +8       +1 ... +8      uplinks, by index
 * +9              +9, +10        what is not proxied */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/netlink.h>

#include "config/gateway_config.h"
#include "gateway/uplink.h"

/* Our own rtnetlink protocol number (RTPROT_*, FRA_PROTOCOL): unused in rt_protos of iproute2,
 * FRR, BIRD and OpenWrt. */
#define ROUTES_PROTOCOL 171

struct routes;

/* Removes leftovers of an earlier life first. Returns 0, or -errno (-EPERM). config must outlive
 * it, up to routes_reload(). */
int routes_new(struct routes **out, const struct gateway_config *config);
void routes_free(struct routes *routes); /* leaves the kernel's state alone; NULL is fine */

/* Makes the uplink's tables and rules (both families) what it needs now; an uplink that is down
 * has none. Idempotent. Returns 0, or the first -errno. */
int routes_apply(struct routes *routes, const struct uplink *uplink);
/* Puts back what somebody else may have removed. Where a rule is missing, all of the uplink's are
 * for a moment. */
int routes_restore(struct routes *routes, const struct uplink *uplink);
/* Interception: `fwmark MARK lookup TABLE`, and there `local default dev lo`; both families. To be
 * called again when rules of others have come or gone: it stays in front of them. */
int routes_intercept(struct routes *routes, bool on);
/* From now on config's, which has the same tables and priorities. While interception is on, its
 * rules are added to those of the one before, which go by routes_forget() when the nftables table
 * has followed: at no moment is a packet that the table marks without a rule. Returns 0, or the
 * first -errno. */
int routes_reload(struct routes *routes, const struct gateway_config *config);
int routes_forget(struct routes *routes, const struct gateway_config *before);
/* What is not proxied follows this uplink, which must have a usable route of the family; NULL: it
 * follows the main table, as without us. What the main table reaches without a default route stays
 * as it is, and so does what a rule with a lower priority number leads elsewhere. An IPv6 packet
 * from a global address is left to the main table: the address is one provider's, and no other one
 * would let it pass. Idempotent; from one uplink to another there is no gap. Returns 0, or the
 * first -errno, and then it follows the main table. */
int routes_follow(struct routes *routes, uint8_t family, const struct uplink *uplink);
/* What would follow goes nowhere: ICMP says so to whoever asks. Else as routes_follow(). */
int routes_refuse(struct routes *routes, uint8_t family);

/* Does this message of rtnetlink tell of a rule, or a route, of ours? */
bool routes_is_our_rule(const struct nlmsghdr *nlh);
bool routes_is_our_route(const struct nlmsghdr *nlh);
/* Of the socket that changes them (netlink_port()). */
uint32_t routes_port(const struct routes *routes);

/* Deletes every rule and route with our protocol number in this namespace. Opens a socket of its
 * own: the guard calls it after the daemon's death. Returns 0, or -errno. */
int routes_flush(void);

#endif
