/* One connection to a destination, plain TCP (an MPTCP socket that falls back there was measured to
 * collapse downloads). Does not judge the address: that is the egress rules' part. */
#ifndef CONCENTRATOR_DIAL_H
#define CONCENTRATOR_DIAL_H

#include <stdint.h>
#include <event2/event.h>

#include "core/addr.h"
#include "core/hello.h"

struct dial;

/* Called once, from the event loop, never from inside dial_new(). fd: non-blocking, connected and
 * the callback's to keep with OPENED_CONNECTED, otherwise -1. The dial may be freed inside. */
typedef void dial_done(void *arg, enum opened code, int fd);

/* NULL: out of memory. */
struct dial *dial_new(struct event_base *base, const struct addr *to, uint32_t timeout_ms,
                      dial_done *done, void *arg);
/* Gives up if it still runs: done is not called. NULL is fine. */
void dial_free(struct dial *dial);

/* The code that tells the gateway of a connect() that failed so. */
enum opened dial_code(int error);

#endif
