/* Egress rules (protocol.md): where a gateway may have us connect to. Pure. */
#ifndef CONCENTRATOR_EGRESS_H
#define CONCENTRATOR_EGRESS_H

#include <stddef.h>

#include "config/types.h"
#include "core/addr.h"

struct egress_networks {
    const struct cidr *list;
    size_t n;
};

struct egress_ports {
    const struct port_range *list;
    size_t n; /* 0: any port */
};

/* What is in one of the deny lists, or goes to another port than those in ports, is denied.
 * Otherwise what is in one of the allow lists is allowed. Otherwise what is not public, our own, or
 * port 25 is denied. */
struct egress_policy {
    struct egress_networks allow_gateway, allow_all, deny_gateway, deny_all;
    struct egress_ports ports;
    const struct addr *own; /* every address of this host */
    size_t n_own;
};

enum egress_verdict {
    EGRESS_ALLOWED = 0,
    EGRESS_NOT_PUBLIC,
    EGRESS_OWN_ADDRESS,
    EGRESS_PORT_25,
    EGRESS_PORT_NOT_LISTED,
    EGRESS_DENIED_HERE
};

/* An IPv6 address that embeds an IPv4 one must pass as both. */
enum egress_verdict egress_check(const struct egress_policy *policy, const struct addr *to);
/* For the log: why, and which option changes it. */
const char *egress_why(enum egress_verdict verdict);

#endif
