/* The lobby: how many connections there are that have not yet shown a good HELLO, in all and from
 * each source (an IPv4 address, or an IPv6 /64: one host has all of that). A source from which a
 * gateway came in lately may have any number of them: a page that loads behind a slow router makes
 * hundreds at once, and their HELLOs come later. One lock; safe from every thread. */
#ifndef CONCENTRATOR_LOBBY_H
#define CONCENTRATOR_LOBBY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"

#define LOBBY_VOUCHED_MS 600000
#define LOBBY_VOUCHED_MAX 4096 /* sources remembered */

struct lobby_limits {
    uint32_t max, max_per_source;
};

struct lobby;

struct lobby *lobby_new(void); /* NULL: out of memory, or no randomness */
void lobby_free(struct lobby *lobby);

/* False: turn it away. From half of max on, the share that is turned away grows from none to all,
 * so that a flood cannot shut everyone else out. dice: a random number. */
bool lobby_enter(struct lobby *lobby, const struct addr *source, const struct lobby_limits *limits,
                 uint32_t dice, uint64_t now_ms);
/* Once for each lobby_enter() that said true. */
void lobby_leave(struct lobby *lobby, const struct addr *source);
/* A gateway has come in from there. */
void lobby_vouch(struct lobby *lobby, const struct addr *source, uint64_t now_ms);
size_t lobby_count(struct lobby *lobby);

#endif
