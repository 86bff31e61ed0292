/* Our rules and routes as the kernel takes them: where packets of each uplink's address go, that
 * the LAN stays reachable, and that nothing is left and nothing of others is touched. */
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "gateway/routes.h"
#include "gateway/routes_watch.h"
#include "tests/unit/netns.h"

struct lab {
    struct gateway_config config;
    char lan[2][INTERFACE_NAME];
    struct uplink dsl, lte;
    struct routes *routes;
    int far;
};

static struct addr ip(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse_ip(&a, text), 0);
    return a;
}

static void give(struct uplink_route *way, const char *address, uint8_t prefix, const char *gateway)
{
    memset(way, 0, sizeof(*way));
    way->address = ip(address);
    way->prefix = prefix;
    if (gateway)
        way->gateway = ip(gateway);
    way->usable = true;
}

static void raise_uplink(struct lab *lab, struct uplink *u, uint32_t index, const char *name)
{
    netns_veth(name, lab->far, name);
    u->config = &lab->config.uplinks[index];
    u->index = index;
    u->ifindex = if_nametoindex(name);
    u->carrier = true;
    u->state = UPLINK_UP;
}

static void setup(struct lab *lab)
{
    memset(lab, 0, sizeof(*lab));
    netns_enter();
    lab->far = netns_new();
    strcpy(lab->lan[0], "lan");
    strcpy(lab->lan[1], "guest");
    lab->config.lan_interfaces = lab->lan;
    lab->config.n_lan_interfaces = 2;
    lab->config.n_uplinks = 2;
    lab->config.routing_table = 7170;
    lab->config.rule_priority = 1000;
    lab->config.firewall_mark = 0x40000;
    raise_uplink(lab, &lab->dsl, 0, "dsl");
    raise_uplink(lab, &lab->lte, 1, "lte");
    netns_veth("lan", lab->far, "lan");
    netns_run("ip addr add 10.0.0.1/24 dev lan && ip addr add 192.0.2.10/24 dev dsl && "
              "ip addr add 198.51.100.10/24 dev lte && ip route add default via 192.0.2.1 && "
              "ip -6 addr add fd00::1/64 dev lan nodad && "
              "ip -6 addr add 2001:db8:1::10/64 dev dsl nodad && "
              "ip -6 addr add 2001:db8:2::10/64 dev lte nodad && "
              "ip -6 route add default via fe80::1 dev dsl");
    give(&lab->dsl.v4, "192.0.2.10", 24, "192.0.2.1");
    give(&lab->dsl.v6, "2001:db8:1::10", 64, "fe80::1");
    give(&lab->lte.v4, "198.51.100.10", 24, "198.51.100.1");
    give(&lab->lte.v6, "2001:db8:2::10", 64, "fe80::2");
    assert_int_equal(routes_new(&lab->routes, &lab->config), 0);
}

static void teardown(struct lab *lab)
{
    routes_free(lab->routes);
    close(lab->far);
}

/* Does `ip route get` answer so? */
static bool leads(const char *question, const char *answer)
{
    return netns_try("ip route get %s | grep -q -e '%s'", question, answer);
}

static int count_ours(void)
{
    /* By number: no name may be registered for it. */
    FILE *shown = popen("(ip -N -4 rule; ip -N -6 rule; ip -N -4 route show table all; "
                        "ip -N -6 route show table all) | grep -c 'proto 171'",
                        "r");
    int n;

    assert_non_null(shown);
    assert_int_equal(fscanf(shown, "%d", &n), 1);
    pclose(shown);
    return n;
}

static void each_address_has_its_way_out(void **state)
{
    struct lab lab;

    setup(&lab);
    assert_true(leads("203.0.113.1 from 198.51.100.10", "via 192.0.2.1 dev dsl"));
    assert_int_equal(routes_apply(lab.routes, &lab.dsl), 0);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_true(leads("203.0.113.1 from 192.0.2.10", "via 192.0.2.1 dev dsl"));
    assert_true(leads("203.0.113.1 from 198.51.100.10", "via 198.51.100.1 dev lte table 7172"));
    assert_true(leads("203.0.113.1 from 198.51.100.10 oif lte", "via 198.51.100.1 dev lte"));
    assert_true(leads("2001:db8:9::1 from 2001:db8:1::10", "via fe80::1 dev dsl"));
    assert_true(leads("2001:db8:9::1 from 2001:db8:2::10", "via fe80::2 dev lte"));
    assert_true(leads("203.0.113.1", "via 192.0.2.1 dev dsl src 192.0.2.10"));
    /* A LAN client that speaks to the router by an uplink's address gets its answer. */
    assert_true(leads("10.0.0.7 from 198.51.100.10", "dev lan"));
    assert_true(leads("fd00::7 from 2001:db8:2::10", "dev lan"));
    teardown(&lab);
}

