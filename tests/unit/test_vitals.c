/* When uplinks are probed, and from where. Probes, uplinks, the clock and libevent's timers are
 * played by the test, so that hours pass in no time. Health is the real one. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/clock.h"
#include "gateway/probe.h"
#include "gateway/vitals.h"

#define MS 1000ull
#define SECOND (1000 * MS)
#define N 3
#define METERED 2 /* its index */

/* ---- the clock ---- */

static uint64_t now_us;

uint64_t clock_now_us(void)
{
    return now_us;
}

uint64_t clock_now_ms(void)
{
    return now_us / MS;
}

uint64_t clock_boot_ms(void)
{
    return now_us / MS;
}

uint64_t clock_wall_ms(void)
{
    return now_us / MS;
}

/* ---- timers ---- */

int __wrap_event_add(struct event *event, const struct timeval *tv);
int __wrap_event_del(struct event *event);
void __wrap_event_free(struct event *event);
int __real_event_del(struct event *event);
void __real_event_free(struct event *event);

static struct timer {
    struct event *event; /* NULL: none */
    uint64_t due_us;
} timers[N];

static void drop_timer(const struct event *event)
{
    for (size_t i = 0; i < N; i++) {
        if (timers[i].event == event)
            timers[i].event = NULL;
    }
}

int __wrap_event_add(struct event *event, const struct timeval *tv)
{
    drop_timer(event);
    for (size_t i = 0; i < N; i++) {
        if (timers[i].event)
            continue;
        timers[i].event = event;
        timers[i].due_us = now_us + (uint64_t)tv->tv_sec * SECOND + (uint64_t)tv->tv_usec;
        return 0;
    }
    fail_msg("more timers than uplinks");
    return -1;
}

int __wrap_event_del(struct event *event)
{
    drop_timer(event);
    return __real_event_del(event);
}

void __wrap_event_free(struct event *event)
{
    drop_timer(event);
    __real_event_free(event);
}

/* ---- uplinks, and what they carry ---- */

static struct uplink_config configs[N] = {
    {.name = "dsl"}, {.name = "cable"}, {.name = "lte", .metered = true}};

static struct line {
    struct uplink uplink;
    bool cut;
    bool refused; /* nobody listens at its far end, and the host there says so, once a second */
    uint64_t refused_us;
    uint64_t rtt_us;
    uint64_t bytes_per_s, packets_per_s; /* of other traffic */
    uint64_t since_us;
    double bytes, packets;
    uint64_t sent, sent_us; /* probes: how many, and when the last */
} lines[N];

struct uplinks {
    int unused;
};

size_t uplinks_count(const struct uplinks *uplinks)
{
    return N;
}

const struct uplink *uplinks_get(const struct uplinks *uplinks, size_t index)
{
    return &lines[index].uplink;
}

bool uplink_usable(const struct uplink *uplink, uint8_t family)
{
    return family == 6 ? uplink->v6.usable : uplink->v4.usable;
}

/* Also whenever the traffic changes. */
static void carry(struct line *l)
{
    if (!l->cut) {
        l->bytes += (double)(now_us - l->since_us) * (double)l->bytes_per_s / SECOND;
        l->packets += (double)(now_us - l->since_us) * (double)l->packets_per_s / SECOND;
    }
    l->since_us = now_us;
}

int uplinks_read_counters(const struct uplinks *uplinks, const struct uplink *uplink,
                          struct uplink_counters *out)
{
    struct line *l = &lines[uplink->index];

    carry(l);
    *out = (struct uplink_counters){.rx_bytes = (uint64_t)l->bytes,
                                    .rx_packets = (uint64_t)l->packets};
    return 0;
}

static void set_traffic(size_t i, uint64_t bytes_per_s, uint64_t packets_per_s)
{
    carry(&lines[i]);
    lines[i].bytes_per_s = bytes_per_s;
    lines[i].packets_per_s = packets_per_s;
}

static void set_cut(size_t i, bool cut)
{
    carry(&lines[i]);
    lines[i].cut = cut;
}

/* ---- probes ---- */

