#include "gateway/concentrators.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/list.h"
#include "core/log.h"
#include "gateway/changes.h"

/* Warm connections: one always (it also tells whether the concentrator is well), more while flows
 * come. */
#define WARM_IDLE 1
#define WARM_BUSY 4
#define BUSY_MS 60000
/* After its start a concentrator challenges for a minute, and its tokens live 10 s (protocol.md).
 */
#define START_UP_MS 60000
#define TOKEN_REFRESH_MS 7000
/* After a failure: again after 1, 2, 4, 8, 16 s. */
#define RETRY_FIRST_MS 1000
#define RETRY_DOUBLINGS 4
/* One that was down is preferred again when it has been well for so long. */
#define WELL_MS 30000
static const struct timeval silence_patience = {.tv_sec = 1};

struct concentrator {
    struct concentrators *all;
    struct station station;
    enum concentrator_state state;
    char reason[160];
    struct list warm; /* of struct warm, dialling ones too */
    unsigned n_warm;
    unsigned failures; /* in a row */
    uint64_t up_ms;    /* since when */
    bool was_down;     /* before that */
    uint64_t last_taken_ms;
    uint64_t start_up_ends_ms; /* until then it challenges */
    struct event *keep;        /* looks whether connections are missing */
};

struct warm {
    struct list node;
    struct concentrator *concentrator; /* NULL: buried; what its trunk still tells is of no use */
    struct trunk *trunk;
    uint64_t welcomed_ms;
};

struct concentrators {
    const struct trunk_context *context;
    const struct gateway_config *config;
    concentrators_changed *changed;
    void *arg;
    size_t count;
    struct concentrator list[CONCENTRATORS_MAX];
    size_t current;   /* where new flows go */
    struct list dead; /* of struct warm, until the reaper comes */
    struct event *reaper, *silence, *moved;
};

const char *concentrator_state_name(enum concentrator_state state)
{
    static const char *const names[] = {"unknown", "up", "down"};

    return names[state];
}

static void explain_unreachable(const struct concentrator_entry *entry, int error, char *out,
                                size_t len)
{
    char at[ADDR_TEXT];

    addr_format(&entry->address, at);
    if (error == ECONNREFUSED)
        snprintf(out, len, "%s refuses connections: is the concentrator running there?", at);
    else if (error == ETIMEDOUT)
        snprintf(out, len, "%s does not answer: is it up, and its port open in the firewall?", at);
    else
        snprintf(out, len, "cannot reach %s: %s", at, strerror(error));
}

void concentrator_explain(const struct concentrator_entry *entry, enum trunk_failure why, int error,
                          char *out, size_t len)
{
    const char *key = entry->key_file;

    switch (why) {
    case TRUNK_NO_UPLINK:
        snprintf(out, len, "no uplink is up");
        return;
    case TRUNK_UNREACHABLE:
        explain_unreachable(entry, error, out, len);
        return;
    case TRUNK_SILENT:
        snprintf(out, len, "it takes our connection and says nothing: does it hang?");
        return;
    case TRUNK_REJECTED:
        snprintf(out, len, "it does not accept our key: put the key of %s on the concentrator",
                 key);
        return;
    case TRUNK_HUNG_UP:
        snprintf(out, len, "it hangs up at once: is a concentrator running on that port?");
        return;
    case TRUNK_BAD:
        snprintf(out, len, "its answer was not made with our key (%s): is this our concentrator?",
                 key);
        return;
    case TRUNK_REFUSED:
        snprintf(out, len, "it refused us: %s", refusal_name((uint8_t)error));
        return;
    default:
        snprintf(out, len, "%s", trunk_failure_name(why));
        return;
    }
}

static void keep_in(struct concentrator *c, uint32_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    event_add(c->keep, &tv);
}

static void tell(const struct concentrator *c, enum concentrator_state before)
{
    struct concentrator_status now = concentrators_status(c->all, (size_t)(c - c->all->list));

    changes_concentrator(c->all->context->events, before, &now);
}

