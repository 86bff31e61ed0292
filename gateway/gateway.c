#include "gateway/gateway.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/capability.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/mptcp.h"
#include "core/packet_scheduler.h"
#include "core/privilege.h"
#include "core/readiness.h"
#include "core/sandbox.h"
#include "core/web.h"
#include "gateway/bridges.h"
#include "gateway/gateway_internal.h"
#include "gateway/metrics.h"
#include "gateway/page.h"
#include "gateway/routes_watch.h"
#include "gateway/ruleset.h"
#include "gateway/shadows.h"

/* After SIGTERM: how long running flows may go on. */
static const struct timeval drain_patience = {.tv_sec = 10};
/* Rates are measured while flows run; an idle gateway sleeps. */
static const struct timeval sample_interval = {.tv_sec = 1};
static const struct timeval refusal_patience = {.tv_sec = 3};
/* What other programs may set at any time is looked at. */
static const struct timeval look_interval = {.tv_sec = 5};

/* Flows that carried something within this are the first to be healed. */
#define ACTIVE_MS 1000
/* Flows that follow a change in one turn of the loop: some milliseconds. */
#define SETTLES_PER_TURN 32
/* That run at once, at most. A flow has those of its trunk, and then of its relay. Beside them
 * there are a few of each uplink, of each concentrator and of each connection that waits there, of
 * each client of the control socket and of metrics_listen, and the gateway's own. */
#define TIMERS_PER_FLOW 3
#define TIMERS_BESIDE 512

#define MPTCP_ENABLED "net/mptcp/enabled"

/* --- interception ------------------------------------------------------------------------- */

/* What is tried again and again is not told each time. */
static bool may_tell(struct log_limit *limit)
{
    uint32_t held;

    return log_limit_pass(limit, clock_now_ms(), &held);
}

typedef void write_ruleset(const struct gateway_config *config, const struct intercept_plan *plan,
                           FILE *out);

/* Uplinks may have come or gone since the last time. */
static struct intercept_plan plan_now(const struct gateway *g, enum interception interception)
{
    struct intercept_plan plan = {.take_new = interception == INTERCEPT_ALL};

    plan.carriers.of[0] = gauges_carriers(&g->gauges, g->uplinks, 4);
    plan.carriers.of[1] = gauges_carriers(&g->gauges, g->uplinks, 6);
    return plan;
}

/* Returns 0, or -errno and why[]. */
static int apply_ruleset(struct gateway *g, const struct gateway_config *config,
                         write_ruleset *write, const struct intercept_plan *plan, char *why,
                         size_t why_len)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    why[0] = '\0';
    if (!out)
        return -ENOMEM;
    write(config, plan, out);
    tally_read(g->tally);
    int err = fclose(out) == 0 ? guard_nft(g->guard, text, why, why_len) : -ENOMEM;
    free(text);
    if (err)
        return err;
    g->plan = *plan;
    if (write != intercept_write_plan)
        tally_begin_anew(g->tally);
    return 0;
}

static int change_ruleset(struct gateway *g, write_ruleset *write,
                          const struct intercept_plan *plan)
{
    char why[256];
    int err = apply_ruleset(g, g->config, write, plan, why, sizeof(why));

    if (!err)
        return 0;
    if (may_tell(&g->refused))
        log_error(LABEL, "nftables refused our table: %s", why[0] ? why : strerror(-err));
    event_add(g->intercept_again, &refusal_patience);
    return err;
}

int gateway_write_table(struct gateway *g, const struct gateway_config *config, char *why,
                        size_t why_len)
{
    struct intercept_plan plan = plan_now(g, g->interception);

    if (g->interception == INTERCEPT_NONE)
        return 0;
    return apply_ruleset(g, config, intercept_write_table, &plan, why, why_len);
}

static void write_removal(const struct gateway_config *config, const struct intercept_plan *plan,
                          FILE *out)
{
    intercept_write_removal(out);
}

static const char *const interceptions[] = {
    [INTERCEPT_NONE] = "not intercepting",
    [INTERCEPT_RUNNING] = "new LAN connections take the router's normal way; running ones go on",
    [INTERCEPT_ALL] = "intercepting: LAN connections take the bond",
};

/* The policy routes stand while the table does: without them it would lead nowhere. */
static void set_interception(struct gateway *g, enum interception next)
{
    if (g->interception == next)
        return;
    struct intercept_plan plan = plan_now(g, next);
    write_ruleset *write = next == INTERCEPT_NONE              ? write_removal
                           : g->interception == INTERCEPT_NONE ? intercept_write_table
                                                               : intercept_write_plan;
    int err = next == INTERCEPT_NONE ? 0 : routes_intercept(g->routes, true);
    if (err) {
        if (may_tell(&g->refused))
            log_error(LABEL, "cannot set the routes of intercepted packets: %s", strerror(-err));
        event_add(g->intercept_again, &refusal_patience);
    }
    if (err || change_ruleset(g, write, &plan))
        return;
    if (next == INTERCEPT_NONE)
        routes_intercept(g->routes, false);
    g->interception = next;
    log_info(LABEL, "%s", interceptions[next]);
}

/* New direct flows take other uplinks, where one that a rule names has come or gone. */
static void steer(struct gateway *g)
{
    struct intercept_plan plan = plan_now(g, g->interception);
    uint32_t changed = (plan.carriers.of[0] ^ g->plan.carriers.of[0]) |
                       (plan.carriers.of[1] ^ g->plan.carriers.of[1]);

    if (g->interception != INTERCEPT_NONE && changed & steering_uplinks(g->config))
        change_ruleset(g, intercept_write_plan, &plan);
}

