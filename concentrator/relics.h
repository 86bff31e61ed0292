/* Subflows whose other end is gone without a word: the gateway had given the path up, and its
 * REMOVE_ADDR was lost with a packet. The kernel sends there for a quarter of an hour, more and
 * more seldom, and of its eight further subflows for each connection such a one takes a place.
 *
 * It is one that has timed out four times in a row, and has acknowledged nothing for 10 s, while
 * another of its connection is well: the gateway leaves a path for much less. Should one come back
 * all the same, the gateway joins anew. One that has nothing to send is for keepalive to find. */
#ifndef CONCENTRATOR_RELICS_H
#define CONCENTRATOR_RELICS_H

#include <stddef.h>

#include "core/mptcp.h"
#include "core/netlink.h"

#define RELICS_TIMEOUTS 4
#define RELICS_UNHEARD_MS 10000

/* Pure. Which one of a connection's subflows it is; -1: none. */
int relics_find(const struct mptcp_subflow *subflows, size_t n);

/* Ends those of the connection, at our end. diag: of NETLINK_SOCK_DIAG. Without CAP_NET_ADMIN, or
 * where the kernel cannot (core/sock_diag.h), they stay. */
void relics_clear(struct netlink *diag, int fd);

#endif