static void set_state(struct concentrator *c, enum concentrator_state state, const char *reason)
{
    enum concentrator_state before = c->state;
    bool same = before == state && strcmp(reason, c->reason) == 0;

    if (state == CONCENTRATOR_DOWN && strcmp(reason, c->reason) != 0)
        log_warning(c->station.entry->name, "down: %s", reason);
    snprintf(c->reason, sizeof(c->reason), "%s", reason);
    c->state = state;
    if (state == CONCENTRATOR_UP && before != state) {
        c->up_ms = clock_now_ms();
        c->was_down = before == CONCENTRATOR_DOWN;
    }
    if (!same)
        tell(c, before);
    if (before != state)
        c->all->changed(c->all->arg);
}

static void bury(struct warm *w)
{
    struct concentrators *cs = w->concentrator->all;

    list_remove(&w->node);
    w->concentrator->n_warm--;
    w->concentrator = NULL;
    list_append(&cs->dead, &w->node);
    event_active(cs->reaper, 0, 0);
}

/* At most so many of those that wait, the oldest first. */
static void bury_warm(struct concentrator *c, unsigned most)
{
    list_each(node, &c->warm)
    {
        struct warm *w = list_entry(node, struct warm, node);
        if (most > 0 && trunk_is_welcomed(w->trunk)) {
            bury(w);
            most--;
        }
    }
}

static void on_connected(void *arg)
{
}

static void on_welcomed(void *arg)
{
    struct warm *w = arg;
    struct concentrator *c = w->concentrator;
    char at[ADDR_TEXT];

    if (!c)
        return;
    w->welcomed_ms = clock_now_ms();
    if (c->station.challenged_ms && c->start_up_ends_ms < w->welcomed_ms &&
        w->welcomed_ms - c->station.challenged_ms < TOKEN_REFRESH_MS)
        c->start_up_ends_ms = c->station.challenged_ms + START_UP_MS;
    c->failures = 0;
    if (c->state != CONCENTRATOR_UP)
        log_info(c->station.entry->name, "up address=%s uplink=%s connect_ms=%u mptcp=%s",
                 addr_format(&c->station.entry->address, at), trunk_first_uplink(w->trunk),
                 trunk_connect_ms(w->trunk), trunk_is_mptcp(w->trunk) ? "yes" : "no");
    set_state(c, CONCENTRATOR_UP, "");
    keep_in(c, 0);
}

static void on_failed(void *arg, enum trunk_failure why, int error)
{
    struct warm *w = arg;
    struct concentrator *c = w->concentrator;
    char reason[sizeof(c->reason)];

    if (!c)
        return;
    bury(w);
    /* One that waited and was ended says little: the idle limit, or a restart. Look again. */
    if (why == TRUNK_LOST) {
        keep_in(c, clock_now_ms() - w->welcomed_ms < RETRY_FIRST_MS ? RETRY_FIRST_MS : 0);
        return;
    }
    unsigned doublings = c->failures < RETRY_DOUBLINGS ? c->failures : RETRY_DOUBLINGS;
    c->failures++;
    keep_in(c, RETRY_FIRST_MS << doublings);
    /* Those that wait may be dead without knowing, and would keep us from asking again. */
    bury_warm(c, UINT_MAX);
    concentrator_explain(c->station.entry, why, error, reason, sizeof(reason));
    set_state(c, CONCENTRATOR_DOWN, reason);
}

static const struct trunk_events warm_events = {
    .connected = on_connected, .welcomed = on_welcomed, .failed = on_failed};

/* What most flows will ask for. */
static struct demand usual_demand(const struct concentrators *cs)
{
    return (struct demand){cs->config->scheduler, UINT32_MAX};
}

static bool dial_one(struct concentrator *c, bool asks_token)
{
    struct concentrators *cs = c->all;
    struct warm *w = calloc(1, sizeof(*w));
    struct demand demand = usual_demand(cs);
    struct schedule schedule;

    if (!w)
        return false;
    gauges_place(cs->context->gauges, cs->context->uplinks, c->station.entry->address.family,
                 &demand, &schedule);
    w->concentrator = c;
    w->trunk = trunk_new(cs->context, &c->station, &schedule, &warm_events, w);
    if (!w->trunk) {
        free(w);
        return false;
    }
    if (asks_token)
        trunk_ask_token(w->trunk);
    list_append(&c->warm, &w->node);
    c->n_warm++;
    return true;
}

