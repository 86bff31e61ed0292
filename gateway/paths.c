#include "gateway/paths.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/list.h"
#include "core/log.h"
#include "core/path_manager.h"
#include "core/sock_diag.h"
#include "gateway/changes.h"
#include "gateway/gauge.h"

/* An uplink whose address changed has an old and a new subflow for a moment. */
#define SUBFLOWS_MAX (2 * UPLINKS_MAX)
#define ID_ROUNDS (255 / UPLINKS_MAX)
#define BUCKETS 1024 /* a power of two */
/* After a failed join: again after 1, 2, 4 ... 64 s. */
#define RETRY_FIRST_MS 1000
#define RETRY_DOUBLINGS 6
/* A join that nobody answers within this has failed. */
#define JOIN_PATIENCE_MS 8000
#define LOOK_AGAIN_MS 1000
/* A peer's last word of a join comes late where packets are lost. */
#define ASK_AGAIN_MS 50
/* A path that still carries is given up when another has been there for so long. */
#define PARTING_MS 1000
/* The kernel's first retransmission comes after 1 s: from then on, the time a join took says
 * nothing of the round trip (Karn). */
#define SYN_RETRANSMITTED_MS 1000

struct path {
    enum path_state state;
    uint8_t uplink, local_id;
    struct addr local, remote; /* ports are 0 until it is established */
    enum role role;
    uint64_t since_ms;
    uint32_t join_ms; /* how long the join took; 0: unknown */
    uint64_t carried; /* bytes both ways, at the last look */
    uint32_t mute;    /* looks without any */
    bool cut;         /* its uplink was away since it was made */
    bool taken_in;    /* by the peer, as far as we have asked; always, of the first */
};

struct retry {
    uint64_t at_ms; /* 0: whenever wanted */
    uint8_t failures;
};

struct paths {
    struct paths_registry *registry;
    struct list node; /* of its bucket */
    uint32_t token;
    int fd; /* of the connection, its owner's; another one's after its end, and so only looked at
             * while its token is ours */
    bool joinable; /* the kernel calls the connection fully established: data has come */
    struct addr remote;
    enum role roles[UPLINKS_MAX];
    bool narrows, narrow; /* both: only `lead` is active, of those that may be */
    uint8_t lead;         /* an uplink */
    struct retry retries[UPLINKS_MAX];
    uint8_t joins[UPLINKS_MAX]; /* so far, modulo 256 */
    struct path list[SUBFLOWS_MAX];
    size_t count;
};

struct paths_registry {
    struct path_manager *manager;
    struct netlink *diag;
    const struct uplinks *uplinks;
    struct gauges *gauges;
    struct events *events;
    struct event *retry;    /* armed while some connection lacks a path, or a role */
    uint64_t retry_at_ms;   /* 0: not armed */
    struct event *catch_up; /* with what the kernel did not tell */
    struct list buckets[BUCKETS];
};

static struct list *bucket_of(struct paths_registry *r, uint32_t token)
{
    return &r->buckets[token & (BUCKETS - 1)]; /* tokens are random (RFC 8684) */
}

static struct paths *find(struct paths_registry *r, uint32_t token)
{
    list_each(node, bucket_of(r, token))
    {
        struct paths *p = list_entry(node, struct paths, node);
        if (p->token == token)
            return p;
    }
    return NULL;
}

static void remove_path(struct paths *p, size_t i)
{
    p->list[i] = p->list[--p->count];
}

/* Of an event. The port is unknown as long as it joins; and a path and its successor have the same
 * address and id. */
static struct path *find_path(struct paths *p, const struct addr *local, uint8_t local_id)
{
    struct path *joining = NULL;

    for (size_t i = 0; i < p->count; i++) {
        struct path *path = &p->list[i];
        if (path->local_id != local_id || !addr_equal_ip(&path->local, local))
            continue;
        if (path->local.port == local->port)
            return path;
        if (path->local.port == 0)
            joining = path;
    }
    return joining;
}

/* Where a subflow of this connection would start on the uplink now; NULL: nowhere. */
static const struct addr *wanted_address(const struct paths *p, uint32_t uplink)
{
    const struct uplink *u = uplinks_get(p->registry->uplinks, uplink);

    if (p->roles[uplink] == ROLE_OFF || !uplink_usable(u, p->remote.family))
        return NULL;
    return &uplink_route(u, p->remote.family)->address;
}

