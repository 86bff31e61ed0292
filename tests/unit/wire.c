#include "tests/unit/wire.h"

#include <string.h>

void wire_init(struct wire *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->random = seed * 2654435761u + 88172645463325252u;
    w->now_us = 5000000;
    w->queue_max_us = 2000000;
    w->wander_slope = 200;
}

uint64_t wire_random(struct wire *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return below ? (w->random >> 11) % below : 0;
}

static bool chance(struct wire *w, uint32_t ppm)
{
    return ppm && wire_random(w, 1000000) < ppm;
}

static bool loses(struct wire *w, struct wire_way *way)
{
    if (way->bursting)
        way->bursting = !chance(w, w->burst_end_ppm);
    else
        way->bursting = chance(w, w->burst_ppm);
    return way->bursting || chance(w, w->loss_ppm);
}

static void push(struct wire *w, int direction, uint64_t seq)
{
    struct wire_way *way = &w->way[direction];
    uint64_t due = w->now_us + w->base_us + way->wander_us + way->queue_us;
    size_t at = (way->head + way->n) % WIRE_FIFO;

    if (loses(w, way) || w->cut[direction] || way->n == WIRE_FIFO)
        return;
    way->last_us = due > way->last_us ? due : way->last_us;
    way->due_us[at] = way->last_us;
    way->seq[at] = seq;
    way->n++;
}

static bool pop(struct wire *w, int direction, uint64_t *seq)
{
    struct wire_way *way = &w->way[direction];

    if (w->now_us < w->stalled_until_us || way->n == 0 || way->due_us[way->head] > w->now_us)
        return false;
    *seq = way->seq[way->head];
    way->head = (way->head + 1) % WIRE_FIFO;
    way->n--;
    return true;
}

static void wander(struct wire *w, struct wire_way *way)
{
    uint64_t step = w->wander_slope;

    if (way->wander_us + step < way->target_us)
        way->wander_us += step;
    else if (way->wander_us > way->target_us + step)
        way->wander_us -= step;
    else
        way->target_us = w->wander_min_us + wire_random(w, w->wander_max_us - w->wander_min_us + 1);
}

static void fill_queue(struct wire *w, int direction)
{
    struct wire_way *way = &w->way[direction];
    uint64_t more = way->queue_us + WIRE_STEP_US * (uint64_t)w->load_permille[direction] / 1000;

    way->queue_us = more > WIRE_STEP_US ? more - WIRE_STEP_US : 0;
    if (way->queue_us > w->queue_max_us)
        way->queue_us = w->queue_max_us;
}

/* A sender that hears no acknowledgement sends what its window holds, and then single packets
 * again, each later than the one before. */
static void send_traffic(struct wire *w)
{
    if (!w->traffic_us || w->now_us < w->next_traffic_us)
        return;
    push(w, WIRE_DOWN, 0);
    loses(w, &w->way[WIRE_UP]); /* what acknowledges it has its share of a burst */
    w->next_traffic_us = w->now_us + w->traffic_us / 2 + wire_random(w, w->traffic_us);
    if (w->tcp && w->cut[WIRE_UP] && w->now_us - w->cut_us > 2 * w->base_us)
        w->next_traffic_us = w->now_us + 200000 + (w->now_us - w->cut_us);
}

void wire_probe(struct wire *w, uint64_t seq)
{
    push(w, WIRE_UP, seq);
}

void wire_step(struct wire *w)
{
    uint64_t seq;

    w->now_us += WIRE_STEP_US;
    if (!w->cut[WIRE_UP])
        w->cut_us = w->now_us;
    w->n_answers = w->n_packets = 0;
    for (int d = 0; d < 2; d++) {
        wander(w, &w->way[d]);
        fill_queue(w, d);
    }
    send_traffic(w);
    while (pop(w, WIRE_UP, &seq)) {
        if (!w->cut[WIRE_UP])
            push(w, WIRE_DOWN, seq);
    }
    while (w->n_answers < 64 && pop(w, WIRE_DOWN, &seq)) {
        if (w->cut[WIRE_DOWN])
            continue;
        w->n_packets++;
        if (seq)
            w->answers[w->n_answers++] = seq;
    }
}
