/* What the values of a configuration are made of. */
#ifndef CONFIG_TYPES_H
#define CONFIG_TYPES_H

#include <stdint.h>

#define NAME_MAX_LENGTH 31
#define INTERFACE_NAME 16 /* IFNAMSIZ */

struct port_range {
    uint16_t first, last;
};

#endif
