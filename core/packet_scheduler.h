/* The kernel's packet schedulers: which of a connection's subflows takes the next segment to be
 * sent. One for a network namespace, from the next connection on (net.mptcp.scheduler). */
#ifndef CORE_PACKET_SCHEDULER_H
#define CORE_PACKET_SCHEDULER_H

#include <stddef.h>

#define PACKET_SCHEDULER_SYSCTL "net/mptcp/scheduler"

/* Does this kernel offer it? Returns 0, or -errno and why, with what it does offer (-ENOENT). */
int packet_scheduler_find(const char *name, char *why, size_t why_len);

#endif
