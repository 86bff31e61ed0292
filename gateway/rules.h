/* Which policy a flow gets: the first rule that matches, else the defaults. Pure. */
#ifndef GATEWAY_RULES_H
#define GATEWAY_RULES_H

#include <stdint.h>

#include "config/gateway_config.h"
#include "core/addr.h"

struct policy {
    const char *rule; /* its name, in the configuration; "" for the defaults */
    enum scheduler_kind scheduler;
    enum encryption encryption;
    enum rule_action action;
    uint32_t uplinks; /* bit i: uplink i may be used */
};

struct flow_key {
    struct addr client, destination; /* with ports */
    int8_t dscp;                     /* of the client's packets; -1: unknown */
};

struct policy rules_match(const struct gateway_config *config, const struct flow_key *key);

#endif
