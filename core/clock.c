#include "core/clock.h"

#include <time.h>

static uint64_t read_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_now_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}

uint64_t clock_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_boot_ms(void)
{
    return read_ms(CLOCK_BOOTTIME);
}

uint64_t clock_wall_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

void clock_tell(struct clock_told *told, uint64_t time_ms)
{
    *told = (struct clock_told){.known = true, .offset_ms = (int64_t)(time_ms - clock_boot_ms())};
}

uint64_t clock_told_ms(const struct clock_told *told)
{
    return clock_boot_ms() + (uint64_t)told->offset_ms;
}
