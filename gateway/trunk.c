#include "gateway/trunk.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/mptcp.h"

/* An unanswered dial is raced on the next uplink after max(1.5 RTT, this). */
#define RACE_MIN_MS 100
/* The concentrator resets a bad HELLO after 5 s; a good one it answers at once. */
#define WELCOME_PATIENCE_MS 8000
#define REJECTED_AFTER_MS 3000
/* A token lives 10 s (protocol.md); one way to us, and one back. */
#define TOKEN_USE_MS 9000
/* The concentrator gives a destination 30 s by default. */
#define OPENED_PATIENCE_MS 90000

enum trunk_state {
    TRUNK_DIALING,
    TRUNK_GREETING,         /* HELLO is out */
    TRUNK_GREETING_OPENING, /* HELLO and OPEN are */
    TRUNK_WARM,             /* welcomed, nothing opened */
    TRUNK_OPENING,          /* welcomed, OPEN is out */
    TRUNK_OPENED,
    TRUNK_TAKEN,
    TRUNK_FAILED
};

struct attempt {
    struct trunk *trunk;
    int fd;
    uint8_t uplink;
    struct event *event;
};

struct trunk {
    const struct trunk_context *context;
    struct station *station;
    struct schedule schedule;
    const struct trunk_events *events;
    void *arg;
    enum trunk_state state;
    struct attempt attempts[UPLINKS_MAX]; /* one for each uplink of schedule.order, in turn */
    size_t n_attempts, n_pending;
    int last_error;
    uint8_t first_uplink;
    uint64_t dialled_ms, connected_ms;
    uint32_t connect_ms;
    int fd;         /* -1: none yet, or taken */
    int send_error; /* that the reading side does not tell */
    bool is_mptcp;
    struct event *race, *deadline, *readable, *writable;
    struct greeting *greeting; /* NULL once it is taken */
    struct buffer *flight;
    struct paths *paths;
    bool challenged, asks_token, asks_mptcp;
    bool has_waited;           /* before a flow took it */
    bool dialled_anew;         /* by another uplink, or by plain TCP */
    bool repeatable;           /* what was opened may be opened twice */
    struct gauge *starting_on; /* where it counts as starting, or NULL */
    struct gauge *plain_on;    /* likewise, as plain TCP */
};

const char *trunk_failure_name(enum trunk_failure why)
{
    static const char names[][20] = {
        [TRUNK_NO_UPLINK] = "no-uplink",
        [TRUNK_UNREACHABLE] = "unreachable",
        [TRUNK_SILENT] = "silent",
        [TRUNK_REJECTED] = "rejected",
        [TRUNK_HUNG_UP] = "hung-up",
        [TRUNK_REFUSED] = "refused",
        [TRUNK_CHALLENGED] = "challenged-twice",
        [TRUNK_BAD] = "bad-answer",
        [TRUNK_LOST] = "lost",
        [TRUNK_OPEN_FAILED] = "open",
        [TRUNK_NO_MEMORY] = "no-memory",
    };
    return names[why];
}

static void set_timer(struct event *timer, uint32_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    event_add(timer, &tv);
}

static void count_start(struct trunk *t, struct gauge *on)
{
    if (t->starting_on)
        t->starting_on->starting--;
    t->starting_on = on;
    if (on)
        on->starting++;
}

static void count_plain(struct trunk *t, struct gauge *on)
{
    if (t->plain_on)
        t->plain_on->plain--;
    t->plain_on = on;
    if (on)
        on->plain++;
}

/* One that starts is not counted twice. */
static void starts(struct trunk *t)
{
    count_plain(t, NULL);
    count_start(t, &t->context->gauges->of[t->first_uplink]);
}

void trunk_is_settled(struct trunk *t, bool quiet)
{
    count_start(t, NULL);
    count_plain(t, t->is_mptcp || quiet ? NULL : &t->context->gauges->of[t->first_uplink]);
}

static void drop_attempt(struct attempt *a)
{
    if (a->event)
        event_free(a->event);
    a->event = NULL;
    if (a->fd != -1)
        close(a->fd);
    a->fd = -1;
}

static void drop_attempts(struct trunk *t)
{
    for (size_t i = 0; i < t->n_attempts; i++)
        drop_attempt(&t->attempts[i]);
    t->n_attempts = t->n_pending = 0;
}

