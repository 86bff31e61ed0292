/* What an uplink can carry, and whether it is full: by what it carries, and how late answers are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/capacity.h"

#define MS 1000ull
#define MBIT 1000000ull
#define LOOK_US 20000u
#define RTT_US 20000u

static struct capacity c;
static struct capacity_look now;

/* Rates in kb/s, for so long; an answer, so late, every 40 ms. */
static void carry(uint64_t down_kbps, uint64_t up_kbps, uint32_t late_ms, uint64_t ms)
{
    for (uint64_t us = 0; us < ms * MS; us += LOOK_US) {
        now.now_us += LOOK_US;
        now.rx_bytes += down_kbps * LOOK_US / 8000;
        now.tx_bytes += up_kbps * LOOK_US / 8000;
        now.delay_us = RTT_US + late_ms * 1000;
        capacity_note(&c, &now);
        if (us % (2 * LOOK_US) == 0)
            capacity_answered(&c, now.delay_us);
    }
}

/* It has been idle for a while. */
static int start(void **state)
{
    memset(&c, 0, sizeof(c));
    now = (struct capacity_look){.now_us = 1};
    carry(0, 0, 0, 1000);
    return 0;
}

static void assert_about(uint64_t bps, uint64_t mbps)
{
    assert_in_range(bps, mbps * MBIT * 95 / 100, mbps * MBIT * 105 / 100);
}

static void what_fills_it_is_what_it_can(void **state)
{
    carry(50000, 1200, 40, 500);
    assert_true(c.full && c.down.proven);
    assert_about(c.down.bps, 50);
    assert_false(c.up.proven); /* acknowledgements */
    carry(0, 0, 0, 500);
    carry(300, 10000, 60, 500);
    assert_true(c.full && c.up.proven);
    assert_about(c.up.bps, 10);
    assert_about(c.down.bps, 50);
}

static void what_asks_for_less_does_not_fill_it(void **state)
{
    carry(20000, 500, 0, 5000);
    assert_false(c.full || c.down.proven);
    assert_about(c.down.bps, 20); /* at least */
    carry(50000, 1200, 40, 1000);
    carry(46000, 1200, 0, 5000);
    assert_false(c.full);
    assert_about(c.down.bps, 50);
}

static void a_sender_who_avoids_queues_fills_it_too(void **state)
{
    carry(50000, 1200, 40, 400);
    for (int i = 0; i < 100; i++) {
        carry(49500, 1200, 0, 140);
        carry(49500, 1200, 5, 20); /* he tries for more now and then */
        assert_true(c.full);
    }
}

static void a_proof_that_nothing_confirms_expires(void **state)
{
    carry(50000, 1200, 40, 1000); /* a queue, but of others, say */
    carry(50000, 1200, 0, 2000);
    assert_true(c.full);
    carry(50000, 1200, 0, 2000);
    assert_false(c.full || c.down.proven);
    assert_about(c.down.bps, 50);
}

static void it_follows_what_changes(void **state)
{
    carry(50000, 1200, 40, 1000);
    carry(20000, 500, 90, 1500);
    assert_true(c.full && c.down.proven);
    assert_in_range(c.down.bps, 19 * MBIT, 26 * MBIT);
    carry(20000, 500, 90, 1500);
    assert_about(c.down.bps, 20);
    carry(50000, 1200, 40, 1500);
    assert_about(c.down.bps, 50);
}

static void more_than_was_proven_voids_it(void **state)
{
    carry(20000, 500, 40, 1000);
    carry(30000, 700, 0, 100);
    assert_true(c.down.proven); /* one window may hold what had piled up */
    carry(30000, 700, 0, 200);
    assert_false(c.down.proven || c.full);
    assert_about(c.down.bps, 30);
}

/* Which direction a queue is in, nobody knows while both carry much. */
static void both_at_once_prove_nothing(void **state)
{
    carry(20000, 10000, 60, 2000);
    assert_true(c.full);
    assert_false(c.down.proven || c.up.proven);
}