/* Two modems that hand out the same network: a socket bound to one must not leave by the other. */
static void same_network_twice(void **state)
{
    struct lab lab;

    setup(&lab);
    netns_run("ip addr flush dev lte && ip addr add 192.0.2.20/24 dev lte");
    give(&lab.lte.v4, "192.0.2.20", 24, "192.0.2.1");
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_true(leads("203.0.113.1 from 192.0.2.20", "via 192.0.2.1 dev lte"));
    assert_true(leads("192.0.2.1 from 192.0.2.20 oif lte", "dev lte"));
    teardown(&lab);
}

static void repeats_without_a_trace(void **state)
{
    struct lab lab;

    setup(&lab);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    int once = count_ours();
    assert_int_equal(once, 8); /* two rules and two routes for each family */
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_int_equal(count_ours(), once);
    /* The kernel drops routes with the interface, silently for IPv4. */
    netns_run("ip link set lte down && ip link set lte up && "
              "ip -6 addr add 2001:db8:2::10/64 dev lte nodad");
    assert_true(count_ours() < once);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_int_equal(count_ours(), once);
    teardown(&lab);
}

static void follows_another_address(void **state)
{
    struct lab lab;

    setup(&lab);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    netns_run("ip addr flush dev lte && ip addr add 203.0.113.66/26 dev lte");
    give(&lab.lte.v4, "203.0.113.66", 26, "203.0.113.65");
    lab.lte.v6.usable = false;
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_int_equal(count_ours(), 4);
    assert_true(leads("198.51.100.77 from 203.0.113.66", "via 203.0.113.65 dev lte"));
    assert_true(netns_try("ip route show table 7172 | grep -q '^203.0.113.64/26 '"));
    lab.lte.state = UPLINK_DOWN;
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_int_equal(count_ours(), 0);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    teardown(&lab);
}

static void interface_with_another_index(void **state)
{
    struct lab lab;

    setup(&lab);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    netns_run("ip link del lte");
    raise_uplink(&lab, &lab.lte, 1, "lte");
    netns_run("ip addr add 198.51.100.10/24 dev lte");
    lab.lte.v6.usable = false;
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_true(leads("203.0.113.1 from 198.51.100.10", "via 198.51.100.1 dev lte"));
    assert_int_equal(count_ours(), 4);
    teardown(&lab);
}

static void unusual_gateways(void **state)
{
    struct lab lab;

    setup(&lab);
    netns_run("ip addr add 100.64.3.4/32 dev lte");
    give(&lab.lte.v4, "100.64.3.4", 32, NULL);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_true(leads("203.0.113.1 from 100.64.3.4", "^203.0.113.1 from 100.64.3.4 dev lte"));
    give(&lab.lte.v4, "100.64.3.4", 32, "192.168.9.9");
    give(&lab.lte.v6, "2001:db8:2::10", 64, "2001:db8:77::1");
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_true(leads("203.0.113.1 from 100.64.3.4", "via 192.168.9.9 dev lte"));
    assert_true(leads("2001:db8:9::1 from 2001:db8:2::10", "via 2001:db8:77::1 dev lte"));
    give(&lab.lte.v4, "100.64.3.4", 32, "fe80::9");
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_true(leads("203.0.113.1 from 100.64.3.4", "via inet6 fe80::9 dev lte"));
    teardown(&lab);
}

