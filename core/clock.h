/* Time. Every decision uses these; the wall clock is only printed (routers boot in 1970). */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in milliseconds, and in microseconds. */
uint64_t clock_now_ms(void);
uint64_t clock_now_us(void);
/* CLOCK_BOOTTIME in milliseconds: goes on during suspend, never steps. */
uint64_t clock_boot_ms(void);
/* The wall clock in milliseconds since 1970, right or not. */
uint64_t clock_wall_ms(void);

#endif
