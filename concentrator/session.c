#include "concentrator/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "concentrator/dial.h"
#include "concentrator/egress.h"
#include "concentrator/own_addresses.h"
#include "core/clock.h"
#include "core/list.h"
#include "core/log.h"
#include "core/mptcp.h"
#include "core/relay.h"

/* A reset would outrun the last record, and the gateway would not learn why: we wait so long for
 * its end of stream. */
#define LAST_WORD_MS 1000

enum session_state {
    SESSION_HELLO,      /* owns a greeting, a deadline, a place in the lobby, and no more */
    SESSION_DISCARDING, /* no good HELLO: silent until the deadline, then a reset */
    SESSION_REFUSING,   /* CHALLENGE or REFUSED is on the way */
    SESSION_GREETED,    /* WELCOME sent; OPEN should come soon */
    SESSION_WARM,       /* made in advance: OPEN comes later, or never */
    SESSION_DIALING,
    SESSION_ENDING, /* OPENED with a failure is on the way */
    SESSION_RELAYING,
    SESSION_CLOSED,
    SESSION_STATES
};

enum session_end {
    END_RELAY, /* the relay says why */
    END_NOT_CONNECTED,
    END_GATEWAY_CLOSED,
    END_GATEWAY_RESET,
    END_NO_HELLO,
    END_REFUSED,
    END_WARM_IDLE,
    END_WARM_LIMIT,
    END_PROTOCOL,
    END_GATEWAY_REMOVED,
    END_SHUTDOWN,
    END_FAILED
};

struct session {
    struct list node; /* in group->live or group->dead */
    struct session_group *group;
    enum session_state state;
    uint64_t id, accepted_ms;
    struct addr source, destination;
    int far_fd; /* the gateway's connection; -1 once the relay has it */
    struct event *far_event, *deadline;
    struct greeting *greeting; /* until the verdict */
    const struct peer *peer;   /* in group->peers, once known */
    struct record_cipher *seal, *open;
    enum open_mode mode;
    struct buffer *held; /* records not yet complete, or data behind OPEN */
    struct dial *dial;
    enum opened opened;
    struct relay *relay;
    enum relay_end relay_end;
    uint64_t reported_in, reported_out; /* bytes the account knows of */
};

struct session_group {
    struct event_base *base;
    struct session_services *services;
    struct peers *peers;
    struct relay_group *relays;
    struct own_addresses own;
    struct list live, dead;
    size_t n_live;
    struct event *reaper;
    bool draining;
    session_group_drained *drained; /* until it has been called */
    void *arg;
    uint64_t next_id;
    struct log_limit refusal_log, denial_log, failure_log;
};

/* What each state means for the rest: its name, how its gateway's account counts it, whether it
 * holds a place in the lobby, and where it may lead. */
#define TO(state) (1u << SESSION_##state)
static const struct {
    const char *name;
    enum account_place place;
    bool in_lobby;
    unsigned next;
} states[SESSION_STATES] = {
    [SESSION_HELLO] = {"hello", ACCOUNT_OUTSIDE, true,
                       TO(DISCARDING) | TO(REFUSING) | TO(GREETED) | TO(CLOSED)},
    [SESSION_DISCARDING] = {"discarding", ACCOUNT_OUTSIDE, true, TO(CLOSED)},
    [SESSION_REFUSING] = {"refusing", ACCOUNT_OUTSIDE, true, TO(CLOSED)},
    [SESSION_GREETED] = {"greeted", ACCOUNT_GREETED, false,
                         TO(WARM) | TO(DIALING) | TO(ENDING) | TO(CLOSED)},
    [SESSION_WARM] = {"warm", ACCOUNT_WARM, false, TO(DIALING) | TO(ENDING) | TO(CLOSED)},
    [SESSION_DIALING] = {"dialing", ACCOUNT_DIALING, false, TO(ENDING) | TO(RELAYING) | TO(CLOSED)},
    [SESSION_ENDING] = {"ending", ACCOUNT_ENDING, false, TO(CLOSED)},
    [SESSION_RELAYING] = {"relaying", ACCOUNT_RELAYING, false, TO(CLOSED)},
    [SESSION_CLOSED] = {"closed", ACCOUNT_OUTSIDE, false, 0},
};

