/* A netlink socket (libmnl) with what every user of one needs: requests with an answer, dumps, and
 * multicast messages on an event base. */
#ifndef CORE_NETLINK_H
#define CORE_NETLINK_H

#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>
#include <libmnl/libmnl.h>

struct netlink;

/* protocol: NETLINK_ROUTE, NETLINK_GENERIC, NETLINK_SOCK_DIAG. Returns 0, or -errno. */
int netlink_new(struct netlink **out, int protocol);
void netlink_free(struct netlink *nl); /* NULL is fine */

/* Its port: by this the kernel names who has asked for a change, in what it tells of it
 * (nlmsg_pid). */
uint32_t netlink_port(const struct netlink *nl);

/* Sends the request (NLM_F_ACK is added unless it dumps; the sequence number is set) and reads its
 * answers; on_message sees each (MNL_CB_OK to go on, MNL_CB_ERROR with errno set to fail), and may
 * be NULL; it must not use nl. Returns 0, or -errno as the kernel answered: -EINTR when the state
 * changed under a dump, which then has to be asked for again. */
int netlink_request(struct netlink *nl, struct nlmsghdr *request, mnl_cb_t on_message, void *arg);

/* Multicast: joins group, and calls on_message for every message from then on. on_lost (may be
 * NULL) tells that the kernel dropped some (ENOBUFS): look at the whole state again. A socket is
 * used either for requests or for this. Neither callback may free it. */
typedef void netlink_lost(void *arg);
int netlink_join(struct netlink *nl, unsigned group);
int netlink_watch(struct netlink *nl, struct event_base *base, mnl_cb_t on_message,
                  netlink_lost *on_lost, void *arg);

/* Generic netlink: the family's id, and the id of one of its multicast groups (group may be NULL).
 * Returns 0, or -errno (-ENOENT). */
int netlink_genl_family(struct netlink *nl, const char *family, uint16_t *id, const char *group,
                        uint32_t *group_id);

#endif