struct prober {
    const struct concentrator_entry *entry;
    uint16_t port;
    size_t line;
    uint64_t seq;
    const struct prober_events *events;
    void *arg;
};

static struct reply {
    struct prober *to; /* NULL: none */
    uint64_t due_us, seq;
} replies[256];

static struct prober *probers[N]; /* one for each uplink at most */
static size_t n_made;
static int make_error;
static bool inside_answer;
static uint64_t unread_us; /* how long answers lie before they are read */

int prober_new(struct prober **out, struct event_base *base, const struct uplink *uplink,
               const struct concentrator_entry *entry, uint16_t port,
               const struct prober_events *events, void *arg)
{
    assert_false(inside_answer);
    assert_null(probers[uplink->index]);
    if (make_error)
        return make_error;
    struct prober *p = calloc(1, sizeof(*p));
    *p = (struct prober){entry, port, uplink->index, 0, events, arg};
    probers[p->line] = *out = p;
    n_made++;
    return 0;
}

void prober_free(struct prober *p)
{
    assert_false(inside_answer);
    if (!p)
        return;
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        if (replies[i].to == p)
            replies[i].to = NULL;
    }
    probers[p->line] = NULL;
    free(p);
}

int prober_send(struct prober *p, uint64_t seq)
{
    struct line *l = &lines[p->line];

    assert_true(p->seq == 0 || seq == p->seq + 1);
    p->seq = seq;
    l->sent++;
    l->sent_us = now_us;
    if (l->cut)
        return -ENETUNREACH;
    l->bytes += PROBE_ROUND_TRIP_BYTES;
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        if (!replies[i].to) {
            replies[i] = (struct reply){p, now_us + l->rtt_us + unread_us, seq};
            return 0;
        }
    }
    fail_msg("too many probes under way");
    return -1;
}

static void bring(struct reply *r)
{
    struct prober *p = r->to;

    r->to = NULL;
    if (lines[p->line].cut)
        return;
    struct line *l = &lines[p->line];
    if (l->refused && l->refused_us && now_us - l->refused_us < SECOND)
        return;
    l->packets++;
    inside_answer = true;
    if (l->refused) {
        l->refused_us = now_us;
        p->events->refused(p->arg);
    } else {
        p->events->answered(p->arg, r->seq, unread_us);
    }
    inside_answer = false;
}

/* ---- the world ---- */

static struct event_base *base;
static struct vitals *vitals;
static struct gauges gauges;
static struct uplinks uplinks;
static struct concentrator_entry vps = {.address.family = 4}, other = {.address.family = 4};

static struct change {
    uint32_t uplink;
    enum health_verdict before, now;
    bool doubtful_before, doubtful;
    bool refused;
} changes[1000];
static size_t n_changes;
static struct vitals *aim_anew; /* from inside the callback */

static bool refused[N]; /* as was told last */

static void on_changed(void *arg, uint32_t uplink, enum health_verdict before, bool doubtful)
{
    const struct health *h = &gauges.of[uplink].health;

    assert_ptr_equal(arg, &gauges);
    assert_true(h->verdict != before || h->doubtful != doubtful || h->refused != refused[uplink]);
    refused[uplink] = h->refused;
    assert_true(n_changes < 1000);
    changes[n_changes++] =
        (struct change){uplink, before, h->verdict, doubtful, h->doubtful, h->refused};
    if (aim_anew)
        vitals_aim(aim_anew, &other, 7172);
}

static unsigned n_measured, n_proved;

static void on_measured(void *arg)
{
    assert_ptr_equal(arg, &gauges);
    n_measured++;
}

static void on_proved(void *arg)
{
    assert_ptr_equal(arg, &gauges);
    n_proved++;
}

static const struct vitals_events events = {on_changed, on_measured, on_proved};

static int start(void **state)
{
    now_us = 5000 * SECOND;
    n_changes = n_made = n_measured = n_proved = 0;
    make_error = 0;
    aim_anew = NULL;
    memset(refused, 0, sizeof(refused));
    memset(&gauges, 0, sizeof(gauges));
    for (size_t i = 0; i < N; i++) {
        lines[i] = (struct line){.rtt_us = 30 * MS, .since_us = now_us};
        lines[i].uplink =
            (struct uplink){.config = &configs[i], .index = (uint32_t)i, .v4.usable = true};
    }
    base = event_base_new();
    return vitals_new(&vitals, base, &uplinks, &gauges, &events, &gauges);
}

