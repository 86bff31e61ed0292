/* The snapshot of gateways: found by id, replaced on reload, with accounts that stay; and what an
 * account allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "concentrator/peers.h"
#include "tests/unit/concentrator_fixture.h"

static struct peers *make(struct concentrator_config *config, const struct peers *before)
{
    struct peers *peers;

    assert_int_equal(peers_new(&peers, config, before), 0);
    return peers;
}

/* By its key's number. */
static const struct peer *find(const struct peers *peers, unsigned number)
{
    const struct key key = fixture_key(number);

    return peers_find(peers, key.id);
}

static void every_gateway_is_found_by_its_id(void **state)
{
    enum { MANY = 50 };
    struct concentrator_config *config = fixture_config(MANY);
    struct key stranger = fixture_key(MANY);

    for (size_t i = 0; i < MANY / 2; i++) { /* any order will do */
        struct peer_config swap = config->peers[i];
        config->peers[i] = config->peers[MANY - 1 - i];
        config->peers[MANY - 1 - i] = swap;
    }
    struct peers *peers = make(config, NULL);
    assert_int_equal(peers_count(peers), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        struct key key = fixture_key(i);
        char name[16];
        snprintf(name, sizeof(name), "g%u", i);
        const struct peer *peer = peers_find(peers, key.id);
        assert_non_null(peer);
        assert_string_equal(peer->config->name, name);
    }
    assert_null(peers_find(peers, stranger.id));
    peers_unref(peers);
}

static void a_snapshot_lives_as_long_as_somebody_uses_it(void **state)
{
    struct peers *peers = make(fixture_config(1), NULL);
    struct peers *other = peers_ref(peers);

    peers_unref(peers);
    assert_string_equal(find(other, 0)->config->name, "g0");
    peers_unref(other);
}

static void reload_keeps_the_account_and_takes_the_limits(void **state)
{
    struct peers *before = make(fixture_config(2), NULL);
    struct concentrator_config *config = fixture_config(3);
    struct account_figures figures;

    account_add_bytes(find(before, 0)->account, 5, 7, 1);
    config->peers[0].max_flows = 9;
    struct peers *now = make(config, before);
    const struct peer *again = peers_find_again(now, find(before, 0));
    peers_unref(before);
    assert_int_equal(again->limits.max_flows, 9);
    account_read(again->account, &figures);
    assert_int_equal(figures.rx_bytes, 5);
    assert_int_equal(figures.tx_bytes, 7);
    peers_unref(now);
}

static void another_secret_or_none_is_another_gateway(void **state)
{
    struct peers *before = make(fixture_config(2), NULL);
    struct concentrator_config *config = fixture_config(1);

    config->peers[0].keys.keys[0].secret[31] ^= 1;
    struct peers *now = make(config, before);
    assert_null(peers_find_again(now, find(before, 0)));
    assert_null(peers_find_again(now, find(before, 1)));
    peers_unref(before);
    peers_unref(now);
}

/* Gateway g0 has the keys of these numbers, g1 that of number 9. */
static struct concentrator_config *with_keys(size_t n, unsigned first, unsigned second)
{
    struct concentrator_config *config = fixture_config(2);

    config->peers[0].keys =
        (struct key_ring){.keys = {fixture_key(first), fixture_key(second)}, .n = n};
    config->peers[1].keys.keys[0] = fixture_key(9);
    return config;
}

static void two_keys_are_one_gateway(void **state)
{
    struct peers *peers = make(with_keys(2, 0, 1), NULL);
    const struct peer *a = find(peers, 0), *b = find(peers, 1);
    struct account_figures figures;

    assert_int_equal(peers_count(peers), 2);
    assert_ptr_equal(a->config, b->config);
    assert_ptr_equal(a->account, b->account);
    assert_ptr_not_equal(a->account, find(peers, 9)->account);
    for (int i = 0; i < 2; i++) { /* its max_flows */
        assert_true(peer_move(i ? b : a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED, 1));
        assert_true(peer_move(i ? b : a, ACCOUNT_GREETED, ACCOUNT_DIALING, 1));
    }
    assert_false(peer_move(b, ACCOUNT_OUTSIDE, ACCOUNT_GREETED, 1));
    account_read(a->account, &figures);
    assert_int_equal(figures.flows, 2);
    account_read(b->key_account, &figures);
    assert_int_equal(figures.flows, 1);
    peers_unref(peers);
}

/* The old key alone, a new one beside it, the new one alone. */
static void a_key_takes_anothers_place(void **state)
{
    struct peers *old = make(with_keys(1, 0, 0), NULL);
    struct peers *both = make(with_keys(2, 0, 1), old);
    struct peers *renewed = make(with_keys(1, 1, 0), both);

    assert_ptr_equal(peers_find_again(both, find(old, 0)), find(both, 0));
    assert_null(peers_find_again(renewed, find(both, 0)));
    assert_ptr_equal(peers_find_again(renewed, find(both, 1)), find(renewed, 1));
    assert_ptr_equal(find(renewed, 1)->account, find(old, 0)->account);
    assert_ptr_equal(find(renewed, 1)->key_account, find(both, 1)->key_account);
    assert_ptr_not_equal(find(both, 1)->key_account, find(both, 0)->key_account);
    peers_unref(old);
    peers_unref(both);
    peers_unref(renewed);
}

