/* The nftables table `inet bondway` that hands the LAN's TCP to our listener (TPROXY). This module
 * writes the ruleset's text; the guard runs nft with it. */
#ifndef GATEWAY_INTERCEPT_H
#define GATEWAY_INTERCEPT_H

#include <stdio.h>

#include "config/gateway_config.h"

#define INTERCEPT_TABLE "inet bondway"

/* One nft transaction that makes the whole table anew. Everything is bypassed that is local to the
 * router, private, link-local, multicast or reserved, a concentrator's address, or in
 * config->bypass. */
void intercept_write_rules(const struct gateway_config *config, FILE *out);
/* Likewise, but new connections take the router's normal way, while those that run through us go
 * on: for failing open, and for draining. (Without the table, or without routes_intercept(), the
 * packets of running flows would be forwarded past us.) */
void intercept_write_running(const struct gateway_config *config, FILE *out);
/* A transaction that removes the table, and succeeds where there is none. */
void intercept_write_removal(FILE *out);

#endif
