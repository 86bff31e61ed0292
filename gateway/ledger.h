/* The ledger: reads the counters of the uplinks that have a budget, in time, judges
 * (gateway/budget.h), tells what changes, and keeps the counts in state_dir/budgets, which it
 * writes every 15 minutes where something has changed, and at the end. A power cut loses what came
 * since it was written last. What an interface carries while the program does not run is counted
 * later, from its own counters: since it was made, or since the file was written where that was in
 * the same life of the machine; but not what came before a file was there.
 *
 * Whether an uplink is beyond its budget stands in its gauge (spent): it is the last resort. Where
 * on_budget is "off" it is none at all, but while nobody has told the time: then the concentrator
 * may be asked for it over such an uplink where no other is up, since a new month might have begun.
 */
#ifndef GATEWAY_LEDGER_H
#define GATEWAY_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>

#include "core/clock.h"
#include "core/events.h"
#include "gateway/budget.h"
#include "gateway/gauge.h"
#include "gateway/uplink.h"

struct ledger;

/* An uplink went beyond its budget, or a new month has begun. off: it may not be used at all. From
 * the event loop. */
typedef void ledger_changed(void *arg, uint32_t uplink, bool off);

struct ledger_setup {
    struct event_base *base;
    const struct gateway_config *config;
    const struct uplinks *uplinks;
    struct gauges *gauges;
    const struct clock_told *time; /* what the concentrators say */
    struct events *events;
    ledger_changed *changed;
    void *arg;
};

/* All that setup names must outlive it. The gauges say what they should when it returns. A file
 * that cannot be read is set aside, and one that cannot be written is tried again: both are told,
 * and no reason not to start. Returns 0, or -errno. */
int ledger_new(struct ledger **out, const struct ledger_setup *setup);
/* Reads and saves a last time; blocks. NULL is fine. */
void ledger_free(struct ledger *ledger);
/* Somebody has told the time: a new month may have begun. NULL is fine. */
void ledger_time_told(struct ledger *ledger);

/* The uplink may not be used at all now. ledger may be NULL. */
bool ledger_is_off(const struct ledger *ledger, uint32_t uplink);

struct budget_status {
    uint64_t limit, used, left; /* bytes */
    bool dated;                 /* the time is known */
    uint32_t days_left;         /* where it is */
    enum budget_state state;
};
/* As of the last look, at most 5 s ago. False where the uplink has no budget; ledger may be NULL.
 */
bool ledger_status(struct ledger *ledger, uint32_t uplink, struct budget_status *out);

#endif