static enum role role_of(const struct paths *p, uint32_t uplink)
{
    if (p->roles[uplink] == ROLE_ACTIVE && p->narrows && p->narrow && uplink != p->lead)
        return ROLE_STANDBY;
    return p->roles[uplink];
}

static bool is_sound(const struct paths *p, const struct path *path)
{
    const struct addr *wanted = wanted_address(p, path->uplink);

    return wanted && addr_equal_ip(wanted, &path->local);
}

static bool is_away(const struct paths *p, uint32_t uplink)
{
    return !uplink_usable(uplinks_get(p->registry->uplinks, uplink), p->remote.family) ||
           gauge_verdict(&p->registry->gauges->of[uplink]) == HEALTH_DEAD;
}

/* The uplink is back. While it was away, and no other path there to take over, TCP waited longer
 * each time before it sent again, and would go on to wait now: for as long again as the uplink was
 * away, at worst. A new subflow sends at once. */
static bool is_stale(const struct paths *p, const struct path *path)
{
    return path->cut && is_sound(p, path) && !is_away(p, path->uplink);
}

static size_t count_id(const struct paths *p, uint8_t id)
{
    size_t n = 0;

    for (size_t i = 0; i < p->count; i++)
        n += p->list[i].local_id == id;
    return n;
}

/* A new id for every join, so that a late event of an old subflow is not taken for one of the new:
 * those of the uplink's residue class, in turn. Ids are 1 to 255; 0 is the first subflow's. */
static uint8_t next_id(struct paths *p, const struct uplink *u)
{
    uint8_t id;

    do {
        id = (uint8_t)(u->address_id + UPLINKS_MAX * (p->joins[u->index]++ % ID_ROUNDS));
    } while (count_id(p, id) > 0);
    return id;
}

/* The kernel takes an address under one id only, but for the first subflow's, which is 0: so the
 * successor of a path has its id. */
static uint8_t id_for(struct paths *p, const struct uplink *u, const struct addr *from)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->list[i].local_id && addr_equal_ip(&p->list[i].local, from))
            return p->list[i].local_id;
    }
    return next_id(p, u);
}

/* Where nothing takes their place, those that were cut must do. */
static void note_failure(struct paths *p, uint32_t uplink)
{
    struct retry *retry = &p->retries[uplink];

    for (size_t i = 0; i < p->count; i++) {
        if (p->list[i].uplink == uplink)
            p->list[i].cut = false;
    }

    retry->at_ms = clock_now_ms() + (RETRY_FIRST_MS << retry->failures);
    if (retry->failures < RETRY_DOUBLINGS)
        retry->failures++;
}

static void join(struct paths *p, uint32_t uplink, const struct addr *from)
{
    const struct uplink *u = uplinks_get(p->registry->uplinks, uplink);
    struct addr local = *from;
    uint8_t id = id_for(p, u, from);
    bool backup = role_of(p, uplink) == ROLE_STANDBY;

    local.port = 0;
    int err = path_manager_create(p->registry->manager, p->token, id, &local, u->ifindex, backup,
                                  &p->remote);
    if (err) {
        log_debug("paths", "join failed token=%08x uplink=%s error=%s", p->token, u->config->name,
                  strerror(-err));
        note_failure(p, uplink);
        return;
    }
    p->list[p->count++] = (struct path){.state = PATH_JOINING,
                                        .uplink = (uint8_t)uplink,
                                        .local_id = id,
                                        .local = local,
                                        .remote = p->remote,
                                        .role = role_of(p, uplink),
                                        .since_ms = clock_now_ms()};
}

static bool reset(const struct paths *p, const struct path *path)
{
    const struct uplink *u = uplinks_get(p->registry->uplinks, path->uplink);

    return sock_diag_reset(p->registry->diag, &path->local, &path->remote, u->ifindex) == 0;
}

/* On an uplink whose budget is used up every byte costs: what is queued for it must not come. And
 * of a connection's first subflow DESTROY leaves a half: where REMOVE_ADDR got lost and one side
 * has ended already, the peer sends there for good what our kernel acknowledges and passes on to
 * nobody. */
static bool cut_off(const struct paths *p, const struct path *path)
{
    return (p->registry->gauges->of[path->uplink].spent || path->local_id == 0) && reset(p, path);
}

