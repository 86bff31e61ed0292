/* The concentrator's configuration, validated whole. */
#ifndef CONFIG_CONCENTRATOR_CONFIG_H
#define CONFIG_CONCENTRATOR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/types.h"
#include "core/addr.h"
#include "core/key.h"

/* A gateway that may connect. */
struct peer_config {
    char name[NAME_MAX_LENGTH + 1];
    char *key_file;
    struct key_ring keys; /* each of them holds */
    uint32_t max_flows;
    struct cidr *allow_destinations, *deny_destinations; /* malloced */
    size_t n_allow_destinations, n_deny_destinations;
    struct port_range *ports; /* malloced; none: any */
    size_t n_ports;
};

/* That id is one of its keys'. */
bool peer_config_has(const struct peer_config *peer, const uint8_t id[KEY_ID]);

struct option_row;

struct concentrator_config {
    struct addr *listen; /* malloced */
    size_t n_listen;
    char user[NAME_MAX_LENGTH + 1]; /* "": stays who it is */
    uint32_t workers;               /* 0 in the file is resolved to the number of CPUs */
    char packet_scheduler[NAME_MAX_LENGTH + 1]; /* "": the kernel's own choice */
    unsigned packet_scheduler_line;             /* in the file; 0: not there */
    char *control_socket;
    struct addr metrics_listen; /* family 0: none */
    struct cidr *allow_destinations, *deny_destinations;
    size_t n_allow_destinations, n_deny_destinations;
    uint32_t hello_timeout_ms, dial_timeout_ms, idle_timeout_ms, half_closed_timeout_ms,
        warm_timeout_ms;
    uint32_t max_unauthenticated, max_unauthenticated_per_source;
    uint32_t max_warm, max_pending_dials, max_dials_per_second; /* for each gateway */
    struct peer_config *peers; /* malloced; "gateways" in the file */
    size_t n_peers;
};

/* As gateway_config_load(). */
struct concentrator_config *concentrator_config_load(const char *path, FILE *complaints);
void concentrator_config_free(struct concentrator_config *config); /* wipes keys; NULL is fine */
const struct option_row *concentrator_config_rows(void);

#endif
