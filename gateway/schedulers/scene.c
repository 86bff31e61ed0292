#include "gateway/schedulers/scene.h"

bool scene_is_candidate(const struct scene *scene, size_t uplink)
{
    return scene->candidates >> uplink & 1;
}

/* Insertion sort: stable. */
void scene_order(const struct scene *scene, starts_before *before, struct schedule *out)
{
    for (size_t i = 0; i < scene->n; i++) {
        size_t at = out->n_order;

        if (!scene_is_candidate(scene, i))
            continue;
        while (at > 0 && before(&scene->uplinks[i], &scene->uplinks[out->order[at - 1]])) {
            out->order[at] = out->order[at - 1];
            at--;
        }
        out->order[at] = (uint8_t)i;
        out->n_order++;
    }
}

void scene_lead(const struct scene *scene, struct schedule *out)
{
    size_t lead = 0;

    while (lead < out->n_order && scene->uplinks[out->order[lead]].doubtful)
        lead++;
    if (lead == out->n_order)
        lead = 0;
    for (size_t i = 0; i < out->n_order; i++)
        out->roles[out->order[i]] = i == lead ? ROLE_ACTIVE : ROLE_STANDBY;
    for (; lead > 0 && lead < out->n_order; lead--) {
        uint8_t moving = out->order[lead];
        out->order[lead] = out->order[lead - 1];
        out->order[lead - 1] = moving;
    }
}
