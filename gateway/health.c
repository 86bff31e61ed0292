#include "gateway/health.h"

#include <stdio.h>
#include <string.h>

#define MS 1000ull
#define SECOND (1000 * MS)
#define NEVER UINT64_MAX

#define FIRST_RTO_US SECOND /* RFC 6298 */
#define RTO_MARGIN_US (10 * MS)
#define LIMIT_MARGIN_US (40 * MS)
#define HEARING_US (20 * MS) /* a little more than the interval of health_heard() */
#define THIN_LIMIT_MAX_US (1500 * MS)
#define LONE_PROBE_US (500 * MS)

#define RTT_SPAN_US (75 * SECOND)
#define DELAY_US (2 * SECOND)
#define STALL_SPAN_US (240 * SECOND)
#define STALL_MAX_US (1500 * MS)
#define RADIO_STALL_US (300 * MS)
#define RADIO_SLACK_US (750 * MS)

#define UPWARD_MIN_US (300 * MS)
#define UPWARD_PROBES 5
#define RESUMED_US (100 * MS)

#define REFUSAL_US (1100 * MS) /* a little more than a host takes for the next one */

#define LOST_AFTER 3 /* probes sent later and answered */
#define LOST_US (3 * SECOND)
#define FIRST_LOSS_PPM 10000 /* what an unknown uplink is believed to lose */
#define TRUSTED_PPM 2000
#define UNTRUSTED_PROBES 5
#define PROBES_MAX 16

#define PROBING_US (3 * SECOND)
#define PROBING_PROBES 5

#define LOSSY_PPM 50000
#define NOT_LOSSY_PPM 30000
#define SLOW_MIN_US (500 * MS)
#define SLOW_US (2 * SECOND)
#define BETTER_US (5 * SECOND)

#define GOOD_PROBES 3
#define GOOD_US (150 * MS)
#define GOOD_MAX_US (2 * SECOND)
#define FLAP_US (30 * SECOND)
#define FLAPS_MAX 4
#define CALM_US (300 * SECOND)

#define LATE_US (25 * MS)
#define GRACE_US (20 * MS)

/* ---- time and numbers, none of which wraps ---- */

