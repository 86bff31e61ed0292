/* Ends a TCP socket of this namespace from outside, at once and with a reset: what is under way to
 * it is all that still comes. A subflow of an MPTCP connection, too: the connection goes on over
 * the others, and sends again what was lost. The path manager's DESTROY does less to the first
 * subflow of a connection: the far end sends there until its queue is empty, measured up to 0.8 s.
 *
 * Where the kernel cannot (it needs CONFIG_INET_DIAG_DESTROY), it says -EOPNOTSUPP or -ENOENT. */
#ifndef CORE_SOCK_DIAG_H
#define CORE_SOCK_DIAG_H

#include <stdint.h>

#include "core/addr.h"
#include "core/netlink.h"

/* diag: of NETLINK_SOCK_DIAG, for requests. ifindex: that the socket is bound to; 0: to none.
 * Returns 0, or -errno (-ENOENT: also where there is no such socket). */
int sock_diag_reset(struct netlink *diag, const struct addr *local, const struct addr *remote,
                    uint32_t ifindex);

/* Has the peer taken in the subflow, which was joined from here? The kernel calls a join
 * established when SYN/ACK has come; that the peer has taken our answer it knows a round trip
 * later, or later still where packets are lost (RFC 8684, 3.2; its flag "fully established").
 * Arguments as above; returns 1 or 0, or -errno. */
int sock_diag_is_taken_in(struct netlink *diag, const struct addr *local, const struct addr *remote,
                          uint32_t ifindex);

#endif
