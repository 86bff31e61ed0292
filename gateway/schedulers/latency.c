/* latency: one uplink, that with the lowest delay, loss counted in; the rest stand by, joined. What
 * it remembers is an order of all uplinks. One passes another when it has been clearly better for a
 * while; so a flow moves once when two uplinks change places, and stays where they are alike. */
#include "gateway/schedulers/scene.h"

/* A lost packet of an exchange costs this and a round trip (the least RTO of Linux); an exchange is
 * about two packets each way. */
#define RTO_US 200000u
#define PACKETS 2
/* Clearly better: by a quarter, and by so much. */
#define MARGIN_US 5000u
/* For so long; and twice as long for each time the first has changed within the last minute, up to
 * four times, since flows that move may be what makes the difference. */
#define HOLD_MS 2000u
#define DOUBLINGS 2
#define CALM_MS 60000u
/* No flow has run for a while: whatever is best now. */
#define PAUSE_MS 3000u

/* Expected delay of an exchange; UINT64_MAX: unknown. */
static uint64_t delay_of(const struct uplink_view *u)
{
    uint64_t us = u->delay_us;

    return us ? us + (us + RTO_US) * PACKETS * u->loss_permille / 1000 : UINT64_MAX;
}

static bool is_clearly_better(const struct uplink_view *a, const struct uplink_view *b)
{
    uint64_t mine = delay_of(a), other = delay_of(b);

    return mine < other / 4 * 3 && other - mine >= MARGIN_US;
}

static uint64_t hold_ms(const struct latency_memory *m, uint64_t now_ms)
{
    unsigned times = now_ms - m->moved_ms < CALM_MS ? m->moves : 0;

    return (uint64_t)HOLD_MS << (times < DOUBLINGS ? times : DOUBLINGS);
}

/* Has the uplink at place i of the order, i > 0, been clearly better than the one before it for
 * long enough? */
static bool may_pass(struct latency_memory *m, const struct uplink_view *uplinks, size_t i,
                     uint64_t now_ms)
{
    uint64_t *since_ms = &m->since_ms[m->order[i]];

    if (!is_clearly_better(&uplinks[m->order[i]], &uplinks[m->order[i - 1]])) {
        *since_ms = 0;
        return false;
    }
    if (*since_ms == 0)
        *since_ms = now_ms;
    return now_ms - *since_ms >= hold_ms(m, now_ms);
}

static void swap(struct latency_memory *m, size_t i)
{
    uint8_t moving = m->order[i];

    m->order[i] = m->order[i - 1];
    m->order[i - 1] = moving;
    m->since_ms[m->order[i]] = m->since_ms[moving] = 0;
}

static void note_move(struct latency_memory *m, uint64_t now_ms)
{
    m->moves = now_ms - m->moved_ms < CALM_MS ? m->moves + 1 : 1;
    m->moved_ms = now_ms;
}

/* Insertion sort: stable. */
static void sort(struct latency_memory *m, const struct uplink_view *uplinks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        m->order[i] = (uint8_t)i;
        m->since_ms[i] = 0;
        for (size_t at = i; at > 0; at--) {
            if (delay_of(&uplinks[m->order[at]]) >= delay_of(&uplinks[m->order[at - 1]]))
                break;
            swap(m, at);
        }
    }
    m->n = n;
}

bool latency_look(struct scheduler_memory *memory, const struct uplink_view *uplinks, size_t n,
                  uint64_t now_ms)
{
    struct latency_memory *m = &memory->latency;
    bool paused = m->n != n || now_ms - m->looked_ms >= PAUSE_MS;

    m->looked_ms = now_ms;
    if (paused) {
        sort(m, uplinks, n);
        return true;
    }
    bool changed = false;
    for (size_t i = n; i-- > 1;) { /* from behind: the best may pass all in one look */
        if (!may_pass(m, uplinks, i, now_ms))
            continue;
        if (i == 1)
            note_move(m, now_ms);
        swap(m, i);
        changed = true;
    }
    return changed;
}

void latency_decide(const struct scene *scene, struct schedule *out)
{
    struct latency_memory m = scene->memory->latency;

    if (m.n != scene->n)
        sort(&m, scene->uplinks, scene->n);
    for (size_t i = 0; i < scene->n; i++) {
        if (scene_is_candidate(scene, m.order[i]))
            out->order[out->n_order++] = m.order[i];
    }
    scene_lead(out->order[0], out);
}
