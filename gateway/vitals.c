#include "gateway/vitals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "gateway/probe.h"

#define SECOND_US 1000000ull
#define DAY_S 86400ull
/* How often an uplink is looked at while flows carry data, and for how long after. */
#define LOOK_US 20000u
#define AWAKE_US SECOND_US
/* Probes. */
#define DENSE_US 50000u
#define IDLE_US (10 * SECOND_US)
#define METERED_IDLE_US (60 * SECOND_US)
#define COMPARE_US SECOND_US
#define METERED_COMPARE_US (5 * SECOND_US)
#define SEARCH_US 100000u /* while nothing is known, and an answer would tell much */
#define DEAD_IDLE_US (2 * SECOND_US)
#define DEAD_US 500000u /* in search of a dead one that comes back */
/* While none lives, and it did within so long, every moment counts. */
#define ALL_DEAD_US (60 * SECOND_US)
#define SHARE_OF_TRAFFIC 20 /* probes take at most a twentieth of it */
/* When flows go on after a pause, an uplink is asked at once unless it was just now. */
#define STALE_US (SECOND_US / 5)
#define STALE_METERED_US (5 * SECOND_US)
/* Without a packet for so long where packets came in the last second, it is asked. */
#define SILENCE_US 40000u

static const struct timeval bind_again = {.tv_sec = 1};

struct vital {
    struct vitals *all;
    uint32_t uplink;
    struct prober *prober; /* NULL: nobody to ask, or no way to */
    bool is_unbound;       /* the latter: for want of descriptors, or of a route */
    struct event *timer;
    uint64_t seq, probed_us;
    struct uplink_counters counters;
    bool counted; /* counters are of looked_us */
    uint64_t looked_us;
    uint64_t bytes_per_second; /* of the traffic, smoothed over a quarter of a second */
    uint64_t packets_us;       /* when packets last came that were not probes' answers */
    uint64_t answers;          /* since the last look */
};

struct vitals {
    struct event_base *base;
    const struct uplinks *uplinks;
    struct gauges *gauges;
    const struct vitals_events *events;
    void *arg;
    const struct concentrator_entry *entry;
    uint16_t port;
    struct event *rebind; /* after vitals_aim(), which may be called from inside a prober */
    uint64_t awake_until_us;
    bool compare;
    struct vital of[UPLINKS_MAX];
};

static struct health *health_of(const struct vital *v)
{
    return &v->all->gauges->of[v->uplink].health;
}

static struct capacity *capacity_of(const struct vital *v)
{
    return &v->all->gauges->of[v->uplink].capacity;
}

static bool is_dear(const struct uplink *uplink, const struct gauge *gauge)
{
    return uplink->config->metered || gauge->spent;
}

static uint64_t idle_interval_us(const struct vital *v)
{
    const struct uplink *uplink = uplinks_get(v->all->uplinks, v->uplink);

    return is_dear(uplink, &v->all->gauges->of[v->uplink]) ? METERED_IDLE_US : IDLE_US;
}

uint64_t vitals_idle_bytes_per_day(const struct uplink *uplink, const struct gauge *gauge)
{
    uint64_t interval_us = is_dear(uplink, gauge) ? METERED_IDLE_US : IDLE_US;

    return uplink->barred ? 0 : DAY_S * SECOND_US / interval_us * PROBE_ROUND_TRIP_BYTES;
}

static bool is_awake(const struct vitals *all, uint64_t now_us)
{
    return now_us < all->awake_until_us;
}

/* --- evidence --- */

/* Packets and bytes since the last look, without those of the probes. */
static void count(struct vital *v, uint64_t now_us)
{
    const struct uplink *uplink = uplinks_get(v->all->uplinks, v->uplink);
    struct uplink_counters now, was = v->counters;
    uint64_t answers = v->answers, elapsed_us = now_us - v->looked_us;
    bool goes_on = v->counted;

    v->answers = 0;
    v->looked_us = now_us;
    v->counted = uplinks_read_counters(v->all->uplinks, uplink, &now) == 0;
    v->counters = now;
    if (!v->counted || !goes_on || elapsed_us == 0 || now.rx_packets < was.rx_packets)
        return;
    uint64_t packets = now.rx_packets - was.rx_packets;
    uint64_t bytes = now.rx_bytes - was.rx_bytes + now.tx_bytes - was.tx_bytes;
    uint64_t rate = bytes * SECOND_US / elapsed_us;
    uint64_t weight = elapsed_us < SECOND_US / 4 ? elapsed_us * 4 : SECOND_US;

    v->bytes_per_second = (v->bytes_per_second * (SECOND_US - weight) + rate * weight) / SECOND_US;
    packets = packets > answers ? packets - answers : 0;
    if (packets > 0)
        v->packets_us = now_us;
    health_heard(health_of(v), packets, now_us);
}

