#include "config/concentrator_config.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "config/option.h"
#include "core/crypto.h"

#define AT(field) .at = offsetof(struct concentrator_config, field)
#define LIST_AT(field) AT(field), .count_at = offsetof(struct concentrator_config, n_##field)
#define PEER_AT(field) .at = offsetof(struct peer_config, field)

static const struct option_row peer_rows[] = {
    {.name = "name",
     .kind = OPTION_NAME,
     .flags = OPTION_REQUIRED,
     .example = "\"home\"",
     PEER_AT(name),
     .help = "What status and log call it."},
    {.name = "key_file",
     .kind = OPTION_PATH,
     .flags = OPTION_REQUIRED,
     .max = 4095,
     .example = "\"/etc/bondway/home.key\"",
     PEER_AT(key_file),
     .help = "The key that it shares with this concentrator, mode 0600; made by bondway keygen. It "
             "may hold a second one, on a line of its own: either is accepted."},
    {.name = "max_flows",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000000,
     .def = "4096",
     PEER_AT(max_flows),
     .help = "How many flows it may have at once."},
    {.name = "allow_destinations",
     .kind = OPTION_NETWORK,
     .flags = OPTION_LIST,
     .def = "[]",
     .example = "[\"10.1.0.0/16\"]",
     PEER_AT(allow_destinations),
     .count_at = offsetof(struct peer_config, n_allow_destinations),
     .help = "Like allow_destinations outside, for this gateway alone."},
    {.name = "deny_destinations",
     .kind = OPTION_NETWORK,
     .flags = OPTION_LIST,
     .def = "[]",
     .example = "[\"192.0.2.0/24\"]",
     PEER_AT(deny_destinations),
     .count_at = offsetof(struct peer_config, n_deny_destinations),
     .help = "Likewise: networks that it may not reach."},
    {.name = "ports",
     .kind = OPTION_PORTS,
     .flags = OPTION_LIST,
     .def = "[]",
     .example = "(80, 443, \"8000-8100\")",
     PEER_AT(ports),
     .count_at = offsetof(struct peer_config, n_ports),
     .help = "The only ports that it may reach; none here: any, but for 25."},
    {.name = ""},
};

static const struct option_row rows[] = {
    {.name = "listen",
     .kind = OPTION_ENDPOINT,
     .flags = OPTION_REQUIRED | OPTION_LIST,
     .min = 1,
     .max = 64,
     .example = "[\"0.0.0.0:7171\", \"[::]:7171\"]",
     LIST_AT(listen),
     .help = "Where gateways connect."},
    {.name = "user",
     .kind = OPTION_NAME,
     .example = "\"bondway\"",
     AT(user),
     .help = "Started as root, it becomes this user, who must be able to read the key files."},
    {.name = "workers",
     .kind = OPTION_INTEGER,
     .max = 256,
     .def = "0",
     AT(workers),
     .help = "How many threads carry flows; 0: one for each processor."},
    {.name = "packet_scheduler",
     .kind = OPTION_NAME,
     AT(packet_scheduler),
     .help = "One of net.mptcp.available_schedulers, for downloads; absent: the kernel's choice."},
    {.name = "control_socket",
     .kind = OPTION_PATH,
     .max = 107,
     .def = "\"/run/bondway/concentrator.sock\"",
     AT(control_socket),
     .help = "Where bondway status and its like ask."},
    {.name = "metrics_listen",
     .kind = OPTION_ENDPOINT,
     AT(metrics_listen),
     .help = "Where metrics for Prometheus (/metrics) are served, to whoever can reach it; off "
             "without."},
    {.name = "allow_destinations",
     .kind = OPTION_NETWORK,
     .flags = OPTION_LIST,
     .def = "[]",
     .example = "[\"10.1.0.0/16\"]",
     LIST_AT(allow_destinations),
     .help = "Lifts the built-in denials (private, loopback, link-local, ...) for these networks."},
    {.name = "deny_destinations",
     .kind = OPTION_NETWORK,
     .flags = OPTION_LIST,
     .def = "[]",
     .example = "[\"192.0.2.0/24\"]",
     LIST_AT(deny_destinations),
     .help = "Networks that no gateway may reach through here."},
    {.name = "hello_timeout",
     .kind = OPTION_DURATION,
     .min = 100,
     .max = 60000,
     .def = "\"5s\"",
     AT(hello_timeout_ms),
     .help = "How long a gateway may take to prove who it is."},
    {.name = "dial_timeout",
     .kind = OPTION_DURATION,
     .min = 100,
     .max = 300000,
     .def = "\"30s\"",
     AT(dial_timeout_ms),
     .help = "How long a destination may take to answer."},
    {.name = "idle_timeout",
     .kind = OPTION_DURATION,
     .min = 60000,
     .max = 604800000,
     .def = "\"124m\"",
     AT(idle_timeout_ms),
     .help = "A flow that carries nothing for so long is ended."},
    {.name = "half_closed_timeout",
     .kind = OPTION_DURATION,
     .min = 1000,
     .max = 86400000,
     .def = "\"10m\"",
     AT(half_closed_timeout_ms),
     .help = "Likewise, when one of its directions has ended."},
    {.name = "warm_timeout",
     .kind = OPTION_DURATION,
     .min = 1000,
     .max = 3600000,
     .def = "\"120s\"",
     AT(warm_timeout_ms),
     .help = "How long a connection may wait for its first use."},
    {.name = "max_unauthenticated",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000000,
     .def = "1024",
     AT(max_unauthenticated),
     .help = "How many connections may be there that have not yet proved who they are; beyond "
             "them, the "
             "one that has waited longest is cut off for the next."},
    {.name = "max_unauthenticated_per_source",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000000,
     .def = "32",
     AT(max_unauthenticated_per_source),
     .help = "Likewise, from one address."},
    {.name = "max_warm",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000000,
     .def = "64",
     AT(max_warm),
     .help = "How many unused connections each gateway may hold."},
    {.name = "max_pending_dials",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000000,
     .def = "256",
     AT(max_pending_dials),
     .help = "How many destinations each gateway may wait for at once."},
    {.name = "max_dials_per_second",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 100000,
     .def = "400",
     AT(max_dials_per_second),
     .help = "How many new flows each gateway may ask for in a second."},
    {.name = "gateways",
     .kind = OPTION_GROUP,
     .flags = OPTION_REQUIRED | OPTION_LIST,
     .max = 1024,
     .example = "( { name = \"home\"; ... } )",
     .at = offsetof(struct concentrator_config, peers),
     .count_at = offsetof(struct concentrator_config, n_peers),
     .rows = peer_rows,
     .size = sizeof(struct peer_config),
     .help = "The gateways that may connect."},
    {.name = ""},
};

