/* What some middleboxes do: the MPTCP options of a handshake, overwritten. */
#ifndef NETLAB_STRIP_H
#define NETLAB_STRIP_H

#include <stddef.h>
#include <stdint.h>

/* Turns the MPTCP options of a TCP SYN or SYN/ACK into no-operations and corrects the checksum.
 * `ip` is an IPv4 or IPv6 packet without extension headers; anything else stays as it is. */
void strip_mptcp(uint8_t *ip, size_t length);

#endif