/* REMOVE_ADDR makes the peer close the dead subflow and re-inject at once: measured to heal a
 * stalled flow in one round trip. */
static void drop(struct paths *p, size_t i)
{
    struct path *path = &p->list[i];

    if (count_id(p, path->local_id) == 1)
        path_manager_remove(p->registry->manager, p->token, path->local_id);
    if (path->local.port && !cut_off(p, path))
        path_manager_destroy(p->registry->manager, p->token, &path->local, &path->remote);
    log_debug("paths", "dropped token=%08x id=%u", p->token, path->local_id);
    remove_path(p, i);
}

/* Its successor has joined. The reset makes the peer send again there what it has sent here. */
static void retire(struct paths *p, size_t i)
{
    struct path *path = &p->list[i];

    if (!reset(p, path))
        path_manager_destroy(p->registry->manager, p->token, &path->local, &path->remote);
    log_debug("paths", "replaced token=%08x id=%u", p->token, path->local_id);
    remove_path(p, i);
}

/* The kernel calls a join established a round trip before its peer's last answer comes: MP_PRIO is
 * lost before that, and the peer may yet refuse (it does where the connection has begun to end).
 * Returns 0, or in how many ms that is likely to be over; patience: for round trips that have grown
 * since. */
static uint32_t unconfirmed_ms(const struct path *path, uint64_t now_ms, uint32_t patience_ms)
{
    uint64_t from_ms = path->since_ms + path->join_ms * 3 / 2 + patience_ms;

    return path->join_ms && now_ms < from_ms ? (uint32_t)(from_ms - now_ms) : 0;
}

/* Likewise, for certain: the kernel is asked, for the answer may have been lost. Where it cannot
 * tell, time has to do. */
static uint32_t unsure_ms(const struct paths *p, struct path *path, uint64_t now_ms,
                          uint32_t patience_ms)
{
    uint32_t ms = unconfirmed_ms(path, now_ms, patience_ms);

    if (ms || path->taken_in)
        return ms;
    int answer = sock_diag_is_taken_in(p->registry->diag, &path->local, &path->remote,
                                       uplinks_get(p->registry->uplinks, path->uplink)->ifindex);

    path->taken_in = answer > 0 || (answer < 0 && answer != -ENOENT); /* -ENOENT: it has ended */
    return path->taken_in ? 0 : ASK_AGAIN_MS;
}

/* May what goes there be lost? It is not on an uplink that is merely to be left, or is no longer
 * configured. */
static bool may_be_dead(const struct paths *p, const struct path *path)
{
    const struct uplink *u = uplinks_get(p->registry->uplinks, path->uplink);
    const struct gauge *gauge = &p->registry->gauges->of[path->uplink];

    if (!uplink_exists(u))
        return false;
    return !uplink_usable(u, p->remote.family) ||
           !addr_equal_ip(&uplink_route(u, p->remote.family)->address, &path->local) ||
           gauge_verdict(gauge) == HEALTH_DEAD || gauge->health.doubtful;
}

static uint32_t sooner(uint32_t a_ms, uint32_t b_ms)
{
    return a_ms && (!b_ms || a_ms < b_ms) ? a_ms : b_ms;
}

/* For certain. Where there is one of which that is not known yet, *again_ms is when it will be. */
static bool carried_by_another(struct paths *p, const struct path *but, uint64_t now_ms,
                               uint32_t *again_ms)
{
    uint32_t patience_ms = may_be_dead(p, but) ? 0 : PARTING_MS;

    for (size_t i = 0; i < p->count; i++) {
        struct path *path = &p->list[i];
        if (path == but || path->cut || path->state != PATH_ESTABLISHED || !is_sound(p, path))
            continue;
        uint32_t ms = unsure_ms(p, path, now_ms, patience_ms);
        if (ms == 0)
            return true;
        *again_ms = sooner(ms, *again_ms);
    }
    return false;
}

/* Or a join that is under way. */
static bool has_path(const struct paths *p, uint32_t uplink, const struct addr *from)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct path *path = &p->list[i];
        if (path->uplink == uplink && addr_equal_ip(&path->local, from) && !is_stale(p, path))
            return true;
    }
    return false;
}

/* For certain, again: a peer that has begun to end refuses the successor, and then the old path is
 * the last one. */
