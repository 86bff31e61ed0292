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
/* After its start a concentrator challenges for a minute, and its tokens live 10 s (protocol.md):
 * time enough to ask for the next one twice more where uplinks fail. */
#define START_UP_MS 60000
#define TOKEN_REFRESH_MS 4000
#define TOKEN_AGAIN_MS 2000
/* After a failure: again after 1, 2, 4, 8, 16 s. */
#define RETRY_FIRST_MS 1000
#define RETRY_DOUBLINGS 4
#define AGAIN_MS 100 /* after a shortage */
/* One that was down is preferred again when it has been well for so long. */
#define WELL_MS 30000
static const struct timeval silence_patience = {.tv_sec = 1};

struct concentrator {
    struct concentrators *all;
    struct station *station;
    enum concentrator_state state;
    char reason[160];
    struct list warm; /* of struct warm, dialling ones too */
    unsigned n_warm;
    unsigned failures; /* in a row */
    uint64_t up_ms;    /* since when */
    bool was_down;     /* before that */
    uint64_t last_taken_ms;
    uint64_t start_up_ends_ms; /* until then it challenges */
    uint64_t asked_ms;         /* when it was asked for a token last */
    struct event *keep;        /* looks whether connections are missing */
};

struct warm {
    struct list node;
    struct concentrator *concentrator; /* NULL: buried; what its trunk still tells is of no use */
    struct trunk *trunk;
    uint64_t dialled_ms, welcomed_ms;
};

struct concentrators {
    const struct trunk_context *context;
    const struct gateway_config *config;
    concentrators_changed *changed;
    void *arg;
    size_t count;
    struct concentrator *list[CONCENTRATORS_MAX]; /* in order of preference */
    struct concentrator *leaving; /* no longer configured, and in use until others are known */
    struct concentrator *current; /* where new flows go; NULL: the last one is gone */
    struct list dead;             /* of struct warm, until the reaper comes */
    struct event *reaper, *silence, *moved;
    bool silent; /* the one in use answers no probes */
};

