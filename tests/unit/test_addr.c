/* Addresses and networks: what is read, what is refused, and what hides inside IPv6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/addr.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct addr ip(const char *text)
{
    struct addr a;

    if (addr_parse_ip(&a, text) < 0)
        fail_msg("does not parse: %s", text);
    return a;
}

static struct addr with_port(const char *text)
{
    struct addr a;

    if (addr_parse(&a, text) < 0)
        fail_msg("does not parse: %s", text);
    return a;
}

static struct cidr network(const char *text)
{
    struct cidr c;

    if (cidr_parse(&c, text) < 0)
        fail_msg("does not parse: %s", text);
    return c;
}

static void test_ip_text(void **state)
{
    static const char *const good[] = {
        "0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "fe80::1", "2001:db8:1:2:3:4:5:6"};
    static const char *const bad[] = {
        "",          " ",         "1.2.3",         "1.2.3.4.5",   "256.1.1.1",
        "1.2.3.4 ",  " 1.2.3.4",  "01.2.3.4",      "1.2.3.-4",    "1.2.3.4:80",
        "1.2.3.4/8", "0x1.2.3.4", "16909060",      "localhost",   "fe80::1%eth0",
        "[::1]",     ":::",       "1:2:3:4:5:6:7", "2001:db8::g", "::1::",
        "12345::",   "+1.2.3.4",  "1.2.3.4\n"};
    struct addr a = {.family = 9};
    char text[ADDR_TEXT];

    for (size_t i = 0; i < COUNT(good); i++) {
        a = ip(good[i]);
        assert_int_equal(a.port, 0);
        assert_string_equal(addr_format_ip(&a, text), good[i]);
    }
    a.family = 9;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (addr_parse_ip(&a, bad[i]) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(a.family, 9);
}

static void test_ip_value(void **state)
{
    static const uint8_t v4[16] = {192, 0, 2, 1};
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    struct addr a = ip("192.0.2.1"), b = ip("2001:db8::1");

    assert_int_equal(a.family, 4);
    assert_memory_equal(a.ip, v4, 16);
    assert_int_equal(addr_size(&a), 4);
    assert_int_equal(b.family, 6);
    assert_memory_equal(b.ip, v6, 16);
    assert_int_equal(addr_size(&b), 16);
    assert_int_equal(ip("::ffff:192.0.2.1").family, 6);
}

static const char *const bad_ports[] = {
    "",
    "192.0.2.1",
    "192.0.2.1:",
    "192.0.2.1:0",
    "192.0.2.1:65536",
    "192.0.2.1:+1",
    "192.0.2.1:-1",
    "192.0.2.1: 1",
    "192.0.2.1:1 ",
    "192.0.2.1:080",
    "192.0.2.1:1x",
    "192.0.2.1:0x10",
    " 192.0.2.1:1",
    "::1",
    "::1:80",
    "2001:db8::1:80",
    "[::1]",
    "[::1]:",
    "[::1]:0",
    "[::1]80",
    "[::1",
    "::1]:80",
    "[192.0.2.1]:80",
    "[]:80",
    "[:80",
    "[::1]]:80",
    "[[::1]]:80",
    "[fe80::1%lo]:80",
    ":80",
    "host:80",
    "192.0.2.1:4294967376",
    "192.0.2.1:18446744073709551696",
    "[00000000000000000000000000000000000000000000000000000000000000000000000000000000::1]:1"};

static void test_port_text(void **state)
{
    static const char *const good[] = {"192.0.2.1:1", "192.0.2.1:65535", "[::1]:443",
                                       "[2001:db8:1:2:3:4:5:6]:65535"};
    struct addr a;
    char text[ADDR_TEXT];

    for (size_t i = 0; i < COUNT(good); i++) {
        a = with_port(good[i]);
        assert_string_equal(addr_format(&a, text), good[i]);
    }
    assert_int_equal(with_port("192.0.2.1:258").port, 258);
    memset(&a, 7, sizeof(a));
    for (size_t i = 0; i < COUNT(bad_ports); i++)
        if (addr_parse(&a, bad_ports[i]) != -EINVAL)
            fail_msg("accepted: %s", bad_ports[i]);
    assert_int_equal(a.family, 7);
}

static void test_format_none(void **state)
{
    struct addr none = {0};
    struct cidr nowhere = {0};
    char text[ADDR_TEXT];

    assert_string_equal(addr_format(&none, text), "none");
    assert_string_equal(addr_format_ip(&none, text), "none");
    assert_string_equal(cidr_format(&nowhere, text), "none");
}

static void test_cidr_text(void **state)
{
    static const char *const same[][2] = {{"10.0.0.0/8", "10.0.0.0/8"},
                                          {"10.1.2.3/8", "10.0.0.0/8"},
                                          {"10.255.2.3/9", "10.128.0.0/9"},
                                          {"1.2.3.4", "1.2.3.4/32"},
                                          {"1.2.3.4/32", "1.2.3.4/32"},
                                          {"255.255.255.255/31", "255.255.255.254/31"},
                                          {"255.255.255.255/0", "0.0.0.0/0"},
                                          {"2001:db8::1", "2001:db8::1/128"},
                                          {"2001:db8:ffff::/33", "2001:db8:8000::/33"},
                                          {"ffff::1/0", "::/0"},
                                          {"::ffff:0:0/96", "::ffff:0.0.0.0/96"}};
    static const char *const bad[] = {"",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "::/129",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/ 8",
                                      "10.0.0.0/8 ",
                                      "10.0.0.0/08",
                                      "10.0.0.0/8/8",
                                      "10.0/8",
                                      "10.0.0.0/256",
                                      "10.0.0.0/264",
                                      "[::]/0",
                                      "10.0.0.0:1/8",
                                      "10.0.0.0/8x"};
    struct cidr c;
    char text[ADDR_TEXT];

    for (size_t i = 0; i < COUNT(same); i++) {
        c = network(same[i][0]);
        assert_string_equal(cidr_format(&c, text), same[i][1]);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        if (cidr_parse(&c, bad[i]) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
}

static void test_cidr_exact(void **state)
{
    struct cidr c;
    bool exact;

    assert_int_equal(cidr_parse_exact(&c, "10.0.0.0/8", &exact), 0);
    assert_true(exact);
    assert_int_equal(cidr_parse_exact(&c, "2001:db8::1", &exact), 0);
    assert_true(exact);
    assert_int_equal(cidr_parse_exact(&c, "10.0.0.1/31", &exact), 0);
    assert_false(exact);
    assert_int_equal(cidr_parse_exact(&c, "2001:db8::1/64", &exact), 0);
    assert_false(exact);
}

static void test_mac_text(void **state)
{
    static const char *const bad[] = {
        "",
        "02:00:5e:10:00",
        "02:00:5e:10:00:f",
        "02:00:5e:10:00:ff:",
        "02:00:5e:10:00:fg",
        "02-00-5e-10-00-ff",
        "02005e1000ff",
        "2:0:5e:10:0:ff",
        "01:00:5e:00:00:01", /* a group's */
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "fd00::1",
    };
    char text[ADDR_TEXT];
    struct mac m;

    assert_int_equal(mac_parse(&m, "02:00:5E:1a:00:ff"), 0);
    assert_string_equal(mac_format(&m, text), "02:00:5e:1a:00:ff");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (mac_parse(&m, bad[i]) != -EINVAL)
            fail_msg("%s was taken", bad[i]);
    }
}

