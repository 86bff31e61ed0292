#include "gateway/scheduler.h"

#include <string.h>

const char *role_name(enum role role)
{
    static const char *const names[] = {"off", "standby", "active"};

    return names[role];
}

/* Is a the better place for a first subflow? One that strips MPTCP would leave the whole flow on
 * one path. An unmeasured uplink goes behind measured ones. */
static bool starts_better(const struct uplink_view *a, const struct uplink_view *b)
{
    if (a->stripped != b->stripped)
        return b->stripped;
    if ((a->rtt_us == 0) != (b->rtt_us == 0))
        return b->rtt_us == 0;
    return a->rtt_us < b->rtt_us;
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

/* bond: every usable uplink active. */
static void decide_bond(const struct uplink_view *uplinks, size_t n, uint32_t allowed,
                        struct schedule *out)
{
    for (size_t i = 0; i < n; i++) {
        if (!uplinks[i].usable || !(allowed >> i & 1))
            continue;
        out->roles[i] = ROLE_ACTIVE;
        out->order[out->n_order++] = (uint8_t)i;
    }
    order_by_start(uplinks, out);
    out->narrows = true;
}

typedef void decide(const struct uplink_view *uplinks, size_t n, uint32_t allowed,
                    struct schedule *out);

void scheduler_decide(enum scheduler_kind kind, const struct uplink_view *uplinks, size_t n,
                      uint32_t allowed, struct schedule *out)
{
    static decide *const table[] = {[SCHEDULER_BOND] = decide_bond};

    memset(out, 0, sizeof(*out));
    table[kind](uplinks, n, allowed, out);
}
