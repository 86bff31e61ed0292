#include "core/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* Decimal digits alone, no leading zero (which some read as octal), at most max. */
static int parse_number(unsigned *value, const char *text, unsigned max)
{
    unsigned number = 0;

    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return -EINVAL;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        number = number * 10 + (unsigned)(*text - '0');
        if (number > max)
            return -EINVAL;
    }
    *value = number;
    return 0;
}

/* The len characters at text, as a string of its own. */
static int copy_part(char out[ADDR_TEXT], const char *text, size_t len)
{
    if (len >= ADDR_TEXT)
        return -EINVAL;
    memcpy(out, text, len);
    out[len] = '\0';
    return 0;
}

int addr_parse_ip(struct addr *a, const char *text)
{
    struct addr parsed = {0};

    if (inet_pton(AF_INET, text, parsed.ip) == 1)
        parsed.family = 4;
    else if (inet_pton(AF_INET6, text, parsed.ip) == 1)
        parsed.family = 6;
    else
        return -EINVAL;
    *a = parsed;
    return 0;
}

int addr_parse(struct addr *a, const char *text)
{
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[';
    char ip[ADDR_TEXT];
    struct addr parsed;
    unsigned port;
    size_t len;

    if (!colon || parse_number(&port, colon + 1, 65535) < 0 || port == 0)
        return -EINVAL;
    len = (size_t)(colon - text);
    if (bracketed) {
        if (len < 2 || text[len - 1] != ']')
            return -EINVAL;
        text++;
        len -= 2;
    }
    if (copy_part(ip, text, len) < 0 || addr_parse_ip(&parsed, ip) < 0)
        return -EINVAL;
    if (bracketed != (parsed.family == 6))
        return -EINVAL;
    parsed.port = (uint16_t)port;
    *a = parsed;
    return 0;
}

/* Returns whether there were none. */
static bool clear_host_bits(struct cidr *c)
{
    size_t size = addr_size(&c->base);
    struct addr before = c->base;

    for (size_t i = c->prefix / 8; i < size; i++) {
        unsigned kept = i == c->prefix / 8 ? c->prefix % 8 : 0;

        c->base.ip[i] &= (uint8_t)(0xff00 >> kept);
    }
    return addr_equal_ip(&c->base, &before);
}

int cidr_parse_exact(struct cidr *c, const char *text, bool *exact)
{
    const char *slash = strchr(text, '/');
    char ip[ADDR_TEXT];
    struct cidr parsed;
    unsigned prefix;

    if (copy_part(ip, text, slash ? (size_t)(slash - text) : strlen(text)) < 0 ||
        addr_parse_ip(&parsed.base, ip) < 0)
        return -EINVAL;
    prefix = (unsigned)addr_size(&parsed.base) * 8;
    if (slash && parse_number(&prefix, slash + 1, prefix) < 0)
        return -EINVAL;
    parsed.prefix = (uint8_t)prefix;
    *exact = clear_host_bits(&parsed);
    *c = parsed;
    return 0;
}

int cidr_parse(struct cidr *c, const char *text)
{
    bool exact;

    return cidr_parse_exact(c, text, &exact);
}

/* -1: no hexadecimal digit. */
static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) % 16 : -1;
}

int mac_parse(struct mac *m, const char *text)
{
    static const struct mac none;
    struct mac parsed;

    for (size_t i = 0; i < sizeof(parsed.bytes); i++, text += 2) {
        if (i > 0 && *text++ != ':')
            return -EINVAL;
        int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return -EINVAL;
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (*text || parsed.bytes[0] & 1 || memcmp(&parsed, &none, sizeof(none)) == 0)
        return -EINVAL;
    *m = parsed;
    return 0;
}

const char *addr_format_ip(const struct addr *a, char out[ADDR_TEXT])
{
    if (a->family == 0)
        snprintf(out, ADDR_TEXT, "none");
    else
        inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, out, ADDR_TEXT);
    return out;
}

const char *addr_format(const struct addr *a, char out[ADDR_TEXT])
{
    char ip[INET6_ADDRSTRLEN];

    if (a->family == 0)
        return addr_format_ip(a, out);
    inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, ip, sizeof(ip));
    snprintf(out, ADDR_TEXT, a->family == 4 ? "%s:%u" : "[%s]:%u", ip, (unsigned)a->port);
    return out;
}

const char *cidr_format(const struct cidr *c, char out[ADDR_TEXT])
{
    size_t len = strlen(addr_format_ip(&c->base, out));

    if (c->base.family != 0)
        snprintf(out + len, ADDR_TEXT - len, "/%u", (unsigned)c->prefix);
    return out;
}

