#include "concentrator/status.h"

static void add_count(struct json_object *to, const char *name, uint64_t value)
{
    json_object_object_add(to, name, json_object_new_int64((int64_t)value));
}

static void add_text(struct json_object *to, const char *name, const char *value)
{
    json_object_object_add(to, name, json_object_new_string(value));
}

static void add_seconds(struct json_object *to, const char *name, uint64_t ms)
{
    json_object_object_add(to, name, json_object_new_double((double)ms / 1000));
}

static void add_last_seen(struct json_object *to, const struct account_figures *figures,
                          uint64_t now_ms)
{
    if (figures->seen)
        add_seconds(to, "last_seen_s", now_ms - figures->last_seen_ms);
    else
        json_object_object_add(to, "last_seen_s", NULL);
}

static struct json_object *describe_key(const struct peer *peer, uint64_t now_ms)
{
    struct json_object *o = json_object_new_object();
    struct account_figures figures;
    char id[KEY_ID_TEXT];

    if (!o)
        return NULL;
    account_read(peer->key_account, &figures);
    add_text(o, "id", key_format_id(peer->key, id));
    add_count(o, "flows", figures.flows);
    add_count(o, "warm", figures.warm);
    add_last_seen(o, &figures, now_ms);
    return o;
}

/* In the order of the key file: the old one first. */
static struct json_object *describe_keys(const struct peers *peers, const struct key_ring *ring,
                                         uint64_t now_ms)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; list && i < ring->n; i++)
        json_object_array_add(list, describe_key(peers_find(peers, ring->keys[i].id), now_ms));
    return list;
}

static struct json_object *describe_gateway(const struct peers *peers,
                                            const struct peer_config *gateway, uint64_t now_ms)
{
    const struct peer *peer = peers_find(peers, gateway->keys.keys[0].id);
    struct json_object *o = json_object_new_object();
    struct account_figures figures;

    if (!o)
        return NULL;
    account_read(peer->account, &figures);
    add_text(o, "name", gateway->name);
    add_count(o, "flows", figures.flows);
    add_count(o, "warm", figures.warm);
    add_count(o, "total", figures.total);
    add_count(o, "rx_bytes", figures.rx_bytes);
    add_count(o, "tx_bytes", figures.tx_bytes);
    add_count(o, "refused", figures.refused);
    add_last_seen(o, &figures, now_ms);
    json_object_object_add(o, "keys", describe_keys(peers, &gateway->keys, now_ms));
    return o;
}

/* In the order of the configuration, as a person expects it. */
static struct json_object *describe_gateways(const struct status_source *source)
{
    const struct concentrator_config *config = peers_config(source->peers);
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; list && i < config->n_peers; i++)
        json_object_array_add(list,
                              describe_gateway(source->peers, &config->peers[i], source->now_ms));
    return list;
}

static struct json_object *describe_refusals(const struct refusals *refusals)
{
    struct json_object *o = json_object_new_object();

    if (!o)
        return NULL;
    add_count(o, "hello", atomic_load(&refusals->hello));
    add_count(o, "replay", atomic_load(&refusals->replay));
    add_count(o, "policy", atomic_load(&refusals->policy));
    add_count(o, "limit", atomic_load(&refusals->limit));
    return o;
}

struct json_object *status_describe(const struct status_source *source)
{
    struct json_object *o = json_object_new_object();

    if (!o)
        return NULL;
    add_text(o, "role", "concentrator");
    add_text(o, "version", BONDWAY_VERSION);
    add_seconds(o, "uptime_s", source->now_ms - source->started_ms);
    add_count(o, "workers", peers_config(source->peers)->workers);
    json_object_object_add(o, "gateways", describe_gateways(source));
    json_object_object_add(o, "refused", describe_refusals(source->refusals));
    return o;
}
