/* Generic netlink "mptcp_pm" (Linux >= 5.19): commands and events of the userspace path manager,
 * and the limits of the in-kernel one. The commands need CAP_NET_ADMIN in the namespace.
 * One thread. Commands are synchronous: the kernel answers within the call (0.1 to 0.3 ms). */
#ifndef CORE_PATH_MANAGER_H
#define CORE_PATH_MANAGER_H

#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>

#include "core/addr.h"

struct path_manager;

enum path_event_type {
    PATH_EVENT_LOST = 0, /* the kernel dropped events: ask mptcp_subflows() of every connection */
    PATH_EVENT_CREATED = 1,
    PATH_EVENT_ESTABLISHED = 2,
    PATH_EVENT_CLOSED = 3, /* after close() at our end; a reset by the peer is told by the socket */
    PATH_EVENT_ANNOUNCED = 6,
    PATH_EVENT_REMOVED = 7,
    PATH_EVENT_SUB_ESTABLISHED = 10,
    PATH_EVENT_SUB_CLOSED = 11,
    PATH_EVENT_SUB_PRIORITY = 13
};

struct path_event {
    enum path_event_type type;
    uint32_t token;
    uint8_t local_id, remote_id;
    struct addr local, remote; /* with ports, where the kernel gives them */
    uint32_t ifindex;
    uint8_t error; /* SUB_CLOSED: an errno, or 0 */
    bool backup;   /* the peer asks to use it only when nothing else is left */
};

typedef void path_manager_on_event(void *arg, const struct path_event *event);

/* Subscribes to the events when on_event is set: the kernel refuses joins unless somebody listens.
 * Returns 0, or -errno: -ENOENT where the kernel has no such family, -EPERM. */
int path_manager_new(struct path_manager **out, struct event_base *base,
                     path_manager_on_event *on_event, void *arg);
void path_manager_free(struct path_manager *pm); /* NULL is fine */

/* One subflow from `local` (port 0: the kernel picks), which has the id local_id, out of ifindex,
 * to `remote`. -ENOTCONN before the connection is fully established. Linux 6.1 heeds neither
 * ifindex nor backup: its SUB_ESTABLISHED then names no ifindex, and routing rules by the source
 * address and path_manager_set_backup() must do it. */
int path_manager_create(struct path_manager *pm, uint32_t token, uint8_t local_id,
                        const struct addr *local, uint32_t ifindex, bool backup,
                        const struct addr *remote);
/* Both with their ports, as SUB_ESTABLISHED told them. */
int path_manager_destroy(struct path_manager *pm, uint32_t token, const struct addr *local,
                         const struct addr *remote);
/* REMOVE_ADDR towards the peer, who closes his subflows to it and re-injects; and the subflows at
 * our end. -EINVAL where the connection has no such id. */
int path_manager_remove(struct path_manager *pm, uint32_t token, uint8_t local_id);
int path_manager_set_backup(struct path_manager *pm, uint32_t token, const struct addr *local,
                            const struct addr *remote, bool backup);

/* The in-kernel path manager's limits of this namespace (each 0...8, 64 from Linux 7.2). */
struct path_limits {
    uint32_t subflows, add_addr_accepted;
};
int path_manager_get_limits(struct path_manager *pm, struct path_limits *limits);
int path_manager_set_limits(struct path_manager *pm, const struct path_limits *limits);

#endif
