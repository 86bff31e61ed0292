#include "concentrator/session_internal.h"

#include <stdlib.h>

#include "concentrator/relics.h"
#include "core/clock.h"
#include "core/mptcp.h"

static const struct timeval sweep_interval = {.tv_sec = 5};
/* A look at a flow costs some 50 us; so many are looked at in one turn of the loop. */
#define SWEEP_STEP 32
static const struct timeval sweep_soon = {.tv_usec = 1000};
/* One that carries nothing loses nothing by a relic. */
#define SWEEP_ACTIVE_MS 30000

static bool has_flows(const struct session_group *group)
{
    list_each(it, &group->live)
    {
        enum account_place place = session_place(list_entry(it, struct session, node));
        if (place == ACCOUNT_DIALING || place == ACCOUNT_RELAYING || place == ACCOUNT_ENDING)
            return true;
    }
    return false;
}

/* The one grave: no session has a frame on the stack here. */
static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct session_group *group = arg;

    while (!list_empty(&group->dead)) {
        struct session *s = list_entry(group->dead.next, struct session, node);
        list_remove(&s->node);
        session_free(s);
    }
    bool over = (group->draining && !has_flows(group)) || (group->retired && group->n_live == 0);
    if (over && group->drained) {
        group->drained(group->arg);
        group->drained = NULL;
    }
}

/* Whoever has had his turn goes to the end of the list. */
static const struct session *next_to_sweep(struct session_group *group)
{
    struct list *node = group->live.next;

    list_remove(node);
    list_append(&group->live, node);
    group->n_swept++;
    return list_entry(node, struct session, node);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct session_group *group = arg;
    uint64_t now_ms = clock_now_ms();

    for (int looks = 0; looks < SWEEP_STEP && group->n_swept < group->n_live;) {
        const struct session *s = next_to_sweep(group);
        if (s->state != SESSION_RELAYING ||
            now_ms - relay_last_active_ms(s->relay) > SWEEP_ACTIVE_MS)
            continue;
        relics_clear(group->diag, relay_far_fd(s->relay));
        looks++;
    }
    bool done = group->n_swept >= group->n_live;
    if (done)
        group->n_swept = 0;
    event_add(group->sweep, done ? &sweep_interval : &sweep_soon);
}

/* Without it relics stay, and that is all. */
static void prepare_sweep(struct session_group *group)
{
    if (netlink_new(&group->diag, NETLINK_SOCK_DIAG) < 0) {
        group->diag = NULL;
        return;
    }
    group->sweep = evtimer_new(group->base, on_sweep, group);
    if (group->sweep)
        event_add(group->sweep, &sweep_interval);
}

static struct relay_limits relay_limits(const struct peers *peers)
{
    const struct concentrator_config *config = peers_config(peers);

    return (struct relay_limits){.idle_ms = config->idle_timeout_ms,
                                 .half_closed_ms = config->half_closed_timeout_ms};
}

int session_group_new(struct session_group **out, struct event_base *base, struct peers *peers,
                      struct session_services *services, session_group_drained *drained, void *arg)
{
    const struct relay_limits limits = relay_limits(peers);
    struct session_group *group = calloc(1, sizeof(*group));

    if (!group)
        return -ENOMEM;
    group->base = group->timers.base = base;
    group->services = services;
    group->peers = peers_ref(peers);
    group->drained = drained;
    group->arg = arg;
    group->refusal_log = group->denial_log = group->failure_log =
        (struct log_limit){.burst = 10, .interval_ms = 10000};
    list_init(&group->live);
    list_init(&group->dead);
    list_init(&group->lobby);
    group->reaper = event_new(base, -1, 0, on_reap, group);
    group->hangups = hangup_watch_new(base);
    group->relays = relay_group_new(base, &limits);
    if (!group->reaper || !group->hangups || !group->relays ||
        timers_reserve(&group->timers, TIMERS_BESIDE)) {
        session_group_free(group);
        return -ENOMEM;
    }
    prepare_sweep(group);
    *out = group;
    return 0;
}

static void close_all(struct session_group *group, enum session_end why)
{
    list_each(it, &group->live) session_close(list_entry(it, struct session, node), why);
}