/* How each end looks to the gateway: a reset, unless the stream may end in order. */
static const struct {
    const char *name;
    bool orderly;
} ends[] = {
    [END_RELAY] = {"", false},
    [END_NOT_CONNECTED] = {"not_connected", true},
    [END_GATEWAY_CLOSED] = {"gateway_closed", true},
    [END_GATEWAY_RESET] = {"gateway_reset", false},
    [END_NO_HELLO] = {"no_hello", false},
    [END_REFUSED] = {"refused", true},
    [END_WARM_IDLE] = {"warm_idle", true},
    [END_WARM_LIMIT] = {"warm_limit", true},
    [END_PROTOCOL] = {"protocol", false},
    [END_GATEWAY_REMOVED] = {"gateway_removed", false},
    [END_SHUTDOWN] = {"shutdown", false},
    [END_FAILED] = {"failed", false},
};

static const struct concentrator_config *config_of(const struct session_group *group)
{
    return peers_config(group->peers);
}

/* False, and nothing has changed, when one of the gateway's limits forbids it. */
static bool session_enter(struct session *s, enum session_state next)
{
    enum session_state from = s->state;

    assert(states[from].next & (1u << next));
    if (s->peer && !account_move(s->peer->account, states[from].place, states[next].place,
                                 &s->peer->limits, clock_now_ms()))
        return false;
    if (states[from].in_lobby && !states[next].in_lobby)
        lobby_leave(s->group->services->lobby, &s->source);
    log_debug("session", "state id=%llu from=%s to=%s", (unsigned long long)s->id,
              states[from].name, states[next].name);
    s->state = next;
    return true;
}

static void set_deadline(struct session *s, uint32_t ms)
{
    struct timeval tv = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

    event_add(s->deadline, &tv);
}

static void report_bytes(struct session *s)
{
    if (!s->relay)
        return;
    uint64_t in = relay_bytes_in(s->relay), out = relay_bytes_out(s->relay);

    account_add_bytes(s->peer->account, in - s->reported_in, out - s->reported_out, clock_now_ms());
    s->reported_in = in;
    s->reported_out = out;
}

/* ---- the end of a session ---- */

static const char *end_name(const struct session *s, enum session_end why)
{
    if (why == END_RELAY)
        return relay_end_name(s->relay_end);
    return why == END_NOT_CONNECTED ? opened_name(s->opened) : ends[why].name;
}

/* One line for each session that was asked for a destination. The failed ones are limited: a
 * gateway makes as many as it likes. */
static void log_end(struct session *s, enum session_state last, enum session_end why)
{
    char to[ADDR_TEXT];
    uint32_t held = 0;

    if (s->destination.family == 0) {
        log_debug("session", "ended id=%llu reason=%s", (unsigned long long)s->id,
                  end_name(s, why));
        return;
    }
    if (last != SESSION_RELAYING && !log_limit_pass(&s->group->failure_log, clock_now_ms(), &held))
        return;
    log_info("session",
             "ended gateway=%s destination=%s reason=%s rx_bytes=%llu tx_bytes=%llu "
             "duration_s=%.1f held_back=%u",
             s->peer->config->name, addr_format(&s->destination, to), end_name(s, why),
             (unsigned long long)s->reported_in, (unsigned long long)s->reported_out,
             (double)(clock_now_ms() - s->accepted_ms) / 1000, held);
}

static void stop_io(struct session *s, bool orderly)
{
    event_del(s->far_event);
    event_del(s->deadline);
    dial_free(s->dial);
    s->dial = NULL;
    if (s->far_fd == -1)
        return;
    if (orderly)
        close(s->far_fd);
    else
        mptcp_reset(s->far_fd);
    s->far_fd = -1;
}

