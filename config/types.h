/* What the values of a configuration are made of. */
#ifndef CONFIG_TYPES_H
#define CONFIG_TYPES_H

#include <stdint.h>

#include "core/addr.h"

#define NAME_MAX_LENGTH 31
#define INTERFACE_NAME 16 /* IFNAMSIZ */

struct port_range {
    uint16_t first, last;
};

/* Clients of the LAN: a network, or one network card. */
struct client_match {
    struct cidr network; /* base.family 0: by the card's address */
    struct mac mac;
};

#endif
