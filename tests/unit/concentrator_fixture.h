/* A concentrator's configuration, made by hand: gateways "g0", "g1", ... whose keys are their
 * number over and over. */
#ifndef TESTS_UNIT_CONCENTRATOR_FIXTURE_H
#define TESTS_UNIT_CONCENTRATOR_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/concentrator_config.h"

static inline struct key fixture_key(unsigned number)
{
    struct key key;

    memset(&key, (int)number + 1, sizeof(key));
    return key;
}

static inline struct concentrator_config *fixture_config(size_t n_peers)
{
    struct concentrator_config *config = calloc(1, sizeof(*config));

    config->peers = calloc(n_peers, sizeof(config->peers[0]));
    config->n_peers = n_peers;
    config->workers = 1;
    config->hello_timeout_ms = 5000;
    config->dial_timeout_ms = 5000;
    config->idle_timeout_ms = config->half_closed_timeout_ms = config->warm_timeout_ms = 60000;
    config->max_unauthenticated = config->max_unauthenticated_per_source = 1000;
    config->max_warm = config->max_pending_dials = 2;
    config->max_dials_per_second = 400;
    for (size_t i = 0; i < n_peers; i++) {
        struct peer_config *peer = &config->peers[i];
        snprintf(peer->name, sizeof(peer->name), "g%zu", i);
        peer->keys = (struct key_ring){.keys = {fixture_key((unsigned)i)}, .n = 1};
        peer->max_flows = 2;
    }
    return config;
}

#endif
