/* An emulated link: two TAP (or TUN) devices and a lane for each direction. */
#ifndef NETLAB_LINK_H
#define NETLAB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/netlab/lane.h"

/* Up runs from side A, the router's, to side B, the provider's; down the other way. */
enum { UP = 0, DOWN = 1 };

struct link {
    int device[2];       /* side A, side B */
    struct lane lane[2]; /* UP is read from device[0], DOWN from device[1] */
    bool point_to_point; /* TUN devices: frames have no Ethernet header */
    bool carrier;
    struct packet *pool;
    size_t packets; /* allocated so far, in flight and in the pool */
};

uint64_t link_now_ns(void);

/* Pulls the cable, or plugs it in again. Side A sees its carrier go; side B, like a provider,
 * only notices that nothing arrives. What is in flight is lost. Returns 0, or -errno. */
int link_set_carrier(struct link *link, bool on);

#endif