static void what_is_not_proxied_follows(void **state)
{
    struct lab lab;

    setup(&lab);
    netns_run("echo 1 > /proc/sys/net/ipv4/ip_forward && ip route add 203.0.113.64/26 dev lan");
    assert_int_equal(routes_apply(lab.routes, &lab.dsl), 0);
    int before = count_ours();
    assert_int_equal(routes_follow(lab.routes, 4, &lab.lte), 0);
    assert_int_equal(routes_follow(lab.routes, 6, &lab.lte), 0);
    assert_int_equal(count_ours(), before + 6); /* two rules, one route; both families */
    assert_true(leads("203.0.113.1", "via 198.51.100.1 dev lte table 7179 src 198.51.100.10"));
    assert_true(leads("203.0.113.1 from 10.0.0.7 iif lan", "via 198.51.100.1 dev lte"));
    assert_true(leads("2001:db8:9::1", "via fe80::2 dev lte .* src 2001:db8:2::10"));
    assert_true(leads("2001:db8:9::1 from fd00::7 iif lan", "via fe80::2 dev lte"));
    /* What has an uplink's address, or a network that the user leads elsewhere, is as before. */
    assert_true(leads("203.0.113.1 from 192.0.2.10", "via 192.0.2.1 dev dsl"));
    assert_true(leads("203.0.113.65", "dev lan"));
    assert_true(leads("10.0.0.7", "dev lan"));
    assert_true(leads("fd00::7", "dev lan"));
    assert_true(leads("2001:db8:1::77", "^2001:db8:1::77 .*dev dsl"));
    /* No provider would let another one's address pass. */
    assert_true(leads("2001:db8:9::1 from 2001:db8:1:7::7 iif lan", "via fe80::1 dev dsl"));
    assert_int_equal(routes_follow(lab.routes, 4, NULL), 0);
    assert_int_equal(routes_follow(lab.routes, 6, NULL), 0);
    assert_int_equal(routes_follow(lab.routes, 6, NULL), 0);
    assert_int_equal(count_ours(), before);
    assert_true(leads("203.0.113.1", "via 192.0.2.1 dev dsl src 192.0.2.10"));
    teardown(&lab);
}

/* Where the main table might lead to an uplink that must not be used. */
static void what_is_not_proxied_goes_nowhere(void **state)
{
    struct lab lab;

    setup(&lab);
    int before = count_ours();
    for (uint8_t family = 4; family <= 6; family += 2) {
        assert_int_equal(routes_follow(lab.routes, family, &lab.lte), 0);
        assert_int_equal(routes_refuse(lab.routes, family), 0);
        assert_int_equal(routes_refuse(lab.routes, family), 0);
    }
    assert_int_equal(count_ours(), before + 6);
    assert_true(netns_try("! ip route get 203.0.113.1"));
    assert_true(netns_try("! ip route get 203.0.113.1 from 10.0.0.7 iif lan"));
    assert_true(netns_try("! ip -6 route get 2001:db8:9::1"));
    assert_true(leads("10.0.0.7", "dev lan"));
    assert_true(leads("fd00::7", "dev lan"));
    assert_int_equal(routes_follow(lab.routes, 4, &lab.lte), 0);
    assert_int_equal(routes_follow(lab.routes, 6, &lab.lte), 0);
    assert_true(leads("203.0.113.1", "via 198.51.100.1 dev lte"));
    assert_true(leads("2001:db8:9::1", "via fe80::2 dev lte"));
    for (uint8_t family = 4; family <= 6; family += 2) {
        assert_int_equal(routes_refuse(lab.routes, family), 0);
        assert_int_equal(routes_follow(lab.routes, family, NULL), 0);
    }
    assert_int_equal(count_ours(), before);
    teardown(&lab);
}

