#include "gateway/routes.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/netlink.h"
#include "gateway/steering.h"

#define REQUEST_BYTES 512
#define FLUSH_ROUNDS 4

/* What stands in the kernel for one family of an uplink. */
struct installed {
    struct addr source;  /* the rules' `from`; family 0: no rules */
    struct cidr on_link; /* family 0: no such route */
    uint32_t mark, mask; /* of the rules for direct flows; 0: none */
};

struct routes {
    const struct gateway_config *config;
    struct netlink *nl;
    struct installed uplinks[UPLINKS_MAX][2]; /* IPv4, IPv6 */
    bool follows[2];
    bool intercepts;
    uint32_t priority; /* of the rules of interception */
    size_t added;      /* rules that were not there, up to now */
};

/* A rule: only what is set counts. */
struct rule {
    uint8_t family;
    uint32_t priority, table;
    const struct addr *source;
    const struct cidr *not_from; /* all other sources, and packets that have none yet */
    const char *interface;       /* the packet came in there */
    uint32_t mark, mask;
    bool specific_only; /* leave the table's default route alone */
};

/* A route of one of our tables. */
struct route {
    uint8_t family;
    uint8_t type, scope; /* RTN_*, RT_SCOPE_* */
    uint32_t table, ifindex;
    struct cidr to; /* prefix 0: the default route */
    struct addr gateway;
    bool onlink; /* the gateway is reached although no prefix covers it */
};

static unsigned char af_of(uint8_t family)
{
    return family == 6 ? AF_INET6 : AF_INET;
}

/* Without IPv6 in the kernel, or switched off, there is nothing to route. */
static int forgive_no_ipv6(int err, uint8_t family)
{
    if (family == 6 && (err == -EAFNOSUPPORT || err == -EOPNOTSUPP || err == -EACCES))
        return 0;
    return err;
}

static int send_rule(struct netlink *nl, uint16_t type, const struct rule *rule)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct fib_rule_hdr *frh = mnl_nlmsg_put_extra_header(nlh, sizeof(*frh));

    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = type == RTM_NEWRULE ? NLM_F_CREATE | NLM_F_EXCL : 0;
    frh->family = af_of(rule->family);
    frh->action = FR_ACT_TO_TBL;
    mnl_attr_put_u32(nlh, FRA_PRIORITY, rule->priority);
    mnl_attr_put_u32(nlh, FRA_TABLE, rule->table);
    mnl_attr_put_u8(nlh, FRA_PROTOCOL, ROUTES_PROTOCOL);
    if (rule->source) {
        frh->src_len = rule->family == 6 ? 128 : 32;
        mnl_attr_put(nlh, FRA_SRC, addr_size(rule->source), rule->source->ip);
    }
    if (rule->not_from) {
        frh->flags |= FIB_RULE_INVERT;
        frh->src_len = rule->not_from->prefix;
        mnl_attr_put(nlh, FRA_SRC, addr_size(&rule->not_from->base), rule->not_from->base.ip);
    }
    if (rule->interface)
        mnl_attr_put_strz(nlh, FRA_IIFNAME, rule->interface);
    if (rule->mark) {
        mnl_attr_put_u32(nlh, FRA_FWMARK, rule->mark);
        mnl_attr_put_u32(nlh, FRA_FWMASK, rule->mask);
    }
    if (rule->specific_only)
        mnl_attr_put_u32(nlh, FRA_SUPPRESS_PREFIXLEN, 0);
    return netlink_request(nl, nlh, NULL, NULL);
}

static int add_rule(struct routes *r, const struct rule *rule)
{
    int err = send_rule(r->nl, RTM_NEWRULE, rule);

    r->added += err == 0;
    return err == -EEXIST ? 0 : forgive_no_ipv6(err, rule->family);
}

static int delete_rule(struct routes *r, const struct rule *rule)
{
    int err = send_rule(r->nl, RTM_DELRULE, rule);

    return err == -ENOENT ? 0 : forgive_no_ipv6(err, rule->family);
}