/* Also of what we have removed or replaced ourselves, when that has been followed already. */
static void on_table_lost(void *arg)
{
    struct gateway *g = arg;
    struct intercept_plan plan = plan_now(g, g->interception);

    if (g->interception == INTERCEPT_NONE)
        return;
    log_warning(LABEL, "our nftables table is gone, as when a firewall restarts: putting it back");
    change_ruleset(g, intercept_write_table, &plan);
}

/* What has been refused may have been the table as it stands, or another interception. */
static void on_intercept_again(evutil_socket_t fd, short what, void *arg)
{
    struct gateway *g = arg;
    struct intercept_plan plan = plan_now(g, g->interception);

    if (g->interception == INTERCEPT_NONE || change_ruleset(g, intercept_write_table, &plan) == 0)
        gateway_decide_interception(g);
}

/* Fail open: without a concentrator new connections go direct, unless refusal is asked for. */
void gateway_decide_interception(struct gateway *g)
{
    bool reachable = !g->hindrance && concentrators_choose(g->concentrators) != NULL;
    bool refuse = g->config->when_unreachable == UNREACHABLE_REFUSE;
    bool stands = g->totals.active > 0 || (!g->stopping && steering_wanted(g->config));

    if (!g->stopping && (reachable || refuse))
        set_interception(g, INTERCEPT_ALL);
    else
        set_interception(g, stands ? INTERCEPT_RUNNING : INTERCEPT_NONE);
}

static void aim(struct gateway *g, struct station *station)
{
    struct station *before = g->aimed;

    g->aimed = station_hold(station);
    vitals_aim(g->vitals, station->entry, station->probe_port);
    station_release(before);
}

/* Uplinks are probed towards the concentrator in use, or the last one that was: so that it is
 * noticed when they lead there again. */
void gateway_concentrators_changed(void *arg)
{
    struct gateway *g = arg;
    struct station *station = concentrators_choose(g->concentrators);

    if (station)
        aim(g, station);
    ledger_time_told(g->ledger);
    truth_look(g->truth);
    list_each(node, &g->flows) flow_give_up(flow_of_node(node));
    gateway_decide_interception(g);
}

/* --- uplinks ------------------------------------------------------------------------------ */

/* Answers to direct flows come in by an uplink that need not be the router's normal way to where
 * they come from: a strict reverse path check (RFC 3704) would drop them, a loose one lets them in.
 */
static void loosen_reverse_path(struct gateway *g, const struct uplink *u)
{
    const char *const scopes[] = {"all", u->config->interface};
    char name[64], value[8];
    char most = '0'; /* the greater of both counts: 2 is loose */

    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof(name), "net/ipv4/conf/%s/rp_filter", scopes[i]);
        if (sysctl_read(name, value, sizeof(value)) == 0 && value[0] > most)
            most = value[0];
    }
    if (most != '1')
        return;
    int err = guard_sysctl(g->guard, name, "2");
    if (!may_tell(&g->contested))
        return;
    if (err)
        log_error(u->config->name, "cannot loosen its reverse path check for direct flows: %s",
                  strerror(-err));
    else
        log_info(u->config->name, "reverse path check loosened for direct flows: %s was strict",
                 name);
}

static void complain_of_routes(struct gateway *g, const char *whose, int err)
{
    if (!err)
        return;
    if (may_tell(&g->refused))
        log_error(whose, "cannot set its routes: %s; trying again every %d s", strerror(-err),
                  (int)refusal_patience.tv_sec);
    event_add(g->routes_again, &refusal_patience);
}

/* Whoever removes some goes on for a moment, and may do so again and again. */
static void on_routes_lost(void *arg, bool seen)
{
    static const struct timeval moment = {.tv_usec = 100000};
    struct gateway *g = arg;
    uint64_t patience_ms = (uint64_t)refusal_patience.tv_sec * 1000;
    bool again = clock_now_ms() < g->routes_restored_ms + patience_ms;

    if (event_pending(g->routes_again, EV_TIMEOUT, NULL))
        return;
    if (seen)
        log_warning(LABEL,
                    "another program has removed routes or rules of ours, as systemd-networkd does "
                    "when it starts: putting them back");
    event_add(g->routes_again, again ? &refusal_patience : &moment);
}

/* What intercepts comes first: without it the LAN's connections lead nowhere. */
static void on_routes_again(evutil_socket_t fd, short what, void *arg)
{
    struct gateway *g = arg;

    g->routes_restored_ms = clock_now_ms();
    if (g->interception != INTERCEPT_NONE)
        complain_of_routes(g, LABEL, routes_intercept(g->routes, true));
    for (size_t i = 0; i < uplinks_count(g->uplinks); i++) {
        const struct uplink *u = uplinks_get(g->uplinks, i);
        if (uplink_exists(u))
            complain_of_routes(g, u->config->name, routes_restore(g->routes, u));
    }
    unproxied_update(g->unproxied);
}

static void keep_loose(struct gateway *g, const struct uplink *u)
{
    if (u->state != UPLINK_DOWN && steering_uplinks(g->config) & UINT32_C(1) << u->index)
        loosen_reverse_path(g, u);
}

