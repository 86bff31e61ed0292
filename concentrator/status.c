#include "concentrator/status.h"

#include "core/document.h"

static void add_seconds(struct document *d, const char *key, uint64_t ms)
{
    document_add_decimal(d, key, (double)ms / 1000, 3);
}

static void add_last_seen(struct document *d, const struct account_figures *figures,
                          uint64_t now_ms)
{
    if (figures->seen)
        add_seconds(d, "last_seen_s", now_ms - figures->last_seen_ms);
    else
        document_add_null(d, "last_seen_s");
}

static void add_key(struct document *d, const struct peer *peer, uint64_t now_ms)
{
    struct account_figures figures;
    char id[KEY_ID_TEXT];

    account_read(peer->key_account, &figures);
    document_open_object(d, NULL);
    document_add_text(d, "id", key_format_id(peer->key, id));
    document_add_number(d, "flows", figures.flows);
    document_add_number(d, "warm", figures.warm);
    add_last_seen(d, &figures, now_ms);
    document_close(d);
}

/* In the order of the key file: the old one first. */
static void add_keys(struct document *d, const struct peers *peers, const struct key_ring *ring,
                     uint64_t now_ms)
{
    document_open_list(d, "keys");
    for (size_t i = 0; i < ring->n; i++)
        add_key(d, peers_find(peers, ring->keys[i].id), now_ms);
    document_close(d);
}

static void add_gateway(struct document *d, const struct peers *peers,
                        const struct peer_config *gateway, uint64_t now_ms)
{
    const struct peer *peer = peers_find(peers, gateway->keys.keys[0].id);
    struct account_figures figures;

    account_read(peer->account, &figures);
    document_open_object(d, NULL);
    document_add_text(d, "name", gateway->name);
    document_add_number(d, "flows", figures.flows);
    document_add_number(d, "warm", figures.warm);
    document_add_number(d, "total", figures.total);
    document_add_number(d, "rx_bytes", figures.rx_bytes);
    document_add_number(d, "tx_bytes", figures.tx_bytes);
    document_add_number(d, "refused", figures.refused);
    add_last_seen(d, &figures, now_ms);
    add_keys(d, peers, &gateway->keys, now_ms);
    document_close(d);
}

/* In the order of the configuration, as a person expects it. */
static void add_gateways(struct document *d, const struct status_source *source)
{
    const struct concentrator_config *config = peers_config(source->peers);

    document_open_list(d, "gateways");
    for (size_t i = 0; i < config->n_peers; i++)
        add_gateway(d, source->peers, &config->peers[i], source->now_ms);
    document_close(d);
}

static void add_refusals(struct document *d, const struct refusals *refusals)
{
    document_open_object(d, "refused");
    document_add_number(d, "hello", atomic_load(&refusals->hello));
    document_add_number(d, "replay", atomic_load(&refusals->replay));
    document_add_number(d, "policy", atomic_load(&refusals->policy));
    document_add_number(d, "limit", atomic_load(&refusals->limit));
    document_close(d);
}

struct json_object *status_describe(const struct status_source *source)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "role", "concentrator");
    document_add_text(&d, "version", BONDWAY_VERSION);
    add_seconds(&d, "uptime_s", source->now_ms - source->started_ms);
    document_add_number(&d, "workers", peers_config(source->peers)->workers);
    add_gateways(&d, source);
    add_refusals(&d, source->refusals);
    return document_finish(&d);
}
