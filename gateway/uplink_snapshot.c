#include "gateway/uplink_snapshot.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/routes.h"

#define REQUEST_BYTES 128

/* NULL for a truncated or missing one. */
static const void *payload(const struct nlattr *attr, size_t len)
{
    return attr && mnl_attr_get_payload_len(attr) >= len ? mnl_attr_get_payload(attr) : NULL;
}

static uint32_t number(const struct nlattr *attr, uint32_t otherwise)
{
    uint32_t value = otherwise;
    const void *at = payload(attr, sizeof(value));

    if (at)
        memcpy(&value, at, sizeof(value));
    return value;
}

static uint8_t family_of(unsigned char af)
{
    return af == AF_INET ? 4 : af == AF_INET6 ? 6 : 0;
}

static struct addr address_of(const struct nlattr *attr, uint8_t family)
{
    struct addr a = {.family = family};
    const void *ip = payload(attr, addr_size(&a));

    if (!ip)
        return (struct addr){0};
    memcpy(a.ip, ip, addr_size(&a));
    return a;
}

/* Fills at[0..count) with the attributes of these types. */
static void index_attributes(const struct nlmsghdr *nlh, size_t header, const struct nlattr **at,
                             size_t count)
{
    const struct nlattr *attr;

    memset(at, 0, count * sizeof(*at));
    mnl_attr_for_each(attr, nlh, header)
    {
        if (mnl_attr_get_type(attr) < count)
            at[mnl_attr_get_type(attr)] = attr;
    }
}

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
    struct snapshot_link *link = arg;
    const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);

    link->ifindex = (uint32_t)ifi->ifi_index;
    link->flags = ifi->ifi_flags;
    return MNL_CB_OK;
}

static int read_link(struct uplink_snapshot *s, struct netlink *nl, const char *name)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct snapshot_link link = {0};

    nlh->nlmsg_type = RTM_GETLINK;
    mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
    int err = netlink_request(nl, nlh, on_link, &link);
    if (err == -ENODEV)
        return 0;
    if (err)
        return err;
    memcpy(link.name, name, strlen(name) + 1);
    s->links[s->n_links++] = link;
    return 0;
}

static const struct snapshot_link *find_link(const struct uplink_snapshot *s, uint32_t ifindex)
{
    for (size_t i = 0; i < s->n_links; i++) {
        if (s->links[i].ifindex == ifindex)
            return &s->links[i];
    }
    return NULL;
}

static int on_address(const struct nlmsghdr *nlh, void *arg)
{
    struct uplink_snapshot *s = arg;
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *at[IFA_FLAGS + 1];
    uint8_t family = family_of(ifa->ifa_family);

    if (!family || !find_link(s, ifa->ifa_index) || s->n_addresses == SNAPSHOT_ADDRESSES)
        return MNL_CB_OK;
    index_attributes(nlh, sizeof(*ifa), at, IFA_FLAGS + 1);
    struct snapshot_address entry = {
        .ifindex = ifa->ifa_index,
        .flags = number(at[IFA_FLAGS], ifa->ifa_flags),
        .scope = ifa->ifa_scope,
        .prefix = ifa->ifa_prefixlen,
        /* On a point-to-point link IFA_ADDRESS is the other end's. */
        .address = address_of(at[IFA_LOCAL] ? at[IFA_LOCAL] : at[IFA_ADDRESS], family),
    };
    if (entry.address.family)
        s->addresses[s->n_addresses++] = entry;
    return MNL_CB_OK;
}

static void add_route(struct uplink_snapshot *s, const struct snapshot_route *route)
{
    if (find_link(s, route->ifindex) && s->n_routes < SNAPSHOT_ROUTES)
        s->routes[s->n_routes++] = *route;
}

