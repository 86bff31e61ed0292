/* When an uplink is held for alive, bad, doubtful and dead: each rule by itself, and recorded
 * traces. What the rules together do on links that live and die is in test_health_links.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/health.h"

#define MS 1000ull
#define SECOND (1000 * MS)

static struct health h;
static uint64_t now, seq;

static int start(void **state)
{
    health_init(&h);
    now = 77 * SECOND;
    seq = 100;
    return 0;
}

static void pass(uint64_t us)
{
    now += us;
    health_look(&h, now);
}

/* One probe and its answer, every 60 ms. */
static void answered_in(uint64_t rtt_us)
{
    health_sent(&h, ++seq, now);
    now += rtt_us;
    health_answered(&h, seq, now);
    health_look(&h, now);
    if (rtt_us < 60 * MS)
        pass(60 * MS - rtt_us);
}

static void answers(unsigned n, uint64_t rtt_us)
{
    while (n--)
        answered_in(rtt_us);
}

/* Probes leave every 60 ms, nothing comes. */
static void silence(uint64_t us)
{
    for (uint64_t end = now + us, probe_at = now; now < end; pass(5 * MS)) {
        if (now >= probe_at) {
            health_sent(&h, ++seq, now);
            probe_at += 60 * MS;
        }
    }
}

static void stream(uint64_t us, bool answered)
{
    for (uint64_t end = now + us, probe_at = now; now < end;) {
        if (now >= probe_at) {
            health_sent(&h, ++seq, now);
            probe_at += 60 * MS;
        }
        pass(15 * MS);
        if (answered)
            health_answered(&h, seq, now);
        health_heard(&h, 3, now);
        health_look(&h, now);
    }
}

/* Probes leave every 100 ms, and one a second is refused, 40 ms after it left. */
static void refusals(uint64_t us)
{
    for (uint64_t end = now + us, probe_at = now, refused_at = now + 40 * MS; now < end;
         pass(5 * MS)) {
        if (now >= probe_at) {
            health_sent(&h, ++seq, now);
            probe_at += 100 * MS;
        }
        if (now < refused_at)
            continue;
        health_refused(&h, now);
        assert_int_not_equal(health_next_us(&h), 0);
        refused_at += SECOND;
    }
}

/* ---- round trips ---- */

static void round_trips_are_smoothed_as_in_rfc_6298(void **state)
{
    answered_in(40 * MS);
    assert_int_equal(h.srtt_us, 40 * MS);
    assert_int_equal(h.rttvar_us, 20 * MS);
    answered_in(48 * MS);
    assert_int_equal(h.rttvar_us, 17 * MS);
    assert_int_equal(h.srtt_us, 41 * MS);
    assert_int_equal(h.min_rtt_us, 40 * MS);
}

/* However densely the uplink is probed. */
static void delay_is_that_of_the_last_two_seconds(void **state)
{
    answered_in(40 * MS);
    assert_int_equal(h.delay_us, 40 * MS);
    answers(500, 40 * MS);
    answers(10, 80 * MS);
    assert_in_range(h.delay_us, 50 * MS, 60 * MS); /* a third of two seconds */
    answers(200, 80 * MS);
    assert_in_range(h.delay_us, 79 * MS, 80 * MS);
    pass(1000 * MS);
    answered_in(20 * MS);
    assert_in_range(h.delay_us, 45 * MS, 50 * MS);
    pass(10000 * MS);
    answered_in(60 * MS);
    assert_int_equal(h.delay_us, 60 * MS);
}

static void the_least_round_trip_is_of_the_last_minutes(void **state)
{
    answers(10, 20 * MS);
    answers(3000, 50 * MS);
    assert_int_equal(h.min_rtt_us, 20 * MS);
    answers(3000, 50 * MS);
    assert_int_equal(h.min_rtt_us, 50 * MS);
}