void gateway_apply_routes(struct gateway *g, const struct uplink *u)
{
    complain_of_routes(g, u->config->name, routes_apply(g->routes, u));
    keep_loose(g, u);
}

static void tell_uplink(struct gateway *g, const struct uplink *u)
{
    if (uplink_exists(u))
        changes_uplink(g->events, &g->told[u->index], u, gateway_family(g),
                       &g->gauges.of[u->index]);
}

static void reschedule(struct gateway *g, struct flow *flow)
{
    *flow_mark(flow) = g->mark;
    flow_reschedule(flow);
}

static void reschedule_active(struct gateway *g)
{
    uint64_t since_ms = clock_now_ms() - ACTIVE_MS;

    list_each(node, &g->flows)
    {
        if (flow_is_active(flow_of_node(node), since_ms))
            reschedule(g, flow_of_node(node));
    }
}

/* Those that carry something at once, the others in turns: there may be thousands. */
static void follow_mark(struct gateway *g)
{
    reschedule_active(g);
    event_active(g->settler, 0, 0);
}

static void reschedule_all(struct gateway *g)
{
    g->mark += 2;
    follow_mark(g);
}

/* Whoever has had his turn goes to the end of the list, and is found settled there; or it ends. */
static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval soon = {.tv_usec = 1000};
    struct gateway *g = arg;
    size_t settled = 0;

    for (int turns = 0; turns < SETTLES_PER_TURN && settled < g->totals.active;) {
        struct list *node = g->flows.next;
        struct flow *flow = flow_of_node(node);

        list_remove(node);
        list_append(&g->flows, node);
        if ((*flow_mark(flow) | (g->mark & 1)) == g->mark) {
            settled++;
        } else {
            reschedule(g, flow);
            turns++;
        }
    }
    if (settled < g->totals.active)
        event_add(g->settler, &soon);
}

/* A doubt concerns those who carry something now; for the others it is over before they do. When
 * none is left, those follow who were rescheduled, or began, in one, and may be quiet by now. */
static void follow_doubts(struct gateway *g)
{
    uint32_t doubtful = 0;

    for (size_t i = 0; i < UPLINKS_MAX; i++)
        doubtful |= g->gauges.of[i].health.doubtful;
    g->mark = (g->mark & ~UINT32_C(1)) | doubtful;
    follow_mark(g);
}

static void look_at_schedulers(struct gateway *g)
{
    if (gauges_look(&g->gauges, g->uplinks, gateway_family(g), clock_now_ms()))
        reschedule_all(g);
}

static bool is_silent(const struct gateway *g)
{
    return gauges_are_mute(&g->gauges, g->uplinks, gateway_family(g));
}

void gateway_all_follow(struct gateway *g)
{
    concentrators_set_silent(g->concentrators, is_silent(g));
    paths_forgive(g->paths);
    reschedule_all(g);
    concentrators_uplinks_changed(g->concentrators);
    truth_look(g->truth);
    unproxied_update(g->unproxied);
    steer(g);
}

static void on_uplink_changed(void *arg, const struct uplink *before, const struct uplink *now)
{
    struct gateway *g = arg;
    uint8_t family = gateway_family(g);

    bool moved =
        !addr_equal_ip(&uplink_route(before, family)->address, &uplink_route(now, family)->address);

    gateway_apply_routes(g, now);
    if (moved)
        gauge_forget(&g->gauges.of[now->index]);
    vitals_uplink_changed(g->vitals, now->index, moved || now->state == UPLINK_DOWN);
    tell_uplink(g, now);
    gateway_all_follow(g);
}

static void log_verdict(const struct gateway *g, const struct uplink *u)
{
    const struct gauge *gauge = &g->gauges.of[u->index];
    enum log_level level = gauge_verdict(gauge) == HEALTH_UP ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING;
    const char *reason = gauge_reason(gauge, u);

    log_line(level, u->config->name, "uplink %s%s%s rtt_ms=%.1f loss_percent=%.1f",
             uplink_state_name(gauge_state(gauge, u)), reason[0] ? ": " : "", reason,
             gauge->rtt_us / 1000.0, gauge->health.loss_permille / 10.0);
}

/* What is thought of the uplink may have changed. */
static void follow_verdict(struct gateway *g, const struct uplink *u)
{
    enum uplink_state before = g->told[u->index].state;
    enum uplink_state now = gauge_state(&g->gauges.of[u->index], u);

    if (now == before)
        return;
    log_verdict(g, u);
    tell_uplink(g, u);
    if ((now == UPLINK_DEAD) == (before == UPLINK_DEAD))
        return;
    gateway_all_follow(g);
}

/* Where MPTCP survives again, flows and warm connections may join. Where it no longer does, their
 * subflows end by themselves, and what was made before may live on. */
static void follow_truth(struct gateway *g)
{
    bool restored = false;

    for (size_t i = 0; i < uplinks_count(g->uplinks); i++) {
        bool now = g->gauges.of[i].mptcp == MPTCP_STRIPPED;

        restored = restored || (g->stripped[i] && !now);
        g->stripped[i] = now;
    }
    if (restored)
        gateway_all_follow(g);
}

