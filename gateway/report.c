#include "gateway/report.h"

#include <netinet/tcp.h>

#include "core/clock.h"
#include "core/mptcp.h"
#include "gateway/vitals.h"

static void add_string(struct json_object *o, const char *key, const char *value)
{
    json_object_object_add(o, key, json_object_new_string(value));
}

static void add_int(struct json_object *o, const char *key, uint64_t value)
{
    json_object_object_add(o, key, json_object_new_int64((int64_t)value));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
    json_object_object_add(o, key, json_object_new_boolean(value));
}

/* With the digits that mean something, not those of binary fractions. */
static void add_decimal(struct json_object *o, const char *key, double value, int digits)
{
    char text[32];

    snprintf(text, sizeof(text), "%.*f", digits, value);
    json_object_object_add(o, key, json_object_new_double_s(value, text));
}

static struct json_object *concentrator_json(const struct concentrator_status *c)
{
    struct json_object *o = json_object_new_object();
    char at[ADDR_TEXT];

    add_string(o, "name", c->entry->name);
    add_string(o, "address", addr_format(&c->entry->address, at));
    add_string(o, "state", concentrator_state_name(c->state));
    add_string(o, "reason", c->reason);
    add_decimal(o, "rtt_ms", c->rtt_us / 1000.0, 1);
    add_int(o, "warm", c->warm);
    return o;
}

static struct json_object *budget_json(const struct budget_status *b)
{
    struct json_object *o = json_object_new_object();

    add_int(o, "limit_bytes", b->limit);
    add_int(o, "used_bytes", b->used);
    add_int(o, "left_bytes", b->left);
    if (b->dated)
        add_int(o, "days_left", b->days_left);
    add_string(o, "state", budget_state_name(b->state));
    return o;
}

static struct json_object *uplink_json(const struct uplinks *uplinks, const struct uplink *u,
                                       uint8_t family, struct gauge *gauge, struct ledger *ledger,
                                       enum role role)
{
    struct json_object *o = json_object_new_object();
    const struct uplink_route *route = uplink_route(u, family);
    struct budget_status budget;
    char at[ADDR_TEXT] = "";

    if (route->address.family)
        addr_format_ip(&route->address, at);
    gauge_sample(gauge, uplinks, u, clock_now_ms());
    add_string(o, "name", u->config->name);
    add_string(o, "interface", u->config->interface);
    add_string(o, "address", at);
    add_string(o, "state", uplink_state_name(gauge_state(gauge, u)));
    add_string(o, "reason", gauge_reason(gauge, u));
    add_string(o, "role", role_name(role));
    add_int(o, "cost", u->config->cost);
    add_decimal(o, "rtt_ms", gauge->rtt_us / 1000.0, 1);
    add_decimal(o, "rtt_variation_ms", gauge->health.rttvar_us / 1000.0, 1);
    add_decimal(o, "loss_percent", gauge->health.loss_permille / 10.0, 1);
    add_int(o, "rx_bytes", gauge->rx_bytes);
    add_int(o, "tx_bytes", gauge->tx_bytes);
    add_int(o, "rx_bps", gauge->rx_bps);
    add_int(o, "tx_bps", gauge->tx_bps);
    add_int(o, "rx_capacity_bps", capacity_proven_bps(&gauge->capacity.down));
    add_int(o, "tx_capacity_bps", capacity_proven_bps(&gauge->capacity.up));
    add_bool(o, "saturated", gauge->saturation.saturated);
    add_string(o, "mptcp", mptcp_truth_name(gauge->mptcp));
    add_int(o, "idle_probe_bytes_per_day", vitals_idle_bytes_per_day(u, gauge));
    if (ledger_status(ledger, u->index, &budget))
        json_object_object_add(o, "budget", budget_json(&budget));
    return o;
}

static struct json_object *uplinks_json(const struct flow_context *c, struct gauges *gauges,
                                        struct ledger *ledger)
{
    struct json_object *list = json_object_new_array();
    const struct uplinks *uplinks = c->trunks->uplinks;
    uint8_t family = c->config->concentrators[0].address.family;
    struct demand demand = {c->config->scheduler, UINT32_MAX};
    struct schedule schedule;
    uint8_t order[UPLINKS_MAX];

    gauges_schedule(gauges, uplinks, family, &demand, NULL, &schedule);
    size_t n = uplinks_in_order(uplinks, order);
    for (size_t i = 0; i < n; i++)
        json_object_array_add(list,
                              uplink_json(uplinks, uplinks_get(uplinks, order[i]), family,
                                          &gauges->of[order[i]], ledger, schedule.roles[order[i]]));
    return list;
}