/* What was counted for one must not be taken from the other. */
static void a_key_that_goes_to_another_gateway_begins_anew(void **state)
{
    struct peers *together = make(with_keys(2, 0, 1), NULL);
    struct peers *apart = make(fixture_config(2), together);
    struct peers *again = make(with_keys(2, 0, 1), apart);

    assert_non_null(peers_find_again(apart, find(together, 0)));
    assert_null(peers_find_again(apart, find(together, 1)));
    assert_ptr_not_equal(find(apart, 0)->account, find(apart, 1)->account);
    assert_non_null(peers_find_again(again, find(apart, 0)));
    assert_null(peers_find_again(again, find(apart, 1)));
    peers_unref(together);
    peers_unref(apart);
    peers_unref(again);
}

static const struct account_limits limits = {
    .max_flows = 3, .max_warm = 2, .max_dialing = 2, .max_dials_per_second = 400};

static bool move(struct account *a, enum account_place from, enum account_place to)
{
    return account_move(a, from, to, &limits, 1000);
}

static void max_flows_binds_those_that_dial_or_relay(void **state)
{
    struct account *a = account_new();
    struct account_figures figures;

    for (int i = 0; i < 3; i++) {
        assert_true(move(a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED));
        assert_true(move(a, ACCOUNT_GREETED, ACCOUNT_DIALING));
        assert_true(move(a, ACCOUNT_DIALING, ACCOUNT_RELAYING));
    }
    assert_false(move(a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED));
    account_read(a, &figures);
    assert_int_equal(figures.flows, 3);
    assert_int_equal(figures.total, 3);
    assert_true(move(a, ACCOUNT_RELAYING, ACCOUNT_OUTSIDE));
    assert_true(move(a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED));
    account_unref(a);
}

static void a_burst_may_be_greeted_but_not_stay(void **state)
{
    struct account *a = account_new();

    for (int i = 0; i < 5; i++)
        assert_true(move(a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED));
    assert_false(move(a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED));
    assert_true(move(a, ACCOUNT_GREETED, ACCOUNT_WARM));
    assert_true(move(a, ACCOUNT_GREETED, ACCOUNT_WARM));
    assert_false(move(a, ACCOUNT_GREETED, ACCOUNT_WARM));
    assert_true(move(a, ACCOUNT_WARM, ACCOUNT_DIALING));
    assert_true(move(a, ACCOUNT_GREETED, ACCOUNT_WARM));
    account_unref(a);
}

static void pending_dials_are_bounded(void **state)
{
    struct account *a = account_new();

    for (int i = 0; i < 3; i++)
        assert_true(move(a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED));
    assert_true(move(a, ACCOUNT_GREETED, ACCOUNT_DIALING));
    assert_true(move(a, ACCOUNT_GREETED, ACCOUNT_DIALING));
    assert_false(move(a, ACCOUNT_GREETED, ACCOUNT_DIALING));
    assert_true(move(a, ACCOUNT_GREETED, ACCOUNT_ENDING)); /* always possible */
    assert_true(move(a, ACCOUNT_ENDING, ACCOUNT_OUTSIDE));
    account_unref(a);
}

static void dials_and_challenges_have_a_rate(void **state)
{
    const struct account_limits many = {
        .max_flows = 9999, .max_warm = 9999, .max_dialing = 9999, .max_dials_per_second = 30};
    struct account *a = account_new();

    for (int i = 0; i < (int)many.max_dials_per_second + 1; i++)
        account_move(a, ACCOUNT_OUTSIDE, ACCOUNT_GREETED, &many, 5000);
    for (int i = 0; i < (int)many.max_dials_per_second; i++)
        assert_true(account_move(a, ACCOUNT_GREETED, ACCOUNT_DIALING, &many, 5000));
    assert_false(account_move(a, ACCOUNT_GREETED, ACCOUNT_DIALING, &many, 5999));
    assert_true(account_move(a, ACCOUNT_GREETED, ACCOUNT_DIALING, &many, 6000));
    for (int i = 0; i < ACCOUNT_CHALLENGES_PER_SECOND; i++)
        assert_true(account_may_challenge(a, 7000));
    assert_false(account_may_challenge(a, 7999));
    assert_true(account_may_challenge(a, 8000));
    account_unref(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gateway_is_found_by_its_id),
        cmocka_unit_test(a_snapshot_lives_as_long_as_somebody_uses_it),
        cmocka_unit_test(reload_keeps_the_account_and_takes_the_limits),
        cmocka_unit_test(another_secret_or_none_is_another_gateway),
        cmocka_unit_test(two_keys_are_one_gateway),
        cmocka_unit_test(a_key_takes_anothers_place),
        cmocka_unit_test(a_key_that_goes_to_another_gateway_begins_anew),
        cmocka_unit_test(max_flows_binds_those_that_dial_or_relay),
        cmocka_unit_test(a_burst_may_be_greeted_but_not_stay),
        cmocka_unit_test(pending_dials_are_bounded),
        cmocka_unit_test(dials_and_challenges_have_a_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
