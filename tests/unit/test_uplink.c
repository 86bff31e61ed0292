/* Uplinks followed in a live namespace: cables pulled, addresses and routes that come, go and
 * change, an interface that is taken away and comes back. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "gateway/uplink.h"
#include "tests/unit/netns.h"

struct lab {
    struct gateway_config config;
    struct event_base *base;
    struct uplinks *uplinks;
    int far;
    int changes, disturbances;
    struct uplink before;
};

static void on_changed(void *arg, const struct uplink *before, const struct uplink *now)
{
    struct lab *lab = arg;

    lab->changes++;
    lab->disturbances += memcmp(before, now, sizeof(*now)) == 0;
    if (memcmp(before, now, sizeof(*now)) != 0)
        lab->before = *before;
    assert_true(now == uplinks_get(lab->uplinks, now->index));
}

static void setup(struct lab *lab, uint8_t family)
{
    memset(lab, 0, sizeof(*lab));
    netns_enter();
    lab->far = netns_new();
    netns_veth("dsl", lab->far, "dsl");
    netns_run("ip addr add 192.0.2.10/24 dev dsl && ip route add default via 192.0.2.1");
    strcpy(lab->config.uplinks[0].name, "one");
    strcpy(lab->config.uplinks[0].interface, "dsl");
    strcpy(lab->config.uplinks[1].name, "two");
    strcpy(lab->config.uplinks[1].interface, "lte");
    lab->config.n_uplinks = 2;
    lab->base = event_base_new();
    assert_int_equal(uplinks_new(&lab->uplinks, lab->base, &lab->config, family, on_changed, lab),
                     0);
}

static void teardown(struct lab *lab)
{
    uplinks_free(lab->uplinks);
    event_base_free(lab->base);
    close(lab->far);
}

static void await_reason(struct lab *lab, size_t index, const char *reason)
{
    struct netns_wait wait = {0};

    while (strcmp(uplinks_get(lab->uplinks, index)->reason, reason) != 0) {
        event_base_loop(lab->base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
}

static void await_address(struct lab *lab, size_t index, uint8_t family, const char *expected)
{
    struct netns_wait wait = {0};
    char text[ADDR_TEXT];

    for (;;) {
        const struct uplink *u = uplinks_get(lab->uplinks, index);
        if (uplink_usable(u, family) &&
            strcmp(addr_format_ip(&uplink_route(u, family)->address, text), expected) == 0)
            return;
        event_base_loop(lab->base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
}

static void await_gateway(struct lab *lab, size_t index, uint8_t family, const char *expected)
{
    struct netns_wait wait = {0};
    char text[ADDR_TEXT];

    for (;;) {
        const struct addr *gateway =
            &uplink_route(uplinks_get(lab->uplinks, index), family)->gateway;
        if (gateway->family && strcmp(addr_format_ip(gateway, text), expected) == 0)
            return;
        event_base_loop(lab->base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
}

/* Nothing more to do: what was scheduled has run. */
static void settle(struct lab *lab)
{
    struct netns_wait wait = {0};
    uint64_t until = clock_now_ms() + 60;

    while (clock_now_ms() < until) {
        event_base_loop(lab->base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
}

static void knows_the_state_at_once(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    assert_int_equal(uplinks_count(lab.uplinks), 2);
    assert_null(uplinks_get(lab.uplinks, 2));
    const struct uplink *one = uplinks_get(lab.uplinks, 0), *two = uplinks_get(lab.uplinks, 1);
    assert_true(uplink_usable(one, 4));
    assert_int_equal(one->ifindex, if_nametoindex("dsl"));
    assert_int_equal(one->v4.prefix, 24);
    assert_int_equal(one->address_id, 1);
    assert_int_equal(two->address_id, 2);
    assert_string_equal(two->reason, "no such interface");
    assert_int_equal(lab.changes, 0);
    teardown(&lab);
}

static void cable_out_and_in(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    int before = netns_switch(lab.far);
    netns_run("ip link set dsl down");
    await_reason(&lab, 0, "no carrier");
    assert_int_equal(lab.before.state, UPLINK_UP);
    netns_run("ip link set dsl up");
    netns_back(before);
    await_address(&lab, 0, 4, "192.0.2.10");
    netns_run("ip link set dsl down");
    await_reason(&lab, 0, "interface is down");
    netns_run("ip link set dsl up");
    await_reason(&lab, 0, "no default route by dsl; set gateway");
    netns_run("ip route add default via 192.0.2.1");
    await_address(&lab, 0, 4, "192.0.2.10");
    teardown(&lab);
}

static void another_address_and_gateway(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    netns_run("ip addr add 198.51.100.7/25 dev dsl && ip addr del 192.0.2.10/24 dev dsl && "
              "ip route replace default via 198.51.100.1");
    await_address(&lab, 0, 4, "198.51.100.7");
    await_gateway(&lab, 0, 4, "198.51.100.1");
    assert_int_equal(uplinks_get(lab.uplinks, 0)->v4.prefix, 25);
    netns_run("ip route replace default via 198.51.100.2");
    await_gateway(&lab, 0, 4, "198.51.100.2");
    netns_run("ip addr flush dev dsl");
    await_reason(&lab, 0, "no IPv4 address");
    teardown(&lab);
}

static void interface_vanishes_and_returns(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    netns_veth("lte", lab.far, "lte");
    await_reason(&lab, 1, "no IPv4 address");
    uint32_t was = uplinks_get(lab.uplinks, 1)->ifindex;
    netns_run("ip link del lte");
    await_reason(&lab, 1, "no such interface");
    netns_veth("other", lab.far, "other");
    netns_veth("lte", lab.far, "lte");
    netns_run("ip addr add 203.0.113.9/30 dev lte && ip route add default dev lte metric 9");
    await_address(&lab, 1, 4, "203.0.113.9");
    assert_true(uplinks_get(lab.uplinks, 1)->ifindex != was);
    assert_int_equal(uplinks_get(lab.uplinks, 1)->v4.gateway.family, 0);
    netns_run("ip link set lte down && ip link set lte name usb0");
    await_reason(&lab, 1, "no such interface");
    teardown(&lab);
}

/* What our own routes say must not be taken for the router's. */
/* One stays under another name, one is removed, one is added: each index is one uplink's. */
static void another_configuration(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    struct gateway_config next = {.n_uplinks = 3};
    strcpy(next.uplinks[0].name, "home");
    strcpy(next.uplinks[0].interface, "dsl");
    next.uplinks[0].rank = 1;
    strcpy(next.uplinks[2].name, "cable");
    strcpy(next.uplinks[2].interface, "cable");
    netns_veth("cable", lab.far, "cable");
    netns_run("ip addr add 198.51.100.10/24 dev cable && ip route add default via 198.51.100.1 "
              "metric 9");
    settle(&lab);
    lab.changes = 0;
    uplinks_reload(lab.uplinks, &next, 4);
    assert_int_equal(lab.changes, 2);
    uint8_t order[UPLINKS_MAX];
    assert_int_equal(uplinks_in_order(lab.uplinks, order), 2);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 0);
    const struct uplink *one = uplinks_get(lab.uplinks, 0), *two = uplinks_get(lab.uplinks, 1);
    assert_true(uplink_usable(one, 4));
    assert_string_equal(one->config->name, "home");
    assert_false(uplink_exists(two) || uplink_usable(two, 4));
    assert_true(uplink_usable(uplinks_get(lab.uplinks, 2), 4));
    assert_int_equal(uplinks_get(lab.uplinks, 2)->address_id, 3);
    teardown(&lab);
}

static void ignores_what_is_not_its_way(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    netns_veth("lte", lab.far, "lte");
    netns_run("ip addr add 203.0.113.9/24 dev lte");
    await_reason(&lab, 1, "no default route by lte; set gateway");
    netns_run("ip route add default via 203.0.113.1 table 100");
    netns_run("ip route add default via 203.0.113.1 metric 5 proto 171");
    netns_run("ip route add unreachable default metric 6");
    settle(&lab);
    assert_string_equal(uplinks_get(lab.uplinks, 1)->reason,
                        "no default route by lte; set gateway");
    netns_run("ip route add default metric 7 nexthop via 192.0.2.1 nexthop via 203.0.113.2");
    await_gateway(&lab, 1, 4, "203.0.113.2");
    await_gateway(&lab, 0, 4, "192.0.2.1");
    teardown(&lab);
}

static void follows_ipv6(void **state)
{
    struct lab lab;

    setup(&lab, 6);
    assert_string_equal(uplinks_get(lab.uplinks, 0)->reason, "no IPv6 address");
    netns_run("ip addr add 2001:db8::10/64 dev dsl && ip route add default via fe80::1 dev dsl");
    await_address(&lab, 0, 6, "2001:db8::10");
    await_gateway(&lab, 0, 6, "fe80::1");
    netns_run("ip -6 route del default && "
              "ip route add default from 2001:db8::/48 via fe80::2 dev dsl");
    await_gateway(&lab, 0, 6, "fe80::2");
    netns_run("ip addr add 2001:db8::20/64 dev dsl nodad && "
              "ip addr change 2001:db8::10/64 dev dsl preferred_lft 0 valid_lft 100");
    await_address(&lab, 0, 6, "2001:db8::20");
    teardown(&lab);
}

/* As pppd or a modem makes it: no gateway, no default route, and none needed. */
static void point_to_point(void **state)
{
    struct ifreq request = {.ifr_name = "lte", .ifr_flags = IFF_TUN | IFF_NO_PI};
    struct lab lab;

    setup(&lab, 4);
    netns_run("ip tuntap add mode tun name lte && ip link set lte up && "
              "ip addr add 100.64.3.4 peer 100.64.0.1 dev lte");
    await_reason(&lab, 1, "no carrier");
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    await_address(&lab, 1, 4, "100.64.3.4");
    assert_int_equal(uplinks_get(lab.uplinks, 1)->v4.gateway.family, 0);
    close(fd);
    await_reason(&lab, 1, "no carrier");
    teardown(&lab);
}

/* Down and up again faster than we look: nothing seems to have changed, but the kernel has dropped
 * the routes, and who made them must hear of it. */
static void hears_of_a_quick_flap(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    settle(&lab);
    lab.changes = lab.disturbances = 0;
    netns_run("ip link set dsl down && ip link set dsl up && ip route add default via 192.0.2.1");
    struct netns_wait wait = {0};
    while (lab.changes == 0) {
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
    assert_true(uplink_usable(uplinks_get(lab.uplinks, 0), 4));
    assert_int_equal(lab.disturbances, lab.changes);
    teardown(&lab);
}

/* A busy LAN must not keep us looking. */
static void sleeps_while_others_change(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    netns_veth("lan", lab.far, "lan");
    settle(&lab);
    lab.changes = 0;
    netns_run("ip addr add 10.0.0.1/24 dev lan && ip route add 10.9.0.0/16 via 10.0.0.2 && "
              "ip link set lan down");
    event_base_loop(lab.base, EVLOOP_NONBLOCK);
    assert_int_equal(event_base_get_num_events(lab.base, EVENT_BASE_COUNT_ADDED), 1);
    assert_int_equal(lab.changes, 0);
    teardown(&lab);
}

static void counts_what_is_carried(void **state)
{
    struct lab lab;
    struct uplink_counters before, after;

    setup(&lab, 4);
    const struct uplink *dsl = uplinks_get(lab.uplinks, 0), *none = uplinks_get(lab.uplinks, 1);
    assert_int_equal(uplinks_read_counters(lab.uplinks, dsl, &before), 0);
    netns_run("ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev dsl");
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &to.sin_addr), 1);
    static char thousand[1000];
    assert_int_equal(sendto(fd, thousand, sizeof(thousand), 0, (void *)&to, sizeof(to)), 1000);
    close(fd);
    assert_int_equal(uplinks_read_counters(lab.uplinks, dsl, &after), 0);
    assert_true(after.tx_bytes - before.tx_bytes >= 1042);
    assert_true(after.tx_packets > before.tx_packets);
    assert_int_equal(uplinks_read_counters(lab.uplinks, none, &after), -ENODEV);
    teardown(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_state_at_once),
        cmocka_unit_test(cable_out_and_in),
        cmocka_unit_test(another_address_and_gateway),
        cmocka_unit_test(interface_vanishes_and_returns),
        cmocka_unit_test(another_configuration),
        cmocka_unit_test(ignores_what_is_not_its_way),
        cmocka_unit_test(follows_ipv6),
        cmocka_unit_test(point_to_point),
        cmocka_unit_test(hears_of_a_quick_flap),
        cmocka_unit_test(sleeps_while_others_change),
        cmocka_unit_test(counts_what_is_carried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
