/* The processes that have handed over, to this one or to one before it, and still have flows:
 * whoever is told to read its configuration anew tells them, so that a key that is gone ends its
 * flows there, too. Each is told by the one that listens now, not by its own heir, which may have
 * ended before it. */
#ifndef CONCENTRATOR_ELDERS_H
#define CONCENTRATOR_ELDERS_H

#include <event2/event.h>

struct elders;

/* None yet. NULL: out of memory. */
struct elders *elders_new(struct event_base *base);
/* Hangs up on them: then they are on their own. NULL is fine. */
void elders_free(struct elders *elders);

/* One that has let go (handover_take()), and those that it names later. Told at once: what it runs
 * on may be older than what we have read. Takes fd. */
void elders_add(struct elders *elders, int fd);
/* To read the configuration anew. */
void elders_tell(struct elders *elders);
/* From now on our own heir tells them, for which heir_fd is. */
void elders_bequeath(struct elders *elders, int heir_fd);

#endif
