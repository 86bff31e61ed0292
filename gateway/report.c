#include "gateway/report.h"

#include <netinet/tcp.h>

#include "core/clock.h"
#include "core/document.h"
#include "core/mptcp.h"
#include "gateway/vitals.h"

/* What is not known is null. */
static void add_known(struct document *d, const char *key, double value, bool known)
{
    if (known)
        document_add_decimal(d, key, value, 1);
    else
        document_add_null(d, key);
}

static void add_concentrator(struct document *d, const struct concentrator_status *c)
{
    char at[ADDR_TEXT];

    document_open_object(d, NULL);
    document_add_text(d, "name", c->entry->name);
    document_add_text(d, "address", addr_format(&c->entry->address, at));
    document_add_text(d, "state", concentrator_state_name(c->state));
    document_add_text(d, "reason", c->reason);
    add_known(d, "rtt_ms", c->rtt_us / 1000.0, c->rtt_us > 0);
    document_add_number(d, "warm", c->warm);
    document_close(d);
}

static void add_concentrators(struct document *d, const struct concentrators *concentrators)
{
    document_open_list(d, "concentrators");
    for (size_t i = 0; i < concentrators_count(concentrators); i++) {
        struct concentrator_status status = concentrators_status(concentrators, i);
        add_concentrator(d, &status);
    }
    document_close(d);
}

static void add_budget(struct document *d, const struct budget_status *b)
{
    document_open_object(d, "budget");
    document_add_number(d, "limit_bytes", b->limit);
    document_add_number(d, "used_bytes", b->used);
    document_add_number(d, "left_bytes", b->left);
    if (b->dated)
        document_add_number(d, "days_left", b->days_left);
    document_add_text(d, "state", budget_state_name(b->state));
    document_close(d);
}

static void add_figures(struct document *d, const struct uplink *u, const struct gauge *gauge)
{
    uint32_t rtt_us = gauge_current_rtt_us(gauge, u);
    bool probed = gauge_is_probed(gauge, u);

    add_known(d, "rtt_ms", rtt_us / 1000.0, rtt_us > 0);
    add_known(d, "rtt_variation_ms", gauge->health.rttvar_us / 1000.0, probed);
    add_known(d, "loss_percent", gauge->health.loss_permille / 10.0, probed);
    document_add_number(d, "rx_bytes", gauge->rx_bytes);
    document_add_number(d, "tx_bytes", gauge->tx_bytes);
    document_add_number(d, "rx_bps", gauge->rx_bps);
    document_add_number(d, "tx_bps", gauge->tx_bps);
    document_add_number(d, "rx_capacity_bps", capacity_proven_bps(&gauge->capacity.down));
    document_add_number(d, "tx_capacity_bps", capacity_proven_bps(&gauge->capacity.up));
    document_add_bool(d, "saturated", gauge->saturation.saturated);
    document_add_text(d, "mptcp", mptcp_truth_name(gauge->mptcp));
    document_add_number(d, "idle_probe_bytes_per_day", vitals_idle_bytes_per_day(u, gauge));
}

static void add_uplink(struct document *d, const struct uplink *u, uint8_t family,
                       const struct gauge *gauge, struct ledger *ledger, enum role role)
{
    const struct uplink_route *route = uplink_route(u, family);
    struct budget_status budget;
    char at[ADDR_TEXT] = "";

    if (route->address.family)
        addr_format_ip(&route->address, at);
    document_open_object(d, NULL);
    document_add_text(d, "name", u->config->name);
    document_add_text(d, "interface", u->config->interface);
    document_add_text(d, "address", at);
    document_add_text(d, "state", uplink_state_name(gauge_state(gauge, u)));
    document_add_text(d, "reason", gauge_reason(gauge, u));
    document_add_text(d, "role", role_name(role));
    document_add_number(d, "cost", u->config->cost);
    add_figures(d, u, gauge);
    if (ledger_status(ledger, u->index, &budget))
        add_budget(d, &budget);
    document_close(d);
}

static void add_uplinks(struct document *d, const struct flow_context *c, struct gauges *gauges,
                        struct ledger *ledger)
{
    const struct uplinks *uplinks = c->trunks->uplinks;
    uint8_t family = c->config->concentrators[0].address.family;
    struct demand demand = {c->config->scheduler, UINT32_MAX};
    struct schedule schedule;
    uint8_t order[UPLINKS_MAX];

