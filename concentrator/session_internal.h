/* What the files of the session module share; nobody else includes this. */
#ifndef CONCENTRATOR_SESSION_INTERNAL_H
#define CONCENTRATOR_SESSION_INTERNAL_H

#include <errno.h>
#include <stdbool.h>

#include "concentrator/dial.h"
#include "concentrator/own_addresses.h"
#include "concentrator/session.h"
#include "core/hangup.h"
#include "core/list.h"
#include "core/log.h"
#include "core/relay.h"
#include "core/timers.h"

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
    END_GATEWAY_SILENT,
    END_NO_HELLO,
    END_CROWDED_OUT,
    END_REFUSED,
    END_WARM_IDLE,
    END_WARM_LIMIT,
    END_PROTOCOL,
    END_GATEWAY_REMOVED,
    END_SHUTDOWN,
    END_FAILED
};

struct session {
    struct list node;    /* in group->live or group->dead */
    struct list waiting; /* in group->lobby, while it has a place in the lobby */
    struct session_group *group;
    enum session_state state;
    uint64_t id, accepted_ms;
    struct addr source, destination;
    int far_fd; /* the gateway's connection; -1 once the relay has it */
    struct event *far_event, *deadline;
    struct hangup hangup;      /* while far_event is off in DIALING */
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

/* Timers that run at once, at most: of a session, with its dial and its relay; and beside them, of
 * the group and of what else runs in its thread. */
#define TIMERS_PER_SESSION 4
#define TIMERS_BESIDE 64
/* A gateway whose uplink dies right after OPEN opens anew by another one, and its reset is lost
 * with the first. Who has nothing to send would learn of it by keepalive, and keep the
 * destination's connection for minutes. So whoever says nothing for so long is asked more often.
 * Where an acknowledgement is due the kernel does not ask, and waits for a quarter of an hour: who
 * owes that of OPENED for longer than a gateway waits for it (OPENED_PATIENCE_MS in
 * gateway/trunk.c) is gone. */
#define SESSION_SILENCE_MS 10000
#define SESSION_UNANSWERED_MS 90000

struct session_group {
    struct event_base *base;
    struct timers timers; /* of base */
    struct hangup_watch *hangups;
    struct session_services *services;
    struct peers *peers;
    struct relay_group *relays;
    struct own_addresses own;
    struct list live, dead;
    struct list lobby; /* those with a place in the lobby; the first has waited longest */
    size_t n_live, n_lobby;
    struct event *reaper;
    struct netlink *diag; /* NULL: there is none to be had */
    struct event *sweep;  /* for relics */
    size_t n_swept;       /* so far, in this round */
    bool draining, retired;
    session_group_drained *drained; /* until it has been called */
    void *arg;
    uint64_t next_id;
    struct log_limit refusal_log, denial_log, failure_log;
};

/* ---- session.c: states, beginning and end, what goes to the gateway ---- */

/* Takes fd on success, and a place in the lobby that has been taken for it. NULL: out of memory. */
struct session *session_new(struct session_group *group, int fd, const struct addr *source);
/* The grave's part: only where no session has a frame on the stack. */
void session_free(struct session *s);
/* The one door. After calling anything that may come here, return. */
void session_close(struct session *s, enum session_end why);
/* False, and nothing has changed, when one of the gateway's limits forbids it. */
bool session_enter(struct session *s, enum session_state next);
/* How the gateway's account counts it. */
enum account_place session_place(const struct session *s);

void session_set_deadline(struct session *s, uint32_t ms);
void session_count_refusal(struct session *s, atomic_ulong *counter);
void session_report(struct session *s); /* bytes, to the account */
void session_describe(const struct session *s, struct document *flows);

/* " held_back=N" for a line whose log_limit held back N others, "" for none. Returns out. */
#define HELD_BACK_TEXT 24
const char *session_held_back(uint32_t held, char out[HELD_BACK_TEXT]);

/* All at once or not at all: what we send before the relay runs is far smaller than any empty send
 * buffer, so a gateway for which it does not fit is not reading. Returns 0, or -errno. */
int session_send(struct session *s, const uint8_t *bytes, size_t len);
/* Likewise; at most 8 bytes of payload. */
int session_send_record(struct session *s, enum record_type type, const uint8_t *payload,
                        size_t len);
/* The last word has been sent: enters next, and waits for the gateway's end of stream. */
void session_end_of_stream(struct session *s, enum session_state next);

/* ---- session_hello.c: from the first byte to WELCOME ---- */

void session_read_hello(struct session *s);

/* ---- session_open.c: from WELCOME to the relay ---- */

void session_read_records(struct session *s); /* GREETED, WARM */
void session_hold_data(struct session *s);    /* DIALING */

/* ---- small things ---- */

static inline const struct concentrator_config *session_config(const struct session_group *group)
{
    return peers_config(group->peers);
}

static inline bool session_awaits_open(const struct session *s)
{
    return s->state == SESSION_GREETED || s->state == SESSION_WARM;
}

static inline bool session_try_again(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

#endif
