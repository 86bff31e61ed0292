/* How much is kept under way: the decision in a closed loop with a connection over links that are
 * simulated in steps of a millisecond. What is asked for is what users see: full rate, a short
 * queue, and nobody starved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/sendroom.h"

/* ---- links ---- */

#define RING 16384 /* milliseconds */
#define SEGMENT 1448.0
#define BURST 65536.0 /* what the packet scheduler gives to one path before it looks again */
#define KERNEL_MAX (16 << 20) /* as far as the kernel lets a send buffer grow */
#define PATHS 2

struct path {
    double rate; /* bytes/ms; 0: there is no such path */
    unsigned base_ms;
    unsigned wander_ms;  /* beside it, without a queue */
    unsigned foreign_ms; /* somebody else keeps the queue that long, at least */
    double cwnd, inflight, queued;
    double acks[RING], took_ms[RING];
    unsigned last;
    double srtt_ms, min_ms;
    unsigned used_ms; /* when it last carried something */
    unsigned heard_ms;
    bool silent;
};

struct world {
    unsigned now_ms;
    struct path path[PATHS];
    struct sendroom room;
    double written, acked, delivered, unsent;
    double again, twice;    /* to be sent again although it has come, and acknowledged so */
    unsigned gap_ms;        /* until then a packet is missing, and nothing arrives in order */
    struct path *favourite; /* that has burst_left more to get */
    double burst_left;
    double sends; /* bytes/ms that the sender has; 0: as many as there is room for */
    bool pauses;
    uint32_t held; /* 0: not yet */
    unsigned decisions;
    unsigned looked_ms;
    double since_bytes;
};

static struct world *world_new(double rate_a, unsigned base_a, double rate_b, unsigned base_b)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->path[0] = (struct path){.rate = rate_a, .base_ms = base_a, .cwnd = 14480};
    w->path[1] = (struct path){.rate = rate_b, .base_ms = base_b, .cwnd = 14480};
    w->now_ms = 1000;
    return w;
}

/* Our share of what is in the queue leaves it, and is acknowledged a round trip later. */
static void serve(struct world *w, struct path *p)
{
    double queue_ms = p->queued / p->rate;

    if (queue_ms < p->foreign_ms)
        queue_ms = p->foreign_ms;
    double out = queue_ms > 1 ? p->queued / queue_ms : p->queued;
    unsigned at = w->now_ms + p->base_ms + p->wander_ms;
    if (out <= 0)
        return;
    if (at < p->last)
        at = p->last;
    p->last = at;
    p->queued -= out;
    p->acks[at % RING] += out;
    p->took_ms[at % RING] = at - w->now_ms + queue_ms;
}

static void acknowledge(struct world *w, struct path *p)
{
    double *acked = &p->acks[w->now_ms % RING], took_ms = p->took_ms[w->now_ms % RING];

    if (*acked <= 0)
        return;
    p->srtt_ms = p->srtt_ms > 0 ? p->srtt_ms + (took_ms - p->srtt_ms) / 8 : took_ms;
    if (p->min_ms <= 0 || took_ms < p->min_ms)
        p->min_ms = took_ms;
    if (p->inflight > p->cwnd / 2 && p->cwnd < KERNEL_MAX)
        p->cwnd += *acked; /* slow start, and nothing is ever lost */
    p->inflight -= *acked;
    w->acked += *acked;
    if (w->twice < w->again)
        w->twice += *acked;
    p->heard_ms = w->now_ms;
    *acked = 0;
}

static double under_way(const struct world *w)
{
    return w->written - w->delivered;
}

static void write_more(struct world *w)
{
    double limit = 2 * (w->path[0].cwnd + w->path[1].cwnd);

    if (limit > KERNEL_MAX)
        limit = KERNEL_MAX;
    double room = limit - under_way(w);
    if (w->held)
        room = sendroom_left(&w->room, (uint64_t)w->delivered, (uint32_t)under_way(w));
    if (w->sends > 0 && room > w->sends)
        room = w->sends;
    if (room > 0 && !w->pauses) {
        w->written += room;
        w->unsent += room;
    }
}

static bool may_send(const struct path *p)
{
    return p && p->rate > 0 && p->inflight < p->cwnd;
}

/* On the path that will have sent it first, as the kernel's scheduler sees it. */
static struct path *best_path(struct world *w)
{
    struct path *best = NULL;

    for (struct path *p = w->path; p < w->path + PATHS; p++) {
        if (may_send(p) && (!best || p->inflight / p->rate < best->inflight / best->rate))
            best = p;
    }
    return best;
}