/* The one door. After calling anything that may come here, return. */
static void session_close(struct session *s, enum session_end why)
{
    enum session_state last = s->state;

    if (last == SESSION_CLOSED)
        return;
    report_bytes(s);
    log_end(s, last, why);
    session_enter(s, SESSION_CLOSED);
    stop_io(s, ends[why].orderly);
    if (s->relay && why != END_RELAY)
        relay_abort(s->relay);
    list_remove(&s->node);
    list_append(&s->group->dead, &s->node);
    s->group->n_live--;
    event_active(s->group->reaper, 0, 0);
}

static void session_free(struct session *s)
{
    struct buffer_pool *pool = relay_group_pool(s->group->relays);

    relay_free(s->relay);
    buffer_put(pool, s->held);
    record_cipher_free(s->seal);
    record_cipher_free(s->open);
    if (s->greeting)
        greeting_wipe(s->greeting);
    free(s->greeting);
    if (s->far_event)
        event_free(s->far_event);
    if (s->deadline)
        event_free(s->deadline);
    free(s);
}

static bool has_flows(const struct session_group *group)
{
    list_each(it, &group->live)
    {
        enum account_place place = states[list_entry(it, struct session, node)->state].place;
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
    if (group->draining && group->drained && !has_flows(group)) {
        group->drained(group->arg);
        group->drained = NULL;
    }
}

/* ---- what goes to the gateway ---- */

/* All at once or not at all: what we send before the relay runs is far smaller than any empty send
 * buffer, so a gateway for which it does not fit is not reading. */
static int send_whole(int fd, const uint8_t *bytes, size_t len)
{
    ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n == -1)
        return -errno;
    return (size_t)n == len ? 0 : -ENOBUFS;
}

static int seal_and_send(struct session *s, enum record_type type, const uint8_t *payload,
                         size_t len)
{
    uint8_t frame[RECORD_OVERHEAD + 8];

    memcpy(frame + RECORD_HEAD, payload, len);
    int n = record_seal(s->seal, type, frame, len);
    return n < 0 ? n : send_whole(s->far_fd, frame, (size_t)n);
}

static int send_record(struct session *s, enum record_type type, const uint8_t *payload, size_t len)
{
    if (record_rekey_due(s->seal)) {
        int err = seal_and_send(s, RECORD_REKEY, payload, 0);
        if (err < 0)
            return err;
    }
    return seal_and_send(s, type, payload, len);
}

/* The last word has been sent: wait for the gateway's end of stream. */
static void end_of_stream(struct session *s, enum session_state next)
{
    session_enter(s, next);
    shutdown(s->far_fd, SHUT_WR);
    /* Reading may be paused behind a full buffer. */
    event_add(s->far_event, NULL);
    set_deadline(s, LAST_WORD_MS);
}

static void count_refusal(struct session *s, atomic_ulong *counter)
{
    atomic_fetch_add(counter, 1);
    if (s->peer)
        account_note_refused(s->peer->account);
}

/* ---- OPEN: the destination ---- */

static void answer_failure(struct session *s, enum opened code)
{
    uint8_t payload = (uint8_t)code;
    struct refusals *refusals = &s->group->services->refusals;

    s->opened = code;
    if (code == OPENED_DENIED)
        count_refusal(s, &refusals->policy);
    if (code == OPENED_BUSY)
        count_refusal(s, &refusals->limit);
    if (send_record(s, RECORD_OPENED, &payload, 1) < 0)
        session_close(s, END_GATEWAY_CLOSED);
    else
        end_of_stream(s, SESSION_ENDING);
}

static enum egress_verdict judge_destination(struct session *s, const struct addr *to)
{
    struct session_group *group = s->group;
    const struct concentrator_config *config = config_of(group);
    const struct egress_policy policy = {
        .allow_gateway = {s->peer->config->allow_destinations,
                          s->peer->config->n_allow_destinations},
        .allow_all = {config->allow_destinations, config->n_allow_destinations},
        .deny = {config->deny_destinations, config->n_deny_destinations},
        .own = group->own.list,
        .n_own = group->own.n,
    };

    return egress_check(&policy, to);
}

