/* What the kernel says of the uplinks at one moment, and what follows from it: reading it needs a
 * socket, judging it is pure. */
#ifndef GATEWAY_UPLINK_SNAPSHOT_H
#define GATEWAY_UPLINK_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "config/gateway_config.h"
#include "core/addr.h"
#include "core/netlink.h"
#include "gateway/uplink.h"

/* Privacy addresses may pile up; what comes beyond is not looked at. */
#define SNAPSHOT_ADDRESSES 128
#define SNAPSHOT_ROUTES 64

struct snapshot_link {
    char name[INTERFACE_NAME];
    uint32_t ifindex;
    uint32_t flags; /* IFF_* */
};

struct snapshot_address {
    uint32_t ifindex;
    uint32_t flags; /* IFA_F_* */
    uint8_t scope;  /* RT_SCOPE_* */
    uint8_t prefix;
    struct addr address;
};

/* A default route of the main table. */
struct snapshot_route {
    uint32_t ifindex;
    uint32_t metric;
    uint8_t family;      /* 4 or 6 */
    struct addr gateway; /* family 0: on the link itself; 6 may serve an IPv4 route */
    struct cidr from;    /* only for these sources; prefix 0: all */
};

struct uplink_snapshot {
    struct snapshot_link links[UPLINKS_MAX]; /* those of the configuration that exist */
    struct snapshot_address addresses[SNAPSHOT_ADDRESSES];
    struct snapshot_route routes[SNAPSHOT_ROUTES];
    size_t n_links, n_addresses, n_routes;
};

/* Returns 0, or -errno (-EINTR: it changed meanwhile, ask again). */
int uplink_snapshot_read(struct uplink_snapshot *s, struct netlink *nl,
                         const struct gateway_config *config);

/* Fills everything of *uplink but config, index and address_id. What it held before decides between
 * equally good addresses: an uplink keeps its own. family: as in uplinks_new(). */
void uplink_assess(struct uplink *uplink, const struct uplink_snapshot *s, uint8_t family);

#endif