static void transmit(struct world *w)
{
    while (w->unsent >= 1) {
        if (w->burst_left < 1 || !may_send(w->favourite)) {
            w->favourite = best_path(w);
            w->burst_left = BURST;
        }
        struct path *p = w->favourite;
        if (!p)
            return;
        double n = w->unsent < SEGMENT ? w->unsent : SEGMENT;
        w->unsent -= n;
        w->burst_left -= n;
        p->inflight += n;
        p->queued += n;
    }
}

static void look(struct world *w)
{
    struct sendroom_view v = {.now_us = w->now_ms * 1000ull,
                              .delivered = (uint64_t)w->delivered,
                              .acked = (uint64_t)w->acked,
                              .under_way = (uint32_t)under_way(w)};

    if (w->pauses || w->now_ms - w->looked_ms < 20)
        return;
    w->looked_ms = w->now_ms;
    for (struct path *p = w->path; p < w->path + PATHS; p++) {
        v.paths += p->rate > 0;
        if (p->inflight > 0)
            p->used_ms = w->now_ms;
        v.in_subflows += (uint32_t)p->inflight;
        if (p->inflight > 0 && w->now_ms - p->heard_ms > v.unheard_ms)
            v.unheard_ms = w->now_ms - p->heard_ms;
        if (w->now_ms - p->used_ms < 2000 && p->min_ms * 1000 > v.unloaded_us)
            v.unloaded_us = (uint32_t)(p->min_ms * 1000);
        if (p->inflight > 0 && p->srtt_ms * 1000 > v.round_trip_us)
            v.round_trip_us = (uint32_t)(p->srtt_ms * 1000);
    }
    uint32_t bytes = sendroom_decide(&w->room, &v);
    if (bytes) {
        w->held = bytes;
        w->decisions++;
    }
}

static void pass(struct world *w, unsigned ms)
{
    w->since_bytes = w->delivered;
    for (unsigned i = 0; i < ms; i++) {
        w->now_ms++;
        for (struct path *p = w->path; p < w->path + PATHS; p++) {
            if (p->rate > 0 && !p->silent) {
                acknowledge(w, p);
                serve(w, p);
            }
        }
        if (w->now_ms >= w->gap_ms)
            w->delivered = w->acked - w->twice;
        look(w);
        write_more(w);
        transmit(w);
    }
}

/* Of what was delivered in the last pass(), how much is it of bytes/ms for so long? In permille. */
static unsigned permille(const struct world *w, unsigned ms, double rate)
{
    return (unsigned)((w->delivered - w->since_bytes) * 1000 / (rate * ms));
}

static double queue_ms(const struct path *p)
{
    return p->srtt_ms - p->base_ms;
}

static double at_least(double a, double b)
{
    return a > b ? a : b;
}

/* As long as the allowance, which is 35 ms or half of the round trip. Where there are two paths,
 * two bursts on each beside it, in 100 ms at most; but one burst of its own. Alone, 64 KiB at
 * least. */
static unsigned short_queue_ms(const struct world *w, const struct path *p)
{
    double allowance_ms = at_least(p->base_ms / 2, 35), burst_ms = BURST / p->rate;
    double bursts_ms = 4 * BURST / (w->path[0].rate + w->path[1].rate);

    if (w->path[1].rate <= 0)
        return (unsigned)at_least(allowance_ms, burst_ms - p->base_ms);
    return (unsigned)(allowance_ms + at_least(bursts_ms < 100 ? bursts_ms : 100, burst_ms));
}

static void expect_short_queue(const struct world *w, const struct path *p)
{
    unsigned ms = short_queue_ms(w, p);

    assert_in_range(queue_ms(p), ms / 2, ms * 5 / 4);
}

/* ---- a steady network ---- */

static void a_short_queue_at_full_rate(void **state)
{
    static const struct {
        double rate[PATHS];
        unsigned base_ms[PATHS];
    } networks[] = {{{6000, 7500}, {20, 60}}, {{12500}, {20}},          {{6000, 7500}, {20, 600}},
                    {{2500, 500}, {20, 150}}, {{1250, 2500}, {30, 60}}, {{100000, 1000}, {5, 50}},
                    {{600, 600}, {20, 60}}};

    for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++) {
        const double *rate = networks[i].rate;
        const unsigned *base_ms = networks[i].base_ms;
        struct world *w = world_new(rate[0], base_ms[0], rate[1], base_ms[1]);
        pass(w, 12000);
        unsigned decisions = w->decisions;
        pass(w, 5000);
        assert_in_range(permille(w, 5000, rate[0] + rate[1]), 970, 1010);
        expect_short_queue(w, &w->path[base_ms[1] > base_ms[0]]);
        assert_true(w->decisions - decisions < 5); /* system calls */
        free(w);
    }
}