/* A concentrator that has just started challenges every HELLO without a token for a minute. A fresh
 * token at hand spares flows the round trip, and a burst of them the limit of challenges. */
static bool refreshes_token(const struct concentrator *c, uint64_t now_ms)
{
    return c->state == CONCENTRATOR_UP && c->start_up_ends_ms > now_ms;
}

/* One that waits makes room for one that asks. */
static void refresh_token(struct concentrator *c, uint64_t now_ms)
{
    uint64_t age_ms = now_ms - c->station.challenged_ms;

    if (age_ms >= TOKEN_REFRESH_MS) {
        bury_warm(c, 1);
        dial_one(c, true);
        age_ms = 0;
    }
    keep_in(c, (uint32_t)(TOKEN_REFRESH_MS - age_ms));
}

/* While it is not known to be well, one dial at a time. */
static unsigned wanted(const struct concentrator *c)
{
    bool busy = c->last_taken_ms && clock_now_ms() - c->last_taken_ms < BUSY_MS;

    return c->state == CONCENTRATOR_UP && busy ? WARM_BUSY : WARM_IDLE;
}

static void on_keep(evutil_socket_t fd, short what, void *arg)
{
    struct concentrator *c = arg;
    uint64_t now_ms = clock_now_ms();

    if (refreshes_token(c, now_ms))
        refresh_token(c, now_ms);
    while (c->n_warm < wanted(c)) {
        if (!dial_one(c, false)) {
            keep_in(c, RETRY_FIRST_MS);
            return;
        }
    }
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct concentrators *cs = arg;

    list_each(node, &cs->dead)
    {
        struct warm *w = list_entry(node, struct warm, node);
        list_remove(node);
        trunk_free(w->trunk);
        free(w);
    }
}

static void on_silence(evutil_socket_t fd, short what, void *arg);
static void on_moved(evutil_socket_t fd, short what, void *arg);

static int init_one(struct concentrators *cs, struct concentrator *c,
                    const struct concentrator_entry *entry)
{
    c->all = cs;
    c->station.entry = entry;
    /* A guess: right where the wall clock is; a challenge corrects it elsewhere. */
    c->station.clock_offset_ms = (int64_t)(clock_wall_ms() - clock_boot_ms());
    list_init(&c->warm);
    c->keep = evtimer_new(cs->context->base, on_keep, c);
    if (!c->keep)
        return -ENOMEM;
    keep_in(c, 0);
    return 0;
}

int concentrators_new(struct concentrators **out, const struct trunk_context *context,
                      const struct gateway_config *config, concentrators_changed *changed,
                      void *arg)
{
    struct concentrators *cs = calloc(1, sizeof(*cs));

    if (!cs)
        return -ENOMEM;
    cs->context = context;
    cs->config = config;
    cs->changed = changed;
    cs->arg = arg;
    list_init(&cs->dead);
    cs->reaper = event_new(context->base, -1, 0, on_reap, cs);
    cs->silence = evtimer_new(context->base, on_silence, cs);
    cs->moved = event_new(context->base, -1, 0, on_moved, cs);
    int err = cs->reaper && cs->silence && cs->moved ? 0 : -ENOMEM;
    for (size_t i = 0; !err && i < config->n_concentrators; i++) {
        err = init_one(cs, &cs->list[i], &config->concentrators[i]);
        cs->count++;
    }
    if (err) {
        concentrators_free(cs);
        return err;
    }
    *out = cs;
    return 0;
}

void concentrators_free(struct concentrators *cs)
{
    if (!cs)
        return;
    for (size_t i = 0; i < cs->count; i++) {
        list_each(node, &cs->list[i].warm) bury(list_entry(node, struct warm, node));
        if (cs->list[i].keep)
            event_free(cs->list[i].keep);
    }
    on_reap(-1, 0, cs);
    if (cs->reaper)
        event_free(cs->reaper);
    if (cs->silence)
        event_free(cs->silence);
    if (cs->moved)
        event_free(cs->moved);
    free(cs);
}

static struct concentrator *of_station(struct station *station)
{
    return list_entry(station, struct concentrator, station);
}

static bool is_well(const struct concentrator *c, uint64_t now_ms)
{
    return c->state == CONCENTRATOR_UP && (!c->was_down || now_ms - c->up_ms >= WELL_MS);
}

