/* What has changed, and why, for a person who looks later or watches now: the last 256 events of a
 * daemon, and the clients that follow them (`bondway events`). Owned by the daemon; one thread.
 *
 * An event is one line of JSON, of at most 2 KiB:
 *   {"seq":7,"time":"2026-11-28T18:01:22.125Z","boot_s":41.25,"kind":"uplink","name":"dsl",
 *    "what":"down","before":"up","reason":"no carrier","figures":{"rtt_ms":20.1},"held":3}
 * seq counts from 1, one by one. time is the wall clock, right or not (a router may think it is
 * 1970); boot_s are the machine's seconds since it started. figures and held are there only when
 * there are any.
 *
 * What flaps is heard ten times in ten seconds at most, by kind and name. The newest of what is
 * held back comes out when that time is over, unless a newer one comes by then, with the time when
 * it happened; held says how many before it are left out. */
#ifndef CORE_EVENTS_H
#define CORE_EVENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>
#include <json-c/json.h>

#include "core/control.h"

#define EVENTS_KEPT 256

struct events;

struct event_note {
    const char *kind;            /* "uplink", "path", "budget", "concentrator", "gateway",
                                  * "interception" */
    const char *name;            /* which of them: "dsl" */
    const char *what;            /* what it is now: "down" */
    const char *before;          /* what it was; NULL or "": not told */
    const char *reason;          /* for a person; NULL or "": none */
    struct json_object *figures; /* an object of numbers and strings, {"rtt_ms": 20.1}; the suffixes
                                  * _ms, _percent, _bytes and _bps are shown as units; taken;
                                  * NULL: none */
};

struct events *events_new(struct event_base *base); /* NULL: out of memory */
/* After the control socket, whose clients may follow. NULL is fine. */
void events_free(struct events *events);

/* Never fails: out of memory drops it. events may be NULL: nobody listens. */
void events_add(struct events *events, const struct event_note *note);

/* Of a command that streams (core/control.h): the events so far; with follow, new ones, too.
 * Returns 0, or -errno. */
int events_stream(struct events *events, struct control_client *client, bool follow);

/* The newest one's number; 0: none yet. */
uint64_t events_newest(const struct events *events);
/* NULL when it is no longer, or not yet, there. */
const char *events_line(const struct events *events, uint64_t seq);
/* Lets out what was held back, where its time is over: what its own timer does. */
void events_release(struct events *events);

#endif
