/* IP addresses, ports, networks and MAC addresses, as values: no lookups, no sockets. */
#ifndef CORE_ADDR_H
#define CORE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Longest text: "[" 39 address "%" 15 interface "]:65535" and the terminator fits. */
#define ADDR_TEXT 72

/* An address with an optional port. family is 4 or 6; 0 means "none". IPv4-mapped IPv6 that
 * arrives in a sockaddr is stored as family 4, since the kernel treats it so. */
struct addr {
    uint8_t family;
    uint8_t ip[16]; /* network order; family 4 uses the first four bytes, the rest are zero */
    uint16_t port;  /* host order; 0 where there is none */
};

/* A network: the bits of base beyond prefix are zero. */
struct cidr {
    struct addr base;
    uint8_t prefix;
};

/* The address of a network card; all zero means "none". */
struct mac {
    uint8_t bytes[6];
};

/* "192.0.2.1" or "2001:db8::1", no port, no zone. "::ffff:192.0.2.1" stays family 6, as written.
 * The parsers change *a or *c only when they succeed. Returns 0, or -EINVAL. */
int addr_parse_ip(struct addr *a, const char *text);
/* "192.0.2.1:80" or "[2001:db8::1]:80", the port 1...65535. Returns 0, or -EINVAL. */
int addr_parse(struct addr *a, const char *text);
/* "10.0.0.0/8", or a lone address (/32, /128). Bits beyond the prefix are cleared.
 * Returns 0, or -EINVAL. */
int cidr_parse(struct cidr *c, const char *text);
/* Likewise, and *exact says whether there were none to clear. */
int cidr_parse_exact(struct cidr *c, const char *text, bool *exact);
/* "02:00:5e:10:00:ff", of one card: neither a group's address nor none. Returns 0, or -EINVAL. */
int mac_parse(struct mac *m, const char *text);

/* Text with the port ("192.0.2.1:80", "[2001:db8::1]:80"), or without; "none" for family 0.
 * Returns out. */
const char *addr_format(const struct addr *a, char out[ADDR_TEXT]);
const char *addr_format_ip(const struct addr *a, char out[ADDR_TEXT]);
const char *cidr_format(const struct cidr *c, char out[ADDR_TEXT]);
const char *mac_format(const struct mac *m, char out[ADDR_TEXT]);

size_t addr_size(const struct addr *a); /* 4 or 16: bytes of ip in use */
/* Returns the length of what it wrote: 0 for family 0. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss);
/* Returns 0, or -EAFNOSUPPORT. */
int addr_from_sockaddr(struct addr *a, const struct sockaddr *sa);
/* getsockname()/getpeername() of fd. Returns 0, or -errno. */
int addr_of_socket(struct addr *a, int fd);
int addr_of_peer(struct addr *a, int fd);

bool addr_equal_ip(const struct addr *a, const struct addr *b);
bool addr_equal(const struct addr *a, const struct addr *b);
/* Compares addresses of one family only: addr_unwrap() first where an IPv6 one may embed IPv4. */
bool cidr_contains(const struct cidr *c, const struct addr *a);

/* The IPv4 address that an IPv6 one embeds, with the port kept; false when it embeds none:
 * ::ffff/96, ::/96 (but not :: and ::1), 64:ff9b::/96: the last four bytes; 2002::/16: the four
 * after the prefix; 2001::/32 (Teredo): the client's, which are the last four with every bit
 * turned. */
bool addr_unwrap(const struct addr *a, struct addr *inner);

#endif