static void answers_may_be_late_twice_out_of_order_or_false(void **state)
{
    answers(5, 20 * MS);
    uint64_t srtt = h.srtt_us;
    health_answered(&h, seq, now);      /* twice */
    health_answered(&h, seq + 1, now);  /* never sent */
    health_answered(&h, seq - 90, now); /* forgotten */
    assert_int_equal(h.srtt_us, srtt);
    health_sent(&h, ++seq, now);
    health_sent(&h, ++seq, now + 5 * MS);
    health_answered(&h, seq, now + 25 * MS);
    health_answered(&h, seq - 1, now + 26 * MS);
    pass(26 * MS);
    assert_in_range(h.srtt_us, srtt, srtt + MS);
    assert_int_equal(h.loss_permille, 0);
    assert_int_equal(h.verdict, HEALTH_UP);
}

static void the_delay_is_that_of_the_newest(void **state)
{
    answers(5, 20 * MS);
    assert_int_equal(health_delay_us(&h, now), 20 * MS);
    answered_in(70 * MS);
    assert_int_equal(health_delay_us(&h, now), 70 * MS);
    health_sent(&h, ++seq, now);
    health_sent(&h, ++seq, now + 5 * MS);
    now += 50 * MS;
    assert_int_equal(health_delay_us(&h, now), 70 * MS); /* the next may come sooner, but has not */
    health_answered(&h, seq, now);
    assert_int_equal(health_delay_us(&h, now), 45 * MS);
    health_answered(&h, seq - 1, now); /* an older one tells nothing new */
    assert_int_equal(health_delay_us(&h, now), 45 * MS);
    health_sent(&h, ++seq, now);
    now += 90 * MS;
    assert_int_equal(health_delay_us(&h, now), 90 * MS); /* so long at least */
    health_look(&h, now);
    health_answered(&h, seq, now - 30 * MS); /* it lay unread */
    assert_int_equal(health_delay_us(&h, now), 60 * MS);
}

/* ---- the beginning ---- */