/* ---- what waits for others ---- */

/* A packet is lost, over and over: for a third of a second it is sent again, and nothing arrives in
 * order. */
static void behind_a_lost_packet_the_paths_go_on(void **state)
{
    struct world *w = world_new(6000, 20, 7500, 60);

    pass(w, 12000);
    double before = w->acked;
    for (int i = 0; i < 10; i++) {
        w->gap_ms = w->now_ms + 330;
        pass(w, 1000);
        expect_short_queue(w, &w->path[1]);
    }
    assert_in_range((w->acked - before) * 1000 / (13500 * 10000.0), 970, 1010);
    free(w);
}

/* It may be dead, and all that comes after what it lost is sent again. */
static void behind_a_silent_path_they_do_not(void **state)
{
    struct world *w = world_new(6000, 20, 7500, 60);

    pass(w, 12000);
    double under_way_before = under_way(w);
    w->path[0].silent = true;
    w->gap_ms = UINT32_MAX;
    pass(w, 500);
    assert_true(under_way(w) < under_way_before + 7500 * 60);
    free(w);
}

/* What was sent twice is acknowledged twice, once and for all. */
static void what_was_sent_twice_is_forgotten(void **state)
{
    struct world *w = world_new(6000, 20, 7500, 60);

    pass(w, 12000);
    w->again = 1000000;
    w->unsent += w->again;
    for (int i = 0; i < 40; i++) {
        pass(w, 100);
        assert_in_range(queue_ms(&w->path[1]), 20, 2 * short_queue_ms(w, &w->path[1]));
    }
    expect_short_queue(w, &w->path[1]);
    free(w);
}

/* What the first round trips carried is not what the paths can: as much comes at first as where
 * nothing is held. */
static void a_start_is_not_held(void **state)
{
    struct world *w = world_new(6000, 20, 7500, 60), *alone = world_new(6000, 20, 7500, 60);

    pass(w, 500);
    for (int ms = 0; ms < 500; ms++) {
        pass(alone, 1);
        alone->held = 0;
    }
    assert_true(w->delivered >= alone->delivered * 0.97);
    free(w);
    free(alone);
}

static unsigned filled_ms(struct world *w, double rate, bool free_running)
{
    for (unsigned start_ms = w->now_ms; w->now_ms - start_ms < 30000;) {
        pass(w, 600);
        if (free_running)
            w->held = 0;
        if (permille(w, 600, rate) >= 970)
            return w->now_ms - start_ms;
    }
    return UINT32_MAX;
}

static void a_long_path_is_filled_nearly_as_soon(void **state)
{
    struct world *w = world_new(6000, 600, 0, 0), *alone = world_new(6000, 600, 0, 0);
    unsigned slow_start_ms = filled_ms(alone, 6000, true);

    assert_in_range(slow_start_ms, 1200, 7200);
    assert_in_range(filled_ms(w, 6000, false), slow_start_ms, slow_start_ms + 3 * 600);
    free(w);
    free(alone);
}

static void what_is_tiny_is_left_alone(void **state)
{
    struct world *w = world_new(6000, 20, 0, 0);

    w->sends = 100;
    pass(w, 20000);
    assert_int_equal(w->decisions, 0);
    assert_in_range(permille(w, 20000, 100), 990, 1000);
    free(w);
    w = world_new(500, 20, 0, 0); /* 4 Mb/s */
    pass(w, 20000);
    assert_int_equal(w->decisions, 0);
    free(w);
}

/* ---- a network that changes ---- */

/* It keeps most of what it had, wins more, and holds back again when it is alone. */
static void the_queue_of_others_does_not_starve(void **state)
{
    static const unsigned base_ms[] = {5, 20, 60, 150};

    for (size_t i = 0; i < sizeof(base_ms) / sizeof(base_ms[0]); i++) {
        struct world *w = world_new(6000, base_ms[i], 0, 0);
        pass(w, 10000);
        unsigned share = (base_ms[i] + 40) * 1000 / (base_ms[i] + 150);
        w->path[0].foreign_ms = 150;
        for (int s = 0; s < 60; s += 5) {
            pass(w, 5000);
            assert_true(permille(w, 5000, 6000) >= (s < 15 ? share * 3 / 4 : 750));
            assert_in_range(w->room.allowance_us, 60000, 250000);
        }
        w->path[0].foreign_ms = 0;
        pass(w, 15000);
        assert_in_range(permille(w, 15000, 6000), 970, 1000);
        expect_short_queue(w, &w->path[0]);
        free(w);
    }
}