static void on_vitals_changed(void *arg, uint32_t index, enum health_verdict before,
                              bool doubtful_before)
{
    struct gateway *g = arg;

    follow_verdict(g, uplinks_get(g->uplinks, index));
    /* Also where connections, or refusals, say that the uplink lives. */
    concentrators_set_silent(g->concentrators, is_silent(g));
    truth_look(g->truth);
    if (g->gauges.of[index].health.doubtful != doubtful_before)
        follow_doubts(g);
}

static bool uses_overflow(const struct gateway_config *config)
{
    bool uses = config->scheduler == SCHEDULER_OVERFLOW;

    for (size_t i = 0; i < config->n_rules; i++)
        uses = uses || config->rules[i].scheduler == SCHEDULER_OVERFLOW;
    return uses;
}

static void tell_saturation(const struct gateway *g, const bool *before)
{
    for (size_t i = 0; i < uplinks_count(g->uplinks); i++) {
        const struct gauge *gauge = &g->gauges.of[i];
        if (gauge->saturation.saturated == before[i])
            continue;
        log_info(uplinks_get(g->uplinks, i)->config->name,
                 "uplink %s down_bps=%llu of=%llu up_bps=%llu of=%llu",
                 gauge->saturation.saturated ? "saturated: dearer ones take part"
                                             : "no longer saturated",
                 (unsigned long long)gauge->capacity.down.rate_bps,
                 (unsigned long long)gauge->capacity.down.bps,
                 (unsigned long long)gauge->capacity.up.rate_bps,
                 (unsigned long long)gauge->capacity.up.bps);
    }
}

static void on_measured(void *arg)
{
    struct gateway *g = arg;
    bool before[UPLINKS_MAX];

    for (size_t i = 0; i < UPLINKS_MAX; i++)
        before[i] = g->gauges.of[i].saturation.saturated;
    if (!gauges_judge_saturation(&g->gauges, g->uplinks, gateway_family(g), clock_now_ms()) ||
        !uses_overflow(g->config))
        return;
    tell_saturation(g, before);
    reschedule_all(g);
}

/* What goes by one uplink alone may leave one that is dead. */
static void on_proved(void *arg)
{
    struct gateway *g = arg;

    unproxied_update(g->unproxied);
    steer(g);
}

static const struct vitals_events vitals_events = {
    .changed = on_vitals_changed, .measured = on_measured, .proved = on_proved};

/* An uplink has gone beyond its data budget, or may be used again. */
static void on_ledger_changed(void *arg, uint32_t index, bool off)
{
    struct gateway *g = arg;

    uplinks_bar(g->uplinks, index, off);
    gateway_all_follow(g);
}

/* --- what others may set -------------------------------------------------------------------- */

/* Docker does so when it starts. Connections that run are not hindered: they have a socket. */
static void look_at_bridges(struct gateway *g)
{
    const char *before = g->hindrance;

    g->hindrance = bridges_hindrance(g->config);
    if (g->hindrance == before)
        return;
    if (g->hindrance)
        log_error(LABEL,
                  "%s is not 0: with it, connections from a bridge cannot be intercepted; set it "
                  "to 0 (in a file in /etc/sysctl.d, and now by sysctl -w)",
                  g->hindrance);
    changes_hindrance(g->events, g->hindrance);
    gateway_decide_interception(g);
}

/* Connections that were made meanwhile and wait for flows keep to one uplink. */
static void renew_warm(struct gateway *g)
{
    struct station *station = concentrators_choose(g->concentrators);

    if (station)
        concentrators_doubt(g->concentrators, station);
}

static int change_sysctl(struct gateway *g, const char *name, const char *now, const char *value,
                         bool again, bool tells)
{
    if (again && tells)
        log_warning(LABEL, "another program has set %s to %s: setting it to %s again", name, now,
                    value);
    else if (!again && strcmp(name, MPTCP_ENABLED) == 0)
        log_warning(LABEL, "net.mptcp.enabled was 0: switched on; it is put back at exit");
    int err = guard_sysctl(g->guard, name, value);
    if (!err && again)
        renew_warm(g);
    return err;
}

/* Not only once: `sysctl --system` and its like may set it to something else. */
static int hold_sysctl(struct gateway *g, const char *name, const char *value)
{
    bool again = event_pending(g->look, EV_TIMEOUT, NULL);
    char now[32];
    int err = sysctl_read(name, now, sizeof(now));

    if (err == -ENOENT || (!err && strcmp(now, value) == 0))
        return err;
    bool tells = !again || may_tell(&g->contested);
    if (!err)
        err = change_sysctl(g, name, now, value, again, tells);
    if (err && tells)
        log_error(LABEL, "cannot set %s: %s", name, strerror(-err));
    return err;
}

/* Not every kernel has it. */
static int hold_if_there(struct gateway *g, const char *name, const char *value)
{
    int err = hold_sysctl(g, name, value);

    return err == -ENOENT ? 0 : err;
}

static int hold_path_management(struct gateway *g)
{
    int err = hold_sysctl(g, "net/mptcp/path_manager", "userspace");

    if (err == -ENOENT) /* before Linux 6.15 */
        err = hold_sysctl(g, "net/mptcp/pm_type", "1");
    if (err == -ENOENT)
        log_error(LABEL, "this kernel cannot bond: it has no MPTCP with a userspace path manager "
                         "(Linux 5.19 or later with CONFIG_MPTCP)");
    return err;
}

