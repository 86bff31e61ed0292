#include "tests/netlab/strip.h"

#include <stdbool.h>
#include <string.h>

enum {
    PROTO_TCP = 6,
    TCP_FIXED = 20,
    TCP_FLAG_SYN = 0x02,
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MPTCP = 30,
};

/* The TCP header within the packet, or NULL; *length becomes that of the header with options. */
static uint8_t *find_tcp(uint8_t *ip, size_t *length)
{
    size_t at = 0;
    size_t header;

    if (*length >= 20 && ip[0] >> 4 == 4 && ip[9] == PROTO_TCP)
        at = (ip[0] & 15u) * 4u;
    else if (*length >= 40 && ip[0] >> 4 == 6 && ip[6] == PROTO_TCP)
        at = 40;
    if (at < 20 || *length < at + TCP_FIXED)
        return NULL;
    header = (ip[at + 12] >> 4) * 4u;
    if (header < TCP_FIXED || *length < at + header)
        return NULL;
    *length = header;
    return ip + at;
}

static uint32_t sum_words(const uint8_t *bytes, size_t length)
{
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    return sum;
}

/* RFC 1624: new sum = ~(~old sum + ~old words + new words). */
static void correct_checksum(uint8_t *at, uint32_t old_sum, uint32_t new_sum)
{
    uint32_t sum = (uint16_t) ~((uint32_t)at[0] << 8 | at[1]);

    while (old_sum >> 16)
        old_sum = (old_sum & 0xffff) + (old_sum >> 16);
    sum += (uint16_t)~old_sum;
    sum += new_sum;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    at[0] = (uint8_t)(~sum >> 8);
    at[1] = (uint8_t)~sum;
}

static bool blank_options(uint8_t *options, size_t length)
{
    bool changed = false;

    for (size_t i = 0; i < length && options[i] != OPTION_END;) {
        size_t size = 1;

        if (options[i] != OPTION_NOP) {
            if (i + 1 >= length || options[i + 1] < 2 || i + options[i + 1] > length)
                break;
            size = options[i + 1];
        }
        if (options[i] == OPTION_MPTCP) {
            memset(options + i, OPTION_NOP, size);
            changed = true;
        }
        i += size;
    }
    return changed;
}

void strip_mptcp(uint8_t *ip, size_t length)
{
    uint8_t *tcp = find_tcp(ip, &length);
    uint32_t before;

    if (!tcp || !(tcp[13] & TCP_FLAG_SYN))
        return;
    before = sum_words(tcp + TCP_FIXED, length - TCP_FIXED);
    if (blank_options(tcp + TCP_FIXED, length - TCP_FIXED))
        correct_checksum(tcp + 16, before, sum_words(tcp + TCP_FIXED, length - TCP_FIXED));
}
