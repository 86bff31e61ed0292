/* Masking for a bug report: no key and no public address is left, and what is harmless is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/mask.h"
#include "core/key.h"
#include "core/link.h"

static struct mask *mask;

static int begin(void **state)
{
    mask = mask_new();
    return mask ? 0 : -1;
}

static int end(void **state)
{
    mask_free(mask);
    return 0;
}

static void expect(const char *text, const char *masked)
{
    char *out = mask_text(mask, text);

    assert_string_equal(out, masked);
    free(out);
}

static void test_public_addresses(void **state)
{
    expect("203.0.113.10 198.51.100.1:443 203.0.113.10", "ipv4-1 ipv4-2:443 ipv4-1");
    expect("(from 203.0.113.10, \"203.0.113.11\"); 203.0.113.0/24",
           "(from ipv4-1, \"ipv4-3\"); ipv4-4/24");
    expect("[2001:db8::1]:7171 2001:DB8:0::1 via fe80::211:22ff:fe33:4455 dev eth0",
           "[ipv6-1]:7171 ipv6-1 via ipv6-2 dev eth0");
    expect("source=203.0.113.10:5000 ok", "source=ipv4-1:5000 ok");
    expect("203.0.113.0-203.0.114.255, to 203.0.113.77. And 2001:db8::1: no",
           "ipv4-4-ipv4-5, to ipv4-6. And ipv6-1: no");
    expect("lladdr 00:11:22:aa:BB:cc REACHABLE", "lladdr mac-1 REACHABLE");
}

static void test_what_stays(void **state)
{
    static const char *const texts[] = {
        "10.1.2.3 192.168.77.1:443 172.16.0.1 127.0.0.1 100.64.0.1 169.254.1.1",
        "0.0.0.0:7171 [::]:7171 ::1 fd00:77::1 ff02::1 default 0.0.0.0/0 ::/0 fc00::/7",
        "version 0.1.0, 6.18.44-1-amd64 rtt 20.5 ms 2026-11-28T12:00:01.125Z 12:00:01",
        "link/ether 00:00:00:00:00:00 a:b :: . 1.2.3 1.2.3.4.5 deadbeef dead:beef",
        "/etc/bondway/a-long-name-of-a-file-that-is-no-secret-at-all",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect(texts[i], texts[i]);
}

static void test_secrets(void **state)
{
    struct join_link link = {.host = "203.0.113.10", .port = 7171, .name = "home"};
    char key[KEY_TEXT], text[LINK_TEXT], line[2 * LINK_TEXT];

    for (int i = 0; i < 100; i++) {
        assert_int_equal(key_generate(&link.key), 0);
        key_format(&link.key, key);
        link_format(&link, text);
        snprintf(line, sizeof(line), "# %s\n%s and %s\n", key, text, strchr(key, ':') + 1);
        expect(line, "# (secret)\n(secret) and (secret)\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_public_addresses, begin, end),
        cmocka_unit_test_setup_teardown(test_what_stays, begin, end),
        cmocka_unit_test_setup_teardown(test_secrets, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
