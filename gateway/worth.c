#include "gateway/worth.h"

#include <stdio.h>

#define SHARE 4       /* less than a quarter */
#define NEAR_SHARE 12 /* and than a twelfth, where it is not farther */
#define HEADROOM 2    /* of one that was never full */
#define LOSSY_PERMILLE 5u
#define MSS_BITS (1448 * 8)
#define BUSY_BPS 200000u /* below this a rate says nothing */
#define RAMP_TRIPS 20
#define LOOK_MS 1000u
#define OUTDONE_LOOKS 2
#define AGAIN_FIRST_MS 60000u
#define AGAIN_DOUBLINGS 3
#define TRIAL_MS 3000u
/* What was seen long ago counts less: half of it after a minute or so. */
#define FORGETS_BY 90

bool worth_is_slow(const struct worth *w)
{
    return w->stance != WORTH_TAKES_PART;
}

static uint64_t root(uint64_t square)
{
    uint64_t r = square > 1 ? square / 2 : square, next;

    while (r > 1 && (next = (r + square / r) / 2) < r)
        r = next;
    return r;
}

/* Mathis et al., in bits per second. */
static uint64_t limit_by_loss(const struct worth_view *v)
{
    if (v->loss_permille == 0 || v->min_rtt_us == 0)
        return UINT64_MAX;
    /* sqrt(loss) in millionths: sqrt(permille / 1000) * 10^6 */
    uint64_t loss_root = root((uint64_t)v->loss_permille * 1000000000);
    uint64_t per_round_trip = MSS_BITS * 122ull / 100 * 1000000 / loss_root;
    return per_round_trip * 1000000 / v->min_rtt_us;
}

/* Bits per second; 0: unknown. What was seen is certain: a path that was full loses packets to its
 * own queue, too, which limits nobody. */
static uint64_t estimate(const struct worth *w, const struct worth_view *v)
{
    uint64_t more = w->peak_bps * HEADROOM, limit = limit_by_loss(v);

    if (w->was_full || limit < w->peak_bps)
        return w->peak_bps;
    return more < limit ? more : limit;
}

/* The most that it may carry, as far as anybody knows; UINT64_MAX: any amount. A TCP that begins
 * loses packets of its own making, probes among them. */
static uint64_t at_most(const struct worth *w, const struct worth_view *v)
{
    uint64_t limit = limit_by_loss(v);

    if (w->was_full || w->busy_ms >= (uint64_t)RAMP_TRIPS * v->min_rtt_us / 1000)
        return estimate(w, v);
    return limit > w->peak_bps ? limit : w->peak_bps;
}

static void note(struct worth *w, const struct worth_view *v)
{
    w->peak_bps -= w->peak_bps / FORGETS_BY;
    if (v->bps < BUSY_BPS)
        return;
    if (w->busy_ms < UINT32_MAX - LOOK_MS)
        w->busy_ms += LOOK_MS;
    if (v->bps > w->peak_bps || (v->full && !w->was_full))
        w->was_full = v->full;
    if (v->bps > w->peak_bps)
        w->peak_bps = v->bps;
}

/* Would it have carried more if it could? */
static bool is_known(const struct worth *w, const struct worth_view *v,
                     const struct worth_view *by_view)
{
    return w->was_full || by_view->full || limit_by_loss(v) < w->peak_bps * HEADROOM;
}

static bool is_outdone(const struct worth *w, const struct worth_view *v, const struct worth *by,
                       const struct worth_view *by_view)
{
    uint64_t mine = at_most(w, v), theirs = estimate(by, by_view);
    bool farther = v->min_rtt_us > by_view->min_rtt_us / 4 * 5;
    bool helps = !farther && theirs / NEAR_SHARE <= mine && v->loss_permille < LOSSY_PERMILLE;

    return mine && is_known(w, v, by_view) && theirs / SHARE > mine && !helps;
}

static void explain(struct worth *w, const struct worth_view *v, uint64_t mine, uint64_t theirs)
{
    snprintf(w->reason, sizeof(w->reason),
             "would slow the others: %.1f Mb/s at %u ms beside %.1f Mb/s", (double)mine / 1e6,
             v->min_rtt_us / 1000, (double)theirs / 1e6);
}

