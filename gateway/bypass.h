/* Destinations that are never taken from the LAN, whatever rules say: those that are not on the
 * Internet, or not the same place seen from a concentrator; the concentrators; and those that the
 * configuration lists. */
#ifndef GATEWAY_BYPASS_H
#define GATEWAY_BYPASS_H

#include <stddef.h>

#include "config/gateway_config.h"

size_t bypass_count(const struct gateway_config *config);
/* They may overlap. */
struct cidr bypass_at(const struct gateway_config *config, size_t index);

#endif
