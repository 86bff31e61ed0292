/* overflow: as little as possible by dear uplinks. Those of one cost are a tier. The cheapest tier
 * that is well is active; the next one takes part, too, while all of the cheaper ones are saturated
 * (gateway/saturation.h tells when, and when no longer); what is dearer stands by, joined. In what
 * takes part the rules of bond hold. Only a flow that carries much gets more than one uplink, so
 * beside a large download a page stays where it began, in the cheapest tier. */
#include "gateway/schedulers/scene.h"

/* Doubt, or a concentrator that takes no more connections from there, would keep a flow from
 * beginning at all; that is worth more than what it costs. */
static bool is_cheaper(const struct uplink_view *a, const struct uplink_view *b)
{
    if (a->doubtful != b->doubtful)
        return b->doubtful;
    if (a->crowded != b->crowded)
        return b->crowded;
    if (a->cost != b->cost)
        return a->cost < b->cost;
    return scene_starts_sooner(a, b);
}

/* The least cost of uplinks that are well, and above `cost` where above is set. Returns whether
 * there is one. */
static bool find_tier(const struct scene *scene, bool above, uint32_t *cost)
{
    bool found = false;
    uint32_t least = 0;

    for (size_t i = 0; i < scene->n; i++) {
        const struct uplink_view *u = &scene->uplinks[i];
        if (!scene_is_candidate(scene, i) || u->doubtful || (above && u->cost <= *cost))
            continue;
        if (!found || u->cost < least)
            least = u->cost;
        found = true;
    }
    if (found)
        *cost = least;
    return found;
}

/* Can the tier take no more? A slow one would be no help, but in the first tier it is what there
 * is. */
static bool is_spent(const struct scene *scene, uint32_t cost, uint32_t first_cost)
{
    for (size_t i = 0; i < scene->n; i++) {
        const struct uplink_view *u = &scene->uplinks[i];
        if (!scene_is_candidate(scene, i) || u->doubtful || u->cost != cost || u->saturated)
            continue;
        if (!u->slow || cost == first_cost)
            return false;
    }
    return true;
}

/* Up to which cost uplinks take part. */
static uint32_t open_tiers(const struct scene *scene)
{
    uint32_t cost = 0, first_cost;

    if (!find_tier(scene, false, &cost))
        return UINT32_MAX;
    first_cost = cost;
    while (is_spent(scene, cost, first_cost) && find_tier(scene, true, &cost))
        continue;
    return cost;
}

void overflow_decide(const struct scene *scene, struct schedule *out)
{
    struct scene open = *scene;
    uint32_t cost = open_tiers(scene);

    for (size_t i = 0; i < scene->n; i++) {
        if (scene_is_candidate(scene, i) && scene->uplinks[i].cost > cost)
            open.candidates &= ~(UINT32_C(1) << i);
    }
    bond_decide(&open, out);
    for (size_t i = 0; i < scene->n; i++) {
        if (scene_is_candidate(scene, i) && !scene_is_candidate(&open, i))
            out->roles[i] = ROLE_STANDBY;
    }
    out->n_order = 0;
    scene_order(scene, is_cheaper, out);
}
