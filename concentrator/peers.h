/* The gateways that may connect, by id, together with the configuration they come from: one
 * immutable snapshot, shared by all threads, replaced as a whole on reload. */
#ifndef CONCENTRATOR_PEERS_H
#define CONCENTRATOR_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include "concentrator/account.h"
#include "config/concentrator_config.h"
#include "core/probe_packet.h"

struct peer {
    const struct peer_config *config;
    struct account *account; /* shared with the snapshots before and after */
    struct account_limits limits;
    struct probe_keys probe_keys;
};

struct peers;

/* config, in which no two gateways have one id, is taken on success. Gateways that `before` (or
 * NULL) had keep their account. Returns 0 and one reference, or -errno. */
int peers_new(struct peers **out, struct concentrator_config *config, const struct peers *before);
struct peers *peers_ref(struct peers *peers);
void peers_unref(struct peers *peers); /* the last one wipes the keys; NULL is fine */

const struct concentrator_config *peers_config(const struct peers *peers);
size_t peers_count(const struct peers *peers);
/* In the order of their ids. */
const struct peer *peers_get(const struct peers *peers, size_t index);
/* NULL when there is none. */
const struct peer *peers_find(const struct peers *peers, const uint8_t id[KEY_ID]);
/* The same gateway with the same key in another snapshot, or NULL. */
const struct peer *peers_find_again(const struct peers *peers, const struct peer *old);

#endif
