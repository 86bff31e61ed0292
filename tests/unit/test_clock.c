/* The clocks: they go on, and the finer one is the same as the coarser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <cmocka.h>

#include "core/clock.h"

static void both_units_tell_the_same_time(void **state)
{
    uint64_t before_ms = clock_now_ms(), us = clock_now_us(), after_ms = clock_now_ms();

    assert_in_range(us / 1000, before_ms, after_ms);
}

static void it_goes_on_and_never_back(void **state)
{
    uint64_t first_us = clock_now_us(), now_us = first_us, next_us;

    do { /* beyond a second, tv_nsec begins anew */
        next_us = clock_now_us();
        assert_true(next_us >= now_us && next_us - now_us < 60000000);
        now_us = next_us;
    } while (now_us - first_us < 1100000);
}

static void the_others_are_the_kernels(void **state)
{
    struct timespec boot, wall;

    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_REALTIME, &wall);
    assert_true(clock_boot_ms() - (uint64_t)boot.tv_sec * 1000 < 60000);
    assert_true(clock_wall_ms() - (uint64_t)wall.tv_sec * 1000 < 60000);
}

/* Whatever the wall clock says. */
static void told_by_one_who_knows(void **state)
{
    struct clock_told told = {0};

    assert_false(told.known);
    clock_tell(&told, 5);
    assert_true(told.known);
    assert_in_range(clock_told_ms(&told), 5, 60005);
    clock_tell(&told, UINT64_C(4102444800000));
    assert_in_range(clock_told_ms(&told), UINT64_C(4102444800000), UINT64_C(4102444860000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_units_tell_the_same_time),
        cmocka_unit_test(it_goes_on_and_never_back),
        cmocka_unit_test(the_others_are_the_kernels),
        cmocka_unit_test(told_by_one_who_knows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
