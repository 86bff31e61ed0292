/* bond: every uplink active, so that a flow gets the sum of them. One that may just have died
 * stands by until that is known, and one that would slow the others. */
#include "gateway/schedulers/scene.h"

/* What a flow that begins there may wait. Each that begins at the same time sends its initial
 * window into the same queue: so many of them cost as much as the round trip itself. */
#define STARTS_PER_RTT 8

static uint64_t expected_wait(const struct uplink_view *u)
{
    return (uint64_t)u->rtt_us * (STARTS_PER_RTT + u->starting + u->plain);
}

/* One that strips MPTCP would leave the whole flow on one path. An unmeasured uplink goes behind
 * measured ones. */
static bool starts_sooner(const struct uplink_view *a, const struct uplink_view *b)
{
    if (a->stripped != b->stripped)
        return b->stripped;
    if (a->doubtful != b->doubtful)
        return b->doubtful;
    if (a->slow != b->slow)
        return b->slow;
    if (a->crowded != b->crowded)
        return b->crowded;
    if ((a->rtt_us == 0) != (b->rtt_us == 0))
        return b->rtt_us == 0;
    return expected_wait(a) < expected_wait(b);
}

static bool should_stand_by(const struct uplink_view *u)
{
    return u->doubtful || u->slow;
}

void bond_decide(const struct scene *scene, struct schedule *out)
{
    bool all = true;

    for (size_t i = 0; i < scene->n; i++)
        all = all && (!scene_is_candidate(scene, i) || should_stand_by(&scene->uplinks[i]));
    for (size_t i = 0; i < scene->n; i++) {
        if (scene_is_candidate(scene, i))
            out->roles[i] =
                should_stand_by(&scene->uplinks[i]) && !all ? ROLE_STANDBY : ROLE_ACTIVE;
    }
    scene_order(scene, starts_sooner, out);
    out->narrows = true;
}
