/* Every address of this host, as the egress rules need them: a list that is renewed when it is
 * older than two seconds and somebody asks. It is read without netlink: a socket of that kind would
 * change the network for whoever gets hold of it. One thread. */
#ifndef CONCENTRATOR_OWN_ADDRESSES_H
#define CONCENTRATOR_OWN_ADDRESSES_H

#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"

#define OWN_ADDRESSES_RENEW_MS 2000

/* Zero-initialised: not read yet. */
struct own_addresses {
    struct addr *list; /* malloced */
    size_t n, room;
    uint64_t read_ms;
};

/* Reads them anew where they are old. Returns 0, or -errno, and then the list is as it was. */
int own_addresses_renew(struct own_addresses *own, uint64_t now_ms);
void own_addresses_clear(struct own_addresses *own);

#endif
