/* The pool of relay buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "core/buffer.h"

#define KEEP 4

static void hands_out_empty_buffers(void **state)
{
    struct buffer_pool *pool = buffer_pool_new(KEEP);
    struct buffer *a = buffer_get(pool), *b = buffer_get(pool);

    assert_true(a && b && a != b);
    assert_int_equal(buffer_pool_used(pool), 2);
    assert_int_equal(buffer_length(a), 0);
    memset(a->data, 1, BUFFER_SIZE); /* all of it is there */
    a->start = 3;
    a->end = 10;
    assert_int_equal(buffer_length(a), 7);
    buffer_put(pool, a);
    assert_int_equal(buffer_pool_used(pool), 1);
    a = buffer_get(pool);
    assert_int_equal(a->start, 0);
    assert_int_equal(a->end, 0);
    buffer_put(pool, a);
    buffer_put(pool, b);
    buffer_put(pool, NULL);
    assert_int_equal(buffer_pool_used(pool), 0);
    buffer_pool_free(pool);
}

/* The count stays right however many come and go; nothing leaks (AddressSanitizer looks). */
static void keeps_a_few(void **state)
{
    for (size_t keep = 0; keep <= KEEP; keep += KEEP) {
        struct buffer_pool *pool = buffer_pool_new(keep);
        struct buffer *all[3 * KEEP];
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < 3 * KEEP; i++) {
                all[i] = buffer_get(pool);
                assert_non_null(all[i]);
                assert_int_equal(buffer_pool_used(pool), i + 1);
            }
            for (size_t i = 0; i < 3 * KEEP; i++)
                buffer_put(pool, all[i]);
            assert_int_equal(buffer_pool_used(pool), 0);
            if (round == 1)
                buffer_pool_trim(pool);
        }
        buffer_pool_free(pool);
    }
}

static void last_put_is_first_got(void **state)
{
    struct buffer_pool *pool = buffer_pool_new(KEEP);
    struct buffer *a = buffer_get(pool), *b = buffer_get(pool);

    buffer_put(pool, a);
    buffer_put(pool, b);
    assert_ptr_equal(buffer_get(pool), b); /* still warm in the cache */
    assert_ptr_equal(buffer_get(pool), a);
    buffer_put(pool, a);
    buffer_put(pool, b);
    buffer_pool_trim(pool);
    buffer_pool_trim(pool);
    buffer_pool_free(pool);
}

/* Larger ones are for those that need them, and are not kept. */
static void larger_ones_on_demand(void **state)
{
    static const size_t sizes[] = {0, 1, BUFFER_SIZE, BUFFER_SIZE + 1, WORKSPACE_SIZE};
    struct buffer_pool *pool = buffer_pool_new(KEEP);

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct buffer *large = buffer_get_for(pool, sizes[i]);
            size_t room = sizes[i] < BUFFER_SIZE ? BUFFER_SIZE : sizes[i];
            memset(large->data, 1, room);
            assert_int_equal(large->size, room);
            assert_int_equal(buffer_length(large), 0);
            assert_int_equal(buffer_pool_used(pool), 1);
            buffer_put(pool, large);
            struct buffer *small = buffer_get(pool);
            assert_int_equal(small->size, BUFFER_SIZE);
            buffer_put(pool, small);
        }
    }
    buffer_pool_free(pool);
}

static void one_workspace_for_all(void **state)
{
    struct buffer_pool *pool = buffer_pool_new(KEEP);
    uint8_t *workspace = buffer_pool_workspace(pool);

    memset(workspace, 1, WORKSPACE_SIZE);
    buffer_pool_trim(pool);
    assert_ptr_equal(buffer_pool_workspace(pool), workspace);
    assert_int_equal(buffer_pool_used(pool), 0);
    buffer_pool_free(pool);
}

static void frees_nothing(void **state)
{
    buffer_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_empty_buffers), cmocka_unit_test(keeps_a_few),
        cmocka_unit_test(last_put_is_first_got),   cmocka_unit_test(larger_ones_on_demand),
        cmocka_unit_test(one_workspace_for_all),   cmocka_unit_test(frees_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
