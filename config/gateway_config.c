#include "config/gateway_config.h"

#include <stdlib.h>
#include <string.h>

#include "config/option.h"
#include "config/suggest.h"

#define AT(field) .at = offsetof(struct gateway_config, field)
#define LIST_AT(field) AT(field), .count_at = offsetof(struct gateway_config, n_##field)
#define CONCENTRATOR_AT(field) .at = offsetof(struct concentrator_entry, field)
#define UPLINK_AT(field) .at = offsetof(struct uplink_config, field)
#define RULE_AT(field) .at = offsetof(struct rule_config, field)
#define RULE_LIST_AT(field) RULE_AT(field), .count_at = offsetof(struct rule_config, n_##field)

/* A choice is written as an unsigned (config/option.h). */
_Static_assert(sizeof(enum scheduler_kind) == sizeof(unsigned), "an enum is an unsigned");

static const struct option_word schedulers[] = {
    {"bond", SCHEDULER_BOND},         {"failover", SCHEDULER_FAILOVER},
    {"overflow", SCHEDULER_OVERFLOW}, {"latency", SCHEDULER_LATENCY},
    {"spread", SCHEDULER_SPREAD},     {"", 0},
};
static const struct option_word encryptions[] = {
    {"auto", ENCRYPTION_AUTO},
    {"always", ENCRYPTION_ALWAYS},
    {"never", ENCRYPTION_NEVER},
    {"", 0},
};
static const struct option_word unreachables[] = {
    {"direct", UNREACHABLE_DIRECT},
    {"refuse", UNREACHABLE_REFUSE},
    {"", 0},
};
static const struct option_word actions[] = {
    {"proxy", RULE_PROXY},
    {"direct", RULE_DIRECT},
    {"refuse", RULE_REFUSE},
    {"", 0},
};
static const struct option_word on_budgets[] = {
    {"standby", ON_BUDGET_STANDBY},
    {"off", ON_BUDGET_OFF},
    {"", 0},
};

static const struct option_row concentrator_rows[] = {
    {.name = "name",
     .kind = OPTION_NAME,
     .flags = OPTION_REQUIRED,
     .example = "\"vps\"",
     CONCENTRATOR_AT(name),
     .help = "What status and log call it."},
    /* Before port, which it would overwrite. */
    {.name = "address",
     .kind = OPTION_IP,
     .flags = OPTION_REQUIRED,
     .example = "\"203.0.113.10\"",
     CONCENTRATOR_AT(address),
     .help = "Its public address, IPv4 or IPv6."},
    {.name = "port",
     .kind = OPTION_PORT,
     .def = "7171",
     CONCENTRATOR_AT(address.port),
     .help = "The TCP port that it listens on."},
    {.name = "key_file",
     .kind = OPTION_PATH,
     .flags = OPTION_REQUIRED,
     .max = 4095,
     .example = "\"/etc/bondway/vps.key\"",
     CONCENTRATOR_AT(key_file),
     .help = "The key that it shares with this gateway, mode 0600; made by bondway keygen."},
    {.name = ""},
};

