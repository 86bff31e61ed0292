/* The UDP echo of protocol.md over one uplink: a socket that is bound to it, and what a probe says.
 * When to probe, and what follows from it, is for others (gateway/vitals.h). */
#ifndef GATEWAY_PROBE_H
#define GATEWAY_PROBE_H

#include <stdint.h>
#include <event2/event.h>

#include "config/gateway_config.h"
#include "gateway/uplink.h"

/* What a probe and its answer take of the uplink, both with IPv4 and UDP headers. */
#define PROBE_ROUND_TRIP_BYTES (2 * (68 + 28))

struct prober;

/* An answer to probe seq, which proves to be the concentrator's. It came age_us ago by the kernel's
 * stamp: while the processor is busy it lies in the socket, and that is no delay of the uplink's.
 * From the event loop; it must not free the prober. */
typedef void prober_answered(void *arg, uint64_t seq, uint64_t age_us);
/* The concentrator's host says that nobody listens there: the uplink carries both ways. It says so
 * of a few probes only: Linux of six, then of one a second (net.ipv4.icmp_ratelimit). The refusal
 * came from its address, to our port (the kernel checks that), and quotes a probe's nonce: who
 * forges one sees our probes, and could as well stop them. What boxes on the way refuse is not
 * told. From the event loop; it must not free the prober. */
typedef void prober_refused(void *arg);

struct prober_events {
    prober_answered *answered;
    prober_refused *refused; /* NULL: not wanted */
};

/* Bound to the uplink as it is now: make another one when its address or interface changes. port:
 * where that concentrator answers. events must outlive it. Returns 0, or -errno. */
int prober_new(struct prober **out, struct event_base *base, const struct uplink *uplink,
               const struct concentrator_entry *entry, uint16_t port,
               const struct prober_events *events, void *arg);
void prober_free(struct prober *prober); /* NULL is fine */
/* Sends probe seq. Returns 0, or -errno where the kernel would not take it (no route, a full
 * queue): no answer will come, which is for the caller to notice as that of any other probe. */
int prober_send(struct prober *prober, uint64_t seq);
/* The same, padded to an IP packet of that size (up to PROBE_PACKET_MAX), which nobody on the way
 * may fragment. -EMSGSIZE: it does not even fit the interface. */
#define PROBE_PACKET_MAX 1500
int prober_send_sized(struct prober *prober, uint64_t seq, size_t packet_bytes);

#endif
