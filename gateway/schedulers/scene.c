#include "gateway/schedulers/scene.h"

bool scene_is_candidate(const struct scene *scene, size_t uplink)
{
    return scene->candidates >> uplink & 1;
}

/* What a flow that begins there may wait. Each that begins at the same time sends its initial
 * window into the same queue: so many of them cost as much as the round trip itself. */
#define STARTS_PER_RTT 8

static uint64_t expected_wait(const struct uplink_view *u)
{
    return (uint64_t)u->rtt_us * (STARTS_PER_RTT + u->starting);
}

/* Where MPTCP is stripped, a flow has what its one uplink gives to each of those who share it.
 * Uplinks count as equal until both have shown what they can carry. */
static bool gives_more(const struct uplink_view *a, const struct uplink_view *b)
{
    bool known = a->down_capacity_bps && b->down_capacity_bps;
    uint64_t a_sharers = a->plain + a->starting + 1, b_sharers = b->plain + b->starting + 1;

    return (known ? a->down_capacity_bps : 1) * b_sharers >
           (known ? b->down_capacity_bps : 1) * a_sharers;
}

/* One that strips MPTCP would leave the whole flow on one path. An unmeasured uplink goes behind
 * measured ones. */
bool scene_starts_sooner(const struct uplink_view *a, const struct uplink_view *b)
{
    if (a->stripped != b->stripped)
        return b->stripped;
    if (a->doubtful != b->doubtful)
        return b->doubtful;
    if (a->slow != b->slow)
        return b->slow;
    if (a->crowded != b->crowded)
        return b->crowded;
    if (a->stripped && gives_more(a, b) != gives_more(b, a))
        return gives_more(a, b);
    if ((a->rtt_us == 0) != (b->rtt_us == 0))
        return b->rtt_us == 0;
    return expected_wait(a) < expected_wait(b);
}

static bool precedes(const struct uplink_view *a, const struct uplink_view *b,
                     starts_before *before)
{
    return before(a, b) || (!before(b, a) && a->rank < b->rank);
}

/* Insertion sort. */
void scene_order(const struct scene *scene, starts_before *before, struct schedule *out)
{
    for (size_t i = 0; i < scene->n; i++) {
        size_t at = out->n_order;

        if (!scene_is_candidate(scene, i))
            continue;
        while (at > 0 &&
               precedes(&scene->uplinks[i], &scene->uplinks[out->order[at - 1]], before)) {
            out->order[at] = out->order[at - 1];
            at--;
        }
        out->order[at] = (uint8_t)i;
        out->n_order++;
    }
}

void scene_lead(size_t lead, struct schedule *out)
{
    size_t at = 0;

    while (at < out->n_order && out->order[at] != lead)
        at++;
    for (; at > 0 && at < out->n_order; at--)
        out->order[at] = out->order[at - 1];
    if (out->n_order)
        out->order[0] = (uint8_t)lead;
    for (size_t i = 0; i < out->n_order; i++)
        out->roles[out->order[i]] = i == 0 ? ROLE_ACTIVE : ROLE_STANDBY;
}
