#include "core/relay.h"

#include <assert.h>
#include <errno.h>
#include <event2/event_struct.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/hangup.h"
#include "core/list.h"
#include "core/mptcp.h"
#include "core/pipe.h"
#include "core/sendroom.h"

/* Free buffers kept for the next flow: 1 MiB. */
#define BUFFERS_KEPT 16
#define SWEEP_MS 15000
#define ACTIVITY_MS 50
/* What is under way to far is asked for no sooner than after so many bytes, or when there is no
 * room left. */
#define ROOM_BYTES (32 * 1024)
static const struct timeval linger_interval = {.tv_usec = 20 * 1000};
/* How long a RESET record may take to leave before the connection itself is reset. */
static const struct timeval reset_patience = {.tv_sec = 1};
/* With more than this unsent, a reset does not queue behind it. */
#define RESET_BACKLOG 65536
/* Reads in one turn of what nobody wants any more. */
#define DISCARDS_PER_TURN 16

struct relay_group {
    struct event_base *base;
    struct relay_limits limits;
    struct buffer_pool *pool;
    struct hangup_watch *hangups;
    struct list relays, lingering;
    struct event *sweep; /* runs only while there are relays */
    struct timeval sweep_interval;
    struct event *linger;      /* and while some linger */
    void (*active)(void *arg); /* NULL: nobody asks */
    void *active_arg;
    uint64_t active_ms; /* when it was called last */
};

enum channel_waits { WAITS_FOR_NOTHING, WAITS_TO_READ, WAITS_TO_WRITE, WAITS_FOR_ROOM };

/* One direction: the pipe, and the events of its two sockets. */
struct channel {
    struct relay *relay;
    struct pipe pipe;
    struct event readable, writable; /* of pipe.source, of pipe.sink */
    struct event roomy;              /* a timer */
    enum channel_waits waits;
    struct hangup hangup; /* of pipe.source */
    bool source_hung_up;
};

enum relay_state {
    RELAY_RUNNING,
    RELAY_RESETTING, /* near is gone; RESET is on its way to far */
    RELAY_LINGERING, /* both directions have ended; the kernel still has bytes to deliver */
    RELAY_ENDED
};

struct relay {
    struct relay_group *group;
    struct list node;
    enum relay_state state;
    int near_fd, far_fd;
    struct channel outward, inward;
    struct event deadline; /* of RELAY_RESETTING, and of one that cannot go on */
    uint64_t last_active_ms;
    int unsent;             /* at the last sweep */
    struct sendroom room;   /* of what goes to far */
    uint64_t room_asked_at; /* bytes outward: it is asked for again after so many */
    uint64_t room_ends_at;  /* there may be so many; UINT64_MAX: any number */
    relay_ended *ended;
    uint64_t grown_at; /* payload bytes; UINT64_MAX: not watched */
    void (*grown)(void *arg);
    void *arg;
};

static void channel_run(struct channel *c);
static void on_linger(evutil_socket_t fd, short what, void *arg);
static void sweep(evutil_socket_t fd, short what, void *arg);

const char *relay_end_name(enum relay_end why)
{
    static const char names[][12] = {
        [RELAY_END_DONE] = "done",           [RELAY_END_NEAR_RESET] = "near-reset",
        [RELAY_END_FAR_RESET] = "far-reset", [RELAY_END_TRUNCATED] = "truncated",
        [RELAY_END_PROTOCOL] = "protocol",   [RELAY_END_IDLE] = "idle",
        [RELAY_END_FAILED] = "failed",
    };
    return names[why];
}

/* A quarter of the shorter limit, so that it is kept about as exactly. */
static struct timeval sweep_interval(const struct relay_limits *limits)
{
    uint32_t ms =
        limits->idle_ms < limits->half_closed_ms ? limits->idle_ms / 4 : limits->half_closed_ms / 4;