/* Both priority and order matter: what this machine reaches without a default route (the LAN above
 * all) is reached as before; everything else of what the rule chooses goes out of that uplink. */
static int each_uplink_rule(struct routes *r, uint32_t index, struct rule chosen,
                            int (*apply)(struct routes *, const struct rule *))
{
    struct rule specific = chosen;

    chosen.priority = specific.priority = r->config->rule_priority + 1 + index;
    chosen.table = r->config->routing_table + 1 + index;
    specific.table = RT_TABLE_MAIN;
    specific.specific_only = true;
    int err = apply(r, &specific);
    return err ? err : apply(r, &chosen);
}

static int each_source_rule(struct routes *r, uint32_t index, const struct addr *source,
                            int (*apply)(struct routes *, const struct rule *))
{
    struct rule rule = {.family = source->family, .source = source};

    return each_uplink_rule(r, index, rule, apply);
}

/* Without `iif`: what this machine sends has no such mark, and should the reverse path check ask by
 * the mark of what comes from the LAN, the way back to there is a specific one. */
static int each_mark_rule(struct routes *r, uint32_t index, uint8_t family,
                          const struct installed *was,
                          int (*apply)(struct routes *, const struct rule *))
{
    struct rule rule = {.family = family, .mark = was->mark, .mask = was->mask};

    return was->mark ? each_uplink_rule(r, index, rule, apply) : 0;
}

/* Direct flows are led to an uplink that a direct rule names. */
static int lead_direct(struct routes *r, uint32_t index, uint8_t family, struct installed *was)
{
    bool named = steering_uplinks(r->config) & UINT32_C(1) << index;
    struct installed next = *was;

    next.mark = named ? steering_mark(r->config, index) : 0;
    next.mask = named ? r->config->direct_mark : 0;
    int err = each_mark_rule(r, index, family, &next, add_rule);
    if (!err && (next.mark != was->mark || next.mask != was->mask))
        err = each_mark_rule(r, index, family, was, delete_rule);
    *was = next;
    return err;
}

static void put_gateway(struct nlmsghdr *nlh, uint8_t family, const struct addr *gateway)
{
    struct {
        uint16_t family;
        uint8_t ip[16];
    } via = {.family = af_of(gateway->family)};

    if (gateway->family == family) {
        mnl_attr_put(nlh, RTA_GATEWAY, addr_size(gateway), gateway->ip);
        return;
    }
    memcpy(via.ip, gateway->ip, sizeof(via.ip));
    mnl_attr_put(nlh, RTA_VIA, sizeof(via.family) + addr_size(gateway), &via);
}

static int send_route(struct netlink *nl, uint16_t type, const struct route *route)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));

    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0;
    rtm->rtm_family = af_of(route->family);
    rtm->rtm_dst_len = route->to.prefix;
    rtm->rtm_protocol = ROUTES_PROTOCOL;
    rtm->rtm_type = route->type;
    rtm->rtm_scope = route->scope;
    rtm->rtm_table = RT_TABLE_UNSPEC;
    mnl_attr_put_u32(nlh, RTA_TABLE, route->table);
    mnl_attr_put_u32(nlh, RTA_OIF, route->ifindex);
    if (route->to.prefix)
        mnl_attr_put(nlh, RTA_DST, addr_size(&route->to.base), route->to.base.ip);
    if (route->gateway.family) {
        put_gateway(nlh, route->family, &route->gateway);
        if (route->onlink)
            rtm->rtm_flags |= RTNH_F_ONLINK;
    }
    return netlink_request(nl, nlh, NULL, NULL);
}

static int add_route(struct netlink *nl, const struct route *route)
{
    return forgive_no_ipv6(send_route(nl, RTM_NEWROUTE, route), route->family);
}

/* The kernel may have dropped it before us, with its interface or address. */
static int delete_route(struct netlink *nl, const struct route *route)
{
    int err = send_route(nl, RTM_DELROUTE, route);

    if (err == -ESRCH || err == -ENOENT || err == -ENODEV)
        return 0;
    return forgive_no_ipv6(err, route->family);
}