/* How many routes the kernel has told of as deleted. */
static int count_deletions(struct mnl_socket *nl)
{
    char buffer[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
    ssize_t len;
    int n = 0;

    while ((len = recv(mnl_socket_get_fd(nl), buffer, sizeof(buffer), MSG_DONTWAIT)) > 0) {
        int left = (int)len;
        const struct nlmsghdr *nlh = (void *)buffer;
        for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
            n += nlh->nlmsg_type == RTM_DELROUTE;
    }
    return n;
}

static void follows_another_uplink_without_a_gap(void **state)
{
    struct lab lab;
    struct mnl_socket *nl;

    setup(&lab);
    nl = mnl_socket_open(NETLINK_ROUTE);
    assert_non_null(nl);
    assert_int_equal(mnl_socket_bind(nl, RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE, 0), 0);
    assert_int_equal(routes_follow(lab.routes, 4, &lab.dsl), 0);
    assert_int_equal(routes_follow(lab.routes, 6, &lab.dsl), 0);
    int once = count_ours();
    /* From a gateway to a link without one, and back: for IPv6, routes of two kinds. */
    lab.lte.v4.gateway.family = lab.lte.v6.gateway.family = 0;
    for (int i = 0; i < 3; i++) {
        const struct uplink *next = i % 2 ? &lab.dsl : &lab.lte;
        assert_int_equal(routes_follow(lab.routes, 4, next), 0);
        assert_int_equal(routes_follow(lab.routes, 6, next), 0);
        assert_int_equal(routes_follow(lab.routes, 6, next), 0);
        assert_int_equal(count_ours(), once);
        assert_true(leads("203.0.113.1", i % 2 ? "dev dsl" : "dev lte"));
        assert_true(leads("2001:db8:9::1", i % 2 ? "dev dsl" : "dev lte"));
    }
    assert_int_equal(count_deletions(nl), 0);
    assert_int_equal(routes_follow(lab.routes, 4, NULL), 0);
    assert_int_equal(count_deletions(nl), 1);
    mnl_socket_close(nl);
    teardown(&lab);
}

/* With its interface the kernel drops the route, and the main table decides until we know. */
static void the_followed_interface_goes(void **state)
{
    struct lab lab;

    setup(&lab);
    assert_int_equal(routes_follow(lab.routes, 4, &lab.lte), 0);
    netns_run("ip link set lte down");
    assert_true(leads("203.0.113.1", "via 192.0.2.1 dev dsl"));
    netns_run("ip link set lte up");
    assert_int_equal(routes_follow(lab.routes, 4, &lab.lte), 0);
    assert_true(leads("203.0.113.1", "via 198.51.100.1 dev lte"));
    netns_run("ip link del lte");
    assert_true(routes_follow(lab.routes, 4, &lab.lte) < 0);
    assert_int_equal(count_ours(), 0);
    teardown(&lab);
}

static void interception_on_and_off(void **state)
{
    struct lab lab;

    setup(&lab);
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_int_equal(count_ours(), 6); /* a rule for each LAN interface, a route; both families */
    assert_true(leads("203.0.113.1 from 10.0.0.7 iif lan mark 0x40000", "^local"));
    assert_true(leads("2001:db8:9::1 from fd00::7 iif lan mark 0x40000", "^local"));
    assert_false(leads("203.0.113.1 from 10.0.0.7 iif lan mark 0x80000", "^local"));
    assert_false(leads("203.0.113.1 mark 0x40000", "^local"));
    assert_int_equal(routes_intercept(lab.routes, false), 0);
    assert_int_equal(routes_intercept(lab.routes, false), 0);
    assert_int_equal(count_ours(), 0);
    teardown(&lab);
}

/* A rule without a priority comes before all that there are, as wg-quick's. */
static void interception_stays_in_front(void **state)
{
    static const char v4[] = "203.0.113.1 from 10.0.0.7 iif lan mark 0x40000";
    static const char v6[] = "2001:db8:9::1 from fd00::7 iif lan mark 0x40000";
    struct lab lab;

    setup(&lab);
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    netns_run(
        "ip rule add not fwmark 51820 table 51820 && ip rule add priority 2000 table 51820 && "
        "ip route add default dev lte table 51820 && ip -6 rule add priority 990 table 51820 && "
        "ip -6 route add default dev lte table 51820");
    assert_false(leads(v4, "^local") || leads(v6, "^local"));
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_true(leads(v4, "^local") && leads(v6, "^local"));
    netns_run("ip rule del priority 999 && ip -6 rule del priority 990");
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    netns_run(
        "ip rule | grep -q '^1000:.*lookup 7170' && ip -6 rule | grep -q '^1000:.*lookup 7170'");
    assert_int_equal(count_ours(), 6);
    netns_run("ip rule add priority 1 table 51820");
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_true(leads(v4, "^local") && leads(v6, "^local"));
    assert_int_equal(routes_intercept(lab.routes, false), 0);
    assert_int_equal(count_ours(), 0);
    teardown(&lab);
}

/* The table marks packets as the old configuration asks until it has followed; from then on as the
 * new one asks. */
static void another_configuration(void **state)
{
    struct lab lab;

    setup(&lab);
    struct gateway_config next = lab.config;
    char interfaces[2][INTERFACE_NAME];
    memcpy(interfaces[0], lab.config.lan_interfaces[0], INTERFACE_NAME);
    strcpy(interfaces[1], "attic");
    next.lan_interfaces = interfaces;
    next.n_lan_interfaces = 2;
    assert_int_equal(routes_reload(lab.routes, &next), 0); /* not intercepting */
    assert_int_equal(count_ours(), 0);
    assert_int_equal(routes_reload(lab.routes, &lab.config), 0);
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_int_equal(count_ours(), 6);
    assert_int_equal(routes_reload(lab.routes, &next), 0);
    assert_int_equal(count_ours(), 8);
    assert_int_equal(routes_forget(lab.routes, &lab.config), 0);
    assert_int_equal(count_ours(), 6);
    assert_true(leads("203.0.113.1 from 10.0.0.7 iif lan mark 0x40000", "^local"));
    next.firewall_mark = 0x80000;
    struct gateway_config before = next;
    before.firewall_mark = 0x40000;
    assert_int_equal(routes_reload(lab.routes, &next), 0);
    assert_int_equal(routes_forget(lab.routes, &before), 0);
    assert_int_equal(count_ours(), 6);
    assert_true(leads("203.0.113.1 from 10.0.0.7 iif lan mark 0x80000", "^local"));
    assert_int_equal(routes_intercept(lab.routes, false), 0);
    assert_int_equal(count_ours(), 0);
    teardown(&lab);
}

static void removes_all_of_ours_and_nothing_else(void **state)
{
    struct lab lab;

    setup(&lab);
    netns_run("ip rule add from 10.9.9.9 table 7172 priority 1002 && "
              "ip route add 10.77.0.0/16 dev lan table 7172 && "
              "ip -6 rule add from fd99::1 table 7172 priority 1002");
    netns_run("(ip rule; ip -6 rule; ip route show table all; ip -6 route show table all) "
              "> /tmp/test_routes.%d",
              (int)getpid());
    assert_int_equal(routes_apply(lab.routes, &lab.dsl), 0);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_int_equal(routes_follow(lab.routes, 4, &lab.lte), 0);
    assert_int_equal(routes_follow(lab.routes, 6, &lab.dsl), 0);
    netns_run("for i in $(seq 300); do echo route add 10.88.0.$i/32 dev lan table 7177 proto 171; "
              "done | head -255 | ip -batch -");
    assert_int_equal(routes_flush(), 0);
    assert_int_equal(count_ours(), 0);
    netns_run("(ip rule; ip -6 rule; ip route show table all; ip -6 route show table all) "
              "| diff /tmp/test_routes.%d - && rm /tmp/test_routes.%d",
              (int)getpid(), (int)getpid());
    /* A gateway that starts again begins by removing what an earlier one left. */
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    routes_free(lab.routes);
    assert_int_equal(routes_new(&lab.routes, &lab.config), 0);
    assert_int_equal(count_ours(), 0);
    teardown(&lab);
}

struct losses {
    int seen, suspected;
};

static void note_loss(void *arg, bool seen)
{
    struct losses *l = arg;

    l->seen += seen;
    l->suspected += !seen;
}

/* What has been told since the last time. */
static struct losses losses(struct event_base *base, struct losses *all)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
    struct losses now = *all;
    *all = (struct losses){0};
    return now;
}

