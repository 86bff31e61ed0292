#include "gateway/metrics.h"

#define UPLINK(key) &uplinks, key
#define CONCENTRATOR(key) &concentrators, key
#define GATEWAY(key) NULL, key

static const struct metric_subject uplinks = {"uplinks", "uplink"};
static const struct metric_subject concentrators = {"concentrators", "concentrator"};

const struct metric gateway_metrics[] = {
    {GATEWAY("version"), .name = "bondway_build_info", .kind = METRIC_STATE,
     .states = BONDWAY_VERSION "\0", .help = "The version that runs."},
    {GATEWAY("uptime_s"), .name = "bondway_uptime_seconds", .kind = METRIC_GAUGE,
     .help = "Since the gateway started."},
    {GATEWAY("intercepting"), .name = "bondway_intercepting", .kind = METRIC_GAUGE,
     .help = "1 while connections of the LAN take the bond."},
    {GATEWAY("flows.active"), .name = "bondway_flows", .kind = METRIC_GAUGE,
     .help = "Connections that run."},
    {GATEWAY("flows.total"), .name = "bondway_flows_total", .kind = METRIC_COUNTER,
     .help = "Connections that were taken."},
    {GATEWAY("flows.failed"), .name = "bondway_flows_failed_total", .kind = METRIC_COUNTER,
     .help = "Connections that the bond could not carry."},
    {GATEWAY("flows.direct"), .name = "bondway_flows_direct_total", .kind = METRIC_COUNTER,
     .help = "Connections that rules let go direct."},
    {GATEWAY("flows.refused"), .name = "bondway_flows_refused_total", .kind = METRIC_COUNTER,
     .help = "Connections that rules refused."},
    {GATEWAY("flows.tcp_fallback"), .name = "bondway_flows_tcp_fallback_total",
     .kind = METRIC_COUNTER, .help = "Connections that had plain TCP, on one uplink."},
    {UPLINK("state"), .name = "bondway_uplink_state", .kind = METRIC_STATE,
     .states = "down\0probing\0up\0degraded\0dead\0", .help = "What is thought of the uplink."},
    {UPLINK("role"), .name = "bondway_uplink_role", .kind = METRIC_STATE,
     .states = "off\0standby\0active\0", .help = "Its part in a flow of the default scheduler."},
    {UPLINK("mptcp"), .name = "bondway_uplink_mptcp", .kind = METRIC_STATE,
     .states = "unknown\0ok\0stripped\0", .help = "Whether Multipath TCP survives there."},
    {UPLINK("rx_bytes"), .name = "bondway_uplink_receive_bytes_total", .kind = METRIC_COUNTER,
     .help = "What its interface has received."},
    {UPLINK("tx_bytes"), .name = "bondway_uplink_transmit_bytes_total", .kind = METRIC_COUNTER,
     .help = "What its interface has sent."},
    {UPLINK("rtt_ms"), .name = "bondway_uplink_rtt_seconds", .kind = METRIC_GAUGE, .per = 1000,
     .help = "Smoothed round trip to the concentrator."},
    {UPLINK("rtt_variation_ms"), .name = "bondway_uplink_rtt_variation_seconds",
     .kind = METRIC_GAUGE, .per = 1000, .help = "Smoothed variation of the round trip."},
    {UPLINK("loss_percent"), .name = "bondway_uplink_probe_loss_ratio", .kind = METRIC_GAUGE,
     .per = 100, .help = "Of the last hundred probes or so, the part that was lost."},
    {UPLINK("budget.limit_bytes"), .name = "bondway_uplink_budget_bytes", .kind = METRIC_GAUGE,
     .help = "What it may carry in a month."},
    {UPLINK("budget.used_bytes"), .name = "bondway_uplink_budget_used_bytes", .kind = METRIC_GAUGE,
     .help = "What it has carried of that."},
    {CONCENTRATOR("state"), .name = "bondway_concentrator_state", .kind = METRIC_STATE,
     .states = "unknown\0up\0down\0", .help = "Whether the concentrator can be reached."},
    {CONCENTRATOR("rtt_ms"), .name = "bondway_concentrator_rtt_seconds", .kind = METRIC_GAUGE,
     .per = 1000, .help = "Round trip by the uplink where it is shortest."},
    {CONCENTRATOR("warm"), .name = "bondway_concentrator_warm_connections", .kind = METRIC_GAUGE,
     .help = "Connections that wait for a flow."},
    {.name = ""},
};
