#include "gateway/saturation.h"

#define PATIENCE_MS 300u
#define BURSTS_MAX 3
#define BURST_MS 3000u
#define BURSTS_FORGOTTEN_MS 300000u
#define CALM_MS 1000u
#define TRY_MS 5000u
#define TRIES_MAX 6
#define IN_VAIN_MS 2000u
/* Nobody looks at uplinks that carry nothing. */
#define AWAY_MS 500u

struct sum {
    uint64_t demand_bps, capacity_bps;
    bool proven;
};

static void add(struct sum *sum, const struct capacity_way *way, bool counts)
{
    sum->demand_bps += way->rate_bps;
    if (!counts)
        return;
    sum->capacity_bps += way->bps;
    sum->proven = sum->proven && way->proven;
}

/* What was never full says nothing against it. */
static bool fits(const struct sum *sum)
{
    return !sum->proven || sum->demand_bps < sum->capacity_bps / 10 * 9;
}

/* Would uplinks of that cost, and cheaper ones, do for all that is carried? */
static bool would_do(const struct saturation_view *views, size_t n, uint32_t cost)
{
    struct sum down = {.proven = true}, up = {.proven = true};

    for (size_t i = 0; i < n; i++) {
        if (!views[i].usable)
            continue;
        add(&down, &views[i].capacity->down, views[i].cost <= cost);
        add(&up, &views[i].capacity->up, views[i].cost <= cost);
    }
    return fits(&down) && fits(&up);
}

static bool is_any_full(const struct saturation_view *views, size_t n, uint32_t cost)
{
    for (size_t i = 0; i < n; i++) {
        if (views[i].usable && views[i].cost <= cost && views[i].capacity->full)
            return true;
    }
    return false;
}

/* No flow carries anything. */
static bool are_all_at_rest(const struct saturation_view *views, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!capacity_is_at_rest(views[i].capacity))
            return false;
    }
    return true;
}

static void saturate(struct saturation *s, uint64_t now_ms)
{
    uint64_t since_ms = now_ms - s->changed_ms;

    if (s->tried && since_ms < IN_VAIN_MS)
        s->tries += s->tries < TRIES_MAX;
    else
        s->tries = 0;
    s->saturated = true;
    s->changed_ms = now_ms;
    s->calm_ms = 0;
}

static void relax(struct saturation *s, bool tried, uint64_t calm_ms, uint64_t now_ms)
{
    if (tried || now_ms - calm_ms - s->changed_ms >= BURST_MS)
        s->bursts = 0;
    else
        s->bursts += s->bursts < BURSTS_MAX;
    s->saturated = false;
    s->tried = tried;
    s->changed_ms = now_ms;
    s->full_ms = 0;
}

static void note_full(struct saturation *s, bool full, uint64_t elapsed_ms, uint64_t now_ms)
{
    if (now_ms - s->changed_ms >= BURSTS_FORGOTTEN_MS)
        s->bursts = 0;
    if (elapsed_ms > AWAY_MS)
        s->full_ms = 0;
    else if (full)
        s->full_ms += (uint32_t)elapsed_ms;
    else
        s->full_ms = s->full_ms > elapsed_ms ? s->full_ms - (uint32_t)elapsed_ms : 0;
    if (s->full_ms >= PATIENCE_MS << s->bursts)
        saturate(s, now_ms);
}

static void note_calm(struct saturation *s, bool would_do, bool at_rest, uint64_t now_ms)
{
    uint64_t calm_ms;

    if (!s->calm_ms)
        s->calm_ms = now_ms;
    calm_ms = now_ms - s->calm_ms;
    if (at_rest || (would_do && calm_ms >= CALM_MS))
        relax(s, false, calm_ms, now_ms);
    else if (calm_ms >= (uint64_t)TRY_MS << s->tries)
        relax(s, true, calm_ms, now_ms);
}

static void judge(struct saturation *s, const struct saturation_view *views, size_t n, size_t i,
                  uint64_t now_ms)
{
    uint64_t elapsed_ms = s->judged_ms ? now_ms - s->judged_ms : 0;

    s->judged_ms = now_ms;
    if (!s->saturated) {
        note_full(s, views[i].usable && views[i].capacity->full, elapsed_ms, now_ms);
        return;
    }
    if (elapsed_ms > AWAY_MS && !s->calm_ms)
        s->calm_ms = now_ms - elapsed_ms;
    if (is_any_full(views, n, views[i].cost))
        s->calm_ms = 0;
    else
        note_calm(s, would_do(views, n, views[i].cost), are_all_at_rest(views, n), now_ms);
}

bool saturation_judge(struct saturation *of, const struct saturation_view *views, size_t n,
                      uint64_t now_ms)
{
    bool changed = false;

    for (size_t i = 0; i < n; i++) {
        bool before = of[i].saturated;
        judge(&of[i], views, n, i, now_ms);
        changed |= of[i].saturated != before;
    }
    return changed;
}
