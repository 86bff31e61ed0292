/* Whether MPTCP survives on each uplink, and whether it lives where probes are blocked. Joins and
 * flows tell it in passing (struct gauge); where they do not, a connection is made for it: on an
 * uplink of which nothing is known, or has been for a minute, and its probes are not answered; and
 * now and then on one that strips, since another modem or another port may have come, and on one
 * that is dead by its probes, since these alone may have been blocked. What a test found stands in
 * the gauges. */
#ifndef GATEWAY_TRUTH_H
#define GATEWAY_TRUTH_H

#include <event2/event.h>

#include "gateway/concentrators.h"
#include "gateway/trunk.h"

struct truth;

/* context and concentrators must outlive it. Returns 0, or -errno. */
int truth_new(struct truth **out, const struct trunk_context *context,
              struct concentrators *concentrators);
void truth_free(struct truth *truth); /* NULL is fine */
/* Uplinks or concentrators have changed: is there something to find out? */
void truth_look(struct truth *truth);

#endif
