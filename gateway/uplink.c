#include "gateway/uplink.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/netlink.h"
#include "gateway/routes.h"
#include "gateway/uplink_snapshot.h"

/* An interface that comes up sends a dozen messages at once: one look at the end will do. */
#define SETTLE_MS 20
#define RETRY_MS 1000
#define READ_ATTEMPTS 3

struct uplinks {
    const struct gateway_config *config;
    uint8_t family;
    uplink_changed *changed;
    void *arg;
    struct netlink *watch, *requests;
    struct event *rescan;
    size_t count;
    struct uplink list[UPLINKS_MAX];
    uint32_t disturbed; /* bit i: the kernel may have dropped routes of list[i] */
    struct uplink_snapshot snapshot;
};

const char *uplink_state_name(enum uplink_state state)
{
    static const char names[][12] = {"down", "probing", "up", "degraded", "dead"};

    return names[state];
}

const struct uplink_route *uplink_route(const struct uplink *uplink, uint8_t family)
{
    return family == 6 ? &uplink->v6 : &uplink->v4;
}

bool uplink_usable(const struct uplink *uplink, uint8_t family)
{
    return (uplink->state == UPLINK_UP || uplink->state == UPLINK_DEGRADED) &&
           uplink_route(uplink, family)->usable;
}

bool uplink_exists(const struct uplink *uplink)
{
    return uplink->config->name[0] != '\0';
}

const char *uplink_name(const struct uplink *uplink)
{
    return uplink_exists(uplink) ? uplink->config->name : "(removed)";
}

static void schedule(struct uplinks *u, unsigned ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    if (ms == 0 || !evtimer_pending(u->rescan, NULL))
        evtimer_add(u->rescan, &in);
}

static void log_state(const struct uplink *uplink)
{
    char v4[ADDR_TEXT] = "-", v6[ADDR_TEXT] = "-";

    if (!uplink_exists(uplink))
        return;
    if (uplink->state == UPLINK_DOWN) {
        log_warning(uplink->config->name, "uplink down interface=%s: %s", uplink->config->interface,
                    uplink->reason);
        return;
    }
    if (uplink->v4.usable)
        addr_format_ip(&uplink->v4.address, v4);
    if (uplink->v6.usable)
        addr_format_ip(&uplink->v6.address, v6);
    log_info(uplink->config->name, "uplink %s interface=%s ipv4=%s ipv6=%s",
             uplink_state_name(uplink->state), uplink->config->interface, v4, v6);
}

static bool route_equal(const struct uplink_route *a, const struct uplink_route *b)
{
    return a->usable == b->usable && a->prefix == b->prefix &&
           addr_equal_ip(&a->address, &b->address) && addr_equal_ip(&a->gateway, &b->gateway);
}

static bool uplink_equal(const struct uplink *a, const struct uplink *b)
{
    return a->ifindex == b->ifindex && a->carrier == b->carrier && a->state == b->state &&
           route_equal(&a->v4, &b->v4) && route_equal(&a->v6, &b->v6) &&
           strcmp(a->reason, b->reason) == 0;
}

static int read_snapshot(struct uplinks *u)
{
    int err = -EINTR;

    for (int i = 0; i < READ_ATTEMPTS && err == -EINTR; i++)
        err = uplink_snapshot_read(&u->snapshot, u->requests, u->config);
    return err;
}

static void assess_all(struct uplinks *u)
{
    for (size_t i = 0; i < u->count; i++) {
        if (uplink_exists(&u->list[i]))
            uplink_assess(&u->list[i], &u->snapshot, u->family);
    }
}