/* What has been said is remembered. */
static void hang_up(struct trunk *t)
{
    event_del(t->race);
    event_del(t->deadline);
    drop_attempts(t);
    if (t->readable)
        event_free(t->readable);
    if (t->writable)
        event_free(t->writable);
    t->readable = t->writable = NULL;
    if (t->fd != -1)
        mptcp_reset(t->fd);
    t->fd = -1;
    t->send_error = 0;
    count_plain(t, NULL);
    paths_free(t->paths);
    t->paths = NULL;
}

static void put_flight(struct trunk *t)
{
    buffer_put(t->context->pool, t->flight);
    t->flight = NULL;
}

/* Everything that belongs to one connection; a challenge starts anew behind it. */
static void drop_connection(struct trunk *t)
{
    hang_up(t);
    put_flight(t);
    if (t->greeting)
        greeting_end(t->greeting);
}

/* The one way a trunk ends by itself: callers return right after. */
static void fail(struct trunk *t, enum trunk_failure why, int error)
{
    if (t->state == TRUNK_FAILED)
        return;
    count_start(t, NULL);
    drop_connection(t);
    t->state = TRUNK_FAILED;
    t->events->failed(t->arg, why, error);
}

/* Of this machine: memory, descriptors, ports. */
static bool is_shortage(int error)
{
    return error == ENOMEM || error == ENOBUFS || error == EMFILE || error == ENFILE ||
           error == EADDRINUSE || error == EADDRNOTAVAIL;
}

static uint64_t protocol_time_ms(const struct station *s)
{
    return clock_boot_ms() + (uint64_t)s->clock_offset_ms;
}

/* From the event loop: callbacks never come from inside a call. */
static void cannot_send(struct trunk *t, int error)
{
    if ((error == EPIPE || error == ECONNRESET) && t->state != TRUNK_OPENED)
        return; /* the reading side tells why, where somebody reads */
    t->send_error = error;
    event_active(t->deadline, EV_TIMEOUT, 0);
}

static bool is_greeting(const struct trunk *t)
{
    return t->state == TRUNK_GREETING || t->state == TRUNK_GREETING_OPENING;
}

/* Sends what is in flight, and keeps it as long as nothing shows that it has arrived. */
static void flush(struct trunk *t)
{
    struct buffer *b = t->flight;

    while (b && buffer_length(b) > 0) {
        ssize_t n = send(t->fd, b->data + b->start, buffer_length(b), MSG_NOSIGNAL);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno == EAGAIN && event_add(t->writable, NULL) == 0)
            return;
        if (n == -1) {
            cannot_send(t, errno == EAGAIN ? ENOMEM : errno);
            return;
        }
        b->start += (size_t)n;
    }
    if (!is_greeting(t))
        put_flight(t);
}

/* The relay takes over when OPENED has come and the client's first bytes are out. */
static void hand_over(struct trunk *t)
{
    if (t->state == TRUNK_OPENED && !t->flight)
        t->events->opened(t->arg);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    flush(arg);
    hand_over(arg);
}

static struct buffer *flight_of(struct trunk *t)
{
    if (!t->flight)
        t->flight = buffer_get(t->context->pool);
    return t->flight;
}

static void start_dialling(struct trunk *t)
{
    static const struct timeval now = {0};

    if (t->schedule.n_order > 0)
        count_start(t, &t->context->gauges->of[t->schedule.order[0]]);
    t->state = TRUNK_DIALING;
    t->dialled_ms = clock_now_ms();
    event_add(t->race, &now); /* from the event loop: callbacks never come from inside a call */
    set_timer(t->deadline, t->context->dial_timeout_ms);
}

static void challenged(struct trunk *t)
{
    if (t->challenged) {
        fail(t, TRUNK_CHALLENGED, 0);
        return;
    }
    t->challenged = true;
    memcpy(t->station->token, t->greeting->reply.token, sizeof(t->station->token));
    t->station->challenged_ms = clock_now_ms();
    drop_connection(t);
    start_dialling(t);
}

