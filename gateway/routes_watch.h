/* Notices when somebody else removes a rule or route of ours (ROUTES_PROTOCOL). systemd-networkd
 * does so with all that it has not made itself whenever it starts (networkd.conf(5),
 * ManageForeignRoutingPolicyRules=), and so do an administrator's `ip rule flush` and scripts that
 * set up a network from nothing. Likewise when a rule of others comes, perhaps in front of ours, or
 * goes, and when the loopback interface, to which interception leads, has been away: OpenWrt's
 * `ifup -a` takes it down. */
#ifndef GATEWAY_ROUTES_WATCH_H
#define GATEWAY_ROUTES_WATCH_H

#include <stdbool.h>
#include <event2/event.h>

#include "gateway/routes.h"

struct routes_watch;

/* Something of ours is gone, or (not seen) may be, or be in the wrong place; or the kernel has
 * dropped messages. May not free the watch. What goes with its interface or address is not told:
 * uplinks follow that. */
typedef void routes_lost(void *arg, bool seen);

/* routes must outlive it. Returns 0, or -errno. */
int routes_watch_new(struct routes_watch **out, struct event_base *base,
                     const struct routes *routes, routes_lost *lost, void *arg);
void routes_watch_free(struct routes_watch *watch); /* NULL is fine */

#endif
