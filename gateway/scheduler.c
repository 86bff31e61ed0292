#include "gateway/scheduler.h"

#include <assert.h>

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
    static const char *const names[] = {"off", "standby", "active"};

    return names[role];
}

/* The usable ones. Stripped ones only where all are, since no subflow can join there, and a flow
 * that began there would stay alone; dead ones only where there is nothing else: then nothing is
 * lost by trying. */
static uint32_t find_candidates(const struct uplink_view *uplinks, size_t n, uint32_t allowed)
{
    uint32_t whole = 0, stripped = 0, dead = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t bit = UINT32_C(1) << i & allowed;
        if (!uplinks[i].usable)
            continue;
        if (uplinks[i].dead)
            dead |= bit;
        else if (uplinks[i].stripped)
            stripped |= bit;
        else
            whole |= bit;
    }
    return whole ? whole : stripped ? stripped : dead;
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