    gauges_schedule(gauges, uplinks, family, &demand, NULL, &schedule);
    size_t n = uplinks_in_order(uplinks, order);
    document_open_list(d, "uplinks");
    for (size_t i = 0; i < n; i++) {
        const struct uplink *u = uplinks_get(uplinks, order[i]);
        struct gauge *gauge = &gauges->of[order[i]];
        gauge_sample(gauge, uplinks, u, clock_now_ms());
        add_uplink(d, u, family, gauge, ledger, schedule.roles[order[i]]);
    }
    document_close(d);
}

static void add_totals(struct document *d, const struct flow_totals *totals)
{
    document_open_object(d, "flows");
    document_add_number(d, "active", totals->active);
    document_add_number(d, "total", totals->total);
    document_add_number(d, "failed", totals->failed);
    document_add_number(d, "direct", totals->direct);
    document_add_number(d, "refused", totals->refused);
    document_add_number(d, "tcp_fallback", totals->tcp_fallback);
    document_close(d);
}

struct json_object *report_status(const struct flow_context *c, struct gauges *gauges,
                                  struct ledger *ledger, const struct flow_totals *totals,
                                  uint64_t uptime_ms, bool intercepting, const char *hindrance)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "role", "gateway");
    document_add_text(&d, "version", BONDWAY_VERSION);
    document_add_decimal(&d, "uptime_s", uptime_ms / 1000.0, 1);
    document_add_bool(&d, "intercepting", intercepting);
    if (hindrance)
        document_add_text(&d, "hindrance", hindrance);
    document_add_text(&d, "scheduler", scheduler_name(c->config->scheduler));
    add_concentrators(&d, c->concentrators);
    add_uplinks(&d, c, gauges, ledger);
    add_totals(&d, totals);
    return document_finish(&d);
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

static void add_subflow(struct document *d, const struct uplink *uplink, enum role role,
                        const struct mptcp_subflow *s)
{
    document_open_object(d, NULL);
    document_add_text(d, "uplink", uplink_name(uplink));
    document_add_text(d, "role", role_name(role));
    document_add_text(d, "state", subflow_state(s->tcp_state));
    document_add_decimal(d, "rtt_ms", s->rtt_us / 1000.0, 1);
    document_add_number(d, "rx_bytes", s->rx_bytes);
    document_add_number(d, "tx_bytes", s->tx_bytes);
    document_close(d);
}

static void add_subflows(struct document *d, const struct flow_context *c,
                         const struct flow_status *f)
{
    struct mptcp_subflow subflows[2 * UPLINKS_MAX];
    int n = 0;

    if (f->paths && f->far_fd != -1)
        n = mptcp_subflows(f->far_fd, subflows, sizeof(subflows) / sizeof(subflows[0]));
    document_open_list(d, "subflows");
    for (int i = 0; i < n; i++) {
        enum role role;
        int uplink = paths_uplink_of(f->paths, &subflows[i].local, &role);

        /* The kernel keeps the first subflow of a connection, ended or not. */
        if (uplink >= 0)
            add_subflow(d, uplinks_get(c->trunks->uplinks, (size_t)uplink), role, &subflows[i]);
    }
    document_close(d);
}

static const char *flow_state_name(enum flow_state state)
{
    static const char names[][12] = {"choosing", "opening", "relaying", "closed"};

    return names[state];
}

static void add_flow(struct document *d, const struct flow_context *c, const struct flow_status *f)
{
    char text[ADDR_TEXT];

    document_open_object(d, NULL);
    document_add_number(d, "id", f->id);
    document_add_text(d, "state", flow_state_name(f->state));
    document_add_text(d, "client", addr_format(&f->client, text));
    document_add_text(d, "destination", addr_format(&f->destination, text));
    document_add_text(d, "rule", f->rule);
    document_add_text(d, "scheduler", scheduler_name(f->scheduler));
    document_add_text(d, "concentrator", f->concentrator);
    document_add_bool(d, "sealed", f->sealed);
    document_add_bool(d, "mptcp", f->is_mptcp);
    document_add_decimal(d, "age_s", f->age_ms / 1000.0, 1);
    document_add_number(d, "rx_bytes", f->rx_bytes);
    document_add_number(d, "tx_bytes", f->tx_bytes);
    add_subflows(d, c, f);
    document_close(d);
}

struct json_object *report_flows(const struct flow_context *c, struct list *flows)
{
    struct document d = {.depth = 0};

    document_open_list(&d, NULL);
    list_each(node, flows)
    {
        struct flow_status status;
        flow_status(flow_of_node(node), &status);
        add_flow(&d, c, &status);
    }
    return document_finish(&d);
}
