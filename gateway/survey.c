#include "gateway/survey.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "core/netlink.h"
#include "gateway/uplink_snapshot.h"

#define ATTEMPTS 5 /* at a state that changes while it is read */

static const char private_networks[][16] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                            "fc00::/7"};
static const char inner_names[][8] = {"docker", "veth", "virbr", "vnet", "lxc",
                                      "podman", "cni",  "tun",   "tap",  "wg"};

static bool is_private(const struct addr *a)
{
    for (size_t i = 0; i < sizeof(private_networks) / sizeof(private_networks[0]); i++) {
        struct cidr network;
        if (cidr_parse(&network, private_networks[i]) == 0 && cidr_contains(&network, a))
            return true;
    }
    return false;
}

static bool is_inner(const char *name)
{
    for (size_t i = 0; i < sizeof(inner_names) / sizeof(inner_names[0]); i++) {
        if (strncmp(name, inner_names[i], strlen(inner_names[i])) == 0)
            return true;
    }
    return false;
}

static struct addr best_address(const struct uplink_snapshot *s)
{
    struct addr best = {0};

    for (size_t i = 0; i < s->n_addresses; i++) {
        const struct addr *a = &s->addresses[i].address;
        if (s->addresses[i].scope == RT_SCOPE_UNIVERSE && (!best.family || a->family < best.family))
            best = *a;
    }
    return best;
}

/* As if it were the only uplink. */
static int read_interface(struct netlink *nl, const char *name, struct survey_interface *out)
{
    struct gateway_config alone = {.n_uplinks = 1};
    struct uplink_snapshot s;
    int err = -EINTR;

    memcpy(alone.uplinks[0].interface, name, strlen(name) + 1);
    for (int i = 0; i < ATTEMPTS && err == -EINTR; i++)
        err = uplink_snapshot_read(&s, nl, &alone);
    if (err)
        return err;
    *out = (struct survey_interface){.address = best_address(&s), .leads_out = s.n_routes > 0};
    memcpy(out->name, name, strlen(name) + 1);
    for (size_t i = 0; i < s.n_routes; i++) {
        if (i == 0 || s.routes[i].metric < out->metric)
            out->metric = s.routes[i].metric;
    }
    return 0;
}

int survey_read(struct survey *s)
{
    struct if_nameindex *names = if_nameindex();
    struct netlink *nl;
    int err = names ? netlink_new(&nl, NETLINK_ROUTE) : -errno;

    s->n = 0;
    if (err) {
        if (names)
            if_freenameindex(names);
        return err;
    }
    for (size_t i = 0; names[i].if_index && s->n < SURVEY_INTERFACES && !err; i++) {
        const char *name = names[i].if_name;
        if (strcmp(name, "lo") != 0 && strlen(name) < INTERFACE_NAME)
            err = read_interface(nl, name, &s->list[s->n++]);
    }
    netlink_free(nl);
    if_freenameindex(names);
    return err;
}

static int by_metric(const void *a, const void *b)
{
    const struct survey_interface *one = *(const struct survey_interface *const *)a;
    const struct survey_interface *other = *(const struct survey_interface *const *)b;

    if (one->metric != other->metric)
        return one->metric < other->metric ? -1 : 1;
    return one < other ? -1 : 1; /* in the kernel's order */
}

size_t survey_uplinks(const struct survey *s, const struct survey_interface **out, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n && n < max; i++) {
        if (s->list[i].leads_out)
            out[n++] = &s->list[i];
    }
    qsort(out, n, sizeof(*out), by_metric);
    return n;
}

/* A bridge is where a router's LAN usually is; OpenWrt calls it so. */
static int lan_rank(const struct survey_interface *i)
{
    if (strcmp(i->name, "br-lan") == 0)
        return 0;
    return strncmp(i->name, "br", 2) == 0 ? 1 : strstr(i->name, "lan") ? 2 : 3;
}

static int by_lan_rank(const void *a, const void *b)
{
    const struct survey_interface *one = *(const struct survey_interface *const *)a;
    const struct survey_interface *other = *(const struct survey_interface *const *)b;
    int difference = lan_rank(one) - lan_rank(other);

    return difference ? difference : one < other ? -1 : 1;
}

size_t survey_lans(const struct survey *s, const struct survey_interface **out, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n && n < max; i++) {
        const struct survey_interface *each = &s->list[i];
        if (!each->leads_out && is_private(&each->address) && !is_inner(each->name))
            out[n++] = each;
    }
    qsort(out, n, sizeof(*out), by_lan_rank);
    return n;
}