static const struct option_row uplink_rows[] = {
    {.name = "name",
     .kind = OPTION_NAME,
     .flags = OPTION_REQUIRED,
     .example = "\"dsl\"",
     UPLINK_AT(name),
     .help = "What rules, status and log call it."},
    {.name = "interface",
     .kind = OPTION_INTERFACE,
     .flags = OPTION_REQUIRED,
     .example = "\"pppoe-wan\"",
     UPLINK_AT(interface),
     .help = "The network interface."},
    {.name = "cost",
     .kind = OPTION_INTEGER,
     .max = 1000000,
     .def = "0",
     UPLINK_AT(cost),
     .help = "Cheaper uplinks come first where a scheduler prefers one."},
    {.name = "weight",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000000,
     UPLINK_AT(weight),
     .help = "With the scheduler spread, its share of the flows; by capacity where none has one."},
    {.name = "metered",
     .kind = OPTION_BOOL,
     .def = "false",
     UPLINK_AT(metered),
     .help = "Whether its data is paid for: while it carries nothing it is probed once a minute."},
    {.name = "gateway",
     .kind = OPTION_IP,
     .min = 4,
     UPLINK_AT(gateway),
     .help = "The IPv4 next hop, where the main table has no default route by this interface."},
    {.name = "gateway6",
     .kind = OPTION_IP,
     .min = 6,
     UPLINK_AT(gateway6),
     .help = "The IPv6 next hop, likewise."},
    {.name = "monthly_budget",
     .kind = OPTION_SIZE,
     .min = 1000000,
     UPLINK_AT(monthly_budget),
     .help = "What its interface may carry in a month, both ways; absent: as much as it can."},
    {.name = "budget_day",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 31,
     .def = "1",
     UPLINK_AT(budget_day),
     .help =
         "The day on which that month begins, at local midnight; the last where there is none."},
    {.name = "on_budget",
     .kind = OPTION_CHOICE,
     .words = on_budgets,
     .def = "\"standby\"",
     UPLINK_AT(on_budget),
     .help = "Beyond the budget: standby uses it when nothing else is healthy, off not at all."},
    {.name = ""},
};

static const struct option_row rule_rows[] = {
    {.name = "name",
     .kind = OPTION_NAME,
     .flags = OPTION_REQUIRED,
     .example = "\"ssh\"",
     RULE_AT(name),
     .help = "What status and log call it."},
    {.name = "destinations",
     .kind = OPTION_NETWORK,
     .flags = OPTION_LIST,
     .example = "[\"198.51.100.0/24\"]",
     RULE_LIST_AT(destinations),
     .help = "Matches flows to these networks; to any, where absent or empty."},
    {.name = "ports",
     .kind = OPTION_PORTS,
     .flags = OPTION_LIST,
     .example = "(22, \"8000-8100\")",
     RULE_LIST_AT(ports),
     .help = "Matches flows to these ports; to any, where absent or empty."},
    {.name = "clients",
     .kind = OPTION_CLIENT,
     .flags = OPTION_LIST,
     .example = "[\"192.168.1.20\"]",
     RULE_LIST_AT(clients),
     .help =
         "Matches flows from these networks or MAC addresses; from any, where absent or empty."},
    {.name = "dscp",
     .kind = OPTION_DSCP,
     .flags = OPTION_LIST,
     .example = "[46]",
     RULE_LIST_AT(dscp),
     .help = "Matches flows so marked; any, where absent or empty."},
    {.name = "uplinks",
     .kind = OPTION_REFERENCE,
     .flags = OPTION_LIST,
     .min = 1,
     .max = UPLINKS_MAX,
     .example = "[\"dsl\"]",
     .help = "The uplinks that the flow may use; all, where absent. If direct: the first that can "
             "carry it; where absent, the router's normal way."},
    {.name = "scheduler",
     .kind = OPTION_CHOICE,
     .words = schedulers,
     RULE_AT(scheduler),
     .help = "How the flow uses them; as outside of rules, where absent."},
    {.name = "encryption",
     .kind = OPTION_CHOICE,
     .words = encryptions,
     RULE_AT(encryption),
     .help = "Whether the flow is sealed; as outside of rules, where absent."},
    {.name = "action",
     .kind = OPTION_CHOICE,
     .words = actions,
     .def = "\"proxy\"",
     RULE_AT(action),
     .help = "proxy carries the flow, direct lets it go without us, refuse resets it."},
    {.name = ""},
};