    if (ms > SWEEP_MS)
        ms = SWEEP_MS;
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

struct relay_group *relay_group_new(struct event_base *base, const struct relay_limits *limits)
{
    struct relay_group *g = calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->base = base;
    g->limits = *limits;
    g->sweep_interval = sweep_interval(limits);
    list_init(&g->relays);
    list_init(&g->lingering);
    g->pool = buffer_pool_new(BUFFERS_KEPT);
    g->hangups = hangup_watch_new(base);
    g->sweep = event_new(base, -1, EV_PERSIST, sweep, g);
    g->linger = evtimer_new(base, on_linger, g);
    if (!g->pool || !g->hangups || !g->sweep || !g->linger) {
        relay_group_free(g);
        return NULL;
    }
    return g;
}

void relay_group_set_limits(struct relay_group *g, const struct relay_limits *limits)
{
    g->limits = *limits;
    g->sweep_interval = sweep_interval(limits);
    if (event_pending(g->sweep, EV_TIMEOUT, NULL))
        event_add(g->sweep, &g->sweep_interval);
}

void relay_group_free(struct relay_group *g)
{
    if (!g)
        return;
    assert(list_empty(&g->relays) && list_empty(&g->lingering));
    if (g->sweep)
        event_free(g->sweep);
    if (g->linger)
        event_free(g->linger);
    hangup_watch_free(g->hangups);
    buffer_pool_free(g->pool);
    free(g);
}

void relay_group_watch_activity(struct relay_group *g, void (*active)(void *arg), void *arg)
{
    g->active = active;
    g->active_arg = arg;
}

struct buffer_pool *relay_group_pool(struct relay_group *g)
{
    return g->pool;
}

struct hangup_watch *relay_group_hangups(struct relay_group *g)
{
    return g->hangups;
}

/* From the event loop. Memory is short: a relay that cannot wait would stand still for good. */
static void fail_soon(struct relay *r)
{
    event_active(&r->deadline, EV_TIMEOUT, 0);
}

/* Events are touched only when what a channel waits for changes: in steady bulk, never. */
static void channel_wait(struct channel *c, enum channel_waits waits)
{
    int err = 0;

    if (c->waits == waits)
        return;
    if (c->waits == WAITS_TO_READ)
        event_del(&c->readable);
    else if (c->waits == WAITS_TO_WRITE)
        event_del(&c->writable);
    else if (c->waits == WAITS_FOR_ROOM)
        event_del(&c->roomy);
    c->waits = waits;
    if (waits == WAITS_TO_READ)
        err = event_add(&c->readable, NULL);
    else if (waits == WAITS_TO_WRITE)
        err = event_add(&c->writable, NULL);
    if (err)
        fail_soon(c->relay);
}

static void stop(struct relay *r)
{
    r->state = RELAY_ENDED;
    channel_wait(&r->outward, WAITS_FOR_NOTHING);
    channel_wait(&r->inward, WAITS_FOR_NOTHING);
    event_del(&r->deadline);
    pipe_release(&r->outward.pipe);
    pipe_release(&r->inward.pipe);
    list_remove(&r->node);
    if (list_empty(&r->group->relays)) {
        event_del(r->group->sweep);
        buffer_pool_trim(r->group->pool);
    }
}

/* Closing alone would leave a socket in the watch as long as a process that has just been forked
 * holds it, too. */
static void end_socket(struct relay *r, int *fd, bool in_order)
{
    if (*fd == -1)
        return;
    hangup_remove(r->group->hangups, *fd);
    if (in_order)
        close(*fd);
    else
        mptcp_reset(*fd);
    *fd = -1;
}

/* The one way a relay ends by itself. */
static void finish(struct relay *r, enum relay_end why)
{
    stop(r);
    end_socket(r, &r->near_fd, why == RELAY_END_DONE);
    end_socket(r, &r->far_fd, why == RELAY_END_DONE);
    r->ended(r->arg, why);
}

static int unsent_bytes(int fd)
{
    int n = 0;

    return fd != -1 && ioctl(fd, SIOCOUTQ, &n) == 0 ? n : 0;
}

/* Near was reset. A sealed far learns it by a RESET record, behind all that near sent before; but
 * not behind a long queue, which nobody wants any more. */
static void near_reset(struct relay *r)
{
    struct pipe *out = &r->outward.pipe;

    if (out->kind != PIPE_SEAL || out->stage == PIPE_ENDED || !out->cipher ||
        unsent_bytes(r->far_fd) > RESET_BACKLOG) {
        finish(r, RELAY_END_NEAR_RESET);
        return;
    }
    r->state = RELAY_RESETTING;
    channel_wait(&r->outward, WAITS_FOR_NOTHING);
    channel_wait(&r->inward, WAITS_FOR_NOTHING);
    end_socket(r, &r->near_fd, false);
    pipe_release(&r->inward.pipe);
    pipe_send_reset(out, 0);
    if (event_add(&r->deadline, &reset_patience) == -1)
        fail_soon(r);
    channel_run(&r->outward);
}

/* The kernel has closed the connection, and sends no more. Of MPTCP it does so without an error
 * where both have begun to end, and the last subflow is lost. */
static bool is_closed(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    return getpeername(fd, (struct sockaddr *)&peer, &len) == -1 && errno == ENOTCONN;
}

static bool is_sealed(const struct relay *r)
{
    return r->outward.pipe.kind == PIPE_SEAL;
}

/* What tells far that all has come: a record, or the FIN. Where it alone is outstanding when the
 * connection is no more, it has come, as a rule: only its acknowledgement was lost. */
static int last_word(const struct relay *r)
{
    return is_sealed(r) ? RECORD_OVERHEAD : 1;
}

/* One byte may be outstanding, here as well: the FIN itself, whose loss costs nobody any data. */
static bool is_far_delivered(const struct relay *r)
{
    int far = unsent_bytes(r->far_fd);

    return far <= (is_sealed(r) ? 0 : 1) || (far <= last_word(r) && is_closed(r->far_fd));
}

static bool is_delivered(const struct relay *r)
{
    return unsent_bytes(r->near_fd) <= 1 && is_far_delivered(r);
}

static bool is_truncated(const struct relay *r)
{
    return unsent_bytes(r->far_fd) > last_word(r) && is_closed(r->far_fd);
}

/* Both directions have ended. A closed socket would go on delivering by itself, but not after our
 * exit, when its packets' routes are gone: so a flow ends when its last byte has arrived. */
static void ended_in_order(struct relay *r)
{
    bool watched = event_pending(r->group->linger, EV_TIMEOUT, NULL) ||
                   event_add(r->group->linger, &linger_interval) == 0;

    if (!watched || is_delivered(r)) {
        finish(r, RELAY_END_DONE);
        return;
    }
    r->state = RELAY_LINGERING;
    list_remove(&r->node);
    list_append(&r->group->lingering, &r->node);
}

static int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct relay *r = arg;