static int hold_sysctls(struct gateway *g)
{
    const char *scheduler = g->config->packet_scheduler;
    int err = hold_path_management(g);

    if (!err)
        err = hold_sysctl(g, MPTCP_ENABLED, "1");
    /* SYN losses would switch MPTCP off for an hour (net.mptcp.blackhole_timeout). */
    if (!err)
        err = hold_if_there(g, "net/mptcp/blackhole_timeout", "0");
    /* Beside our own word (paths.c), and for what it cannot help. */
    if (!err)
        err = hold_if_there(g, "net/mptcp/stale_loss_cnt", "2");
    if (!err && scheduler[0])
        err = hold_sysctl(g, PACKET_SCHEDULER_SYSCTL, scheduler);
    return err;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    struct gateway *g = arg;

    look_at_bridges(g);
    hold_sysctls(g);
    for (size_t i = 0; i < uplinks_count(g->uplinks); i++) {
        const struct uplink *u = uplinks_get(g->uplinks, i);
        keep_loose(g, u);
        follow_verdict(g, u);
    }
    truth_look(g->truth);
}

/* --- flows -------------------------------------------------------------------------------- */

static void on_flow_closed(void *arg, struct flow *flow, bool failed)
{
    struct gateway *g = arg;
    struct flow_status status;

    flow_status(flow, &status);
    g->totals.active--;
    g->totals.failed += failed;
    if (status.concentrator[0] && status.first_uplink[0] && !status.is_mptcp)
        g->totals.tcp_fallback++;
    list_remove(flow_node(flow));
    list_append(&g->dead, flow_node(flow));
    event_active(g->reaper, 0, 0);
}

static void free_flows(struct list *flows)
{
    list_each(node, flows)
    {
        list_remove(node);
        flow_free(flow_of_node(node));
    }
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct gateway *g = arg;

    free_flows(&g->dead);
    if (g->totals.active > 0)
        return;
    event_del(g->sampler);
    if (g->stopping)
        event_base_loopbreak(g->base);
    else
        gateway_decide_interception(g);
}

static void tell_worth(const struct gateway *g, const bool *before)
{
    for (size_t i = 0; i < uplinks_count(g->uplinks); i++) {
        const struct worth *worth = &g->gauges.of[i].worth;
        const struct uplink *u = uplinks_get(g->uplinks, i);
        if (worth_is_slow(worth) == before[i])
            continue;
        if (worth_is_slow(worth))
            log_info(u->config->name, "uplink stands by: %s", worth->reason);
        else
            log_info(u->config->name, "uplink takes part again");
        changes_worth(g->events, u, worth);
    }
}

static void judge_worth(struct gateway *g, uint64_t now_ms)
{
    bool before[UPLINKS_MAX];

    for (size_t i = 0; i < UPLINKS_MAX; i++)
        before[i] = worth_is_slow(&g->gauges.of[i].worth);
    if (!gauges_judge_worth(&g->gauges, g->uplinks, gateway_family(g), now_ms))
        return;
    tell_worth(g, before);
    reschedule_all(g);
}

static void look_at_flows(struct gateway *g, uint64_t now_ms)
{
    bool compare = false;

    list_each(node, &g->flows)
    {
        struct flow *flow = flow_of_node(node);
        flow_look(flow, now_ms);
        compare = compare || flow_compares(flow, now_ms - ACTIVE_MS);
    }
    vitals_compare(g->vitals, compare);
}

static void on_sample(evutil_socket_t fd, short what, void *arg)
{
    struct gateway *g = arg;
    uint64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < uplinks_count(g->uplinks); i++) {
        const struct uplink *u = uplinks_get(g->uplinks, i);
        gauge_sample(&g->gauges.of[i], g->uplinks, u, now_ms);
        follow_verdict(g, u);
    }
    judge_worth(g, now_ms);
    look_at_schedulers(g);
    follow_truth(g);
    look_at_flows(g, now_ms);
}

static void on_accepted(void *arg, int fd, const struct addr *client)
{
    struct gateway *g = arg;
    uint32_t held;

    if (g->totals.active >= g->config->max_flows) {
        if (log_limit_pass(&g->crowded, clock_now_ms(), &held))
            log_warning(LABEL, "max_flows = %u reached: new connections are refused (%u so far)",
                        g->config->max_flows, held + 1);
        mptcp_reset(fd);
        return;
    }
    if (timers_reserve(&g->timers, TIMERS_BESIDE + (g->totals.active + 1) * TIMERS_PER_FLOW)) {
        mptcp_reset(fd);
        return;
    }
    follow_truth(g);
    struct flow *flow = flow_new(&g->flow_context, ++g->next_id, fd, client);
    if (!flow)
        return;
    list_append(&g->flows, flow_node(flow));
    g->totals.total++;
    *flow_mark(flow) = g->mark;
    if (g->totals.active++ == 0) {
        event_add(g->sampler, &sample_interval);
        look_at_schedulers(g);
    }
    vitals_wake(g->vitals);
    flow_start(flow);
}

/* --- control socket ------------------------------------------------------------------------ */

static struct json_object *answer_status(void *arg)
{
    struct gateway *g = arg;
    struct tally_counts by_nftables = tally_read(g->tally);

    g->totals.direct = by_nftables.direct;
    g->totals.refused = by_nftables.refused;
    return report_status(&g->flow_context, &g->gauges, g->ledger, &g->totals,
                         clock_now_ms() - g->started_ms, g->interception == INTERCEPT_ALL,
                         g->hindrance);
}

static struct json_object *answer_flows(void *arg)
{
    struct gateway *g = arg;

