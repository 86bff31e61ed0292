/* Prometheus text (exposition format 0.0.4) out of a daemon's status document: what is shown there
 * and what is counted here cannot differ. Which figures, under which names, says a table of the
 * daemon's. Names follow prometheus.io/docs/practices/naming: base units, _total for counters; and
 * labels are names out of the configuration, so there is a bounded number of series. Pure. */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stdint.h>
#include <event2/buffer.h>
#include <json-c/json.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric_kind {
    METRIC_GAUGE,
    METRIC_COUNTER,
    METRIC_STATE /* text, one of several: a series for each, 1 for the one that holds, else 0 */
};

/* What it is of: the document itself, or each object with a "name" of a list in it. */
enum metric_subject { METRIC_OF_ALL, METRIC_OF_UPLINK, METRIC_OF_CONCENTRATOR, METRIC_OF_GATEWAY };

/* One row: where the figure stands, and what it is called. (A pointer in a table costs a router
 * four times its size.) */
struct metric {
    uint8_t of, kind; /* enum metric_subject, metric_kind */
    uint16_t per;     /* of the figure's units make a base unit: 1000 for ms; 0: it is in them */
    char key[20]; /* in the object; a dot leads into an object in it: "flows.active". Of a state,
                     the label, too */
    char name[40];
    const char *help; /* of a state, its states behind it, a NUL behind each: "Help.\0off\0on\0" */
};

/* Appends all of them; the table ends with an empty name. Takes the document. A figure that is
 * missing or null is left out. Returns 0, or -ENOMEM, also for no document. */
int metrics_write(struct evbuffer *out, const struct metric *table, struct json_object *status);

#endif