static uint64_t later(uint32_t times, uint64_t now_ms)
{
    unsigned doublings = times < AGAIN_DOUBLINGS ? times : AGAIN_DOUBLINGS;

    return now_ms + ((uint64_t)AGAIN_FIRST_MS << doublings);
}

static void begin_trial(struct worth *w, uint32_t rtt_us, uint64_t with_bps, uint64_t now_ms)
{
    uint64_t ramp_ms = (uint64_t)RAMP_TRIPS * rtt_us / 1000;

    w->stance = WORTH_ON_TRIAL;
    w->outdone = 0;
    w->with_bps = with_bps;
    w->next_ms = now_ms + (ramp_ms > TRIAL_MS ? ramp_ms : TRIAL_MS);
}

static void take_part(struct worth *w)
{
    w->stance = WORTH_TAKES_PART;
    w->reason[0] = '\0';
    w->peak_bps = 0;
    w->was_full = false;
    w->busy_ms = 0;
}

/* Nobody asks for anything: what is asked for later may be much more, or less. */
static bool says_nothing(uint64_t without_bps)
{
    return without_bps < BUSY_BPS;
}

static void end_trial(struct worth *w, uint64_t without_bps, uint64_t now_ms)
{
    w->stance = WORTH_STANDS_BY;
    w->next_ms = later(w->times++, now_ms);
    if (says_nothing(without_bps))
        return;
    if (without_bps + w->peak_bps / 2 > w->with_bps)
        snprintf(w->reason, sizeof(w->reason),
                 "slows the others: %.1f Mb/s with it, %.1f without it", (double)w->with_bps / 1e6,
                 (double)without_bps / 1e6);
    else
        take_part(w);
}

static void find_slow(struct worth *worths, const struct worth_view *views, size_t n, size_t i,
                      uint64_t carried_bps, uint64_t now_ms)
{
    struct worth *w = &worths[i];

    for (size_t j = 0; j < n; j++) {
        if (j == i || !views[j].usable || worth_is_slow(&worths[j]) ||
            !is_outdone(w, &views[i], &worths[j], &views[j]))
            continue;
        if (++w->outdone < OUTDONE_LOOKS)
            return;
        explain(w, &views[i], at_most(w, &views[i]), estimate(&worths[j], &views[j]));
        begin_trial(w, views[j].min_rtt_us, carried_bps, now_ms);
        return;
    }
    w->outdone = 0;
}

/* By all: the more of this look and the last one. */
static uint64_t carried(struct worth *worths, const struct worth_view *views, size_t n)
{
    uint64_t before_bps = 0, bps = 0;

    for (size_t i = 0; i < n; i++) {
        before_bps += worths[i].last_bps;
        worths[i].last_bps = views[i].bps;
        bps += worths[i].last_bps;
    }
    return bps > before_bps ? bps : before_bps;
}

static bool any_on_trial(const struct worth *worths, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (worths[i].stance == WORTH_ON_TRIAL)
            return true;
    }
    return false;
}

static void judge(struct worth *worths, const struct worth_view *views, size_t n, size_t i,
                  uint64_t carried_bps, uint64_t now_ms)
{
    struct worth *w = &worths[i];

    switch (w->stance) {
    case WORTH_TAKES_PART:
        if (views[i].usable && now_ms >= w->next_ms && !any_on_trial(worths, n))
            find_slow(worths, views, n, i, carried_bps, now_ms);
        break;
    case WORTH_ON_TRIAL:
        if (now_ms >= w->next_ms || says_nothing(carried_bps))
            end_trial(w, carried_bps, now_ms);
        break;
    case WORTH_STANDS_BY:
        if (now_ms >= w->next_ms)
            take_part(w);
        break;
    }
}

bool worth_judge(struct worth *worths, const struct worth_view *views, size_t n, uint64_t now_ms)
{
    uint64_t carried_bps = carried(worths, views, n);
    bool changed = false;

    for (size_t i = 0; i < n; i++) {
        if (!worth_is_slow(&worths[i]))
            note(&worths[i], &views[i]);
    }
    for (size_t i = 0; i < n; i++) {
        bool before = worth_is_slow(&worths[i]);
        judge(worths, views, n, i, carried_bps, now_ms);
        changed |= worth_is_slow(&worths[i]) != before;
    }
    return changed;
}
