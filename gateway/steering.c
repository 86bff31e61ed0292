#include "gateway/steering.h"

#include <inttypes.h>

#include "gateway/intercept.h"
#include "gateway/tally.h"

bool steering_wanted(const struct gateway_config *config)
{
    for (size_t i = 0; i < config->n_rules; i++) {
        if (config->rules[i].action != RULE_PROXY)
            return true;
    }
    return false;
}

uint32_t steering_uplinks(const struct gateway_config *config)
{
    uint32_t named = 0;

    for (size_t i = 0; i < config->n_rules; i++) {
        const struct rule_config *rule = &config->rules[i];
        if (rule->action == RULE_DIRECT && rule->n_order > 0)
            named |= rule->uplinks;
    }
    return named;
}

uint32_t steering_mark(const struct gateway_config *config, uint32_t uplink)
{
    uint32_t lowest = config->direct_mark & -config->direct_mark;

    return (uplink + 1) * lowest;
}

/* Which uplink new flows of the rule take; -1: none. */
static int choose(const struct rule_config *rule, uint32_t carriers)
{
    for (size_t i = 0; i < rule->n_order; i++) {
        if (carriers & UINT32_C(1) << rule->order[i])
            return rule->order[i];
    }
    return -1;
}

/* ---- sets ---- */

/* Ranges of a person's lists may overlap. */
static void begin_set(const char *name, size_t rule, const char *family, const char *type,
                      FILE *out)
{
    fprintf(out,
            "  set %s%zu%s {\n    type %s\n    flags interval\n    auto-merge\n"
            "    elements = {",
            name, rule, family, type);
}

static void end_set(FILE *out)
{
    fprintf(out, " }\n  }\n");
}

static const char *const family_names[] = {"_4", "_6"}, *const address_types[] = {"ipv4_addr",
                                                                                  "ipv6_addr"};

static size_t count_destinations(const struct rule_config *rule, uint8_t family)
{
    size_t n = 0;

    for (size_t i = 0; i < rule->n_destinations; i++)
        n += rule->destinations[i].base.family == family;
    return n;
}

/* family 0: those named by their card. */
static size_t count_clients(const struct rule_config *rule, uint8_t family)
{
    size_t n = 0;

    for (size_t i = 0; i < rule->n_clients; i++)
        n += rule->clients[i].network.base.family == family;
    return n;
}

static void write_network(const struct cidr *network, FILE *out)
{
    char text[ADDR_TEXT];

    fprintf(out, " %s,", cidr_format(network, text));
}

static void write_addresses(const struct rule_config *rule, size_t number, bool v6, FILE *out)
{
    uint8_t family = v6 ? 6 : 4;

    if (count_destinations(rule, family) > 0) {
        begin_set("to", number, family_names[v6], address_types[v6], out);
        for (size_t i = 0; i < rule->n_destinations; i++) {
            if (rule->destinations[i].base.family == family)
                write_network(&rule->destinations[i], out);
        }
        end_set(out);
    }
    if (count_clients(rule, family) > 0) {
        begin_set("from", number, family_names[v6], address_types[v6], out);
        for (size_t i = 0; i < rule->n_clients; i++) {
            if (rule->clients[i].network.base.family == family)
                write_network(&rule->clients[i].network, out);
        }
        end_set(out);
    }
}

static void write_ports(const struct rule_config *rule, size_t number, FILE *out)
{
    if (rule->n_ports == 0)
        return;
    begin_set("ports", number, "", "inet_service", out);
    for (size_t i = 0; i < rule->n_ports; i++)
        fprintf(out, " %u-%u,", rule->ports[i].first, rule->ports[i].last);
    end_set(out);
}

/* ---- rules ---- */

static void write_cards(const struct rule_config *rule, FILE *out)
{
    char text[ADDR_TEXT];

    fprintf(out, " ether saddr {");
    for (size_t i = 0; i < rule->n_clients; i++) {
        if (!rule->clients[i].network.base.family)
            fprintf(out, " %s,", mac_format(&rule->clients[i].mac, text));
    }
    fprintf(out, " }");
}

static void write_verdict(const struct rule_config *rule, size_t number, FILE *out)
{
    if (rule->action == RULE_REFUSE)
        fprintf(out, " goto " TALLY_REFUSED "\n");
    else if (rule->action == RULE_DIRECT)
        fprintf(out, " goto direct%zu\n", number);
    else
        fprintf(out, " return\n");
}

enum clients { CLIENTS_ANY, CLIENTS_NETWORKS, CLIENTS_CARDS };