static void test_cidr_contains(void **state)
{
    static const struct {
        const char *network, *ip;
        bool inside;
    } rows[] = {{"10.0.0.0/8", "10.255.255.255", true},
                {"10.0.0.0/8", "11.0.0.0", false},
                {"10.0.0.0/8", "9.255.255.255", false},
                {"100.64.0.0/10", "100.64.0.0", true},
                {"100.64.0.0/10", "100.127.255.255", true},
                {"100.64.0.0/10", "100.128.0.0", false},
                {"100.64.0.0/10", "100.63.255.255", false},
                {"192.0.2.7", "192.0.2.7", true},
                {"192.0.2.7", "192.0.2.6", false},
                {"192.0.2.6/31", "192.0.2.7", true},
                {"0.0.0.0/0", "255.255.255.255", true},
                {"0.0.0.0/0", "::1", false},
                {"::/0", "1.2.3.4", false},
                {"::/0", "ffff::", true},
                {"fc00::/7", "fdff::1", true},
                {"fc00::/7", "fe00::1", false},
                {"fe80::/10", "febf::1", true},
                {"fe80::/10", "fec0::1", false},
                {"2001:db8::1", "2001:db8::1", true},
                {"2001:db8::1", "2001:db8::", false},
                {"10.0.0.0/8", "::ffff:10.0.0.1", false}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cidr c = network(rows[i].network);
        struct addr a = ip(rows[i].ip);

        if (cidr_contains(&c, &a) != rows[i].inside)
            fail_msg("%s in %s", rows[i].ip, rows[i].network);
    }
}

/* A network of every length holds its own base, and not the address whose last prefix bit is
 * turned. */
static void test_cidr_every_prefix(void **state)
{
    for (unsigned prefix = 0; prefix <= 128; prefix++) {
        struct cidr c = {.base = ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                         .prefix = (uint8_t)prefix};
        struct addr other = c.base;

        assert_true(cidr_contains(&c, &c.base));
        if (prefix > 0) {
            other.ip[(prefix - 1) / 8] ^= (uint8_t)(0x80 >> (prefix - 1) % 8);
            assert_false(cidr_contains(&c, &other));
        }
        if (prefix < 128) {
            other = c.base;
            other.ip[prefix / 8] ^= (uint8_t)(0x80 >> prefix % 8);
            assert_true(cidr_contains(&c, &other));
        }
    }
}

