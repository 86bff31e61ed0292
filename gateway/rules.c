#include "gateway/rules.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/lookup.h"

#define DSCP_UNKNOWN 0xff /* a value of its own, which no rule can list */

/* A flow must meet all of them; of its client, one of the two: its network or its card. */
enum condition { DESTINATION4, DESTINATION6, CLIENT4, CLIENT6, CLIENT_MAC, PORT, DSCP, CONDITIONS };

struct rules {
    const struct gateway_config *config;
    struct lookup *lookups[CONDITIONS];
};

/* The intervals of one condition, collected. */
struct intervals {
    struct lookup_interval *all;
    size_t n, room, width;
    uint32_t rule; /* whose are added now */
    bool failed;   /* memory is short */
};

static void add(struct intervals *list, const void *first, const void *last)
{
    struct lookup_interval interval = {.rule = list->rule};

    if (list->n == list->room && !list->failed) {
        size_t room = 2 * list->room + 16;
        struct lookup_interval *more = reallocarray(list->all, room, sizeof(*more));
        list->failed = !more;
        list->all = more ? more : list->all;
        list->room = more ? room : list->room;
    }
    if (list->failed)
        return;
    memcpy(interval.first, first, list->width);
    memcpy(interval.last, last, list->width);
    list->all[list->n++] = interval;
}

static void add_all_values(struct intervals *list)
{
    uint8_t first[LOOKUP_WIDTH_MAX] = {0}, last[LOOKUP_WIDTH_MAX];

    memset(last, 0xff, sizeof(last));
    add(list, first, last);
}

static void add_network(struct intervals *list, const struct cidr *network)
{
    uint8_t last[LOOKUP_WIDTH_MAX];

    if (addr_size(&network->base) != list->width || !network->base.family)
        return;
    memcpy(last, network->base.ip, sizeof(last));
    for (size_t bit = network->prefix; bit < 8 * list->width; bit++)
        last[bit / 8] |= (uint8_t)(0x80u >> (bit % 8));
    add(list, network->base.ip, last);
}

static void add_destinations(struct intervals *list, const struct rule_config *rule)
{
    for (size_t i = 0; i < rule->n_destinations; i++)
        add_network(list, &rule->destinations[i]);
    if (rule->n_destinations == 0)
        add_all_values(list);
}

static void add_clients(struct intervals *list, const struct rule_config *rule)
{
    for (size_t i = 0; i < rule->n_clients; i++)
        add_network(list, &rule->clients[i].network);
    if (rule->n_clients == 0)
        add_all_values(list);
}

static void add_macs(struct intervals *list, const struct rule_config *rule)
{
    for (size_t i = 0; i < rule->n_clients; i++) {
        const struct client_match *client = &rule->clients[i];
        if (!client->network.base.family)
            add(list, client->mac.bytes, client->mac.bytes);
    }
    if (rule->n_clients == 0)
        add_all_values(list);
}

static void add_ports(struct intervals *list, const struct rule_config *rule)
{
    for (size_t i = 0; i < rule->n_ports; i++) {
        const struct port_range *range = &rule->ports[i];
        uint8_t first[] = {(uint8_t)(range->first >> 8), (uint8_t)range->first};
        uint8_t last[] = {(uint8_t)(range->last >> 8), (uint8_t)range->last};
        add(list, first, last);
    }
    if (rule->n_ports == 0)
        add_all_values(list);
}

static void add_dscp(struct intervals *list, const struct rule_config *rule)
{
    for (size_t i = 0; i < rule->n_dscp; i++)
        add(list, &rule->dscp[i], &rule->dscp[i]);
    if (rule->n_dscp == 0)
        add_all_values(list);
}

static const struct {
    size_t width;
    void (*add)(struct intervals *list, const struct rule_config *rule);
} conditions[] = {
    [DESTINATION4] = {4, add_destinations},
    [DESTINATION6] = {16, add_destinations},
    [CLIENT4] = {4, add_clients},
    [CLIENT6] = {16, add_clients},
    [CLIENT_MAC] = {6, add_macs},
    [PORT] = {2, add_ports},
    [DSCP] = {1, add_dscp},
};

static struct lookup *compile(const struct gateway_config *config, enum condition condition)
{
    struct intervals list = {.width = conditions[condition].width};
    struct lookup *lookup = NULL;

    for (size_t i = 0; i < config->n_rules; i++) {
        list.rule = (uint32_t)i;
        conditions[condition].add(&list, &config->rules[i]);
    }
    if (!list.failed)
        lookup = lookup_new(list.width, config->n_rules, list.all, list.n);
    free(list.all);
    return lookup;
}

struct rules *rules_new(const struct gateway_config *config)
{
    struct rules *rules = calloc(1, sizeof(*rules));

    if (!rules)
        return NULL;
    rules->config = config;
    for (int i = 0; i < CONDITIONS; i++) {
        rules->lookups[i] = compile(config, (enum condition)i);
        if (!rules->lookups[i]) {
            rules_free(rules);
            return NULL;
        }
    }
    return rules;
}

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    for (int i = 0; i < CONDITIONS; i++)
        lookup_free(rules->lookups[i]);
    free(rules);
}

static const uint64_t *find(const struct rules *rules, enum condition condition, const void *value)
{
    return lookup_find(rules->lookups[condition], value);
}

/* NULL: none. */
static const struct rule_config *first_match(const struct rules *rules, const struct flow_key *key)
{
    bool to_v6 = key->destination.family == 6, from_v6 = key->client.family == 6;
    uint16_t port = key->destination.port;
    uint8_t port_value[] = {(uint8_t)(port >> 8), (uint8_t)port};
    uint8_t dscp_value = key->dscp < 0 ? DSCP_UNKNOWN : (uint8_t)key->dscp;
    const uint64_t *destination =
        find(rules, to_v6 ? DESTINATION6 : DESTINATION4, key->destination.ip);
    const uint64_t *client = find(rules, from_v6 ? CLIENT6 : CLIENT4, key->client.ip);
    const uint64_t *mac = find(rules, CLIENT_MAC, key->mac.bytes);
    const uint64_t *ports = find(rules, PORT, port_value);
    const uint64_t *dscp = find(rules, DSCP, &dscp_value);

    for (size_t i = 0; i < lookup_words(rules->config->n_rules); i++) {
        uint64_t met = destination[i] & (client[i] | mac[i]) & ports[i] & dscp[i];
        if (met)
            return &rules->config->rules[i * 64 + (size_t)__builtin_ctzll(met)];
    }
    return NULL;
}

struct policy rules_match(const struct rules *rules, const struct flow_key *key)
{
    const struct gateway_config *config = rules->config;
    const struct rule_config *rule = first_match(rules, key);
    struct policy policy = {.rule = "",
                            .scheduler = rule ? rule->scheduler : config->scheduler,
                            .encryption = rule ? rule->encryption : config->encryption,
                            .action = rule ? rule->action : RULE_PROXY,
                            .uplinks = rule ? rule->uplinks : UINT32_MAX};

    if (rule)
        memcpy(policy.rule, rule->name, sizeof(policy.rule));
    return policy;
}

size_t rules_bytes(const struct rules *rules)
{
    size_t bytes = sizeof(*rules);

    for (int i = 0; i < CONDITIONS; i++)
        bytes += lookup_bytes(rules->lookups[i]);
    return bytes;
}