static bool may_reach(struct session *s, const struct addr *to)
{
    char text[ADDR_TEXT];
    uint32_t held;
    enum egress_verdict verdict = judge_destination(s, to);

    if (verdict == EGRESS_ALLOWED)
        return true;
    if (log_limit_pass(&s->group->denial_log, clock_now_ms(), &held))
        log_warning("egress", "denied gateway=%s destination=%s held_back=%u: %s",
                    s->peer->config->name, addr_format(to, text), held, egress_why(verdict));
    return false;
}

static void on_relay_ended(void *arg, enum relay_end why)
{
    struct session *s = arg;

    s->relay_end = why;
    session_close(s, END_RELAY);
}

/* fd is the destination's, taken in any case. */
static void start_relay(struct session *s, int fd)
{
    bool sealed = s->mode == OPEN_SEALED;
    struct relay_setup setup = {
        .near_fd = fd,
        .far_fd = s->far_fd,
        .seal = sealed ? s->seal : NULL,
        .open = sealed ? s->open : NULL,
        .ended = on_relay_ended,
        .arg = s,
    };

    event_del(s->far_event);
    event_del(s->deadline);
    s->relay = relay_new(s->group->relays, &setup);
    if (!s->relay) {
        mptcp_reset(fd);
        session_close(s, END_FAILED);
        return;
    }
    s->far_fd = -1;
    if (sealed)
        s->seal = s->open = NULL;
    struct buffer *first = s->held;
    s->held = NULL;
    session_enter(s, SESSION_RELAYING);
    relay_start_outward(s->relay);
    relay_start_inward(s->relay, first);
}

static void connected(struct session *s, int fd)
{
    uint8_t code = OPENED_CONNECTED;
    struct addr reached;

    /* Whatever led us there: the address that counts is the one we are connected to. */
    if (addr_of_peer(&reached, fd) < 0 || !may_reach(s, &reached)) {
        mptcp_reset(fd);
        answer_failure(s, OPENED_DENIED);
        return;
    }
    mptcp_tune(fd);
    if (send_record(s, RECORD_OPENED, &code, 1) < 0) {
        mptcp_reset(fd);
        session_close(s, END_GATEWAY_CLOSED);
        return;
    }
    start_relay(s, fd);
}

static void on_dialed(void *arg, enum opened code, int fd)
{
    struct session *s = arg;

    dial_free(s->dial);
    s->dial = NULL;
    if (code == OPENED_CONNECTED)
        connected(s, fd);
    else
        answer_failure(s, code);
}

static void on_open(struct session *s, const struct record *record)
{
    struct session_group *group = s->group;

    if (open_read(record->payload, record->len, &s->mode, &s->destination) != HELLO_OK) {
        session_close(s, END_PROTOCOL);
        return;
    }
    if (own_addresses_renew(&group->own, clock_now_ms()) < 0 && !group->own.list) {
        answer_failure(s, OPENED_FAILED);
        return;
    }
    if (!may_reach(s, &s->destination)) {
        answer_failure(s, OPENED_DENIED);
        return;
    }
    if (!session_enter(s, SESSION_DIALING)) {
        answer_failure(s, OPENED_BUSY);
        return;
    }
    event_del(s->deadline);
    s->dial =
        dial_new(group->base, &s->destination, config_of(group)->dial_timeout_ms, on_dialed, s);
    if (!s->dial)
        answer_failure(s, OPENED_FAILED);
}

/* ---- records before the relay ---- */

static void put_held(struct session *s)
{
    buffer_put(relay_group_pool(s->group->relays), s->held);
    s->held = NULL;
}

static void on_ping(struct session *s, const struct record *record)
{
    if (record->len != 8)
        session_close(s, END_PROTOCOL);
    else if (send_record(s, RECORD_PONG, record->payload, 8) < 0)
        session_close(s, END_GATEWAY_CLOSED);
    else if (s->state == SESSION_WARM)
        set_deadline(s, config_of(s->group)->warm_timeout_ms);
}