static bool is_replaced(struct paths *p, const struct path *path, uint64_t now_ms,
                        uint32_t *again_ms)
{
    for (size_t i = 0; i < p->count; i++) {
        struct path *by = &p->list[i];
        if (by->cut || by->state != PATH_ESTABLISHED || !addr_equal_ip(&by->local, &path->local))
            continue;
        uint32_t ms = unsure_ms(p, by, now_ms, 0);
        if (ms == 0)
            return true;
        *again_ms = sooner(ms, *again_ms);
    }
    return false;
}

static bool is_barred(const struct paths *p, const struct path *path)
{
    return uplinks_get(p->registry->uplinks, path->uplink)->barred;
}

/* The last path of a connection stays even when it is unsound: its uplink may come back, and
 * without any the kernel gives the connection up (net.mptcp.close_timeout). But not on an uplink
 * that works and may not be used. */
static uint32_t settle_existing(struct paths *p, uint64_t now_ms)
{
    uint32_t again_ms = 0;

    for (size_t i = 0; i < p->count;) {
        struct path *path = &p->list[i];

        path->cut = path->cut || is_away(p, path->uplink);
        if (is_stale(p, path) && path->state == PATH_JOINING) {
            drop(p, i);
        } else if (is_stale(p, path) && is_replaced(p, path, now_ms, &again_ms)) {
            retire(p, i);
        } else if (is_sound(p, path)) {
            if (path->state == PATH_DOOMED)
                path->state = PATH_ESTABLISHED;
            i++;
        } else if (carried_by_another(p, path, now_ms, &again_ms) || is_barred(p, path)) {
            drop(p, i);
        } else {
            if (path->state == PATH_ESTABLISHED)
                path->state = PATH_DOOMED;
            i++;
        }
    }
    return again_ms;
}

/* Another uplink leads a narrow connection when its first one is gone, or in doubt. */
static void settle_lead(struct paths *p)
{
    const struct addr *from = wanted_address(p, p->lead);

    if (from && p->roles[p->lead] == ROLE_ACTIVE && has_path(p, p->lead, from))
        return;
    for (size_t i = 0; i < p->count; i++) {
        const struct path *path = &p->list[i];
        if (path->state == PATH_ESTABLISHED && is_sound(p, path) &&
            p->roles[path->uplink] == ROLE_ACTIVE) {
            p->lead = path->uplink;
            return;
        }
    }
}

/* Returns 0, or how many ms it is too early. */
static uint32_t settle_role(struct paths *p, struct path *path, uint64_t now_ms)
{
    enum role role = role_of(p, path->uplink);
    uint32_t early_ms = unconfirmed_ms(path, now_ms, 0);

    if (path->state != PATH_ESTABLISHED || path->role == role || role == ROLE_OFF)
        return 0;
    if (early_ms)
        return early_ms;
    if (path_manager_set_backup(p->registry->manager, p->token, &path->local, &path->remote,
                                role == ROLE_STANDBY) == 0) {
        path->role = role;
        log_debug("paths", "%s token=%08x id=%u", role_name(role), p->token, path->local_id);
    }
    return 0;
}

static void tell(const struct paths *p, uint32_t uplink, const char *what, const char *reason)
{
    changes_path(p->registry->events, uplinks_get(p->registry->uplinks, uplink), what, reason,
                 p->token);
}

static void expire_joins(struct paths *p, uint64_t now_ms)
{
    for (size_t i = 0; i < p->count;) {
        struct path *path = &p->list[i];

        if (path->state == PATH_JOINING && now_ms - path->since_ms >= JOIN_PATIENCE_MS) {
            gauge_join_failed(&p->registry->gauges->of[path->uplink]);
            tell(p, path->uplink, "refused", "no answer to the join");
            note_failure(p, path->uplink);
            drop(p, i);
        } else {
            i++;
        }
    }
}

/* One is to be given up, perhaps: those that are to carry on must be there. Of a connection that
 * has begun to end the kernel does not tell which it loses. */
static bool is_in_need(const struct paths *p)
{
    bool in_need = false;

    for (size_t i = 0; i < p->count; i++)
        in_need = in_need || !is_sound(p, &p->list[i]);
    return in_need && p->count > 1;
}

static void catch_up(struct paths *p);

/* Brings the connection's subflows to what its roles and the uplinks ask for, with as few commands
 * as that takes. Returns in how many ms to look again; 0: nothing is missing. */
