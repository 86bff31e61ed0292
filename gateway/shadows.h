/* Rules that can never match, for a warning: what they would match is left alone, or taken by a
 * rule before them. Only what one rule takes alone is seen, not what several take together. */
#ifndef GATEWAY_SHADOWS_H
#define GATEWAY_SHADOWS_H

#include <stdio.h>

#include "config/gateway_config.h"

/* A line for each of them: "path:line: warning: ...". */
void shadows_tell(const struct gateway_config *config, const char *path, FILE *out);

#endif
