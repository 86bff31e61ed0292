/* One connection of a gateway: HELLO, OPEN, the dial to the destination, the relay. And the group
 * that owns all sessions of one thread. */
#ifndef CONCENTRATOR_SESSION_H
#define CONCENTRATOR_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>

#include "concentrator/admission.h"
#include "concentrator/lobby.h"
#include "concentrator/peers.h"
#include "concentrator/room.h"
#include "core/document.h"

/* What was turned away since the start, by cause. */
struct refusals {
    atomic_ulong hello;  /* no good HELLO: unknown, broken, late */
    atomic_ulong replay; /* a HELLO seen before */
    atomic_ulong policy; /* version, suite, destination */
    atomic_ulong limit;
};

/* What the groups of all threads share; outlives them. */
struct session_services {
    struct admission *admission;
    struct lobby *lobby;
    size_t max_unauthenticated; /* of each group */
    struct room room;
    struct refusals refusals;
    bool answers_probes; /* on the ports that gateways connect to */
};

struct session_group;

/* Called once, from the event loop, when a draining group has no flow left. */
typedef void session_group_drained(void *arg);

/* Takes a reference of its own to peers. Returns 0, or -errno. */
int session_group_new(struct session_group **out, struct event_base *base, struct peers *peers,
                      struct session_services *services, session_group_drained *drained, void *arg);
/* Ends every session. Not from inside a callback of the group. NULL is fine. */
void session_group_free(struct session_group *group);

/* Takes fd: non-blocking, connected to source. */
void session_group_accept(struct session_group *group, int fd, const struct addr *source);
/* From now on these gateways and limits; sessions of a gateway that is gone, or has another key,
 * end. */
void session_group_reload(struct session_group *group, struct peers *peers);
/* Another process accepts from now on: what is here goes on to its end, what is warm may still be
 * used, but only until its timeout, PING or not. drained() is called when nothing is left. */
void session_group_retire(struct session_group *group);
/* Ends what has no flow yet, and refuses what comes; flows go on. */
void session_group_drain(struct session_group *group);
/* Adds what running sessions have carried to their gateways' accounts. */
void session_group_report(struct session_group *group);
/* Adds the flows that run to a list. */
void session_group_flows(const struct session_group *group, struct document *list);
size_t session_group_count(const struct session_group *group);

#endif