static void on_rescan(evutil_socket_t fd, short what, void *arg)
{
    struct uplinks *u = arg;
    struct uplink before[UPLINKS_MAX];
    int err = read_snapshot(u);

    if (err) {
        log_warning("uplinks", "cannot read the network's state: %s", strerror(-err));
        schedule(u, RETRY_MS);
        return;
    }
    memcpy(before, u->list, sizeof(before));
    uint32_t disturbed = u->disturbed;
    u->disturbed = 0;
    assess_all(u);
    for (size_t i = 0; i < u->count; i++) {
        bool same = uplink_equal(&before[i], &u->list[i]);
        if (!same)
            log_state(&u->list[i]);
        if (!same || (disturbed & (1u << i)))
            u->changed(u->arg, &before[i], &u->list[i]);
    }
}

/* Returns NULL when the message is about no uplink. */
static const struct uplink *find_uplink(const struct uplinks *u, uint32_t ifindex, const char *name)
{
    for (size_t i = 0; i < u->count; i++) {
        const struct uplink *uplink = &u->list[i];
        if (!uplink_exists(uplink))
            continue;
        if (uplink->ifindex == ifindex)
            return uplink;
        if (name && strcmp(uplink->config->interface, name) == 0)
            return uplink;
    }
    return NULL;
}

static void on_link(struct uplinks *u, const struct nlmsghdr *nlh)
{
    const uint32_t alive = IFF_UP | IFF_RUNNING | IFF_LOWER_UP;
    const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *attr;
    const char *name = NULL;

    mnl_attr_for_each(attr, nlh, sizeof(*ifi))
    {
        if (mnl_attr_get_type(attr) == IFLA_IFNAME &&
            mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
            name = mnl_attr_get_str(attr);
    }
    const struct uplink *uplink = find_uplink(u, (uint32_t)ifi->ifi_index, name);
    if (!uplink)
        return;
    bool gone = nlh->nlmsg_type == RTM_DELLINK || (ifi->ifi_flags & alive) != alive;
    if (gone)
        u->disturbed |= 1u << uplink->index;
    schedule(u, gone ? 0 : SETTLE_MS);
}

static void on_address(struct uplinks *u, const struct nlmsghdr *nlh)
{
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
    const struct uplink *uplink = find_uplink(u, ifa->ifa_index, NULL);

    if (!uplink)
        return;
    if (nlh->nlmsg_type == RTM_DELADDR)
        u->disturbed |= 1u << uplink->index;
    schedule(u, SETTLE_MS);
}

static void on_route(struct uplinks *u, const struct nlmsghdr *nlh)
{
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

    if (rtm->rtm_dst_len == 0 && rtm->rtm_table == RT_TABLE_MAIN &&
        rtm->rtm_protocol != ROUTES_PROTOCOL && !(rtm->rtm_flags & RTM_F_CLONED))
        schedule(u, SETTLE_MS);
}

static int on_message(const struct nlmsghdr *nlh, void *arg)
{
    switch (nlh->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        on_link(arg, nlh);
        break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        on_address(arg, nlh);
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        on_route(arg, nlh);
        break;
    }
    return MNL_CB_OK;
}

static void on_lost(void *arg)
{
    struct uplinks *u = arg;

    u->disturbed = (1u << u->count) - 1;
    schedule(u, SETTLE_MS);
}

static int start_watch(struct uplinks *u, struct event_base *base)
{
    static const unsigned groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE};
    int err = netlink_new(&u->watch, NETLINK_ROUTE);

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]) && !err; i++)
        err = netlink_join(u->watch, groups[i]);
    if (!err)
        err = netlink_watch(u->watch, base, on_message, on_lost, u);
    return err;
}

static bool is_same(const struct uplink_config *a, const struct uplink_config *b)
{
    return strcmp(a->interface, b->interface) == 0 && !a->name[0] == !b->name[0];
}

/* Of another uplink in a place nothing is known yet. */
static void place_uplinks(struct uplinks *u, const struct gateway_config *config)
{
    for (size_t i = 0; i < config->n_uplinks; i++) {
        struct uplink *uplink = &u->list[i];
        const struct uplink_config *before = uplink->config;
        if (!before || !is_same(before, &config->uplinks[i])) {
            *uplink = (struct uplink){.index = (uint32_t)i, .address_id = (uint8_t)(i + 1)};
            u->disturbed |= UINT32_C(1) << i;
        }
        uplink->config = &config->uplinks[i];
    }
    u->count = config->n_uplinks;
    u->config = config;
}