static struct cidr network_of(const struct uplink_route *way)
{
    struct cidr c = {.base = way->address, .prefix = way->prefix};
    size_t bits = addr_size(&c.base) * 8;

    c.base.port = 0;
    /* A lone address, as on PPP, has no network around it. */
    if (way->prefix == 0 || way->prefix >= bits)
        return (struct cidr){0};
    for (size_t bit = way->prefix; bit < bits; bit++)
        c.base.ip[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
    return c;
}

static bool is_link_local(const struct addr *a)
{
    return a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static struct route on_link_route(uint32_t table, uint32_t ifindex, const struct cidr *network)
{
    bool v6 = network->base.family == 6;

    return (struct route){.family = network->base.family,
                          .type = RTN_UNICAST,
                          .scope = v6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
                          .table = table,
                          .ifindex = ifindex,
                          .to = *network};
}

static struct route default_route(uint32_t table, uint32_t ifindex, const struct uplink_route *way,
                                  const struct cidr *network)
{
    bool v6 = way->address.family == 6;
    struct route route = {.family = way->address.family,
                          .type = RTN_UNICAST,
                          .scope = RT_SCOPE_UNIVERSE,
                          .table = table,
                          .ifindex = ifindex,
                          .gateway = way->gateway};

    if (!way->gateway.family) {
        route.scope = v6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
        return route;
    }
    bool covered = network->base.family && cidr_contains(network, &way->gateway);
    route.onlink = !covered && !is_link_local(&way->gateway);
    return route;
}

/* Routes first, then the rules that lead to them, and the old ones only after that. */
static int install(struct routes *r, const struct uplink *uplink, const struct uplink_route *way,
                   struct installed *was)
{
    uint32_t table = r->config->routing_table + 1 + uplink->index;
    struct cidr network = network_of(way);
    struct route on_link = on_link_route(table, uplink->ifindex, &network);
    struct route out = default_route(table, uplink->ifindex, way, &network);
    struct route old = on_link_route(table, 0, &was->on_link);
    struct addr source = way->address;
    int err = network.base.family ? add_route(r->nl, &on_link) : 0;

    if (!err)
        err = add_route(r->nl, &out);
    if (!err && was->on_link.base.family &&
        !(addr_equal_ip(&was->on_link.base, &network.base) &&
          was->on_link.prefix == network.prefix))
        err = delete_route(r->nl, &old);
    if (!err)
        err = each_source_rule(r, uplink->index, &source, add_rule);
    if (err)
        return err;
    struct addr before = was->source;
    was->source = source;
    was->on_link = network;
    if (before.family && !addr_equal_ip(&before, &source))
        err = each_source_rule(r, uplink->index, &before, delete_rule);
    int also = lead_direct(r, uplink->index, source.family, was);
    return err ? err : also;
}

static int uninstall(struct routes *r, const struct uplink *uplink, uint8_t family,
                     struct installed *was)
{
    uint32_t table = r->config->routing_table + 1 + uplink->index;
    struct route out = {.family = family, .scope = RT_SCOPE_NOWHERE, .table = table};
    struct route on_link = on_link_route(table, 0, &was->on_link);

    if (!was->source.family)
        return 0;
    int err = each_source_rule(r, uplink->index, &was->source, delete_rule);
    int also = each_mark_rule(r, uplink->index, family, was, delete_rule);
    if (!also)
        also = delete_route(r->nl, &out);
    if (was->on_link.base.family && !also)
        also = delete_route(r->nl, &on_link);
    memset(was, 0, sizeof(*was));
    return err ? err : also;
}

int routes_apply(struct routes *r, const struct uplink *uplink)
{
    static const uint8_t families[2] = {4, 6};
    int first = 0;

    for (int i = 0; i < 2; i++) {
        const struct uplink_route *way = uplink_route(uplink, families[i]);
        struct installed *was = &r->uplinks[uplink->index][i];
        int err = uplink->state != UPLINK_DOWN && way->usable
                      ? install(r, uplink, way, was)
                      : uninstall(r, uplink, families[i], was);
        if (!first)
            first = err;
    }
    return first;
}

static void clear_rules(struct routes *r, uint32_t index, uint8_t family,
                        const struct installed *was)
{
    if (!was->source.family)
        return;
    each_source_rule(r, index, &was->source, delete_rule);
    each_mark_rule(r, index, family, was, delete_rule);
}

/* Of two rules of one priority the older is asked first: where one was missing, both come anew. */
int routes_restore(struct routes *r, const struct uplink *uplink)
{
    size_t before = r->added;
    int err = routes_apply(r, uplink);

    if (err || r->added == before)
        return err;
    clear_rules(r, uplink->index, 4, &r->uplinks[uplink->index][0]);
    clear_rules(r, uplink->index, 6, &r->uplinks[uplink->index][1]);
    return routes_apply(r, uplink);
}

static int each_follow_rule(struct routes *r, uint8_t family,
                            int (*apply)(struct routes *, const struct rule *))
{
    static const struct cidr global6 = {.base = {.family = 6, .ip = {0x20}}, .prefix = 3};
    struct rule specific = {
        .family = family,
        .priority = r->config->rule_priority + 1 + UPLINKS_MAX,
        .table = RT_TABLE_MAIN,
        .not_from = family == 6 ? &global6 : NULL,
        .specific_only = true,
    };
    struct rule follow = specific;

    follow.priority++;
    follow.table = r->config->routing_table + 1 + UPLINKS_MAX;
    follow.specific_only = false;
    int err = apply(r, &specific);
    int also = !err || apply == delete_rule ? apply(r, &follow) : 0;
    return err ? err : also;
}

static int unfollow(struct routes *r, uint8_t family)
{
    struct route out = {.family = family,
                        .scope = RT_SCOPE_NOWHERE,
                        .table = r->config->routing_table + 1 + UPLINKS_MAX};
    int err = each_follow_rule(r, family, delete_rule);
    int also = delete_route(r->nl, &out);

    r->follows[family == 6] = false;
    return err ? err : also;
}

/* The route takes the place of the one before: there is no moment without one. */
static int lead(struct routes *r, const struct route *out)
{
    int err = add_route(r->nl, out);

    r->follows[out->family == 6] = true;
    if (!err)
        err = each_follow_rule(r, out->family, add_rule);
    if (err)
        unfollow(r, out->family);
    return err;
}

int routes_refuse(struct routes *r, uint8_t family)
{
    struct route out = {.family = family,
                        .type = RTN_UNREACHABLE,
                        .scope = RT_SCOPE_UNIVERSE,
                        .table = r->config->routing_table + 1 + UPLINKS_MAX};

    return lead(r, &out);
}

int routes_follow(struct routes *r, uint8_t family, const struct uplink *uplink)
{
    /* The table has no on-link route, which could only outlive its uplink's turn. */
    static const struct cidr none;

    if (!uplink)
        return r->follows[family == 6] ? unfollow(r, family) : 0;
    struct route out = default_route(r->config->routing_table + 1 + UPLINKS_MAX, uplink->ifindex,
                                     uplink_route(uplink, family), &none);
    return lead(r, &out);
}

/* All rules, or routes, of every family. */
static int dump(struct netlink *nl, bool rules, mnl_cb_t on_message, void *arg)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);

