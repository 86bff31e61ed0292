/* What the first packet of an accepted connection (its SYN) said, as far as rules ask for it. The
 * kernel keeps that packet's headers for a LISTENER_TRANSPARENT (core/listener.h), and gives them
 * once. It has none of a connection that it took by a SYN cookie: under a flood. */
#ifndef CORE_SAVED_SYN_H
#define CORE_SAVED_SYN_H

#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"

struct saved_syn {
    int8_t dscp;    /* -1: unknown */
    struct mac mac; /* of its sender on the LAN; none where unknown: not every link has such */
};

/* bytes: the headers of link, network and TCP, one behind the other, which do not tell where each
 * begins; the connection's addresses do. Pure. */
struct saved_syn saved_syn_parse(const uint8_t *bytes, size_t n, const struct addr *from,
                                 const struct addr *to);
/* Of an accepted connection. */
struct saved_syn saved_syn_take(int fd, const struct addr *from, const struct addr *to);

#endif