static void measure(struct vital *v, uint64_t now_us)
{
    struct capacity_look look = {
        .now_us = now_us, .rx_bytes = v->counters.rx_bytes, .tx_bytes = v->counters.tx_bytes};

    look.delay_us = (uint32_t)health_delay_us(health_of(v), now_us);
    if (v->counted && capacity_note(capacity_of(v), &look))
        v->all->events->measured(v->all->arg);
}

static void stop_measuring(struct vital *v)
{
    v->counted = false;
    capacity_rest(capacity_of(v));
}

static void rest(struct vital *v)
{
    bool rested = capacity_is_at_rest(capacity_of(v));

    stop_measuring(v);
    if (!rested)
        v->all->events->measured(v->all->arg);
}

static void on_answered(void *arg, uint64_t seq, uint64_t age_us);
static void on_refused(void *arg);

static const struct prober_events prober_events = {.answered = on_answered, .refused = on_refused};

/* --- when to probe --- */

/* While flows run elsewhere. */
static uint64_t unused_interval_us(const struct vital *v)
{
    bool metered = uplinks_get(v->all->uplinks, v->uplink)->config->metered;

    if (v->all->compare && !v->all->gauges->of[v->uplink].spent)
        return metered ? METERED_COMPARE_US : COMPARE_US;
    return idle_interval_us(v);
}

static uint64_t interval_by_traffic_us(const struct vital *v)
{
    uint64_t idle_us = unused_interval_us(v);
    uint64_t least = v->bytes_per_second / SHARE_OF_TRAFFIC;

    if (least == 0)
        return idle_us;
    uint64_t us = PROBE_ROUND_TRIP_BYTES * SECOND_US / least;
    return us < DENSE_US ? DENSE_US : us < idle_us ? us : idle_us;
}

static bool has_fallen_silent(const struct vital *v, uint64_t now_us)
{
    uint64_t silent_us = now_us - v->packets_us;

    return v->packets_us && silent_us >= SILENCE_US && silent_us < AWAKE_US;
}

static bool one_lives(const struct vitals *all)
{
    for (size_t i = 0; i < uplinks_count(all->uplinks); i++) {
        if (all->of[i].prober && health_of(&all->of[i])->verdict != HEALTH_DEAD)
            return true;
    }
    return false;
}

/* No other one tells whether the concentrator is there. */
static uint64_t search_interval_us(const struct vital *v, uint64_t since_us, uint64_t now_us)
{
    if (now_us - since_us < ALL_DEAD_US)
        return SEARCH_US;
    return is_dear(uplinks_get(v->all->uplinks, v->uplink), &v->all->gauges->of[v->uplink])
               ? DEAD_IDLE_US
               : DEAD_US;
}

static bool one_is_answered(const struct vitals *all)
{
    for (size_t i = 0; i < uplinks_count(all->uplinks); i++) {
        const struct health *h = health_of(&all->of[i]);
        if (all->of[i].prober && h->verdict != HEALTH_DEAD && !h->refused)
            return true;
    }
    return false;
}

/* Is it the concentrator? */
static bool in_question(const struct vitals *all)
{
    return gauges_are_in_question(all->gauges, all->uplinks, all->entry->address.family);
}

static uint64_t dead_interval_us(const struct vital *v, uint64_t now_us)
{
    bool awake = is_awake(v->all, now_us);

    if (one_is_answered(v->all))
        return in_question(v->all) ? SEARCH_US : awake ? DEAD_US : DEAD_IDLE_US;
    return awake ? SEARCH_US : search_interval_us(v, health_of(v)->dead_us, now_us);
}

static uint64_t refused_interval_us(const struct vital *v, uint64_t now_us)
{
    if (one_is_answered(v->all))
        return DEAD_IDLE_US;
    return search_interval_us(v, health_of(v)->refused_from_us, now_us);
}

static uint64_t interval_us(const struct vital *v, uint64_t now_us)
{
    const struct health *h = health_of(v);
    bool awake = is_awake(v->all, now_us);

    if (h->doubtful || h->returning)
        return DENSE_US;
    if (h->verdict == HEALTH_PROBING)
        return now_us - h->first_sent_us < 3 * SECOND_US ? SEARCH_US : SECOND_US;
    if (h->verdict == HEALTH_DEAD)
        return dead_interval_us(v, now_us);
    if (h->refused)
        return refused_interval_us(v, now_us);
    if (in_question(v->all))
        return DENSE_US;
    if (!awake)
        return idle_interval_us(v);
    return has_fallen_silent(v, now_us) ? DENSE_US : interval_by_traffic_us(v);
}

