/* MPTCP sockets: our own copies of the kernel's constants (Debian 12's headers are of 6.1), and
 * what the relay and the path manager ask of a connection. Sources: include/uapi/linux/mptcp.h,
 * mptcp_pm.h (Linux 6.18). */
#ifndef CORE_MPTCP_H
#define CORE_MPTCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h> /* its IPPROTO_MPTCP, where it has one */

#include "core/addr.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* A stream socket, non-blocking and close-on-exec. Returns the fd, or -errno: -EPROTONOSUPPORT or
 * -ENOPROTOOPT where the kernel has no MPTCP or net.mptcp.enabled is 0.
 *
 * With CAP_NET_ADMIN its receive buffer is set, to 32 MiB or a thirty-second part of the memory,
 * and so is that of what it accepts and of every subflow that joins. The kernel's own tuning (seen
 * in 6.12 and 6.18) fails a bond in three ways:
 * - A subflow that joins a connection whose buffer has grown starts with a window of 64 KiB and
 *   keeps it. Nobody notices while a subflow with a wide one is left, since the connection has one
 *   window; when the last of these is gone, an uplink of 60 Mb/s carries 10.
 * - Where the window is what limits the sender, he oversteps it when the connection's
 *   acknowledgement leaps while a subflow is quiet (that subflow's old window counts from the new
 *   acknowledgement). What is beyond is dropped after it was acknowledged, and sent again only one
 *   piece for each time-out: 1 Mb/s for many seconds after an uplink has come back.
 * - It takes the time a connection has waited for its round trip, and opens the window late: a
 *   download of 12 MB at 50 + 60 Mb/s took 1.8 to 4.1 s instead of 1.2. */
int mptcp_socket(uint8_t family);
int mptcp_tcp_socket(uint8_t family); /* plain TCP, likewise */

/* Has this connection got MPTCP, or fallen back to plain TCP? Ask after connect/accept. */
bool mptcp_is_active(int fd);
/* The local token, by which the path manager names the connection. Returns 0, or -errno. */
int mptcp_token(int fd, uint32_t *token);

struct mptcp_subflow {
    struct addr local, remote;
    uint8_t tcp_state;           /* TCP_ESTABLISHED ... as in linux/tcp_states.h */
    uint32_t rtt_us;             /* smoothed */
    uint32_t min_rtt_us;         /* of the last five minutes (net.ipv4.tcp_min_rtt_wlen) */
    uint32_t unacked;            /* segments under way */
    uint32_t last_sent_ms;       /* how long ago data was sent last */
    uint64_t rx_bytes, tx_bytes; /* tcpi_bytes_received, tcpi_bytes_acked */
    uint32_t retransmits;
    uint32_t timeouts;   /* of retransmission, in a row: without an acknowledgement */
    uint32_t unheard_ms; /* since the last acknowledgement */
};
/* MPTCP_FULL_INFO, or before 6.5 MPTCP_SUBFLOW_ADDRS with MPTCP_TCPINFO. Returns how many were
 * written, or -errno. */
int mptcp_subflows(int fd, struct mptcp_subflow *out, size_t max);
/* How long nothing has been heard of the peer, MPTCP or plain, while it owes an acknowledgement, in
 * ms. 0: it owes none. */
uint32_t mptcp_unanswered_ms(int fd);

/* Ends fd (MPTCP or TCP) with a reset towards the peer, always, and closes it. SO_LINGER 0 alone
 * ends some MPTCP connections as a clean EOF, and close() with an empty queue does not reset at
 * all: connect(AF_UNSPEC) does. */
void mptcp_reset(int fd);

/* TCP_NODELAY, SO_KEEPALIVE and its times where the kernel takes them. Never fails. */
void mptcp_tune(int fd);
/* Until that is called again: that the other end is gone is found within half a minute. */
void mptcp_watch_closely(int fd);

#endif
