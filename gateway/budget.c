#include "gateway/budget.h"

#include <time.h>

#define SECOND_US UINT64_C(1000000)
#define DAY_S 86400
/* Another time zone moves a month's start by up to 26 hours, and makes no other month of it. */
#define SAME_MONTH_S (2 * DAY_S)
/* Some drivers count in 32 bits. One that had come so near to the end, and begins so near to zero,
 * has wrapped; any other that goes back began anew. */
#define WRAP_MARGIN (UINT64_C(256) << 20)
/* When to read again: before half of what is left is gone, at the highest rate that was seen; a
 * rate of 100 Mb/s may come at any time. */
#define RATE_AT_LEAST UINT64_C(12500000)
#define LOOK_MAX_MS 5000
#define LOOK_IDLE_MS 200 /* at least, while nothing comes */
#define LOOK_MIN_MS 20
/* No more of the budget than this is kept back for what is under way. */
#define UNDER_WAY_SHARE 20
#define SMOOTH_MS 250
#define IDLE_RATE 1000 /* bytes/s: probes and the like */

const char *budget_state_name(enum budget_state state)
{
    static const char names[][8] = {"ok", "low", "spent"};

    return names[state];
}

/* --- the calendar --- */

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 1 && leap ? 29 : days[month];
}

/* month may be -1 or 12. */
static int64_t midnight_of(int year, int month, uint32_t day)
{
    year += month < 0 ? -1 : month / 12;
    month = (month + 12) % 12;
    int last = days_in_month(year, month);
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month,
                    .tm_mday = (int)day < last ? (int)day : last,
                    .tm_isdst = -1};

    return (int64_t)mktime(&tm);
}

static int64_t month_edge(int64_t now_s, uint32_t day, int months)
{
    time_t t = (time_t)now_s;
    struct tm tm = {0};

    localtime_r(&t, &tm);
    int year = tm.tm_year + 1900, last = days_in_month(year, tm.tm_mon);
    bool before = tm.tm_mday < ((int)day < last ? (int)day : last);
    return midnight_of(year, tm.tm_mon + months - before, day);
}

int64_t budget_month_start(int64_t now_s, uint32_t day)
{
    return month_edge(now_s, day, 0);
}

int64_t budget_month_end(int64_t now_s, uint32_t day)
{
    return month_edge(now_s, day, 1);
}

uint32_t budget_days_left(const struct budget *b, int64_t now_s)
{
    int64_t left_s = budget_month_end(now_s, b->count.day) - now_s;

    return left_s > 0 ? (uint32_t)((left_s + DAY_S - 1) / DAY_S) : 0;
}

static bool is_same_month(const struct budget_month *month, int64_t start_s)
{
    int64_t apart_s = month->start_s - start_s;

    return month->start_s && apart_s <= SAME_MONTH_S && apart_s >= -SAME_MONTH_S;
}

bool budget_turn(struct budget *b, int64_t now_s)
{
    struct budget_month *now = &b->count.now, *other = &b->count.other;
    int64_t start_s = budget_month_start(now_s, b->count.day);

    if (now->start_s == 0 && is_same_month(other, start_s)) {
        now->used += other->used;
        *other = (struct budget_month){0};
    }
    if (now->start_s == 0 || is_same_month(now, start_s)) {
        now->start_s = start_s;
        return false;
    }
    struct budget_month next = is_same_month(other, start_s) ? *other : (struct budget_month){0};
    *other = *now;
    *now = next;
    now->start_s = start_s;
    b->count.reached = 0;
    return true;
}

/* --- counting --- */

void budget_init(struct budget *b, uint64_t limit, uint32_t day, const struct budget_count *count)
{
    *b = (struct budget){.limit = limit};
    if (count)
        b->count = *count;
    if (b->count.day == day)
        return;
    b->count.day = day;
    b->count.now.start_s = 0;
    b->count.other = (struct budget_month){0};
}

