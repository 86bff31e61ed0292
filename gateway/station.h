/* A concentrator as its connections see it: where it is, its key, its clock, and the token of its
 * last challenge, which is good for all dials until it expires (a concentrator that has just
 * started challenges every HELLO without one, ten a second at most). Held by whoever points to it:
 * one that the configuration no longer names lasts as long as its last connection. */
#ifndef GATEWAY_STATION_H
#define GATEWAY_STATION_H

#include <stdbool.h>
#include <stdint.h>

#include "config/gateway_config.h"
#include "core/hello.h"

struct station {
    struct concentrator_entry *entry; /* its own copy, which stays in its place */
    int64_t clock_offset_ms;          /* protocol time = CLOCK_BOOTTIME + this */
    uint8_t token[HELLO_TOKEN];
    uint64_t challenged_ms; /* clock_now_ms() when token came; 0: never */
    uint64_t welcomed_ms;   /* when it last welcomed a connection, likewise */
    uint16_t probe_port;    /* where it answers probes; 0: it does not, or has not said so yet */
    unsigned holders;
};

/* Held once. NULL: out of memory. */
struct station *station_new(const struct concentrator_entry *entry);
struct station *station_hold(struct station *station);
void station_release(struct station *station); /* the last one wipes the key; NULL is fine */

/* The same address and key: the same concentrator, whatever it is called. */
bool station_is(const struct station *station, const struct concentrator_entry *entry);
/* It is, under another name or from another key file. Out of memory, it keeps the old ones. */
void station_rename(struct station *station, const struct concentrator_entry *entry);

#endif
