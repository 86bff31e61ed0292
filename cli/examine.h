/* What doctor's look at either role has in common. */
#ifndef CLI_EXAMINE_H
#define CLI_EXAMINE_H

#include <json-c/json.h>

#include "cli/role.h"

/* Loads the configuration; what the loader says of it are findings. NULL: it does not load. */
void *examine_config(struct findings *findings, const char *path,
                     void *(*load)(const char *path, FILE *complaints));
/* The status of the daemon at that control socket, the caller's to put. NULL: there is none, which
 * is a finding. */
struct json_object *examine_daemon(struct findings *findings, const struct role *role,
                                   const char *socket);

#endif