    finish(r, r->state == RELAY_RESETTING ? RELAY_END_NEAR_RESET : RELAY_END_FAILED);
}

static void source_reset(struct channel *c)
{
    if (c == &c->relay->outward)
        near_reset(c->relay);
    else
        finish(c->relay, RELAY_END_FAR_RESET);
}

static void sink_reset(struct channel *c)
{
    if (c == &c->relay->inward)
        near_reset(c->relay);
    else
        finish(c->relay, RELAY_END_FAR_RESET);
}

static struct channel *reverse_of(struct channel *c)
{
    return c == &c->relay->outward ? &c->relay->inward : &c->relay->outward;
}

/* The source of a channel that does not read now has hung up. Both ways have ended there, in order
 * or by a reset; and where ours has not, the connection is no more: one of MPTCP that had begun to
 * end, and has lost its last subflow, is closed without an error. */
static void check_hangup(struct channel *c)
{
    if (socket_error(c->pipe.source) || reverse_of(c)->pipe.stage != PIPE_ENDED)
        source_reset(c);
}

static void on_hangup(struct hangup *hangup)
{
    struct channel *c = list_entry(hangup, struct channel, hangup);

    c->source_hung_up = true;
    /* One that reads learns it by reading, after the data that came before. */
    if (c->relay->state == RELAY_RUNNING && c->waits != WAITS_TO_READ)
        check_hangup(c);
}

