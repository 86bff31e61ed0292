/* What this host's interfaces are, as far as one can tell from outside of a configuration: for
 * proposing one. */
#ifndef GATEWAY_SURVEY_H
#define GATEWAY_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/types.h"
#include "core/addr.h"

#define SURVEY_INTERFACES 64

struct survey_interface {
    char name[INTERFACE_NAME];
    bool leads_out;      /* by a default route of the main table */
    uint32_t metric;     /* the least, of these */
    struct addr address; /* IPv4, or where it has none IPv6; family 0: none of use */
};

struct survey {
    struct survey_interface list[SURVEY_INTERFACES]; /* but for loopback */
    size_t n;
};

/* Returns 0, or -errno. */
int survey_read(struct survey *s);
/* Those that lead out, the lowest metric first. Returns how many were written. */
size_t survey_uplinks(const struct survey *s, const struct survey_interface **out, size_t max);
/* The rest, when it has a private address: the likeliest LAN first. What containers, virtual
 * machines and tunnels have made is none. */
size_t survey_lans(const struct survey *s, const struct survey_interface **out, size_t max);

#endif
