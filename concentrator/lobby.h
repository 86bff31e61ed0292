/* The lobby: how many connections there are from each source (an IPv4 address, or an IPv6 /64: one
 * host has all of that) that have not yet shown a good HELLO. A source from which a gateway came in
 * lately may have any number of them: a page that loads behind a slow router makes hundreds at
 * once, and their HELLOs come later. How many there may be in all is the session group's matter.
 * One lock; safe from every thread. */
#ifndef CONCENTRATOR_LOBBY_H
#define CONCENTRATOR_LOBBY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"

#define LOBBY_VOUCHED_MS 600000
#define LOBBY_VOUCHED_MAX 4096 /* sources remembered */

struct lobby;

struct lobby *lobby_new(void); /* NULL: out of memory, or no randomness */
void lobby_free(struct lobby *lobby);

/* False: turn it away; also when out of memory. */
bool lobby_enter(struct lobby *lobby, const struct addr *source, uint32_t max_per_source,
                 uint64_t now_ms);
/* Once for each lobby_enter() that said true. */
void lobby_leave(struct lobby *lobby, const struct addr *source);
/* A gateway has come in from there. */
void lobby_vouch(struct lobby *lobby, const struct addr *source, uint64_t now_ms);
size_t lobby_count(struct lobby *lobby);

#endif
