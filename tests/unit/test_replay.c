/* The replay cache: exact, bounded for each gateway, forgets by age alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "concentrator/replay.h"

#define QUOTA 20000

static const uint8_t home[KEY_ID] = "homehome", office[KEY_ID] = "officeof";

static void fill_salt(uint8_t salt[HELLO_SALT], uint32_t n)
{
    memset(salt, 0, HELLO_SALT);
    memcpy(salt + 7, &n, sizeof(n));
}

static enum replay_verdict insert(struct replay *r, const uint8_t *id, uint32_t n, uint64_t now_ms)
{
    uint8_t salt[HELLO_SALT];

    fill_salt(salt, n);
    return replay_insert(r, id, salt, QUOTA, now_ms);
}

static bool contains(struct replay *r, const uint8_t *id, uint32_t n, uint64_t now_ms)
{
    uint8_t salt[HELLO_SALT];

    fill_salt(salt, n);
    return replay_contains(r, id, salt, now_ms);
}

static void a_salt_is_new_once(void **state)
{
    struct replay *r = replay_new();

    assert_false(contains(r, home, 1, 0));
    assert_int_equal(insert(r, home, 1, 0), REPLAY_NEW);
    assert_true(contains(r, home, 1, 0));
    assert_int_equal(insert(r, home, 1, 0), REPLAY_SEEN);
    assert_int_equal(insert(r, home, 2, 0), REPLAY_NEW);
    replay_free(r);
}

static void each_gateway_has_its_own_salts(void **state)
{
    struct replay *r = replay_new();

    assert_int_equal(insert(r, home, 1, 0), REPLAY_NEW);
    assert_int_equal(insert(r, office, 1, 0), REPLAY_NEW);
    assert_int_equal(insert(r, office, 1, 0), REPLAY_SEEN);
    replay_free(r);
}

static void a_salt_is_kept_for_90_seconds(void **state)
{
    struct replay *r = replay_new();

    insert(r, home, 1, 1000);
    assert_int_equal(insert(r, home, 1, 1000 + REPLAY_KEPT_MS - 1), REPLAY_SEEN);
    assert_false(contains(r, home, 1, 1000 + REPLAY_KEPT_MS));
    assert_int_equal(replay_count(r), 0);
    assert_int_equal(insert(r, home, 1, 1000 + REPLAY_KEPT_MS), REPLAY_NEW);
    replay_free(r);
}

/* With a quota of 3. */
static enum replay_verdict insert_of_3(struct replay *r, const uint8_t *id, uint32_t n,
                                       uint64_t now_ms)
{
    uint8_t salt[HELLO_SALT];

    fill_salt(salt, n);
    return replay_insert(r, id, salt, 3, now_ms);
}

static void a_full_quota_evicts_nothing_and_binds_one_gateway(void **state)
{
    struct replay *r = replay_new();

    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(insert_of_3(r, home, i, i), REPLAY_NEW);
    assert_int_equal(insert_of_3(r, home, 3, 3), REPLAY_FULL);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(insert_of_3(r, home, i, 3), REPLAY_SEEN);
    assert_int_equal(insert_of_3(r, office, 0, 3), REPLAY_NEW);
    assert_int_equal(insert_of_3(r, home, 3, REPLAY_KEPT_MS), REPLAY_NEW);
    assert_int_equal(insert_of_3(r, home, 4, REPLAY_KEPT_MS), REPLAY_FULL);
    replay_free(r);
}

static void many_salts_stay_exact_while_the_table_grows(void **state)
{
    enum { MANY = QUOTA };
    struct replay *r = replay_new();

    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(insert(r, home, i, i), REPLAY_NEW);
    assert_int_equal(replay_count(r), MANY);
    for (uint32_t i = 0; i < MANY; i++)
        assert_true(contains(r, home, i, MANY));
    assert_false(contains(r, home, MANY, MANY));
    assert_false(contains(r, home, 0, REPLAY_KEPT_MS + MANY / 2));
    assert_true(contains(r, home, MANY - 1, REPLAY_KEPT_MS + MANY / 2));
    assert_int_equal(replay_count(r), MANY - MANY / 2 - 1);
    replay_free(r);
}

static void another_process_goes_on_with_the_list(void **state)
{
    enum { MANY = 3000 };
    struct replay *old = replay_new(), *new = replay_new();
    struct replay_entry *list;
    size_t n;

    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(insert(old, i % 2 ? home : office, i, i), REPLAY_NEW);
    assert_int_equal(replay_list(old, &list, &n), 0);
    assert_int_equal(n, MANY);
    assert_int_equal(replay_restore(new, list, n), 0);
    assert_int_equal(replay_count(new), MANY);
    assert_true(contains(new, home, 1, MANY) && contains(new, office, 2, MANY));
    assert_false(contains(new, home, 2, MANY));
    assert_int_equal(insert(new, home, MANY - 1, MANY), REPLAY_SEEN);
    /* By age, as in the old one; and counted for its gateway. */
    assert_false(contains(new, home, 1, REPLAY_KEPT_MS + 1));
    assert_true(contains(new, home, 3, REPLAY_KEPT_MS + 1));
    assert_int_equal(insert_of_3(new, home, MANY + 1, REPLAY_KEPT_MS + 1), REPLAY_FULL);
    free(list);
    replay_free(old);
    replay_free(new);
}

static void an_empty_list(void **state)
{
    struct replay *r = replay_new();
    struct replay_entry *list;
    size_t n;

    assert_int_equal(replay_list(r, &list, &n), 0);
    assert_int_equal(n, 0);
    assert_null(list);
    assert_int_equal(replay_restore(r, list, n), 0);
    replay_free(r);
}

struct race {
    struct replay *replay;
    atomic_uint won;
};

static void *insert_all(void *arg)
{
    struct race *race = arg;

    for (uint32_t i = 0; i < 5000; i++)
        atomic_fetch_add(&race->won, insert(race->replay, home, i, 0) == REPLAY_NEW);
    return NULL;
}

static void of_two_threads_one_wins_each_salt(void **state)
{
    struct race race = {.replay = replay_new()};
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, insert_all, &race), 0);
    insert_all(&race);
    pthread_join(other, NULL);
    assert_int_equal(race.won, 5000);
    replay_free(race.replay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_salt_is_new_once),
        cmocka_unit_test(each_gateway_has_its_own_salts),
        cmocka_unit_test(a_salt_is_kept_for_90_seconds),
        cmocka_unit_test(a_full_quota_evicts_nothing_and_binds_one_gateway),
        cmocka_unit_test(many_salts_stay_exact_while_the_table_grows),
        cmocka_unit_test(another_process_goes_on_with_the_list),
        cmocka_unit_test(an_empty_list),
        cmocka_unit_test(of_two_threads_one_wins_each_salt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