static bool read_tcp_info(const struct trunk *t, struct tcp_info *info)
{
    socklen_t len = sizeof(*info);

    return getsockopt(t->fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

/* Losses make a kernel fall back, too: of the SYN, or of all that proves MPTCP behind it. Where
 * something had to be sent again, that is no sign of a box, but the second time in a row. */
static void note_plain(struct trunk *t, bool late)
{
    struct gauge *gauge = &t->context->gauges->of[t->first_uplink];
    struct tcp_info info;
    bool lossy = read_tcp_info(t, &info) && info.tcpi_total_retrans > 0;

    gauge->lost_mptcp = lossy && !gauge->lost_mptcp;
    if (gauge->lost_mptcp)
        return;
    gauge->mptcp = MPTCP_STRIPPED;
    gauge->strips_late = gauge->strips_late || late;
}

/* A handshake proves little: some boxes strip what follows. Each kernel goes on by plain TCP as
 * soon as it notices; but until then it sends again what the other does not acknowledge in MPTCP's
 * way, and has in its stream already. Returns whether that has befallen this connection. */
static bool falls_back(struct trunk *t)
{
    struct gauge *gauge = &t->context->gauges->of[t->first_uplink];
    bool falls = t->is_mptcp && !mptcp_is_active(t->fd);

    if (falls) {
        paths_free(t->paths);
        t->paths = NULL;
        t->is_mptcp = t->asks_mptcp = false;
        note_plain(t, true);
    } else if (t->is_mptcp) {
        gauge->mptcp = MPTCP_OK;
        gauge->strips_late = gauge->lost_mptcp = false;
    }
    return falls;
}

static void dial_anew(struct trunk *t);

static void welcomed(struct trunk *t)
{
    if (falls_back(t) && t->state == TRUNK_GREETING) {
        dial_anew(t);
        return;
    }
    t->challenged = false;
    t->station->welcomed_ms = clock_now_ms();
    gauge_welcomed(&t->context->gauges->of[t->first_uplink], t->station->welcomed_ms);
    t->station->probe_port = t->greeting->reply.probe_port;
    if (t->paths)
        paths_allow_joins(t->paths);
    if (t->state == TRUNK_GREETING_OPENING) {
        t->state = TRUNK_OPENING;
        set_timer(t->deadline, OPENED_PATIENCE_MS);
    } else {
        t->state = TRUNK_WARM;
        event_del(t->deadline);
        trunk_is_settled(t, false);
    }
    if (t->flight && buffer_length(t->flight) == 0)
        put_flight(t);
    t->events->welcomed(t->arg);
}

static void opened(struct trunk *t)
{
    if (t->state != TRUNK_OPENING) {
        fail(t, TRUNK_BAD, 0);
    } else if (t->greeting->opened_code != OPENED_CONNECTED) {
        fail(t, TRUNK_OPEN_FAILED, t->greeting->opened_code);
    } else {
        t->state = TRUNK_OPENED;
        event_del(t->deadline);
        event_del(t->readable);
        hand_over(t);
    }
}

/* The reply is authentic and fresh (it proves knowledge of our salt): its time is good. */
static void adopt_time(struct trunk *t)
{
    if (t->context->time)
        clock_tell(t->context->time, t->greeting->reply.time_ms);
    t->station->clock_offset_ms = (int64_t)(t->greeting->reply.time_ms - clock_boot_ms());
}

static void take_verdict(struct trunk *t, enum greeting_verdict verdict)
{
    switch (verdict) {
    case GREETING_MORE:
        return;
    case GREETING_WELCOMED:
        adopt_time(t);
        welcomed(t);
        return;
    case GREETING_CHALLENGED:
        adopt_time(t);
        challenged(t);
        return;
    case GREETING_REFUSED:
        fail(t, TRUNK_REFUSED, t->greeting->reply.code);
        return;
    case GREETING_OPENED:
        opened(t);
        return;
    case GREETING_BAD:
        fail(t, TRUNK_BAD, 0);
        return;
    case GREETING_FAILED:
        fail(t, TRUNK_NO_MEMORY, 0);
        return;
    }
}

static bool is_reading(const struct trunk *t)
{
    return is_greeting(t) || t->state == TRUNK_WARM || t->state == TRUNK_OPENING;
}

static enum trunk_failure why_closed(const struct trunk *t)
{
    if (!is_greeting(t))
        return TRUNK_LOST;
    if (t->greeting->have > 0)
        return TRUNK_BAD;
    return clock_now_ms() - t->connected_ms < REJECTED_AFTER_MS ? TRUNK_HUNG_UP : TRUNK_REJECTED;
}

/* One that has waited may have been ended before OPEN, or while that was on its way to it, by its
 * idle limit, say. Where it ends in order, the destination has heard nothing: OPENED would have
 * come before. */
static bool was_missed(const struct trunk *t, bool in_order)
{
    return t->has_waited &&
           (t->state == TRUNK_WARM || (t->state == TRUNK_OPENING && (in_order || t->repeatable)));
}

/* The first uplink comes last. False: there is no other. */
static bool pass_over_first(struct trunk *t)
{
    struct schedule *s = &t->schedule;
    size_t n = 0;

    for (size_t i = 0; i < s->n_order; i++) {
        if (s->order[i] != t->first_uplink)
            s->order[n++] = s->order[i];
    }
    if (n < s->n_order)
        s->order[n] = t->first_uplink;
    return n > 0;
}

/* A flow waits for an answer, and will get none by this uplink, though it lives: it is so full that
 * what was said is lost again and again, say. It is said once more by another. */
static bool tries_another(struct trunk *t)
{
    if (t->state != TRUNK_GREETING_OPENING || greeting_has_begun(t->greeting) || t->dialled_anew ||
        !pass_over_first(t))
        return false;
    dial_anew(t);
    return true;
}

static void ended(struct trunk *t, int error)
{
    enum trunk_failure why = why_closed(t);

    if (was_missed(t, error == 0))
        dial_anew(t);
    else if (why != TRUNK_REJECTED || !tries_another(t))
        fail(t, why, error);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct trunk *t = arg;

    /* A challenge, a failure or OPENED changes the state (and the socket): then no more. */
    while (is_reading(t) && t->fd == fd) {
        uint8_t *where;
        size_t wants = greeting_wants(t->greeting, &where);
        ssize_t n = recv(fd, where, wants, MSG_DONTWAIT);

        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            ended(t, n == 0 ? 0 : errno);
            return;
        }
        take_verdict(t, greeting_read(t->greeting, (size_t)n));
    }
}

static void note_gauges(struct trunk *t)
{
    struct gauge *gauge = &t->context->gauges->of[t->first_uplink];
    struct tcp_info info;

    if (!t->is_mptcp)
        note_plain(t, false);
    /* A retransmitted SYN says nothing of the round trip (Karn). */
    if (read_tcp_info(t, &info) && info.tcpi_rtt > 0 && info.tcpi_total_retrans == 0)
        gauge_rtt(gauge, info.tcpi_rtt);
}

static int manage_paths(struct trunk *t)
{
    struct addr local;
    uint32_t token;
    int err = addr_of_socket(&local, t->fd);

    t->is_mptcp = mptcp_is_active(t->fd);
    if (err || !t->is_mptcp || !t->context->paths)
        return err;
    err = mptcp_token(t->fd, &token);
    if (err)
        return err;
    t->paths = paths_new(t->context->paths, token, t->fd, t->first_uplink, &local,
                         &t->station->entry->address, &t->schedule);
    return t->paths ? 0 : -ENOMEM;
}

/* Its token, while it will still be good on arrival; else NULL. */
static const uint8_t *token_for(const struct trunk *t)
{
    const struct station *s = t->station;
    bool good = s->challenged_ms && clock_now_ms() - s->challenged_ms < TOKEN_USE_MS;

    return good && (t->challenged || !t->asks_token) ? s->token : NULL;
}

static int watch(struct trunk *t)
{
    t->readable = event_new(t->context->base, t->fd, EV_READ | EV_PERSIST, on_readable, t);
    t->writable = event_new(t->context->base, t->fd, EV_WRITE, on_writable, t);
    return t->readable && t->writable && event_add(t->readable, NULL) == 0 ? 0 : -ENOMEM;
}

static int greet(struct trunk *t)
{
    if (!flight_of(t))
        return -ENOMEM;
    return greeting_start(t->greeting, &t->station->entry->key, t->context->suite,
                          protocol_time_ms(t->station), token_for(t), t->flight);
}

static void connected(struct trunk *t, struct attempt *winner)
{
    bool repeats = t->flight != NULL;

    t->fd = winner->fd;
    t->first_uplink = winner->uplink;
    winner->fd = -1;
    starts(t);
    event_del(t->race);
    drop_attempts(t);
    t->connected_ms = clock_now_ms();
    t->connect_ms = (uint32_t)(t->connected_ms - t->dialled_ms);
    mptcp_tune(t->fd);
    int err = manage_paths(t);
    if (!err)
        err = watch(t);
    if (!err && !repeats)
        err = greet(t);
    if (err) {
        fail(t, err == -ENOMEM ? TRUNK_NO_MEMORY : TRUNK_LOST, -err);
        return;
    }
    note_gauges(t);
    set_timer(t->deadline, WELCOME_PATIENCE_MS);
    if (repeats) {
        t->flight->start = 0;
        t->state = TRUNK_GREETING_OPENING;
    } else {
        t->state = TRUNK_GREETING;
        t->events->connected(t->arg); /* may open: HELLO and OPEN leave in one segment */
    }
    if (t->state != TRUNK_FAILED)
        flush(t);
}

static void dial_next(struct trunk *t);

/* A shortage says nothing of those behind the uplinks: no other error may hide it. */
static void note_error(struct trunk *t, int error)
{
    if (!is_shortage(t->last_error))
        t->last_error = error;
}

static enum trunk_failure why_not_connected(const struct trunk *t)
{
    if (t->schedule.n_order == 0)
        return TRUNK_NO_UPLINK;
    return is_shortage(t->last_error) ? TRUNK_NO_MEMORY : TRUNK_UNREACHABLE;
}

static void attempt_failed(struct trunk *t, struct attempt *a, int error)
{
    note_error(t, error);
    drop_attempt(a);
    t->n_pending--;
    dial_next(t);
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
    struct attempt *a = arg;
    struct trunk *t = a->trunk;
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1)
        error = errno;
    if (error)
        attempt_failed(t, a, error);
    else
        connected(t, a);
}