struct json_object *report_status(const struct flow_context *c, struct gauges *gauges,
                                  struct ledger *ledger, const struct flow_totals *totals,
                                  uint64_t uptime_ms, bool intercepting)
{
    struct json_object *o = json_object_new_object();
    struct json_object *list = json_object_new_array(), *flows = json_object_new_object();

    add_string(o, "role", "gateway");
    add_string(o, "version", BONDWAY_VERSION);
    add_decimal(o, "uptime_s", uptime_ms / 1000.0, 1);
    add_bool(o, "intercepting", intercepting);
    add_string(o, "scheduler", scheduler_name(c->config->scheduler));
    for (size_t i = 0; i < concentrators_count(c->concentrators); i++) {
        struct concentrator_status status = concentrators_status(c->concentrators, i);
        json_object_array_add(list, concentrator_json(&status));
    }
    json_object_object_add(o, "concentrators", list);
    json_object_object_add(o, "uplinks", uplinks_json(c, gauges, ledger));
    add_int(flows, "active", totals->active);
    add_int(flows, "total", totals->total);
    add_int(flows, "failed", totals->failed);
    add_int(flows, "direct", totals->direct);
    add_int(flows, "refused", totals->refused);
    add_int(flows, "tcp_fallback", totals->tcp_fallback);
    json_object_object_add(o, "flows", flows);
    return o;
}

static const char *subflow_state(uint8_t tcp_state)
{
    switch (tcp_state) {
    case TCP_ESTABLISHED:
        return "established";
    case TCP_SYN_SENT:
    case TCP_SYN_RECV:
        return "joining";
    default:
        return "closing";
    }
}

static struct json_object *subflow_json(const struct uplink *uplink, enum role role,
                                        const struct mptcp_subflow *s)
{
    struct json_object *o = json_object_new_object();

    add_string(o, "uplink", uplink_name(uplink));
    add_string(o, "role", role_name(role));
    add_string(o, "state", subflow_state(s->tcp_state));
    add_decimal(o, "rtt_ms", s->rtt_us / 1000.0, 1);
    add_int(o, "rx_bytes", s->rx_bytes);
    add_int(o, "tx_bytes", s->tx_bytes);
    return o;
}

static struct json_object *subflows_json(const struct flow_context *c, const struct flow_status *f)
{
    struct json_object *list = json_object_new_array();
    struct mptcp_subflow subflows[2 * UPLINKS_MAX];
    int n = 0;

    if (f->paths && f->far_fd != -1)
        n = mptcp_subflows(f->far_fd, subflows, sizeof(subflows) / sizeof(subflows[0]));
    for (int i = 0; i < n; i++) {
        enum role role;
        int uplink = paths_uplink_of(f->paths, &subflows[i].local, &role);

        /* The kernel keeps the first subflow of a connection, ended or not. */
        if (uplink >= 0)
            json_object_array_add(
                list,
                subflow_json(uplinks_get(c->trunks->uplinks, (size_t)uplink), role, &subflows[i]));
    }
    return list;
}

static const char *flow_state_name(enum flow_state state)
{
    static const char *const names[] = {"choosing", "opening", "relaying", "closed"};

    return names[state];
}

static struct json_object *flow_json(const struct flow_context *c, const struct flow_status *f)
{
    struct json_object *o = json_object_new_object();
    char text[ADDR_TEXT];

    add_int(o, "id", f->id);
    add_string(o, "state", flow_state_name(f->state));
    add_string(o, "client", addr_format(&f->client, text));
    add_string(o, "destination", addr_format(&f->destination, text));
    add_string(o, "rule", f->rule);
    add_string(o, "scheduler", scheduler_name(f->scheduler));
    add_string(o, "concentrator", f->concentrator);
    add_bool(o, "sealed", f->sealed);
    add_bool(o, "mptcp", f->is_mptcp);
    add_decimal(o, "age_s", f->age_ms / 1000.0, 1);
    add_int(o, "rx_bytes", f->rx_bytes);
    add_int(o, "tx_bytes", f->tx_bytes);
    json_object_object_add(o, "subflows", subflows_json(c, f));
    return o;
}

struct json_object *report_flows(const struct flow_context *c, struct list *flows)
{
    struct json_object *list = json_object_new_array();

    list_each(node, flows)
    {
        struct flow_status status;
        flow_status(flow_of_node(node), &status);
        json_object_array_add(list, flow_json(c, &status));
    }
    return list;
}
