/* Handing over: a concentrator that runs makes place for another process, a newer program, without
 * a connection refused or cut. On its control socket the new one asks for what it needs to go on:
 * the listening sockets themselves, so that whoever connects meanwhile waits in the kernel's queue;
 * what admission knows; what to put back at the end. Until the new one says that it has taken over,
 * the old one may go on as if nothing had been. Both are of one machine, and of one version of
 * this. */
#ifndef CONCENTRATOR_HANDOVER_H
#define CONCENTRATOR_HANDOVER_H

#include <stddef.h>

#include "concentrator/admission.h"
#include "concentrator/kernel.h"

#define HANDOVER_COMMAND "hand over"
#define HANDOVER_LISTENERS_MAX 1024

struct handover {
    struct admission_legacy admission;
    struct kernel_legacy kernel;
    int *listeners; /* malloced: descriptors */
    size_t n_listeners;
};
/* Closes the descriptors, wipes the rest; zero-initialised is fine. */
void handover_clear(struct handover *handover);
/* The index-th listening socket at that address, or -1. Stays the handover's. */
int handover_find(const struct handover *handover, const struct addr *at, size_t index);

/* The old one's side. Blocks for as long as the new one reads, 5 s at the most. Returns 0, or
 * -errno. */
int handover_send(int fd, const struct handover *handover);
/* What has come on fd: 1 when the new one has taken over and waits for handover_let_go(), 0 when
 * there is nothing yet, or -errno (-EPIPE: it has ended, be it after its word). */
int handover_is_taken(int fd);
/* The last thing: nothing here stands in its way any more. */
void handover_let_go(int fd);

/* The new one's side, blocking for 5 s at the most. Returns 0, what there is to inherit, and the
 * connection; or -errno: -ENOENT or -ECONNREFUSED when none runs there, -EPROTO when it does not
 * know how. */
int handover_ask(const char *control_socket, struct handover *out, int *fd);
/* Says that it has taken over, and waits until the old one has let go. Returns 0, or -errno. */
int handover_take(int fd);

#endif