/* Before OPEN only PING, PONG and REKEY (which the opener has obeyed already) may come. */
static void on_record(struct session *s, const struct record *record)
{
    switch (record->type) {
    case RECORD_PING:
        on_ping(s, record);
        break;
    case RECORD_PONG:
    case RECORD_REKEY:
        break;
    case RECORD_OPEN:
        on_open(s, record);
        break;
    default:
        session_close(s, END_PROTOCOL);
    }
}

static bool awaits_open(const struct session *s)
{
    return s->state == SESSION_GREETED || s->state == SESSION_WARM;
}

/* Takes whole records off the buffer until OPEN has come: what lies behind it waits there for the
 * destination. */
static void take_records(struct session *s)
{
    struct buffer *held = s->held;
    struct record record;

    while (awaits_open(s) && buffer_length(held) > 0) {
        switch (record_open(s->open, held->data + held->start, buffer_length(held), &record)) {
        case RECORD_SHORT:
            memmove(held->data, held->data + held->start, buffer_length(held));
            held->end -= held->start;
            held->start = 0;
            return;
        case RECORD_BAD:
            session_close(s, END_PROTOCOL);
            return;
        case RECORD_OK:
            held->start += record.consumed;
            on_record(s, &record);
        }
    }
    if (buffer_length(held) == 0)
        put_held(s);
}

/* Reads once into the held buffer. Returns what recv() returned, -1 and ENOBUFS without memory. */
static ssize_t read_held(struct session *s)
{
    if (!s->held)
        s->held = buffer_get(relay_group_pool(s->group->relays));
    if (!s->held) {
        errno = ENOBUFS;
        return -1;
    }
    ssize_t n = recv(s->far_fd, s->held->data + s->held->end, BUFFER_SIZE - s->held->end, 0);
    if (n > 0)
        s->held->end += (size_t)n;
    else if (buffer_length(s->held) == 0)
        put_held(s);
    return n;
}