static int end(void **state)
{
    vitals_free(vitals);
    vitals = NULL;
    for (size_t i = 0; i < N; i++) {
        assert_null(probers[i]);
        assert_null(timers[i].event);
    }
    event_base_free(base);
    return 0;
}

/* What is due next, if it is before until_us: a timer or an answer. */
static bool happen(uint64_t until_us)
{
    struct timer *timer = NULL;
    struct reply *reply = NULL;
    uint64_t at_us = until_us;

    for (size_t i = 0; i < N; i++) {
        if (timers[i].event && timers[i].due_us <= at_us) {
            timer = &timers[i];
            at_us = timer->due_us;
        }
    }
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        if (replies[i].to && replies[i].due_us <= at_us) {
            reply = &replies[i];
            at_us = reply->due_us;
        }
    }
    if (at_us > now_us)
        now_us = at_us;
    if (reply) {
        bring(reply);
    } else if (timer) {
        event_active(timer->event, EV_TIMEOUT, 0);
        timer->event = NULL;
    }
    event_base_loop(base, EVLOOP_NONBLOCK);
    return reply || timer;
}

static void pass(uint64_t us)
{
    uint64_t until_us = now_us + us;

    event_base_loop(base, EVLOOP_NONBLOCK);
    while (happen(until_us))
        ;
}

/* Flows carry data all the time. */
static void pass_awake(uint64_t us)
{
    for (uint64_t until_us = now_us + us; now_us < until_us;) {
        vitals_wake(vitals);
        pass(until_us - now_us < 50 * MS ? until_us - now_us : 50 * MS);
    }
}

static uint64_t sent_in(size_t i, uint64_t us, bool awake)
{
    uint64_t before = lines[i].sent;

    if (awake)
        pass_awake(us);
    else
        pass(us);
    return lines[i].sent - before;
}

static const struct health *health(size_t i)
{
    return &gauges.of[i].health;
}

static void be_up(void)
{
    vitals_aim(vitals, &vps, 7171);
    pass(30 * SECOND);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(health(i)->verdict, HEALTH_UP);
}

/* ---- whom to ask, and from where ---- */

static void nobody_is_asked_without_an_aim(void **state)
{
    vitals_wake(vitals);
    pass(100 * SECOND);
    vitals_aim(vitals, &vps, 0); /* it answers no probes */
    vitals_wake(vitals);
    pass(100 * SECOND);
    for (uint32_t i = 0; i < N; i++)
        vitals_uplink_changed(vitals, i, true);
    pass(100 * SECOND);
    assert_int_equal(n_made, 0);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(health(i)->verdict, HEALTH_PROBING);
    assert_int_equal(n_changes, 0);
}

static void an_aim_is_taken_and_left(void **state)
{
    be_up();
    assert_int_equal(n_made, N);
    vitals_aim(vitals, &vps, 7171); /* as it is */
    pass(30 * SECOND);
    assert_int_equal(n_made, N);
    vitals_aim(vitals, &other, 7171);
    pass(1);
    assert_int_equal(n_made, 2 * N);
    vitals_aim(vitals, &other, 7172);
    pass(1);
    assert_int_equal(n_made, 3 * N);
    for (size_t i = 0; i < N; i++) {
        assert_ptr_equal(probers[i]->entry, &other);
        assert_int_equal(probers[i]->port, 7172);
        assert_true(sent_in(i, 100 * MS, false) >= (i == 0)); /* asked at once */
    }
    vitals_aim(vitals, NULL, 0);
    pass(1);
    for (size_t i = 0; i < N; i++) {
        assert_null(probers[i]);
        assert_int_equal(sent_in(i, 100 * SECOND, false), 0);
    }
}

/* The prober whose answer changes a verdict must not be freed meanwhile: the fake asserts that. */
static void the_aim_may_change_while_one_answers(void **state)
{
    aim_anew = vitals;
    vitals_aim(vitals, &vps, 7171);
    pass(SECOND);
    assert_true(n_changes > 0);
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(probers[i]->entry, &other);
}

