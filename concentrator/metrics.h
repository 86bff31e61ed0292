/* The concentrator's figures for Prometheus (core/metrics.h), out of its status document. */
#ifndef CONCENTRATOR_METRICS_H
#define CONCENTRATOR_METRICS_H

#include "core/metrics.h"

extern const struct metric concentrator_metrics[];

#endif