static void check_listen(struct option_file *file, const struct concentrator_config *config)
{
    for (size_t i = 1; i < config->n_listen; i++) {
        for (size_t j = 0; config->listen[i].family && j < i; j++) {
            char text[ADDR_TEXT];
            if (addr_equal(&config->listen[i], &config->listen[j]))
                option_complain(file, config_lookup(&file->parsed, "listen"),
                                "listen holds \"%s\" twice; remove one",
                                addr_format(&config->listen[i], text));
        }
    }
}

bool peer_config_has(const struct peer_config *peer, const uint8_t id[KEY_ID])
{
    for (size_t i = 0; i < peer->keys.n; i++) {
        if (memcmp(peer->keys.keys[i].id, id, KEY_ID) == 0)
            return true;
    }
    return false;
}

static bool share_a_key(const struct peer_config *a, const struct peer_config *b)
{
    for (size_t i = 0; i < a->keys.n; i++) {
        if (peer_config_has(b, a->keys.keys[i].id))
            return true;
    }
    return false;
}

static void check_gateways(struct option_file *file, struct concentrator_config *config)
{
    option_check_unique(file, "gateways", "name", "gateway");
    for (size_t i = 0; i < config->n_peers; i++) {
        struct peer_config *peer = &config->peers[i];
        option_load_keys(file, "gateways", i, peer->key_file, &peer->keys);
        for (size_t j = 0; j < i; j++) {
            if (share_a_key(peer, &config->peers[j]))
                option_complain(file, option_find(file, "gateways", i, "key_file"),
                                "gateway \"%s\" has the key of \"%s\"; make one of its own with "
                                "bondway keygen",
                                peer->name, config->peers[j].name);
        }
    }
}

static uint32_t count_processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

struct concentrator_config *concentrator_config_load(const char *path, FILE *complaints)
{
    struct option_file file;
    struct concentrator_config *config = calloc(1, sizeof(*config));

    if (!config) {
        fprintf(complaints, "%s: out of memory; free some\n", path);
        return NULL;
    }
    if (option_file_open(&file, path, complaints) == 0) {
        option_read(&file, rows, config);
        check_listen(&file, config);
        check_gateways(&file, config);
        config->packet_scheduler_line = option_line(&file, "packet_scheduler");
    }
    option_file_close(&file);
    if (config->workers == 0)
        config->workers = count_processors();
    if (!file.failed)
        return config;
    concentrator_config_free(config);
    return NULL;
}

void concentrator_config_free(struct concentrator_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->n_peers; i++)
        key_ring_wipe(&config->peers[i].keys);
    option_free(rows, config);
    free(config);
}

const struct option_row *concentrator_config_rows(void)
{
    return rows;
}