    nlh->nlmsg_type = rules ? RTM_GETRULE : RTM_GETROUTE;
    nlh->nlmsg_flags = NLM_F_DUMP;
    mnl_nlmsg_put_extra_header(nlh, rules ? sizeof(struct fib_rule_hdr) : sizeof(struct rtmsg));
    return netlink_request(nl, nlh, on_message, arg);
}

/* With `iif`: the mark then cannot mislead the reverse path check, which asks as if from lo. */
static struct rule intercept_rule(const struct gateway_config *config, uint8_t family,
                                  uint32_t priority, const char *interface)
{
    return (struct rule){.family = family,
                         .priority = priority,
                         .table = config->routing_table,
                         .mark = config->firewall_mark,
                         .mask = config->firewall_mark,
                         .interface = interface};
}

static int each_intercept_rule(struct routes *r, uint8_t family, uint32_t priority,
                               int (*apply)(struct routes *, const struct rule *))
{
    int err = 0;

    for (size_t i = 0; i < r->config->n_lan_interfaces && !err; i++) {
        struct rule rule =
            intercept_rule(r->config, family, priority, r->config->lan_interfaces[i]);
        err = apply(r, &rule);
    }
    return err;
}

static bool is_in_use(const struct routes *r, const struct rule *rule)
{
    for (size_t i = 0; i < r->config->n_lan_interfaces; i++) {
        if (strcmp(r->config->lan_interfaces[i], rule->interface) == 0)
            return r->config->firewall_mark == rule->mark;
    }
    return false;
}