static void channel_done(struct channel *c)
{
    struct relay *r = c->relay;

    channel_wait(c, WAITS_FOR_NOTHING);
    if (r->state == RELAY_RESETTING) /* far answers with its own end */
        channel_wait(&r->inward, WAITS_TO_READ);
    else if (r->outward.pipe.stage == PIPE_ENDED && r->inward.pipe.stage == PIPE_ENDED)
        ended_in_order(r);
    else if (c->source_hung_up)
        check_hangup(c);
}

static void channel_settle(struct channel *c, enum pipe_result result)
{
    switch (result) {
    case PIPE_WANT_READ:
        channel_wait(c, WAITS_TO_READ);
        return;
    case PIPE_WANT_WRITE:
        channel_wait(c, WAITS_TO_WRITE);
        if (c->source_hung_up && c->relay->state == RELAY_RUNNING)
            check_hangup(c);
        return;
    case PIPE_DONE:
        channel_done(c);
        return;
    case PIPE_SOURCE_RESET:
        source_reset(c);
        return;
    case PIPE_SINK_RESET:
        sink_reset(c);
        return;
    case PIPE_PEER_RESET:
        finish(c->relay, RELAY_END_FAR_RESET);
        return;
    case PIPE_TRUNCATED:
        finish(c->relay, RELAY_END_TRUNCATED);
        return;
    case PIPE_PROTOCOL:
        finish(c->relay, RELAY_END_PROTOCOL);
        return;
    case PIPE_NO_MEMORY:
    case PIPE_FAILED:
        finish(c->relay, RELAY_END_FAILED);
        return;
    }
}

static uint64_t payload_bytes(const struct relay *r)
{
    return r->outward.pipe.bytes + r->inward.pipe.bytes;
}

static void note_activity(struct relay_group *g, uint64_t now_ms)
{
    if (!g->active || now_ms - g->active_ms < ACTIVITY_MS)
        return;
    g->active_ms = now_ms;
    g->active(g->active_arg);
}

static void note_traffic(struct relay *r)
{
    r->last_active_ms = clock_now_ms();
    note_activity(r->group, r->last_active_ms);
    if (payload_bytes(r) < r->grown_at)
        return;
    r->grown_at = UINT64_MAX;
    r->grown(r->arg);
}

/* There is enough under way to far: nothing is read until some of it has arrived. */
static void wait_for_room(struct channel *c)
{
    uint32_t us = sendroom_wait_us(&c->relay->room, clock_now_us());
    struct timeval wait = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};

    channel_wait(c, WAITS_FOR_ROOM);
    if (event_add(&c->roomy, &wait) == -1)
        fail_soon(c->relay);
    if (c->source_hung_up)
        check_hangup(c);
}

static void ask_for_room(struct relay *r, uint64_t written)
{
    uint32_t left = sendroom_ask(&r->room, r->far_fd, written);

    r->room_ends_at = left == UINT32_MAX ? UINT64_MAX : written + left;
    r->room_asked_at = written + (left < ROOM_BYTES ? left : ROOM_BYTES);
}

static bool is_roomy(const struct relay *r, uint64_t written)
{
    return r->room_ends_at == UINT64_MAX || r->room_ends_at >= written + SENDROOM_STROKE;
}

