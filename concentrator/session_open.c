#include "concentrator/session_internal.h"

#include <string.h>
#include <sys/socket.h>

#include "concentrator/egress.h"
#include "core/clock.h"
#include "core/mptcp.h"

/* ---- OPEN: the destination ---- */

static void answer_failure(struct session *s, enum opened code)
{
    uint8_t payload = (uint8_t)code;
    struct refusals *refusals = &s->group->services->refusals;

    s->opened = code;
    if (code == OPENED_DENIED)
        session_count_refusal(s, &refusals->policy);
    if (code == OPENED_BUSY)
        session_count_refusal(s, &refusals->limit);
    if (session_send_record(s, RECORD_OPENED, &payload, 1) < 0)
        session_close(s, END_GATEWAY_CLOSED);
    else
        session_end_of_stream(s, SESSION_ENDING);
}

static enum egress_verdict judge_destination(struct session *s, const struct addr *to)
{
    struct session_group *group = s->group;
    const struct concentrator_config *config = session_config(group);
    const struct peer_config *peer = s->peer->config;
    const struct egress_policy policy = {
        .allow_gateway = {peer->allow_destinations, peer->n_allow_destinations},
        .allow_all = {config->allow_destinations, config->n_allow_destinations},
        .deny_gateway = {peer->deny_destinations, peer->n_deny_destinations},
        .deny_all = {config->deny_destinations, config->n_deny_destinations},
        .ports = {peer->ports, peer->n_ports},
        .own = group->own.list,
        .n_own = group->own.n,
    };

    return egress_check(&policy, to);
}

static bool may_reach(struct session *s, const struct addr *to)
{
    char text[ADDR_TEXT], more[HELD_BACK_TEXT];
    uint32_t held;
    enum egress_verdict verdict = judge_destination(s, to);

    if (verdict == EGRESS_ALLOWED)
        return true;
    if (log_limit_pass(&s->group->denial_log, clock_now_ms(), &held))
        log_warning("egress", "denied gateway=%s destination=%s%s: %s", s->peer->config->name,
                    addr_format(to, text), session_held_back(held, more), egress_why(verdict));
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
    hangup_remove(s->group->hangups, s->far_fd);
    s->relay = relay_new(s->group->relays, &setup);
    if (!s->relay) {
        mptcp_reset(fd);
        session_close(s, END_FAILED);
        return;
    }
    s->far_fd = -1;
    if (!sealed) { /* the last record has been sealed and opened */
        record_cipher_free(s->seal);
        record_cipher_free(s->open);
    }
    s->seal = s->open = NULL;
    struct buffer *first = s->held;
    s->held = NULL;
    session_enter(s, SESSION_RELAYING);
    session_set_deadline(s, SESSION_SILENCE_MS);
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
    if (session_send_record(s, RECORD_OPENED, &code, 1) < 0) {
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
    s->dial = dial_new(group->base, &s->destination, session_config(group)->dial_timeout_ms,
                       on_dialed, s);
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
    else if (session_send_record(s, RECORD_PONG, record->payload, 8) < 0)
        session_close(s, END_GATEWAY_CLOSED);
    else if (s->state == SESSION_WARM && !s->group->retired)
        session_set_deadline(s, session_config(s->group)->warm_timeout_ms);
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

/* Takes whole records off the buffer until OPEN has come: what lies behind it waits there for the
 * destination. */
static void take_records(struct session *s)
{
    struct buffer *held = s->held;
    struct record record;

    while (session_awaits_open(s) && buffer_length(held) > 0) {
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

void session_read_records(struct session *s)
{
    ssize_t n = read_held(s);

    if (n > 0)
        take_records(s);
    else if (n == 0)
        session_close(s, END_GATEWAY_CLOSED);
    else if (errno == ENOBUFS)
        session_close(s, END_FAILED);
    else if (!session_try_again(errno))
        session_close(s, END_GATEWAY_RESET);
}

static void on_far_hangup(struct hangup *hangup)
{
    session_close(list_entry(hangup, struct session, hangup), END_GATEWAY_RESET);
}

/* Until the destination answers. A reset of the gateway is seen none the less. */
static void pause_reading(struct session *s)
{
    event_del(s->far_event);
    s->hangup.on_hangup = on_far_hangup;
    if (hangup_add(s->group->hangups, s->far_fd, &s->hangup) < 0)
        session_close(s, END_FAILED);
}

/* The stream may have ended because the gateway has given up, or because its client has said all it
 * has to say. With something held, or in plain mode (where the end needs no FIN record), it may be
 * the latter, and the relay will find out. */
static void on_end_while_dialing(struct session *s)
{
    if (s->held || s->mode == OPEN_PLAIN)
        pause_reading(s);
    else
        session_close(s, END_GATEWAY_CLOSED);
}

void session_hold_data(struct session *s)
{
    if (s->held && s->held->end == BUFFER_SIZE) {
        pause_reading(s);
        return;
    }
    ssize_t n = read_held(s);
    if (n == 0)
        on_end_while_dialing(s);
    else if (n == -1 && errno == ENOBUFS)
        session_close(s, END_FAILED);
    else if (n == -1 && !session_try_again(errno))
        session_close(s, END_GATEWAY_RESET);
}