static int forget_family(struct routes *r, uint8_t family, const struct gateway_config *before)
{
    int first = 0;

    for (size_t i = 0; i < before->n_lan_interfaces; i++) {
        struct rule rule = intercept_rule(before, family, r->priority, before->lan_interfaces[i]);
        int err = is_in_use(r, &rule) ? 0 : delete_rule(r, &rule);
        if (!first)
            first = err;
    }
    return first;
}

static int intercept_family(struct routes *r, uint8_t family, bool on)
{
    struct route local = {.family = family,
                          .type = RTN_LOCAL,
                          .scope = RT_SCOPE_HOST,
                          .table = r->config->routing_table,
                          .ifindex = if_nametoindex("lo")};
    int err;

    if (on) {
        err = add_route(r->nl, &local);
        return err ? err : each_intercept_rule(r, family, r->priority, add_rule);
    }
    err = each_intercept_rule(r, family, r->priority, delete_rule);
    int also = delete_route(r->nl, &local);
    return err ? err : also;
}

static int intercept(struct routes *r, bool on)
{
    int err = intercept_family(r, 4, on);
    int also = intercept_family(r, 6, on);

    return err ? err : also;
}

static int keep_in_front(const struct nlmsghdr *nlh, void *arg)
{
    uint32_t *front = arg, priority = 0;
    const struct nlattr *attr;

    mnl_attr_for_each(attr, nlh, sizeof(struct fib_rule_hdr))
    {
        if (mnl_attr_get_type(attr) == FRA_PRIORITY && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
            priority = mnl_attr_get_u32(attr);
    }
    if (priority > 0 && priority <= *front && !routes_is_our_rule(nlh))
        *front = priority - 1;
    return MNL_CB_OK;
}

/* Our place, or that before all others' rules: where one of these led an intercepted packet on, the
 * kernel would drop it, for it has a socket already. A rule that is added without a priority gets
 * one before all that there are: as wg-quick's, which match everything. */
static void go_in_front(struct routes *r)
{
    uint32_t front = r->config->rule_priority;

    if (dump(r->nl, true, keep_in_front, &front) == 0)
        r->priority = front; /* else there will be word of what has changed meanwhile */
}

int routes_intercept(struct routes *r, bool on)
{
    uint32_t before = r->priority;

    if (on)
        go_in_front(r);
    int err = intercept(r, on);
    if (!err && r->intercepts && before != r->priority) {
        err = each_intercept_rule(r, 4, before, delete_rule);
        if (!err)
            err = each_intercept_rule(r, 6, before, delete_rule);
    }
    r->intercepts = on;
    return err;
}

int routes_reload(struct routes *r, const struct gateway_config *config)
{
    r->config = config;
    return r->intercepts ? intercept(r, true) : 0;
}

int routes_forget(struct routes *r, const struct gateway_config *before)
{
    int err = r->intercepts ? forget_family(r, 4, before) : 0;
    int also = r->intercepts ? forget_family(r, 6, before) : 0;

    return err ? err : also;
}

int routes_new(struct routes **out, const struct gateway_config *config)
{
    struct routes *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->config = config;
    r->priority = config->rule_priority;
    int err = routes_flush();
    if (!err)
        err = netlink_new(&r->nl, NETLINK_ROUTE);
    if (err) {
        routes_free(r);
        return err;
    }
    *out = r;
    return 0;
}

void routes_free(struct routes *r)
{
    if (!r)
        return;
    netlink_free(r->nl);
    free(r);
}

/* The dumped messages that are ours, one behind the other: to be deleted after the dump. */
struct heap {
    uint8_t *bytes;
    size_t len, room;
};

static int keep(struct heap *heap, const struct nlmsghdr *nlh)
{
    size_t len = MNL_ALIGN(nlh->nlmsg_len);

    if (heap->room - heap->len < len) {
        size_t room = heap->room * 2 + len;
        uint8_t *bytes = realloc(heap->bytes, room);
        if (!bytes)
            return MNL_CB_ERROR;
        heap->bytes = bytes;
        heap->room = room;
    }
    memcpy(heap->bytes + heap->len, nlh, nlh->nlmsg_len);
    heap->len += len;
    return MNL_CB_OK;
}

bool routes_is_our_rule(const struct nlmsghdr *nlh)
{
    const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *attr;

    if (frh->family != AF_INET && frh->family != AF_INET6)
        return false;
    mnl_attr_for_each(attr, nlh, sizeof(*frh))
    {
        if (mnl_attr_get_type(attr) == FRA_PROTOCOL && mnl_attr_validate(attr, MNL_TYPE_U8) == 0 &&
            mnl_attr_get_u8(attr) == ROUTES_PROTOCOL)
            return true;
    }
    return false;
}

bool routes_is_our_route(const struct nlmsghdr *nlh)
{
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

    return (rtm->rtm_family == AF_INET || rtm->rtm_family == AF_INET6) &&
           rtm->rtm_protocol == ROUTES_PROTOCOL && !(rtm->rtm_flags & RTM_F_CLONED);
}

uint32_t routes_port(const struct routes *r)
{
    return netlink_port(r->nl);
}

static int keep_rule(const struct nlmsghdr *nlh, void *arg)
{
    return routes_is_our_rule(nlh) ? keep(arg, nlh) : MNL_CB_OK;
}

static int keep_route(const struct nlmsghdr *nlh, void *arg)
{
    return routes_is_our_route(nlh) ? keep(arg, nlh) : MNL_CB_OK;
}

/* The kernel takes its own description of a rule or route as the request to delete it. */
static int delete_kept(struct netlink *nl, struct heap *heap, uint16_t type)
{
    int first = 0;

    for (size_t at = 0; at < heap->len;) {
        struct nlmsghdr *nlh = (void *)(heap->bytes + at);
        at += MNL_ALIGN(nlh->nlmsg_len);
        nlh->nlmsg_type = type;
        nlh->nlmsg_flags = 0;
        int err = netlink_request(nl, nlh, NULL, NULL);
        if (err && err != -ENOENT && err != -ESRCH && !first)
            first = err;
    }
    return first;
}

/* One dump and its deletions. Returns 1 when it found something, 0, or -errno. */
static int flush_once(struct netlink *nl, bool rules)
{
    struct heap heap = {0};
    int err = dump(nl, rules, rules ? keep_rule : keep_route, &heap);
    bool again = err == -EINTR;
    if (!err || again)
        err = delete_kept(nl, &heap, rules ? RTM_DELRULE : RTM_DELROUTE);
    int found = again || heap.len > 0;
    free(heap.bytes);
    return err ? err : found;
}

static int flush(struct netlink *nl, bool rules)
{
    int found = 1;

    /* The state may change under the dump: look until there is nothing more. */
    for (int round = 0; round < FLUSH_ROUNDS && found > 0; round++)
        found = flush_once(nl, rules);
    return found < 0 ? found : 0;
}

int routes_flush(void)
{
    struct netlink *nl;
    int err = netlink_new(&nl, NETLINK_ROUTE);

    if (err)
        return err;
    err = flush(nl, true);
    int also = flush(nl, false);
    netlink_free(nl);
    return err ? err : also;
}
