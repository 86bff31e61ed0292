/* The gateway's configuration, validated whole. */
#ifndef CONFIG_GATEWAY_CONFIG_H
#define CONFIG_GATEWAY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/types.h"
#include "core/addr.h"
#include "core/key.h"

#define UPLINKS_MAX 8 /* an MPTCP connection has at most 8 extra subflows before Linux 7.2 */
#define CONCENTRATORS_MAX 8
#define RULES_MAX 1024

enum encryption { ENCRYPTION_AUTO, ENCRYPTION_ALWAYS, ENCRYPTION_NEVER };
enum unreachable { UNREACHABLE_DIRECT, UNREACHABLE_REFUSE };
enum scheduler_kind {
    SCHEDULER_BOND,
    SCHEDULER_FAILOVER,
    SCHEDULER_OVERFLOW,
    SCHEDULER_LATENCY,
    SCHEDULER_SPREAD
};
enum rule_action { RULE_PROXY, RULE_DIRECT, RULE_REFUSE };
enum on_budget { ON_BUDGET_STANDBY, ON_BUDGET_OFF };

struct concentrator_entry {
    char name[NAME_MAX_LENGTH + 1];
    struct addr address; /* with port */
    char *key_file;
    struct key key; /* loaded from it */
};

struct uplink_config {
    char name[NAME_MAX_LENGTH + 1];
    char interface[INTERFACE_NAME];
    struct addr gateway, gateway6; /* family 0: found in the main table */
    uint32_t rank;                 /* its place in the file's order, from 0 */
    uint32_t cost, weight;         /* weight 0: none */
    bool metered;
    uint64_t monthly_budget; /* bytes; 0: none */
    uint32_t budget_day;     /* 1...31 */
    enum on_budget on_budget;
};

struct rule_config {
    char name[NAME_MAX_LENGTH + 1];
    struct cidr *destinations; /* malloced arrays; empty: matches all */
    size_t n_destinations;
    struct client_match *clients;
    size_t n_clients;
    struct port_range *ports;
    size_t n_ports;
    int8_t *dscp;
    size_t n_dscp;
    uint32_t uplinks;           /* bit i: that in place i may be used; all ones by default */
    uint8_t order[UPLINKS_MAX]; /* those that it names, in its order */
    size_t n_order;             /* 0: it names none */
    enum scheduler_kind scheduler;
    enum encryption encryption;
    enum rule_action action;
    unsigned line; /* in the file */
};

struct option_row;

struct gateway_config {
    char (*lan_interfaces)[INTERFACE_NAME];
    size_t n_lan_interfaces;
    uint16_t listen_port;
    enum scheduler_kind scheduler;
    enum encryption encryption;
    enum unreachable when_unreachable;
    bool route_unproxied;
    char packet_scheduler[NAME_MAX_LENGTH + 1]; /* "": the kernel's own choice */
    struct cidr *bypass;                        /* beside the built-in list */
    size_t n_bypass;
    unsigned bypass_line, packet_scheduler_line; /* in the file; 0: not there */
    char *control_socket, *state_dir;
    struct addr metrics_listen; /* family 0: none */
    uint32_t firewall_mark;     /* one or more bits, set on intercepted packets only */
    uint32_t direct_mark;       /* bits in a row, one number for each uplink; of direct flows */
    uint32_t routing_table;     /* first of UPLINKS_MAX + 2 tables of ours */
    uint32_t rule_priority;     /* first of our policy rules */
    uint32_t dial_timeout_ms, idle_timeout_ms, half_closed_timeout_ms;
    uint32_t max_flows;
    struct concentrator_entry concentrators[CONCENTRATORS_MAX];
    size_t n_concentrators;
    /* An uplink keeps its place for as long as the gateway runs, whatever a reload changes: that is
     * its index everywhere. A place without a name is free; one that was left remembers the
     * interface, which gets it back when it returns. */
    struct uplink_config uplinks[UPLINKS_MAX];
    size_t n_uplinks; /* places in use so far */
    struct rule_config *rules;
    size_t n_rules;
};

/* Reads and validates the file and the key files it names. Writes every mistake to `complaints` as
 * "file:line: what is wrong; what to do". Returns the configuration, or NULL. */
struct gateway_config *gateway_config_load(const char *path, FILE *complaints);
/* Likewise, for a gateway that runs with `running`: complains also of what cannot change meanwhile.
 * An uplink is the same when its interface is: it keeps its place under another name, too. */
struct gateway_config *gateway_config_reload(const char *path, const struct gateway_config *running,
                                             FILE *complaints);
void gateway_config_free(struct gateway_config *config); /* wipes keys; NULL is fine */

/* The table of all keys (config/option.h). */
const struct option_row *gateway_config_rows(void);

const char *scheduler_name(enum scheduler_kind kind);

#endif
