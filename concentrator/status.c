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

static struct json_object *describe_peer(const struct peer *peer, uint64_t now_ms)
{
    struct json_object *o = json_object_new_object();
    struct account_figures figures;

    if (!o)
        return NULL;
    account_read(peer->account, &figures);
    add_text(o, "name", peer->config->name);
    add_count(o, "flows", figures.flows);
    add_count(o, "warm", figures.warm);
    add_count(o, "total", figures.total);
    add_count(o, "rx_bytes", figures.rx_bytes);
    add_count(o, "tx_bytes", figures.tx_bytes);
    add_count(o, "refused", figures.refused);
    if (figures.seen)
        add_seconds(o, "last_seen_s", now_ms - figures.last_seen_ms);
    else
        json_object_object_add(o, "last_seen_s", NULL);
    return o;
}

/* In the order of the configuration, as a person expects it. */
static struct json_object *describe_peers(const struct status_source *source)
{
    const struct concentrator_config *config = peers_config(source->peers);
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; list && i < config->n_peers; i++) {
        const struct peer *peer = peers_find(source->peers, config->peers[i].key.id);
        json_object_array_add(list, describe_peer(peer, source->now_ms));
    }
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
    json_object_object_add(o, "gateways", describe_peers(source));
    json_object_object_add(o, "refused", describe_refusals(source->refusals));
    return o;
}
