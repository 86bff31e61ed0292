#include "concentrator/peers.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct peers {
    atomic_uint references;
    struct concentrator_config *config;
    size_t n;
    struct peer list[]; /* one for each key, sorted by its id */
};

static int compare_ids(const void *a, const void *b)
{
    const struct peer *x = a, *y = b;

    return memcmp(x->key->id, y->key->id, KEY_ID);
}

static bool has_account(const struct peers *p, const struct account *account)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->list[i].account == account)
            return true;
    }
    return false;
}

/* The one that a key of this gateway had before, unless another gateway has it now: then they have
 * parted. Returns a reference, or NULL. */
static struct account *inherit_account(const struct peers *p, const struct peer_config *gateway,
                                       const struct peers *before)
{
    for (size_t i = 0; before && i < gateway->keys.n; i++) {
        const struct peer *old = peers_find(before, gateway->keys.keys[i].id);
        if (old && !has_account(p, old->account))
            return account_ref(old->account);
    }
    return account_new();
}

/* Of one gateway, whose account is taken. */
static int add_key(struct peers *p, const struct peer_config *gateway, const struct key *key,
                   struct account *account, const struct peers *before)
{
    const struct peer *old = before ? peers_find(before, key->id) : NULL;
    struct peer *peer = &p->list[p->n++];

    *peer = (struct peer){
        .config = gateway,
        .key = key,
        .account = account,
        .key_account = old ? account_ref(old->key_account) : account_new(),
        .limits =
            {
                .max_flows = gateway->max_flows,
                .max_warm = p->config->max_warm,
                .max_dialing = p->config->max_pending_dials,
                .max_dials_per_second = p->config->max_dials_per_second,
            },
    };
    return peer->key_account ? probe_derive(key, &peer->probe_keys) : -ENOMEM;
}

static int add_gateway(struct peers *p, const struct peer_config *gateway,
                       const struct peers *before)
{
    struct account *account = inherit_account(p, gateway, before);
    int err = account ? 0 : -ENOMEM;

    for (size_t i = 0; i < gateway->keys.n && err == 0; i++)
        err = add_key(p, gateway, &gateway->keys.keys[i], account_ref(account), before);
    account_unref(account);
    return err;
}

static size_t count_keys(const struct concentrator_config *config)
{
    size_t n = 0;

    for (size_t i = 0; i < config->n_peers; i++)
        n += config->peers[i].keys.n;
    return n;
}

static void release(struct peers *p)
{
    for (size_t i = 0; i < p->n; i++) {
        account_unref(p->list[i].account);
        account_unref(p->list[i].key_account);
        crypto_wipe(&p->list[i].probe_keys, sizeof(p->list[i].probe_keys));
    }
    concentrator_config_free(p->config);
    free(p);
}

int peers_new(struct peers **out, struct concentrator_config *config, const struct peers *before)
{
    struct peers *p = calloc(1, sizeof(*p) + count_keys(config) * sizeof(p->list[0]));
    int err = 0;

    if (!p)
        return -ENOMEM;
    atomic_init(&p->references, 1);
    p->config = config;
    for (size_t i = 0; i < config->n_peers && err == 0; i++)
        err = add_gateway(p, &config->peers[i], before);
    if (err < 0) {
        p->config = NULL; /* stays the caller's */
        release(p);
        return err;
    }
    qsort(p->list, p->n, sizeof(p->list[0]), compare_ids);
    *out = p;
    return 0;
}

struct peers *peers_ref(struct peers *p)
{
    atomic_fetch_add(&p->references, 1);
    return p;
}

void peers_unref(struct peers *p)
{
    if (p && atomic_fetch_sub(&p->references, 1) == 1)
        release(p);
}

const struct concentrator_config *peers_config(const struct peers *p)
{
    return p->config;
}

size_t peers_count(const struct peers *p)
{
    return p->config->n_peers;
}

const struct peer *peers_find(const struct peers *p, const uint8_t id[KEY_ID])
{
    size_t low = 0, high = p->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(id, p->list[middle].key->id, KEY_ID);
        if (order == 0)
            return &p->list[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct peer *peers_find_again(const struct peers *p, const struct peer *old)
{
    const struct peer *now = peers_find(p, old->key->id);

    if (!now || now->account != old->account ||
        !crypto_equal(now->key->secret, old->key->secret, KEY_SECRET))
        return NULL;
    return now;
}

bool peer_move(const struct peer *peer, enum account_place from, enum account_place to,
               uint64_t now_ms)
{
    static const struct account_limits none = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

    if (!account_move(peer->account, from, to, &peer->limits, now_ms))
        return false;
    return account_move(peer->key_account, from, to, &none, now_ms);
}

void peer_add_bytes(const struct peer *peer, uint64_t rx, uint64_t tx, uint64_t now_ms)
{
    account_add_bytes(peer->account, rx, tx, now_ms);
    account_add_bytes(peer->key_account, rx, tx, now_ms);
}