/* False: the channel waits for room, or has ended. */
static bool has_room(struct channel *c)
{
    struct relay *r = c->relay;
    uint64_t written = r->outward.pipe.bytes;

    if (c != &r->outward || r->state != RELAY_RUNNING)
        return true;
    if (written >= r->room_asked_at || !is_roomy(r, written))
        ask_for_room(r, written);
    c->pipe.limit = r->room_ends_at == UINT64_MAX ? 0 : r->room_ends_at - written;
    if (is_roomy(r, written))
        return true;
    wait_for_room(c);
    return false;
}

/* May end the relay: callers return right after. */
static void channel_run(struct channel *c)
{
    if (!has_room(c))
        return;
    uint64_t before = c->pipe.traffic;
    enum pipe_result result = pipe_pump(&c->pipe);

    if (c->pipe.traffic != before)
        note_traffic(c->relay);
    channel_settle(c, result);
}

/* RELAY_RESETTING: far has our RESET; what it still sends is of no use to anybody. */
static void discard_far(struct relay *r)
{
    char scrap[4096];
    ssize_t n = 1;

    for (int i = 0; i < DISCARDS_PER_TURN && n > 0; i++)
        n = recv(r->far_fd, scrap, sizeof(scrap), MSG_DONTWAIT);
    if (n > 0)
        return;
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        finish(r, RELAY_END_NEAR_RESET);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct channel *c = arg;
    struct relay *r = c->relay;

    if (r->state == RELAY_RESETTING && c == &r->inward) {
        discard_far(r);
        return;
    }
    channel_run(c);
    if (r->state == RELAY_RUNNING && r->outward.pipe.owes_pong && r->outward.waits == WAITS_TO_READ)
        channel_run(&r->outward);
}

static void on_room(evutil_socket_t fd, short what, void *arg)
{
    struct channel *c = arg;

    c->waits = WAITS_FOR_NOTHING;
    channel_run(c);
}

static void channel_init(struct channel *c, struct relay *r, enum pipe_kind kind, int source,
                         int sink, struct record_cipher *cipher)
{
    c->relay = r;
    c->hangup.on_hangup = on_hangup;
    c->pipe = (struct pipe){
        .kind = kind, .source = source, .sink = sink, .pool = r->group->pool, .cipher = cipher};
    event_assign(&c->readable, r->group->base, source, EV_READ | EV_PERSIST, on_ready, c);
    event_assign(&c->writable, r->group->base, sink, EV_WRITE | EV_PERSIST, on_ready, c);
    evtimer_assign(&c->roomy, r->group->base, on_room, c);
}

struct relay *relay_new(struct relay_group *g, const struct relay_setup *setup)
{
    struct relay *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->group = g;
    r->near_fd = setup->near_fd;
    r->far_fd = setup->far_fd;
    r->ended = setup->ended;
    r->grown_at = UINT64_MAX;
    r->grown = setup->grown;
    r->arg = setup->arg;
    r->last_active_ms = clock_now_ms();
    channel_init(&r->outward, r, setup->seal ? PIPE_SEAL : PIPE_PLAIN, r->near_fd, r->far_fd,
                 setup->seal);
    channel_init(&r->inward, r, setup->open ? PIPE_OPEN : PIPE_PLAIN, r->far_fd, r->near_fd,
                 setup->open);
    r->inward.pipe.reverse = &r->outward.pipe;
    event_assign(&r->deadline, g->base, -1, 0, on_deadline, r);
    if (hangup_add(g->hangups, r->near_fd, &r->outward.hangup) < 0 ||
        hangup_add(g->hangups, r->far_fd, &r->inward.hangup) < 0) {
        hangup_remove(g->hangups, r->near_fd);
        free(r);
        return NULL;
    }
    if (list_empty(&g->relays))
        event_add(g->sweep, &g->sweep_interval);
    list_append(&g->relays, &r->node);
    return r;
}

