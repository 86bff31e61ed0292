#include "gateway/routes_watch.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "core/netlink.h"

struct routes_watch {
    struct netlink *nl;
    const struct routes *routes;
    routes_lost *lost;
    void *arg;
};

#define LOOPBACK_IFINDEX 1 /* in every namespace */

/* Where lo goes, our routes to it do so silently. When it is back it gets its addresses. */
static bool is_loopback_back(const struct nlmsghdr *nlh)
{
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);

    return nlh->nlmsg_type == RTM_NEWADDR && ifa->ifa_index == LOOPBACK_IFINDEX;
}

/* The kernel names who has asked for a change, and 0 for what it has done itself. */
static int on_message(const struct nlmsghdr *nlh, void *arg)
{
    const struct routes_watch *w = arg;
    bool rule = nlh->nlmsg_type == RTM_NEWRULE || nlh->nlmsg_type == RTM_DELRULE;
    bool ours = rule ? routes_is_our_rule(nlh)
                     : nlh->nlmsg_type == RTM_DELROUTE && routes_is_our_route(nlh);

    if (nlh->nlmsg_pid == routes_port(w->routes))
        return MNL_CB_OK;
    if (ours && nlh->nlmsg_type != RTM_NEWRULE && nlh->nlmsg_pid != 0)
        w->lost(w->arg, true);
    else if ((rule && !ours) || is_loopback_back(nlh))
        w->lost(w->arg, false);
    return MNL_CB_OK;
}

static void on_lost(void *arg)
{
    const struct routes_watch *w = arg;

    w->lost(w->arg, false);
}

int routes_watch_new(struct routes_watch **out, struct event_base *base,
                     const struct routes *routes, routes_lost *lost, void *arg)
{
    static const unsigned groups[] = {RTNLGRP_IPV4_RULE,  RTNLGRP_IPV6_RULE,   RTNLGRP_IPV4_ROUTE,
                                      RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR};
    struct routes_watch *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    *w = (struct routes_watch){.routes = routes, .lost = lost, .arg = arg};
    int err = netlink_new(&w->nl, NETLINK_ROUTE);
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]) && !err; i++)
        err = netlink_join(w->nl, groups[i]);
    if (!err)
        err = netlink_watch(w->nl, base, on_message, on_lost, w);
    if (err) {
        routes_watch_free(w);
        return err;
    }
    *out = w;
    return 0;
}

void routes_watch_free(struct routes_watch *w)
{
    if (!w)
        return;
    netlink_free(w->nl);
    free(w);
}