int uplinks_new(struct uplinks **out, struct event_base *base, const struct gateway_config *config,
                uint8_t family, uplink_changed *changed, void *arg)
{
    struct uplinks *u = calloc(1, sizeof(*u));

    if (!u)
        return -ENOMEM;
    u->family = family;
    u->changed = changed;
    u->arg = arg;
    place_uplinks(u, config);
    u->disturbed = 0; /* nobody has applied anything yet */
    u->rescan = evtimer_new(base, on_rescan, u);
    int err = u->rescan ? netlink_new(&u->requests, NETLINK_ROUTE) : -ENOMEM;
    if (u->rescan)
        loop_goes_first(u->rescan);
    /* The watch comes first: nothing can slip between the first look and it. */
    if (!err)
        err = start_watch(u, base);
    if (!err)
        err = read_snapshot(u);
    if (err) {
        uplinks_free(u);
        return err;
    }
    assess_all(u);
    for (size_t i = 0; i < u->count; i++)
        log_state(&u->list[i]);
    *out = u;
    return 0;
}

void uplinks_free(struct uplinks *u)
{
    if (!u)
        return;
    netlink_free(u->watch);
    netlink_free(u->requests);
    if (u->rescan)
        event_free(u->rescan);
    free(u);
}

void uplinks_reload(struct uplinks *u, const struct gateway_config *config, uint8_t family)
{
    place_uplinks(u, config);
    u->family = family;
    on_rescan(-1, 0, u);
}

size_t uplinks_in_order(const struct uplinks *u, uint8_t order[UPLINKS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < u->count; i++) {
        if (!uplink_exists(&u->list[i]))
            continue;
        size_t at = n++;
        for (; at > 0 && u->list[order[at - 1]].config->rank > u->list[i].config->rank; at--)
            order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
    return n;
}

size_t uplinks_count(const struct uplinks *u)
{
    return u->count;
}

const struct uplink *uplinks_get(const struct uplinks *u, size_t index)
{
    return index < u->count ? &u->list[index] : NULL;
}

void uplinks_bar(struct uplinks *u, size_t index, bool barred)
{
    if (u->list[index].barred == barred)
        return;
    u->list[index].barred = barred;
    schedule(u, 0);
}

static int on_counters(const struct nlmsghdr *nlh, void *arg)
{
    struct rtnl_link_stats64 *stats = arg;
    const struct nlattr *attr;

    mnl_attr_for_each(attr, nlh, sizeof(struct if_stats_msg))
    {
        size_t len = mnl_attr_get_payload_len(attr);
        if (mnl_attr_get_type(attr) == IFLA_STATS_LINK_64)
            memcpy(stats, mnl_attr_get_payload(attr), len < sizeof(*stats) ? len : sizeof(*stats));
    }
    return MNL_CB_OK;
}

int uplinks_read_counters(const struct uplinks *u, const struct uplink *uplink,
                          struct uplink_counters *out)
{
    char buffer[128] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct rtnl_link_stats64 stats = {0};

    if (uplink->ifindex == 0)
        return -ENODEV;
    nlh->nlmsg_type = RTM_GETSTATS;
    struct if_stats_msg *message = mnl_nlmsg_put_extra_header(nlh, sizeof(*message));
    message->ifindex = uplink->ifindex;
    message->filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
    int err = netlink_request(u->requests, nlh, on_counters, &stats);
    *out = (struct uplink_counters){.rx_bytes = stats.rx_bytes,
                                    .tx_bytes = stats.tx_bytes,
                                    .rx_packets = stats.rx_packets,
                                    .tx_packets = stats.tx_packets};
    return err;
}
