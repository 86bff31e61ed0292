/* Two sockets joined: near (LAN client, or destination) and far (the MPTCP connection). Sealed
 * (records on far) or plain. Half-close, resets as resets, backpressure with one buffer at most in
 * each direction, none while idle. One thread (its event base's). */
#ifndef CORE_RELAY_H
#define CORE_RELAY_H

#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>

#include "core/buffer.h"
#include "core/hangup.h"
#include "core/record.h"

enum relay_end {
    RELAY_END_DONE,       /* both directions ended in order */
    RELAY_END_NEAR_RESET, /* near was reset; far was told */
    RELAY_END_FAR_RESET,  /* far was reset, or sent RESET; near was reset */
    RELAY_END_TRUNCATED,  /* far ended without FIN; near was reset */
    RELAY_END_PROTOCOL,   /* far sent what does not open or may not come; both were reset */
    RELAY_END_IDLE,       /* no byte either way for the idle limit; both were reset */
    RELAY_END_FAILED      /* out of memory or a system error; both were reset */
};
const char *relay_end_name(enum relay_end why);

struct relay;

/* What all relays of a thread share: buffers, the watch for resets on sockets that nobody reads
 * right now, and the sweep for idle ones. One for each event base. */
struct relay_group;
struct relay_limits {        /* overrun by a quarter of the shorter one, or 15 s, at most */
    uint32_t idle_ms;        /* no byte either way */
    uint32_t half_closed_ms; /* the same, once one direction has ended */
};
struct relay_group *relay_group_new(struct event_base *base, const struct relay_limits *limits);
void relay_group_free(struct relay_group *group); /* its relays must be gone */
void relay_group_set_limits(struct relay_group *group, const struct relay_limits *limits);
/* active() is called when bytes move, at most every 50 ms: it may not end a relay. */
void relay_group_watch_activity(struct relay_group *group, void (*active)(void *arg), void *arg);
struct buffer_pool *relay_group_pool(struct relay_group *group);
struct hangup_watch *relay_group_hangups(struct relay_group *group);

/* Called once, from the event loop, never from inside a relay_ call of the owner. Both sockets are
 * closed by then. The owner frees the relay later, from outside any relay callback. */
typedef void relay_ended(void *arg, enum relay_end why);

struct relay_setup {
    int near_fd, far_fd;               /* non-blocking; a successful relay_new takes them */
    struct record_cipher *seal, *open; /* both or neither; taken likewise */
    relay_ended *ended;
    /* Called when so many payload bytes have moved since relay_watch_growth(), both directions
     * together, once for each call of that; NULL: not wanted. It may not end the relay. */
    void (*grown)(void *arg);
    void *arg;
};

/* Nothing moves yet. NULL: out of memory, and nothing was taken. */
struct relay *relay_new(struct relay_group *group, const struct relay_setup *setup);
/* near -> far begins. */
void relay_start_outward(struct relay *relay);
/* far -> near begins. first: bytes already read from far, still sealed in sealed mode (taken), or
 * NULL. */
void relay_start_inward(struct relay *relay, struct buffer *first);
void relay_watch_growth(struct relay *relay, uint64_t bytes);
/* Ends it without calling ended: resets and closes both sockets. */
void relay_abort(struct relay *relay);
/* Releases memory; aborts first if it still runs. NULL is fine. */
void relay_free(struct relay *relay);

/* Payload bytes so far, outward (near -> far) and inward. */
uint64_t relay_bytes_out(const struct relay *relay);
uint64_t relay_bytes_in(const struct relay *relay);
uint64_t relay_last_active_ms(const struct relay *relay); /* clock_now_ms() */
/* The far socket, to ask for its subflows; -1 after the end. */
int relay_far_fd(const struct relay *relay);

#endif