static void the_first_answer_is_enough(void **state)
{
    assert_int_equal(h.verdict, HEALTH_PROBING);
    assert_string_equal(h.reason, "waits for the first answer");
    assert_true(health_next_us(&h) == UINT64_MAX);
    answered_in(300 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    assert_string_equal(h.reason, "");
    health_init(&h);
    assert_int_equal(h.verdict, HEALTH_PROBING);
    assert_int_equal(h.srtt_us, 0);
}

static void no_first_answer_is_death_after_three_seconds(void **state)
{
    silence(2990 * MS);
    assert_int_equal(h.verdict, HEALTH_PROBING);
    silence(20 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    assert_string_equal(h.reason, "no answer from the concentrator for 3.0 s");
    start(NULL);
    for (int i = 0; i < 4; i++) { /* too few to tell */
        health_sent(&h, ++seq, now);
        pass(SECOND);
    }
    pass(20 * SECOND);
    assert_int_equal(h.verdict, HEALTH_PROBING);
}

/* ---- doubt ---- */

static void doubt_comes_with_the_rto_and_goes_with_a_packet(void **state)
{
    answers(100, 20 * MS);
    health_sent(&h, ++seq, now);
    uint64_t sent = now;
    assert_in_range(health_next_us(&h), sent + 30 * MS, sent + 31 * MS);
    pass(29 * MS);
    assert_false(h.doubtful);
    now = health_next_us(&h);
    assert_true(health_look(&h, now));
    assert_true(h.doubtful);
    assert_int_equal(h.verdict, HEALTH_UP);
    assert_string_equal(h.reason, "nothing came for 30 ms");
    assert_false(health_look(&h, now));
    health_heard(&h, 1, now + MS);
    assert_true(health_look(&h, now + MS));
    assert_false(h.doubtful);
}

static void no_doubt_while_packets_come(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    health_sent(&h, ++seq, now);
    for (int i = 0; i < 20; i++) {
        pass(15 * MS);
        health_heard(&h, 1, now);
        health_look(&h, now);
        assert_false(h.doubtful);
    }
}

/* ---- death ---- */

static void one_lost_packet_declares_nothing(void **state)
{
    answers(100, 20 * MS);
    pass(10 * SECOND);
    health_sent(&h, ++seq, now);
    for (int i = 0; i < 2000; i++) {
        pass(5 * MS);
        assert_int_equal(h.verdict, HEALTH_UP);
    }
    assert_true(h.doubtful);
    answered_in(20 * MS); /* the next one decides */
    assert_false(h.doubtful);
    assert_int_equal(h.verdict, HEALTH_UP);
}

static void silence_after_a_stream_is_death(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    silence(50 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    assert_true(h.doubtful);
    silence(80 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    assert_int_equal(h.direction, HEALTH_BOTH);
    assert_false(h.doubtful);
    assert_non_null(strstr(h.reason, "no answer for "));
    assert_true(health_next_us(&h) == UINT64_MAX);
}

static void one_probe_long_out_is_enough_after_a_stream(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    health_sent(&h, ++seq, now);
    for (uint64_t end = now + 450 * MS; now < end; pass(5 * MS))
        assert_int_equal(h.verdict, HEALTH_UP);
    pass(60 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

static void a_silence_that_was_survived_is_allowed_again(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    uint64_t first = seq + 1;
    silence(400 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    while (first <= seq)
        health_answered(&h, first++, now);
    stream(SECOND, true);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(480 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(700 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

/* An outage is no stall: had its probes been kept and answered, they would have been later. */
static void a_silence_that_killed_is_not_allowed(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    silence(1000 * MS);
    stream(40 * SECOND, true);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(150 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

static void packets_without_answers_are_upward_loss(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    stream(255 * MS, false);
    assert_int_equal(h.verdict, HEALTH_UP);
    stream(120 * MS, false);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    assert_int_equal(h.direction, HEALTH_UPWARD);
    assert_non_null(strstr(h.reason, "upward"));
}

static void answer_all_from(uint64_t first)
{
    while (first <= seq)
        health_answered(&h, first++, now);
    health_look(&h, now);
}

static void a_short_stall_is_allowed_again(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    uint64_t first = seq + 1;
    silence(180 * MS);
    answer_all_from(first);
    stream(SECOND, true);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(220 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(120 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

/* Its end brings packets before answers. */
static void a_stall_is_no_upward_loss(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    uint64_t first = seq + 1;
    silence(600 * MS);
    answer_all_from(first);
    stream(SECOND, true);
    first = seq + 1;
    silence(1000 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    stream(60 * MS, false);
    assert_int_equal(h.verdict, HEALTH_UP);
    answer_all_from(first);
    stream(SECOND, true);
    assert_int_equal(h.verdict, HEALTH_UP);
}

static void a_queue_that_leapt_once_may_leap_again(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    for (int i = 0; i < 2; i++) {
        uint64_t first = seq + 1;
        stream(800 * MS, false);
        assert_int_equal(h.verdict, i == 0 ? HEALTH_DEAD : HEALTH_UP);
        answer_all_from(first);
        stream(10 * SECOND, true);
        assert_int_equal(h.verdict, HEALTH_UP);
    }
}

/* Our own absence is no silence of the uplink: what came meanwhile is to be read first. */
static void a_caller_who_was_away_gets_time_to_read(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    health_sent(&h, ++seq, now);
    health_sent(&h, ++seq, now + 20 * MS);
    now += SECOND;
    health_look(&h, now);
    assert_int_equal(h.verdict, HEALTH_UP);
    assert_int_equal(health_next_us(&h), now + 20 * MS);
    health_look(&h, now + 20 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

/* ---- back ---- */

static void back_after_three_answers_and_150_ms(void **state)
{
    answers(100, 20 * MS);
    stream(10 * SECOND, true);
    silence(SECOND);
    answers(1, 20 * MS);
    silence(60 * MS); /* one lost: not in a row */
    answers(2, 20 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    assert_non_null(strstr(h.reason, "answers again"));
    answers(1, 20 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(SECOND);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    for (uint64_t end = now + SECOND; now < end; pass(15 * MS)) /* packets are no answers */
        health_heard(&h, 5, now);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

static uint64_t time_to_return(void)
{
    uint64_t from = now;

    while (h.verdict == HEALTH_DEAD && now < from + 60 * SECOND)
        answered_in(20 * MS);
    return now - from;
}

/* ---- refused: the concentrator does not run ---- */

static void refusals_are_life_and_no_loss(void **state)
{
    answers(100, 40 * MS);
    health_sent(&h, ++seq, now);
    pass(40 * MS);
    health_refused(&h, now);
    pass(0);
    assert_true(h.refused);
    assert_string_equal(h.reason, "carries, but the concentrator refuses probes: is it running?");
    for (int i = 0; i < 60; i++) {
        refusals(SECOND);
        assert_int_equal(h.verdict, HEALTH_UP);
        assert_false(h.doubtful);
    }
    assert_int_equal(health_delay_us(&h, now), 40 * MS);
    answers(10, 40 * MS); /* it runs again, and nothing was lost meanwhile */
    assert_false(h.refused);
    assert_string_equal(h.reason, "");
    assert_int_equal(h.loss_permille, 0);
    assert_int_equal(h.verdict, HEALTH_UP);
}

/* That the silence between refusals was survived allows no other silence. */
static void refusals_teach_no_patience(void **state)
{
    uint64_t before;

    stream(10 * SECOND, true);
    before = h.stalls.of[0];
    refusals(10 * SECOND);
    stream(5 * SECOND, true);
    assert_int_equal(h.stalls.of[0], before);
    silence(400 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

static void the_end_of_refusals_is_death(void **state)
{
    answers(2000, 40 * MS);
    refusals(5 * SECOND);
    silence(2200 * MS);
    assert_int_equal(h.verdict, HEALTH_UP); /* two in a row may be lost */
    silence(1300 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    assert_false(h.refused);
}

/* A lossy uplink loses refusals, too. */
static void the_lossy_get_more_time(void **state)
{
    answers(20, 40 * MS);
    h.loss_ppm = 100000;
    refusals(5 * SECOND);
    silence(6500 * MS);
    assert_int_equal(h.verdict, HEALTH_DEGRADED);
    silence(2 * SECOND);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

/* In time or not: who asks seldom waits for as many. */
static void seldom_asked_is_not_dead(void **state)
{
    answers(2000, 40 * MS);
    refusals(SECOND);
    pass(60 * SECOND);
    assert_int_equal(h.verdict, HEALTH_UP);
    assert_true(health_next_us(&h) > now);
}

static void the_dead_return_by_refusals(void **state)
{
    answers(100, 40 * MS);
    silence(SECOND);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    refusals(1500 * MS);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    refusals(2500 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(10 * SECOND);
    assert_int_equal(h.verdict, HEALTH_DEAD);
    h.needed = true;
    health_sent(&h, ++seq, now);
    health_refused(&h, now);
    pass(0);
    assert_int_equal(h.verdict, HEALTH_UP);
}

static void one_that_was_never_answered_is_up_by_a_refusal(void **state)
{
    health_sent(&h, ++seq, now);
    health_refused(&h, now);
    pass(0);
    assert_int_equal(h.verdict, HEALTH_UP);
    refusals(60 * SECOND);
    assert_int_equal(h.verdict, HEALTH_UP);
    silence(10 * SECOND);
    assert_int_equal(h.verdict, HEALTH_DEAD);
}

static void flapping_costs_time_and_is_forgiven(void **state)
{
    uint64_t last = 0, longest = 0;

    answers(100, 20 * MS);
    for (int i = 0; i < 12; i++) {
        silence(SECOND);
        assert_int_equal(h.verdict, HEALTH_DEAD);
        last = time_to_return();
        assert_true(last + 60 * MS >= longest);
        longest = last;
        answers(50, 20 * MS);
    }
    assert_in_range(longest, 1900 * MS, 2300 * MS);
    answers(300 * 17 * 4, 20 * MS); /* 20 minutes: four doublings less */
    silence(SECOND);
    assert_in_range(time_to_return(), 100 * MS, 400 * MS);
}

/* There is nothing to go back to: each moment counts, and its past does not. */
static void one_answer_is_enough_where_no_other_lives(void **state)
{
    answers(100, 20 * MS);
    for (int i = 0; i < 6; i++) {
        silence(SECOND);
        assert_true(time_to_return() >= 100 * MS);
        answers(50, 20 * MS);
    }
    silence(SECOND);
    h.needed = true;
    assert_in_range(time_to_return(), 20 * MS, 70 * MS);
}

/* ---- bad ---- */

static void loss_degrades_and_heals(void **state)
{
    answers(100, 20 * MS);
    for (int i = 0; i < 20; i++) {
        answers(9, 20 * MS);
        silence(60 * MS);
    }
    answers(1, 20 * MS);
    assert_int_equal(h.verdict, HEALTH_DEGRADED);
    assert_in_range(h.loss_permille, 60, 160);
    assert_non_null(strstr(h.reason, " % of packets"));
    answers(83, 20 * MS); /* five seconds: first it must have become better */
    assert_int_equal(h.verdict, HEALTH_DEGRADED);
    answers(120, 20 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    assert_string_equal(h.reason, "");
}

static void delay_degrades_and_heals(void **state)
{
    answers(100, 20 * MS);
    answers(3, 900 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
    answers(6, 900 * MS);
    assert_int_equal(h.verdict, HEALTH_DEGRADED);
    assert_non_null(strstr(h.reason, "delay "));
    answers(75, 20 * MS);
    assert_int_equal(h.verdict, HEALTH_DEGRADED);
    answers(30, 20 * MS);
    assert_int_equal(h.verdict, HEALTH_UP);
}

/* ---- odd clocks and numbers ---- */

static void time_may_stand_still_go_back_or_end(void **state)
{
    now = 0;
    for (int i = 0; i < 200; i++)
        answered_in(0);
    now = 5;
    for (int i = 0; i < 200; i++) {
        health_sent(&h, ++seq, now);
        health_answered(&h, seq, 3);
        health_heard(&h, UINT64_MAX, 1);
        health_look(&h, 0);
    }
    assert_int_equal(h.verdict, HEALTH_UP);
    health_init(&h);
    now = UINT64_MAX - SECOND;
    seq = UINT64_MAX - 10;
    health_sent(&h, ++seq, now);
    health_answered(&h, seq, now + 10);
    health_look(&h, now + 20);
    for (int i = 0; i < 20; i++) {
        health_sent(&h, seq == UINT64_MAX ? seq : ++seq, now + 30);
        health_heard(&h, 1, now + 30);
        health_look(&h, now + 30);
    }
    assert_int_equal(h.verdict, HEALTH_UP);
    health_look(&h, UINT64_MAX);
}

/* Whatever is said to it, it stays within its memory and its promises. */
static void anything_may_be_said(void **state)
{
    uint64_t random = 88172645463325252u;

    for (int i = 0; i < 300000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        now += random % 40 == 0 ? random % (5 * SECOND) : random % (9 * MS);
        seq += random % 1000 == 0 ? 100 : 0; /* a gap */
        if (random % 5 == 0)
            health_sent(&h, ++seq, now);
        else if (random % 5 < 3)
            health_answered(&h, seq - random % 70, now - random % 3);
        else
            health_heard(&h, random % 2, now);
        health_look(&h, now);
        assert_true(h.loss_permille <= 1000 && strlen(h.reason) < sizeof(h.reason) - 1);
        assert_true(h.min_rtt_us <= h.srtt_us || h.srtt_us + MS > h.min_rtt_us / 2);
        assert_true(h.verdict <= HEALTH_DEAD && (!h.doubtful || h.verdict != HEALTH_DEAD));
        assert_true(health_next_us(&h) > now);
    }
}

/* ---- recorded traces ---- */

struct replay {
    uint64_t done_us, dead_us, back_us; /* when something was done to the link, it died, it rose */
    unsigned deaths;
    uint64_t longest_us; /* the greatest srtt */
    enum health_direction direction;
};

static void replay_look(struct replay *r, uint64_t at_us)
{
    enum health_verdict before = h.verdict;

    health_look(&h, at_us);
    if (h.verdict == HEALTH_DEAD && before != HEALTH_DEAD) {
        r->deaths++;
        r->dead_us = at_us;
        r->direction = h.direction;
    } else if (before == HEALTH_DEAD && h.verdict != HEALTH_DEAD) {
        r->back_us = at_us;
    }
    if (h.srtt_us > r->longest_us)
        r->longest_us = h.srtt_us;
}

static struct replay replay(const char *name)
{
    struct replay r = {0};
    char path[512], line[128], what;
    unsigned long long at_us, value;

    snprintf(path, sizeof(path), "%s/health-%s.trace", TRACES, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        int n = sscanf(line, "%llu %c %llu", &at_us, &what, &value);
        if (n == 2 && !r.done_us)
            r.done_us = at_us;
        if (n < 3)
            continue;
        while (health_next_us(&h) < at_us && health_next_us(&h) > h.now_us)
            replay_look(&r, health_next_us(&h));
        if (what == 's')
            health_sent(&h, value, at_us);
        else if (what == 'a')
            health_answered(&h, value, at_us);
        else
            health_heard(&h, value, at_us);
        replay_look(&r, at_us);
    }
    fclose(file);
    return r;
}

static void a_line_that_dropped_and_was_healed(void **state)
{
    struct replay r = replay("line-drops");

    assert_int_equal(r.deaths, 1);
    assert_in_range(r.dead_us - r.done_us, 40 * MS, 160 * MS);
    assert_int_equal(r.direction, HEALTH_BOTH);
    assert_in_range(r.back_us - r.done_us, 1100 * MS, 1500 * MS);
}

static void a_radio_that_lost_all_upward(void **state)
{
    struct replay r = replay("radio-upward");

    assert_int_equal(r.deaths, 1);
    assert_in_range(r.dead_us - r.done_us, 150 * MS, 450 * MS);
    assert_int_equal(r.direction, HEALTH_UPWARD);
}

static void a_queue_that_filled(void **state)
{
    struct replay r = replay("queue");

    assert_int_equal(r.deaths, 0);
    assert_true(r.longest_us > 500 * MS);
    assert_int_equal(h.verdict, HEALTH_DEGRADED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(round_trips_are_smoothed_as_in_rfc_6298, start),
        cmocka_unit_test_setup(delay_is_that_of_the_last_two_seconds, start),
        cmocka_unit_test_setup(the_least_round_trip_is_of_the_last_minutes, start),
        cmocka_unit_test_setup(answers_may_be_late_twice_out_of_order_or_false, start),
        cmocka_unit_test_setup(the_delay_is_that_of_the_newest, start),
        cmocka_unit_test_setup(the_first_answer_is_enough, start),
        cmocka_unit_test_setup(no_first_answer_is_death_after_three_seconds, start),
        cmocka_unit_test_setup(doubt_comes_with_the_rto_and_goes_with_a_packet, start),
        cmocka_unit_test_setup(no_doubt_while_packets_come, start),
        cmocka_unit_test_setup(one_lost_packet_declares_nothing, start),
        cmocka_unit_test_setup(silence_after_a_stream_is_death, start),
        cmocka_unit_test_setup(one_probe_long_out_is_enough_after_a_stream, start),
        cmocka_unit_test_setup(a_silence_that_was_survived_is_allowed_again, start),
        cmocka_unit_test_setup(a_silence_that_killed_is_not_allowed, start),
        cmocka_unit_test_setup(packets_without_answers_are_upward_loss, start),
        cmocka_unit_test_setup(a_caller_who_was_away_gets_time_to_read, start),
        cmocka_unit_test_setup(back_after_three_answers_and_150_ms, start),
        cmocka_unit_test_setup(refusals_are_life_and_no_loss, start),
        cmocka_unit_test_setup(refusals_teach_no_patience, start),
        cmocka_unit_test_setup(the_end_of_refusals_is_death, start),
        cmocka_unit_test_setup(the_lossy_get_more_time, start),
        cmocka_unit_test_setup(seldom_asked_is_not_dead, start),
        cmocka_unit_test_setup(the_dead_return_by_refusals, start),
        cmocka_unit_test_setup(one_that_was_never_answered_is_up_by_a_refusal, start),
        cmocka_unit_test_setup(flapping_costs_time_and_is_forgiven, start),
        cmocka_unit_test_setup(one_answer_is_enough_where_no_other_lives, start),
        cmocka_unit_test_setup(loss_degrades_and_heals, start),
        cmocka_unit_test_setup(delay_degrades_and_heals, start),
        cmocka_unit_test_setup(time_may_stand_still_go_back_or_end, start),
        cmocka_unit_test_setup(anything_may_be_said, start),
        cmocka_unit_test_setup(a_short_stall_is_allowed_again, start),
        cmocka_unit_test_setup(a_stall_is_no_upward_loss, start),
        cmocka_unit_test_setup(a_queue_that_leapt_once_may_leap_again, start),
        cmocka_unit_test_setup(a_line_that_dropped_and_was_healed, start),
        cmocka_unit_test_setup(a_radio_that_lost_all_upward, start),
        cmocka_unit_test_setup(a_queue_that_filled, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
