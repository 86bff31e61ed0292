/* The gateway's answers on its control socket (design: status and flows JSON). */
#ifndef GATEWAY_REPORT_H
#define GATEWAY_REPORT_H

#include <json-c/json.h>

#include "gateway/flow.h"
#include "gateway/ledger.h"

struct flow_totals {
    uint64_t active, total, failed, direct, refused, tcp_fallback;
};

/* hindrance: the sysctl that is in the way of interception; NULL: none.
 *
 * Both return a new object, or NULL when memory is short. The round trips and the loss of an uplink
 * are null while they are unknown: also of one that is down, or dead. */
struct json_object *report_status(const struct flow_context *context, struct gauges *gauges,
                                  struct ledger *ledger, const struct flow_totals *totals,
                                  uint64_t uptime_ms, bool intercepting, const char *hindrance);
/* flows: a list of their nodes. */
struct json_object *report_flows(const struct flow_context *context, struct list *flows);

#endif
