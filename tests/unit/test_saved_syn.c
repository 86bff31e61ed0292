/* What is read of a saved SYN, whatever link it came by, and how much of it there is. The packets
 * are such as the kernel gave them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/saved_syn.h"

static const char ethernet[] = "f6941e22bf4a"
                               "021122334455";
static const char ipv4[] = "45b8003ca6894000400680300a0000020a000001"
                           "cb6e00506500219100000000a002faf01431000002"
                           "0405b40402080aeaf806a5000000000103030a";
static const char ipv6[] =
    "6b8286d300280640fd000000000000000000000000000002"
    "fd000000000000000000000000000001"
    "c61e00504471d93f00000000a002fd20fa320000020405a00402080a2dcf47f9000000000"
    "103030a";

static size_t put(uint8_t *out, const char *hex)
{
    size_t n = strlen(hex) / 2;
    unsigned byte;

    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

struct packet {
    uint8_t bytes[256];
    size_t n;
    struct addr from, to;
};

static struct packet packet(const char *link, const char *type, bool v6)
{
    struct packet p = {.n = 0};

    p.n += put(p.bytes, link);
    p.n += put(p.bytes + p.n, type);
    p.n += put(p.bytes + p.n, v6 ? ipv6 : ipv4);
    assert_int_equal(addr_parse(&p.from, v6 ? "[fd00::2]:50718" : "10.0.0.2:52078"), 0);
    assert_int_equal(addr_parse(&p.to, v6 ? "[fd00::1]:80" : "10.0.0.1:80"), 0);
    return p;
}

static void assert_syn(const struct packet *p, size_t n, int8_t dscp, const char *mac)
{
    uint8_t *exact = malloc(n + 1); /* so that reading beyond it is noticed */
    char text[ADDR_TEXT];

    assert_non_null(exact);
    memcpy(exact, p->bytes, n);
    exact = realloc(exact, n ? n : 1);
    struct saved_syn syn = saved_syn_parse(exact, n, &p->from, &p->to);
    assert_int_equal(syn.dscp, dscp);
    assert_string_equal(mac_format(&syn.mac, text), mac);
    free(exact);
}

#define NO_MAC "00:00:00:00:00:00"

static void by_every_link(void **state)
{
    for (int v6 = 0; v6 < 2; v6++) {
        const char *type = v6 ? "86dd" : "0800";
        char tagged[32];
        struct packet plain = packet(ethernet, type, v6), bare = packet("", "", v6);

        snprintf(tagged, sizeof(tagged), "8100000a%s", type);
        struct packet vlan = packet(ethernet, tagged, v6);
        assert_syn(&plain, plain.n, 46, "02:11:22:33:44:55");
        assert_syn(&vlan, vlan.n, 46, "02:11:22:33:44:55");
        assert_syn(&bare, bare.n, 46, NO_MAC);
    }
}

static void what_is_cut_short_is_unknown(void **state)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct packet p = packet(ethernet, v6 ? "86dd" : "0800", v6);
        size_t enough = 14 + (v6 ? 40 : 20);

        for (size_t n = 0; n < enough; n++)
            assert_syn(&p, n, -1, NO_MAC);
        assert_syn(&p, enough, 46, "02:11:22:33:44:55");
    }
}

/* Whatever link that is, its addresses are not where they seem to be. */
static void by_no_link_that_we_know(void **state)
{
    struct packet p = packet("0102", "", false);

    assert_syn(&p, p.n, -1, NO_MAC);
    p = packet(ethernet, "0800", false);
    p.to.ip[3]++;
    assert_syn(&p, p.n, -1, NO_MAC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_every_link),
        cmocka_unit_test(what_is_cut_short_is_unknown),
        cmocka_unit_test(by_no_link_that_we_know),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
