/* The own addresses, as the kernel has them, in a network namespace of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "concentrator/own_addresses.h"
#include "tests/unit/netns.h"

static bool has(const struct own_addresses *own, const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse_ip(&a, text), 0);
    for (size_t i = 0; i < own->n; i++) {
        if (addr_equal_ip(&own->list[i], &a))
            return true;
    }
    return false;
}

static void of_both_families_and_secondary_ones(void **state)
{
    struct own_addresses own = {0};

    netns_run("ip address add 198.51.100.1/24 dev lo");
    netns_run("ip address add 198.51.100.2/24 dev lo");
    netns_run("ip address add 2001:db8::1/64 dev lo");
    assert_int_equal(own_addresses_renew(&own, 1), 0);
    assert_int_equal(own.n, 5);
    assert_true(has(&own, "127.0.0.1") && has(&own, "::1"));
    assert_true(has(&own, "198.51.100.1") && has(&own, "198.51.100.2"));
    assert_true(has(&own, "2001:db8::1"));
    own_addresses_clear(&own);
}

static void of_an_interface_that_is_down(void **state)
{
    struct own_addresses own = {0};

    netns_run(
        "ip link add asleep type veth peer name awake; ip address add 198.51.100.9 dev asleep");
    assert_int_equal(own_addresses_renew(&own, 1), 0);
    assert_true(has(&own, "198.51.100.9"));
    own_addresses_clear(&own);
}

static void however_many(void **state)
{
    struct own_addresses own = {0};

    netns_run(
        "for i in $(seq 1 200); do echo address add 203.0.113.$i/32 dev lo; done | ip -batch -");
    assert_int_equal(own_addresses_renew(&own, 1), 0);
    assert_true(own.n > 200);
    assert_true(has(&own, "203.0.113.1") && has(&own, "203.0.113.200"));
    own_addresses_clear(&own);
}

static void read_again_after_two_seconds(void **state)
{
    struct own_addresses own = {0};

    assert_int_equal(own_addresses_renew(&own, 1), 0);
    netns_run("ip address add 192.0.2.7/32 dev lo");
    assert_int_equal(own_addresses_renew(&own, OWN_ADDRESSES_RENEW_MS), 0);
    assert_false(has(&own, "192.0.2.7"));
    assert_int_equal(own_addresses_renew(&own, OWN_ADDRESSES_RENEW_MS + 1), 0);
    assert_true(has(&own, "192.0.2.7"));
    own_addresses_clear(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_both_families_and_secondary_ones),
        cmocka_unit_test(of_an_interface_that_is_down),
        cmocka_unit_test(however_many),
        cmocka_unit_test(read_again_after_two_seconds),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
