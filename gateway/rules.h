/* Which policy a flow gets: the first rule that matches, else the defaults. The rules are compiled
 * once (gateway/lookup.h), immutable, and matching is pure: some hundred nanoseconds, however many
 * networks they list. */
#ifndef GATEWAY_RULES_H
#define GATEWAY_RULES_H

#include <stddef.h>
#include <stdint.h>

#include "config/gateway_config.h"
#include "core/addr.h"

struct policy {
    char rule[NAME_MAX_LENGTH + 1]; /* its name; "" for the defaults */
    enum scheduler_kind scheduler;
    enum encryption encryption;
    enum rule_action action;
    uint32_t uplinks; /* bit i: uplink i may be used */
};

struct flow_key {
    struct addr client, destination; /* with ports */
    int8_t dscp;                     /* of the client's packets; -1: unknown */
    struct mac mac;                  /* the client's; none: unknown */
};

struct rules;

/* config must outlive it. Returns NULL when memory is short. */
struct rules *rules_new(const struct gateway_config *config);
void rules_free(struct rules *rules); /* NULL is fine */

/* What is unknown of a flow is none of what a rule lists. */
struct policy rules_match(const struct rules *rules, const struct flow_key *key);

/* The first rule before this one that matches all the flows that this one does, so that this one
 * never comes to; or one of these. */
#define RULES_NO_SHADOW (-1)
#define RULES_MATCHES_NOTHING (-2) /* by itself: it asks for what excludes each other */
int rules_shadow(const struct rules *rules, size_t rule);

size_t rules_bytes(const struct rules *rules); /* of memory, beside the configuration */

#endif
