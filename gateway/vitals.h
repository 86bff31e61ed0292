/* The signs of life of every uplink: sends probes, no more than are needed, counts what comes in by
 * the interface, and has gateway/health.h and gateway/capacity.h judge. The verdicts stand in the
 * gauges.
 *
 * While flows carry data, each uplink is looked at every 20 ms. One that carries some of it is
 * probed every 50 ms, or as often as takes a twentieth of what it carries where that is less, and
 * at once when its packets stop coming. One that carries nothing is probed every 10 s, or every
 * 60 s where its data is metered, or its budget used up: 1.7 MB or 0.3 MB a day
 * (vitals_idle_bytes_per_day()). While flows run whose scheduler compares delays, it is every
 * second, or every 5 s: 17 or 3.4 MB, were it all day.
 *
 * A dead one is asked every half second, or every 2 s while no flow carries anything. While none
 * is answered it is every 100 ms for a minute, then every half second, unless its data costs.
 * Likewise while the concentrator's host refuses probes by all that live; where others are
 * answered, one whose provider rejects UDP is asked every 2 s. As long as a death may be the
 * concentrator's, the dead are asked every 100 ms, and those that live every 50. One that
 * cannot be asked, for want of descriptors, say, is tried again each second. */
#ifndef GATEWAY_VITALS_H
#define GATEWAY_VITALS_H

#include <stdint.h>
#include <event2/event.h>

#include "gateway/gauge.h"
#include "gateway/uplink.h"

struct vitals;

/* The verdict on an uplink, the doubt about it, or whether its probes are refused, has changed;
 * what the former two were before. From the event loop. */
typedef void vitals_changed(void *arg, uint32_t uplink, enum health_verdict before,
                            bool doubtful_before);

/* The owner's, all from the event loop. */
struct vitals_events {
    vitals_changed *changed;
    void (*measured)(void *arg); /* what an uplink carries, anew (gateway/capacity.h) */
    void (*proved)(void *arg);   /* that a death is an uplink's own (gauges_prove_deaths()) */
};

/* Nobody is asked yet. Returns 0, or -errno. All that is given must outlive it. */
int vitals_new(struct vitals **out, struct event_base *base, const struct uplinks *uplinks,
               struct gauges *gauges, const struct vitals_events *events, void *arg);
void vitals_free(struct vitals *vitals); /* NULL is fine */

/* Probes go to that concentrator from now on (port: where it answers them; 0: it does not). entry
 * must stay until they go elsewhere. What is judged begins anew: it is the way there that lives or
 * not. */
void vitals_aim(struct vitals *vitals, const struct concentrator_entry *entry, uint16_t port);
/* The uplink's address, interface or state has changed; forget: it may be another network now, of
 * which nothing is known. */
void vitals_uplink_changed(struct vitals *vitals, uint32_t uplink, bool forget);
/* Flows carry data now: look closely for a while. Cheap; call it as often as you like. */
void vitals_wake(struct vitals *vitals);

/* While flows that compare delays carry data: those that carry nothing are asked, too. */
void vitals_compare(struct vitals *vitals, bool compare);

/* What its probes cost while it carries nothing. */
uint64_t vitals_idle_bytes_per_day(const struct uplink *uplink, const struct gauge *gauge);

#endif