/* The first turn comes from the event loop, so that `ended` never comes from inside a call of the
 * owner. */
static void channel_start(struct channel *c)
{
    channel_wait(c, WAITS_TO_WRITE);
}

void relay_start_outward(struct relay *r)
{
    channel_start(&r->outward);
}

void relay_start_inward(struct relay *r, struct buffer *first)
{
    if (first)
        pipe_prepend(&r->inward.pipe, first);
    channel_start(&r->inward);
}

void relay_watch_growth(struct relay *r, uint64_t bytes)
{
    r->grown_at = payload_bytes(r) + bytes;
}

void relay_abort(struct relay *r)
{
    if (r->state == RELAY_ENDED)
        return;
    stop(r);
    end_socket(r, &r->near_fd, false);
    end_socket(r, &r->far_fd, false);
}

void relay_free(struct relay *r)
{
    if (!r)
        return;
    relay_abort(r);
    free(r);
}

/* Slow progress is progress: the kernel's queues draining counts as activity. */
static bool is_idle(struct relay *r, uint64_t now_ms)
{
    bool half_closed = r->outward.pipe.stage == PIPE_ENDED || r->inward.pipe.stage == PIPE_ENDED;
    uint32_t limit = half_closed ? r->group->limits.half_closed_ms : r->group->limits.idle_ms;
    int unsent = unsent_bytes(r->near_fd) + unsent_bytes(r->far_fd);

    if (unsent != r->unsent)
        r->last_active_ms = now_ms;
    r->unsent = unsent;
    return now_ms - r->last_active_ms > limit;
}

/* Far is left as soon as it has all: it does not wait for a slow near, and how it ends is of no
 * interest any more. */
static void linger_on(struct relay *r, uint64_t now_ms)
{
    if (is_far_delivered(r))
        end_socket(r, &r->far_fd, true);
    if (socket_error(r->near_fd))
        finish(r, RELAY_END_NEAR_RESET);
    else if (socket_error(r->far_fd) || is_truncated(r))
        finish(r, RELAY_END_FAR_RESET);
    else if (is_delivered(r))
        finish(r, RELAY_END_DONE);
    else if (is_idle(r, now_ms))
        finish(r, RELAY_END_IDLE);
}

static void on_linger(evutil_socket_t fd, short what, void *arg)
{
    struct relay_group *g = arg;
    uint64_t now_ms = clock_now_ms();

    list_each(node, &g->lingering) linger_on(list_entry(node, struct relay, node), now_ms);
    if (!list_empty(&g->lingering))
        event_add(g->linger, &linger_interval);
}

/* Far has had our FIN, and has left; here some of what it said before still waits for near. Its
 * kernel waits for our end, and after a minute it would reset the connection. */
static void answer_end(const struct relay *r)
{
    struct pollfd far = {.fd = r->far_fd, .events = POLLRDHUP};

    if (is_sealed(r) && r->outward.pipe.stage == PIPE_ENDED && poll(&far, 1, 0) == 1)
        shutdown(r->far_fd, SHUT_WR);
}

static void sweep(evutil_socket_t fd, short what, void *arg)
{
    struct relay_group *g = arg;
    uint64_t now_ms = clock_now_ms();

    list_each(node, &g->relays)
    {
        struct relay *r = list_entry(node, struct relay, node);
        if (r->state != RELAY_RUNNING) /* one that resets has its own deadline */
            continue;
        answer_end(r);
        if (is_idle(r, now_ms))
            finish(r, RELAY_END_IDLE);
    }
}

uint64_t relay_bytes_out(const struct relay *r)
{
    return r->outward.pipe.bytes;
}

uint64_t relay_bytes_in(const struct relay *r)
{
    return r->inward.pipe.bytes;
}

uint64_t relay_last_active_ms(const struct relay *r)
{
    return r->last_active_ms;
}

int relay_far_fd(const struct relay *r)
{
    return r->far_fd;
}
