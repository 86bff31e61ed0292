#include "gateway/scheduler.h"

#include <assert.h>
#include <string.h>

const char *role_name(enum role role)
{
    static const char *const names[] = {"off", "standby", "active"};

    return names[role];
}

/* What a flow that begins there may wait. Each that begins at the same time sends its initial
 * window into the same queue: so many of them cost as much as the round trip itself. */
#define STARTS_PER_RTT 8

static uint64_t expected_wait(const struct uplink_view *u)
{
    return (uint64_t)u->rtt_us * (STARTS_PER_RTT + u->starting + u->plain);
}

/* Is a the better place for a first subflow? One that strips MPTCP would leave the whole flow on
 * one path. An unmeasured uplink goes behind measured ones. */
static bool starts_better(const struct uplink_view *a, const struct uplink_view *b)
{
    if (a->stripped != b->stripped)
        return b->stripped;
    if (a->doubtful != b->doubtful)
        return b->doubtful;
    if (a->slow != b->slow)
        return b->slow;
    if (a->crowded != b->crowded)
        return b->crowded;
    if ((a->rtt_us == 0) != (b->rtt_us == 0))
        return b->rtt_us == 0;
    return expected_wait(a) < expected_wait(b);
}

/* Insertion sort: stable, so that the configuration's order decides between equals. */
static void order_by_start(const struct uplink_view *uplinks, struct schedule *s)
{
    for (size_t i = 1; i < s->n_order; i++) {
        uint8_t moving = s->order[i];
        size_t at = i;

        while (at > 0 && starts_better(&uplinks[moving], &uplinks[s->order[at - 1]])) {
            s->order[at] = s->order[at - 1];
            at--;
        }
        s->order[at] = moving;
    }
}

static bool should_stand_by(const struct uplink_view *u)
{
    return u->doubtful || u->slow;
}

/* bond: every usable uplink active; but one that may just have died stands by until that is known,
 * and one that would slow the others. */
static void decide_bond(const struct uplink_view *uplinks, size_t n, uint32_t candidates,
                        struct schedule *out)
{
    bool all = true;

    for (size_t i = 0; i < n; i++)
        all = all && (!(candidates >> i & 1) || should_stand_by(&uplinks[i]));
    for (size_t i = 0; i < n; i++) {
        if (!(candidates >> i & 1))
            continue;
        out->roles[i] = should_stand_by(&uplinks[i]) && !all ? ROLE_STANDBY : ROLE_ACTIVE;
        out->order[out->n_order++] = (uint8_t)i;
    }
    order_by_start(uplinks, out);
    out->narrows = true;
}

/* candidates: bit i for uplink i. */
typedef void decide(const struct uplink_view *uplinks, size_t n, uint32_t candidates,
                    struct schedule *out);

/* The usable ones. Stripped ones only where all are, since no subflow can join there, and a flow
 * that began there would stay alone; dead ones only where there is nothing else: then nothing is
 * lost by trying. */
static uint32_t find_candidates(const struct uplink_view *uplinks, size_t n, uint32_t allowed)
{
    uint32_t whole = 0, stripped = 0, dead = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t bit = UINT32_C(1) << i & allowed;
        if (!uplinks[i].usable)
            continue;
        if (uplinks[i].dead)
            dead |= bit;
        else if (uplinks[i].stripped)
            stripped |= bit;
        else
            whole |= bit;
    }
    return whole ? whole : stripped ? stripped : dead;
}

void scheduler_decide(enum scheduler_kind kind, const struct uplink_view *uplinks, size_t n,
                      uint32_t allowed, struct schedule *out)
{
    static decide *const table[] = {[SCHEDULER_BOND] = decide_bond};

    assert(kind < sizeof(table) / sizeof(table[0]) && table[kind]); /* no other is configurable */
    memset(out, 0, sizeof(*out));
    table[kind](uplinks, n, find_candidates(uplinks, n, allowed), out);
}
