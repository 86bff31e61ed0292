/* How much a sender keeps under way in an MPTCP connection: enough to fill its paths, and little
 * more. Left to itself the kernel fills the queue of every path, and one more of its own in front
 * of each. When a path dies, what was lost with it is sent again behind all that: measured, a third
 * of a second in which the receiver gets nothing. So once a queue is seen, what is under way is
 * held to
 *
 *     the rate of the last two seconds * (the longest unloaded round trip, likewise + an allowance)
 *     + 128 KiB for each path, where there are several
 *
 * The rate is that of the subflows: what arrives in order pauses where something is lost, and then
 * comes all at once. 64 KiB is what the kernel's packet scheduler gives to one path before it looks
 * at the others, which must not run dry meanwhile: 50 ms of 10 Mb/s. Each path has twice that, but
 * all together no more than takes 100 ms. The allowance is 35 ms, or half of the round trip. (A
 * bond of 50 and 60 Mb/s carries 97.5 % of the sum with it, one of 10 and 20 Mb/s 97; with half of
 * the 128 KiB it is 98 and 96.3.)
 *
 * Where round trips stay longer although we hold back, the queue is not ours (other traffic, a
 * radio that delivers in bursts), and holding back would only give the path away: then the
 * allowance grows to what is seen, and a little more. It always shrinks again, most of it in five
 * seconds: a queue that is ours shrinks with it, and another one makes it grow again.
 *
 * A path that becomes slower looks like a queue of others at first, and to grow there would build a
 * queue of seconds. So the allowance grows only where round trips are too long for 300 ms and the
 * rate has fallen by no more than an eighth, but has fallen (else the packets only come in clumps);
 * or where less was put under way in vain: for 300 ms and a round trip nothing became better, or
 * round trips have become longer still.
 *
 * A path that is far longer than another, or loses a packet, keeps the receiver waiting, and with
 * it the sender, who has all that has come meanwhile in his send buffer still: the kernel makes
 * that large enough for what the subflows have under way, not for this (10 Mb/s at 5 ms beside 6
 * Mb/s at 500 ms carried 4). So where less than a quarter of what is under way is so in the
 * subflows, the send buffer grows (sendroom_grow()). From then on it is ours to grow, whatever it
 * waits for: the kernel no longer does.
 *
 * What has come already, and only waits at the receiver for what was lost on another path, is in no
 * queue, and does not count, as long as that path is heard: its losses would stop the others. (Two
 * that lose 0.9 % and carry 3 Mb/s each: 4.5 together where it counts, 6.1 where it does not.) It
 * is what the subflows have had acknowledged beyond what has arrived in order. Some of that there
 * is always, for paths are not equally long, and what was sent twice is acknowledged twice: so it
 * is what exceeds the least of the last two seconds. A path that is silent may be dead. Then it
 * counts, for all of it would be sent again, in front of what is missing.
 *
 * While the rate still grows, as at the start, nothing is held yet: what the first round trips
 * carried is not what the paths can. While there is no queue, the rate may still double in a round
 * trip; but not while nothing arrives. While less is sent than there is room for, nothing is learnt
 * and nothing changes.
 *
 * When a path has gone, its share of the rate is taken to have gone, too: at first the same share
 * for each, until the rate is known anew. Else what was under way on all would flood the queue of
 * those that are left.
 *
 * The decision is pure; sendroom_ask() asks the kernel and tells it. */
#ifndef CORE_SENDROOM_H
#define CORE_SENDROOM_H

#include <stdbool.h>
#include <stdint.h>

#define SENDROOM_RATES 10 /* each of a fifth of a second */

struct sendroom {
    uint64_t looked_us;             /* 0: never */
    uint64_t span_us, span_acked;   /* where the current rate's span began */
    bool span_used;                 /* its room, all the time */
    uint64_t rates[SENDROOM_RATES]; /* bytes/s, of the last spans */
    unsigned newest;
    uint32_t paths;
    uint32_t allowance_us;
    uint64_t excess_us;      /* since when round trips are too long; 0: they are not */
    uint64_t lowered_us;     /* when it was last lowered since then; 0: not yet */
    uint32_t lowered_rtt_us; /* the round trip when it was so first */
    uint32_t bytes;          /* what it was held to; 0: not yet */
    uint32_t buffer;         /* the send buffer that it was given; 0: the kernel's own tuning */
    uint64_t arrived;        /* when it was last asked */
    uint64_t arrived_us;     /* since when nothing more has */
    /* acked - delivered: the least of this second, and of the one before */
    uint64_t second_us;
    int64_t ahead, ahead_before;
    /* Up to here it would have arrived, were there no gaps; but for what always waits. */
    uint64_t come;
};

struct sendroom_view {
    uint64_t now_us;
    uint64_t delivered;   /* bytes that have arrived, since the beginning */
    uint64_t acked;       /* likewise on the subflows, added up: no pauses, no bursts after them */
    uint32_t under_way;   /* bytes that were written and have not arrived */
    uint32_t unloaded_us; /* the longest of the least round trips of those that carried something
                           * in the last two seconds; 0: unknown */
    uint32_t round_trip_us; /* the longest of the smoothed ones, of those that do now */
    uint32_t paths;         /* how many there are */
    uint32_t in_subflows;   /* bytes that were sent and not acknowledged there */
    uint32_t buffer;        /* the send buffer */
    uint32_t unheard_ms;    /* the longest silence of one that has something under way */
};

/* Returns to how many bytes to hold what is under way; 0: as it is. */
uint32_t sendroom_decide(struct sendroom *room, const struct sendroom_view *view);

/* After the decision: the send buffer that it is to have; 0: as it is. */
uint32_t sendroom_grow(struct sendroom *room, const struct sendroom_view *view);

/* How much may be written now, with so much delivered and under way; UINT32_MAX: any amount. (Held
 * by the size of the send buffer instead, a sender who has filled it may write again only when a
 * third is free.) */
uint32_t sendroom_left(const struct sendroom *room, uint64_t delivered, uint32_t under_way);
/* Less than this is not worth a write: wait, and ask again. */
#define SENDROOM_STROKE (16u << 10)
/* For how long: until a stroke is likely to have arrived; where nothing arrives any more, an eighth
 * of the time since then; a second at most. */
uint32_t sendroom_wait_us(const struct sendroom *room, uint64_t now_us);

/* To be asked before much is written, every 32 KiB or so while any amount may be; looks at the
 * paths every 20 ms at most. fd: the MPTCP connection; written: bytes so far. Returns as
 * sendroom_left(). */
uint32_t sendroom_ask(struct sendroom *room, int fd, uint64_t written);

#endif