    return report_flows(&g->flow_context, &g->flows);
}

static int begin_events(void *arg, struct control_client *client, bool follow)
{
    struct gateway *g = arg;

    return events_stream(g->events, client, follow);
}

static const struct control_command commands[] = {
    {.name = "status", .answer = answer_status},
    {.name = "flows", .answer = answer_flows},
    {.name = "events", .begin = begin_events},
    {.name = NULL},
};

/* --- web ------------------------------------------------------------------------------------ */

static int write_metrics(void *arg, struct evbuffer *out)
{
    return metrics_write(out, gateway_metrics, answer_status(arg));
}

static int write_status(void *arg, struct evbuffer *out)
{
    return web_add_json(out, answer_status(arg));
}

static int write_flows(void *arg, struct evbuffer *out)
{
    return web_add_json(out, answer_flows(arg));
}

static int write_page(void *arg, struct evbuffer *out)
{
    return evbuffer_add_reference(out, gateway_page, gateway_page_size, NULL, NULL);
}

static const struct web_page pages[] = {
    {.path = "/",
     .type = "text/html; charset=utf-8",
     .encoding = "gzip",
     .is_private = true,
     .write = write_page},
    {.path = "/metrics", .type = METRICS_TYPE, .write = write_metrics},
    {.path = "/status.json", .type = "application/json", .is_private = true, .write = write_status},
    {.path = "/flows.json", .type = "application/json", .is_private = true, .write = write_flows},
    {.path = NULL},
};

/* --- signals ------------------------------------------------------------------------------- */

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
    struct gateway *g = arg;

    log_warning(LABEL, "%llu flows have not ended in time: resetting them",
                (unsigned long long)g->totals.active);
    event_base_loopbreak(g->base);
}

static void on_stop(void *arg)
{
    struct gateway *g = arg;

    g->stopping = true;
    gateway_decide_interception(g);
    if (g->totals.active == 0) {
        event_base_loopbreak(g->base);
        return;
    }
    log_info(LABEL, "stopping: %llu flows may end first (10 s; again to stop at once)",
             (unsigned long long)g->totals.active);
    event_add(g->drained, &drain_patience);
}

static void on_child(void *arg)
{
    struct gateway *g = arg;
    char why[256] = "";

    if (!guard_died(g->guard))
        return;
    log_warning(LABEL, "the guard died: starting another");
    if (guard_revive(g->guard, why, sizeof(why)) == 0)
        return;
    log_error(LABEL, "no guard, no service: %s", why);
    event_base_loopbreak(g->base);
}

/* --- start and end -------------------------------------------------------------------------- */

static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int check_packet_scheduler(struct gateway *g)
{
    const char *name = g->config->packet_scheduler;
    char why[512];
    int err = name[0] ? packet_scheduler_find(name, why, sizeof(why)) : 0;

    if (err)
        log_error(LABEL, "%s", why);
    return err;
}

static int start_guard(struct gateway *g)
{
    char why[256] = "";
    int err = guard_new(&g->guard, why, sizeof(why));

    if (err) {
        log_error(LABEL, "%s", why[0] ? why : strerror(-err));
        return err;
    }
    err = check_packet_scheduler(g);
    return err ? err : hold_sysctls(g);
}

/* It is switched off, or not in the kernel. */
static bool is_without_ipv6(int err)
{
    return err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT;
}

int gateway_listen(struct gateway *g, uint16_t port, struct listener *out[2], char *why,
                   size_t why_len)
{
    static const char *const loopback[] = {"127.0.0.1", "::1"};
    char text[ADDR_TEXT];

    for (int i = 0; i < 2; i++) {
        struct addr at;

        addr_parse_ip(&at, loopback[i]);
        at.port = port;
        int err = listener_new(&out[i], g->base, LISTENER_TRANSPARENT, &at, on_accepted, g);
        if (!err || (i == 1 && is_without_ipv6(err)))
            continue;
        snprintf(why, why_len, "cannot listen on %s: %s%s", addr_format(&at, text), strerror(-err),
                 err == -EADDRINUSE ? "; set another listen_port" : "");
        if (i == 1)
            listener_free(out[0]);
        out[0] = NULL;
        return err;
    }
    return 0;
}

static int start_listeners(struct gateway *g)
{
    char why[256];
    int err = gateway_listen(g, g->config->listen_port, g->listeners, why, sizeof(why));

    if (err)
        log_error(LABEL, "%s", why);
    return err;
}

/* As route_unproxied asks. */
int gateway_follow_unproxied(struct gateway *g)
{
    if (g->config->route_unproxied == (g->unproxied != NULL))
        return 0;
    if (g->config->route_unproxied)
        return unproxied_new(&g->unproxied, g->base, g->uplinks, &g->gauges, g->routes);
    unproxied_free(g->unproxied);
    g->unproxied = NULL;
    int err = routes_follow(g->routes, 4, NULL);
    int also = routes_follow(g->routes, 6, NULL);
    return err ? err : also;
}