static uint64_t grown(uint64_t before, uint64_t now)
{
    const uint64_t turn = UINT64_C(1) << 32;

    if (now >= before)
        return now - before;
    bool wrapped = before < turn && before >= turn - WRAP_MARGIN && now < WRAP_MARGIN;
    return wrapped ? now + turn - before : now;
}

struct growth {
    uint64_t rx, tx;
};

static struct growth since_last(const struct budget_count *c, const struct budget_reading *now)
{
    if (!c->begun)
        return (struct growth){0};
    if (c->last.ifindex != now->ifindex)
        return (struct growth){now->rx_bytes, now->tx_bytes};
    return (struct growth){grown(c->last.rx_bytes, now->rx_bytes),
                           grown(c->last.tx_bytes, now->tx_bytes)};
}

static void smooth(uint64_t *rate, uint64_t bytes, uint64_t elapsed_ms)
{
    uint64_t weight = elapsed_ms < SMOOTH_MS ? elapsed_ms : SMOOTH_MS;

    *rate = (*rate * (SMOOTH_MS - weight) + bytes * 1000 / elapsed_ms * weight) / SMOOTH_MS;
}

/* An interface that is new here has carried what it has in a time that nobody knows. */
static void note_rates(struct budget *b, const struct growth *g, bool goes_on, uint64_t now_ms)
{
    uint64_t elapsed_ms = now_ms - b->sampled_ms;

    if (!goes_on || !b->sampled) {
        b->rate = b->rx_rate = 0;
    } else if (elapsed_ms > 0) {
        smooth(&b->rate, g->rx + g->tx, elapsed_ms);
        smooth(&b->rx_rate, g->rx, elapsed_ms);
    }
    if (b->rate > b->peak)
        b->peak = b->rate;
    b->sampled = true;
    b->sampled_ms = now_ms;
}

uint64_t budget_add(struct budget *b, const struct budget_reading *now, uint64_t now_ms)
{
    bool goes_on = b->count.begun && b->count.last.ifindex == now->ifindex;
    struct growth growth = since_last(&b->count, now);

    b->count.now.used += growth.rx + growth.tx;
    b->count.begun = true;
    b->count.last = *now;
    note_rates(b, &growth, goes_on, now_ms);
    return growth.rx + growth.tx;
}

/* --- the verdict --- */

/* What still comes once the word to stop is given: what is under way to us, at the present rate,
 * and what comes before the next look. */
static uint64_t under_way(const struct budget *b, uint32_t rtt_us)
{
    uint64_t bytes = b->rx_rate * rtt_us / SECOND_US + b->rate * LOOK_MIN_MS / 1000;
    uint64_t most = b->limit / UNDER_WAY_SHARE;

    return bytes < most ? bytes : most;
}

static bool is_spent(const struct budget *b)
{
    return b->count.reached >= b->limit;
}

enum budget_state budget_judge(struct budget *b, uint32_t rtt_us)
{
    uint64_t used = b->count.now.used;

    if (used + under_way(b, rtt_us) >= b->limit)
        b->count.reached = b->limit;
    if (is_spent(b))
        return BUDGET_SPENT;
    return used >= b->limit / 5 * 4 ? BUDGET_LOW : BUDGET_OK;
}

uint32_t budget_next_ms(const struct budget *b)
{
    uint64_t used = b->count.now.used, left = used < b->limit ? b->limit - used : 0;
    uint64_t rate = b->peak > RATE_AT_LEAST ? b->peak : RATE_AT_LEAST;
    uint64_t ms = left / (rate / 500); /* half of it */
    uint64_t least = b->rate > IDLE_RATE ? LOOK_MIN_MS : LOOK_IDLE_MS;

    if (is_spent(b) || ms > LOOK_MAX_MS)
        return LOOK_MAX_MS;
    return (uint32_t)(ms > least ? ms : least);
}
