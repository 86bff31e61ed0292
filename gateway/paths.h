/* The subflows of every MPTCP connection to a concentrator: joins, drops and demotes them by the
 * userspace path manager (core/path_manager.h), so that they follow each connection's schedule and
 * the uplinks' states. Repairs what breaks. */
#ifndef GATEWAY_PATHS_H
#define GATEWAY_PATHS_H

#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>

#include "core/addr.h"
#include "core/events.h"
#include "core/mptcp.h"
#include "gateway/gauge.h"
#include "gateway/scheduler.h"
#include "gateway/uplink.h"

/* All connections of the gateway, by their tokens. */
struct paths_registry;
/* Owns a path manager that is subscribed to the kernel's events; notes in gauges what joins show of
 * their uplinks. Returns 0, or -errno as
 * path_manager_new(). */
int paths_registry_new(struct paths_registry **out, struct event_base *base,
                       const struct uplinks *uplinks, struct gauges *gauges, struct events *events);
void paths_registry_free(struct paths_registry *registry); /* NULL is fine */

/* One connection's subflows. */
struct paths;

enum path_state {
    PATH_JOINING, /* asked for; the peer has not answered yet */
    PATH_ESTABLISHED,
    PATH_DOOMED /* its uplink or address is gone; to be removed when another carries on */
};

/* Takes over the connection right after connect(), before any data: token is its own, the first
 * subflow runs from `local` on uplink `first`. fd, its socket, stays the caller's, and may be
 * closed before. NULL: out of memory. */
struct paths *paths_new(struct paths_registry *registry, uint32_t token, int fd, uint32_t first,
                        const struct addr *local, const struct addr *remote,
                        const struct schedule *schedule);
/* The first bytes from the peer have come: from now on the kernel allows joins, and they are made.
 * (Its event MPTCP_EVENT_ESTABLISHED comes a little too early: ENOTCONN.) */
void paths_allow_joins(struct paths *paths);
void paths_free(struct paths *paths); /* NULL is fine; the kernel's subflows live on */

/* Other roles from now on. */
void paths_set_schedule(struct paths *paths, const struct schedule *schedule);
/* It carries much now, or little: where the schedule narrows, the active uplinks but one stand by
 * meanwhile. It begins narrow. */
void paths_set_narrow(struct paths *paths, bool narrow);

/* Uplinks have changed: a failed join under the old circumstances says nothing of the new ones, and
 * may be tried again at once. Connections follow by paths_set_schedule(). */
void paths_forgive(struct paths_registry *registry);

/* Once a second while the connection carries much: what the kernel says of its subflows. One that
 * should carry a part, on an uplink that lives, and has carried nothing for PATHS_MUTE_LOOKS times
 * is dead for this connection alone (a NAT has forgotten it, say): another takes its place. */
#define PATHS_MUTE_LOOKS 4
void paths_look(struct paths *paths, const struct mptcp_subflow *subflows, size_t n);

/* For status: the uplink of the subflow from that local address, or -1; and its role. */
int paths_uplink_of(const struct paths *paths, const struct addr *local, enum role *role);

#endif
