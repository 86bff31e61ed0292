#include "gateway/bridges.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/netlink.h"
#include "core/sysctl.h"

#define VLANS_MAX 4 /* upon each other */

struct link {
    char kind[8];
    uint32_t below; /* what a VLAN is cut from; 0: nothing */
};

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
    struct link *link = arg;
    const struct nlattr *attr, *about;

    mnl_attr_for_each(attr, nlh, sizeof(struct ifinfomsg))
    {
        if (mnl_attr_get_type(attr) == IFLA_LINK)
            link->below = mnl_attr_get_u32(attr);
        if (mnl_attr_get_type(attr) != IFLA_LINKINFO)
            continue;
        mnl_attr_for_each_nested(about, attr)
        {
            if (mnl_attr_get_type(about) == IFLA_INFO_KIND)
                snprintf(link->kind, sizeof(link->kind), "%s", mnl_attr_get_str(about));
        }
    }
    return MNL_CB_OK;
}

static struct link look_up(struct netlink *nl, uint32_t ifindex)
{
    char buffer[128] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct link link = {.below = 0};

    nlh->nlmsg_type = RTM_GETLINK;
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
    ifi->ifi_index = (int)ifindex;
    if (netlink_request(nl, nlh, on_link, &link))
        link.kind[0] = '\0'; /* it has gone */
    return link;
}

static bool is_bridge(struct netlink *nl, const char *name)
{
    struct link link = {.kind = "vlan", .below = if_nametoindex(name)};

    for (int i = 0; i < VLANS_MAX && link.below && strcmp(link.kind, "vlan") == 0; i++)
        link = look_up(nl, link.below);
    return strcmp(link.kind, "bridge") == 0;
}

static bool is_lan_bridged(const struct gateway_config *config)
{
    struct netlink *nl;
    bool bridged = false;

    if (netlink_new(&nl, NETLINK_ROUTE))
        return false;
    for (size_t i = 0; i < config->n_lan_interfaces && !bridged; i++)
        bridged = is_bridge(nl, config->lan_interfaces[i]);
    netlink_free(nl);
    return bridged;
}

const char *bridges_hindrance(const struct gateway_config *config)
{
    static const char *const names[] = {"net/bridge/bridge-nf-call-iptables",
                                        "net/bridge/bridge-nf-call-ip6tables"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char value[8];
        if (sysctl_read(names[i], value, sizeof(value)) == 0 && value[0] != '0')
            return is_lan_bridged(config) ? names[i] : NULL;
    }
    return NULL;
}