static void only_usable_uplinks_are_probed(void **state)
{
    lines[0].uplink.v4.usable = false;
    lines[0].uplink.v6.usable = true; /* of no use: the concentrator has an IPv4 address */
    vitals_aim(vitals, &vps, 7171);
    pass(10 * SECOND);
    assert_null(probers[0]);
    assert_int_equal(health(0)->verdict, HEALTH_PROBING);
    lines[0].uplink.v4.usable = true;
    vitals_uplink_changed(vitals, 0, false);
    pass(SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_UP);
    lines[0].uplink.v4.usable = false;
    vitals_uplink_changed(vitals, 0, false);
    assert_null(probers[0]);
    assert_int_equal(sent_in(0, 100 * SECOND, true), 0);
}

static void another_network_is_judged_anew(void **state)
{
    be_up();
    size_t made = n_made;
    vitals_uplink_changed(vitals, 1, false); /* bound anew, and known as before */
    assert_int_equal(n_made, made + 1);
    assert_int_equal(health(1)->verdict, HEALTH_UP);
    assert_true(health(1)->srtt_us > 0);
    lines[1].rtt_us = 90 * MS;
    vitals_uplink_changed(vitals, 1, true);
    assert_int_equal(n_made, made + 2);
    assert_int_equal(health(1)->verdict, HEALTH_PROBING);
    assert_int_equal(health(1)->srtt_us, 0);
    pass(SECOND);
    assert_int_equal(health(1)->verdict, HEALTH_UP);
    assert_int_equal(health(1)->min_rtt_us, 90 * MS);
    assert_int_equal(health(0)->min_rtt_us, 30 * MS);
}

/* Descriptors were short, say. Nobody would notice its death. */
static void one_that_cannot_be_bound_is_tried_again(void **state)
{
    make_error = -EMFILE;
    vitals_aim(vitals, &vps, 7171);
    pass(10 * SECOND);
    vitals_wake(vitals);
    pass(10 * SECOND);
    assert_int_equal(n_made, 0);
    lines[1].uplink.v4.usable = false; /* of no use meanwhile */
    vitals_uplink_changed(vitals, 1, false);
    make_error = 0;
    pass(2 * SECOND);
    assert_int_equal(n_made, N - 1);
    assert_int_equal(health(0)->verdict, HEALTH_UP);
    assert_int_equal(health(2)->verdict, HEALTH_UP);
    assert_int_equal(health(1)->verdict, HEALTH_PROBING);
}

/* ---- how often ---- */

static void idle_ones_are_asked_seldom(void **state)
{
    be_up();
    uint64_t metered = lines[METERED].sent;
    assert_in_range(sent_in(0, 600 * SECOND, false), 59, 61);
    assert_in_range(lines[METERED].sent - metered, 9, 11);
    assert_int_equal(health(0)->verdict, HEALTH_UP);
    assert_int_equal(vitals_idle_bytes_per_day(&lines[0].uplink, &gauges.of[0]), 1658880);
    assert_int_equal(vitals_idle_bytes_per_day(&lines[METERED].uplink, &gauges.of[METERED]),
                     276480);
}

/* As if it were metered, and flows that go on ask no more often. */
static void one_beyond_its_budget_is_asked_seldom(void **state)
{
    be_up();
    gauges.of[0].spent = true;
    pass(10 * SECOND); /* what was arranged before */
    uint64_t before = lines[0].sent;
    for (int i = 0; i < 100; i++) {
        vitals_wake(vitals);
        pass(6 * SECOND);
    }
    assert_in_range(lines[0].sent - before, 9, 11);
    assert_int_equal(vitals_idle_bytes_per_day(&lines[0].uplink, &gauges.of[0]), 276480);
    lines[0].uplink.barred = true;
    assert_int_equal(vitals_idle_bytes_per_day(&lines[0].uplink, &gauges.of[0]), 0);
}