static uint32_t settle(struct paths *p)
{
    uint64_t now_ms = clock_now_ms();

    if (!p->joinable)
        return 0;
    expire_joins(p, now_ms);
    if (is_in_need(p))
        catch_up(p);
    uint32_t again_ms = settle_existing(p, now_ms); /* first: what is dropped heals */
    for (uint32_t u = 0; u < uplinks_count(p->registry->uplinks); u++) {
        const struct addr *from = wanted_address(p, u);

        if (!from || has_path(p, u, from) || p->count == SUBFLOWS_MAX)
            continue;
        if (p->retries[u].at_ms <= now_ms)
            join(p, u, from);
        again_ms = sooner(LOOK_AGAIN_MS, again_ms);
    }
    settle_lead(p);
    for (size_t i = 0; i < p->count; i++) {
        again_ms = sooner(settle_role(p, &p->list[i], now_ms), again_ms);
        if (p->list[i].state != PATH_ESTABLISHED)
            again_ms = sooner(LOOK_AGAIN_MS, again_ms);
    }
    return again_ms;
}

static void settle_and_watch(struct paths *p)
{
    struct paths_registry *r = p->registry;
    uint32_t ms = settle(p);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    uint64_t at_ms = clock_now_ms() + ms;

    if (ms == 0 || (r->retry_at_ms && r->retry_at_ms <= at_ms))
        return;
    r->retry_at_ms = at_ms;
    event_add(r->retry, &tv);
}

static void settle_all(struct paths_registry *r)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        list_each(node, &r->buckets[i]) settle_and_watch(list_entry(node, struct paths, node));
    }
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct paths_registry *r = arg;

    r->retry_at_ms = 0;
    settle_all(r);
}

static int uplink_by_address(const struct paths *p, const struct addr *local)
{
    for (uint32_t u = 0; u < uplinks_count(p->registry->uplinks); u++) {
        const struct uplink *uplink = uplinks_get(p->registry->uplinks, u);
        if (addr_equal_ip(&uplink_route(uplink, local->family)->address, local))
            return (int)u;
    }
    return -1;
}

/* A join's handshake took one round trip, and shows that MPTCP survives there. */
static void note_joined(struct paths *p, struct path *path)
{
    struct gauge *gauge = &p->registry->gauges->of[path->uplink];
    uint64_t took_ms = clock_now_ms() - path->since_ms;

    if (!gauge->strips_late)
        gauge->mptcp = MPTCP_OK;
    gauge->failed_joins = 0;
    gauge->tcp_works = true;
    path->join_ms = took_ms < SYN_RETRANSMITTED_MS ? (uint32_t)took_ms : SYN_RETRANSMITTED_MS;
    if (took_ms < SYN_RETRANSMITTED_MS)
        gauge_rtt(gauge, path->join_ms * 1000);
}

static void on_subflow_established(struct paths *p, const struct path_event *e)
{
    struct path *path = find_path(p, &e->local, e->local_id);
    int uplink = path ? path->uplink : uplink_by_address(p, &e->local);

    if (uplink < 0)
        return;
    if (!path) {
        if (p->count == SUBFLOWS_MAX)
            return;
        path = &p->list[p->count++];
        *path = (struct path){.uplink = (uint8_t)uplink, .role = role_of(p, (uint32_t)uplink)};
    }
    /* Linux 6.1 loses what a join asks for, both the interface and the backup flag. */
    if (path->state == PATH_JOINING && !e->ifindex)
        path->role = ROLE_ACTIVE;
    if (path->state == PATH_JOINING && path->since_ms)
        note_joined(p, path);
    path->state = PATH_ESTABLISHED;
    path->local_id = e->local_id;
    path->local = e->local;
    path->remote = e->remote;
    path->since_ms = clock_now_ms();
    if (p->retries[uplink].failures > 0)
        tell(p, (uint32_t)uplink, "joined", "takes the place of what was lost or refused");
    p->retries[uplink] = (struct retry){0};
    log_debug("paths", "established token=%08x id=%u uplink=%d", p->token, e->local_id, uplink);
}

/* By an error, or by the peer. The kernel keeps the address under its id until REMOVE, and refuses
 * the address under another one; the peer drops his half. */
