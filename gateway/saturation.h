/* Which uplinks are saturated: not for a moment, but so that more flows would be well served by a
 * dearer uplink (scheduler "overflow"), and until the cheaper ones would do again. Pure: figures
 * and time in, verdict out. Plain data; zero it for an uplink with another address.
 *
 * - An uplink is saturated when it has been full (gateway/capacity.h) for 300 ms; a moment in which
 *   it is not takes as much away. A page is over by then.
 * - Where a dearer one takes part, a flow spreads over both, and neither shows by itself that the
 *   demand has fallen: a film of 20 Mb/s leaves a line of 50 half empty, and so would a download
 *   that only begins. So what all carry together is compared with what this one and its like, and
 *   all that are cheaper, can carry, in each direction in which that is proven. Less than nine
 *   tenths of it, and none of them full, for a second, or no flow carries anything: it is saturated
 *   no longer.
 * - What was proven may be long ago, and some of what is carried may not be able to move. So where
 *   none of them is full for 5 s, the same is tried whatever was proven. If it is saturated again
 *   within 2 s, that was in vain, and the next try waits for twice as long, up to 320 s.
 * - A film that is fetched piece by piece fills an uplink again and again, for a moment each time.
 *   If it was saturated for less than 3 s, the 300 ms double, up to 2.4 s, until it was so for
 *   longer once, or not at all for 5 minutes. */
#ifndef GATEWAY_SATURATION_H
#define GATEWAY_SATURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/capacity.h"

struct saturation {
    bool saturated;
    /* Its own. */
    uint64_t judged_ms;  /* 0: never */
    uint64_t changed_ms; /* since when it is saturated, or is not */
    uint64_t calm_ms;    /* since when none is full; 0: one is */
    uint32_t full_ms;    /* how long it was full, less how long it was not */
    uint32_t bursts;     /* in a row, in which it was saturated for a moment only */
    bool tried;          /* it was declared unsaturated whatever was proven */
    uint32_t tries;      /* in vain, in a row */
};

struct saturation_view {
    bool usable; /* and alive */
    uint32_t cost;
    const struct capacity *capacity;
};

/* Whenever a window of a capacity has ended. views[i] and of[i] are of uplink i. True when one has
 * become saturated, or is no more. */
bool saturation_judge(struct saturation *of, const struct saturation_view *views, size_t n,
                      uint64_t now_ms);

#endif
