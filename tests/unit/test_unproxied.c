/* Which uplink carries what is not proxied, and when it moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gateway/unproxied.h"

#define START_MS 1000

struct house {
    struct unproxied_view views[3];
    uint64_t now_ms, again_ms;
    int current;
};

/* All usable from the start. */
static struct house house(uint32_t cost0, uint32_t cost1, uint32_t cost2)
{
    struct house h = {.views = {{.cost = cost0, .rank = 0},
                                {.cost = cost1, .rank = 1},
                                {.cost = cost2, .rank = 2}},
                      .now_ms = START_MS,
                      .current = UNPROXIED_NONE};

    for (int i = 0; i < 3; i++)
        unproxied_note(&h.views[i], true, h.now_ms);
    return h;
}

static int choose(struct house *h)
{
    h->current = unproxied_choose(h->views, 3, h->current, h->now_ms, &h->again_ms);
    return h->current;
}

static int turn(struct house *h, int index, bool usable)
{
    unproxied_note(&h->views[index], usable, h->now_ms);
    return choose(h);
}

static void the_cheapest_then_the_first(void **state)
{
    struct house h = house(10, 5, 5);

    assert_int_equal(choose(&h), 1);
    assert_int_equal(h.again_ms, 0);
    assert_int_equal(turn(&h, 1, false), 2);
    assert_int_equal(turn(&h, 2, false), 0);
    assert_int_equal(turn(&h, 0, false), UNPROXIED_NONE);
    assert_int_equal(h.again_ms, 0);
    assert_int_equal(turn(&h, 0, true), 0);
    assert_int_equal(unproxied_choose(h.views, 0, UNPROXIED_NONE, h.now_ms, &h.again_ms),
                     UNPROXIED_NONE);
}

/* Since a reload has put them in another order. */
static void the_first_is_that_of_the_configuration(void **state)
{
    struct house h = house(5, 5, 5);

    h.views[0].rank = 2;
    h.views[2].rank = 0;
    assert_int_equal(choose(&h), 2);
    assert_int_equal(turn(&h, 2, false), 1);
    assert_int_equal(turn(&h, 1, false), 0);
}

static void comes_back_when_it_has_been_well(void **state)
{
    struct house h = house(0, 10, 20);

    choose(&h);
    assert_int_equal(turn(&h, 0, false), 1);
    assert_int_equal(h.again_ms, 0);
    h.now_ms += 5000;
    assert_int_equal(turn(&h, 0, true), 1);
    assert_int_equal(h.again_ms, h.now_ms + UNPROXIED_RETURN_MS);
    h.now_ms += UNPROXIED_RETURN_MS - 1;
    assert_int_equal(turn(&h, 0, true), 1);
    assert_int_equal(h.again_ms, h.now_ms + 1);
    h.now_ms++;
    assert_int_equal(choose(&h), 0);
    assert_int_equal(h.again_ms, 0);
}

/* Every loss of the cable starts the time anew. */
static void one_that_flaps_is_not_followed(void **state)
{
    struct house h = house(0, 10, 20);

    choose(&h);
    turn(&h, 0, false);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(turn(&h, 0, true), 1);
        h.now_ms += UNPROXIED_RETURN_MS - 1;
        assert_int_equal(choose(&h), 1);
        assert_int_equal(turn(&h, 0, false), 1);
        assert_int_equal(h.again_ms, 0);
    }
}

/* There is nothing to lose: who is left carries, however short it has been well. */
static void without_the_current_one_there_is_no_waiting(void **state)
{
    struct house h = house(0, 10, 20);

    choose(&h);
    turn(&h, 0, false);
    turn(&h, 0, true);
    assert_int_equal(turn(&h, 1, false), 0);
    assert_int_equal(h.again_ms, 0);
}

static void of_equal_ones_the_first_is_taken_back(void **state)
{
    struct house h = house(7, 7, 7);

    choose(&h);
    assert_int_equal(turn(&h, 0, false), 1);
    turn(&h, 2, false);
    h.now_ms += 1000;
    turn(&h, 0, true);
    turn(&h, 2, true);
    h.now_ms += UNPROXIED_RETURN_MS;
    assert_int_equal(choose(&h), 0);
    h.now_ms += UNPROXIED_RETURN_MS;
    assert_int_equal(choose(&h), 0);
}

/* Two better ones come back: first the one that is ripe, then the best. */
static void step_by_step(void **state)
{
    struct house h = house(0, 10, 20);

    turn(&h, 0, false);
    assert_int_equal(turn(&h, 1, false), 2);
    turn(&h, 1, true);
    h.now_ms += 10000;
    assert_int_equal(turn(&h, 0, true), 2);
    assert_int_equal(h.again_ms, START_MS + UNPROXIED_RETURN_MS);
    h.now_ms = h.again_ms;
    assert_int_equal(choose(&h), 1);
    assert_int_equal(h.again_ms, h.now_ms + 10000);
    h.now_ms = h.again_ms;
    assert_int_equal(choose(&h), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cheapest_then_the_first),
        cmocka_unit_test(the_first_is_that_of_the_configuration),
        cmocka_unit_test(comes_back_when_it_has_been_well),
        cmocka_unit_test(one_that_flaps_is_not_followed),
        cmocka_unit_test(without_the_current_one_there_is_no_waiting),
        cmocka_unit_test(of_equal_ones_the_first_is_taken_back),
        cmocka_unit_test(step_by_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