static void test_sockaddr(void **state)
{
    static const char *const texts[] = {"192.0.2.1:80", "[2001:db8::1]:443"};
    struct sockaddr_storage ss;
    struct addr back, none = {0};

    for (size_t i = 0; i < COUNT(texts); i++) {
        struct addr a = with_port(texts[i]);

        assert_int_equal(addr_to_sockaddr(&a, &ss),
                         a.family == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        assert_int_equal(addr_from_sockaddr(&back, (struct sockaddr *)&ss), 0);
        assert_memory_equal(&back, &a, sizeof(a));
    }
    assert_int_equal(addr_to_sockaddr(&none, &ss), 0);
    assert_int_equal(ss.ss_family, AF_UNSPEC);
    assert_int_equal(addr_from_sockaddr(&back, (struct sockaddr *)&ss), -EAFNOSUPPORT);
}

static void test_sockaddr_fields(void **state)
{
    struct addr a = with_port("192.0.2.1:258"), got;
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(258)};
    struct sockaddr_storage ss;
    char unaligned[sizeof(mapped) + 1];

    addr_to_sockaddr(&a, &ss);
    assert_int_equal(((struct sockaddr_in *)&ss)->sin_port, htons(258));
    assert_int_equal(((struct sockaddr_in *)&ss)->sin_addr.s_addr, htonl(0xc0000201));
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.1", &mapped.sin6_addr), 1);
    memcpy(unaligned + 1, &mapped, sizeof(mapped));
    assert_int_equal(addr_from_sockaddr(&got, (struct sockaddr *)(void *)(unaligned + 1)), 0);
    assert_memory_equal(&got, &a, sizeof(a));
}

static void test_socket_addresses(void **state)
{
    struct addr any = ip("127.0.0.1"), local, peer;
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&any, &ss);
    int server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(server, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(addr_of_socket(&local, server), 0);
    assert_true(local.port != 0 && addr_equal_ip(&local, &any));
    assert_int_equal(addr_of_peer(&peer, client), -ENOTCONN);
    len = addr_to_sockaddr(&local, &ss);
    assert_int_equal(connect(client, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(addr_of_peer(&peer, client), 0);
    assert_true(addr_equal(&peer, &local));
    close(server);
    close(client);
    assert_int_equal(addr_of_socket(&local, server), -EBADF);
}

static void test_equal(void **state)
{
    struct addr a = with_port("1.2.3.4:5"), port = with_port("1.2.3.4:6");
    struct addr other = with_port("1.2.3.5:5"), six = {.family = 6, .ip = {1, 2, 3, 4}, .port = 5};

    assert_true(addr_equal(&a, &a));
    assert_false(addr_equal(&a, &port));
    assert_true(addr_equal_ip(&a, &port));
    assert_false(addr_equal_ip(&a, &other));
    assert_false(addr_equal_ip(&a, &six));
}

static void test_unwrap(void **state)
{
    static const struct {
        const char *outer, *inner; /* NULL: embeds none */
    } rows[] = {{"::ffff:10.1.2.3", "10.1.2.3"},
                {"::10.1.2.3", "10.1.2.3"},
                {"::2", "0.0.0.2"},
                {"::1:0", "0.1.0.0"},
                {"64:ff9b::10.1.2.3", "10.1.2.3"},
                {"2002:7f00:1::", "127.0.0.1"},
                {"2002:a01:203:4:5:6:7:8", "10.1.2.3"},
                {"2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"},
                {"2001::f5fe:fdfc", "10.1.2.3"},
                {"::", NULL},
                {"::1", NULL},
                {"::1:0:a01:203", NULL},
                {"::ffff:0:a01:203", NULL},
                {"64:ff9b:1::a01:203", NULL},
                {"64:ff9b::1:a01:203", NULL},
                {"2001:1::a01:203", NULL},
                {"2001:db8::1", NULL},
                {"2003:a01:203::", NULL},
                {"10.1.2.3", NULL}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct addr outer = ip(rows[i].outer), inner = {0}, expected;

        outer.port = 443;
        if (addr_unwrap(&outer, &inner) != (rows[i].inner != NULL))
            fail_msg("%s", rows[i].outer);
        if (!rows[i].inner)
            continue;
        expected = ip(rows[i].inner);
        expected.port = 443;
        assert_memory_equal(&inner, &expected, sizeof(inner));
    }
}

/* The result may be written over the argument. */
static void test_unwrap_in_place(void **state)
{
    struct addr a = ip("2002:7f00:1::");

    assert_true(addr_unwrap(&a, &a));
    assert_true(addr_equal_ip(&a, &(struct addr){.family = 4, .ip = {127, 0, 0, 1}}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ip_text),
        cmocka_unit_test(test_ip_value),
        cmocka_unit_test(test_port_text),
        cmocka_unit_test(test_format_none),
        cmocka_unit_test(test_cidr_text),
        cmocka_unit_test(test_cidr_exact),
        cmocka_unit_test(test_mac_text),
        cmocka_unit_test(test_cidr_contains),
        cmocka_unit_test(test_cidr_every_prefix),
        cmocka_unit_test(test_sockaddr),
        cmocka_unit_test(test_sockaddr_fields),
        cmocka_unit_test(test_socket_addresses),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_unwrap),
        cmocka_unit_test(test_unwrap_in_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