/* RTA_GATEWAY, or RTA_VIA where a gateway of the other family serves the route. */
static struct addr gateway_of(const struct nlattr *gateway, const struct nlattr *via,
                              uint8_t family)
{
    const struct rtvia *v = payload(via, sizeof(*v));
    struct addr a = {0};

    if (gateway)
        return address_of(gateway, family);
    if (!v)
        return a;
    a.family = family_of((unsigned char)v->rtvia_family);
    if (!a.family || mnl_attr_get_payload_len(via) < sizeof(*v) + addr_size(&a))
        return (struct addr){0};
    memcpy(a.ip, v->rtvia_addr, addr_size(&a));
    return a;
}

/* Each path of a multipath route is a way out of its own. */
static void add_multipath(struct uplink_snapshot *s, const struct nlattr *multipath,
                          struct snapshot_route route)
{
    const uint8_t *at = mnl_attr_get_payload(multipath);
    size_t left = mnl_attr_get_payload_len(multipath);

    while (left >= sizeof(struct rtnexthop)) {
        const struct rtnexthop *hop = (const void *)at;
        const void *attributes = at + sizeof(*hop);
        const struct nlattr *attr, *gateway = NULL, *via = NULL;

        if (hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > left)
            return;
        mnl_attr_for_each_payload(attributes, hop->rtnh_len - sizeof(*hop))
        {
            if (mnl_attr_get_type(attr) == RTA_GATEWAY)
                gateway = attr;
            if (mnl_attr_get_type(attr) == RTA_VIA)
                via = attr;
        }
        route.ifindex = (uint32_t)hop->rtnh_ifindex;
        route.gateway = gateway_of(gateway, via, route.family);
        if (!(hop->rtnh_flags & RTNH_F_DEAD))
            add_route(s, &route);
        size_t step = RTNH_ALIGN(hop->rtnh_len);
        if (step >= left)
            return;
        at += step;
        left -= step;
    }
}

static bool is_default(const struct rtmsg *rtm)
{
    return family_of(rtm->rtm_family) && rtm->rtm_dst_len == 0 && rtm->rtm_type == RTN_UNICAST &&
           rtm->rtm_table == RT_TABLE_MAIN && rtm->rtm_protocol != ROUTES_PROTOCOL &&
           !(rtm->rtm_flags & (RTM_F_CLONED | RTNH_F_DEAD));
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
    struct uplink_snapshot *s = arg;
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *at[RTA_VIA + 1];
    struct snapshot_route route = {.family = family_of(rtm->rtm_family)};

    if (!is_default(rtm))
        return MNL_CB_OK;
    index_attributes(nlh, sizeof(*rtm), at, RTA_VIA + 1);
    route.metric = number(at[RTA_PRIORITY], 0);
    if (rtm->rtm_src_len) {
        route.from.base = address_of(at[RTA_SRC], route.family);
        route.from.prefix = rtm->rtm_src_len;
    }
    if (at[RTA_MULTIPATH]) {
        add_multipath(s, at[RTA_MULTIPATH], route);
        return MNL_CB_OK;
    }
    route.ifindex = number(at[RTA_OIF], 0);
    route.gateway = gateway_of(at[RTA_GATEWAY], at[RTA_VIA], route.family);
    add_route(s, &route);
    return MNL_CB_OK;
}

/* Of all families at once: asked for IPv6 alone, a kernel without it answers for all anyway. */
static int dump(struct uplink_snapshot *s, struct netlink *nl, uint16_t type, size_t header,
                mnl_cb_t on_message)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);

    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = NLM_F_DUMP;
    mnl_nlmsg_put_extra_header(nlh, header);
    return netlink_request(nl, nlh, on_message, s);
}

int uplink_snapshot_read(struct uplink_snapshot *s, struct netlink *nl,
                         const struct gateway_config *config)
{
    int err = 0;

    s->n_links = s->n_addresses = s->n_routes = 0;
    for (size_t i = 0; i < config->n_uplinks && !err; i++) {
        if (config->uplinks[i].interface[0])
            err = read_link(s, nl, config->uplinks[i].interface);
    }
    if (!err)
        err = dump(s, nl, RTM_GETADDR, sizeof(struct ifaddrmsg), on_address);
    if (!err)
        err = dump(s, nl, RTM_GETROUTE, sizeof(struct rtmsg), on_route);
    return err;
}
