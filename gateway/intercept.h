/* The nftables table `inet bondway` that hands the LAN's TCP to our listener (TPROXY). This module
 * writes the ruleset's text; the guard runs nft with it. */
#ifndef GATEWAY_INTERCEPT_H
#define GATEWAY_INTERCEPT_H

#include <stdbool.h>
#include <stdio.h>

#include "config/gateway_config.h"
#include "gateway/steering.h"

#define INTERCEPT_TABLE_NAME "bondway"
#define INTERCEPT_TABLE "inet " INTERCEPT_TABLE_NAME

/* What changes while the table stands. */
struct intercept_plan {
    /* New connections come to us. Otherwise they take the router's normal way, while those that run
     * through us go on: for failing open, and for draining. (Without the table, or without
     * routes_intercept(), the packets of running flows would be forwarded past us.) */
    bool take_new;
    struct carriers carriers; /* of direct rules */
};

/* One nft transaction that makes the whole table anew. What gateway/bypass.h lists is left alone,
 * and what is local to the router. */
void intercept_write_table(const struct gateway_config *config, const struct intercept_plan *plan,
                           FILE *out);
/* One that gives the table another plan: quick, whatever lists it holds. */
void intercept_write_plan(const struct gateway_config *config, const struct intercept_plan *plan,
                          FILE *out);
/* A transaction that removes the table, and succeeds where there is none. */
void intercept_write_removal(FILE *out);

#endif
