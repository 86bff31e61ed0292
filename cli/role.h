/* What a host may be: a gateway, a concentrator, or both. Each role is one file, cli/gateway.c and
 * cli/concentrator.c, with its command; what the others do for either goes by this table. */
#ifndef CLI_ROLE_H
#define CLI_ROLE_H

#include <stdbool.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/findings.h"
#include "cli/table.h"
#include "config/option.h"

struct role {
    const char *daemon;          /* "gateway" */
    const char *list;            /* what its configuration calls the other ends: "concentrators" */
    bool needs_one;              /* of them: it cannot start without */
    const char *config, *socket; /* where they are by default */
    const struct option_row *(*rows)(void); /* of its configuration */
    /* Does that configuration load? Says what is wrong. */
    bool (*check)(const char *path, FILE *complaints);
    /* Of one that loads: what can hardly be meant; or NULL */
    void (*warn)(const char *path, FILE *out);
    /* What bondway doctor looks at. */
    void (*examine)(struct findings *findings, const char *path);
    /* What bondway status shows of its answer: status.h. */
    enum exit_code (*show)(struct json_object *answer, const struct screen *screen);
    int (*run)(const char *path);
    int (*take_over)(const char *path); /* NULL: it cannot */
};

/* Those of this build: the gateway, then the concentrator, unless left out. Ends with NULL. */
extern const struct role *const roles[];
extern const struct role role_gateway, role_concentrator;

#endif