/* As its configuration is now. */
int gateway_open_ledger(struct gateway *g)
{
    struct ledger_setup setup = {.base = g->base,
                                 .config = g->config,
                                 .uplinks = g->uplinks,
                                 .gauges = &g->gauges,
                                 .time = &g->time,
                                 .events = g->events,
                                 .changed = on_ledger_changed,
                                 .arg = g};
    bool asked = false;

    for (size_t i = 0; i < g->config->n_uplinks; i++) {
        asked = asked || g->config->uplinks[i].monthly_budget;
        g->gauges.of[i].spent = false;
    }
    int err = asked ? ledger_new(&g->ledger, &setup) : 0;
    for (uint32_t i = 0; i < g->config->n_uplinks; i++)
        uplinks_bar(g->uplinks, i, ledger_is_off(g->ledger, i));
    return err;
}

static int start_uplinks(struct gateway *g)
{
    int err = uplinks_new(&g->uplinks, g->base, g->config, gateway_family(g), on_uplink_changed, g);

    if (!err)
        err = routes_new(&g->routes, g->config);
    if (!err)
        err = routes_watch_new(&g->routes_watch, g->base, g->routes, on_routes_lost, g);
    if (!err)
        err = gateway_open_ledger(g);
    if (err) {
        log_error(LABEL, "cannot read the uplinks' state: %s", strerror(-err));
        return err;
    }
    for (size_t i = 0; i < uplinks_count(g->uplinks); i++) {
        gateway_apply_routes(g, uplinks_get(g->uplinks, i));
        tell_uplink(g, uplinks_get(g->uplinks, i));
    }
    err = vitals_new(&g->vitals, g->base, g->uplinks, &g->gauges, &vitals_events, g);
    return err ? err : gateway_follow_unproxied(g);
}

/* The table matches by name, so one that appears later is served then. */
void gateway_check_lan(const struct gateway_config *config)
{
    for (size_t i = 0; i < config->n_lan_interfaces; i++) {
        if (if_nametoindex(config->lan_interfaces[i]) == 0)
            log_warning(LABEL,
                        "there is no interface %s (lan_interfaces) now: is it the right name?",
                        config->lan_interfaces[i]);
    }
}

static int start_paths(struct gateway *g)
{
    int err = paths_registry_new(&g->paths, g->base, g->uplinks, &g->gauges, g->events);

    if (err)
        log_error(LABEL, "cannot follow MPTCP events: %s", strerror(-err));
    return err;
}

/* Everything of root's but the network: for TPROXY, the path manager, routes, and the nft program
 * that a guard starts, this one or a later one. */
static int give_up_rights(struct gateway *g)
{
    int err = privilege_drop(NULL, PRIVILEGE(CAP_NET_ADMIN));

    if (err) {
        log_error(LABEL, "cannot give up capabilities: %s", strerror(-err));
        return err;
    }
    err = sandbox_enter(SANDBOX_ROUTER);
    if (err)
        log_info(LABEL, "runs without its seccomp sandbox: %s",
                 err == -EOPNOTSUPP ? "this kernel or processor has none for it" : strerror(-err));
    return 0;
}

static void on_activity(void *arg)
{
    struct gateway *g = arg;

    vitals_wake(g->vitals);
}

struct relay_limits gateway_relay_limits(const struct gateway_config *config)
{
    return (struct relay_limits){.idle_ms = config->idle_timeout_ms,
                                 .half_closed_ms = config->half_closed_timeout_ms};
}

static int start_carriers(struct gateway *g)
{
    struct relay_limits limits = gateway_relay_limits(g->config);

    g->relays = relay_group_new(g->base, &limits);
    g->rules = rules_new(g->config);
    if (!g->relays || !g->rules)
        return -ENOMEM;
    relay_group_watch_activity(g->relays, on_activity, g);
    g->trunk_context = (struct trunk_context){.base = g->base,
                                              .pool = relay_group_pool(g->relays),
                                              .uplinks = g->uplinks,
                                              .gauges = &g->gauges,
                                              .paths = g->paths,
                                              .time = &g->time,
                                              .events = g->events,
                                              .suite = crypto_fastest_suite(),
                                              .dial_timeout_ms = g->config->dial_timeout_ms};
    int err = concentrators_new(&g->concentrators, &g->trunk_context, g->config,
                                gateway_concentrators_changed, g);
    if (!err)
        err = truth_new(&g->truth, &g->trunk_context, g->concentrators);
    g->flow_context = (struct flow_context){.config = g->config,
                                            .rules = g->rules,
                                            .trunks = &g->trunk_context,
                                            .concentrators = g->concentrators,
                                            .relays = g->relays,
                                            .closed = on_flow_closed,
                                            .arg = g};
    return err;
}

int gateway_open_web(struct gateway *g, const struct addr *at, struct web **out, char *why,
                     size_t why_len)
{
    char text[ADDR_TEXT];
    int err = at->family ? web_new(out, g->base, at, pages, g) : 0;

    if (err)
        snprintf(why, why_len, "cannot serve metrics_listen %s: %s; write another, or remove it",
                 addr_format(at, text), strerror(-err));
    return err;
}

static int start_web(struct gateway *g)
{
    char why[256];
    int err = gateway_open_web(g, &g->config->metrics_listen, &g->web, why, sizeof(why));

    if (err)
        log_error(LABEL, "%s", why);
    return err;
}

int gateway_open_control(struct gateway *g, const char *path, struct control **out, char *why,
                         size_t why_len)
{
    int err = control_new(out, g->base, path, commands, g);

    if (err)
        snprintf(why, why_len, "cannot open control_socket %s: %s", path,
                 err == -EADDRINUSE ? "another gateway answers there; stop it, or write another"
                                    : strerror(-err));
    return err;
}