static void what_others_remove_is_noticed(void **state)
{
    struct lab lab;
    struct routes_watch *watch;
    struct event_base *base = event_base_new();
    struct losses all = {0}, now;

    setup(&lab);
    assert_int_equal(routes_watch_new(&watch, base, lab.routes, note_loss, &all), 0);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_int_equal(routes_intercept(lab.routes, false), 0);
    netns_run("ip route add 10.77.0.0/16 dev lan && ip route del 10.77.0.0/16 && "
              "ip addr add 10.77.0.1/24 dev lan");
    now = losses(base, &all);
    assert_true(now.seen == 0 && now.suspected == 0);
    netns_run("ip -6 rule del priority 1002");
    now = losses(base, &all);
    assert_true(now.seen == 1 && now.suspected == 0);
    netns_run("ip route flush table 7172");
    now = losses(base, &all);
    assert_true(now.seen > 0 && now.suspected == 0);
    routes_watch_free(watch);
    event_base_free(base);
    teardown(&lab);
}

static void what_may_have_pushed_ours_aside_is_noticed(void **state)
{
    static const char *const doings[] = {"ip rule add from 10.9.9.9 table 7172 priority 1002",
                                         "ip rule del from 10.9.9.9 table 7172 priority 1002",
                                         "ip link set lo down && ip link set lo up",
                                         "ip addr add 127.0.0.2/8 dev lo"};
    struct lab lab;
    struct routes_watch *watch;
    struct event_base *base = event_base_new();
    struct losses all = {0};

    setup(&lab);
    assert_int_equal(routes_watch_new(&watch, base, lab.routes, note_loss, &all), 0);
    for (size_t i = 0; i < sizeof(doings) / sizeof(doings[0]); i++) {
        netns_run("%s", doings[i]);
        struct losses now = losses(base, &all);
        assert_true(now.seen == 0 && now.suspected == 1);
    }
    routes_watch_free(watch);
    event_base_free(base);
    teardown(&lab);
}