/* Bound to the uplink by source address (our policy rules) and by interface. */
static int bind_to_uplink(int fd, const struct uplink *uplink, uint8_t family)
{
    struct sockaddr_storage ss;
    int one = 1;
    socklen_t len = addr_to_sockaddr(&uplink_route(uplink, family)->address, &ss);
    const char *interface = uplink->config->interface;

    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface) + 1) ==
        -1)
        return -errno;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, (struct sockaddr *)&ss, len) == -1 ? -errno : 0;
}

static bool is_without_mptcp(const struct trunk *t, const struct uplink *uplink)
{
    return t->context->gauges->of[uplink->index].strips_late && !t->asks_mptcp;
}

static int open_socket(struct trunk *t, const struct uplink *uplink)
{
    uint8_t family = t->station->entry->address.family;

    if (!uplink_usable(uplink, family))
        return -ENETDOWN; /* since it was scheduled */
    int fd = is_without_mptcp(t, uplink) ? mptcp_tcp_socket(family) : mptcp_socket(family);

    /* MPTCP was switched off under us: plain TCP keeps the house online. */
    if (fd == -ENOPROTOOPT || fd == -EPROTONOSUPPORT)
        fd = mptcp_tcp_socket(family);
    if (fd < 0)
        return fd;
    int err = bind_to_uplink(fd, uplink, family);
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

static int start_attempt(struct trunk *t, struct attempt *a, uint8_t uplink)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&t->station->entry->address, &ss);

    *a = (struct attempt){.trunk = t, .uplink = uplink, .fd = -1};
    int fd = open_socket(t, uplinks_get(t->context->uplinks, uplink));
    if (fd < 0)
        return fd;
    a->fd = fd;
    if (connect(fd, (struct sockaddr *)&ss, len) == -1 && errno != EINPROGRESS)
        return -errno;
    a->event = event_new(t->context->base, fd, EV_WRITE, on_connect, a);
    return a->event && event_add(a->event, NULL) == 0 ? 0 : -ENOMEM;
}