static void a_queue_of_others_is_not_ours(void **state)
{
    carry(50000, 1200, 40, 1000);
    carry(0, 0, 0, 100);
    carry(2000, 60, 60, 3000);
    assert_false(c.full);
    assert_about(c.down.bps, 50);
}

/* A queue that stands for an hour is one all the time. */
static void long_queues_are_not_what_is_usual(void **state)
{
    for (int i = 0; i < 3600; i++) {
        carry(50000, 1200, 40, 1000);
        assert_true(c.full);
    }
}

/* Another way through the network is learnt as soon as next to nothing is carried. */
static void what_is_usual_may_change(void **state)
{
    carry(10, 10, 50, 1000);
    carry(20000, 500, 50, 1000);
    assert_false(c.full);
    carry(20000, 500, 0, 1000);
    carry(20000, 500, 40, 1000);
    assert_true(c.full);
}

/* One burst that drains within a tenth of a second proves nothing. */
static void bursts_prove_nothing(void **state)
{
    for (int i = 0; i < 20; i++) {
        carry(30000, 700, 30, 140);
        carry(0, 0, 0, 180);
    }
    assert_false(c.down.proven);
}

/* What drains last is not all that it can: answers are still late when little is left. */
static void a_queue_that_ends_proves_nothing(void **state)
{
    carry(300, 10000, 60, 1000);
    for (int i = 0; i < 20; i++) {
        carry(300, 10000, 60, 300 + i % 5 * 20);
        carry(150, 5000, 60, 60); /* they tell of what was */
        carry(150, 5000, 0, 500);
        assert_about(c.up.bps, 10);
    }
}

/* A radio whose answers vary: 30 ms of it are no queue, 60 are. */
static void jitter_is_no_queue(void **state)
{
    for (int i = 0; i < 100; i++)
        carry(0, 0, i % 3 * 15, 40);
    for (int i = 0; i < 50; i++) {
        carry(20000, 500, i % 3 * 15, 40);
        assert_false(c.full);
    }
    carry(40000, 1000, 60, 300);
    assert_true(c.full);
}

static void a_rest_ends_all(void **state)
{
    carry(50000, 1200, 40, 1000);
    capacity_rest(&c);
    assert_false(c.full);
    assert_int_equal(c.down.rate_bps, 0);
    assert_about(c.down.bps, 50);
    carry(50000, 1200, 40, 100);
    now.now_us += 3000 * MS; /* nobody looked */
    capacity_note(&c, &now);
    assert_false(c.full);
    now.rx_bytes = now.tx_bytes = 0; /* another interface */
    now.now_us += LOOK_US;
    capacity_note(&c, &now);
    carry(10000, 200, 0, 200);
    assert_about(c.down.rate_bps, 10);
    assert_about(c.down.bps, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_fills_it_is_what_it_can, start),
        cmocka_unit_test_setup(what_asks_for_less_does_not_fill_it, start),
        cmocka_unit_test_setup(a_sender_who_avoids_queues_fills_it_too, start),
        cmocka_unit_test_setup(a_proof_that_nothing_confirms_expires, start),
        cmocka_unit_test_setup(it_follows_what_changes, start),
        cmocka_unit_test_setup(more_than_was_proven_voids_it, start),
        cmocka_unit_test_setup(both_at_once_prove_nothing, start),
        cmocka_unit_test_setup(a_queue_of_others_is_not_ours, start),
        cmocka_unit_test_setup(long_queues_are_not_what_is_usual, start),
        cmocka_unit_test_setup(what_is_usual_may_change, start),
        cmocka_unit_test_setup(a_queue_that_ends_proves_nothing, start),
        cmocka_unit_test_setup(bursts_prove_nothing, start),
        cmocka_unit_test_setup(jitter_is_no_queue, start),
        cmocka_unit_test_setup(a_rest_ends_all, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