static bool try_again(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static void read_records(struct session *s)
{
    ssize_t n = read_held(s);

    if (n > 0)
        take_records(s);
    else if (n == 0)
        session_close(s, END_GATEWAY_CLOSED);
    else if (errno == ENOBUFS)
        session_close(s, END_FAILED);
    else if (!try_again(errno))
        session_close(s, END_GATEWAY_RESET);
}

/* The stream may have ended because the gateway has given up, or because its client has said all it
 * has to say. With something held, or in plain mode (where the end needs no FIN record), it may be
 * the latter, and the relay will find out. */
static void on_end_while_dialing(struct session *s)
{
    if (s->held || s->mode == OPEN_PLAIN)
        event_del(s->far_event);
    else
        session_close(s, END_GATEWAY_CLOSED);
}

static void hold_data(struct session *s)
{
    if (s->held && s->held->end == BUFFER_SIZE) {
        event_del(s->far_event);
        return;
    }
    ssize_t n = read_held(s);
    if (n == 0)
        on_end_while_dialing(s);
    else if (n == -1 && errno == ENOBUFS)
        session_close(s, END_FAILED);
    else if (n == -1 && !try_again(errno))
        session_close(s, END_GATEWAY_RESET);
}

/* ---- HELLO ---- */

static void drop_greeting(struct session *s)
{
    greeting_wipe(s->greeting);
    free(s->greeting);
    s->greeting = NULL;
}

/* Nothing tells a stranger why, nor when: silence until the same deadline as for all. */
static void fall_silent(struct session *s, enum admission_verdict verdict)
{
    struct refusals *refusals = &s->group->services->refusals;
    uint32_t held;
    char from[ADDR_TEXT];

    count_refusal(s, verdict == ADMISSION_REPLAY ? &refusals->replay : &refusals->hello);
    if (log_limit_pass(&s->group->refusal_log, clock_now_ms(), &held))
        log_info("session", "no good hello source=%s cause=%s held_back=%u",
                 addr_format(&s->source, from),
                 verdict == ADMISSION_REPLAY ? "replay" : "unknown_or_broken", held);
    s->peer = NULL;
    drop_greeting(s);
    session_enter(s, SESSION_DISCARDING);
}

/* Returns 0, or -errno. keys are what WELCOME's records need. */
static int send_reply(struct session *s, enum reply_type type, uint8_t code,
                      struct reply_keys *keys)
{
    struct session_services *services = s->group->services;
    struct addr here = {0};
    uint8_t out[REPLY_MAX];

    if (services->answers_probes && addr_of_socket(&here, s->far_fd) < 0)
        here.port = 0;
    int n = admission_reply(services->admission, s->greeting, type, code, here.port,
                            clock_boot_ms(), keys, out);

    return n < 0 ? n : send_whole(s->far_fd, out, (size_t)n);
}

static void reply_and_end(struct session *s, enum reply_type type, uint8_t code)
{
    struct reply_keys keys;
    uint32_t held;
    int err = send_reply(s, type, code, &keys);

    crypto_wipe(&keys, sizeof(keys));
    drop_greeting(s);
    if (type == REPLY_REFUSED && log_limit_pass(&s->group->refusal_log, clock_now_ms(), &held))
        log_warning("session", "refused gateway=%s reason=%s held_back=%u", s->peer->config->name,
                    refusal_name(code), held);
    if (err < 0)
        session_close(s, END_REFUSED);
    else
        end_of_stream(s, SESSION_REFUSING);
}

static int make_ciphers(struct session *s, const struct reply_keys *keys)
{
    s->open = record_opener_new(s->greeting->hello.suite, s->greeting->keys.c2s);
    s->seal = record_sealer_new(s->greeting->hello.suite, keys->s2c);
    return s->open && s->seal ? 0 : -ENOMEM;
}

static void welcome(struct session *s)
{
    struct refusals *refusals = &s->group->services->refusals;
    struct reply_keys keys;

    if (s->group->draining) {
        reply_and_end(s, REPLY_REFUSED, REFUSED_SHUTDOWN);
        return;
    }
    if (!session_enter(s, SESSION_GREETED)) {
        count_refusal(s, &refusals->limit);
        reply_and_end(s, REPLY_REFUSED, REFUSED_LIMIT);
        return;
    }
    lobby_vouch(s->group->services->lobby, &s->source, clock_now_ms());
    int err = send_reply(s, REPLY_WELCOME, 0, &keys);
    if (err == 0)
        err = make_ciphers(s, &keys);
    crypto_wipe(&keys, sizeof(keys));
    drop_greeting(s);
    if (err < 0)
        session_close(s, END_FAILED);
    else
        set_deadline(s, config_of(s->group)->hello_timeout_ms);
}

static void judge(struct session *s)
{
    struct session_services *services = s->group->services;
    enum admission_verdict verdict =
        admission_judge(services->admission, s->group->peers, s->greeting, clock_boot_ms());

    s->peer = s->greeting->peer;
    switch (verdict) {
    case ADMISSION_MORE:
        s->peer = NULL;
        break;
    case ADMISSION_WELCOME:
        welcome(s);
        break;
    case ADMISSION_CHALLENGE:
        reply_and_end(s, REPLY_CHALLENGE, 0);
        break;
    case ADMISSION_REFUSED:
        count_refusal(s, &services->refusals.policy);
        reply_and_end(s, REPLY_REFUSED, s->greeting->refusal);
        break;
    case ADMISSION_BAD:
    case ADMISSION_REPLAY:
        fall_silent(s, verdict);
        break;
    }
}

/* Reads exactly the HELLO: what follows stays in the kernel until it is welcome. */
static void read_hello(struct session *s)
{
    struct greeting *g = s->greeting;
    ssize_t n = recv(s->far_fd, g->flight + g->have, g->want - g->have, 0);

    if (n > 0) {
        g->have += (size_t)n;
        if (g->have == g->want)
            judge(s);
    } else if (n == 0 && g->have == 0) {
        /* A health check, or a dial that lost its race: it need not hold a place. */
        session_close(s, END_GATEWAY_CLOSED);
    } else if (n == 0) {
        event_del(s->far_event);
        fall_silent(s, ADMISSION_BAD);
    } else if (!try_again(errno)) {
        session_close(s, END_GATEWAY_RESET);
    }
}

/* True while there may be more. */
static bool discard(struct session *s)
{
    uint8_t bytes[4096];
    ssize_t n = recv(s->far_fd, bytes, sizeof(bytes), 0);

    return n > 0 || (n == -1 && try_again(errno));
}

/* ---- events ---- */

static void on_far_readable(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    switch (s->state) {
    case SESSION_HELLO:
        read_hello(s);
        break;
    case SESSION_DISCARDING:
        if (!discard(s))
            event_del(s->far_event);
        break;
    case SESSION_REFUSING:
    case SESSION_ENDING:
        if (!discard(s))
            session_close(s, s->state == SESSION_ENDING ? END_NOT_CONNECTED : END_REFUSED);
        break;
    case SESSION_GREETED:
    case SESSION_WARM:
        read_records(s);
        break;
    case SESSION_DIALING:
        hold_data(s);
        break;
    case SESSION_RELAYING:
    case SESSION_CLOSED:
    case SESSION_STATES:
        break;
    }
}

/* OPEN did not follow at once: a connection that was made in advance. */
static void grow_warm(struct session *s)
{
    if (session_enter(s, SESSION_WARM))
        set_deadline(s, config_of(s->group)->warm_timeout_ms);
    else
        session_close(s, END_WARM_LIMIT);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    switch (s->state) {
    case SESSION_HELLO:
        atomic_fetch_add(&s->group->services->refusals.hello, 1);
        session_close(s, END_NO_HELLO);
        break;
    case SESSION_DISCARDING:
        session_close(s, END_NO_HELLO);
        break;
    case SESSION_REFUSING:
        session_close(s, END_REFUSED);
        break;
    case SESSION_GREETED:
        grow_warm(s);
        break;
    case SESSION_WARM:
        session_close(s, END_WARM_IDLE);
        break;
    case SESSION_ENDING:
        session_close(s, END_NOT_CONNECTED);
        break;
    case SESSION_DIALING: /* the dial has a deadline of its own */
    case SESSION_RELAYING:
    case SESSION_CLOSED:
    case SESSION_STATES:
        break;
    }
}

/* ---- the group ---- */

int session_group_new(struct session_group **out, struct event_base *base, struct peers *peers,
                      struct session_services *services, session_group_drained *drained, void *arg)
{
    const struct concentrator_config *config = peers_config(peers);
    const struct relay_limits limits = {config->idle_timeout_ms, config->half_closed_timeout_ms};
    struct session_group *group = calloc(1, sizeof(*group));

    if (!group)
        return -ENOMEM;
    group->base = base;
    group->services = services;
    group->peers = peers_ref(peers);
    group->drained = drained;
    group->arg = arg;
    group->refusal_log = group->denial_log = group->failure_log =
        (struct log_limit){.burst = 10, .interval_ms = 10000};
    list_init(&group->live);
    list_init(&group->dead);
    group->reaper = event_new(base, -1, 0, on_reap, group);
    group->relays = relay_group_new(base, &limits);
    if (!group->reaper || !group->relays) {
        session_group_free(group);
        return -ENOMEM;
    }
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
    group->draining = false;
    if (group->reaper && group->relays) {
        close_all(group, END_SHUTDOWN);
        on_reap(-1, 0, group);
    }
    if (group->reaper)
        event_free(group->reaper);
    if (group->relays)
        relay_group_free(group->relays);
    own_addresses_clear(&group->own);
    peers_unref(group->peers);
    free(group);
}

static bool has_room(struct session_group *group, const struct addr *source)
{
    const struct concentrator_config *config = config_of(group);
    const struct lobby_limits limits = {config->max_unauthenticated,
                                        config->max_unauthenticated_per_source};
    uint32_t dice = 0, held;
    char from[ADDR_TEXT];

    if (crypto_random(&dice, sizeof(dice)) == 0 &&
        lobby_enter(group->services->lobby, source, &limits, dice, clock_now_ms()))
        return true;
    atomic_fetch_add(&group->services->refusals.limit, 1);
    if (log_limit_pass(&group->refusal_log, clock_now_ms(), &held))
        log_warning("session", "too many connections without hello, dropped source=%s held_back=%u",
                    addr_format_ip(source, from), held);
    return false;
}

static struct session *session_new(struct session_group *group, int fd, const struct addr *source)
{
    struct session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->group = group;
    s->id = ++group->next_id;
    s->accepted_ms = clock_now_ms();
    s->source = *source;
    s->far_fd = fd;
    s->greeting = malloc(sizeof(*s->greeting));
    s->far_event = event_new(group->base, fd, EV_READ | EV_PERSIST, on_far_readable, s);
    s->deadline = evtimer_new(group->base, on_deadline, s);
    if (!s->greeting || !s->far_event || !s->deadline || event_add(s->far_event, NULL) == -1) {
        if (s->greeting)
            greeting_begin(s->greeting);
        session_free(s);
        return NULL;
    }
    greeting_begin(s->greeting);
    return s;
}

void session_group_accept(struct session_group *group, int fd, const struct addr *source)
{
    if (!has_room(group, source)) {
        mptcp_reset(fd);
        return;
    }
    struct session *s = session_new(group, fd, source);
    if (!s) {
        lobby_leave(group->services->lobby, source);
        mptcp_reset(fd);
        return;
    }
    mptcp_tune(fd);
    set_deadline(s, config_of(group)->hello_timeout_ms);
    list_append(&group->live, &s->node);
    group->n_live++;
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
    struct peers *before = group->peers;

    list_each(it, &group->live)
    {
        struct session *s = list_entry(it, struct session, node);
        if (!move_peer(s, peers))
            session_close(s, END_GATEWAY_REMOVED);
    }
    /* Until the reaper comes, the closed ones still point to `before`: but nothing looks there. */
    group->peers = peers_ref(peers);
    peers_unref(before);
}

void session_group_drain(struct session_group *group)
{
    group->draining = true;
    list_each(it, &group->live)
    {
        struct session *s = list_entry(it, struct session, node);
        if (awaits_open(s))
            session_close(s, END_SHUTDOWN);
    }
    event_active(group->reaper, 0, 0);
}

void session_group_report(struct session_group *group)
{
    list_each(it, &group->live) report_bytes(list_entry(it, struct session, node));
}

size_t session_group_count(const struct session_group *group)
{
    return group->n_live;
}

static struct json_object *describe(const struct session *s)
{
    struct json_object *flow = json_object_new_object();
    uint64_t in = s->relay ? relay_bytes_in(s->relay) : 0;
    uint64_t out = s->relay ? relay_bytes_out(s->relay) : 0;
    double age = (double)(clock_now_ms() - s->accepted_ms) / 1000;
    char to[ADDR_TEXT], from[ADDR_TEXT];

    if (!flow)
        return NULL;
    json_object_object_add(flow, "gateway", json_object_new_string(s->peer->config->name));
    json_object_object_add(flow, "source", json_object_new_string(addr_format(&s->source, from)));
    json_object_object_add(flow, "destination",
                           json_object_new_string(addr_format(&s->destination, to)));
    json_object_object_add(flow, "state", json_object_new_string(states[s->state].name));
    json_object_object_add(flow, "sealed", json_object_new_boolean(s->mode == OPEN_SEALED));
    json_object_object_add(flow, "age_s", json_object_new_double(age));
    json_object_object_add(flow, "rx_bytes", json_object_new_int64((int64_t)in));
    json_object_object_add(flow, "tx_bytes", json_object_new_int64((int64_t)out));
    return flow;
}

struct json_object *session_group_flows(const struct session_group *group)
{
    struct json_object *flows = json_object_new_array();

    if (!flows)
        return NULL;
    list_each(it, &group->live)
    {
        const struct session *s = list_entry(it, struct session, node);
        if (s->state == SESSION_DIALING || s->state == SESSION_RELAYING)
            json_object_array_add(flows, describe(s));
    }
    return flows;
}