static uint32_t race_delay_ms(const struct trunk *t, uint8_t uplink)
{
    uint32_t ms = t->context->gauges->of[uplink].rtt_us * 3 / 2000;

    return ms > RACE_MIN_MS ? ms : RACE_MIN_MS;
}

/* Starts the next uplink's attempt; when none is left and none is pending, that was it. */
static void dial_next(struct trunk *t)
{
    while (t->n_attempts < t->schedule.n_order) {
        uint8_t uplink = t->schedule.order[t->n_attempts];
        struct attempt *a = &t->attempts[t->n_attempts++];
        int err = start_attempt(t, a, uplink);

        if (err == 0) {
            t->n_pending++;
            set_timer(t->race, race_delay_ms(t, uplink));
            return;
        }
        note_error(t, -err);
        drop_attempt(a);
    }
    if (t->n_pending == 0)
        fail(t, why_not_connected(t), t->last_error);
}

static void on_race(evutil_socket_t fd, short what, void *arg)
{
    dial_next(arg);
}

static bool is_tried(const struct trunk *t, uint8_t uplink)
{
    for (size_t i = 0; i < t->n_attempts; i++) {
        if (t->attempts[i].uplink == uplink)
            return true;
    }
    return false;
}

static bool may_be_dead(const struct gauge *gauge)
{
    return gauge->health.doubtful || gauge_verdict(gauge) == HEALTH_DEAD;
}

