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
/* Nothing here stands in its way any more. What follows on this connection is for as long as the
 * old one has flows. */
void handover_let_go(int fd);
/* Another process, which handed over to this one before, may be told things on elder, which stays
 * the caller's. Returns 0, or -errno. */
int handover_name_elder(int fd, int elder);
/* What has come on fd: 1 when the configuration is to be read anew, 0 when nothing has, or -errno
 * (-EPIPE: the new one has ended). */
int handover_is_told_reload(int fd);

/* The new one's side, blocking for 5 s at the most. Returns 0, what there is to inherit, and the
 * connection; or -errno: -ENOENT or -ECONNREFUSED when none runs there, -EPROTO when it does not
 * know how. */
int handover_ask(const char *control_socket, struct handover *out, int *fd);
/* Says that it has taken over, and waits until the old one has let go. Returns 0, or -errno. */
int handover_take(int fd);
/* The old one shall read its configuration anew, as the new one has. Where it has ended, that shows
 * by handover_meet_elder(). */
void handover_tell_reload(int fd);
/* What has come on fd: 1 when the old one names another one, *elder, the caller's to close; 0 when
 * nothing has, or -errno (-EPIPE: it has ended). */
int handover_meet_elder(int fd, int *elder);

#endif
