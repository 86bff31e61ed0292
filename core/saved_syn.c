#include "core/saved_syn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* A link header with a VLAN's tag, a network header with options or extensions, and a whole TCP
 * header; what an odd packet has beyond is not asked for. */
#define HEADERS_BYTES 512

/* Where things lie in a network header (RFC 791, RFC 8200). */
struct network_header {
    uint8_t family;
    size_t size, source, destination;
};
static const struct network_header network_headers[] = {{4, 20, 12, 16}, {6, 40, 8, 24}};

/* Ethernet's: destination, source, type; with a VLAN's tag four bytes more (IEEE 802.3, 802.1Q). */
#define ETHERNET_BYTES 14
#define ETHERNET_TAGGED_BYTES 18
#define ETHERNET_SOURCE 6

static bool is_header(const uint8_t *at, const struct network_header *header,
                      const struct addr *from, const struct addr *to)
{
    return at[0] >> 4 == header->family &&
           memcmp(at + header->source, from->ip, addr_size(from)) == 0 &&
           memcmp(at + header->destination, to->ip, addr_size(to)) == 0;
}

static int8_t dscp_of(const uint8_t *at, uint8_t family)
{
    return family == 4 ? (int8_t)(at[1] >> 2) : (int8_t)((at[0] & 0x0f) << 2 | at[1] >> 6);
}

struct saved_syn saved_syn_parse(const uint8_t *bytes, size_t n, const struct addr *from,
                                 const struct addr *to)
{
    static const size_t links[] = {ETHERNET_BYTES, 0, ETHERNET_TAGGED_BYTES};
    const struct network_header *header = &network_headers[from->family == 6];
    struct saved_syn syn = {.dscp = -1};

    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        if (n < links[i] + header->size || !is_header(bytes + links[i], header, from, to))
            continue;
        const uint8_t *at = bytes + links[i];
        syn.dscp = dscp_of(at, header->family);
        if (links[i] > 0)
            memcpy(syn.mac.bytes, bytes + ETHERNET_SOURCE, sizeof(syn.mac.bytes));
        break;
    }
    return syn;
}

struct saved_syn saved_syn_take(int fd, const struct addr *from, const struct addr *to)
{
    uint8_t headers[HEADERS_BYTES];
    socklen_t len = sizeof(headers);

    if (getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, headers, &len) == -1)
        len = 0;
    return saved_syn_parse(headers, len, from, to);
}