const char *mac_format(const struct mac *m, char out[ADDR_TEXT])
{
    const uint8_t *b = m->bytes;

    snprintf(out, ADDR_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    return out;
}

size_t addr_size(const struct addr *a)
{
    return a->family == 4 ? 4 : 16;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
    struct sockaddr_in *in = (struct sockaddr_in *)ss;

    memset(ss, 0, sizeof(*ss));
    switch (a->family) {
    case 4:
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof(*in);
    case 6:
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        memcpy(&in6->sin6_addr, a->ip, 16);
        return sizeof(*in6);
    default:
        return 0;
    }
}

/* Copies before it looks: sa may lie unaligned in a netlink message or a control message. */
int addr_from_sockaddr(struct addr *a, const struct sockaddr *sa)
{
    struct addr parsed = {0};
    struct sockaddr_in6 in6;
    struct sockaddr_in in;
    sa_family_t family;

    memcpy(&family, (const char *)sa + offsetof(struct sockaddr, sa_family), sizeof(family));
    if (family == AF_INET) {
        memcpy(&in, sa, sizeof(in));
        parsed.family = 4;
        parsed.port = ntohs(in.sin_port);
        memcpy(parsed.ip, &in.sin_addr, 4);
    } else if (family == AF_INET6) {
        memcpy(&in6, sa, sizeof(in6));
        parsed.port = ntohs(in6.sin6_port);
        parsed.family = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) ? 4 : 6;
        memcpy(parsed.ip, in6.sin6_addr.s6_addr + (parsed.family == 4 ? 12 : 0),
               addr_size(&parsed));
    } else {
        return -EAFNOSUPPORT;
    }
    *a = parsed;
    return 0;
}

int addr_of_socket(struct addr *a, int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);

    if (getsockname(fd, (struct sockaddr *)&ss, &len) == -1)
        return -errno;
    return addr_from_sockaddr(a, (struct sockaddr *)&ss);
}

int addr_of_peer(struct addr *a, int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);

    if (getpeername(fd, (struct sockaddr *)&ss, &len) == -1)
        return -errno;
    return addr_from_sockaddr(a, (struct sockaddr *)&ss);
}

bool addr_equal_ip(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, addr_size(a)) == 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return addr_equal_ip(a, b) && a->port == b->port;
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
    size_t whole = c->prefix / 8;
    unsigned rest = c->prefix % 8;

    if (c->base.family != a->family || memcmp(c->base.ip, a->ip, whole) != 0)
        return false;
    return rest == 0 || (c->base.ip[whole] ^ a->ip[whole]) >> (8 - rest) == 0;
}

struct wrapping {
    uint8_t prefix[12];
    uint8_t prefix_len; /* bytes */
    uint8_t at;         /* where the four bytes of IPv4 lie */
    uint8_t flip;       /* what they are XORed with */
};

static const struct wrapping wrappings[] = {
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 12, 12, 0}, /* mapped (RFC 4291) */
    {{0}, 12, 12, 0},                                        /* compatible (RFC 4291) */
    {{0x00, 0x64, 0xff, 0x9b}, 12, 12, 0},                   /* NAT64 (RFC 6052) */
    {{0x20, 0x02}, 2, 2, 0},                                 /* 6to4 (RFC 3056) */
    {{0x20, 0x01, 0, 0}, 4, 12, 0xff},                       /* Teredo (RFC 4380) */
};

/* :: and ::1 lie inside ::/96, but are IPv6's own unspecified and loopback addresses. */
static bool is_unspecified_or_loopback(const struct addr *a)
{
    static const uint8_t zeros[15];

    return memcmp(a->ip, zeros, sizeof(zeros)) == 0 && a->ip[15] <= 1;
}

bool addr_unwrap(const struct addr *a, struct addr *inner)
{
    struct addr unwrapped = {.family = 4, .port = a->port};

    if (a->family != 6 || is_unspecified_or_loopback(a))
        return false;
    for (size_t i = 0; i < sizeof(wrappings) / sizeof(wrappings[0]); i++) {
        const struct wrapping *w = &wrappings[i];

        if (memcmp(a->ip, w->prefix, w->prefix_len) != 0)
            continue;
        for (size_t byte = 0; byte < 4; byte++)
            unwrapped.ip[byte] = a->ip[w->at + byte] ^ w->flip;
        *inner = unwrapped;
        return true;
    }
    return false;
}