/* One line: the rule for packets of one family, and one way to tell clients. */
static void write_line(const struct rule_config *rule, size_t number, bool v6, enum clients clients,
                       FILE *out)
{
    const char *ip = v6 ? "ip6" : "ip";

    fprintf(out, "    meta nfproto ipv%c", v6 ? '6' : '4');
    if (rule->n_destinations > 0)
        fprintf(out, " %s daddr @to%zu%s", ip, number, family_names[v6]);
    if (clients == CLIENTS_NETWORKS)
        fprintf(out, " %s saddr @from%zu%s", ip, number, family_names[v6]);
    if (clients == CLIENTS_CARDS)
        write_cards(rule, out);
    if (rule->n_ports > 0)
        fprintf(out, " tcp dport @ports%zu", number);
    if (rule->n_dscp > 0) {
        fprintf(out, " %s dscp {", ip);
        for (size_t i = 0; i < rule->n_dscp; i++)
            fprintf(out, " %d,", rule->dscp[i]);
        fprintf(out, " }");
    }
    write_verdict(rule, number, out);
}

static void write_rule(const struct rule_config *rule, size_t number, bool v6, FILE *out)
{
    uint8_t family = v6 ? 6 : 4;

    if (rule->n_destinations > 0 && count_destinations(rule, family) == 0)
        return;
    if (rule->n_clients == 0)
        write_line(rule, number, v6, CLIENTS_ANY, out);
    if (count_clients(rule, family) > 0)
        write_line(rule, number, v6, CLIENTS_NETWORKS, out);
    if (count_clients(rule, 0) > 0)
        write_line(rule, number, v6, CLIENTS_CARDS, out);
}

/* What comes behind the last rule that is ours to obey is all proxied. */
static size_t count_rules(const struct gateway_config *config)
{
    size_t n = config->n_rules;

    while (n > 0 && config->rules[n - 1].action == RULE_PROXY)
        n--;
    return n;
}

/* Other bits of both marks stay as they are. */
static void write_marks(const struct gateway_config *config, uint32_t uplink, FILE *out)
{
    uint32_t others = ~config->direct_mark, mark = steering_mark(config, uplink);

    fprintf(out,
            "  chain keep%" PRIu32 " { meta mark set meta mark and 0x%" PRIx32 " or 0x%" PRIx32
            " accept; }\n",
            uplink, others, mark);
    fprintf(out,
            "  chain via%" PRIu32 " { ct mark set ct mark and 0x%" PRIx32 " or 0x%" PRIx32
            " goto keep%" PRIu32 "; }\n",
            uplink, others, mark, uplink);
}

static void write_keep(const struct gateway_config *config, uint32_t named, FILE *out)
{
    fprintf(out, "  chain keep {\n    ct mark and 0x%" PRIx32 " vmap {", config->direct_mark);
    for (uint32_t i = 0; i < UPLINKS_MAX; i++) {
        if (named & UINT32_C(1) << i)
            fprintf(out, " 0x%" PRIx32 " : goto keep%" PRIu32 ",", steering_mark(config, i), i);
    }
    fprintf(out, " }\n  }\n");
}

void steering_write_chains(const struct gateway_config *config, FILE *out)
{
    size_t n = count_rules(config);
    uint32_t named = steering_uplinks(config);

    for (uint32_t i = 0; i < UPLINKS_MAX; i++) {
        if (named & UINT32_C(1) << i)
            write_marks(config, i, out);
    }
    if (named)
        write_keep(config, named, out);
    for (size_t i = 0; i < n; i++) {
        write_addresses(&config->rules[i], i, false, out);
        write_addresses(&config->rules[i], i, true, out);
        write_ports(&config->rules[i], i, out);
        if (config->rules[i].action == RULE_DIRECT)
            fprintf(out, "  chain direct%zu { }\n", i);
    }
    if (n > 0) {
        fprintf(out, "  chain " TALLY_DIRECT " { counter; }\n"
                     "  chain " TALLY_REFUSED " { counter reject with tcp reset; }\n");
        fprintf(out, "  chain rules {\n");
        for (size_t i = 0; i < n; i++) {
            write_rule(&config->rules[i], i, false, out);
            write_rule(&config->rules[i], i, true, out);
        }
        fprintf(out, "  }\n");
    }
}

static void write_choice(size_t rule, bool v6, int uplink, FILE *out)
{
    const char *match = v6 ? "ip6 saddr != 2000::/3" : "meta nfproto ipv4";

    if (uplink >= 0)
        fprintf(out, "add rule " INTERCEPT_TABLE " direct%zu %s goto via%d\n", rule, match, uplink);
}

void steering_write_choices(const struct gateway_config *config, const struct carriers *carriers,
                            FILE *out)
{
    for (size_t i = 0; i < config->n_rules; i++) {
        const struct rule_config *rule = &config->rules[i];
        if (rule->action != RULE_DIRECT)
            continue;
        fprintf(out,
                "flush chain " INTERCEPT_TABLE " direct%zu\n"
                "add rule " INTERCEPT_TABLE " direct%zu jump " TALLY_DIRECT "\n",
                i, i);
        write_choice(i, false, choose(rule, carriers->of[0]), out);
        write_choice(i, true, choose(rule, carriers->of[1]), out);
        fprintf(out, "add rule " INTERCEPT_TABLE " direct%zu accept\n", i);
    }
}
