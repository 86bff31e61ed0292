/* The rules that nftables obeys by itself: `direct` and `refuse`. A new connection of the LAN goes
 * down the list there, as far as the last of these, and the first match decides as it does in
 * gateway/rules.h. So they cost nothing of ours, and hold while no concentrator is reached, too.
 *
 * Where a direct rule names uplinks, a connection takes the first of them, in the rule's order,
 * that can carry it when it begins, and stays with it: bits of the firewall's mark, which conntrack
 * keeps, name the uplink's routing table (gateway/routes.h). Where none can, it takes the router's
 * normal way; so does IPv6 from a global address, which is one provider's: no other would let it
 * pass. */
#ifndef GATEWAY_STEERING_H
#define GATEWAY_STEERING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config/gateway_config.h"

/* Bit i: uplink i can carry direct flows now. IPv4, IPv6. */
struct carriers {
    uint32_t of[2];
};

/* Is there such a rule? Then the table stands for as long as the gateway runs. */
bool steering_wanted(const struct gateway_config *config);
/* The uplinks that direct rules name: bit i for uplink i. */
uint32_t steering_uplinks(const struct gateway_config *config);
/* The bits of config->direct_mark that name this uplink. */
uint32_t steering_mark(const struct gateway_config *config, uint32_t uplink);

/* Inside of the table: what the chain `rules` needs, and the chain itself, which returns what is to
 * be proxied; and `keep`, for packets of connections that run. Nothing where nothing is wanted. */
void steering_write_chains(const struct gateway_config *config, FILE *out);
/* Commands that make the chains lead where carriers say. */
void steering_write_choices(const struct gateway_config *config, const struct carriers *carriers,
                            FILE *out);

#endif
