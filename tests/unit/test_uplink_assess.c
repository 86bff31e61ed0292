/* What follows from what the kernel says of an interface: up or down, by which address and gateway,
 * and in which words a person is told. */
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/uplink_snapshot.h"

#define ALIVE (IFF_UP | IFF_RUNNING | IFF_LOWER_UP)

static struct uplink_config config;
static struct uplink uplink;
static struct uplink_snapshot snapshot;

static int setup(void **state)
{
    memset(&config, 0, sizeof(config));
    memset(&uplink, 0, sizeof(uplink));
    memset(&snapshot, 0, sizeof(snapshot));
    strcpy(config.interface, "wan");
    uplink.config = &config;
    return 0;
}

static struct addr ip(const char *text)
{
    struct addr a = {0};

    if (text[0])
        assert_int_equal(addr_parse_ip(&a, text), 0);
    return a;
}

static struct snapshot_link *link_up(const char *name, uint32_t ifindex, uint32_t flags)
{
    struct snapshot_link *link = &snapshot.links[snapshot.n_links++];

    strcpy(link->name, name);
    link->ifindex = ifindex;
    link->flags = flags;
    return link;
}

static struct snapshot_address *address(uint32_t ifindex, const char *text, uint32_t flags)
{
    struct snapshot_address *a = &snapshot.addresses[snapshot.n_addresses++];

    a->ifindex = ifindex;
    a->address = ip(text);
    a->prefix = a->address.family == 6 ? 64 : 24;
    a->flags = flags;
    return a;
}

static struct snapshot_route *route(uint32_t ifindex, uint8_t family, const char *gateway,
                                    uint32_t metric)
{
    struct snapshot_route *r = &snapshot.routes[snapshot.n_routes++];

    r->ifindex = ifindex;
    r->family = family;
    r->gateway = ip(gateway);
    r->metric = metric;
    return r;
}

static void assert_down(uint8_t family, const char *reason)
{
    uplink_assess(&uplink, &snapshot, family);
    assert_int_equal(uplink.state, UPLINK_DOWN);
    assert_string_equal(uplink.reason, reason);
    assert_false(uplink_usable(&uplink, 4) || uplink_usable(&uplink, 6));
}

static void assert_up(uint8_t family, uint8_t by, const char *from, const char *gateway)
{
    char text[ADDR_TEXT];

    uplink_assess(&uplink, &snapshot, family);
    assert_string_equal(uplink.reason, "");
    assert_int_equal(uplink.state, UPLINK_UP);
    assert_true(uplink_usable(&uplink, by));
    assert_string_equal(addr_format_ip(&uplink_route(&uplink, by)->address, text), from);
    if (gateway[0])
        assert_string_equal(addr_format_ip(&uplink_route(&uplink, by)->gateway, text), gateway);
    else
        assert_int_equal(uplink_route(&uplink, by)->gateway.family, 0);
}

static void each_step_to_up(void **state)
{
    assert_down(4, "no such interface");
    assert_int_equal(uplink.ifindex, 0);
    struct snapshot_link *link = link_up("wan", 3, 0);
    link_up("other", 4, ALIVE);
    assert_down(4, "interface is down");
    assert_int_equal(uplink.ifindex, 3);
    link->flags = IFF_UP;
    assert_down(4, "no carrier");
    assert_false(uplink.carrier);
    link->flags = ALIVE;
    address(4, "192.0.2.99", 0);
    route(4, 4, "192.0.2.1", 0);
    assert_down(4, "no IPv4 address");
    assert_down(6, "no IPv6 address");
    assert_down(0, "no address");
    assert_true(uplink.carrier);
    address(3, "192.0.2.10", 0);
    assert_down(4, "no default route by wan; set gateway");
    assert_down(6, "no IPv6 address");
    route(3, 4, "192.0.2.1", 0);
    assert_up(4, 4, "192.0.2.10", "192.0.2.1");
    assert_int_equal(uplink.v4.prefix, 24);
    assert_up(0, 4, "192.0.2.10", "192.0.2.1");
    assert_down(6, "no IPv6 address");
    address(3, "2001:db8::10", 0);
    assert_down(6, "no IPv6 default route by wan; set gateway6");
    route(3, 6, "fe80::1", 1024);
    assert_up(6, 6, "2001:db8::10", "fe80::1");
    assert_true(uplink_usable(&uplink, 4));
}

/* It keeps its address, for when it may be used again. */
static void one_that_may_not_be_used(void **state)
{
    link_up("wan", 3, ALIVE);
    address(3, "192.0.2.10", 0);
    route(3, 4, "192.0.2.1", 0);
    uplink.barred = true;
    assert_down(4, "its data budget is used up");
    assert_true(uplink.carrier);
    assert_true(uplink.v4.address.family == 4);
    uplink.barred = false;
    assert_up(4, 4, "192.0.2.10", "192.0.2.1");
    snapshot.links[0].flags = IFF_UP;
    uplink.barred = true;
    assert_down(4, "no carrier");
}

