#include "tests/netlab/lane.h"

#include <stddef.h>

#define NS_PER_S 1000000000ull
#define MIN_KNOT_GAP_NS 5000000ull

/* xorshift64*: fast, and good enough for losses. */
static uint32_t random_u32(struct lane *lane)
{
    uint64_t x = lane->random;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    lane->random = x;
    return (uint32_t)((x * 0x2545F4914F6CDD1Dull) >> 32);
}

void lane_init(struct lane *lane, uint64_t random_seed)
{
    *lane = (struct lane){0};
    lane_seed(lane, random_seed);
}

void lane_seed(struct lane *lane, uint64_t random_seed)
{
    lane->random = random_seed ? random_seed : 1;
    for (int i = 0; i < 16; i++) /* small seeds have few bits */
        random_u32(lane);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Jitter that is drawn for each packet would, as packets stay in order, soon be its maximum for
 * all of them. So it wanders instead: straight lines between random values, the knots so far
 * apart that the delivery rate stays between 2/3 and 2 times the link's. */
static uint64_t jitter_at(struct lane *lane, uint64_t at_ns)
{
    uint64_t gap_ns = max_u64(2 * lane->settings.jitter_ns, MIN_KNOT_GAP_NS);
    double share;

    if (at_ns > lane->knot_ns[1] + gap_ns) { /* idle for long: start afresh */
        lane->knot_ns[1] = at_ns;
        lane->knot_jitter[1] = random_u32(lane);
    }
    while (lane->knot_ns[1] <= at_ns) {
        lane->knot_ns[0] = lane->knot_ns[1];
        lane->knot_jitter[0] = lane->knot_jitter[1];
        lane->knot_ns[1] += gap_ns;
        lane->knot_jitter[1] = random_u32(lane);
    }
    share = (double)(at_ns - lane->knot_ns[0]) / (double)(lane->knot_ns[1] - lane->knot_ns[0]);
    share = (double)lane->knot_jitter[0] * (1 - share) + (double)lane->knot_jitter[1] * share;
    return (uint64_t)(share / UINT32_MAX * (double)lane->settings.jitter_ns);
}

static void let_depart(struct lane *lane, uint64_t now_ns)
{
    while (lane->waiting && lane->waiting->depart_ns <= now_ns) {
        lane->waiting_bytes -= lane->waiting->wire_bytes;
        lane->waiting = lane->waiting->next;
    }
}

static bool is_full(const struct lane *lane, uint32_t more, uint64_t now_ns)
{
    const struct lane_settings *set = &lane->settings;

    if (!lane->waiting) /* an idle wire takes any packet, however small the queue */
        return false;
    if (set->queue_ns && lane->last_depart_ns > now_ns + set->queue_ns)
        return true;
    return set->queue_bytes && lane->waiting_bytes + more > set->queue_bytes;
}

static void append(struct lane *lane, struct packet *packet)
{
    packet->next = NULL;
    if (lane->first)
        lane->last->next = packet;
    else
        lane->first = packet;
    lane->last = packet;
    if (!lane->waiting)
        lane->waiting = packet;
    lane->waiting_bytes += packet->wire_bytes;
}

bool lane_offer(struct lane *lane, struct packet *packet, uint64_t now_ns)
{
    const struct lane_settings *set = &lane->settings;

    let_depart(lane, now_ns);
    if (set->drop) {
        lane->stats.dropped_silent++;
        return false;
    }
    if (is_full(lane, packet->wire_bytes, now_ns)) {
        lane->stats.dropped_queue++;
        return false;
    }
    packet->depart_ns = max_u64(now_ns, lane->last_depart_ns);
    if (set->rate_bps)
        packet->depart_ns += packet->wire_bytes * 8 * NS_PER_S / set->rate_bps;
    lane->last_depart_ns = packet->depart_ns;
    packet->deliver_ns = packet->depart_ns + set->delay_ns;
    if (set->jitter_ns)
        packet->deliver_ns += jitter_at(lane, packet->depart_ns);
    packet->deliver_ns = max_u64(packet->deliver_ns, lane->last_deliver_ns);
    lane->last_deliver_ns = packet->deliver_ns;
    /* A lost packet has used the wire like any other. */
    packet->lost = set->loss > 0 && random_u32(lane) < set->loss * UINT32_MAX;
    append(lane, packet);
    return true;
}

struct packet *lane_take(struct lane *lane, uint64_t now_ns)
{
    struct packet *packet = lane->first;

    if (!packet || packet->deliver_ns > now_ns)
        return NULL;
    let_depart(lane, now_ns);
    lane->first = packet->next;
    if (lane->settings.drop) {
        lane->stats.dropped_silent++;
        packet->lost = true;
    } else if (packet->lost) {
        lane->stats.dropped_loss++;
    } else {
        lane->stats.packets++;
        lane->stats.bytes += packet->wire_bytes;
    }
    return packet;
}

uint64_t lane_next_ns(const struct lane *lane)
{
    return lane->first ? lane->first->deliver_ns : LANE_NEVER;
}

struct packet *lane_flush(struct lane *lane)
{
    struct packet *list = lane->first;

    for (struct packet *packet = list; packet; packet = packet->next)
        lane->stats.dropped_carrier++;
    lane->first = NULL;
    lane->waiting = NULL;
    lane->waiting_bytes = 0;
    lane->last_depart_ns = 0;
    lane->last_deliver_ns = 0;
    lane->knot_ns[1] = 0;
    return list;
}

uint64_t lane_backlog(struct lane *lane, uint64_t now_ns)
{
    let_depart(lane, now_ns);
    return lane->waiting_bytes;
}
