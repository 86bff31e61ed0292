#include "gateway/truth.h"

#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"

/* Joins come first: after so long, what they have not told is asked for. */
#define PATIENCE_MS 3000
/* A stripped one, and one whose probes are answered no more, after 15, 30, 60 ... 480 s. */
#define AGAIN_FIRST_MS 15000
#define AGAIN_DOUBLINGS 5
/* Where only connections tell whether an uplink lives: how long one tells it. A dead one is tried
 * again after 15, 30, 60 s. */
#define WELCOME_TELLS_MS 60000
#define DEAD_DOUBLINGS 2

struct test {
    struct truth *all;
    uint32_t uplink;
    struct trunk *trunk; /* NULL: none under way */
    bool over;           /* the reaper's turn */
    uint64_t due_ms;     /* 0: nothing to find out */
    unsigned tests;      /* since it was last well */
};

struct truth {
    const struct trunk_context *context;
    struct concentrators *concentrators;
    struct event *timer, *reaper;
    struct test of[UPLINKS_MAX];
};

static void on_connected(void *arg)
{
}

static void end_test(struct test *t)
{
    t->over = true;
    event_active(t->all->reaper, 0, 0);
}

static void on_welcomed(void *arg)
{
    end_test(arg);
}

static void on_failed(void *arg, enum trunk_failure why, int error)
{
    struct test *t = arg;

    if (error == ETIMEDOUT) /* a refusal says that it lives */
        gauge_unheard(&t->all->context->gauges->of[t->uplink]);
    end_test(t);
}

static const struct trunk_events test_events = {
    .connected = on_connected, .welcomed = on_welcomed, .failed = on_failed};

static void start_test(struct test *t, struct station *station)
{
    struct schedule only = {.order = {(uint8_t)t->uplink}, .n_order = 1};

    only.roles[t->uplink] = ROLE_ACTIVE;
    t->trunk = trunk_new(t->all->context, station, &only, &test_events, t);
    if (t->trunk)
        trunk_ask_mptcp(t->trunk);
    t->tests++;
}

/* In how many ms it is due. */
static uint64_t patience_ms(const struct test *t, const struct gauge *gauge)
{
    unsigned doublings = t->tests > 0 ? t->tests - 1 : 0;
    bool is_dead = gauge_verdict(gauge) == HEALTH_DEAD, is_probed = gauge->health.answered_us;
    unsigned most = is_dead && !is_probed ? DEAD_DOUBLINGS : AGAIN_DOUBLINGS;

    if (gauge->mptcp != MPTCP_STRIPPED && !(is_dead && is_probed) && t->tests == 0)
        return PATIENCE_MS;
    return (uint64_t)AGAIN_FIRST_MS << (doublings < most ? doublings : most);
}

/* A test costs data. */
static bool can_be_tested(const struct truth *all, uint32_t uplink, const struct station *station)
{
    return station && !all->context->gauges->of[uplink].spent &&
           uplink_usable(uplinks_get(all->context->uplinks, uplink),
                         station->entry->address.family);
}

/* Probes that are not answered may be blocked, and do not tell a dead uplink from a live one; where
 * they are refused, it may be by a concentrator that does not run. */
static bool is_known(const struct gauge *g, uint64_t now_ms)
{
    bool told = g->welcomed && now_ms - g->welcomed_ms < WELCOME_TELLS_MS;

    return g->mptcp == MPTCP_OK && (told || gauge_is_answered(g)) &&
           gauge_verdict(g) != HEALTH_DEAD && !gauge_is_refused(g);
}

static void look_at(struct test *t, struct station *station, uint64_t now_ms)
{
    const struct gauge *gauge = &t->all->context->gauges->of[t->uplink];
    bool known = is_known(gauge, now_ms);

    if (known)
        t->tests = 0;
    if (t->trunk)
        return;
    if (known || !can_be_tested(t->all, t->uplink, station))
        t->due_ms = 0;
    else if (t->due_ms == 0)
        t->due_ms = now_ms + patience_ms(t, gauge);
    else if (t->due_ms <= now_ms) {
        t->due_ms = 0;
        start_test(t, station);
    }
}

static void set_timer(struct truth *all, uint64_t now_ms)
{
    uint64_t at_ms = UINT64_MAX;

    for (size_t i = 0; i < uplinks_count(all->context->uplinks); i++) {
        if (all->of[i].due_ms && all->of[i].due_ms < at_ms)
            at_ms = all->of[i].due_ms;
    }
    event_del(all->timer);
    if (at_ms == UINT64_MAX)
        return;
    uint64_t ms = at_ms > now_ms ? at_ms - now_ms : 0;
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_add(all->timer, &tv);
}

void truth_look(struct truth *all)
{
    struct station *station = concentrators_choose(all->concentrators);
    uint64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < uplinks_count(all->context->uplinks); i++)
        look_at(&all->of[i], station, now_ms);
    set_timer(all, now_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    truth_look(arg);
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct truth *all = arg;

    for (size_t i = 0; i < UPLINKS_MAX; i++) {
        struct test *t = &all->of[i];
        if (!t->over)
            continue;
        trunk_free(t->trunk);
        t->trunk = NULL;
        t->over = false;
    }
    truth_look(all);
}

int truth_new(struct truth **out, const struct trunk_context *context,
              struct concentrators *concentrators)
{
    struct truth *all = calloc(1, sizeof(*all));

    if (!all)
        return -ENOMEM;
    all->context = context;
    all->concentrators = concentrators;
    for (uint32_t i = 0; i < UPLINKS_MAX; i++)
        all->of[i] = (struct test){.all = all, .uplink = i};
    all->timer = evtimer_new(context->base, on_timer, all);
    all->reaper = event_new(context->base, -1, 0, on_reap, all);
    if (!all->timer || !all->reaper) {
        truth_free(all);
        return -ENOMEM;
    }
    *out = all;
    return 0;
}

void truth_free(struct truth *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < UPLINKS_MAX; i++)
        trunk_free(all->of[i].trunk);
    if (all->timer)
        event_free(all->timer);
    if (all->reaper)
        event_free(all->reaper);
    free(all);
}