/* While it is dialled. Behind those that have been tried, uplinks that are back since it was
 * scheduled join the race; and one that may be dead is not waited for. */
static void race_anew(struct trunk *t, const struct schedule *next)
{
    static const struct timeval now = {0};
    struct schedule before = t->schedule;
    size_t n = t->n_attempts;

    t->schedule = *next;
    memcpy(t->schedule.order, before.order, n * sizeof(before.order[0]));
    for (size_t i = 0; i < next->n_order; i++) {
        if (!is_tried(t, next->order[i]))
            t->schedule.order[n++] = next->order[i];
    }
    t->schedule.n_order = n;
    if (t->n_attempts == 0 || n == t->n_attempts)
        return;
    const struct gauge *gauge = &t->context->gauges->of[before.order[t->n_attempts - 1]];
    if (may_be_dead(gauge) || !event_pending(t->race, EV_TIMEOUT, NULL))
        event_add(t->race, &now);
}

/* Which has yet to be read. */
static bool has_answer(const struct trunk *t)
{
    uint8_t first;

    return (is_greeting(t) && greeting_has_begun(t->greeting)) ||
           recv(t->fd, &first, sizeof(first), MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Nothing more will come by its first uplink: it is down, or dead, or another network, by which
 * nobody has been welcomed yet. */
static bool has_lost_first(const struct trunk *t)
{
    const struct gauge *gauge = &t->context->gauges->of[t->first_uplink];

    return (t->state >= TRUNK_WARM && !gauge->welcomed) || gauge_verdict(gauge) == HEALTH_DEAD ||
           !uplink_usable(uplinks_get(t->context->uplinks, t->first_uplink),
                          t->station->entry->address.family);
}

/* It has no other uplink, and will have none before it is welcomed; or ever, by plain TCP. Where
 * its only one is merely no longer configured the answer is under way. */
static bool is_stranded(const struct trunk *t)
{
    bool waits = is_greeting(t) || (t->state == TRUNK_OPENING && !t->paths && t->repeatable);

    return waits && t->schedule.n_order > 0 && t->schedule.order[0] != t->first_uplink &&
           uplink_exists(uplinks_get(t->context->uplinks, t->first_uplink)) && has_lost_first(t) &&
           !has_answer(t);
}

/* By another uplink, or by plain TCP. What must not reach a destination twice is said again byte
 * for byte: a concentrator that has heard it already takes that for a replay, and says nothing. */
static void dial_anew(struct trunk *t)
{
    t->dialled_anew = true;
    if (t->state == TRUNK_GREETING_OPENING && !t->repeatable)
        hang_up(t);
    else
        drop_connection(t);
    start_dialling(t);
}

/* While it begins, a flow has little under way: what is in doubt is done without. */
static void drop_doubtful(struct trunk *t)
{
    bool begins = t->state != TRUNK_WARM && t->state != TRUNK_TAKEN;

    for (size_t i = 0; begins && i < UPLINKS_MAX; i++) {
        if (t->schedule.roles[i] == ROLE_STANDBY && t->context->gauges->of[i].health.doubtful)
            t->schedule.roles[i] = ROLE_OFF;
    }
}

void trunk_reschedule(struct trunk *t, const struct demand *demand)
{
    struct placement placement = t->schedule.placement;
    struct schedule next;

    if (!t->paths && (t->state == TRUNK_WARM || t->state >= TRUNK_OPENED))
        return;
    gauges_schedule(t->context->gauges, t->context->uplinks, t->station->entry->address.family,
                    demand, &placement, &next);
    if (t->state == TRUNK_DIALING) {
        race_anew(t, &next);
        return;
    }
    t->schedule = next;
    if (is_stranded(t)) {
        dial_anew(t);
        return;
    }
    drop_doubtful(t);
    if (t->paths)
        paths_set_schedule(t->paths, &t->schedule);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct trunk *t = arg;

    if (t->send_error)
        fail(t, is_shortage(t->send_error) ? TRUNK_NO_MEMORY : TRUNK_LOST, t->send_error);
    else if (!tries_another(t))
        fail(t, t->state == TRUNK_DIALING ? TRUNK_UNREACHABLE : TRUNK_SILENT, ETIMEDOUT);
}

struct trunk *trunk_new(const struct trunk_context *context, struct station *station,
                        const struct schedule *schedule, const struct trunk_events *events,
                        void *arg)
{
    struct trunk *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->context = context;
    t->station = station_hold(station);
    t->schedule = *schedule;
    t->events = events;
    t->arg = arg;
    t->fd = -1;
    t->race = evtimer_new(context->base, on_race, t);
    t->deadline = evtimer_new(context->base, on_deadline, t);
    t->greeting = calloc(1, sizeof(*t->greeting));
    if (!t->race || !t->deadline || !t->greeting) {
        trunk_free(t);
        return NULL;
    }
    start_dialling(t);
    return t;
}

void trunk_ask_token(struct trunk *t)
{
    assert(t->state == TRUNK_DIALING);
    t->asks_token = true;
}

void trunk_ask_mptcp(struct trunk *t)
{
    assert(t->state == TRUNK_DIALING);
    t->asks_mptcp = true;
}

void trunk_adopt(struct trunk *t, const struct trunk_events *events, void *arg)
{
    assert(t->state == TRUNK_WARM);
    t->events = events;
    t->arg = arg;
    t->has_waited = true;
}

bool trunk_is_connected(const struct trunk *t)
{
    return t->state == TRUNK_GREETING || t->state == TRUNK_WARM;
}

bool trunk_is_welcomed(const struct trunk *t)
{
    return t->state >= TRUNK_WARM && t->state <= TRUNK_TAKEN;
}

bool trunk_is_lost(const struct trunk *t)
{
    return t->state == TRUNK_WARM && !t->paths && has_lost_first(t);
}

bool trunk_is_unsteady(const struct trunk *t)
{
    return !trunk_is_welcomed(t) && gauge_is_unsteady(&t->context->gauges->of[t->first_uplink]);
}

int trunk_open(struct trunk *t, enum open_mode mode, const struct addr *destination,
               const uint8_t *early, size_t early_len, bool repeatable)
{
    assert(trunk_is_connected(t));
    if (!flight_of(t))
        return -ENOMEM;
    int err = greeting_open(t->greeting, mode, destination, early, early_len, t->flight);
    if (err)
        return err;
    starts(t);
    t->repeatable = repeatable;
    t->has_waited = t->state == TRUNK_WARM;
    if (t->state == TRUNK_WARM)
        set_timer(t->deadline, OPENED_PATIENCE_MS);
    t->state = t->state == TRUNK_WARM ? TRUNK_OPENING : TRUNK_GREETING_OPENING;
    flush(t);
    return 0;
}

int trunk_take(struct trunk *t, struct record_cipher **seal, struct record_cipher **open)
{
    int fd = t->fd;

    assert(t->state == TRUNK_OPENED && !t->flight);
    t->state = TRUNK_TAKEN;
    t->fd = -1;
    event_free(t->readable);
    event_free(t->writable);
    t->readable = t->writable = NULL;
    greeting_take_ciphers(t->greeting, seal, open);
    greeting_end(t->greeting);
    free(t->greeting);
    t->greeting = NULL;
    return fd;
}

void trunk_free(struct trunk *t)
{
    if (!t)
        return;
    count_start(t, NULL);
    if (t->race && t->deadline)
        drop_connection(t);
    if (t->race)
        event_free(t->race);
    if (t->deadline)
        event_free(t->deadline);
    station_release(t->station);
    free(t->greeting);
    free(t);
}

struct station *trunk_station(const struct trunk *t)
{
    return t->station;
}

uint32_t trunk_connect_ms(const struct trunk *t)
{
    return t->connect_ms;
}

bool trunk_is_mptcp(const struct trunk *t)
{
    return t->is_mptcp;
}

struct paths *trunk_paths(const struct trunk *t)
{
    return t->paths;
}

const char *trunk_first_uplink(const struct trunk *t)
{
    return uplink_name(uplinks_get(t->context->uplinks, t->first_uplink));
}

bool trunk_is_barred(const struct trunk *t)
{
    return !t->is_mptcp && trunk_is_welcomed(t) &&
           uplinks_get(t->context->uplinks, t->first_uplink)->barred;
}

int trunk_fd(const struct trunk *t)
{
    return t->fd;
}