static uint64_t since(uint64_t now_us, uint64_t then_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

static uint64_t after(uint64_t then_us, uint64_t us)
{
    return us > UINT64_MAX - then_us ? UINT64_MAX : then_us + us;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* mean moves by 1/n of the way, and comes down all the way. */
static uint64_t follow(uint64_t mean, uint64_t value, uint64_t n)
{
    if (value > mean)
        return mean + (value - mean) / n;
    return mean - (mean - value) / n - (mean - value < n && mean > value);
}

/* ---- the least and the most of late ---- */

/* A span that ends leaves half of the one that drops out: what is long ago fades. */
static void window_turn(struct health_window *w, uint64_t now_us, uint64_t span_us, bool fades)
{
    for (int i = 0; i < 16 && since(now_us, w->since_us) >= span_us; i++) {
        uint64_t rest = fades ? w->of[3] / 2 : 0;
        memmove(&w->of[1], &w->of[0], 3 * sizeof(w->of[0]));
        w->of[0] = rest;
        w->since_us = after(w->since_us, span_us);
    }
    if (since(now_us, w->since_us) >= span_us)
        w->since_us = now_us;
}

static uint64_t window_most(const struct health_window *w)
{
    return max(max(w->of[0], w->of[1]), max(w->of[2], w->of[3]));
}

static uint64_t window_least(const struct health_window *w)
{
    uint64_t least = NEVER;

    for (int i = 0; i < 4; i++) {
        if (w->of[i])
            least = min(least, w->of[i]);
    }
    return least == NEVER ? 0 : least;
}

/* ---- probes ---- */

static struct health_probe *probe_of(struct health *h, uint64_t seq)
{
    struct health_probe *p = &h->probes[seq % HEALTH_PROBES];

    return p->used && p->seq == seq ? p : NULL;
}

static uint64_t oldest_seq(const struct health *h)
{
    return since(h->newest_seq, HEALTH_PROBES - 1);
}

/* Collects when the unanswered probes left, oldest first: those sent after the newest one that was
 * answered, or those whose answer was due after anything has come. Returns how many. */
static unsigned unanswered(const struct health *h, bool in_a_row, uint64_t sent_us[HEALTH_PROBES])
{
    unsigned n = 0;
    uint64_t seq = oldest_seq(h);

    if (!h->n_sent)
        return 0;
    for (uint64_t left = h->newest_seq - seq + 1; left > 0; left--, seq++) {
        const struct health_probe *p = &h->probes[seq % HEALTH_PROBES];
        if (!p->used || p->seq != seq || p->answered)
            continue;
        if (in_a_row ? !h->srtt_us || seq > h->answered_seq
                     : after(p->sent_us, h->min_rtt_us) > h->came_us)
            sent_us[n++] = p->sent_us;
    }
    return n;
}

/* Those sent before that one get no answer any more, and that is no loss. */
static void settle(struct health *h, uint64_t seq)
{
    for (size_t i = 0; i < HEALTH_PROBES; i++) {
        struct health_probe *p = &h->probes[i];
        if (p->used && !p->answered && p->seq < seq)
            p->used = false;
    }
}

/* What dies with a verdict, or is not answered because nobody is there, says nothing of how many
 * packets a living uplink loses. */
static void count(struct health *h, bool lost)
{
    if (h->refused || (h->verdict != HEALTH_UP && h->verdict != HEALTH_DEGRADED))
        return;
    h->loss_ppm = (uint32_t)follow(h->loss_ppm, lost ? 1000000 : 0, 64);
    h->long_loss_ppm = (uint32_t)follow(h->long_loss_ppm, lost ? 1000000 : 0, 1024);
    h->loss_permille = (h->loss_ppm + 500) / 1000;
}

static bool is_lost(const struct health *h, const struct health_probe *p, uint64_t now_us)
{
    return (h->srtt_us && since(h->answered_seq, p->seq) >= LOST_AFTER) ||
           since(now_us, p->sent_us) >= LOST_US;
}

static void count_lost(struct health *h, uint64_t now_us)
{
    if (!h->n_sent)
        return;
    h->oldest_open_seq = max(h->oldest_open_seq, oldest_seq(h));
    while (h->oldest_open_seq <= h->newest_seq) {
        struct health_probe *p = probe_of(h, h->oldest_open_seq);
        if (p && !p->answered && !is_lost(h, p, now_us))
            break;
        if (p && !p->answered && !p->counted) {
            p->counted = true;
            count(h, true);
        }
        if (h->oldest_open_seq == UINT64_MAX)
            break;
        h->oldest_open_seq++;
    }
}

/* ---- the rules: when, as things are, each comes true ---- */

static uint64_t rto(const struct health *h)
{
    return h->srtt_us ? h->srtt_us + max(4 * h->rttvar_us, RTO_MARGIN_US) : FIRST_RTO_US;
}

/* How long an uplink without load takes to answer. */
static uint64_t overdue(const struct health *h)
{
    return h->min_rtt_us + max(4 * h->base_var_us, RTO_MARGIN_US);
}

/* A radio's stalls differ more from each other than a line's. */
static uint64_t silence_limit(const struct health *h)
{
    uint64_t base = h->min_rtt_us + max(4 * h->base_var_us, LIMIT_MARGIN_US);
    uint64_t stall = window_most(&h->stalls);

    if (stall < RADIO_STALL_US)
        return max(base, h->min_rtt_us + stall * 3 / 2);
    return base + min(stall * 5 / 2, stall + RADIO_SLACK_US);
}

/* How many in a row chance does not take away. */
static unsigned probes_that_prove(const struct health *h, bool streamed)
{
    uint64_t loss_ppm = max(max(h->loss_ppm, h->long_loss_ppm), 100);
    uint64_t chance = 1000000000, enough = streamed ? 100000 : 1000; /* of 10^9 */
    unsigned n = 0;

    while (chance > enough && n < PROBES_MAX) {
        chance = chance * loss_ppm / 1000000;
        n++;
    }
    if (!streamed && h->long_loss_ppm > TRUSTED_PPM)
        return n > UNTRUSTED_PROBES ? n : UNTRUSTED_PROBES;
    return n > 2 ? n : 2;
}

static uint64_t mercy(const struct health *h, uint64_t at_us)
{
    return h->graced ? max(at_us, h->grace_us) : at_us;
}

/* Since when nothing has come although it should have. */
static uint64_t quiet_from(const struct health *h)
{
    uint64_t sent_us[HEALTH_PROBES];

    return unanswered(h, false, sent_us) ? max(h->came_us, sent_us[0]) : h->came_us;
}

/* Packets streamed in and stopped: a silence of several of their gaps says something by itself. */
static uint64_t stream_silent_at(const struct health *h, const uint64_t *sent_us, unsigned n)
{
    uint64_t from = max(h->came_us, sent_us[0]);
    uint64_t limit = max(silence_limit(h), 4 * h->gap_us);
    unsigned needed = probes_that_prove(h, true);

    if (!h->gap_us || since(from, h->heard_us) > 4 * h->gap_us)
        return NEVER;
    if (n < needed)
        return after(from, max(3 * limit, LONE_PROBE_US));
    return max(after(from, limit), after(sent_us[needed - 1], overdue(h)));
}

/* Nothing but the probes speaks. Nobody waits for such an uplink, so it is given more time. */
static uint64_t probes_silent_at(const struct health *h, const uint64_t *sent_us, unsigned n)
{
    uint64_t limit = max(silence_limit(h), min(2 * rto(h), THIN_LIMIT_MAX_US));
    unsigned needed = probes_that_prove(h, false);

    if (n < needed)
        return NEVER;
    return max(after(max(h->came_us, sent_us[0]), limit), after(sent_us[needed - 1], overdue(h)));
}

/* However many are sent in a second, one is refused. */
static uint64_t refusals_silent_at(const struct health *h, const uint64_t *sent_us, unsigned n)
{
    unsigned needed = probes_that_prove(h, false);

    if (n < needed)
        return NEVER;
    return max(after(h->came_us, (needed + 1) * REFUSAL_US),
               after(sent_us[needed - 1], overdue(h)));
}

static uint64_t silent_at(const struct health *h)
{
    uint64_t sent_us[HEALTH_PROBES];
    unsigned n = unanswered(h, false, sent_us);

    if (n == 0)
        return NEVER;
    if (h->refused)
        return mercy(h, refusals_silent_at(h, sent_us, n));
    return mercy(h, min(stream_silent_at(h, sent_us, n), probes_silent_at(h, sent_us, n)));
}

/* Packets come, and must have come lately: while none do, silence decides. The end of a silence
 * brings packets before answers, and so the time begins there, once. */
static uint64_t upward_dead_at(const struct health *h)
{
    uint64_t sent_us[HEALTH_PROBES];
    unsigned n = unanswered(h, true, sent_us), needed = probes_that_prove(h, false);
    uint64_t from, at, wait;

    if (needed < UPWARD_PROBES)
        needed = UPWARD_PROBES;
    if (n < needed || !h->gap_us || h->refused)
        return NEVER;
    from = h->resumed ? max(sent_us[0], h->resumed_us) : sent_us[0];
    wait = max(UPWARD_MIN_US, min(3 * rto(h), rto(h) + SECOND));
    wait = max(wait, window_most(&h->waits) * 3 / 2);
    at = max(after(from, wait), after(sent_us[needed - 1], rto(h)));
    return after(h->heard_us, RESUMED_US) >= at ? mercy(h, at) : NEVER;
}

static uint64_t doubt_at(const struct health *h)
{
    uint64_t sent_us[HEALTH_PROBES];
    unsigned n = unanswered(h, false, sent_us);

    if (n == 0 || h->refused)
        return NEVER;
    uint64_t from = max(h->came_us, sent_us[0]);
    uint64_t at = max(after(sent_us[0], rto(h)), after(from, HEARING_US));
    return mercy(h, min(at, after(from, silence_limit(h))));
}

static uint64_t given_up_at(const struct health *h)
{
    return h->n_sent >= PROBING_PROBES ? after(h->first_sent_us, PROBING_US) : NEVER;
}

static uint64_t good_needed_us(const struct health *h)
{
    return min(GOOD_US << h->flaps, GOOD_MAX_US);
}

static uint64_t good_for_us(const struct health *h)
{
    return since(max(h->answered_us, h->refused_us), h->good_us);
}

static bool is_back(const struct health *h)
{
    bool proved = h->good >= GOOD_PROBES && good_for_us(h) >= good_needed_us(h);

    return h->returning && (h->needed || proved);
}

static uint64_t slow_bound(const struct health *h)
{
    return max(4 * h->min_rtt_us, SLOW_MIN_US);
}

/* ---- evidence ---- */

void health_init(struct health *h)
{
    *h = (struct health){.long_loss_ppm = FIRST_LOSS_PPM, .asked_us = NEVER};
    snprintf(h->reason, sizeof(h->reason), "waits for the first answer");
}

/* Takes the time: returns now_us, or the latest that was seen. */
static uint64_t take_time(struct health *h, uint64_t now_us)
{
    if (!h->began) {
        h->began = true;
        h->now_us = now_us;
        h->rtts.since_us = h->stalls.since_us = h->waits.since_us = now_us;
    }
    now_us = max(now_us, h->now_us);
    if (!h->graced && since(now_us, h->asked_us) > LATE_US) {
        h->graced = true;
        h->grace_us = after(now_us, GRACE_US);
    }
    h->now_us = now_us;
    window_turn(&h->rtts, now_us, RTT_SPAN_US, false);
    window_turn(&h->stalls, now_us, STALL_SPAN_US, true);
    window_turn(&h->waits, now_us, STALL_SPAN_US, true);
    h->min_rtt_us = window_least(&h->rtts) ? window_least(&h->rtts) : h->min_rtt_us;
    return now_us;
}

void health_sent(struct health *h, uint64_t seq, uint64_t now_us)
{
    struct health_probe *p = &h->probes[seq % HEALTH_PROBES];

    now_us = take_time(h, now_us);
    if (h->n_sent && seq <= h->newest_seq)
        return;
    if (!h->n_sent) {
        h->first_sent_us = now_us;
        h->oldest_open_seq = seq;
    }
    if (p->used && !p->answered && !p->counted)
        count(h, true);
    *p = (struct health_probe){.seq = seq, .sent_us = now_us, .used = true};
    h->newest_seq = seq;
    h->n_sent++;
    count_lost(h, now_us);
    h->asked_us = health_next_us(h);
}

/* A silence ends. It was survived if a probe waited it out, or if it is not held for dead. */
static void note_stall(struct health *h, uint64_t now_us, uint64_t rtt_us)
{
    uint64_t sent_us[HEALTH_PROBES];
    unsigned n = unanswered(h, false, sent_us);

    if (n == 0 || !h->srtt_us || h->refused)
        return;
    uint64_t silence = since(now_us, max(h->came_us, after(sent_us[0], h->min_rtt_us)));
    uint64_t survived = min(silence, rtt_us);
    if (h->verdict != HEALTH_DEAD && n >= 2 && since(now_us, sent_us[1]) >= overdue(h))
        survived = silence;
    if (silence <= STALL_MAX_US)
        h->stalls.of[0] = max(h->stalls.of[0], survived);
}

static void note_wait(struct health *h, uint64_t now_us, uint64_t rtt_us)
{
    uint64_t sent_us[HEALTH_PROBES];

    if (!h->srtt_us || unanswered(h, true, sent_us) == 0)
        return;
    uint64_t wait = since(now_us, max(h->answered_us, after(sent_us[0], h->min_rtt_us)));
    if (wait <= STALL_MAX_US)
        h->waits.of[0] = max(h->waits.of[0], min(wait, rtt_us));
}

static void came(struct health *h, uint64_t now_us, uint64_t rtt_us)
{
    note_stall(h, now_us, rtt_us);
    h->came_us = now_us;
    h->graced = false;
}

/* Each answer weighs as much as the time since the last one. */
static void note_delay(struct health *h, uint64_t rtt_us, uint64_t now_us)
{
    uint64_t weight = h->delay_us ? min(since(now_us, h->answered_us), DELAY_US) : DELAY_US;

    h->delay_us = max((h->delay_us * (DELAY_US - weight) + rtt_us * weight) / DELAY_US, 1);
}

static void note_rtt(struct health *h, uint64_t rtt_us, uint64_t now_us)
{
    rtt_us = max(rtt_us, 1); /* 0 would be "never" */
    note_delay(h, rtt_us, now_us);
    h->rtts.of[0] = h->rtts.of[0] ? min(h->rtts.of[0], rtt_us) : rtt_us;
    h->min_rtt_us = window_least(&h->rtts);
    if (!h->srtt_us) {
        h->srtt_us = h->base_rtt_us = rtt_us;
        h->rttvar_us = rtt_us / 2;
        h->base_var_us = rtt_us / 4;
    } else {
        h->rttvar_us = follow(h->rttvar_us, distance(h->srtt_us, rtt_us), 4);
        h->srtt_us = max(follow(h->srtt_us, rtt_us, 8), 1);
        if (rtt_us <= 2 * h->min_rtt_us) {
            h->base_var_us = follow(h->base_var_us, distance(h->base_rtt_us, rtt_us), 8);
            h->base_rtt_us = rtt_us;
        }
    }
    if (h->srtt_us <= slow_bound(h))
        h->slow_us = 0;
    else if (!h->slow_us)
        h->slow_us = max(now_us, 1);
}

static void begin_return(struct health *h, uint64_t now_us)
{
    if (h->returning)
        return;
    h->returning = true;
    h->good_us = now_us;
    h->good = 0;
}

/* While dead: answers in a row, in the order of the probes. */
static void note_return(struct health *h, uint64_t seq, uint64_t now_us)
{
    begin_return(h, now_us);
    bool next = h->good > 0 && seq > h->answered_seq;

    for (uint64_t s = h->answered_seq; next && ++s < seq;)
        next = since(seq, s) < HEALTH_PROBES && (!probe_of(h, s) || probe_of(h, s)->answered);
    h->good = next ? h->good + 1 : 1;
}

void health_answered(struct health *h, uint64_t seq, uint64_t came_us)
{
    uint64_t now_us = take_time(h, came_us);

    if (!h->n_sent || seq > h->newest_seq)
        return;
    struct health_probe *p = probe_of(h, seq);
    if (!p || p->answered) {
        came(h, now_us, 0);
        return;
    }
    uint64_t rtt_us = since(came_us, p->sent_us);
    if (h->refused)
        settle(h, seq);
    came(h, now_us, rtt_us);
    h->refused = false;
    note_wait(h, now_us, rtt_us);
    p->answered = true;
    if (!p->counted)
        count(h, false);
    if (h->verdict == HEALTH_DEAD)
        note_return(h, seq, now_us);
    note_rtt(h, rtt_us, now_us);
    if (seq >= h->answered_seq)
        h->newest_rtt_us = rtt_us;
    h->answered_seq = max(h->answered_seq, seq);
    h->carried_us = max(h->carried_us, p->sent_us);
    h->answered_us = now_us;
    h->resumed = false;
    count_lost(h, now_us);
}

void health_refused(struct health *h, uint64_t now_us)
{
    now_us = take_time(h, now_us);
    settle(h, UINT64_MAX);
    if (!h->refused)
        h->refused_from_us = max(now_us, 1);
    h->refused = true;
    h->refused_us = max(now_us, 1);
    h->resumed = false;
    came(h, now_us, 0);
    if (h->verdict != HEALTH_DEAD)
        return;
    begin_return(h, now_us);
    h->good++;
}

void health_heard(struct health *h, uint64_t packets, uint64_t now_us)
{
    now_us = take_time(h, now_us);
    if (!packets)
        return;
    uint64_t gap = min(max(since(now_us, h->heard_us), 1), SECOND);
    h->gap_us = h->gap_us ? max(follow(h->gap_us, gap, 8), 1) : SECOND;
    h->heard_us = now_us;
    if (!h->resumed && since(now_us, h->came_us) >= RESUMED_US) {
        h->resumed = true;
        h->resumed_us = now_us;
    }
    came(h, now_us, 0);
}

/* ---- the verdict ---- */

/* Nothing comes from there any more. */
static void cease(struct health *h)
{
    h->quiet_us = quiet_from(h);
    h->refused = h->returning = false;
    h->good = 0;
}

static void die(struct health *h, enum health_direction direction, uint64_t now_us)
{
    if (h->returned && since(now_us, h->returned_us) < FLAP_US && h->flaps < FLAPS_MAX)
        h->flaps++;
    h->dead_us = now_us;
    h->verdict = HEALTH_DEAD;
    h->direction = direction;
    cease(h);
}

static void rise(struct health *h, uint64_t now_us)
{
    h->returned = h->verdict == HEALTH_DEAD;
    h->returned_us = h->calm_us = now_us;
    h->verdict = HEALTH_UP;
    h->direction = HEALTH_BOTH;
    h->slow_us = h->better_us = 0;
}

static bool is_slow(const struct health *h, uint64_t now_us)
{
    return h->slow_us && since(now_us, h->slow_us) >= SLOW_US;
}

static void grade(struct health *h, uint64_t now_us)
{
    if (h->verdict == HEALTH_UP) {
        if (h->loss_ppm >= LOSSY_PPM || is_slow(h, now_us)) {
            h->verdict = HEALTH_DEGRADED;
            h->better_us = 0;
        }
    } else if (h->loss_ppm >= NOT_LOSSY_PPM || h->srtt_us > slow_bound(h) * 3 / 4) {
        h->better_us = 0;
    } else if (!h->better_us) {
        h->better_us = max(now_us, 1);
    } else if (since(now_us, h->better_us) >= BETTER_US) {
        h->verdict = HEALTH_UP;
    }
    if (h->flaps && since(now_us, h->calm_us) >= CALM_US) {
        h->flaps--;
        h->calm_us = now_us;
    }
}

static void judge(struct health *h, uint64_t now_us)
{
    bool silent = now_us >= silent_at(h), upward = now_us >= upward_dead_at(h);

    if (h->verdict == HEALTH_PROBING) {
        if (h->srtt_us || h->refused)
            rise(h, now_us);
        else if (now_us >= given_up_at(h))
            die(h, HEALTH_BOTH, now_us);
    } else if (h->verdict == HEALTH_DEAD) {
        if (h->returning && (silent || upward)) {
            cease(h);
        } else if (is_back(h)) {
            rise(h, now_us);
        }
    } else if (silent || upward) {
        die(h, silent ? HEALTH_BOTH : HEALTH_UPWARD, now_us);
    } else if (!h->refused) {
        grade(h, now_us);
    }
}

/* ---- words ---- */

static const char *duration(char text[32], uint64_t us)
{
    if (us < SECOND)
        snprintf(text, 32, "%u ms", (unsigned)(us / MS));
    else if (us < 10 * SECOND)
        snprintf(text, 32, "%u.%u s", (unsigned)(us / SECOND), (unsigned)(us / (100 * MS) % 10));
    else
        snprintf(text, 32, "%llu s", (unsigned long long)(us / SECOND));
    return text;
}

static void describe_dead(struct health *h, uint64_t now_us)
{
    char a[32], b[32];

    if (h->returning)
        snprintf(h->reason, sizeof(h->reason), "answers again, for %s of %s",
                 duration(a, good_for_us(h)), duration(b, good_needed_us(h)));
    else if (!h->srtt_us)
        snprintf(h->reason, sizeof(h->reason), "no answer from the concentrator for %s",
                 duration(a, since(now_us, h->first_sent_us)));
    else if (h->direction == HEALTH_UPWARD)
        snprintf(h->reason, sizeof(h->reason),
                 "packets come, but no answer for %s: loses all upward",
                 duration(a, since(now_us, h->answered_us)));
    else
        snprintf(h->reason, sizeof(h->reason), "no answer for %s",
                 duration(a, since(now_us, h->quiet_us)));
}

static void describe(struct health *h, uint64_t now_us)
{
    char a[32];

    h->reason[0] = '\0';
    if (h->verdict == HEALTH_DEAD)
        describe_dead(h, now_us);
    else if (h->verdict == HEALTH_PROBING)
        snprintf(h->reason, sizeof(h->reason), "waits for the first answer");
    else if (h->refused)
        snprintf(h->reason, sizeof(h->reason),
                 "carries, but the concentrator refuses probes: is it running?");
    else if (h->doubtful)
        snprintf(h->reason, sizeof(h->reason), "nothing came for %s",
                 duration(a, since(now_us, quiet_from(h))));
    else if (h->verdict == HEALTH_DEGRADED && h->loss_ppm >= NOT_LOSSY_PPM)
        snprintf(h->reason, sizeof(h->reason), "loses %u %% of packets",
                 (h->loss_permille + 5) / 10);
    else if (h->verdict == HEALTH_DEGRADED)
        snprintf(h->reason, sizeof(h->reason), "delay %s", duration(a, h->srtt_us));
}

bool health_look(struct health *h, uint64_t now_us)
{
    enum health_verdict verdict = h->verdict;
    bool doubtful = h->doubtful;

    now_us = take_time(h, now_us);
    count_lost(h, now_us);
    judge(h, now_us);
    h->doubtful =
        (h->verdict == HEALTH_UP || h->verdict == HEALTH_DEGRADED) && now_us >= doubt_at(h);
    describe(h, now_us);
    h->asked_us = health_next_us(h);
    return h->verdict != verdict || h->doubtful != doubtful;
}

uint64_t health_delay_us(const struct health *h, uint64_t now_us)
{
    uint64_t sent_us[HEALTH_PROBES];
    unsigned n = h->refused ? 0 : unanswered(h, true, sent_us);

    return n ? max(h->newest_rtt_us, since(now_us, sent_us[0])) : h->newest_rtt_us;
}

static uint64_t oldest_lost_at(const struct health *h)
{
    const struct health_probe *p = &h->probes[h->oldest_open_seq % HEALTH_PROBES];

    if (!p->used || p->seq != h->oldest_open_seq || p->answered || p->counted)
        return NEVER;
    return after(p->sent_us, LOST_US);
}

uint64_t health_next_us(const struct health *h)
{
    uint64_t next = NEVER;

    if (h->verdict == HEALTH_PROBING)
        return h->srtt_us || h->refused ? h->now_us : given_up_at(h);
    if (h->verdict == HEALTH_DEAD && !h->returning)
        return NEVER;
    next = min(silent_at(h), upward_dead_at(h));
    if (h->verdict == HEALTH_DEAD || h->refused)
        return next;
    if (!h->doubtful)
        next = min(next, doubt_at(h));
    if (h->verdict == HEALTH_UP && h->slow_us)
        next = min(next, after(h->slow_us, SLOW_US));
    if (h->verdict == HEALTH_DEGRADED && h->better_us)
        next = min(next, after(h->better_us, BETTER_US));
    return min(next, oldest_lost_at(h));
}
