/* Egress rules: every denied range, at both of its ends and just outside, in every form in which
 * IPv6 can carry an IPv4 address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "concentrator/egress.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct addr ip(const char *text)
{
    struct addr a;

    if (addr_parse_ip(&a, text) < 0)
        fail_msg("bad address in the test: %s", text);
    a.port = 443;
    return a;
}

static enum egress_verdict check(const struct egress_policy *policy, const char *text)
{
    struct addr a = ip(text);

    return egress_check(policy, &a);
}

/* The first and last address of each denied range, and their neighbours outside. NULL: the
 * neighbour lies in another denied range, or there is none. */
static const struct {
    const char *before, *first, *last, *after;
} ranges4[] = {
    {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
    {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
    {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
    {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
    {"223.255.255.255", "224.0.0.0", "255.255.255.255", NULL},
    {"168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"},
};

static const struct {
    const char *before, *first, *last, *after;
} ranges6[] = {
    {NULL, "::", "::1", NULL},
    {"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "fe00::"},
    {"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     NULL},
    {NULL, "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
    {NULL, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
    {"64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
     "64:ff9b:2::"},
    {"::fffe:ffff:808:808", "::ffff:0:0:0", "::ffff:0:ffff:ffff", "::ffff:1:0:0"},
};

/* Ways to write an IPv4 address as an IPv6 one; the Teredo client's is inverted. */
static void wrap_mapped(const uint8_t v4[4], char *out, size_t len)
{
    snprintf(out, len, "::ffff:%u.%u.%u.%u", v4[0], v4[1], v4[2], v4[3]);
}
static void wrap_compatible(const uint8_t v4[4], char *out, size_t len)
{
    snprintf(out, len, "::%02x%02x:%02x%02x", v4[0], v4[1], v4[2], v4[3]);
}
static void wrap_nat64(const uint8_t v4[4], char *out, size_t len)
{
    snprintf(out, len, "64:ff9b::%02x%02x:%02x%02x", v4[0], v4[1], v4[2], v4[3]);
}
static void wrap_6to4(const uint8_t v4[4], char *out, size_t len)
{
    snprintf(out, len, "2002:%02x%02x:%02x%02x:1:2:3:4:5", v4[0], v4[1], v4[2], v4[3]);
}
static void wrap_teredo(const uint8_t v4[4], char *out, size_t len)
{
    snprintf(out, len, "2001:0:5db8:d822:8000:1234:%02x%02x:%02x%02x", 255 - v4[0], 255 - v4[1],
             255 - v4[2], 255 - v4[3]);
}
static void (*const forms[])(const uint8_t v4[4], char *out, size_t len) = {
    wrap_mapped, wrap_compatible, wrap_nat64, wrap_6to4, wrap_teredo,
};

static void expect(const char *text, enum egress_verdict verdict)
{
    static const struct egress_policy nothing;
    enum egress_verdict got = check(&nothing, text);

    if (got != verdict)
        fail_msg("%s: %s, not %s", text, egress_why(got), egress_why(verdict));
}

static void expect_in_all_forms(const char *text, enum egress_verdict verdict)
{
    struct addr a = ip(text);
    char wrapped[64];

    expect(text, verdict);
    for (size_t i = 0; i < COUNT(forms); i++) {
        forms[i](a.ip, wrapped, sizeof(wrapped));
        expect(wrapped, verdict);
    }
}

static void every_ipv4_range_in_every_form(void **state)
{
    for (size_t i = 0; i < COUNT(ranges4); i++) {
        expect_in_all_forms(ranges4[i].first, EGRESS_NOT_PUBLIC);
        expect_in_all_forms(ranges4[i].last, EGRESS_NOT_PUBLIC);
        if (ranges4[i].before)
            expect_in_all_forms(ranges4[i].before, EGRESS_ALLOWED);
        if (ranges4[i].after)
            expect_in_all_forms(ranges4[i].after, EGRESS_ALLOWED);
    }
}

static void every_ipv6_range(void **state)
{
    for (size_t i = 0; i < COUNT(ranges6); i++) {
        expect(ranges6[i].first, EGRESS_NOT_PUBLIC);
        expect(ranges6[i].last, EGRESS_NOT_PUBLIC);
        if (ranges6[i].before)
            expect(ranges6[i].before, EGRESS_ALLOWED);
        if (ranges6[i].after)
            expect(ranges6[i].after, EGRESS_ALLOWED);
    }
    expect("2606:4700::1111", EGRESS_ALLOWED);
}

static void own_addresses_in_every_form(void **state)
{
    const struct addr own[] = {ip("2606:4700::1111"), ip("1.1.1.1")};
    const struct egress_policy policy = {.own = own, .n_own = 2};
    char wrapped[64];

    assert_int_equal(check(&policy, "2606:4700::1111"), EGRESS_OWN_ADDRESS);
    assert_int_equal(check(&policy, "2606:4700::1112"), EGRESS_ALLOWED);
    assert_int_equal(check(&policy, "1.1.1.1"), EGRESS_OWN_ADDRESS);
    for (size_t i = 0; i < COUNT(forms); i++) {
        forms[i](own[1].ip, wrapped, sizeof(wrapped));
        assert_int_equal(check(&policy, wrapped), EGRESS_OWN_ADDRESS);
    }
}

static void mail_is_denied_unless_allowed(void **state)
{
    struct cidr net;
    struct addr mail = ip("8.8.8.8"), wrapped = ip("::ffff:8.8.8.8");
    struct egress_policy policy = {0};

    mail.port = wrapped.port = 25;
    assert_int_equal(egress_check(&policy, &mail), EGRESS_PORT_25);
    assert_int_equal(egress_check(&policy, &wrapped), EGRESS_PORT_25);
    assert_int_equal(cidr_parse(&net, "8.8.8.0/24"), 0);
    policy.allow_all = (struct egress_networks){&net, 1};
    assert_int_equal(egress_check(&policy, &mail), EGRESS_ALLOWED);
    assert_int_equal(egress_check(&policy, &wrapped), EGRESS_ALLOWED);
}

static void allowing_lifts_what_is_built_in(void **state)
{
    struct cidr office, loopback6;
    const struct addr own = ip("10.1.0.1");
    struct egress_policy policy = {.own = &own, .n_own = 1};

    assert_int_equal(cidr_parse(&office, "10.1.0.0/16"), 0);
    assert_int_equal(cidr_parse(&loopback6, "::1"), 0);
    policy.allow_gateway = (struct egress_networks){&office, 1};
    assert_int_equal(check(&policy, "10.1.2.3"), EGRESS_ALLOWED);
    assert_int_equal(check(&policy, "10.1.0.1"), EGRESS_ALLOWED);
    assert_int_equal(check(&policy, "::ffff:10.1.2.3"), EGRESS_ALLOWED);
    assert_int_equal(check(&policy, "64:ff9b::10.1.2.3"), EGRESS_ALLOWED);
    assert_int_equal(check(&policy, "10.2.0.0"), EGRESS_NOT_PUBLIC);
    policy.allow_all = (struct egress_networks){&loopback6, 1};
    assert_int_equal(check(&policy, "::1"), EGRESS_ALLOWED);
    assert_int_equal(check(&policy, "::"), EGRESS_NOT_PUBLIC);
    assert_int_equal(check(&policy, "127.0.0.1"), EGRESS_NOT_PUBLIC);
}

/* Who allows all of 2002::/16 has not allowed the private IPv4 addresses inside. */
static void allowing_the_outer_form_does_not_allow_the_inner(void **state)
{
    struct cidr outer;
    struct egress_policy policy = {.allow_all = {&outer, 1}};

    assert_int_equal(cidr_parse(&outer, "2002::/16"), 0);
    assert_int_equal(check(&policy, "2002:a01:203::1"), EGRESS_NOT_PUBLIC);
    assert_int_equal(check(&policy, "2002:808:808::1"), EGRESS_ALLOWED);
}

static void denying_beats_allowing(void **state)
{
    struct cidr all, one, nat64;
    struct egress_policy policy = {.allow_all = {&all, 1}, .allow_gateway = {&all, 1}};

    assert_int_equal(cidr_parse(&all, "0.0.0.0/0"), 0);
    assert_int_equal(cidr_parse(&one, "8.8.8.8"), 0);
    assert_int_equal(cidr_parse(&nat64, "64:ff9b::/96"), 0);
    policy.deny_all = (struct egress_networks){&one, 1};
    assert_int_equal(check(&policy, "8.8.8.8"), EGRESS_DENIED_HERE);
    assert_int_equal(check(&policy, "::ffff:8.8.8.8"), EGRESS_DENIED_HERE);
    assert_int_equal(check(&policy, "2002:808:808::"), EGRESS_DENIED_HERE);
    assert_int_equal(check(&policy, "8.8.8.9"), EGRESS_ALLOWED);
    policy.deny_all = (struct egress_networks){&nat64, 1};
    assert_int_equal(check(&policy, "64:ff9b::8.8.8.8"), EGRESS_DENIED_HERE);
    assert_int_equal(check(&policy, "8.8.8.8"), EGRESS_ALLOWED);
}

static void a_gateway_may_have_networks_and_ports_of_its_own(void **state)
{
    const struct port_range web[] = {{80, 80}, {8000, 8100}};
    struct cidr one, inside;
    struct addr a = ip("8.8.4.4"), office = ip("10.1.2.3");
    struct egress_policy policy = {
        .deny_gateway = {&one, 1}, .allow_gateway = {&inside, 1}, .ports = {web, COUNT(web)}};
    static const struct {
        uint16_t port;
        enum egress_verdict verdict;
    } cases[] = {{79, EGRESS_PORT_NOT_LISTED},  {80, EGRESS_ALLOWED},
                 {81, EGRESS_PORT_NOT_LISTED},  {7999, EGRESS_PORT_NOT_LISTED},
                 {8000, EGRESS_ALLOWED},        {8100, EGRESS_ALLOWED},
                 {8101, EGRESS_PORT_NOT_LISTED}};

    assert_int_equal(cidr_parse(&one, "8.8.8.8"), 0);
    assert_int_equal(cidr_parse(&inside, "10.1.0.0/16"), 0);
    assert_int_equal(check(&policy, "8.8.8.8"), EGRESS_DENIED_HERE);
    for (size_t i = 0; i < COUNT(cases); i++) {
        a.port = office.port = cases[i].port;
        assert_int_equal(egress_check(&policy, &a), cases[i].verdict);
        assert_int_equal(egress_check(&policy, &office), cases[i].verdict);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ipv4_range_in_every_form),
        cmocka_unit_test(every_ipv6_range),
        cmocka_unit_test(own_addresses_in_every_form),
        cmocka_unit_test(mail_is_denied_unless_allowed),
        cmocka_unit_test(allowing_lifts_what_is_built_in),
        cmocka_unit_test(allowing_the_outer_form_does_not_allow_the_inner),
        cmocka_unit_test(denying_beats_allowing),
        cmocka_unit_test(a_gateway_may_have_networks_and_ports_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
