/* Which LANs the filtering of bridged packets hinders: those on a bridge, also by a VLAN of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/sysctl.h"
#include "gateway/bridges.h"
#include "tests/unit/netns.h"

#define V4 "net/bridge/bridge-nf-call-iptables"
#define V6 "net/bridge/bridge-nf-call-ip6tables"

static char lans[2][INTERFACE_NAME];
static bool has_vlans; /* the kernel */

/* For a LAN of these interfaces. */
static const char *hindrance(const char *first, const char *second)
{
    struct gateway_config config = {.lan_interfaces = lans, .n_lan_interfaces = second ? 2 : 1};

    strcpy(lans[0], first);
    strcpy(lans[1], second ? second : "");
    return bridges_hindrance(&config);
}

static void filter(const char *v4, const char *v6)
{
    assert_int_equal(sysctl_write(V4, v4), 0);
    assert_int_equal(sysctl_write(V6, v6), 0);
}

static int raise_interfaces(void **state)
{
    netns_enter();
    netns_veth("card", netns_new(), "card");
    netns_run("ip link add bridge type bridge");
    has_vlans = netns_try("ip link add link bridge name bridge.7 type vlan id 7 && "
                          "ip link add link bridge.7 name bridge.7.8 type vlan id 8 && "
                          "ip link add link card name card.7 type vlan id 7");
    return 0;
}

static void bridges_are_hindered(void **state)
{
    filter("1", "1");
    assert_string_equal(hindrance("bridge", NULL), V4);
    assert_string_equal(hindrance("card", "bridge"), V4);
    if (has_vlans) {
        assert_string_equal(hindrance("bridge.7", NULL), V4);
        assert_string_equal(hindrance("bridge.7.8", NULL), V4);
    }
    filter("0", "1");
    assert_string_equal(hindrance("bridge", NULL), V6);
}

static void others_are_not(void **state)
{
    filter("1", "1");
    assert_null(hindrance("card", NULL));
    assert_null(hindrance("card", "card.7"));
    assert_null(hindrance("nosuch", NULL));
    filter("0", "0");
    assert_null(hindrance("bridge", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bridges_are_hindered),
        cmocka_unit_test(others_are_not),
    };

    if (access("/proc/sys/" V4, F_OK) == -1)
        return 77; /* this kernel filters no bridges */
    return cmocka_run_group_tests(tests, raise_interfaces, NULL);
}
