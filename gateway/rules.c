#include "gateway/rules.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/lookup.h"

#define WORDS_MAX (RULES_MAX / 64 + 1) /* some more than a configuration may have */
#define DSCP_UNKNOWN 0xff              /* a value of its own, which no rule can list */

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

/* Of `those`, only the rules remain that hold wherever this one does. Returns whether it does
 * anywhere. */
static bool keep_wider(const struct rules *rules, enum condition condition, size_t rule,
                       uint64_t *those)
{
    size_t n, words = lookup_words(rules->config->n_rules);
    const uint64_t *sets = lookup_sets(rules->lookups[condition], &n);
    bool anywhere = false;

    for (size_t i = 0; i < n; i++) {
        const uint64_t *set = sets + i * words;
        if (!(set[rule / 64] >> rule % 64 & 1))
            continue;
        anywhere = true;
        for (size_t word = 0; word < words; word++)
            those[word] &= set[word];
    }
    return anywhere;
}

/* For flows of one IP version. `wider` is left alone where the rule matches none of these. */
static bool keep_wider_for(const struct rules *rules, bool v6, size_t rule, uint64_t *wider)
{
    size_t words = lookup_words(rules->config->n_rules);
    uint64_t here[WORDS_MAX];

    memset(here, 0xff, words * sizeof(*here));
    bool to = keep_wider(rules, v6 ? DESTINATION6 : DESTINATION4, rule, here);
    bool from = keep_wider(rules, v6 ? CLIENT6 : CLIENT4, rule, here);
    /* Any client's networks are all there are; its card says no more. */
    bool any = rules->config->rules[rule].n_clients == 0;
    bool by_card = !any && keep_wider(rules, CLIENT_MAC, rule, here);
    if (!to || (!from && !by_card))
        return false;
    keep_wider(rules, PORT, rule, here);
    keep_wider(rules, DSCP, rule, here);
    for (size_t word = 0; word < words; word++)
        wider[word] &= here[word];
    return true;
}

int rules_shadow(const struct rules *rules, size_t rule)
{
    uint64_t wider[WORDS_MAX];

    memset(wider, 0xff, sizeof(wider));
    bool v4 = keep_wider_for(rules, false, rule, wider);
    bool v6 = keep_wider_for(rules, true, rule, wider);
    if (!v4 && !v6)
        return RULES_MATCHES_NOTHING;
    for (size_t i = 0; i < rule; i++) {
        if (wider[i / 64] >> i % 64 & 1)
            return (int)i;
    }
    return RULES_NO_SHADOW;
}

size_t rules_bytes(const struct rules *rules)
{
    size_t bytes = sizeof(*rules);

    for (int i = 0; i < CONDITIONS; i++)
        bytes += lookup_bytes(rules->lookups[i]);
    return bytes;
}