static uint32_t next_random;

static unsigned random_below(unsigned below)
{
    next_random = next_random * 1664525 + 1013904223;
    return (next_random >> 8) % below;
}

/* From 40 to 400 ms, at random and back, by so many ms in a second. */
static unsigned permille_while_it_wanders(unsigned ms_per_s, uint32_t seed)
{
    struct world *w = world_new(6000, 40, 0, 0);
    struct path *p = &w->path[0];
    double before, at = 0, step = ms_per_s / 200.0;
    unsigned target = 0;

    next_random = seed;
    pass(w, 5000);
    before = w->delivered;
    for (int i = 0; i < 60 * 200; i++) {
        if (at > target - step && at < target + step)
            target = random_below(361);
        at += at < target ? step : -step;
        p->wander_ms = at > 0 ? (unsigned)at : 0;
        pass(w, 5);
    }
    unsigned permille = (unsigned)((w->delivered - before) / (6000.0 * 60));
    free(w);
    return permille;
}

static void delay_that_wanders_costs_little(void **state)
{
    static const unsigned ms_per_s[] = {25, 50, 100, 200, 400, 800};

    for (size_t i = 0; i < sizeof(ms_per_s) / sizeof(ms_per_s[0]); i++) {
        unsigned sum = 0;
        for (uint32_t seed = 1; seed <= 8; seed++) {
            unsigned permille = permille_while_it_wanders(ms_per_s[i], seed);
            assert_in_range(permille, 800, 1000);
            sum += permille;
        }
        assert_in_range(sum / 8, 900, 1000);
    }
}

static void changes_of_rate_are_followed(void **state)
{
    static const double rates[] = {600, 3000, 5000, 12000, 60000};

    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct world *w = world_new(6000, 40, 0, 0);
        pass(w, 10000);
        w->path[0].rate = rates[i];
        for (int s = 0; s < 20; s++) {
            pass(w, 1000);
            if (s >= 1) /* never less than it carries */
                assert_in_range(permille(w, 1000, rates[i]), 970, 1010);
            if (s >= 3)
                expect_short_queue(w, &w->path[0]);
        }
        free(w);
    }
}

static void a_path_that_fades_builds_no_queue(void **state)
{
    struct world *w = world_new(6000, 40, 0, 0);

    pass(w, 10000);
    for (double rate = 6000; rate > 1000; rate *= 0.99) { /* a tenth less every second */
        w->path[0].rate = rate;
        pass(w, 100);
        /* By the rate of two seconds ago, which was a quarter more. */
        unsigned ms = short_queue_ms(w, &w->path[0]);
        assert_in_range(queue_ms(&w->path[0]), ms * 4 / 5, (40 + ms) * 4 / 3 - 40);
    }
    free(w);
}

/* ---- a sender with little to send ---- */

static void who_pauses_keeps_his_room(void **state)
{
    struct world *w = world_new(6000, 40, 0, 0);

    pass(w, 10000);
    uint32_t held = w->held;
    assert_in_range(held, 6000 * 70, 6000 * 90);
    for (unsigned ms = 50; ms < 10000; ms *= 2) {
        w->pauses = true;
        pass(w, ms);
        w->pauses = false;
        pass(w, 500);
        assert_in_range(w->held, held * 9 / 10, held * 11 / 10);
        assert_in_range(permille(w, 500, 6000), 900, 1000);
    }
    free(w);
}

static void who_trickles_keeps_his_room(void **state)
{
    struct world *w = world_new(6000, 40, 0, 0);

    pass(w, 10000);
    uint32_t held = w->held;
    w->sends = 200;
    pass(w, 10000);
    assert_int_equal(w->held, held);
    w->sends = 0;
    pass(w, 1000);
    assert_in_range(w->held, held * 9 / 10, held * 11 / 10);
    assert_in_range(permille(w, 1000, 6000), 940, 1000);
    free(w);
}

/* ---- whatever is seen ---- */

