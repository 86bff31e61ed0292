/* What we change in a namespace is put back to what it was before our first change. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/sysctl.h"
#include "tests/unit/netns.h"

static void assert_sysctl(const char *name, const char *expected)
{
    char value[64];

    assert_int_equal(sysctl_read(name, value, sizeof(value)), 0);
    assert_string_equal(value, expected);
}

static void reads_and_refuses(void **state)
{
    char value[64], small[4];

    assert_sysctl("net/ipv4/ip_default_ttl", "64");
    assert_int_equal(sysctl_read("net/ipv4/no_such", value, sizeof(value)), -ENOENT);
    assert_int_equal(sysctl_write("net/ipv4/no_such", "1"), -ENOENT);
    assert_int_equal(sysctl_write("net/ipv4/ip_default_ttl", "many"), -EINVAL);
    assert_int_equal(sysctl_read("net/ipv4/ip_local_port_range", small, sizeof(small)), -EOVERFLOW);
}

static void puts_back_the_first_value(void **state)
{
    struct sysctl_change change = {0};

    assert_int_equal(sysctl_set(&change, "net/ipv4/ip_default_ttl", "65"), 0);
    assert_int_equal(sysctl_set(&change, "net/ipv4/ip_default_ttl", "66"), 0);
    assert_sysctl("net/ipv4/ip_default_ttl", "66");
    assert_int_equal(sysctl_restore(&change), 0);
    assert_sysctl("net/ipv4/ip_default_ttl", "64");
    assert_int_equal(sysctl_write("net/ipv4/ip_default_ttl", "70"), 0);
    assert_int_equal(sysctl_restore(&change), 0);
    assert_sysctl("net/ipv4/ip_default_ttl", "70");
}

/* An interface takes its sysctls with it. */
static void what_has_gone_needs_no_putting_back(void **state)
{
    struct sysctl_change change = {0};

    netns_run("ip link add gone type veth peer name peer");
    assert_int_equal(sysctl_set(&change, "net/ipv4/conf/gone/rp_filter", "2"), 0);
    assert_true(change.changed);
    netns_run("ip link del gone");
    assert_int_equal(sysctl_restore(&change), 0);
}

static void leaves_alone_what_is_right(void **state)
{
    struct sysctl_change change = {0};

    assert_int_equal(sysctl_write("net/ipv4/ip_local_port_range", "2000\t3000"), 0);
    assert_int_equal(sysctl_set(&change, "net/ipv4/ip_local_port_range", "2000 3000"), 0);
    assert_false(change.changed);
    assert_int_equal(sysctl_set(&change, "net/ipv4/ip_local_port_range", "2000 4000"), 0);
    assert_true(change.changed);
    assert_int_equal(sysctl_restore(&change), 0);
    assert_sysctl("net/ipv4/ip_local_port_range", "2000 3000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_refuses),
        cmocka_unit_test(puts_back_the_first_value),
        cmocka_unit_test(what_has_gone_needs_no_putting_back),
        cmocka_unit_test(leaves_alone_what_is_right),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
