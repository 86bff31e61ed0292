/* What the files of the gateway module share; nobody else includes this. */
#ifndef GATEWAY_GATEWAY_INTERNAL_H
#define GATEWAY_GATEWAY_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/control.h"
#include "core/daemon.h"
#include "core/events.h"
#include "core/listener.h"
#include "core/log.h"
#include "core/relay.h"
#include "core/timers.h"
#include "core/web.h"
#include "gateway/changes.h"
#include "gateway/concentrators.h"
#include "gateway/flow.h"
#include "gateway/guard.h"
#include "gateway/intercept.h"
#include "gateway/ledger.h"
#include "gateway/report.h"
#include "gateway/routes.h"
#include "gateway/tally.h"
#include "gateway/truth.h"
#include "gateway/unproxied.h"
#include "gateway/vitals.h"

#define LABEL "gateway"

/* Whose packets come to us. */
enum interception { INTERCEPT_NONE, INTERCEPT_RUNNING, INTERCEPT_ALL };

struct gateway {
    const char *config_path;
    struct gateway_config *config;
    struct rules *rules;
    struct event_base *base;
    struct timers timers; /* of base */
    struct daemon *daemon;
    struct guard *guard;
    struct events *events;
    struct control *control;
    struct web *web; /* NULL: no metrics_listen */
    struct listener *listeners[2];
    struct listener *left[2]; /* of the port before, until what has come there is ours */
    struct event *leave;
    struct uplinks *uplinks;
    struct routes *routes;
    struct routes_watch *routes_watch;
    struct event *routes_again; /* when some are missing */
    uint64_t routes_restored_ms;
    struct ruleset *ruleset;
    struct tally *tally;
    struct unproxied *unproxied; /* NULL: not asked for */
    struct ledger *ledger;       /* NULL: no uplink has a budget */
    struct clock_told time;
    struct paths_registry *paths;
    struct relay_group *relays;
    struct concentrators *concentrators;
    struct gauges gauges;
    struct vitals *vitals;
    struct station *aimed; /* whom they ask */
    struct truth *truth;
    struct uplink_told told[UPLINKS_MAX];
    bool stripped[UPLINKS_MAX]; /* as flows know it */
    struct trunk_context trunk_context;
    struct flow_context flow_context;
    struct list flows, dead;
    struct event *reaper, *sampler, *drained, *settler;
    struct event *intercept_again; /* when the kernel, or nft, has refused */
    uint32_t mark; /* of flows that follow the uplinks as they are now; odd: one is in doubt */
    struct flow_totals totals;
    uint64_t started_ms, next_id;
    struct event *look;
    const char *hindrance; /* the sysctl with which nothing can be intercepted; NULL: none */
    enum interception interception;
    struct intercept_plan plan; /* as nftables has it */
    bool stopping;
    struct log_limit crowded;
    struct log_limit refused, contested; /* our routes and table; sysctls we hold */
};

/* ---- gateway.c ---- */

/* Makes the nftables table anew, if there is to be one, as `config` asks. Returns 0, or -errno and
 * why[]. */
int gateway_write_table(struct gateway *g, const struct gateway_config *config, char *why,
                        size_t why_len);
/* The uplink's tables and rules. */
void gateway_apply_routes(struct gateway *g, const struct uplink *uplink);
void gateway_decide_interception(struct gateway *g);
/* An uplink has come or gone: everything that goes by one. */
void gateway_all_follow(struct gateway *g);
/* Where TPROXY delivers, both families. Returns 0, or -errno and why[]. */
int gateway_listen(struct gateway *g, uint16_t port, struct listener *out[2], char *why,
                   size_t why_len);
/* Closes the one before: what had come to it when the table led elsewhere is accepted by now. */
void gateway_leave_port(struct gateway *g);
/* Returns 0, or -errno and why[]. */
int gateway_open_control(struct gateway *g, const char *path, struct control **out, char *why,
                         size_t why_len);
/* Likewise; *out stays NULL where there is no address. */
int gateway_open_web(struct gateway *g, const struct addr *at, struct web **out, char *why,
                     size_t why_len);
int gateway_follow_unproxied(struct gateway *g);
int gateway_open_ledger(struct gateway *g);
struct relay_limits gateway_relay_limits(const struct gateway_config *config);
void gateway_check_lan(const struct gateway_config *config);
void gateway_concentrators_changed(void *arg);

static inline uint8_t gateway_family(const struct gateway *g)
{
    return g->config->concentrators[0].address.family;
}

/* ---- reload.c ---- */

/* SIGHUP. */
void gateway_reload(void *arg);

#endif