/* Also where of two rules of one priority only the first is gone. */
static void restores_what_is_missing(void **state)
{
    struct lab lab;
    char before[64];

    setup(&lab);
    snprintf(before, sizeof(before), "/tmp/test_routes.%d", (int)getpid());
    assert_int_equal(routes_apply(lab.routes, &lab.dsl), 0);
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    netns_run("(ip rule; ip -6 rule; ip route show table all; ip -6 route show table all) > %s",
              before);
    netns_run("ip rule del from 192.0.2.10 table main && ip -6 rule del priority 1001 && "
              "ip route flush table 7171 && ip -6 route flush table 7172");
    assert_int_equal(routes_restore(lab.routes, &lab.dsl), 0);
    assert_int_equal(routes_restore(lab.routes, &lab.lte), 0);
    netns_run("(ip rule; ip -6 rule; ip route show table all; ip -6 route show table all) "
              "| diff %s - && rm %s",
              before, before);
    teardown(&lab);
}

static void without_ipv6(void **state)
{
    struct lab lab;

    setup(&lab);
    netns_run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    assert_int_equal(routes_apply(lab.routes, &lab.lte), 0);
    assert_int_equal(routes_intercept(lab.routes, true), 0);
    assert_true(leads("203.0.113.1 from 198.51.100.10", "via 198.51.100.1 dev lte"));
    assert_true(leads("203.0.113.1 from 10.0.0.7 iif lan mark 0x40000", "^local"));
    assert_int_equal(routes_follow(lab.routes, 6, &lab.lte), 0);
    assert_int_equal(routes_intercept(lab.routes, false), 0);
    assert_int_equal(routes_flush(), 0);
    assert_int_equal(count_ours(), 0);
    teardown(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_way_out),
        cmocka_unit_test(same_network_twice),
        cmocka_unit_test(repeats_without_a_trace),
        cmocka_unit_test(follows_another_address),
        cmocka_unit_test(interface_with_another_index),
        cmocka_unit_test(unusual_gateways),
        cmocka_unit_test(what_is_not_proxied_follows),
        cmocka_unit_test(what_is_not_proxied_goes_nowhere),
        cmocka_unit_test(follows_another_uplink_without_a_gap),
        cmocka_unit_test(the_followed_interface_goes),
        cmocka_unit_test(interception_on_and_off),
        cmocka_unit_test(interception_stays_in_front),
        cmocka_unit_test(another_configuration),
        cmocka_unit_test(removes_all_of_ours_and_nothing_else),
        cmocka_unit_test(what_others_remove_is_noticed),
        cmocka_unit_test(what_may_have_pushed_ours_aside_is_noticed),
        cmocka_unit_test(restores_what_is_missing),
        cmocka_unit_test(without_ipv6),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
