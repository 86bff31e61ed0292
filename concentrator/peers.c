#include "concentrator/peers.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct peers {
    atomic_uint references;
    struct concentrator_config *config;
    size_t n;
    struct peer list[]; /* sorted by id */
};

static int compare_ids(const void *a, const void *b)
{
    const struct peer *x = a, *y = b;

    return memcmp(x->config->key.id, y->config->key.id, KEY_ID);
}

static int fill_peer(struct peer *peer, const struct concentrator_config *config,
                     const struct peer_config *entry, const struct peers *before)
{
    const struct peer *old = before ? peers_find(before, entry->key.id) : NULL;

    peer->config = entry;
    peer->limits = (struct account_limits){
        .max_flows = entry->max_flows,
        .max_warm = config->max_warm,
        .max_dialing = config->max_pending_dials,
        .max_dials_per_second = config->max_dials_per_second,
    };
    peer->account = old ? account_ref(old->account) : account_new();
    if (!peer->account)
        return -ENOMEM;
    return probe_derive(&entry->key, &peer->probe_keys);
}

static void release(struct peers *p)
{
    for (size_t i = 0; i < p->n; i++) {
        account_unref(p->list[i].account);
        crypto_wipe(&p->list[i].probe_keys, sizeof(p->list[i].probe_keys));
    }
    concentrator_config_free(p->config);
    free(p);
}

int peers_new(struct peers **out, struct concentrator_config *config, const struct peers *before)
{
    struct peers *p = calloc(1, sizeof(*p) + config->n_peers * sizeof(p->list[0]));
    int err = 0;

    if (!p)
        return -ENOMEM;
    atomic_init(&p->references, 1);
    for (size_t i = 0; i < config->n_peers && err == 0; i++) {
        p->n = i + 1;
        err = fill_peer(&p->list[i], config, &config->peers[i], before);
    }
    if (err < 0) {
        release(p);
        return err;
    }
    p->config = config;
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
    return p->n;
}

const struct peer *peers_get(const struct peers *p, size_t index)
{
    return &p->list[index];
}

const struct peer *peers_find(const struct peers *p, const uint8_t id[KEY_ID])
{
    size_t low = 0, high = p->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(id, p->list[middle].config->key.id, KEY_ID);
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
    const struct peer *now = peers_find(p, old->config->key.id);

    if (!now || !crypto_equal(now->config->key.secret, old->config->key.secret, KEY_SECRET))
        return NULL;
    return now;
}
