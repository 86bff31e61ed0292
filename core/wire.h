/* Big-endian integers, as every field of protocol.md is written. */
#ifndef CORE_WIRE_H
#define CORE_WIRE_H

#include <stddef.h>
#include <stdint.h>

static inline void wire_put_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static inline void wire_put_u64(uint8_t *out, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (uint8_t)value;
}

static inline uint16_t wire_get_u16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

static inline uint64_t wire_get_u64(const uint8_t *in)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | in[i];
    return value;
}

#endif