static void on_subflow_closed(struct paths *p, const struct path_event *e)
{
    struct path *path = find_path(p, &e->local, e->local_id);

    if (!path)
        return; /* we dropped it ourselves */
    log_debug("paths", "closed token=%08x id=%u error=%u", p->token, e->local_id, e->error);
    if (path->state == PATH_JOINING)
        gauge_join_failed(&p->registry->gauges->of[path->uplink]);
    tell(p, path->uplink, path->state == PATH_JOINING ? "refused" : "lost",
         e->error ? strerror(e->error) : "closed by the other end");
    note_failure(p, path->uplink);
    remove_path(p, (size_t)(path - p->list));
    if (count_id(p, e->local_id) == 0)
        path_manager_remove(p->registry->manager, p->token, e->local_id);
}

static bool is_joined(const struct mptcp_subflow *s)
{
    return s->tcp_state != TCP_CLOSE && s->tcp_state != TCP_SYN_SENT;
}

static bool is_known(const struct paths *p, const struct addr *local)
{
    for (size_t i = 0; i < p->count; i++) {
        if (addr_equal(&p->list[i].local, local))
            return true;
    }
    return false;
}

/* NULL: there is none. The port of one that was joining is not known yet. */
static const struct mptcp_subflow *find_subflow(const struct paths *p, const struct path *path,
                                                const struct mptcp_subflow *subflows, int n)
{
    for (int i = 0; i < n; i++) {
        const struct addr *local = &subflows[i].local;
        bool same = path->state == PATH_JOINING
                        ? addr_equal_ip(local, &path->local) && !is_known(p, local)
                        : addr_equal(local, &path->local);
        if (same && is_joined(&subflows[i]))
            return &subflows[i];
    }
    return NULL;
}

/* As the event would have that the kernel has dropped. */
static void catch_up_path(struct paths *p, const struct path *path, const struct mptcp_subflow *s)
{
    struct path_event e = {.token = p->token,
                           .local_id = path->local_id,
                           .local = s ? s->local : path->local,
                           .remote = s ? s->remote : path->remote,
                           .ifindex = uplinks_get(p->registry->uplinks, path->uplink)->ifindex};

    if (s && path->state == PATH_JOINING)
        on_subflow_established(p, &e);
    else if (!s && path->state != PATH_JOINING)
        on_subflow_closed(p, &e);
}

static void catch_up(struct paths *p)
{
    struct mptcp_subflow subflows[SUBFLOWS_MAX];
    uint32_t token;

    if (mptcp_token(p->fd, &token) < 0 || token != p->token)
        return;
    int n = mptcp_subflows(p->fd, subflows, SUBFLOWS_MAX);
    for (size_t i = 0; n >= 0 && i < p->count;) {
        size_t before = p->count;
        catch_up_path(p, &p->list[i], find_subflow(p, &p->list[i], subflows, n));
        i += p->count == before;
    }
}

/* Behind the events that were not dropped, which are older. */
static void on_catch_up(evutil_socket_t fd, short what, void *arg)
{
    struct paths_registry *r = arg;

    log_warning("paths", "the kernel has dropped MPTCP events: each connection is asked instead");
    for (size_t i = 0; i < BUCKETS; i++) {
        list_each(node, &r->buckets[i])
        {
            struct paths *p = list_entry(node, struct paths, node);
            catch_up(p);
            settle_and_watch(p);
        }
    }
}

static void on_event(void *arg, const struct path_event *e)
{
    struct paths_registry *r = arg;
    struct paths *p = find(r, e->token);

    if (e->type == PATH_EVENT_LOST)
        event_active(r->catch_up, 0, 0);
    if (!p)
        return;
    switch (e->type) {
    case PATH_EVENT_SUB_ESTABLISHED:
        on_subflow_established(p, e);
        break;
    case PATH_EVENT_SUB_CLOSED:
        on_subflow_closed(p, e);
        break;
    default:
        return;
    }
    settle_and_watch(p);
}

int paths_registry_new(struct paths_registry **out, struct event_base *base,
                       const struct uplinks *uplinks, struct gauges *gauges, struct events *events)
{
    struct paths_registry *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&r->buckets[i]);
    r->uplinks = uplinks;
    r->gauges = gauges;
    r->events = events;
    r->retry = evtimer_new(base, on_retry, r);
    r->catch_up = event_new(base, -1, 0, on_catch_up, r);
    int err = r->retry && r->catch_up ? path_manager_new(&r->manager, base, on_event, r) : -ENOMEM;
    if (!err)
        err = netlink_new(&r->diag, NETLINK_SOCK_DIAG);
    if (err) {
        paths_registry_free(r);
        return err;
    }
    *out = r;
    return 0;
}

