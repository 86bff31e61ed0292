/* The gateway's figures for Prometheus (core/metrics.h), out of its status document. */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include "core/metrics.h"

extern const struct metric gateway_metrics[];

#endif
