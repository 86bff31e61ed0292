#include "gateway/capacity.h"

#include <stddef.h>

#define QUEUE_US 10000u
#define JITTER 8
#define LATE_US 3000u /* the beginning of a queue, perhaps */
/* A window that takes so much longer is none: nobody looked. */
#define WINDOW_MAX_US (5 * CAPACITY_WINDOW_US)
#define LONE 8 /* times what the other direction carries */
#define OURS 8 /* a queue is, from this part of the capacity on */
#define BUSY_BPS 200000u
#define IDLE_BYTES (BUSY_BPS / 8 / (1000000 / CAPACITY_WINDOW_US))
#define STANDING_WINDOWS 2 /* a burst makes a queue, too */
#define RISES_BY 3
#define FALLS_BY 3
#define BEYOND 16 /* more than what was proven, by this part of it */
#define ON_TIME_WINDOWS 30
#define USUAL_RISES_BY 4
#define USUAL_FALLS_BY 16

uint64_t capacity_proven_bps(const struct capacity_way *w)
{
    return w->proven ? w->bps : 0;
}

static bool is_busy(const struct capacity_way *w)
{
    return w->rate_bps >= BUSY_BPS && w->rate_bps >= w->bps / OURS;
}

static bool is_at_limit(const struct capacity_way *w)
{
    return w->proven && w->rate_bps >= BUSY_BPS && w->rate_bps >= w->bps / 20 * 19;
}

/* By the rate of the window before: an answer tells of the queue that its probe met, and so one
 * that comes late after a window shows that there was a queue up to the window's end. */
static void prove(struct capacity_way *w, uint64_t before_bps)
{
    if (!w->proven)
        w->bps = before_bps;
    else if (before_bps > w->bps)
        w->bps += (before_bps - w->bps) / RISES_BY;
    else
        w->bps -= (w->bps - before_bps) / FALLS_BY;
    w->proven = true;
}

/* before_bps: the rate of the window before. One alone may hold what had piled up elsewhere. */
static void note_carried(struct capacity_way *w, uint64_t before_bps)
{
    uint64_t bps = w->rate_bps < before_bps ? w->rate_bps : before_bps;

    if (bps <= (w->proven ? w->bps + w->bps / BEYOND : w->bps))
        return;
    w->bps = bps;
    w->proven = false;
}

static struct capacity_way *lone(struct capacity *c)
{
    if (c->down.rate_bps / LONE >= c->up.rate_bps)
        return &c->down;
    return c->up.rate_bps / LONE >= c->down.rate_bps ? &c->up : NULL;
}

static void expire_proofs(struct capacity *c)
{
    bool at_limit = is_at_limit(&c->down) || is_at_limit(&c->up);

    c->on_time = at_limit && c->late == 0 ? c->on_time + 1 : 0;
    if (c->on_time < ON_TIME_WINDOWS)
        return;
    c->down.proven = c->down.proven && !is_at_limit(&c->down);
    c->up.proven = c->up.proven && !is_at_limit(&c->up);
}

static void judge(struct capacity *c, uint64_t down_before_bps, uint64_t up_before_bps)
{
    bool busy = is_busy(&c->down) || is_busy(&c->up);

    c->standing = busy && c->queued == c->looks ? c->standing + 1 : 0;
    struct capacity_way *way = c->standing >= STANDING_WINDOWS ? lone(c) : NULL;

    if (way)
        prove(way, way == &c->down ? down_before_bps : up_before_bps);
    if (way != &c->down)
        note_carried(&c->down, down_before_bps);
    if (way != &c->up)
        note_carried(&c->up, up_before_bps);
    expire_proofs(c);
    c->full = (busy && 2 * c->queued >= c->looks) || is_at_limit(&c->down) || is_at_limit(&c->up);
}

static void begin_window(struct capacity *c, const struct capacity_look *look)
{
    c->since_us = look->now_us;
    c->rx_bytes = look->rx_bytes;
    c->tx_bytes = look->tx_bytes;
    c->bytes = 0;
    c->looks = c->queued = c->late = 0;
}

bool capacity_note(struct capacity *c, const struct capacity_look *look)
{
    uint64_t elapsed_us = look->now_us - c->since_us;
    uint64_t down_before_bps = c->down.rate_bps, up_before_bps = c->up.rate_bps;
    uint32_t usual_us = c->usual_us ? c->usual_us : look->delay_us;

    /* A new interface counts from zero. */
    if (!c->since_us || elapsed_us > WINDOW_MAX_US || look->rx_bytes < c->rx_bytes ||
        look->tx_bytes < c->tx_bytes) {
        capacity_rest(c);
        begin_window(c, look);
        return true;
    }
    c->bytes = look->rx_bytes - c->rx_bytes + look->tx_bytes - c->tx_bytes;
    c->looks++;
    c->queued += look->delay_us > usual_us + usual_us / JITTER + QUEUE_US;
    c->late += look->delay_us > usual_us + LATE_US;
    if (elapsed_us < CAPACITY_WINDOW_US)
        return false;
    c->down.rate_bps = (look->rx_bytes - c->rx_bytes) * 8000000 / elapsed_us;
    c->up.rate_bps = (look->tx_bytes - c->tx_bytes) * 8000000 / elapsed_us;
    judge(c, down_before_bps, up_before_bps);
    begin_window(c, look);
    return true;
}

void capacity_rest(struct capacity *c)
{
    c->since_us = 0;
    c->bytes = 0;
    c->down.rate_bps = c->up.rate_bps = 0;
    c->standing = c->on_time = 0;
    c->full = false;
}

bool capacity_is_at_rest(const struct capacity *c)
{
    return c->since_us == 0;
}

void capacity_answered(struct capacity *c, uint32_t rtt_us)
{
    bool idle = !is_busy(&c->down) && !is_busy(&c->up) && c->bytes <= IDLE_BYTES;

    if (!c->usual_us)
        c->usual_us = rtt_us;
    else if (rtt_us < c->usual_us)
        c->usual_us -= (c->usual_us - rtt_us) / USUAL_FALLS_BY;
    else if (idle)
        c->usual_us += (rtt_us - c->usual_us) / USUAL_RISES_BY;
}