void paths_registry_free(struct paths_registry *r)
{
    if (!r)
        return;
    if (r->retry)
        event_free(r->retry);
    if (r->catch_up)
        event_free(r->catch_up);
    path_manager_free(r->manager);
    netlink_free(r->diag);
    free(r);
}

struct paths *paths_new(struct paths_registry *r, uint32_t token, int fd, uint32_t first,
                        const struct addr *local, const struct addr *remote,
                        const struct schedule *schedule)
{
    struct paths *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->registry = r;
    p->token = token;
    p->fd = fd;
    p->remote = *remote;
    memcpy(p->roles, schedule->roles, sizeof(p->roles));
    p->narrows = schedule->narrows;
    p->narrow = true;
    p->lead = (uint8_t)first;
    p->list[p->count++] = (struct path){.state = PATH_ESTABLISHED,
                                        .uplink = (uint8_t)first,
                                        .local = *local,
                                        .remote = *remote,
                                        .role = ROLE_ACTIVE,
                                        .since_ms = clock_now_ms(),
                                        .taken_in = true};
    list_append(bucket_of(r, token), &p->node);
    return p;
}

void paths_allow_joins(struct paths *p)
{
    p->joinable = true;
    settle_and_watch(p);
}

void paths_free(struct paths *p)
{
    if (!p)
        return;
    list_remove(&p->node);
    free(p);
}

void paths_set_schedule(struct paths *p, const struct schedule *schedule)
{
    memcpy(p->roles, schedule->roles, sizeof(p->roles));
    p->narrows = schedule->narrows;
    settle_and_watch(p);
}

void paths_set_narrow(struct paths *p, bool narrow)
{
    if (p->narrow == narrow)
        return;
    p->narrow = narrow;
    settle_and_watch(p);
}

void paths_forgive(struct paths_registry *r)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        list_each(node, &r->buckets[i])
        {
            struct paths *p = list_entry(node, struct paths, node);
            memset(p->retries, 0, sizeof(p->retries));
        }
    }
}

/* With less in a second, or a second uplink that is idle, too, nothing can be told. */
#define MUCH_IN_A_LOOK (256 * 1024)

static struct path *find_by_local(struct paths *p, const struct addr *local)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->list[i].state == PATH_ESTABLISHED && addr_equal(&p->list[i].local, local))
            return &p->list[i];
    }
    return NULL;
}

static bool should_carry(const struct paths *p, const struct path *path)
{
    const struct gauge *gauge = &p->registry->gauges->of[path->uplink];

    return path->role == ROLE_ACTIVE && role_of(p, path->uplink) == ROLE_ACTIVE &&
           is_sound(p, path) && gauge->health.verdict == HEALTH_UP && !gauge->health.doubtful;
}

/* Returns what they all have carried since the last look. */
static uint64_t note_carried(struct paths *p, const struct mptcp_subflow *subflows, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        struct path *path = find_by_local(p, &subflows[i].local);
        uint64_t carried = subflows[i].rx_bytes + subflows[i].tx_bytes;

        if (!path)
            continue;
        sum += carried - path->carried;
        path->mute = carried == path->carried ? path->mute + 1 : 0;
        path->carried = carried;
    }
    return sum;
}

void paths_look(struct paths *p, const struct mptcp_subflow *subflows, size_t n)
{
    bool busy = note_carried(p, subflows, n) >= MUCH_IN_A_LOOK;
    uint64_t now_ms = clock_now_ms();
    uint32_t unused = 0;

    for (size_t i = 0; i < p->count; i++) {
        struct path *path = &p->list[i];

        if (!busy || !should_carry(p, path))
            path->mute = 0;
        if (path->mute < PATHS_MUTE_LOOKS || !carried_by_another(p, path, now_ms, &unused))
            continue;
        tell(p, path->uplink, "mute",
             "carries nothing for this connection: another takes its place");
        drop(p, i);
        settle_and_watch(p);
        return;
    }
}

int paths_uplink_of(const struct paths *p, const struct addr *local, enum role *role)
{
    for (size_t i = 0; i < p->count; i++) {
        if (addr_equal(&p->list[i].local, local)) {
            *role = p->list[i].role;
            return p->list[i].uplink;
        }
    }
    return -1;
}
