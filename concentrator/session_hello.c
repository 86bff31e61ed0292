#include "concentrator/session_internal.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "core/clock.h"

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
    char from[ADDR_TEXT], more[HELD_BACK_TEXT];

    session_count_refusal(s, verdict == ADMISSION_REPLAY ? &refusals->replay : &refusals->hello);
    if (log_limit_pass(&s->group->refusal_log, clock_now_ms(), &held))
        log_info("session", "no good hello source=%s cause=%s%s", addr_format(&s->source, from),
                 verdict == ADMISSION_REPLAY ? "replay" : "unknown_or_broken",
                 session_held_back(held, more));
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

    return n < 0 ? n : session_send(s, out, (size_t)n);
}

static void reply_and_end(struct session *s, enum reply_type type, uint8_t code)
{
    struct reply_keys keys;
    char more[HELD_BACK_TEXT];
    uint32_t held;
    int err = send_reply(s, type, code, &keys);

    crypto_wipe(&keys, sizeof(keys));
    drop_greeting(s);
    if (type == REPLY_REFUSED && log_limit_pass(&s->group->refusal_log, clock_now_ms(), &held))
        log_warning("session", "refused gateway=%s reason=%s%s", s->peer->config->name,
                    refusal_name(code), session_held_back(held, more));
    if (err < 0)
        session_close(s, END_REFUSED);
    else
        session_end_of_stream(s, SESSION_REFUSING);
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
        session_count_refusal(s, &refusals->limit);
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
        session_set_deadline(s, session_config(s->group)->hello_timeout_ms);
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
        session_count_refusal(s, &services->refusals.policy);
        reply_and_end(s, REPLY_REFUSED, s->greeting->refusal);
        break;
    case ADMISSION_BAD:
    case ADMISSION_REPLAY:
        fall_silent(s, verdict);
        break;
    case ADMISSION_FAILED:
        session_close(s, END_FAILED);
        break;
    }
}

/* Reads exactly the HELLO: what follows stays in the kernel until it is welcome. */
void session_read_hello(struct session *s)
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
    } else if (!session_try_again(errno)) {
        session_close(s, END_GATEWAY_RESET);
    }
}
