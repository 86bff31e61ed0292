/* Time. Every decision uses these; the wall clock is only printed (routers boot in 1970). */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* CLOCK_MONOTONIC in milliseconds, and in microseconds. */
uint64_t clock_now_ms(void);
uint64_t clock_now_us(void);
/* CLOCK_BOOTTIME in milliseconds: goes on during suspend, never steps. */
uint64_t clock_boot_ms(void);
/* The wall clock in milliseconds since 1970, right or not. */
uint64_t clock_wall_ms(void);

/* What time it is by the word of one who knows. Zeroed: nobody has told it. */
struct clock_told {
    bool known;
    int64_t offset_ms; /* its time since 1970 = CLOCK_BOOTTIME + this */
};
void clock_tell(struct clock_told *told, uint64_t time_ms);
uint64_t clock_told_ms(const struct clock_told *told); /* only when it is known */

#endif