static void forgets_nothing_it_needs_when_carrier_goes(void **state)
{
    struct snapshot_link *link = link_up("wan", 3, ALIVE);

    address(3, "192.0.2.10", 0);
    route(3, 4, "192.0.2.1", 0);
    assert_up(4, 4, "192.0.2.10", "192.0.2.1");
    link->flags = IFF_UP;
    assert_down(4, "no carrier");
    assert_false(uplink.v4.usable);
    link->flags = ALIVE;
    link->ifindex = 9;
    assert_down(4, "no IPv4 address");
    snapshot.addresses[0].ifindex = snapshot.routes[0].ifindex = 9;
    assert_up(4, 4, "192.0.2.10", "192.0.2.1");
    assert_int_equal(uplink.ifindex, 9);
}

static void prefers_the_better_address(void **state)
{
    link_up("wan", 3, ALIVE);
    route(3, 4, "192.0.2.1", 0);
    route(3, 6, "fe80::1", 0);
    address(3, "192.0.2.11", IFA_F_SECONDARY);
    address(3, "192.0.2.10", 0);
    address(3, "192.0.2.12", 0);
    assert_up(4, 4, "192.0.2.10", "192.0.2.1");

    address(3, "2001:db8::1", IFA_F_TENTATIVE);
    address(3, "2001:db8::2", IFA_F_DADFAILED | IFA_F_PERMANENT);
    address(3, "fe80::3", 0)->scope = RT_SCOPE_LINK;
    assert_down(6, "no IPv6 address");
    address(3, "2001:db8::4", IFA_F_DEPRECATED);
    assert_up(6, 6, "2001:db8::4", "fe80::1");
    address(3, "fd00::5", 0);
    assert_up(6, 6, "fd00::5", "fe80::1");
    address(3, "2001:db8::6", IFA_F_TEMPORARY);
    assert_up(6, 6, "2001:db8::6", "fe80::1");
    address(3, "2001:db8::7", IFA_F_TENTATIVE | IFA_F_OPTIMISTIC);
    assert_up(6, 6, "2001:db8::7", "fe80::1");
}

static void never_from_a_self_assigned_address(void **state)
{
    link_up("wan", 3, ALIVE);
    route(3, 4, "", 0);
    address(3, "169.254.7.7", 0);
    assert_down(4, "no IPv4 address");
    address(3, "192.0.2.10", 0)->scope = RT_SCOPE_LINK;
    assert_down(4, "no IPv4 address");
}

/* Running connections live on their address: another that is as good must not displace it. */
static void keeps_its_address(void **state)
{
    link_up("wan", 3, ALIVE);
    route(3, 6, "fe80::1", 0);
    address(3, "2001:db8::10", 0);
    assert_up(6, 6, "2001:db8::10", "fe80::1");
    snapshot.addresses[0].address = ip("2001:db8::20");
    address(3, "2001:db8::10", 0);
    assert_up(6, 6, "2001:db8::10", "fe80::1");
    snapshot.addresses[1].flags = IFA_F_DEPRECATED;
    assert_up(6, 6, "2001:db8::20", "fe80::1");
}

static void finds_the_gateway(void **state)
{
    struct snapshot_link *link = link_up("wan", 3, ALIVE);

    address(3, "192.0.2.10", 0);
    route(3, 4, "192.0.2.1", 100);
    route(3, 4, "192.0.2.2", 10);
    route(4, 4, "192.0.2.3", 0);
    route(3, 6, "fe80::1", 0);
    assert_up(4, 4, "192.0.2.10", "192.0.2.2");
    config.gateway = ip("198.51.100.1");
    assert_up(4, 4, "192.0.2.10", "198.51.100.1");
    snapshot.n_routes = 0;
    assert_up(4, 4, "192.0.2.10", "198.51.100.1");
    config.gateway.family = 0;
    assert_down(4, "no default route by wan; set gateway");
    route(3, 4, "", 0);
    assert_up(4, 4, "192.0.2.10", "");
    snapshot.n_routes = 0;
    link->flags |= IFF_POINTOPOINT | IFF_NOARP;
    assert_up(4, 4, "192.0.2.10", "");
    link->flags = ALIVE | IFF_NOARP;
    assert_up(4, 4, "192.0.2.10", "");
    route(3, 4, "192.0.2.9", 0);
    assert_up(4, 4, "192.0.2.10", "192.0.2.9");
}

/* OpenWrt's IPv6 default routes hold only for sources of the prefix they came with. */
static void heeds_routes_for_certain_sources(void **state)
{
    link_up("wan", 3, ALIVE);
    address(3, "2001:db8:1::10", 0);
    struct snapshot_route *r = route(3, 6, "fe80::1", 1);
    assert_int_equal(cidr_parse(&r->from, "2001:db8:2::/48"), 0);
    assert_down(6, "no IPv6 default route by wan; set gateway6");
    r = route(3, 6, "fe80::2", 512);
    assert_int_equal(cidr_parse(&r->from, "2001:db8:1::/48"), 0);
    assert_up(6, 6, "2001:db8:1::10", "fe80::2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_step_to_up, setup),
        cmocka_unit_test_setup(one_that_may_not_be_used, setup),
        cmocka_unit_test_setup(forgets_nothing_it_needs_when_carrier_goes, setup),
        cmocka_unit_test_setup(prefers_the_better_address, setup),
        cmocka_unit_test_setup(never_from_a_self_assigned_address, setup),
        cmocka_unit_test_setup(keeps_its_address, setup),
        cmocka_unit_test_setup(finds_the_gateway, setup),
        cmocka_unit_test_setup(heeds_routes_for_certain_sources, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
