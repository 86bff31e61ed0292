/* What `bondway status` tells of a concentrator. */
#ifndef CONCENTRATOR_STATUS_H
#define CONCENTRATOR_STATUS_H

#include <json-c/json.h>

#include "concentrator/peers.h"
#include "concentrator/session.h"

struct status_source {
    const struct peers *peers;
    const struct refusals *refusals;
    uint64_t started_ms, now_ms; /* clock_now_ms() */
};

/* NULL: out of memory. */
struct json_object *status_describe(const struct status_source *source);

#endif
