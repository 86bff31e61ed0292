#include "gateway/unproxied.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"

#define LABEL "unproxied"

/* What is known and done for one family. */
struct following {
    struct unproxied_view views[UPLINKS_MAX];
    int current;
};

struct unproxied {
    const struct uplinks *uplinks;
    const struct gauges *gauges;
    struct routes *routes;
    struct event *timer;
    struct following of[2]; /* IPv4, IPv6 */
};

void unproxied_note(struct unproxied_view *view, bool usable, uint64_t now_ms)
{
    if (usable && !view->usable)
        view->usable_since_ms = now_ms;
    view->usable = usable;
}

/* Of equally cheap ones the earlier is better. */
static bool is_better(const struct unproxied_view *views, int a, int b)
{
    if (b == UNPROXIED_NONE || views[a].cost != views[b].cost)
        return b == UNPROXIED_NONE || views[a].cost < views[b].cost;
    return views[a].rank < views[b].rank;
}

int unproxied_choose(const struct unproxied_view *views, size_t n, int current, uint64_t now_ms,
                     uint64_t *again_ms)
{
    bool stays = current != UNPROXIED_NONE && views[current].usable;
    int best = stays ? current : UNPROXIED_NONE;

    *again_ms = 0;
    for (int i = 0; i < (int)n; i++) {
        uint64_t ripe_ms = views[i].usable_since_ms + UNPROXIED_RETURN_MS;
        if (!views[i].usable || !is_better(views, i, best))
            continue;
        if (!stays || ripe_ms <= now_ms)
            best = i;
    }
    for (int i = 0; i < (int)n; i++) {
        uint64_t ripe_ms = views[i].usable_since_ms + UNPROXIED_RETURN_MS;
        if (views[i].usable && is_better(views, i, best) && (!*again_ms || ripe_ms < *again_ms))
            *again_ms = ripe_ms;
    }
    return best;
}

/* The main table may lead to an uplink that must not be used. */
static bool main_may_lead_astray(const struct unproxied *u, uint8_t family)
{
    for (size_t i = 0; i < uplinks_count(u->uplinks); i++) {
        const struct uplink *uplink = uplinks_get(u->uplinks, i);
        if (u->gauges->of[i].spent && uplink->config->on_budget == ON_BUDGET_OFF &&
            uplink_route(uplink, family)->address.family)
            return true;
    }
    return false;
}

static void follow(struct unproxied *u, uint8_t family, int chosen)
{
    const struct uplink *uplink =
        chosen == UNPROXIED_NONE ? NULL : uplinks_get(u->uplinks, (size_t)chosen);
    struct following *f = &u->of[family == 6];
    bool refuse = !uplink && main_may_lead_astray(u, family);
    int err = refuse ? routes_refuse(u->routes, family) : routes_follow(u->routes, family, uplink);

    bool moves = chosen != f->current;
    f->current = chosen;
    if (err)
        log_error(LABEL, "cannot set the IPv%u default route: %s", family, strerror(-err));
    if (err || !moves)
        return;
    if (uplink)
        log_info(LABEL, "IPv%u follows uplink=%s", family, uplink->config->name);
    else
        log_info(LABEL, "IPv%u %s: no uplink can carry it", family,
                 refuse ? "goes nowhere" : "follows the main routing table");
}

static uint64_t update_family(struct unproxied *u, uint8_t family, uint64_t now_ms)
{
    struct following *f = &u->of[family == 6];
    size_t n = uplinks_count(u->uplinks);
    uint64_t again_ms;
    uint32_t carriers = gauges_carriers(u->gauges, u->uplinks, family);

    for (size_t i = 0; i < n; i++) {
        f->views[i].cost = uplinks_get(u->uplinks, i)->config->cost;
        f->views[i].rank = uplinks_get(u->uplinks, i)->config->rank;
        unproxied_note(&f->views[i], carriers & UINT32_C(1) << i, now_ms);
    }
    int chosen = unproxied_choose(f->views, n, f->current, now_ms, &again_ms);
    follow(u, family, chosen);
    return again_ms;
}

void unproxied_update(struct unproxied *u)
{
    if (!u)
        return;
    uint64_t now_ms = clock_now_ms();
    uint64_t first = update_family(u, 4, now_ms), second = update_family(u, 6, now_ms);
    uint64_t at_ms = !first || (second && second < first) ? second : first;

    evtimer_del(u->timer);
    if (!at_ms)
        return;
    uint64_t in_ms = at_ms > now_ms ? at_ms - now_ms : 0;
    struct timeval in = {.tv_sec = (time_t)(in_ms / 1000),
                         .tv_usec = (suseconds_t)(in_ms % 1000 * 1000)};
    evtimer_add(u->timer, &in);
}

static void on_return(evutil_socket_t fd, short what, void *arg)
{
    unproxied_update(arg);
}

int unproxied_new(struct unproxied **out, struct event_base *base, const struct uplinks *uplinks,
                  const struct gauges *gauges, struct routes *routes)
{
    struct unproxied *u = calloc(1, sizeof(*u));

    if (!u)
        return -ENOMEM;
    u->uplinks = uplinks;
    u->gauges = gauges;
    u->routes = routes;
    u->timer = evtimer_new(base, on_return, u);
    if (!u->timer) {
        unproxied_free(u);
        return -ENOMEM;
    }
    u->of[0].current = u->of[1].current = UNPROXIED_NONE;
    unproxied_update(u);
    *out = u;
    return 0;
}

void unproxied_free(struct unproxied *u)
{
    if (!u)
        return;
    if (u->timer)
        event_free(u->timer);
    free(u);
}
