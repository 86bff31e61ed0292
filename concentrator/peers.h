/* The gateways that may connect, by the ids of their keys, together with the configuration they
 * come from: one immutable snapshot, shared by all threads, replaced as a whole on reload. */
#ifndef CONCENTRATOR_PEERS_H
#define CONCENTRATOR_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include "concentrator/account.h"
#include "config/concentrator_config.h"
#include "core/probe_packet.h"

/* A gateway, as one of its keys shows it. */
struct peer {
    const struct peer_config *config;
    const struct key *key; /* in config */
    /* What all its keys together have, which the limits bind; and what this one has. Both are
     * shared with the snapshots before and after. */
    struct account *account, *key_account;
    struct account_limits limits;
    struct probe_keys probe_keys;
};

struct peers;

/* config, in which no two keys have one id, is taken on success. Gateways of which `before` (or
 * NULL) had a key keep their account. Returns 0 and one reference, or -errno. */
int peers_new(struct peers **out, struct concentrator_config *config, const struct peers *before);
struct peers *peers_ref(struct peers *peers);
void peers_unref(struct peers *peers); /* the last one wipes the keys; NULL is fine */

const struct concentrator_config *peers_config(const struct peers *peers);
size_t peers_count(const struct peers *peers); /* gateways */
/* NULL when there is none. */
const struct peer *peers_find(const struct peers *peers, const uint8_t id[KEY_ID]);
/* The same key of the same gateway in another snapshot, or NULL. */
const struct peer *peers_find_again(const struct peers *peers, const struct peer *old);

/* As account_move() and account_add_bytes(), for the gateway and its key. */
bool peer_move(const struct peer *peer, enum account_place from, enum account_place to,
               uint64_t now_ms);
void peer_add_bytes(const struct peer *peer, uint64_t rx, uint64_t tx, uint64_t now_ms);

#endif