static uint64_t absurd(uint64_t most)
{
    static const uint64_t edges[] = {0, 1, 20000, 40000, 200000, 1000000, 4000000, UINT32_MAX - 1};
    uint64_t edge = edges[random_below(8)];

    switch (random_below(4)) {
    case 0:
        return most - edge;
    case 1:
        return edge;
    default:
        return ((uint64_t)random_below(1 << 24) << 40 | (uint64_t)random_below(1 << 24) << 16) %
               most;
    }
}

/* The kernel's tuning suffices as long as the subflows themselves are full; but where the receiver
 * waits for one of them, the sender needs room for what has come by the other meanwhile. */
static void the_send_buffer_grows_where_the_receiver_waits(void **state)
{
    struct sendroom room = {.rates = {1000000}};
    struct sendroom_view v = {
        .under_way = 150000, .in_subflows = 120000, .buffer = 200000, .round_trip_us = 100000};

    assert_int_equal(sendroom_grow(&room, &v), 0);
    v.in_subflows = 30000;
    assert_int_equal(sendroom_grow(&room, &v), 400000);
    v.buffer = 400000;
    assert_int_equal(sendroom_grow(&room, &v), 0); /* not full yet */
    v.under_way = v.in_subflows = 300000;
    assert_int_equal(sendroom_grow(&room, &v), 800000); /* the kernel does it no more */
    v.buffer = v.under_way = 800000;
    assert_int_equal(sendroom_grow(&room, &v), 0); /* a client that reads no faster */
    room.rates[0] = 1u << 30;
    assert_int_equal(sendroom_grow(&room, &v), 1600000);
    v.buffer = v.under_way = 32 << 20;
    assert_int_equal(sendroom_grow(&room, &v), 0);
    v.buffer = v.under_way = UINT32_MAX; /* nobody knows it */
    assert_int_equal(sendroom_grow(&room, &v), 0);
}

/* What is held must not be held by the kernel first. */
static void the_send_buffer_is_beyond_what_is_held(void **state)
{
    struct sendroom room = {.bytes = 300000};
    struct sendroom_view v = {.under_way = 1000, .buffer = 200000};

    assert_int_equal(sendroom_grow(&room, &v), 1200000);
    v.buffer = 1200000;
    assert_int_equal(sendroom_grow(&room, &v), 0);
}

/* A path has died unnoticed: nothing arrives in order, and the queue of the other drains. That is
 * no call for more. */
static void what_stands_still_gets_no_more(void **state)
{
    struct world *w = world_new(6000, 20, 7500, 60);

    pass(w, 10000);
    uint32_t held = w->room.bytes;
    struct sendroom_view v = {.now_us = w->now_ms * 1000ull,
                              .delivered = (uint64_t)w->delivered,
                              .acked = (uint64_t)w->delivered,
                              .under_way = held,
                              .paths = 2,
                              .unloaded_us = 60000,
                              .round_trip_us = 100000};
    sendroom_decide(&w->room, &v);
    v.round_trip_us = 70000;
    for (int i = 0; i < 10; i++) {
        v.now_us += 20000;
        sendroom_decide(&w->room, &v);
    }
    assert_true(held > 0 && w->room.bytes <= held + held / 8);
    free(w);
}

/* A packet is lost: nothing arrives in order until it has been sent again, then all at once. The
 * subflows go on meanwhile, at the rate that they have. */
static void what_comes_all_at_once_is_no_rate(void **state)
{
    struct world *w = world_new(6000, 20, 7500, 60);

    pass(w, 10000);
    uint32_t held = w->room.bytes;
    uint64_t in_order = (uint64_t)w->delivered;
    struct sendroom_view v = {.now_us = w->now_ms * 1000ull,
                              .delivered = in_order,
                              .acked = in_order,
                              .under_way = held,
                              .paths = 2,
                              .unloaded_us = 60000,
                              .round_trip_us = 105000};
    for (int i = 0; i < 100; i++) {
        v.now_us += 20000;
        v.acked += 20 * 13500;
        if (i % 15 == 14)
            v.delivered = v.acked;
        sendroom_decide(&w->room, &v);
        assert_in_range(w->room.bytes, held - held / 16, held + held / 16);
    }
    free(w);
}

/* The first packets of a connection waited in a queue that others had left. */
static void what_was_too_long_at_first_is_forgotten(void **state)
{
    struct world *w = world_new(6000, 20, 7500, 60);

    w->path[1].foreign_ms = 200;
    pass(w, 200);
    w->path[1].foreign_ms = 0;
    pass(w, 1000);
    assert_in_range(w->held, 1, (13500 * (60 + 35) + 4 * BURST) * 9 / 8);
    free(w);
}

