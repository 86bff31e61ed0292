/* How often one source of events may be heard: at most EVENTS_BURST times in any EVENTS_WINDOW_MS.
 * Plain data; zeroed, nothing has been heard yet. */
#ifndef CORE_EVENTS_LIMIT_H
#define CORE_EVENTS_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define EVENTS_BURST 10
#define EVENTS_WINDOW_MS 10000

struct events_limit {
    uint64_t passed_ms[EVENTS_BURST]; /* a ring */
    uint64_t passed;                  /* so many, ever */
    uint32_t held;                    /* since the last that passed */
};

/* True when one may be heard now; *held is how many were held back since the last that was. */
bool events_limit_pass(struct events_limit *limit, uint64_t now_ms, uint32_t *held);
/* When the next may be heard; in the past when it may be now. */
uint64_t events_limit_opens_ms(const struct events_limit *limit);
/* When the last was heard; 0: never. */
uint64_t events_limit_last_ms(const struct events_limit *limit);

#endif
