/* What a scheduler decides on, and what several of them have in common. Of gateway/schedulers and
 * its door, gateway/scheduler.h, alone. */
#ifndef GATEWAY_SCHEDULERS_SCENE_H
#define GATEWAY_SCHEDULERS_SCENE_H

#include "gateway/scheduler.h"

struct scene {
    const struct uplink_view *uplinks;
    size_t n;
    uint32_t candidates;               /* bit i: uplink i may get a role */
    const struct placement *placement; /* NULL: of flows as a whole */
    const struct scheduler_memory *memory;
};

/* out is zeroed, but for the placement. Every candidate gets a role, and stands in the order. */
typedef void scheduler_decides(const struct scene *scene, struct schedule *out);
/* What it remembers; true when its roles may have changed. */
typedef bool scheduler_looks(struct scheduler_memory *memory, const struct uplink_view *uplinks,
                             size_t n, uint64_t now_ms);

scheduler_decides bond_decide, failover_decide, latency_decide, overflow_decide, spread_decide;
scheduler_looks latency_look;

bool scene_is_candidate(const struct scene *scene, size_t uplink);
/* Is a the better place for a first subflow? */
typedef bool starts_before(const struct uplink_view *a, const struct uplink_view *b);
/* By what a flow that begins there may wait, and by what would leave it on one path. */
bool scene_starts_sooner(const struct uplink_view *a, const struct uplink_view *b);
/* Fills out->order with the candidates. Between equals the configuration's order decides. */
void scene_order(const struct scene *scene, starts_before *before, struct schedule *out);
/* One uplink is active, and moves to the front of the order; the others stand by. What is in doubt
 * leads as before: nearly all doubts are wrong, and one that is right is proved, and the uplink
 * left, before flows could do better elsewhere. (Measured, when the uplink of a download fell
 * silent: a pause of 165 ms, in the median; of 250 where the doubt had changed roles before.) */
void scene_lead(size_t lead, struct schedule *out);

#endif
