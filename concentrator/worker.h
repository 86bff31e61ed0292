/* A worker: one thread with its own event base, listeners (SO_REUSEPORT: the kernel spreads
 * connections over the workers) and sessions. The main thread gives it orders. */
#ifndef CONCENTRATOR_WORKER_H
#define CONCENTRATOR_WORKER_H

#include <stdbool.h>

#include "concentrator/handover.h"
#include "concentrator/peers.h"
#include "concentrator/session.h"

struct worker;

/* Binds and listens, but does not run yet. inherited: listening sockets of the process before, of
 * which the index-th worker takes its part. drained_fd: an eventfd to which it adds 1 when it
 * drains and has no flow left, or is retired and has nothing left. Returns 0, or -errno: then
 * *failed is the address that it could not bind, or has family 0. */
int worker_new(struct worker **out, struct peers *peers, struct session_services *services,
               const struct handover *inherited, size_t index, int drained_fd, struct addr *failed);
/* False where the UDP port was not to be had: flows do without. */
bool worker_answers_probes(const struct worker *worker);
/* Begins the thread, which does nothing yet. Returns 0, or -errno. */
int worker_start(struct worker *worker);
/* From now on it serves; the last thing of a start, which cannot fail. In the sandbox
 * (core/sandbox.h). */
void worker_go(struct worker *worker);
/* Ends the thread if it runs, and all its sessions. NULL is fine. */
void worker_free(struct worker *worker);

/* Orders, from the main thread. These return at once. */
void worker_reload(struct worker *worker, struct peers *peers);
void worker_drain(struct worker *worker); /* session_group_drain() */
/* Its listening sockets and its echo are closed, and it goes on as session_group_retire() says. */
void worker_retire(struct worker *worker);
void worker_resume(struct worker *worker); /* after worker_pause() */
/* These wait for the worker, which never blocks for long: up to date accounts; its flows, added to
 * a list. */
void worker_report(struct worker *worker);
/* Accepts no more, and has heard what there was to hear. */
void worker_pause(struct worker *worker);
void worker_flows(struct worker *worker, struct document *list);

/* Copies its listening descriptors, at most max; they stay its own. Returns how many. While it is
 * paused, or does not run. */
size_t worker_listeners(const struct worker *worker, int *out, size_t max);

#endif
