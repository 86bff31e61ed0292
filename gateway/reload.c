/* SIGHUP: the configuration is read anew, and takes effect as a whole or not at all.
 *
 * Each module that keeps the configuration has a function of its own, MODULE_reload(): the new one
 * takes the place of the old one, which is freed at the end. What may fail comes first, and is
 * undone where something else fails after it; then nothing may fail any more. Uplinks keep their
 * indexes (struct gateway_config), concentrators their stations. */
#include <errno.h>
#include <string.h>

#include "config/complaints.h"
#include "gateway/gateway_internal.h"
#include "gateway/shadows.h"

/* A connection whose handshake has begun at the port before comes there, after an answer lost or
 * two. */
static const struct timeval leave_patience = {.tv_sec = 3};

/* What the new configuration needs, before it takes effect. */
struct change {
    struct gateway_config *next, *before;
    struct listener *listeners[2]; /* NULL: the port stays */
    struct control *control;       /* NULL: likewise */
    bool moves_web;                /* metrics_listen is another one, or none */
    struct web *web;
    struct rules *rules;
};

static struct gateway_config *read_again(struct gateway *g, char reason[COMPLAINTS_REASON])
{
    struct complaints complaints;
    struct gateway_config *config = NULL;

    complaints_open(&complaints);
    if (complaints.out)
        config = gateway_config_reload(g->config_path, g->config, complaints.out);
    complaints_close(&complaints, reason);
    return config;
}

static void refuse(struct gateway *g, const char *reason)
{
    log_error("reload", "nothing has changed; correct %s and send SIGHUP again", g->config_path);
    changes_reload(g->events, reason);
}

/* ---- what may fail ---- */

static int open_listeners(struct gateway *g, struct change *c, char *why)
{
    if (c->next->listen_port == c->before->listen_port)
        return 0;
    gateway_leave_port(g);
    return gateway_listen(g, c->next->listen_port, c->listeners, why, COMPLAINTS_REASON);
}

static int open_control(struct gateway *g, struct change *c, char *why)
{
    const char *path = c->next->control_socket;

    if (strcmp(path, c->before->control_socket) == 0)
        return 0;
    return gateway_open_control(g, path, &c->control, why, COMPLAINTS_REASON);
}

static int open_web(struct gateway *g, struct change *c, char *why)
{
    const struct addr *at = &c->next->metrics_listen;

    c->moves_web = !addr_equal(at, &c->before->metrics_listen);
    return c->moves_web ? gateway_open_web(g, at, &c->web, why, COMPLAINTS_REASON) : 0;
}

/* What leads packets is there before the table marks them. Direct rules may name other uplinks. */
static int lead(struct gateway *g, const struct gateway_config *config)
{
    int err = routes_reload(g->routes, config);

    for (size_t i = 0; i < uplinks_count(g->uplinks) && !err; i++)
        err = routes_apply(g->routes, uplinks_get(g->uplinks, i));
    return err;
}

/* One transaction changes the table: there is no moment without interception. */
static int intercept(struct gateway *g, const struct gateway_config *next,
                     const struct gateway_config *before, char *why)
{
    char words[COMPLAINTS_REASON - 64];
    int err = lead(g, next);

    if (err)
        snprintf(why, COMPLAINTS_REASON, "cannot set the routes of marked packets: %s",
                 strerror(-err));
    if (!err) {
        err = gateway_write_table(g, next, words, sizeof(words));
        if (err)
            snprintf(why, COMPLAINTS_REASON, "nftables refused our table: %s",
                     words[0] ? words : strerror(-err));
    }
    if (err)
        lead(g, before);
    routes_forget(g->routes, err ? next : before);
    return err;
}

static int use_concentrators(struct gateway *g, struct change *c, char *why)
{
    char unused[COMPLAINTS_REASON];

    c->rules = rules_new(c->next);
    int err = c->rules ? concentrators_reload(g->concentrators, c->next) : -ENOMEM;

    if (!err)
        return 0;
    snprintf(why, COMPLAINTS_REASON, "%s", strerror(-err));
    intercept(g, c->before, c->next, unused);
    return err;
}

