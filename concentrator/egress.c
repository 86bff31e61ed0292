#include "concentrator/egress.h"

#include <string.h>

#define SMTP_PORT 25 /* spam is what gets a VPS blocked first */

struct network {
    uint8_t base[16];
    uint8_t prefix;
};

/* Protocol.md, in its order. */
static const struct network special4[] = {
    {{0}, 8},
    {{10}, 8},
    {{100, 64}, 10},
    {{127}, 8},
    {{169, 254}, 16},
    {{172, 16}, 12},
    {{192, 0, 0}, 24},
    {{192, 0, 2}, 24},
    {{192, 168}, 16},
    {{198, 18}, 15},
    {{198, 51, 100}, 24},
    {{203, 0, 113}, 24},
    {{224}, 3},
    {{168, 63, 129, 16}, 32}, /* Azure's host: public by its number, but only the VPS reaches it */
};
static const struct network special6[] = {
    {{0}, 128},
    {{[15] = 1}, 128},
    {{0xfc}, 7},
    {{0xfe, 0x80}, 10},
    {{0xfe, 0xc0}, 10},
    {{0xff}, 8},
    /* A network's own translators to IPv4: of RFC 8215, and of SIIT (RFC 2765). */
    {{0, 0x64, 0xff, 0x9b, 0, 1}, 48},
    {{[8] = 0xff, 0xff}, 96},
};

static bool covers(const struct network *net, const uint8_t *ip)
{
    size_t whole = net->prefix / 8;
    unsigned rest = net->prefix % 8;

    if (memcmp(net->base, ip, whole) != 0)
        return false;
    return rest == 0 || (net->base[whole] ^ ip[whole]) >> (8 - rest) == 0;
}

static bool is_special(const struct addr *a)
{
    const struct network *list = a->family == 4 ? special4 : special6;
    size_t n = a->family == 4 ? sizeof(special4) / sizeof(special4[0])
                              : sizeof(special6) / sizeof(special6[0]);

    for (size_t i = 0; i < n; i++) {
        if (covers(&list[i], a->ip))
            return true;
    }
    return false;
}

static bool is_listed(const struct egress_networks *networks, const struct addr *a)
{
    for (size_t i = 0; i < networks->n; i++) {
        if (cidr_contains(&networks->list[i], a))
            return true;
    }
    return false;
}

static bool is_port_listed(const struct egress_ports *ports, uint16_t port)
{
    for (size_t i = 0; i < ports->n; i++) {
        if (port >= ports->list[i].first && port <= ports->list[i].last)
            return true;
    }
    return ports->n == 0;
}

static bool is_own(const struct egress_policy *policy, const struct addr *a)
{
    for (size_t i = 0; i < policy->n_own; i++) {
        if (addr_equal_ip(&policy->own[i], a))
            return true;
    }
    return false;
}

static enum egress_verdict check_form(const struct egress_policy *policy, const struct addr *a)
{
    if (is_listed(&policy->deny_gateway, a) || is_listed(&policy->deny_all, a))
        return EGRESS_DENIED_HERE;
    if (!is_port_listed(&policy->ports, a->port))
        return EGRESS_PORT_NOT_LISTED;
    if (is_listed(&policy->allow_gateway, a) || is_listed(&policy->allow_all, a))
        return EGRESS_ALLOWED;
    if (is_special(a))
        return EGRESS_NOT_PUBLIC;
    if (is_own(policy, a))
        return EGRESS_OWN_ADDRESS;
    return a->port == SMTP_PORT ? EGRESS_PORT_25 : EGRESS_ALLOWED;
}

/* :: and ::1 lie in ::/96, but name no IPv4 address. */
static bool is_unspecified_or_loopback6(const struct addr *a)
{
    return a->family == 6 && (covers(&special6[0], a->ip) || covers(&special6[1], a->ip));
}

/* ::ffff/96 is no network of its own: to the kernel such an address is the IPv4 one. */
static bool is_mapped(const struct addr *a)
{
    static const struct network mapped = {{[10] = 0xff, 0xff}, 96};

    return a->family == 6 && covers(&mapped, a->ip);
}

enum egress_verdict egress_check(const struct egress_policy *policy, const struct addr *to)
{
    struct addr inner;

    if (is_unspecified_or_loopback6(to) || !addr_unwrap(to, &inner))
        return check_form(policy, to);
    enum egress_verdict verdict = check_form(policy, &inner);
    if (verdict != EGRESS_ALLOWED || is_mapped(to))
        return verdict;
    return check_form(policy, to);
}

const char *egress_why(enum egress_verdict verdict)
{
    static const char *const texts[] = {
        [EGRESS_ALLOWED] = "allowed",
        [EGRESS_NOT_PUBLIC] = "not a public address; allow_destinations lifts this",
        [EGRESS_OWN_ADDRESS] = "an address of this concentrator; allow_destinations lifts this",
        [EGRESS_PORT_25] = "port 25 (mail); allow_destinations lifts this",
        [EGRESS_PORT_NOT_LISTED] = "not in this gateway's ports",
        [EGRESS_DENIED_HERE] = "in deny_destinations",
    };

    return texts[verdict];
}
