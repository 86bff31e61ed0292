/* One direction of an emulated link: a shaping queue, a wire and a lossy receiver.
 *
 * Pure: packets and the time go in, packets come out. Nothing here knows of devices. All times
 * are nanoseconds of one monotonic clock, rates are bits per second. */
#ifndef NETLAB_LANE_H
#define NETLAB_LANE_H

#include <stdbool.h>
#include <stdint.h>

/* A full Ethernet frame of MTU 1500, with room for a VLAN tag. */
#define LANE_FRAME_MAX 1536
#define LANE_NEVER UINT64_MAX

struct lane_settings {
    uint64_t rate_bps; /* 0: no limit */
    uint64_t delay_ns;
    uint64_t jitter_ns;   /* added to delay: between 0 and this, never reordering */
    uint64_t queue_ns;    /* most time a packet may wait for the wire; 0: not limited by time */
    uint64_t queue_bytes; /* most bytes that may wait for the wire; 0: not limited by bytes */
    double loss;          /* probability, 0 to 1 */
    bool drop;            /* swallow everything in silence */
    bool strip_mptcp;
};

struct lane_stats {
    uint64_t packets; /* delivered */
    uint64_t bytes;   /* delivered, as counted on the wire */
    uint64_t dropped_queue;
    uint64_t dropped_loss;
    uint64_t dropped_silent;
    uint64_t dropped_carrier;
};

struct packet {
    struct packet *next;
    uint64_t depart_ns;  /* the wire is free again */
    uint64_t deliver_ns; /* the far end has it */
    uint32_t wire_bytes;
    uint32_t length;
    bool lost;
    uint8_t frame[LANE_FRAME_MAX];
};

struct lane {
    struct lane_settings settings;
    struct lane_stats stats;
    struct packet *first;   /* in flight or waiting, in the order of delivery */
    struct packet *last;    /* meaningless while first is NULL */
    struct packet *waiting; /* the first that has not left the queue; NULL: none */
    uint64_t waiting_bytes;
    uint64_t last_depart_ns;
    uint64_t last_deliver_ns;
    uint64_t knot_ns[2];     /* the jitter runs straight from one knot to the next */
    uint64_t knot_jitter[2]; /* its value at each, as a share of UINT32_MAX */
    uint64_t random;
};

/* random_seed: any number; lanes with different seeds draw different losses. */
void lane_init(struct lane *lane, uint64_t random_seed);
/* From here on what is drawn follows from the seed and the number of packets alone. */
void lane_seed(struct lane *lane, uint64_t random_seed);

/* Takes the packet if it fits: true. False leaves it with the caller, counted as dropped.
 * Fill length, wire_bytes and frame. now_ns never goes back. */
bool lane_offer(struct lane *lane, struct packet *packet, uint64_t now_ns);

/* The next packet that has arrived by now, which the caller owns from then on, or NULL.
 * One whose `lost` is set has only come to be freed. */
struct packet *lane_take(struct lane *lane, uint64_t now_ns);

/* When lane_take() will have something again, or LANE_NEVER. */
uint64_t lane_next_ns(const struct lane *lane);

/* Everything on the lane, as a list the caller owns. The wire is free at once. */
struct packet *lane_flush(struct lane *lane);

/* Bytes that wait for the wire at this moment. */
uint64_t lane_backlog(struct lane *lane, uint64_t now_ns);

#endif
