/* bond: every uplink active, so that a flow gets the sum of them. One that may just have died
 * stands by until that is known, and one that would slow the others. */
#include "gateway/schedulers/scene.h"

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
    scene_order(scene, scene_starts_sooner, out);
    out->narrows = true;
}