static void flows_that_go_on_ask_at_once(void **state)
{
    be_up();
    pass(5 * SECOND - (now_us - lines[METERED].sent_us) % (5 * SECOND)); /* long ago for all */
    while (now_us - lines[0].sent_us < SECOND || now_us - lines[METERED].sent_us < 6 * SECOND)
        pass(500 * MS);
    uint64_t before[N];
    for (size_t i = 0; i < N; i++)
        before[i] = lines[i].sent;
    vitals_wake(vitals);
    pass(2 * MS);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(lines[i].sent, before[i] + 1);
    pass_awake(SECOND); /* and without traffic no more than before */
    for (size_t i = 0; i < N; i++)
        assert_int_equal(lines[i].sent, before[i] + 1);
}

static void until_just_asked(size_t i)
{
    for (uint64_t before = lines[i].sent; lines[i].sent == before;)
        pass(10 * MS);
}

static void what_was_just_asked_is_not_asked_again(void **state)
{
    be_up();
    until_just_asked(0);
    pass(170 * MS);
    uint64_t before = lines[0].sent;
    vitals_wake(vitals);
    pass(5 * MS);
    assert_int_equal(lines[0].sent, before);
    pass(5 * SECOND);
    until_just_asked(0);
    pass(210 * MS);
    before = lines[0].sent;
    vitals_wake(vitals);
    pass(5 * MS);
    assert_int_equal(lines[0].sent, before + 1);
    pass(5 * SECOND);
    until_just_asked(METERED);
    pass(4900 * MS);
    before = lines[METERED].sent;
    vitals_wake(vitals);
    pass(5 * MS);
    assert_int_equal(lines[METERED].sent, before);
    pass(2 * SECOND);
    vitals_wake(vitals);
    pass(5 * MS);
    assert_int_equal(lines[METERED].sent, before + 1);
}

/* A twentieth of the traffic, and every 50 ms at most; also where data is metered. */
static void probes_follow_the_traffic(void **state)
{
    static const struct {
        uint64_t bytes_per_s, least, most;
    } rates[] = {{0, 0, 1}, {3840, 8, 14}, {7680, 17, 25}, {38400, 90, 115}, {5000000, 190, 202}};

    be_up();
    for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
        uint64_t bytes_per_s = rates[r].bytes_per_s;
        for (size_t i = 0; i < N; i += 2)
            set_traffic(i, bytes_per_s, 50 * (bytes_per_s > 0) + bytes_per_s / 1400);
        pass_awake(10 * SECOND);
        uint64_t metered = lines[METERED].sent;
        assert_in_range(sent_in(0, 10 * SECOND, true), rates[r].least, rates[r].most);
        assert_in_range(lines[METERED].sent - metered, rates[r].least, rates[r].most);
    }
    set_traffic(0, 0, 0);
    set_traffic(METERED, 0, 0);
    pass(20 * SECOND); /* asleep: as seldom as ever */
    assert_in_range(sent_in(0, 100 * SECOND, false), 9, 11);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(health(i)->verdict, HEALTH_UP);
}

/* Also those that carry nothing, while flows carry data elsewhere. */
static void who_is_compared_is_asked_every_second(void **state)
{
    be_up();
    set_traffic(0, 5000000, 4000);
    vitals_compare(vitals, true);
    uint64_t metered = lines[METERED].sent, busy = lines[0].sent;
    assert_in_range(sent_in(1, 100 * SECOND, true), 98, 102);
    assert_in_range(lines[METERED].sent - metered, 19, 21);
    assert_in_range(lines[0].sent - busy, 1950, 2010);
    set_traffic(0, 0, 0);
    assert_in_range(sent_in(1, 100 * SECOND, false), 9, 12); /* asleep */
    vitals_compare(vitals, false);
    assert_in_range(sent_in(1, 100 * SECOND, true), 9, 11);
}

/* ---- bad news ---- */