static const struct option_row rows[] = {
    {.name = "lan_interfaces",
     .kind = OPTION_INTERFACE,
     .flags = OPTION_REQUIRED | OPTION_LIST,
     .min = 1,
     .max = 64,
     .example = "[\"br-lan\"]",
     LIST_AT(lan_interfaces),
     .help = "The interfaces whose clients' TCP is carried."},
    {.name = "listen_port",
     .kind = OPTION_PORT,
     .def = "7170",
     AT(listen_port),
     .help = "The port on this host where intercepted connections are delivered."},
    {.name = "scheduler",
     .kind = OPTION_CHOICE,
     .words = schedulers,
     .def = "\"bond\"",
     AT(scheduler),
     .help = "Which uplinks a flow has at once: with bond all, with latency the nearest."},
    {.name = "encryption",
     .kind = OPTION_CHOICE,
     .words = encryptions,
     .def = "\"auto\"",
     AT(encryption),
     .help = "auto seals every flow that is not TLS already."},
    {.name = "when_unreachable",
     .kind = OPTION_CHOICE,
     .words = unreachables,
     .def = "\"direct\"",
     AT(when_unreachable),
     .help = "Without a concentrator: direct lets new connections take the router's normal way."},
    {.name = "route_unproxied",
     .kind = OPTION_BOOL,
     .def = "true",
     AT(route_unproxied),
     .help = "Whether UDP, ICMP and the router's own traffic follow the cheapest healthy uplink."},
    {.name = "packet_scheduler",
     .kind = OPTION_NAME,
     AT(packet_scheduler),
     .help = "One of net.mptcp.available_schedulers, for uploads; absent: the kernel's choice."},
    {.name = "bypass",
     .kind = OPTION_NETWORK,
     .flags = OPTION_LIST,
     .def = "[]",
     .example = "[\"192.0.2.0/24\"]",
     LIST_AT(bypass),
     .help = "Destinations that are left alone, beside private, local and multicast ones."},
    {.name = "control_socket",
     .kind = OPTION_PATH,
     .max = 107,
     .def = "\"/run/bondway/gateway.sock\"",
     AT(control_socket),
     .help = "Where bondway status and its like ask."},
    {.name = "state_dir",
     .kind = OPTION_PATH,
     .max = 4000,
     .def = "\"/var/lib/bondway\"",
     AT(state_dir),
     .help = "Where the use of budgets is kept; it must outlive a reboot."},
    {.name = "metrics_listen",
     .kind = OPTION_ENDPOINT,
     AT(metrics_listen),
     .help = "Where a status page (/) and metrics for Prometheus (/metrics) are served, to whoever "
             "can reach it; off without."},
    {.name = "firewall_mark",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = UINT32_MAX,
     .def = "0x10000000",
     AT(firewall_mark),
     .help = "The bits of packets' marks that we set on what is taken from the LAN."},
    {.name = "direct_mark",
     .kind = OPTION_INTEGER,
     .flags = OPTION_FIXED, /* flows that run have it in conntrack */
     .min = 1,
     .max = UINT32_MAX,
     .def = "0x0f000000",
     AT(direct_mark),
     .help = "The bits of packets' and conntrack's marks that name the uplink of a direct flow."},
    {.name = "routing_table",
     .kind = OPTION_INTEGER,
     .flags = OPTION_FIXED,
     .min = 256,
     .max = UINT32_MAX - 16,
     .def = "7170",
     AT(routing_table),
     .help = "The first of ten routing tables that are ours."},
    {.name = "rule_priority",
     .kind = OPTION_INTEGER,
     .flags = OPTION_FIXED,
     .min = 1,
     .max = 32000,
     .def = "7170",
     AT(rule_priority),
     .help = "Where our policy routing rules begin; before main, 32766."},
    {.name = "dial_timeout",
     .kind = OPTION_DURATION,
     .min = 100,
     .max = 300000,
     .def = "\"10s\"",
     AT(dial_timeout_ms),
     .help = "How long a concentrator may take to answer."},
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
    {.name = "max_flows",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000000,
     .def = "4096",
     AT(max_flows),
     .help = "How many flows there may be at once."},
    {.name = "concentrators",
     .kind = OPTION_GROUP,
     .flags = OPTION_REQUIRED | OPTION_LIST | OPTION_IN_PLACE,
     .min = 1,
     .max = CONCENTRATORS_MAX,
     .example = "( { name = \"vps\"; ... } )",
     LIST_AT(concentrators),
     .rows = concentrator_rows,
     .size = sizeof(struct concentrator_entry),
     .help = "The concentrators, in order of preference."},
    {.name = "uplinks",
     .kind = OPTION_GROUP,
     .flags = OPTION_REQUIRED | OPTION_LIST | OPTION_IN_PLACE,
     .min = 1,
     .max = UPLINKS_MAX,
     .example = "( { name = \"dsl\"; ... } )",
     LIST_AT(uplinks),
     .rows = uplink_rows,
     .size = sizeof(struct uplink_config),
     .help = "The uplinks, in order of preference."},
    {.name = "rules",
     .kind = OPTION_GROUP,
     .flags = OPTION_LIST,
     .max = RULES_MAX,
     .def = "()",
     .example = "( { name = \"ssh\"; ... } )",
     LIST_AT(rules),
     .rows = rule_rows,
     .size = sizeof(struct rule_config),
     .help = "What differs for some flows: the first match counts."},
    {.name = ""},
};

