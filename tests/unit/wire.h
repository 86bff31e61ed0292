/* A link between a router and an echo, simulated in steps of one millisecond: delay that wanders,
 * queues, loss, stalls, cuts. The same seed gives the same link. */
#ifndef TESTS_UNIT_WIRE_H
#define TESTS_UNIT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_UP, WIRE_DOWN };
#define WIRE_STEP_US 1000
#define WIRE_FIFO 4096

/* Packets on their way, in order. seq: of a probe, or 0: other traffic. */
struct wire_way {
    uint64_t due_us[WIRE_FIFO], seq[WIRE_FIFO];
    size_t head, n;
    uint64_t last_us;
    uint64_t wander_us, target_us, queue_us;
    bool bursting;
};

struct wire {
    /* How it is; change it at any time. */
    uint64_t base_us; /* of each way */
    uint64_t wander_min_us, wander_max_us;
    uint32_t wander_slope; /* us in each step */
    uint32_t loss_ppm;
    uint32_t burst_ppm, burst_end_ppm; /* a burst loses all; it begins and ends at a packet */
    uint32_t load_permille[2]; /* what is offered, of what it carries; over 1000 a queue grows */
    uint64_t queue_max_us;
    uint64_t traffic_us; /* a packet comes down so often; 0: none */
    bool tcp;            /* traffic that stops where nothing is acknowledged */
    bool cut[2];
    uint64_t stalled_until_us;

    uint64_t now_us, random, next_traffic_us, cut_us;
    struct wire_way way[2];
    /* What the last step brought to the router. */
    uint64_t answers[64];
    size_t n_answers, n_packets;
};

void wire_init(struct wire *w, uint64_t seed);
/* Uniform, below `below`. */
uint64_t wire_random(struct wire *w, uint64_t below);
void wire_probe(struct wire *w, uint64_t seq);
void wire_step(struct wire *w);

#endif