/* One that does not leave gets no answer: that is the evidence. Returns 0, or -errno. */
static int probe(struct vital *v, uint64_t now_us)
{
    v->probed_us = now_us;
    health_sent(health_of(v), ++v->seq, now_us);
    return prober_send(v->prober, v->seq);
}

static int probe_when_due(struct vital *v, uint64_t now_us)
{
    bool due = !v->probed_us || now_us - v->probed_us >= interval_us(v, now_us);

    return due ? probe(v, now_us) : 0;
}

static void set_timer(struct vital *v, uint64_t now_us)
{
    uint64_t probe_us = v->probed_us + interval_us(v, now_us);
    uint64_t look_us = health_next_us(health_of(v));
    uint64_t at_us = look_us < probe_us ? look_us : probe_us;

    if (is_awake(v->all, now_us) && now_us + LOOK_US < at_us)
        at_us = now_us + LOOK_US;
    uint64_t in_us = at_us > now_us + 1000 ? at_us - now_us : 1000;
    struct timeval tv = {.tv_sec = (time_t)(in_us / SECOND_US),
                         .tv_usec = (suseconds_t)(in_us % SECOND_US)};
    event_add(v->timer, &tv);
}

static void ask_all(struct vitals *all)
{
    for (size_t i = 0; i < uplinks_count(all->uplinks); i++) {
        if (all->of[i].prober)
            event_active(all->of[i].timer, 0, 0);
    }
}

/* refused_before: before what was heard just now. */
static void judge(struct vital *v, bool refused_before, uint64_t now_us)
{
    struct health *h = health_of(v);
    enum health_verdict before = h->verdict;
    bool doubtful = h->doubtful;

    h->needed = !one_lives(v->all);
    bool changed = health_look(h, now_us) || h->refused != refused_before;
    if (gauges_prove_deaths(v->all->gauges, v->all->uplinks, v->all->entry->address.family))
        v->all->events->proved(v->all->arg);
    if (!changed)
        return;
    if ((h->verdict == HEALTH_DEAD) != (before == HEALTH_DEAD))
        ask_all(v->all);
    if (h->doubtful && !doubtful)
        v->probed_us = 0; /* the next answer tells: ask at once */
    v->all->events->changed(v->all->arg, v->uplink, before, doubtful);
}

static void bind_prober(struct vital *v);

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct vital *v = arg;
    uint64_t now_us = clock_now_us();

    if (!v->prober) {
        bind_prober(v);
        return;
    }
    if (is_awake(v->all, now_us))
        count(v, now_us);
    else
        rest(v);
    judge(v, health_of(v)->refused, now_us);
    measure(v, now_us);
    if (probe_when_due(v, now_us) == -EDESTADDRREQ)
        bind_prober(v); /* another program has destroyed its socket (`ss -K`) */
    else
        set_timer(v, now_us);
}

static void on_answered(void *arg, uint64_t seq, uint64_t age_us)
{
    struct vital *v = arg;
    uint64_t now_us = clock_now_us();
    struct gauge *gauge = &v->all->gauges->of[v->uplink];
    bool refused_before = gauge->health.refused;

    v->answers++;
    health_answered(&gauge->health, seq, now_us - age_us);
    if (gauge->health.srtt_us)
        gauge->rtt_us = (uint32_t)gauge->health.srtt_us;
    capacity_answered(&gauge->capacity, (uint32_t)gauge->health.newest_rtt_us);
    judge(v, refused_before, now_us);
    set_timer(v, now_us);
}

/* Whether it is so by the others, too, tells the concentrator's end from a provider that rejects
 * UDP. */
static void ask_the_others(struct vital *v)
{
    struct vitals *all = v->all;

    for (size_t i = 0; i < uplinks_count(all->uplinks); i++) {
        if (&all->of[i] != v)
            all->of[i].probed_us = 0;
    }
    ask_all(all);
}

static void on_refused(void *arg)
{
    struct vital *v = arg;
    struct health *h = health_of(v);
    uint64_t now_us = clock_now_us();
    bool refused_before = h->refused;

    v->answers++;
    health_refused(h, now_us);
    judge(v, refused_before, now_us);
    if (!refused_before)
        ask_the_others(v);
    set_timer(v, now_us);
}

/* --- whom to ask, and from where --- */