static void check_concentrators(struct option_file *file, struct gateway_config *config)
{
    option_check_unique(file, "concentrators", "name", "concentrator");
    for (size_t i = 0; i < config->n_concentrators; i++) {
        struct concentrator_entry *entry = &config->concentrators[i];
        for (size_t j = 0; entry->address.family && j < i; j++) {
            if (addr_equal(&entry->address, &config->concentrators[j].address))
                option_complain(file, option_find(file, "concentrators", i, "address"),
                                "concentrator \"%s\" has the address and port of \"%s\"; "
                                "remove one of them",
                                entry->name, config->concentrators[j].name);
        }
        option_load_key(file, "concentrators", i, entry->key_file, &entry->key);
    }
}

static bool is_lan_interface(const struct gateway_config *config, const char *name)
{
    for (size_t i = 0; i < config->n_lan_interfaces; i++) {
        if (strcmp(name, config->lan_interfaces[i]) == 0)
            return true;
    }
    return false;
}

static const config_setting_t *find_uplink_key(const struct option_file *file, size_t i,
                                               const char *key)
{
    const config_setting_t *setting = option_find(file, "uplinks", i, key);
    const char *name = config_setting_name(setting);

    return name && strcmp(name, key) == 0 ? setting : NULL;
}

static void check_budget(struct option_file *file, size_t i)
{
    static const char *const keys[] = {"budget_day", "on_budget"};

    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        const config_setting_t *setting = find_uplink_key(file, i, keys[k]);
        if (setting && !find_uplink_key(file, i, "monthly_budget"))
            option_complain(file, setting, "%s without monthly_budget; set that, too, or remove it",
                            keys[k]);
    }
}

static void check_uplinks(struct option_file *file, const struct gateway_config *config)
{
    option_check_unique(file, "uplinks", "name", "uplink");
    option_check_unique(file, "uplinks", "interface", "uplink");
    for (size_t i = 0; i < config->n_uplinks; i++) {
        const struct uplink_config *uplink = &config->uplinks[i];
        check_budget(file, i);
        if (uplink->interface[0] && is_lan_interface(config, uplink->interface))
            option_complain(
                file, option_find(file, "uplinks", i, "interface"),
                "\"%s\" is one of lan_interfaces, too; an interface leads either to the "
                "LAN or to the Internet",
                uplink->interface);
    }
}

static void check_lan_interfaces(struct option_file *file, const struct gateway_config *config)
{
    for (size_t i = 1; i < config->n_lan_interfaces; i++) {
        const char *name = config->lan_interfaces[i];
        for (size_t j = 0; name[0] && j < i; j++) {
            if (strcmp(name, config->lan_interfaces[j]) == 0)
                option_complain(file, config_lookup(&file->parsed, "lan_interfaces"),
                                "lan_interfaces holds \"%s\" twice; remove one", name);
        }
    }
}

