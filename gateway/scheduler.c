#include "gateway/scheduler.h"

#include <assert.h>
#include <limits.h>

#include "gateway/schedulers/scene.h"

static const struct {
    scheduler_decides *decide;
    scheduler_looks *look; /* NULL: it remembers nothing */
} schedulers[] = {
    [SCHEDULER_BOND] = {.decide = bond_decide},
    [SCHEDULER_FAILOVER] = {.decide = failover_decide},
    [SCHEDULER_OVERFLOW] = {.decide = overflow_decide},
    [SCHEDULER_LATENCY] = {.decide = latency_decide, .look = latency_look},
    [SCHEDULER_SPREAD] = {.decide = spread_decide},
};
#define SCHEDULERS (sizeof(schedulers) / sizeof(schedulers[0]))

const char *role_name(enum role role)
{
    static const char names[][8] = {"off", "standby", "active"};

    return names[role];
}

/* The lower, the better. Stripped ones only where all are, since no subflow can join there, and a
 * flow that began there would stay alone. Where the budget is used up, only when nothing else
 * lives. Dead ones where there is nothing else at all: then nothing is lost by trying. */
static unsigned rank_of(const struct uplink_view *u)
{
    return u->dead ? 4 + u->spent : 2 * u->spent + u->stripped;
}

/* The usable ones of the best rank. */
static uint32_t find_candidates(const struct uplink_view *uplinks, size_t n, uint32_t allowed)
{
    unsigned best = UINT_MAX;
    uint32_t found = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t bit = UINT32_C(1) << i & allowed;
        if (!uplinks[i].usable || !bit || rank_of(&uplinks[i]) > best)
            continue;
        found = rank_of(&uplinks[i]) < best ? bit : found | bit;
        best = rank_of(&uplinks[i]);
    }
    return found;
}

bool scheduler_look(struct scheduler_memory *memory, const struct uplink_view *uplinks, size_t n,
                    uint64_t now_ms)
{
    bool changed = false;

    for (size_t i = 0; i < SCHEDULERS; i++) {
        if (schedulers[i].look && schedulers[i].look(memory, uplinks, n, now_ms))
            changed = true;
    }
    return changed;
}

void scheduler_decide(const struct demand *demand, const struct placement *placement,
                      const struct scheduler_memory *memory, const struct uplink_view *uplinks,
                      size_t n, struct schedule *out)
{
    struct scene scene = {.uplinks = uplinks,
                          .n = n,
                          .candidates = find_candidates(uplinks, n, demand->uplinks),
                          .placement = placement,
                          .memory = memory};

    assert(demand->scheduler < SCHEDULERS);
    *out = (struct schedule){.placement = {.home = UPLINK_NONE}};
    if (placement)
        out->placement = *placement;
    schedulers[demand->scheduler].decide(&scene, out);
}
