/* failover: one uplink at a time, the cheapest that is well; between equally cheap ones the first
 * of the configuration. The rest stand by, joined, so that the next one takes over within a round
 * trip. */
#include "gateway/schedulers/scene.h"

static bool is_cheaper(const struct uplink_view *a, const struct uplink_view *b)
{
    return a->cost < b->cost;
}

void failover_decide(const struct scene *scene, struct schedule *out)
{
    scene_order(scene, is_cheaper, out);
    scene_lead(out->order[0], out);
}