static size_t find_interface(const struct gateway_config *config, const char *interface)
{
    size_t at = 0;

    while (at < config->n_uplinks && strcmp(config->uplinks[at].interface, interface) != 0)
        at++;
    return at;
}

/* Rather one that no connection has ever had to do with, or not of late; direct_mark has room for
 * its number. */
static size_t find_place(const struct gateway_config *running, const struct uplink_config *places)
{
    size_t unused = 0, free_before = 0, free_now = 0;
    size_t most = running->direct_mark / (running->direct_mark & -running->direct_mark);

    if (most > UPLINKS_MAX)
        most = UPLINKS_MAX;
    while (unused < most && places[unused].interface[0])
        unused++;
    while (free_before < most &&
           (places[free_before].name[0] || running->uplinks[free_before].name[0]))
        free_before++;
    while (places[free_now].name[0])
        free_now++;
    return unused < most ? unused : free_before < most ? free_before : free_now;
}

static void place_uplinks(struct gateway_config *config, const struct gateway_config *running)
{
    struct uplink_config places[UPLINKS_MAX] = {0};
    size_t n = running->n_uplinks;

    for (size_t i = 0; i < n; i++)
        memcpy(places[i].interface, running->uplinks[i].interface, INTERFACE_NAME);
    for (size_t i = 0; i < config->n_uplinks; i++) {
        size_t at = find_interface(running, config->uplinks[i].interface);
        if (at < running->n_uplinks)
            places[at] = config->uplinks[i];
    }
    for (size_t i = 0; i < config->n_uplinks; i++) {
        if (find_interface(running, config->uplinks[i].interface) < running->n_uplinks)
            continue;
        size_t at = find_place(running, places);
        places[at] = config->uplinks[i];
        n = at < n ? n : at + 1;
    }
    memcpy(config->uplinks, places, sizeof(places));
    config->n_uplinks = n;
}