static void silence_asks_at_once(void **state)
{
    be_up();
    set_traffic(0, 7680, 100); /* a probe each half second */
    pass_awake(10 * SECOND);
    until_just_asked(0);
    pass_awake(100 * MS);
    uint64_t before = lines[0].sent, cut_us = now_us;
    set_cut(0, true);
    while (lines[0].sent == before)
        pass_awake(MS);
    assert_in_range(now_us - cut_us, 40 * MS, 80 * MS);
    uint64_t first_us = now_us;
    while (lines[0].sent == before + 1)
        pass_awake(MS);
    assert_in_range(now_us - first_us, 1, 75 * MS); /* where half a second was enough before */
    while (health(0)->verdict != HEALTH_DEAD)
        pass_awake(MS);
    assert_in_range(now_us - cut_us, 100 * MS, 250 * MS);
    assert_int_equal(changes[n_changes - 1].uplink, 0);
    assert_int_equal(changes[n_changes - 1].now, HEALTH_DEAD);
    assert_int_equal(health(1)->verdict, HEALTH_UP);
}

/* Nobody uses it: one probe is not answered, and dense ones make sure. */
static void doubt_asks_densely(void **state)
{
    be_up();
    until_just_asked(0);
    pass(SECOND);
    size_t before = n_changes;
    set_cut(0, true);
    until_just_asked(0);
    uint64_t asked_us = now_us;
    while (!health(0)->doubtful)
        pass(MS);
    assert_in_range(now_us - asked_us, 30 * MS, 300 * MS);
    assert_int_equal(n_changes, before + 1);
    assert_false(changes[before].doubtful_before);
    assert_in_range(sent_in(0, 100 * MS, false), 2, 3);
    pass(2 * SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_DEAD);
    assert_int_equal(changes[n_changes - 1].before, HEALTH_UP);
    assert_true(changes[n_changes - 1].doubtful_before);
}

static void a_lost_probe_is_forgiven(void **state)
{
    be_up();
    until_just_asked(0);
    pass(SECOND);
    size_t before = n_changes;
    set_cut(0, true);
    until_just_asked(0);
    set_cut(0, false);
    pass(SECOND);
    assert_int_equal(n_changes, before + 2); /* doubt, and its end */
    assert_int_equal(health(0)->verdict, HEALTH_UP);
    assert_in_range(sent_in(0, 100 * SECOND, false), 9, 12);
}

static void the_dead_are_searched(void **state)
{
    be_up();
    set_cut(0, true);
    pass(30 * SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_DEAD);
    assert_in_range(sent_in(0, 100 * SECOND, false), 49, 51);
    assert_in_range(sent_in(0, 100 * SECOND, true), 195, 205);
    set_cut(0, false);
    uint64_t back_us = now_us;
    while (health(0)->verdict == HEALTH_DEAD)
        pass_awake(MS);
    assert_in_range(now_us - back_us, 150 * MS, 1000 * MS);
}

/* No traffic wakes anybody then. The cheap ones are searched on when it lasts. */
static void they_are_searched_densely_while_none_lives(void **state)
{
    be_up();
    for (size_t i = 0; i < N; i++)
        set_cut(i, true);
    while (health(METERED)->verdict != HEALTH_DEAD) /* the last one to be asked */
        pass(MS);
    assert_in_range(sent_in(0, 10 * SECOND, false), 98, 102);
    assert_in_range(sent_in(METERED, 10 * SECOND, false), 98, 102);
    set_cut(1, false);
    uint64_t back_us = now_us;
    while (health(1)->verdict == HEALTH_DEAD)
        pass(MS);
    assert_in_range(now_us - back_us, 30 * MS, 150 * MS);
    pass(10 * SECOND);
    assert_in_range(sent_in(0, 10 * SECOND, false), 4, 6);
    set_cut(1, true);
    pass(200 * SECOND);
    assert_in_range(sent_in(0, 10 * SECOND, false), 19, 21);
    assert_in_range(sent_in(METERED, 10 * SECOND, false), 4, 6);
}

/* Others that are quiet are asked at once whether it is the concentrator. */
static void a_death_is_proved_by_the_others(void **state)
{
    be_up();
    pass(20 * SECOND);
    until_just_asked(1);
    set_cut(0, true);
    until_just_asked(0);
    while (health(0)->verdict != HEALTH_DEAD)
        pass(MS);
    assert_int_equal(n_proved, 0);
    pass(100 * MS);
    assert_int_equal(n_proved, 1);
    assert_in_range(sent_in(1, 100 * SECOND, false), 9, 12); /* and no more then */
    set_cut(0, false);
    pass(5 * SECOND);
    n_proved = 0;
    for (size_t i = 0; i < N; i++)
        set_cut(i, true);
    pass(200 * SECOND);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(health(i)->verdict, HEALTH_DEAD);
        set_cut(i, false);
    }
    pass(60 * SECOND);
    assert_int_equal(n_proved, 0);
}

