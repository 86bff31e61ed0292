/* spread: each flow on one uplink, its home, while the rest stand by, joined. Homes are given by
 * weight; by measured capacity where no uplink has a weight.
 *
 * Connections take turns, and the turn decides: multiples of the golden ratio, modulo 1, fill the
 * shares evenly from the first few on, whoever else takes turns in between. So the shares hold for
 * one client as for many, nothing is counted, and nothing can be forgotten. Clients are not pinned
 * to uplinks: a site sees the concentrator's address whichever uplink carries a flow. A flow keeps
 * its home. While that is away, it has a stand-in, drawn likewise from the rest. */
#include "gateway/schedulers/scene.h"

/* The fractions of the golden ratio and of the square root of 2, in 32 bits. Both are needed: flows
 * of one home stand close together in the first, and would all have the same stand-in. */
#define FOR_HOME 0x9e3779b9u
#define FOR_STAND_IN 0x6a09e668u
/* A capacity counts in these, so that a share times 2^32 fits in 64 bits. */
#define CAPACITY_UNIT_BPS 1000

static bool any_weight(const struct scene *scene)
{
    for (size_t i = 0; i < scene->n; i++) {
        if (scene->uplinks[i].weight > 0)
            return true;
    }
    return false;
}

/* Of an uplink of which nothing is known yet: as much as the others have on average. */
static uint64_t usual_capacity(const struct scene *scene)
{
    uint64_t sum = 0, known = 0;

    for (size_t i = 0; i < scene->n; i++) {
        sum += scene->uplinks[i].down_capacity_bps;
        known += scene->uplinks[i].down_capacity_bps > 0;
    }
    return known ? sum / known : CAPACITY_UNIT_BPS;
}

/* By the way down: that is what most flows wait for. */
static uint64_t share_of(const struct scene *scene, size_t i)
{
    const struct uplink_view *u = &scene->uplinks[i];

    if (any_weight(scene))
        return u->weight ? u->weight : 1;
    uint64_t bps = u->down_capacity_bps ? u->down_capacity_bps : usual_capacity(scene);
    return bps / CAPACITY_UNIT_BPS + 1;
}

/* Of the candidates, of which there are some. point: of the shares' sum, in 2^32ths. */
static uint8_t draw(const struct scene *scene, uint32_t point)
{
    uint64_t sum = 0;
    uint8_t last = UPLINK_NONE;

    for (size_t i = 0; i < scene->n; i++)
        sum += scene_is_candidate(scene, i) ? share_of(scene, i) : 0;
    uint64_t at = sum * point >> 32;
    for (size_t i = 0; i < scene->n; i++) {
        if (!scene_is_candidate(scene, i))
            continue;
        last = (uint8_t)i;
        if (at < share_of(scene, i))
            break;
        at -= share_of(scene, i);
    }
    return last;
}

static bool is_nearer(const struct uplink_view *a, const struct uplink_view *b)
{
    return a->rtt_us && (!b->rtt_us || a->rtt_us < b->rtt_us);
}

void spread_decide(const struct scene *scene, struct schedule *out)
{
    struct placement *p = &out->placement;

    scene_order(scene, is_nearer, out);
    if (!scene->placement || !scene->candidates) { /* flows as a whole are on all of them */
        for (size_t i = 0; i < out->n_order; i++)
            out->roles[out->order[i]] = ROLE_ACTIVE;
        return;
    }
    if (p->home == UPLINK_NONE)
        p->home = draw(scene, p->turn * FOR_HOME);
    scene_lead(scene_is_candidate(scene, p->home) ? p->home : draw(scene, p->turn * FOR_STAND_IN),
               out);
}