static void what_is_under_way_stops_writing(void **state)
{
    struct sendroom room = {0};

    assert_int_equal(sendroom_left(&room, 0, 1 << 30), UINT32_MAX);
    room.bytes = 900000;
    assert_int_equal(sendroom_left(&room, 0, 0), 900000);
    assert_int_equal(sendroom_left(&room, 0, 800000), 100000);
    assert_int_equal(sendroom_left(&room, 0, 900000), 0);
    assert_int_equal(sendroom_left(&room, 0, UINT32_MAX), 0);
}

/* A sixteenth at 10 MB/s; a client who has stopped reading is not asked after all the time. */
static void who_gets_nothing_is_asked_less_often(void **state)
{
    struct sendroom room = {.bytes = 800000, .rates = {10000000}, .arrived_us = 1000000};

    assert_int_equal(sendroom_wait_us(&room, 1000000), 5000);
    assert_int_equal(sendroom_wait_us(&room, 1030000), 5000);
    assert_int_equal(sendroom_wait_us(&room, 1200000), 25000);
    assert_int_equal(sendroom_wait_us(&room, 3000000), 250000);
    assert_int_equal(sendroom_wait_us(&room, 3600000000), 1000000);
    assert_int_equal(sendroom_wait_us(&room, 0), 5000);
    room.rates[0] = 1;
    assert_int_equal(sendroom_wait_us(&room, 1000000), 20000);
}

static void nothing_breaks_it(void **state)
{
    struct sendroom_view v = {0};
    unsigned decisions = 0;

    for (uint32_t seed = 1; seed < 200; seed++) {
        struct sendroom room = {0};
        next_random = seed;
        assert_int_equal(sendroom_decide(&room, &(struct sendroom_view){0}), 0);
        for (int i = 0; i < 2000; i++) {
            bool other = random_below(32) == 0; /* stays so for a while */
            v.now_us = random_below(99) ? v.now_us + random_below(50000) : absurd(UINT64_MAX);
            v.delivered = random_below(99) ? v.delivered + random_below(99999) : absurd(UINT64_MAX);
            v.acked = random_below(99) ? v.acked + random_below(99999) : absurd(UINT64_MAX);
            if (other) {
                v.under_way =
                    random_below(2) ? 1u << random_below(26) : (uint32_t)absurd(UINT32_MAX);
                v.unloaded_us = random_below(4) ? 40000 : (uint32_t)absurd(UINT32_MAX);
                v.round_trip_us = random_below(2) ? 90000 : (uint32_t)absurd(UINT32_MAX);
            }
            uint32_t bytes = sendroom_decide(&room, &v);
            decisions += bytes != 0;
            assert_true(bytes == 0 || (bytes >= 64 << 10 && bytes <= 32 << 20));
            assert_true(bytes == 0 || bytes == room.bytes);
            assert_in_range(room.allowance_us, 35000, 2000000);
        }
    }
    assert_true(decisions > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_queue_at_full_rate),
        cmocka_unit_test(behind_a_lost_packet_the_paths_go_on),
        cmocka_unit_test(behind_a_silent_path_they_do_not),
        cmocka_unit_test(what_was_sent_twice_is_forgotten),
        cmocka_unit_test(a_start_is_not_held),
        cmocka_unit_test(a_long_path_is_filled_nearly_as_soon),
        cmocka_unit_test(what_is_tiny_is_left_alone),
        cmocka_unit_test(the_queue_of_others_does_not_starve),
        cmocka_unit_test(delay_that_wanders_costs_little),
        cmocka_unit_test(changes_of_rate_are_followed),
        cmocka_unit_test(a_path_that_fades_builds_no_queue),
        cmocka_unit_test(who_pauses_keeps_his_room),
        cmocka_unit_test(who_trickles_keeps_his_room),
        cmocka_unit_test(the_send_buffer_grows_where_the_receiver_waits),
        cmocka_unit_test(the_send_buffer_is_beyond_what_is_held),
        cmocka_unit_test(what_stands_still_gets_no_more),
        cmocka_unit_test(what_comes_all_at_once_is_no_rate),
        cmocka_unit_test(what_was_too_long_at_first_is_forgotten),
        cmocka_unit_test(what_is_under_way_stops_writing),
        cmocka_unit_test(who_gets_nothing_is_asked_less_often),
        cmocka_unit_test(nothing_breaks_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
