/* What the gateway tells of its changes (core/events.h): each in its words and figures. */
#ifndef GATEWAY_CHANGES_H
#define GATEWAY_CHANGES_H

#include "core/events.h"
#include "gateway/concentrators.h"
#include "gateway/gauge.h"
#include "gateway/ledger.h"
#include "gateway/uplink.h"

/* What was told of an uplink last; zeroed at first. */
struct uplink_told {
    bool told;
    enum uplink_state state;
    char reason[96];
    struct addr address;
};

/* Tells what differs from told, and keeps it there. family: of the concentrators. While the uplink
 * has a state, other figures in its reason are no change. */
void changes_uplink(struct events *events, struct uplink_told *told, const struct uplink *now,
                    uint8_t family, const struct gauge *gauge);
/* A connection's path on that uplink did not go the usual way. */
void changes_path(struct events *events, const struct uplink *uplink, const char *what,
                  const char *reason, uint32_t token);
/* The uplink's part in the bond. */
void changes_worth(struct events *events, const struct uplink *uplink, const struct worth *worth);
/* What is left of the uplink's data budget. */
void changes_budget(struct events *events, const struct uplink *uplink, enum budget_state before,
                    const struct budget_status *now);
void changes_concentrator(struct events *events, enum concentrator_state before,
                          const struct concentrator_status *now);
/* An uplink or a concentrator (kind) is no longer configured. */
void changes_removed(struct events *events, const char *kind, const char *name);
/* A sysctl has come in the way of interception; NULL: none is, any more. */
void changes_hindrance(struct events *events, const char *sysctl);
/* The gateway has taken another configuration, or (why it has not) has kept the one it had; why may
 * be NULL. */
void changes_reload(struct events *events, const char *why);

#endif
