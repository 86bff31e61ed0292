/* The lobby: who may wait before he has said who he is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "concentrator/lobby.h"

#define PLACES 4

static struct addr ip(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse_ip(&a, text), 0);
    return a;
}

static struct addr numbered(unsigned n)
{
    return (struct addr){.family = 4, .ip = {198, 18, (uint8_t)(n >> 8), (uint8_t)n}};
}

static bool enter(struct lobby *l, const struct addr *a)
{
    return lobby_enter(l, a, PLACES, 1000);
}

static void a_source_has_so_many_places(void **state)
{
    struct lobby *l = lobby_new();
    struct addr one = ip("192.0.2.1"), two = ip("192.0.2.2");

    for (int i = 0; i < 4; i++)
        assert_true(enter(l, &one));
    assert_false(enter(l, &one));
    assert_true(enter(l, &two));
    lobby_leave(l, &one);
    assert_true(enter(l, &one));
    assert_int_equal(lobby_count(l), 5);
    lobby_free(l);
}

static void an_ipv6_source_is_a_slash_64(void **state)
{
    struct lobby *l = lobby_new();
    struct addr same[] = {ip("2001:db8::1"), ip("2001:db8::2"), ip("2001:db8:0:0:ffff::"),
                          ip("2001:db8::1")};
    struct addr next = ip("2001:db8:0:1::1"), fifth = ip("2001:db8::3");

    for (int i = 0; i < 4; i++)
        assert_true(enter(l, &same[i]));
    assert_false(enter(l, &fifth));
    assert_true(enter(l, &next));
    lobby_free(l);
}

static void who_is_vouched_for_may_come_in_numbers(void **state)
{
    struct lobby *l = lobby_new();
    struct addr home = ip("192.0.2.1");

    lobby_vouch(l, &home, 1000);
    for (int i = 0; i < 20; i++)
        assert_true(lobby_enter(l, &home, PLACES, 1000 + LOBBY_VOUCHED_MS - 1));
    assert_false(lobby_enter(l, &home, PLACES, 1000 + LOBBY_VOUCHED_MS));
    for (int i = 0; i < 20; i++)
        lobby_leave(l, &home);
    assert_int_equal(lobby_count(l), 0);
    lobby_free(l);
}

static void vouched_sources_are_bounded(void **state)
{
    struct lobby *l = lobby_new();
    struct addr late = ip("192.0.2.1");

    for (unsigned n = 0; n < LOBBY_VOUCHED_MAX; n++) {
        struct addr a = numbered(n);
        lobby_vouch(l, &a, n);
    }
    lobby_vouch(l, &late, 5000);
    assert_true(lobby_enter(l, &late, 1, 5000));
    assert_false(lobby_enter(l, &late, 1, 5000));
    lobby_vouch(l, &late, LOBBY_VOUCHED_MS); /* the first one has expired */
    assert_true(lobby_enter(l, &late, 1, LOBBY_VOUCHED_MS));
    lobby_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_has_so_many_places),
        cmocka_unit_test(an_ipv6_source_is_a_slash_64),
        cmocka_unit_test(who_is_vouched_for_may_come_in_numbers),
        cmocka_unit_test(vouched_sources_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