static void one_that_returns_is_asked_densely(void **state)
{
    be_up();
    set_cut(0, true);
    pass(30 * SECOND);
    set_cut(0, false);
    while (!health(0)->returning)
        pass(MS);
    assert_in_range(sent_in(0, 120 * MS, false), 2, 3);
    pass(SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_UP);
}

static void set_refused(bool refuses)
{
    for (size_t i = 0; i < N; i++)
        lines[i].refused = refuses;
}

/* Two uplinks behind one address share its refusals, one a second: the one that got none looks
 * dead, and must have a chance of the next. */
static void one_that_was_not_refused_is_asked_as_often(void **state)
{
    be_up();
    until_just_asked(1);
    set_refused(true);
    set_cut(0, true);
    pass(15 * SECOND);
    assert_true(health(1)->refused);
    assert_int_equal(health(0)->verdict, HEALTH_DEAD);
    assert_in_range(sent_in(0, 10 * SECOND, false), 98, 102);
    assert_in_range(sent_in(1, 10 * SECOND, false), 98, 102);
    set_cut(0, false);
    pass(200 * MS);
    assert_true(health(0)->refused);
    pass(4 * SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_UP);
}

/* The concentrator is killed: no uplink dies, and its return is noticed as soon as that of the last
 * uplink would be. */
static void a_concentrator_that_was_killed_is_searched(void **state)
{
    be_up();
    until_just_asked(1);
    size_t before = n_changes;
    set_refused(true);
    until_just_asked(0);
    pass(2 * 30 * MS + MS); /* one is refused, and so all are asked */
    for (size_t i = 0; i < N; i++)
        assert_true(health(i)->refused);
    assert_in_range(sent_in(0, 10 * SECOND, false), 98, 102);
    assert_in_range(sent_in(METERED, 10 * SECOND, true), 98, 102);
    pass(60 * SECOND);
    assert_in_range(sent_in(0, 10 * SECOND, false), 19, 21);
    assert_in_range(sent_in(METERED, 10 * SECOND, false), 4, 6);
    assert_int_equal(n_changes, before + N); /* that they are refused */
    set_refused(false);
    pass(SECOND / 2 + 30 * MS);
    assert_false(health(0)->refused);
    pass(2 * SECOND);
    assert_int_equal(n_changes, before + 2 * N);
    for (size_t i = before; i < n_changes; i++) {
        assert_int_equal(changes[i].now, HEALTH_UP);
        assert_int_equal(changes[i].refused, i < before + N);
    }
}

/* Meanwhile one is lost in earnest. */
static void one_that_is_refused_no_more_is_dead(void **state)
{
    be_up();
    set_refused(true);
    pass(12 * SECOND);
    set_cut(0, true);
    pass(8 * SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_DEAD);
    assert_int_equal(health(1)->verdict, HEALTH_UP);
    set_cut(0, false);
    pass(10 * SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_UP);
    assert_true(health(0)->refused);
}

/* It rejects UDP, or something there does; that is no reason to ask densely for ever. */
static void one_that_is_refused_alone_is_asked_seldom(void **state)
{
    be_up();
    lines[0].refused = true;
    pass(12 * SECOND);
    assert_true(health(0)->refused);
    assert_in_range(sent_in(0, 100 * SECOND, false), 49, 51);
    assert_in_range(sent_in(1, 100 * SECOND, false), 9, 12);
    assert_int_equal(health(0)->verdict, HEALTH_UP);
}

static void an_unknown_one_is_searched(void **state)
{
    set_cut(0, true);
    vitals_aim(vitals, &vps, 7171);
    assert_in_range(sent_in(0, 2900 * MS, false), 28, 30);
    assert_int_equal(health(0)->verdict, HEALTH_PROBING);
    pass(SECOND);
    assert_int_equal(health(0)->verdict, HEALTH_DEAD);
}