static int prepare(struct gateway *g, struct change *c, char *why)
{
    int err = open_listeners(g, c, why);

    if (!err)
        err = open_control(g, c, why);
    if (!err)
        err = open_web(g, c, why);
    if (!err)
        err = intercept(g, c->next, c->before, why);
    if (!err)
        err = use_concentrators(g, c, why);
    if (!err)
        return 0;
    log_error("reload", "%s", why);
    listener_free(c->listeners[0]);
    listener_free(c->listeners[1]);
    control_free(c->control);
    web_free(c->web);
    rules_free(c->rules);
    return err;
}

/* ---- what does not ---- */

static void adopt_sockets(struct gateway *g, const struct change *c)
{
    if (c->listeners[0]) {
        memcpy(g->left, g->listeners, sizeof(g->left));
        memcpy(g->listeners, c->listeners, sizeof(g->listeners));
        event_add(g->leave, &leave_patience);
    }
    if (c->control) {
        control_free(g->control);
        g->control = c->control;
    }
    if (c->moves_web) {
        web_free(g->web);
        g->web = c->web;
    }
}

static void adopt_rules(struct gateway *g, struct rules *next)
{
    struct rules *before = g->rules;

    g->rules = next;
    g->flow_context.rules = next;
    list_each(node, &g->flows) flow_follow_rules(flow_of_node(node));
    rules_free(before);
}

static void adopt_settings(struct gateway *g, struct gateway_config *next)
{
    struct relay_limits limits = gateway_relay_limits(next);

    g->config = next;
    g->flow_context.config = next;
    g->trunk_context.dial_timeout_ms = next->dial_timeout_ms;
    relay_group_set_limits(g->relays, &limits);
}

/* Of an uplink that leaves its place nothing remains: neither what was measured, nor what was told.
 */
static void forget_removed(struct gateway *g, const struct gateway_config *before)
{
    for (size_t i = 0; i < before->n_uplinks; i++) {
        const struct uplink_config *was = &before->uplinks[i], *now = &g->config->uplinks[i];

        if (!was->name[0] || (now->name[0] && strcmp(was->interface, now->interface) == 0))
            continue;
        log_info(was->name, "uplink removed interface=%s", was->interface);
        changes_removed(g->events, "uplink", was->name);
        gauge_forget(&g->gauges.of[i]);
        g->told[i] = (struct uplink_told){0};
    }
}

static void commit(struct gateway *g, struct change *c)
{
    adopt_sockets(g, c);
    ledger_free(g->ledger); /* it saves: the next one goes on with that */
    g->ledger = NULL;
    adopt_settings(g, c->next);
    forget_removed(g, c->before);
    uplinks_reload(g->uplinks, g->config, gateway_family(g));
    for (size_t i = 0; i < uplinks_count(g->uplinks); i++)
        gateway_apply_routes(g, uplinks_get(g->uplinks, i));
    adopt_rules(g, c->rules);
    int err = gateway_open_ledger(g);
    if (err)
        log_error(LABEL, "monthly_budget: cannot count: %s", strerror(-err));
    err = gateway_follow_unproxied(g);
    if (err)
        log_error(LABEL, "route_unproxied: cannot change the default route: %s", strerror(-err));
    gateway_all_follow(g);
    gateway_concentrators_changed(g);
    gateway_check_lan(g->config);
    shadows_tell(g->config, g->config_path, stderr);
    gateway_config_free(c->before);
}

void gateway_reload(void *arg)
{
    struct gateway *g = arg;
    char reason[COMPLAINTS_REASON];
    struct change change = {.before = g->config};

    if (g->stopping) {
        log_warning("reload", "it is stopping: SIGHUP changes nothing any more");
        return;
    }
    change.next = read_again(g, reason);
    if (!change.next || prepare(g, &change, reason)) {
        gateway_config_free(change.next);
        refuse(g, reason);
        return;
    }
    commit(g, &change);
    changes_reload(g->events, NULL);
    daemon_trim();
    log_info("reload", "done concentrators=%zu", g->config->n_concentrators);
}
