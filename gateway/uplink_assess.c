#include "gateway/uplink_snapshot.h"

#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#define UNFIT 1000u

static const struct snapshot_link *find_link(const struct uplink_snapshot *s, const char *name)
{
    for (size_t i = 0; i < s->n_links; i++) {
        if (strcmp(s->links[i].name, name) == 0)
            return &s->links[i];
    }
    return NULL;
}

static bool is_unique_local(const struct addr *a)
{
    return a->family == 6 && (a->ip[0] & 0xfe) == 0xfc;
}

static bool is_link_local(const struct addr *a)
{
    if (a->family == 4)
        return a->ip[0] == 169 && a->ip[1] == 254;
    return a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static bool is_ready(const struct snapshot_address *a)
{
    if (a->flags & IFA_F_DADFAILED)
        return false;
    return !(a->flags & IFA_F_TENTATIVE) || (a->flags & IFA_F_OPTIMISTIC);
}

/* How little we like to send from it: 0 is best, UNFIT is never. */
static unsigned reluctance(const struct snapshot_address *a)
{
    unsigned sum = 0;

    if (a->scope >= RT_SCOPE_LINK || is_link_local(&a->address) || !is_ready(a))
        return UNFIT;
    if (a->flags & IFA_F_DEPRECATED)
        sum += 8;
    if (is_unique_local(&a->address))
        sum += 4;
    /* The same bit: secondary for IPv4, temporary (a privacy address) for IPv6. */
    if (a->flags & IFA_F_SECONDARY)
        sum += 2;
    return sum;
}

/* Of equally good ones the uplink keeps its own, else the first one wins. */
static const struct snapshot_address *choose_address(const struct uplink_snapshot *s,
                                                     uint32_t ifindex, uint8_t family,
                                                     const struct addr *own)
{
    const struct snapshot_address *best = NULL;
    unsigned least = UNFIT;

    for (size_t i = 0; i < s->n_addresses; i++) {
        const struct snapshot_address *a = &s->addresses[i];
        if (a->ifindex != ifindex || a->address.family != family)
            continue;
        unsigned cost = reluctance(a);
        if (cost < least || (best && cost == least && addr_equal_ip(&a->address, own))) {
            best = a;
            least = cost;
        }
    }
    return best;
}

static const struct snapshot_route *choose_default(const struct uplink_snapshot *s,
                                                   uint32_t ifindex, const struct addr *address)
{
    const struct snapshot_route *best = NULL;

    for (size_t i = 0; i < s->n_routes; i++) {
        const struct snapshot_route *r = &s->routes[i];
        if (r->ifindex != ifindex || r->family != address->family)
            continue;
        if (r->from.prefix && !cidr_contains(&r->from, address))
            continue;
        if (!best || r->metric < best->metric)
            best = r;
    }
    return best;
}

static void assess_route(struct uplink_route *route, const struct uplink_snapshot *s,
                         const struct snapshot_link *link, uint8_t family,
                         const struct addr *configured)
{
    struct addr own = route->address;
    const struct snapshot_address *address = choose_address(s, link->ifindex, family, &own);

    memset(route, 0, sizeof(*route));
    if (!address)
        return;
    route->address = address->address;
    route->prefix = address->prefix;
    if (configured->family) {
        route->gateway = *configured;
        route->usable = true;
        return;
    }
    const struct snapshot_route *way = choose_default(s, link->ifindex, &route->address);
    if (way)
        route->gateway = way->gateway;
    route->usable = way || (link->flags & (IFF_POINTOPOINT | IFF_NOARP));
}

/* Why a family that is wanted cannot be used, though the link is up. */
static void explain(struct uplink *u, uint8_t family)
{
    const char *interface = u->config->interface;

    if (family == 6 && u->v6.address.family)
        snprintf(u->reason, sizeof(u->reason), "no IPv6 default route by %s; set gateway6",
                 interface);
    else if (family != 6 && u->v4.address.family)
        snprintf(u->reason, sizeof(u->reason), "no default route by %s; set gateway", interface);
    else if (family == 0 && u->v6.address.family)
        explain(u, 6);
    else
        snprintf(u->reason, sizeof(u->reason), "%s",
                 family == 4   ? "no IPv4 address"
                 : family == 6 ? "no IPv6 address"
                               : "no address");
}

static const char *assess_link(const struct snapshot_link *link)
{
    if (!link)
        return "no such interface";
    if (!(link->flags & IFF_UP))
        return "interface is down";
    if (!(link->flags & IFF_LOWER_UP) || !(link->flags & IFF_RUNNING))
        return "no carrier";
    return "";
}

void uplink_assess(struct uplink *u, const struct uplink_snapshot *s, uint8_t family)
{
    const struct snapshot_link *link = find_link(s, u->config->interface);
    const char *reason = assess_link(link);

    u->ifindex = link ? link->ifindex : 0;
    u->carrier = reason[0] == '\0';
    snprintf(u->reason, sizeof(u->reason), "%s", reason);
    if (!u->carrier) {
        u->state = UPLINK_DOWN;
        /* The addresses stay, so that it keeps them when it comes back. */
        u->v4.usable = u->v6.usable = false;
        return;
    }
    assess_route(&u->v4, s, link, 4, &u->config->gateway);
    assess_route(&u->v6, s, link, 6, &u->config->gateway6);
    if (u->barred) {
        u->state = UPLINK_DOWN;
        u->v4.usable = u->v6.usable = false;
        snprintf(u->reason, sizeof(u->reason), "its data budget is used up");
        return;
    }
    if ((family != 6 && u->v4.usable) || (family != 4 && u->v6.usable)) {
        u->state = UPLINK_UP;
        return;
    }
    u->state = UPLINK_DOWN;
    explain(u, family);
}
