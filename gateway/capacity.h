/* What one uplink can carry, down and up, as far as its traffic has shown, and whether it is full.
 * Plain data and pure rules: counters, delays and time in, figures out; whoever embeds it owns it.
 * Of an uplink with another address, zero it. Nothing here fails.
 *
 * The evidence is what the interface carries and how late probes are answered. Both are judged once
 * in a window of 100 ms.
 *
 * - There is a queue while answers take longer than is usual there, by 10 ms and an eighth of it.
 *   What is usual is learnt upwards only while next to nothing is carried (not the least of the
 *   last minutes: they may have been spent in a queue), and is so rather much of a radio's jitter.
 *   Probes wait in the queue that data fills. Where each flow has one of its own (fq_codel, CAKE)
 *   they do not, and where lost packets hold senders back there is none: nothing here sees that
 *   such an uplink gives all it can.
 * - What is carried while there is a queue all the time, for more than one window, is what can be
 *   carried: proven. It follows what is measured then, by a third of the way with each window. A
 *   queue does not tell its direction, so this is learnt only while one direction carries eight
 *   times what the other does: acknowledgements are a fortieth.
 * - What is carried without a queue is a lower bound. More than was proven, over two windows, and
 *   the proof is void; so it is after three seconds at what was proven in which not one answer came
 *   late.
 * - It is full while there is a queue in most of the window and it is ours (a direction carries an
 *   eighth of what it can, and 200 kb/s), or while a direction carries 95 % of what was proven: a
 *   sender who avoids queues (BBR) fills a path, too. */
#ifndef GATEWAY_CAPACITY_H
#define GATEWAY_CAPACITY_H

#include <stdbool.h>
#include <stdint.h>

#define CAPACITY_WINDOW_US 100000u

/* Bits per second. */
struct capacity_way {
    uint64_t bps;      /* what it can carry, or where that is not proven, at least; 0: unknown */
    uint64_t rate_bps; /* of the last window */
    bool proven;
};

struct capacity {
    /* To read. */
    struct capacity_way down, up;
    bool full;
    /* Its own. */
    uint64_t rx_bytes, tx_bytes; /* when the window began */
    uint64_t since_us;           /* then; 0: none has begun */
    uint64_t bytes;              /* both ways, since then */
    uint32_t looks, queued, late;
    uint32_t standing; /* windows in a row with a queue all the time */
    uint32_t on_time;  /* windows in a row at what was proven, without a late answer */
    uint32_t usual_us; /* how long an answer takes; 0: unknown */
};

struct capacity_look {
    uint64_t now_us;
    uint64_t rx_bytes, tx_bytes; /* the interface's counters */
    uint32_t delay_us; /* how long the newest answer took, or the next one is being waited for */
};

/* 0: not proven. */
uint64_t capacity_proven_bps(const struct capacity_way *way);

/* Every 20 ms while flows carry data. True when a window has ended. */
bool capacity_note(struct capacity *capacity, const struct capacity_look *look);
/* Nobody looks for a while: it carries next to nothing. */
void capacity_rest(struct capacity *capacity);
bool capacity_is_at_rest(const struct capacity *capacity);
/* An answer took so long. */
void capacity_answered(struct capacity *capacity, uint32_t rtt_us);

#endif