void session_group_free(struct session_group *group)
{
    if (!group)
        return;
    group->draining = group->retired = false;
    if (group->reaper && group->hangups && group->relays) {
        close_all(group, END_SHUTDOWN);
        on_reap(-1, 0, group);
    }
    if (group->reaper)
        event_free(group->reaper);
    if (group->sweep)
        event_free(group->sweep);
    netlink_free(group->diag);
    if (group->relays)
        relay_group_free(group->relays);
    hangup_watch_free(group->hangups);
    own_addresses_clear(&group->own);
    peers_unref(group->peers);
    free(group);
}

/* The log says it now and then; the count, always. */
static void note_crowd(struct session_group *group, const struct addr *source, const char *what)
{
    uint32_t held;
    char from[ADDR_TEXT], more[HELD_BACK_TEXT];

    atomic_fetch_add(&group->services->refusals.limit, 1);
    if (log_limit_pass(&group->refusal_log, clock_now_ms(), &held))
        log_warning("session", "too many connections without hello: %s source=%s%s", what,
                    addr_format_ip(source, from), session_held_back(held, more));
}

/* When there are too many, the one that has waited longest leaves for the next. A gateway's HELLO
 * comes right behind the handshake, so in a flood of a thousand connections in a second that fill a
 * thousand places, it has a second for what takes it a moment. Were the newcomer turned away, at
 * random or not, hardly a gateway would ever come in. */
static void make_place(struct session_group *group)
{
    while (group->n_lobby >= group->services->max_unauthenticated) {
        struct session *s = list_entry(group->lobby.next, struct session, waiting);
        note_crowd(group, &s->source, "cut off after the longest wait");
        session_close(s, END_CROWDED_OUT);
    }
}

void session_group_accept(struct session_group *group, int fd, const struct addr *source)
{
    const struct concentrator_config *config = session_config(group);
    struct lobby *lobby = group->services->lobby;

    if (!lobby_enter(lobby, source, config->max_unauthenticated_per_source, clock_now_ms())) {
        note_crowd(group, source, "dropped, as one of many of this source");
        mptcp_reset(fd);
        return;
    }
    make_place(group);
    struct session *s = session_new(group, fd, source);
    if (!s) {
        lobby_leave(lobby, source);
        mptcp_reset(fd);
        return;
    }
    mptcp_tune(fd);
    session_set_deadline(s, config->hello_timeout_ms);
    list_append(&group->live, &s->node);
    list_append(&group->lobby, &s->waiting);
    group->n_live++;
    group->n_lobby++;
}

/* Points the session to its gateway in the new snapshot. False: that gateway is gone. */
static bool move_peer(struct session *s, const struct peers *now)
{
    if (s->greeting && s->greeting->peer) {
        s->greeting->peer = peers_find_again(now, s->greeting->peer);
        return s->greeting->peer != NULL;
    }
    if (!s->peer)
        return true;
    const struct peer *again = peers_find_again(now, s->peer);
    if (again)
        s->peer = again;
    return again != NULL;
}

void session_group_reload(struct session_group *group, struct peers *peers)
{
    const struct relay_limits limits = relay_limits(peers);
    struct peers *before = group->peers;

    list_each(it, &group->live)
    {
        struct session *s = list_entry(it, struct session, node);
        if (!move_peer(s, peers))
            session_close(s, END_GATEWAY_REMOVED);
    }
    /* Until the reaper comes, the closed ones still point to `before`: but nothing looks there. */
    group->peers = peers_ref(peers);
    relay_group_set_limits(group->relays, &limits);
    peers_unref(before);
}

void session_group_retire(struct session_group *group)
{
    group->retired = true;
    event_active(group->reaper, 0, 0);
}

void session_group_drain(struct session_group *group)
{
    group->draining = true;
    list_each(it, &group->live)
    {
        struct session *s = list_entry(it, struct session, node);
        if (session_awaits_open(s))
            session_close(s, END_SHUTDOWN);
    }
    event_active(group->reaper, 0, 0);
}

void session_group_report(struct session_group *group)
{
    list_each(it, &group->live) session_report(list_entry(it, struct session, node));
}

size_t session_group_count(const struct session_group *group)
{
    return group->n_live;
}

void session_group_flows(const struct session_group *group, struct document *list)
{
    list_each(it, &group->live)
    {
        const struct session *s = list_entry(it, struct session, node);
        if (s->state == SESSION_DIALING || s->state == SESSION_RELAYING)
            session_describe(s, list);
    }
}