const char *concentrator_state_name(enum concentrator_state state)
{
    static const char names[][8] = {"unknown", "up", "down"};

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
    case TRUNK_NO_MEMORY:
        snprintf(out, len, "this router is short of memory, descriptors or ports: %s",
                 strerror(error ? error : ENOMEM));
        return;
    case TRUNK_LOST:
        snprintf(out, len, "the connection breaks: %s", strerror(error));
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

static struct concentrator_status status_of(const struct concentrator *c);

static void tell(const struct concentrator *c, enum concentrator_state before)
{
    struct concentrator_status now = status_of(c);

    changes_concentrator(c->all->context->events, before, &now);
}

static void set_state(struct concentrator *c, enum concentrator_state state, const char *reason)
{
    enum concentrator_state before = c->state;
    bool same = before == state && strcmp(reason, c->reason) == 0;

    if (state == CONCENTRATOR_DOWN && strcmp(reason, c->reason) != 0)
        log_warning(c->station->entry->name, "down: %s", reason);
    snprintf(c->reason, sizeof(c->reason), "%s", reason);
    c->state = state;
    if (state == CONCENTRATOR_UP && before != state) {
        c->up_ms = clock_now_ms();
        c->was_down = before == CONCENTRATOR_DOWN;
    }
    if (!same)
        tell(c, before);
    if (before == state)
        return;
    event_active(c->all->reaper, 0, 0); /* one that is leaving may be gone now */
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

/* While it is not known to be well, one dial at a time. */
static unsigned wanted(const struct concentrator *c)
{
    bool busy = c->last_taken_ms && clock_now_ms() - c->last_taken_ms < BUSY_MS;

    return c->state == CONCENTRATOR_UP && busy ? WARM_BUSY : WARM_IDLE;
}

static unsigned count_welcomed(const struct concentrator *c)
{
    unsigned n = 0;

    list_each(node, (struct list *)&c->warm)
    {
        if (trunk_is_welcomed(list_entry(node, struct warm, node)->trunk))
            n++;
    }
    return n;
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

/* The first challenge came within the first minute, and each further one in the same. */
static void note_start_up(struct concentrator *c)
{
    if (c->station->challenged_ms > c->start_up_ends_ms)
        c->start_up_ends_ms = c->station->challenged_ms + START_UP_MS;
}

static void on_welcomed(void *arg)
{
    struct warm *w = arg;
    struct concentrator *c = w->concentrator;
    char at[ADDR_TEXT];

    if (!c)
        return;
    w->welcomed_ms = clock_now_ms();
    note_start_up(c);
    c->failures = 0;
    if (c->state != CONCENTRATOR_UP)
        log_info(c->station->entry->name, "up address=%s uplink=%s connect_ms=%u mptcp=%s",
                 addr_format(&c->station->entry->address, at), trunk_first_uplink(w->trunk),
                 trunk_connect_ms(w->trunk), trunk_is_mptcp(w->trunk) ? "yes" : "no");
    set_state(c, CONCENTRATOR_UP, "");
    if (count_welcomed(c) > wanted(c)) /* it has asked for a token, or they are fewer now */
        bury_warm(c, 1);
    keep_in(c, 0);
}

/* Until it is welcomed a connection has one uplink alone, and may lose it: then it gets no answer,
 * or, where its HELLO was lost, the reset of who has no key. While it is dialled, it has those that
 * were well when that began. That it was this is known when others have been welcomed since it was
 * made. */
static bool is_its_uplinks_fault(const struct warm *w, enum trunk_failure why, int error)
{
    bool unanswered = why == TRUNK_SILENT || why == TRUNK_REJECTED ||
                      (why == TRUNK_UNREACHABLE && error == ETIMEDOUT);

    return unanswered && w->concentrator->station->welcomed_ms > w->dialled_ms;
}

/* A shortage, here or there, need not last, nor what breaks a connection. One that does leaves no
 * way to the concentrator. */
static bool may_be_over(enum trunk_failure why)
{
    return why == TRUNK_NO_MEMORY || why == TRUNK_HUNG_UP || why == TRUNK_LOST;
}

static void on_failed(void *arg, enum trunk_failure why, int error)
{
    struct warm *w = arg;
    struct concentrator *c = w->concentrator;
    char reason[sizeof(c->reason)];

    if (!c)
        return;
    bool blames_uplink = is_its_uplinks_fault(w, why, error);
    bury(w);
    if (blames_uplink) {
        keep_in(c, 0);
        return;
    }
    /* One that waited and was ended says little: the idle limit, or a restart. Look again. */
    if (why == TRUNK_LOST && w->welcomed_ms) {
        keep_in(c, clock_now_ms() - w->welcomed_ms < RETRY_FIRST_MS ? RETRY_FIRST_MS : 0);
        return;
    }
    if (c->state == CONCENTRATOR_UP && c->failures == 0 && may_be_over(why)) {
        c->failures = 1;
        /* One that is gone for good says so at once; what is short is given a moment. */
        keep_in(c, why == TRUNK_HUNG_UP ? 0 : AGAIN_MS);
        return;
    }
    unsigned doublings = c->failures < RETRY_DOUBLINGS ? c->failures : RETRY_DOUBLINGS;
    c->failures++;
    keep_in(c, RETRY_FIRST_MS << doublings);
    /* Those that wait may be dead without knowing, and would keep us from asking again. */
    bury_warm(c, UINT_MAX);
    concentrator_explain(c->station->entry, why, error, reason, sizeof(reason));
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
    gauges_place(cs->context->gauges, cs->context->uplinks, c->station->entry->address.family,
                 &demand, &schedule);
    w->concentrator = c;
    w->dialled_ms = clock_now_ms();
    w->trunk = trunk_new(cs->context, c->station, &schedule, &warm_events, w);
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

static void refresh_token(struct concentrator *c, uint64_t now_ms)
{
    uint64_t due_ms = c->station->challenged_ms + TOKEN_REFRESH_MS;

    if (due_ms < c->asked_ms + TOKEN_AGAIN_MS)
        due_ms = c->asked_ms + TOKEN_AGAIN_MS;
    if (now_ms >= due_ms) {
        dial_one(c, true);
        c->asked_ms = now_ms;
        due_ms = now_ms + TOKEN_AGAIN_MS;
    }
    keep_in(c, (uint32_t)(due_ms - now_ms));
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

static void concentrator_free(struct concentrator *c)
{
    if (!c)
        return;
    list_each(node, &c->warm) bury(list_entry(node, struct warm, node));
    if (c->keep)
        event_free(c->keep);
    station_release(c->station);
    free(c);
}

static struct concentrator *concentrator_new(struct concentrators *cs,
                                             const struct concentrator_entry *entry)
{
    struct concentrator *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->all = cs;
    list_init(&c->warm);
    c->station = station_new(entry);
    c->keep = evtimer_new(cs->context->base, on_keep, c);
    if (!c->station || !c->keep) {
        concentrator_free(c);
        return NULL;
    }
    keep_in(c, 0);
    return c;
}

/* While nothing is known of the others, one that leaves is better than none. */
static bool is_needed(const struct concentrators *cs, const struct concentrator *c)
{
    bool all_known = true;

    for (size_t i = 0; i < cs->count; i++) {
        if (cs->list[i]->state == CONCENTRATOR_UP)
            return false;
        all_known = all_known && cs->list[i]->state != CONCENTRATOR_UNKNOWN;
    }
    return c->state == CONCENTRATOR_UP && !all_known;
}

/* It is no longer configured. Its connections hold the station, and run to their end. */
static void dismiss(struct concentrator *c)
{
    struct concentrators *cs = c->all;

    if (cs->current == c)
        cs->current = NULL;
    concentrator_free(c);
}

static void reap_leaving(struct concentrators *cs)
{
    struct concentrator *c = cs->leaving;

    if (!c || is_needed(cs, c))
        return;
    cs->leaving = NULL;
    dismiss(c);
    cs->changed(cs->arg);
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct concentrators *cs = arg;

    reap_leaving(cs);
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

int concentrators_new(struct concentrators **out, const struct trunk_context *context,
                      const struct gateway_config *config, concentrators_changed *changed,
                      void *arg)
{
    struct concentrators *cs = calloc(1, sizeof(*cs));

    if (!cs)
        return -ENOMEM;
    cs->context = context;
    cs->changed = changed;
    cs->arg = arg;
    list_init(&cs->dead);
    cs->reaper = event_new(context->base, -1, 0, on_reap, cs);
    cs->silence = evtimer_new(context->base, on_silence, cs);
    cs->moved = event_new(context->base, -1, 0, on_moved, cs);
    int err = cs->reaper && cs->silence && cs->moved ? 0 : -ENOMEM;
    if (!err)
        err = concentrators_reload(cs, config);
    if (err) {
        concentrators_free(cs);
        return err;
    }
    cs->current = cs->list[0];
    *out = cs;
    return 0;
}

void concentrators_free(struct concentrators *cs)
{
    if (!cs)
        return;
    for (size_t i = 0; i < cs->count; i++)
        concentrator_free(cs->list[i]);
    concentrator_free(cs->leaving);
    cs->leaving = NULL;
    on_reap(-1, 0, cs);
    if (cs->reaper)
        event_free(cs->reaper);
    if (cs->silence)
        event_free(cs->silence);
    if (cs->moved)
        event_free(cs->moved);
    free(cs);
}

/* NULL: it is no longer configured. */
static struct concentrator *of_station(const struct concentrators *cs,
                                       const struct station *station)
{
    for (size_t i = 0; i < cs->count; i++) {
        if (cs->list[i]->station == station)
            return cs->list[i];
    }
    return cs->leaving && cs->leaving->station == station ? cs->leaving : NULL;
}

static struct concentrator *find_same(const struct concentrators *cs,
                                      const struct concentrator_entry *entry)
{
    for (size_t i = 0; i < cs->count; i++) {
        if (station_is(cs->list[i]->station, entry))
            return cs->list[i];
    }
    return cs->leaving && station_is(cs->leaving->station, entry) ? cs->leaving : NULL;
}

static bool is_listed(const struct concentrators *cs, const struct concentrator *c)
{
    for (size_t i = 0; i < cs->count; i++) {
        if (cs->list[i] == c)
            return true;
    }
    return false;
}

/* One that was configured before. */
static void let_go(struct concentrators *cs, struct concentrator *c)
{
    if (!c || is_listed(cs, c))
        return;
    changes_removed(cs->context->events, "concentrator", c->station->entry->name);
    if (cs->current == c && is_needed(cs, c))
        cs->leaving = c;
    else
        dismiss(c);
}

/* The new list, of those there are and new ones. On failure the new ones are gone again. */
static int fill_list(struct concentrators *cs, const struct gateway_config *config,
                     struct concentrator **list)
{
    for (size_t i = 0; i < config->n_concentrators; i++) {
        const struct concentrator_entry *entry = &config->concentrators[i];
        list[i] = find_same(cs, entry);
        if (!list[i])
            list[i] = concentrator_new(cs, entry);
        if (list[i])
            continue;
        while (i-- > 0) {
            if (!of_station(cs, list[i]->station))
                concentrator_free(list[i]);
        }
        return -ENOMEM;
    }
    return 0;
}

int concentrators_reload(struct concentrators *cs, const struct gateway_config *config)
{
    struct concentrator *before[CONCENTRATORS_MAX], *list[CONCENTRATORS_MAX] = {NULL};
    struct concentrator *leaving = cs->leaving;
    size_t n_before = cs->count;
    int err = fill_list(cs, config, list);

    if (err)
        return err;
    memcpy(before, cs->list, sizeof(before));
    memcpy(cs->list, list, sizeof(list));
    cs->count = config->n_concentrators;
    cs->config = config;
    for (size_t i = 0; i < cs->count; i++)
        station_rename(list[i]->station, &config->concentrators[i]);
    cs->leaving = NULL;
    for (size_t i = 0; i < n_before; i++)
        let_go(cs, before[i]);
    if (leaving && !cs->leaving && !is_listed(cs, leaving) && is_needed(cs, leaving))
        cs->leaving = leaving;
    else if (leaving && !is_listed(cs, leaving))
        dismiss(leaving);
    return 0;
}

static bool is_well(const struct concentrator *c, uint64_t now_ms)
{
    return c->state == CONCENTRATOR_UP && (!c->was_down || now_ms - c->up_ms >= WELL_MS);
}

/* The first that has been well for a while; while there is none, the one in use, or any. */
static struct concentrator *prefer(const struct concentrators *cs, uint64_t now_ms)
{
    struct concentrator *any = NULL;

    for (size_t i = 0; i < cs->count; i++) {
        struct concentrator *c = cs->list[i];
        if (is_well(c, now_ms))
            return c;
        if (c->state == CONCENTRATOR_UP && (!any || c == cs->current))
            any = c;
    }
    return !any && cs->leaving && is_needed(cs, cs->leaving) ? cs->leaving : any;
}

struct station *concentrators_choose(struct concentrators *cs)
{
    struct concentrator *chosen = prefer(cs, clock_now_ms());

    if (!chosen)
        return NULL;
    if (chosen != cs->current) {
        cs->current = chosen;
        log_info(chosen->station->entry->name, "new flows go here");
        event_active(cs->moved, 0, 0);
    }
    return chosen->station;
}

bool concentrators_is_down(const struct concentrators *cs, const struct station *station)
{
    const struct concentrator *c = of_station(cs, station);

    return c && c->state == CONCENTRATOR_DOWN;
}

static void on_moved(evutil_socket_t fd, short what, void *arg)
{
    struct concentrators *cs = arg;

    cs->changed(cs->arg);
}

/* A host that refuses probes would refuse connections, too. */
static void explain_silence(const struct concentrator *c, char *out, size_t len)
{
    const struct concentrator_entry *entry = c->station->entry;
    const struct trunk_context *context = c->all->context;

    if (gauges_are_refused(context->gauges, context->uplinks, entry->address.family))
        concentrator_explain(entry, TRUNK_UNREACHABLE, ECONNREFUSED, out, len);
    else
        snprintf(out, len, "it answers by no uplink");
}

static void on_silence(evutil_socket_t fd, short what, void *arg)
{
    struct concentrators *cs = arg;
    struct concentrator *c = cs->current;
    char reason[sizeof(c->reason)];

    if (!c || c->state != CONCENTRATOR_UP ||
        !gauges_are_mute(cs->context->gauges, cs->context->uplinks,
                         c->station->entry->address.family))
        return;
    bury_warm(c, UINT_MAX);
    keep_in(c, RETRY_FIRST_MS);
    explain_silence(c, reason, sizeof(reason));
    set_state(c, CONCENTRATOR_DOWN, reason);
}

struct trunk *concentrators_take(struct concentrators *cs, struct station *station)
{
    struct concentrator *c = of_station(cs, station);

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
    struct concentrator *c = of_station(cs, station);

    if (!c)
        return;
    /* A new dial asks again; the ones that wait may be dead without knowing. */
    bury_warm(c, UINT_MAX);
    keep_in(c, 0);
}

static void adapt(struct concentrator *c)
{
    struct demand demand = usual_demand(c->all);

    list_each(node, &c->warm)
    {
        struct warm *w = list_entry(node, struct warm, node);
        if (trunk_paths(w->trunk))
            trunk_reschedule(w->trunk, &demand);
        else if (c->state != CONCENTRATOR_UP || trunk_is_lost(w->trunk))
            bury(w); /* it goes by what was; the next one by what is */
    }
    if (c->state != CONCENTRATOR_UP)
        c->failures = 0;
    if (c->state != CONCENTRATOR_UP || c->n_warm < wanted(c))
        keep_in(c, 0);
}

void concentrators_set_silent(struct concentrators *cs, bool silent)
{
    bool ends = cs->silent && !silent;

    cs->silent = silent;
    if (!silent)
        event_del(cs->silence);
    else if (!event_pending(cs->silence, EV_TIMEOUT, NULL))
        event_add(cs->silence, &silence_patience);
    if (ends && cs->current && cs->current->state == CONCENTRATOR_DOWN)
        adapt(cs->current);
}

void concentrators_uplinks_changed(struct concentrators *cs)
{
    for (size_t i = 0; i < cs->count; i++)
        adapt(cs->list[i]);
    if (cs->leaving)
        adapt(cs->leaving);
}

size_t concentrators_count(const struct concentrators *cs)
{
    return cs->count;
}

/* Only the one in use is probed. */
static uint32_t best_rtt_us(const struct concentrator *c)
{
    const struct trunk_context *context = c->all->context;
    uint32_t best_us = 0;

    if (c != c->all->current || c->state != CONCENTRATOR_UP)
        return 0;
    for (size_t i = 0; i < uplinks_count(context->uplinks); i++) {
        uint32_t rtt_us =
            gauge_current_rtt_us(&context->gauges->of[i], uplinks_get(context->uplinks, i));
        if (rtt_us && (!best_us || rtt_us < best_us))
            best_us = rtt_us;
    }
    return best_us;
}

static struct concentrator_status status_of(const struct concentrator *c)
{
    return (struct concentrator_status){.entry = c->station->entry,
                                        .state = c->state,
                                        .reason = c->reason,
                                        .rtt_us = best_rtt_us(c),
                                        .warm = count_welcomed(c)};
}

struct concentrator_status concentrators_status(const struct concentrators *cs, size_t index)
{
    return status_of(cs->list[index]);
}
