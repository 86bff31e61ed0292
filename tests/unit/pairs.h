/* Connected sockets for tests, and the count of what is open. */
#ifndef TESTS_UNIT_PAIRS_H
#define TESTS_UNIT_PAIRS_H

#include <stddef.h>
#include <stdint.h>

enum pair_kind { PAIR_UNIX, PAIR_TCP, PAIR_MPTCP };

struct pair {
    int a, b;
};

/* Non-blocking; TCP and MPTCP over 127.0.0.1, tuned. Fails the test when that does not work. */
struct pair pair_new(enum pair_kind kind);
const char *pair_kind_name(enum pair_kind kind);

/* Descriptors of this process. */
size_t descriptors_open(void);

/* Byte i of stream `seed`: no two streams, and no two places, look alike. */
static inline uint8_t pattern(uint32_t seed, uint64_t i)
{
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)seed << 32;

    return (uint8_t)(x >> 56 ^ x >> 33);
}
void pattern_fill(uint32_t seed, uint64_t at, uint8_t *out, size_t n);
/* Fails the test where the bytes differ. */
void pattern_check(uint32_t seed, uint64_t at, const uint8_t *bytes, size_t n);

/* The same numbers in every run. */
uint32_t random_next(uint32_t *state);

#endif