static int start_ruleset(struct gateway *g)
{
    int err = ruleset_new(&g->ruleset, g->base, on_table_lost, g);

    if (!err)
        err = tally_new(&g->tally);
    if (err)
        log_error(LABEL, "cannot watch nftables: %s", strerror(-err));
    return err;
}

static int start_control(struct gateway *g)
{
    char why[256];
    int err = gateway_open_control(g, g->config->control_socket, &g->control, why, sizeof(why));

    if (err)
        log_error(LABEL, "%s", why);
    return err;
}

void gateway_leave_port(struct gateway *g)
{
    for (int i = 0; i < 2; i++) {
        listener_free(g->left[i]);
        g->left[i] = NULL;
    }
}

static void on_leave(evutil_socket_t fd, short what, void *arg)
{
    gateway_leave_port(arg);
}

static int start_loop(struct gateway *g)
{
    static const struct daemon_handlers handlers = {
        .reload = gateway_reload, .stop = on_stop, .child = on_child};
    struct daemon_handlers mine = handlers;

    mine.arg = g;
    g->base = loop_new();
    g->timers.base = g->base;
    if (!g->base || timers_reserve(&g->timers, TIMERS_BESIDE))
        return -ENOMEM;
    g->daemon = daemon_new(g->base, &mine);
    g->reaper = event_new(g->base, -1, 0, on_reap, g);
    g->sampler = event_new(g->base, -1, EV_PERSIST, on_sample, g);
    g->drained = evtimer_new(g->base, on_drained, g);
    g->settler = evtimer_new(g->base, on_settle, g);
    g->intercept_again = evtimer_new(g->base, on_intercept_again, g);
    g->routes_again = evtimer_new(g->base, on_routes_again, g);
    g->leave = evtimer_new(g->base, on_leave, g);
    g->look = event_new(g->base, -1, EV_PERSIST, on_look, g);
    g->events = events_new(g->base);
    return g->daemon && g->reaper && g->sampler && g->drained && g->settler && g->intercept_again &&
                   g->routes_again && g->leave && g->look && g->events
               ? 0
               : -ENOMEM;
}

/* Nothing of the kernel's is changed before the guard stands, and nothing is intercepted before a
 * concentrator has answered. */
static int start(struct gateway *g)
{
    static int (*const steps[])(struct gateway *) = {
        start_loop,    start_listeners, start_control, start_web,   start_guard,
        start_ruleset, give_up_rights,  start_uplinks, start_paths, start_carriers};

    raise_descriptors();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int err = steps[i](g);
        if (err == -ENOMEM)
            log_error(LABEL, "cannot start: there is not enough memory, or no descriptor left");
        if (err)
            return err;
    }
    log_info(LABEL, "ready version=%s uplinks=%zu concentrators=%zu suite=%s", BONDWAY_VERSION,
             g->config->n_uplinks, g->config->n_concentrators,
             crypto_suite_name(g->trunk_context.suite));
    gateway_check_lan(g->config);
    look_at_bridges(g);
    gateway_decide_interception(g);
    event_add(g->look, &look_interval);
    daemon_trim();
    readiness_tell();
    return 0;
}

static void free_event(struct event *event)
{
    if (event)
        event_free(event);
}

/* The guard last: it takes interception, routes and sysctls away. Returns 0, or -errno when it
 * could not. */
static int stop(struct gateway *g)
{
    if (g->guard)
        set_interception(g, INTERCEPT_NONE); /* clients of flows that are reset now may go direct */
    free_flows(&g->flows);
    free_flows(&g->dead);
    ledger_free(g->ledger);
    truth_free(g->truth);
    concentrators_free(g->concentrators);
    relay_group_free(g->relays);
    paths_registry_free(g->paths);
    vitals_free(g->vitals);
    station_release(g->aimed);
    unproxied_free(g->unproxied);
    routes_watch_free(g->routes_watch);
    routes_free(g->routes);
    uplinks_free(g->uplinks);
    web_free(g->web);
    control_free(g->control);
    ruleset_free(g->ruleset);
    tally_free(g->tally);
    events_free(g->events);
    listener_free(g->listeners[0]);
    listener_free(g->listeners[1]);
    gateway_leave_port(g);
    free_event(g->reaper);
    free_event(g->sampler);
    free_event(g->drained);
    free_event(g->settler);
    free_event(g->intercept_again);
    free_event(g->routes_again);
    free_event(g->leave);
    free_event(g->look);
    daemon_free(g->daemon);
    int err = guard_free(g->guard);
    if (g->base)
        event_base_free(g->base);
    return err;
}

int gateway_run(const char *config_path)
{
    struct gateway g = {.config_path = config_path,
                        .started_ms = clock_now_ms(),
                        .crowded = {.burst = 1, .interval_ms = 10000},
                        .refused = {.burst = 4, .interval_ms = 600000},
                        .contested = {.burst = 10, .interval_ms = 600000}};

    g.config = gateway_config_load(config_path, stderr);
    if (!g.config)
        return 2;
    shadows_tell(g.config, config_path, stderr);
    list_init(&g.flows);
    list_init(&g.dead);
    int err = start(&g);
    if (!err)
        event_base_dispatch(g.base);
    int end = stop(&g);
    log_info(LABEL, "stopped");
    rules_free(g.rules);
    gateway_config_free(g.config);
    return err || end ? 1 : 0;
}