/* -1: there is none of that name. */
static int uplink_index(const struct gateway_config *config, const char *name)
{
    for (size_t i = 0; i < config->n_uplinks; i++) {
        if (strcmp(config->uplinks[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static void complain_no_uplink(struct option_file *file, const struct gateway_config *config,
                               const config_setting_t *setting, const char *name)
{
    const char *best = config->uplinks[0].name;

    for (size_t i = 1; i < config->n_uplinks; i++) {
        if (suggest_distance(name, config->uplinks[i].name) < suggest_distance(name, best))
            best = config->uplinks[i].name;
    }
    if (suggest_close(name, best))
        option_complain(file, setting, "there is no uplink \"%.60s\"; did you mean \"%s\"?", name,
                        best);
    else
        option_complain(file, setting, "there is no uplink \"%.60s\"; write a name from uplinks",
                        name);
}

static void resolve_uplink(struct option_file *file, const struct gateway_config *config,
                           const config_setting_t *setting, struct rule_config *rule)
{
    const char *name = config_setting_get_string(setting);
    int index = name ? uplink_index(config, name) : -1;

    if (name && index < 0)
        complain_no_uplink(file, config, setting, name);
    else if (name && rule->uplinks & UINT32_C(1) << index)
        option_complain(file, setting, "uplinks holds \"%s\" twice; remove one", name);
    else if (name) {
        rule->uplinks |= UINT32_C(1) << index;
        rule->order[rule->n_order++] = (uint8_t)index;
    }
}

static void resolve_uplinks(struct option_file *file, const struct gateway_config *config,
                            const config_setting_t *names, struct rule_config *rule)
{
    rule->uplinks = names ? 0 : UINT32_MAX;
    for (int i = 0; names && i < config_setting_length(names); i++)
        resolve_uplink(file, config, config_setting_get_elem(names, (unsigned)i), rule);
}

/* Keys that mean something only where a flow is carried. */
static void check_action(struct option_file *file, const struct rule_config *rule,
                         const config_setting_t *group)
{
    static const char *const keys[] = {"scheduler", "encryption", "uplinks"};
    size_t n = rule->action == RULE_REFUSE ? 3 : rule->action == RULE_DIRECT ? 2 : 0;

    for (size_t i = 0; i < n; i++) {
        const config_setting_t *setting =
            config_setting_get_member((config_setting_t *)group, keys[i]);
        if (setting)
            option_complain(file, setting,
                            "rule \"%s\" has action = \"%s\", where %s means nothing; remove it",
                            rule->name, actions[rule->action].word, keys[i]);
    }
}

/* The numbers of all uplinks must fit. */
static void check_marks(struct option_file *file, const struct gateway_config *config)
{
    const config_setting_t *setting = config_lookup(&file->parsed, "direct_mark");
    uint32_t mark = config->direct_mark, lowest = mark & -mark;

    if (!mark) /* complained of */
        return;
    if (mark & config->firewall_mark)
        option_complain(
            file, setting ? setting : config_lookup(&file->parsed, "firewall_mark"),
            "direct_mark and firewall_mark have bits in common; give each its own, such "
            "as 0x0f000000 and 0x10000000");
    if ((mark / lowest & (mark / lowest + 1)) != 0)
        option_complain(file, setting,
                        "direct_mark has gaps; write bits in a row, such as "
                        "0x0f000000");
    else if (mark / lowest < config->n_uplinks)
        option_complain(file, setting,
                        "direct_mark has too few bits to number %zu uplinks; write more in a row, "
                        "such as 0x0f000000",
                        config->n_uplinks);
}

/* What a rule leaves open is as it is outside of rules. */
static void complete_rules(struct option_file *file, struct gateway_config *config)
{
    const config_setting_t *list = config_lookup(&file->parsed, "rules");

    option_check_unique(file, "rules", "name", "rule");
    for (size_t i = 0; i < config->n_rules; i++) {
        struct rule_config *rule = &config->rules[i];
        config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
        if (!config_setting_is_group(group))
            continue;
        if (!config_setting_get_member(group, "scheduler"))
            rule->scheduler = config->scheduler;
        if (!config_setting_get_member(group, "encryption"))
            rule->encryption = config->encryption;
        resolve_uplinks(file, config, config_setting_get_member(group, "uplinks"), rule);
        check_action(file, rule, group);
        rule->line = config_setting_source_line(group);
    }
}

static void read_file(struct option_file *file, struct gateway_config *config,
                      const struct gateway_config *running)
{
    option_read(file, rows, config);
    check_lan_interfaces(file, config);
    check_concentrators(file, config);
    check_uplinks(file, config);
    config->bypass_line = option_line(file, "bypass");
    config->packet_scheduler_line = option_line(file, "packet_scheduler");
    check_marks(file, config);
    for (size_t i = 0; i < config->n_uplinks; i++)
        config->uplinks[i].rank = (uint32_t)i;
    if (running)
        option_check_fixed(file, rows, config, running);
    if (running && !file->failed)
        place_uplinks(config, running);
    complete_rules(file, config);
}

struct gateway_config *gateway_config_reload(const char *path, const struct gateway_config *running,
                                             FILE *complaints)
{
    struct option_file file;
    struct gateway_config *config = calloc(1, sizeof(*config));

    if (!config) {
        fprintf(complaints, "%s: out of memory; free some\n", path);
        return NULL;
    }
    if (option_file_open(&file, path, complaints) == 0)
        read_file(&file, config, running);
    option_file_close(&file);
    if (!file.failed)
        return config;
    gateway_config_free(config);
    return NULL;
}

struct gateway_config *gateway_config_load(const char *path, FILE *complaints)
{
    return gateway_config_reload(path, NULL, complaints);
}

void gateway_config_free(struct gateway_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->n_concentrators; i++)
        key_wipe(&config->concentrators[i].key);
    option_free(rows, config);
    free(config);
}

const struct option_row *gateway_config_rows(void)
{
    return rows;
}

const char *scheduler_name(enum scheduler_kind kind)
{
    return schedulers[kind].word;
}
