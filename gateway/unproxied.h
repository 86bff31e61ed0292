/* What is not proxied (UDP, ICMP, the router's own traffic) follows, by a default route of ours,
 * one healthy uplink in each family: the cheapest; of equally cheap ones the first that the
 * configuration names; one whose data budget is used up after all others, or not at all
 * (on_budget). Where there is none but such a one, nothing leaves: the main table might lead there.
 * One that fails is left at once; a better one that has come back is taken again when it has been
 * well for UNPROXIED_RETURN_MS, since each move costs:
 *
 * - Of a masqueraded connection, conntrack forgets the old address with the first packet that would
 *   leave by another interface, and drops that packet; the next one gets the new uplink's address.
 *   So an exchange over UDP goes on after one loss where its far end accepts another address, as
 *   QUIC and WireGuard do. There is nothing left to do for us. With `snat to ADDRESS` instead of
 *   `masquerade` it would keep the old address, and hang.
 * - A socket of the router's own that is bound or connected keeps its uplink's address, and goes by
 *   that uplink while it is up; others take the address of the chosen one.
 * - Answers to what comes in through a port forward leave by the chosen uplink, too, as by the main
 *   table's default route without us. */
#ifndef GATEWAY_UNPROXIED_H
#define GATEWAY_UNPROXIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>

#include "gateway/gauge.h"
#include "gateway/routes.h"
#include "gateway/uplink.h"

#define UNPROXIED_NONE (-1)
#define UNPROXIED_RETURN_MS 30000

struct unproxied_view {
    uint32_t cost;
    uint32_t rank; /* in the configuration's order */
    bool usable;
    uint64_t usable_since_ms;
};

void unproxied_note(struct unproxied_view *view, bool usable, uint64_t now_ms);
/* Pure. views: of one family, by index. current: the answer before. *again_ms:
 * when to ask again though nothing changes; 0: never. Returns an index, or UNPROXIED_NONE. */
int unproxied_choose(const struct unproxied_view *views, size_t n, int current, uint64_t now_ms,
                     uint64_t *again_ms);

struct unproxied;

/* Chooses for the first time before returning. All must outlive it. Returns 0, or -ENOMEM. */
int unproxied_new(struct unproxied **out, struct event_base *base, const struct uplinks *uplinks,
                  const struct gauges *gauges, struct routes *routes);
/* The kernel keeps the route, up to routes_follow() with NULL. NULL is fine. */
void unproxied_free(struct unproxied *unproxied);
/* Call when something of an uplink has changed. Idempotent. NULL is fine: nothing follows. */
void unproxied_update(struct unproxied *unproxied);

#endif