/* ---- what is measured ---- */

static void the_gauge_shows_the_round_trip(void **state)
{
    lines[1].rtt_us = 70 * MS;
    be_up();
    assert_int_equal(gauges.of[0].rtt_us, 30 * MS);
    assert_int_equal(gauges.of[1].rtt_us, 70 * MS);
}

/* A busy processor reads late; the uplink is as near as ever. */
static void what_lies_unread_is_no_delay(void **state)
{
    unread_us = 40 * MS;
    be_up();
    unread_us = 0;
    assert_int_equal(gauges.of[0].rtt_us, 30 * MS);
    assert_int_equal(health_delay_us(health(0), now_us), 30 * MS);
}

/* Answers to probes are no traffic: nothing streams, so nothing has fallen silent. */
static void answers_are_no_traffic(void **state)
{
    be_up();
    pass_awake(20 * SECOND);
    assert_in_range(sent_in(0, 100 * SECOND, true), 9, 12);
    assert_int_equal(health(0)->gap_us, 0);
}

/* What a queue lets through is what there is; measured while flows run, and not beyond. */
static void a_full_uplink_shows_what_it_can(void **state)
{
    const struct capacity *capacity = &gauges.of[0].capacity;

    be_up();
    assert_int_equal(n_measured, 0);
    set_traffic(0, 1000000, 700);
    pass_awake(SECOND);
    assert_in_range(n_measured, 9 * N, 11 * N);
    assert_false(capacity->full || capacity->down.proven);
    lines[0].rtt_us = 80 * MS;
    pass_awake(SECOND);
    assert_true(capacity->full && capacity->down.proven);
    assert_in_range(capacity->down.bps, 7900000, 8100000);
    assert_false(gauges.of[1].capacity.full);
    pass(2 * SECOND);
    assert_false(capacity->full);
    assert_int_equal(capacity->down.rate_bps, 0);
    assert_in_range(capacity->down.bps, 7900000, 8100000);
}

/* It goes down while it carries: what it carried is no more. */
static void one_that_is_down_carries_nothing(void **state)
{
    be_up();
    set_traffic(0, 1000000, 700);
    pass_awake(SECOND);
    assert_true(gauges.of[0].capacity.down.rate_bps > 0);
    lines[0].uplink.v4.usable = false;
    vitals_uplink_changed(vitals, 0, true);
    assert_true(capacity_is_at_rest(&gauges.of[0].capacity));
    assert_int_equal(gauges.of[0].capacity.down.rate_bps, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_asked_without_an_aim),
        TEST(an_aim_is_taken_and_left),
        TEST(the_aim_may_change_while_one_answers),
        TEST(only_usable_uplinks_are_probed),
        TEST(another_network_is_judged_anew),
        TEST(one_that_cannot_be_bound_is_tried_again),
        TEST(idle_ones_are_asked_seldom),
        TEST(who_is_compared_is_asked_every_second),
        TEST(one_beyond_its_budget_is_asked_seldom),
        TEST(flows_that_go_on_ask_at_once),
        TEST(what_was_just_asked_is_not_asked_again),
        TEST(probes_follow_the_traffic),
        TEST(silence_asks_at_once),
        TEST(doubt_asks_densely),
        TEST(a_lost_probe_is_forgiven),
        TEST(the_dead_are_searched),
        TEST(they_are_searched_densely_while_none_lives),
        TEST(a_death_is_proved_by_the_others),
        TEST(one_that_was_not_refused_is_asked_as_often),
        TEST(one_that_returns_is_asked_densely),
        TEST(a_concentrator_that_was_killed_is_searched),
        TEST(one_that_is_refused_no_more_is_dead),
        TEST(one_that_is_refused_alone_is_asked_seldom),
        TEST(an_unknown_one_is_searched),
        TEST(the_gauge_shows_the_round_trip),
        TEST(what_lies_unread_is_no_delay),
        TEST(answers_are_no_traffic),
        TEST(a_full_uplink_shows_what_it_can),
        TEST(one_that_is_down_carries_nothing),
    };

    vitals_free(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
