#include "concentrator/session_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mptcp.h"

/* A reset would outrun the last record, and the gateway would not learn why: we wait so long for
 * its end of stream. */
#define LAST_WORD_MS 1000

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
    [END_GATEWAY_SILENT] = {"gateway_silent", false},
    [END_NO_HELLO] = {"no_hello", false},
    [END_CROWDED_OUT] = {"crowded_out", false},
    [END_REFUSED] = {"refused", true},
    [END_WARM_IDLE] = {"warm_idle", true},
    [END_WARM_LIMIT] = {"warm_limit", true},
    [END_PROTOCOL] = {"protocol", false},
    [END_GATEWAY_REMOVED] = {"gateway_removed", false},
    [END_SHUTDOWN] = {"shutdown", false},
    [END_FAILED] = {"failed", false},
};

/* Who is beyond the lobby takes up room, until the end. */
static bool has_room(enum session_state state)
{
    return states[state].place != ACCOUNT_OUTSIDE;
}

bool session_enter(struct session *s, enum session_state next)
{
    struct session_services *services = s->group->services;
    enum session_state from = s->state;
    bool comes = !has_room(from) && has_room(next);

    assert(states[from].next & (1u << next));
    if (comes && !room_take(&services->room))
        return false;
    if (s->peer && !peer_move(s->peer, states[from].place, states[next].place, clock_now_ms())) {
        if (comes)
            room_leave(&services->room);
        return false;
    }
    if (has_room(from) && !has_room(next))
        room_leave(&services->room);
    if (states[from].in_lobby && !states[next].in_lobby) {
        lobby_leave(services->lobby, &s->source);
        list_remove(&s->waiting);
        s->group->n_lobby--;
    }
    log_debug("session", "state id=%llu from=%s to=%s", (unsigned long long)s->id,
              states[from].name, states[next].name);
    s->state = next;
    return true;
}

enum account_place session_place(const struct session *s)
{
    return states[s->state].place;
}

void session_set_deadline(struct session *s, uint32_t ms)
{
    struct timeval tv = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

    event_add(s->deadline, &tv);
}

void session_report(struct session *s)
{
    if (!s->relay)
        return;
    uint64_t in = relay_bytes_in(s->relay), out = relay_bytes_out(s->relay);

    peer_add_bytes(s->peer, in - s->reported_in, out - s->reported_out, clock_now_ms());
    s->reported_in = in;
    s->reported_out = out;
}

void session_describe(const struct session *s, struct document *flows)
{
    uint64_t in = s->relay ? relay_bytes_in(s->relay) : 0;
    uint64_t out = s->relay ? relay_bytes_out(s->relay) : 0;
    double age = (double)(clock_now_ms() - s->accepted_ms) / 1000;
    char text[ADDR_TEXT];

    document_open_object(flows, NULL);
    document_add_text(flows, "gateway", s->peer->config->name);
    document_add_text(flows, "source", addr_format(&s->source, text));
    document_add_text(flows, "destination", addr_format(&s->destination, text));
    document_add_text(flows, "state", states[s->state].name);
    document_add_bool(flows, "sealed", s->mode == OPEN_SEALED);
    document_add_decimal(flows, "age_s", age, 3);
    document_add_number(flows, "rx_bytes", in);
    document_add_number(flows, "tx_bytes", out);
    document_close(flows);
}

const char *session_held_back(uint32_t held, char out[HELD_BACK_TEXT])
{
    out[0] = '\0';
    if (held > 0)
        snprintf(out, HELD_BACK_TEXT, " held_back=%u", held);
    return out;
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
    char to[ADDR_TEXT], more[HELD_BACK_TEXT];
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
             "duration_s=%.1f%s",
             s->peer->config->name, addr_format(&s->destination, to), end_name(s, why),
             (unsigned long long)s->reported_in, (unsigned long long)s->reported_out,
             (double)(clock_now_ms() - s->accepted_ms) / 1000, session_held_back(held, more));
}

static void stop_io(struct session *s, bool orderly)
{
    event_del(s->far_event);
    event_del(s->deadline);
    dial_free(s->dial);
    s->dial = NULL;
    if (s->far_fd == -1)
        return;
    hangup_remove(s->group->hangups, s->far_fd);
    if (orderly)
        close(s->far_fd);
    else
        mptcp_reset(s->far_fd);
    s->far_fd = -1;
}

void session_close(struct session *s, enum session_end why)
{
    enum session_state last = s->state;

    if (last == SESSION_CLOSED)
        return;
    session_report(s);
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

void session_free(struct session *s)
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

/* ---- what goes to the gateway ---- */

int session_send(struct session *s, const uint8_t *bytes, size_t len)
{
    ssize_t n = send(s->far_fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);

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
    return n < 0 ? n : session_send(s, frame, (size_t)n);
}

int session_send_record(struct session *s, enum record_type type, const uint8_t *payload,
                        size_t len)
{
    if (record_rekey_due(s->seal)) {
        int err = seal_and_send(s, RECORD_REKEY, payload, 0);
        if (err < 0)
            return err;
    }
    return seal_and_send(s, type, payload, len);
}

void session_end_of_stream(struct session *s, enum session_state next)
{
    session_enter(s, next);
    shutdown(s->far_fd, SHUT_WR);
    /* Reading may be paused behind a full buffer. */
    hangup_remove(s->group->hangups, s->far_fd);
    if (event_add(s->far_event, NULL) == -1) {
        session_close(s, END_FAILED);
        return;
    }
    session_set_deadline(s, LAST_WORD_MS);
}

void session_count_refusal(struct session *s, atomic_ulong *counter)
{
    atomic_fetch_add(counter, 1);
    if (s->peer)
        account_note_refused(s->peer->account);
}

/* True while there may be more. */
static bool discard(struct session *s)
{
    uint8_t bytes[4096];
    ssize_t n = recv(s->far_fd, bytes, sizeof(bytes), 0);

    return n > 0 || (n == -1 && session_try_again(errno));
}

/* ---- events ---- */

static void on_far_readable(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    switch (s->state) {
    case SESSION_HELLO:
        session_read_hello(s);
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
        session_read_records(s);
        break;
    case SESSION_DIALING:
        session_hold_data(s);
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
        session_set_deadline(s, session_config(s->group)->warm_timeout_ms);
    else
        session_close(s, END_WARM_LIMIT);
}

static void mind_silence(struct session *s)
{
    int fd = relay_far_fd(s->relay);
    uint32_t unanswered_ms = mptcp_unanswered_ms(fd);

    if (unanswered_ms >= SESSION_UNANSWERED_MS) {
        session_close(s, END_GATEWAY_SILENT);
    } else if (unanswered_ms < SESSION_SILENCE_MS / 2 && relay_bytes_in(s->relay) > 0) {
        mptcp_tune(fd);
    } else {
        mptcp_watch_closely(fd);
        session_set_deadline(s, SESSION_SILENCE_MS);
    }
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
    case SESSION_RELAYING:
        mind_silence(s);
        break;
    case SESSION_DIALING: /* the dial has a deadline of its own */
    case SESSION_CLOSED:
    case SESSION_STATES:
        break;
    }
}

struct session *session_new(struct session_group *group, int fd, const struct addr *source)
{
    size_t timers = TIMERS_BESIDE + (group->n_live + 1) * TIMERS_PER_SESSION;
    struct session *s = timers_reserve(&group->timers, timers) ? NULL : calloc(1, sizeof(*s));

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