/* The first that has been well for a while; while there is none, the one in use, or any. */
static size_t prefer(const struct concentrators *cs, uint64_t now_ms)
{
    size_t any = cs->count;

    for (size_t i = 0; i < cs->count; i++) {
        if (is_well(&cs->list[i], now_ms))
            return i;
        if (cs->list[i].state == CONCENTRATOR_UP && (any == cs->count || i == cs->current))
            any = i;
    }
    return any;
}

struct station *concentrators_choose(struct concentrators *cs)
{
    size_t chosen = prefer(cs, clock_now_ms());

    if (chosen == cs->count)
        return NULL;
    if (chosen != cs->current) {
        cs->current = chosen;
        log_info(cs->list[chosen].station.entry->name, "new flows go here");
        event_active(cs->moved, 0, 0);
    }
    return &cs->list[chosen].station;
}

bool concentrators_is_up(const struct concentrators *cs, const struct station *station)
{
    return list_entry(station, struct concentrator, station)->state == CONCENTRATOR_UP;
}

static void on_moved(evutil_socket_t fd, short what, void *arg)
{
    struct concentrators *cs = arg;

    cs->changed(cs->arg);
}

void concentrators_set_silent(struct concentrators *cs, bool silent)
{
    if (!silent)
        event_del(cs->silence);
    else if (!event_pending(cs->silence, EV_TIMEOUT, NULL))
        event_add(cs->silence, &silence_patience);
}

static void on_silence(evutil_socket_t fd, short what, void *arg)
{
    struct concentrators *cs = arg;
    struct concentrator *c = &cs->list[cs->current];

    if (c->state != CONCENTRATOR_UP || !gauges_are_mute(cs->context->gauges, cs->context->uplinks,
                                                        c->station.entry->address.family))
        return;
    bury_warm(c, UINT_MAX);
    keep_in(c, RETRY_FIRST_MS);
    set_state(c, CONCENTRATOR_DOWN, "it answers by no uplink");
}

struct trunk *concentrators_take(struct concentrators *cs, struct station *station)
{
    struct concentrator *c = of_station(station);

    c->last_taken_ms = clock_now_ms();
    keep_in(c, 0);
    list_each(node, &c->warm)
    {
        struct warm *w = list_entry(node, struct warm, node);
        if (!trunk_is_welcomed(w->trunk))
            continue;
        struct trunk *trunk = w->trunk;
        list_remove(&w->node);
        c->n_warm--;
        free(w);
        return trunk;
    }
    return NULL;
}

void concentrators_doubt(struct concentrators *cs, struct station *station)
{
    struct concentrator *c = of_station(station);

    /* A new dial asks again; the ones that wait may be dead without knowing. */
    bury_warm(c, UINT_MAX);
    keep_in(c, 0);
}

void concentrators_uplinks_changed(struct concentrators *cs)
{
    struct demand demand = usual_demand(cs);

    for (size_t i = 0; i < cs->count; i++) {
        struct concentrator *c = &cs->list[i];
        list_each(node, &c->warm)
        {
            struct warm *w = list_entry(node, struct warm, node);
            if (trunk_paths(w->trunk))
                trunk_reschedule(w->trunk, &demand);
            else if (c->state != CONCENTRATOR_UP)
                bury(w); /* it dials by what was; below by what is */
        }
        if (c->state != CONCENTRATOR_UP) {
            c->failures = 0;
            keep_in(c, 0);
        }
    }
}

size_t concentrators_count(const struct concentrators *cs)
{
    return cs->count;
}

struct concentrator_status concentrators_status(const struct concentrators *cs, size_t index)
{
    const struct concentrator *c = &cs->list[index];
    struct concentrator_status status = {
        .entry = c->station.entry, .state = c->state, .reason = c->reason};

    for (size_t i = 0; i < uplinks_count(cs->context->uplinks); i++) {
        uint32_t rtt_us = cs->context->gauges->of[i].rtt_us;
        if (rtt_us && (!status.rtt_us || rtt_us < status.rtt_us))
            status.rtt_us = rtt_us;
    }
    list_each(node, (struct list *)&c->warm)
    {
        if (trunk_is_welcomed(list_entry(node, struct warm, node)->trunk))
            status.warm++;
    }
    return status;
}