static void bind_prober(struct vital *v)
{
    const struct vitals *all = v->all;
    const struct uplink *uplink = uplinks_get(all->uplinks, v->uplink);

    prober_free(v->prober);
    v->prober = NULL;
    v->probed_us = 0;
    stop_measuring(v);
    event_del(v->timer);
    if (!all->entry || !all->port || !uplink_usable(uplink, all->entry->address.family))
        return;
    int err = prober_new(&v->prober, all->base, uplink, all->entry, all->port, &prober_events, v);
    if (err && !v->is_unbound)
        log_warning(uplink->config->name, "cannot probe it: %s", strerror(-err));
    v->is_unbound = err != 0;
    if (err)
        event_add(v->timer, &bind_again);
    else
        set_timer(v, clock_now_us());
}

static void begin_anew(struct vital *v)
{
    struct health *h = health_of(v);
    enum health_verdict before = h->verdict;
    bool doubtful = h->doubtful;

    health_init(h);
    bind_prober(v);
    if (h->verdict != before || doubtful)
        v->all->events->changed(v->all->arg, v->uplink, before, doubtful);
}

static void on_rebind(evutil_socket_t fd, short what, void *arg)
{
    struct vitals *all = arg;

    for (size_t i = 0; i < uplinks_count(all->uplinks); i++)
        begin_anew(&all->of[i]);
}

void vitals_aim(struct vitals *all, const struct concentrator_entry *entry, uint16_t port)
{
    if (all->entry == entry && all->port == port)
        return;
    /* The first has just welcomed us; that another one did says nothing of this one. */
    for (size_t i = 0; all->entry && all->entry != entry && i < uplinks_count(all->uplinks); i++)
        all->gauges->of[i].tcp_works = all->gauges->of[i].welcomed = false;
    all->entry = entry;
    all->port = port;
    event_active(all->rebind, 0, 0);
}

void vitals_uplink_changed(struct vitals *all, uint32_t uplink, bool forget)
{
    struct vital *v = &all->of[uplink];

    if (forget) {
        health_init(health_of(v));
        v->packets_us = 0;
        all->gauges->of[uplink].tcp_works = all->gauges->of[uplink].welcomed = false;
    }
    bind_prober(v);
}

/* What was known when the last flow paused may be true no more. */
static void ask_anew(struct vital *v, uint64_t now_us)
{
    bool metered = uplinks_get(v->all->uplinks, v->uplink)->config->metered;
    bool spent = v->all->gauges->of[v->uplink].spent;
    uint64_t stale_us = spent ? METERED_IDLE_US : metered ? STALE_METERED_US : STALE_US;

    if (!v->prober)
        return;
    if (now_us - v->probed_us >= stale_us)
        v->probed_us = 0;
    event_active(v->timer, 0, 0);
}

void vitals_wake(struct vitals *all)
{
    uint64_t now_us = clock_now_us();
    bool was_awake = is_awake(all, now_us);

    all->awake_until_us = now_us + AWAKE_US;
    if (was_awake)
        return;
    for (size_t i = 0; i < uplinks_count(all->uplinks); i++)
        ask_anew(&all->of[i], now_us);
}

void vitals_compare(struct vitals *all, bool compare)
{
    all->compare = compare;
}

int vitals_new(struct vitals **out, struct event_base *base, const struct uplinks *uplinks,
               struct gauges *gauges, const struct vitals_events *events, void *arg)
{
    struct vitals *all = calloc(1, sizeof(*all));

    if (!all)
        return -ENOMEM;
    *all = (struct vitals){
        .base = base, .uplinks = uplinks, .gauges = gauges, .events = events, .arg = arg};
    all->rebind = event_new(base, -1, 0, on_rebind, all);
    if (!all->rebind) {
        vitals_free(all);
        return -ENOMEM;
    }
    loop_goes_first(all->rebind);
    for (size_t i = 0; i < UPLINKS_MAX; i++) {
        struct vital *v = &all->of[i];
        *v = (struct vital){.all = all, .uplink = (uint32_t)i};
        v->timer = evtimer_new(base, on_timer, v);
        health_init(health_of(v));
        if (!v->timer) {
            vitals_free(all);
            return -ENOMEM;
        }
        loop_goes_first(v->timer);
    }
    *out = all;
    return 0;
}

void vitals_free(struct vitals *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < UPLINKS_MAX; i++) {
        prober_free(all->of[i].prober);
        if (all->of[i].timer)
            event_free(all->of[i].timer);
    }
    if (all->rebind)
        event_free(all->rebind);
    free(all);
}
