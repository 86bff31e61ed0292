/* Whether an uplink is worth taking part in a bond. The kernel spreads a flow over all subflows,
 * and gives a slow one more than it can deliver in time; the receiver waits for it. So a far slower
 * path makes the whole slower than the best one alone. Measured (tests/bench/scenarios, every
 * uplink active), Mb/s: 56 alone, 15 with 2.3 at 100 ms beside it; 62, 28 with 4 at the same
 * distance; 11 with 1 % loss, 4 with 1.4 beside it; 16, 13 with one that loses 2 % at 98 ms. But 39
 * at 206 ms became 43 with 4 at 6 ms; and, since what is under way is held to what the paths need
 * (core/sendroom.h), 57 became 63.5 with 7.7 at the same distance behind a queue of 0.8 s.
 *
 * For each uplink what TCP could get out of it is estimated: at most 1.22 * MSS / (RTT *
 * sqrt(loss)) (Mathis et al. 1997), from what the probes measured; and at most the highest rate
 * seen there of late, or twice that where it was never full (gateway/capacity.h); there, as long as
 * it has not been busy for 20 round trips, nobody knows: TCP has just begun. And where it was not
 * full, loses nothing, and the other is not full either, nobody asks for more, and little is
 * carried for that reason alone: then nothing is known. Suspected is one that gets less than a
 * quarter of another, where it is farther or loses packets, else less than a twelfth.
 *
 * An estimate may be wrong by half, so it is tried: the suspect stands by, for 3 s or 20 round
 * trips of the other one, and goes on to do so unless it had added half of what it carried. Where
 * nobody asks for anything meanwhile, the estimate holds. As nobody learns of a path that carries
 * nothing, it takes part again after a minute, then after 2, 4, 8; and one that was suspected
 * wrongly is left in peace for as long. (19 Mb/s beside 5, both losing 0.18 %: 18 without the
 * trial, 22.8 with it. 65 beside 4: 16 together, 60 alone.)
 *
 * Pure: figures and time in, verdict out. Plain data; of an uplink with another address, zero it.
 */
#ifndef GATEWAY_WORTH_H
#define GATEWAY_WORTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum worth_stance { WORTH_TAKES_PART, WORTH_ON_TRIAL, WORTH_STANDS_BY };

struct worth {
    /* To read. */
    enum worth_stance stance; /* on trial it stands by, too */
    char reason[96];          /* for a person, while it does */
    /* Its own. */
    uint64_t peak_bps;
    bool was_full;
    uint32_t busy_ms;  /* it carried something */
    uint64_t next_ms;  /* when the trial, the standing by or the peace ends */
    uint64_t with_bps; /* on trial: what all carried before */
    uint64_t last_bps; /* what it carried in the last look */
    uint32_t times;    /* it was tried */
    uint32_t outdone;  /* looks in a row in which another got far more; others' trials aside */
};

struct worth_view {
    bool usable;                        /* and alive */
    uint64_t bps;                       /* the higher of both directions, of the last second */
    bool full;                          /* now */
    uint32_t min_rtt_us, loss_permille; /* of probes; 0: unknown */
};

bool worth_is_slow(const struct worth *worth);

/* Once a second while flows run. views[i] and worths[i] are of uplink i. True when one has become
 * slow, or is no more. */
bool worth_judge(struct worth *worths, const struct worth_view *views, size_t n, uint64_t now_ms);

#endif
