/* One connection to a concentrator, from the dial to its end: dialled on the schedule's first
 * uplink and raced on the next when that does not answer; greeted; its other uplinks joined. It
 * waits warm, or carries one flow. */
#ifndef GATEWAY_TRUNK_H
#define GATEWAY_TRUNK_H

#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>

#include "core/buffer.h"
#include "gateway/gauge.h"
#include "gateway/greeting.h"
#include "gateway/paths.h"
#include "gateway/scheduler.h"
#include "gateway/station.h"

/* What all trunks of a gateway share. */
struct trunk_context {
    struct event_base *base;
    struct buffer_pool *pool;
    const struct uplinks *uplinks;
    struct gauges *gauges;
    struct paths_registry *paths; /* NULL: connections keep to their first uplink */
    struct clock_told *time;      /* set by what concentrators say; NULL: nobody asks */
    struct events *events;        /* where changes are told; NULL: nowhere */
    enum crypto_suite suite;
    uint32_t dial_timeout_ms;
};

enum trunk_failure {
    TRUNK_NO_UPLINK,   /* the schedule has none */
    TRUNK_UNREACHABLE, /* every dial failed; error says how the last one did */
    TRUNK_SILENT,      /* nobody answered in time */
    TRUNK_REJECTED,    /* closed without a word, and late: that is how a bad HELLO is met */
    TRUNK_HUNG_UP,     /* closed without a word, at once: a program that ends, or another one */
    TRUNK_REFUSED,     /* error is the refusal's code */
    TRUNK_CHALLENGED,  /* twice */
    TRUNK_BAD,         /* the answer was not made with our key, or is cut short */
    TRUNK_LOST,        /* it breaks, or ends later */
    TRUNK_OPEN_FAILED, /* error is OPENED's code */
    TRUNK_NO_MEMORY    /* or no descriptors, or ports: says nothing of the concentrator */
};
const char *trunk_failure_name(enum trunk_failure why);

struct trunk;

/* The owner's. None is called from inside a call of the owner's. After failed() nothing more
 * comes; the owner frees the trunk later, from outside any callback of it. */
struct trunk_events {
    /* HELLO is written: an OPEN may follow at once, by trunk_open(). Comes again when a challenge
     * made it start anew, or its uplink died, or strips MPTCP, or it had ended while it waited:
     * what was opened must be opened again. What is not repeatable the trunk itself says again
     * where an uplink has died. */
    void (*connected)(void *arg);
    void (*welcomed)(void *arg);
    void (*opened)(void *arg); /* OPENED 0: the relay may take over */
    void (*failed)(void *arg, enum trunk_failure why, int error);
};

/* Dials, and holds the station. NULL: out of memory. */
struct trunk *trunk_new(const struct trunk_context *context, struct station *station,
                        const struct schedule *schedule, const struct trunk_events *events,
                        void *arg);
/* The uplinks have changed, or what is asked for: its subflows follow. A dial that waits for an
 * answer where that may never come is raced at once; one that waits for its welcome, or by plain
 * TCP for OPENED, on an uplink that has died is dialled anew by another. */
void trunk_reschedule(struct trunk *trunk, const struct demand *demand);
/* Right after trunk_new(): it says HELLO without the token at hand, to be challenged for a new one.
 */
void trunk_ask_token(struct trunk *trunk);
/* Right after trunk_new(): it tries MPTCP also where that is known to be stripped. */
void trunk_ask_mptcp(struct trunk *trunk);
/* Another owner from now on; only while it is warm. */
void trunk_adopt(struct trunk *trunk, const struct trunk_events *events, void *arg);
bool trunk_is_connected(const struct trunk *trunk); /* trunk_open() may be called */
bool trunk_is_welcomed(const struct trunk *trunk);
/* It waits, has but one uplink, by plain TCP, and can use that no more. */
bool trunk_is_lost(const struct trunk *trunk);
/* It has but one uplink as yet, and may soon lose it. */
bool trunk_is_unsteady(const struct trunk *trunk);
/* repeatable: where an uplink dies under it, and nobody knows whether it was heard, the destination
 * may be dialled once more, and get the early bytes a second time. What is not fails then if it was
 * heard. Returns 0, or -errno. */
int trunk_open(struct trunk *trunk, enum open_mode mode, const struct addr *destination,
               const uint8_t *early, size_t early_len, bool repeatable);
/* After opened(): its socket and ciphers, now the caller's. The trunk goes on to manage the paths
 * until it is freed. */
int trunk_take(struct trunk *trunk, struct record_cipher **seal, struct record_cipher **open);
/* The flow has had its first bytes, or pauses (quiet): it no longer counts as starting (struct
 * gauge), nor, while quiet, as one that shares an uplink by plain TCP. */
void trunk_is_settled(struct trunk *trunk, bool quiet);
/* Resets the connection if it is still the trunk's. NULL is fine. */
void trunk_free(struct trunk *trunk);

struct station *trunk_station(const struct trunk *trunk);
uint32_t trunk_connect_ms(const struct trunk *trunk); /* how long connect() took */
bool trunk_is_mptcp(const struct trunk *trunk);
struct paths *trunk_paths(const struct trunk *trunk); /* NULL on plain TCP */
const char *trunk_first_uplink(const struct trunk *trunk);
/* It has plain TCP, and so only its first uplink, and may use that no more. */
bool trunk_is_barred(const struct trunk *trunk);
int trunk_fd(const struct trunk *trunk); /* -1 before connected() and after trunk_take() */

#endif
