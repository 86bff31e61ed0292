#include "concentrator/metrics.h"

#define PEER(text) .of = METRIC_OF_GATEWAY, .key = text
#define CONCENTRATOR(text) .of = METRIC_OF_ALL, .key = text

const struct metric concentrator_metrics[] = {
    {CONCENTRATOR("version"), .name = "bondway_build_info", .kind = METRIC_STATE,
     .help = "The version that runs.\0" BONDWAY_VERSION "\0"},
    {CONCENTRATOR("uptime_s"), .name = "bondway_uptime_seconds", .kind = METRIC_GAUGE,
     .help = "Since the concentrator started."},
    {CONCENTRATOR("workers"), .name = "bondway_workers", .kind = METRIC_GAUGE,
     .help = "Threads that serve."},
    {CONCENTRATOR("refused.hello"), .name = "bondway_refused_hello_total", .kind = METRIC_COUNTER,
     .help = "Connections that did not prove who they are."},
    {CONCENTRATOR("refused.replay"), .name = "bondway_refused_replay_total", .kind = METRIC_COUNTER,
     .help = "Connections that repeated what another had said."},
    {CONCENTRATOR("refused.policy"), .name = "bondway_refused_policy_total", .kind = METRIC_COUNTER,
     .help = "Destinations that may not be reached from here."},
    {CONCENTRATOR("refused.limit"), .name = "bondway_refused_limit_total", .kind = METRIC_COUNTER,
     .help = "Connections beyond a limit."},
    {PEER("flows"), .name = "bondway_gateway_flows", .kind = METRIC_GAUGE,
     .help = "Connections of the gateway that run."},
    {PEER("warm"), .name = "bondway_gateway_warm_connections", .kind = METRIC_GAUGE,
     .help = "Connections of the gateway that wait for a flow."},
    {PEER("total"), .name = "bondway_gateway_flows_total", .kind = METRIC_COUNTER,
     .help = "Connections that were carried for the gateway."},
    {PEER("rx_bytes"), .name = "bondway_gateway_receive_bytes_total", .kind = METRIC_COUNTER,
     .help = "What the gateway has sent to its destinations."},
    {PEER("tx_bytes"), .name = "bondway_gateway_transmit_bytes_total", .kind = METRIC_COUNTER,
     .help = "What its destinations have sent to the gateway."},
    {PEER("refused"), .name = "bondway_gateway_refused_total", .kind = METRIC_COUNTER,
     .help = "Of the gateway's connections, those that were refused."},
    {PEER("last_seen_s"), .name = "bondway_gateway_last_seen_seconds", .kind = METRIC_GAUGE,
     .help = "How long ago the gateway was heard from."},
    {.name = ""},
};
