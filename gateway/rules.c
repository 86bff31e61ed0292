#include "gateway/rules.h"

#include <stdbool.h>

static bool in_networks(const struct cidr *networks, size_t n, const struct addr *a)
{
    for (size_t i = 0; i < n; i++) {
        if (cidr_contains(&networks[i], a))
            return true;
    }
    return n == 0;
}

static bool in_ports(const struct port_range *ports, size_t n, uint16_t port)
{
    for (size_t i = 0; i < n; i++) {
        if (port >= ports[i].first && port <= ports[i].last)
            return true;
    }
    return n == 0;
}

static bool in_dscp(const int8_t *values, size_t n, int8_t dscp)
{
    for (size_t i = 0; i < n; i++) {
        if (values[i] == dscp)
            return true;
    }
    return n == 0;
}

static bool matches(const struct rule_config *rule, const struct flow_key *key)
{
    return in_networks(rule->destinations, rule->n_destinations, &key->destination) &&
           in_networks(rule->clients, rule->n_clients, &key->client) &&
           in_ports(rule->ports, rule->n_ports, key->destination.port) &&
           in_dscp(rule->dscp, rule->n_dscp, key->dscp);
}

struct policy rules_match(const struct gateway_config *config, const struct flow_key *key)
{
    for (size_t i = 0; i < config->n_rules; i++) {
        const struct rule_config *rule = &config->rules[i];
        if (matches(rule, key)) {
            return (struct policy){.rule = rule->name,
                                   .scheduler = rule->scheduler,
                                   .encryption = rule->encryption,
                                   .action = rule->action,
                                   .uplinks = rule->uplinks};
        }
    }
    return (struct policy){.rule = "",
                           .scheduler = config->scheduler,
                           .encryption = config->encryption,
                           .action = RULE_PROXY,
                           .uplinks = UINT32_MAX};
}
