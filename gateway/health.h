/* Whether one uplink is alive: evidence and time in, verdict out. Plain data, no clock, no socket;
 * whoever embeds it owns it. Times are microseconds of one clock that does not go back (if it does,
 * it is taken to stand still). Nothing here fails.
 *
 * The evidence is probes (small datagrams to the concentrator and back, every 60 ms or so while the
 * uplink carries traffic, every 10 s while it does not) and whatever else comes in by the uplink.
 * After every one of them, and at health_next_us(), call health_look(); read what has come before
 * looking, so that nobody is buried while his letter lies in the box.
 *
 * - Round trips are smoothed as in RFC 6298. The least of the last minutes is the unloaded one; how
 *   much unloaded ones vary is kept apart, because a full queue would hide it.
 * - Doubt: a probe is out for longer than srtt + 4 * rttvar, and nothing has come since its answer
 *   was due. Cheap, soon, and gone with the next packet; the verdict stays. Probe densely then.
 * - Dead: silence. A queue, however long, lets packets come while it drains; so what counts is not
 *   how late an answer is but how long nothing at all has come, while probes are out for longer
 *   than the unloaded round trip explains. The limit is that round trip + max(4 * its variation,
 *   40 ms), and more on an uplink that has been silent for longer and lived (below).
 * - Silence is proved by several probes, never by one, since one packet may be lost. How many
 *   depends on how many it loses: so many that chance would hardly do it. Two are enough where
 *   packets streamed in and stopped, or where hardly any probe was ever lost. Where packets
 *   streamed, one that is out for three limits will do.
 * - Stalls: the longest silence that was survived in the last 12 minutes, halved for each 12 that
 *   follow. A radio that stalls for 400 ms now and then explains a silence of 400 ms; a line that
 *   never did does not. What lasts longer than 1.5 s is an outage, and excuses nothing.
 * - Upward: packets come, but for 300 ms and three RTOs no probe of five or more was answered: what
 *   we send is lost. (Where TCP no longer hears from us, its packets stop soon, and silence tells.)
 *   A queue upward that grows by 300 ms within one round trip looks the same, the first time.
 * - Degraded: loses 5 % of probes or more, or srtt > max(4 * the unloaded, 500 ms) for 2 s. Up
 *   again after 5 s in which it was clearly better than that.
 * - Back from the dead: three probes in a row answered, answers over at least 150 ms. Each time it
 *   dies within 30 s of coming back the 150 ms double, up to 2 s, and are halved again by 5 minutes
 *   in which it is up. No longer: a death costs flows a fifth of a second, and an uplink that is
 *   left alone all that it could carry. Where it is needed, since no other lives, one answer is
 *   enough: there is nothing to go back to.
 * - Refused: the concentrator does not run, and its host says so. The uplink carries both ways, and
 *   the probes that are out are neither lost nor answered. A host says it of one probe a second, so
 *   silence is proved by as many seconds, and one, as it otherwise takes probes. The next answer
 *   ends it.
 * - At first: probing. One answer or refusal, and it is up; none for 3 s to five probes or more,
 *   and it is dead.
 * - A caller who looks much later than asked was away himself, and what has come lies unread: once
 *   in a silence he gets 20 ms to read it. */
#ifndef GATEWAY_HEALTH_H
#define GATEWAY_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

enum health_verdict { HEALTH_PROBING, HEALTH_UP, HEALTH_DEGRADED, HEALTH_DEAD };
/* Where packets are lost, seen from the router; BOTH also when that is unknown. DOWNWARD is for a
 * caller who knows more: silence alone looks like BOTH. */
enum health_direction { HEALTH_BOTH, HEALTH_UPWARD, HEALTH_DOWNWARD };

#define HEALTH_PROBES 64 /* how many are remembered; older ones are lost */

struct health_probe {
    uint64_t seq, sent_us;
    bool used, answered;
    bool counted; /* as lost */
};

/* The least, or the most, of the last three to four spans; 0: nothing yet. */
struct health_window {
    uint64_t of[4], since_us;
};

struct health {
    /* To set, before each look. */
    bool needed; /* no other uplink lives */
    /* To read. */
    enum health_verdict verdict;
    bool doubtful;
    bool refused; /* by the concentrator's host, which lives */
    enum health_direction direction;
    char reason[96];                         /* for a person; "" when all is well */
    uint64_t srtt_us, rttvar_us, min_rtt_us; /* 0: never measured */
    uint64_t delay_us;      /* round trips over the last two seconds or so; 0: never measured */
    uint32_t loss_permille; /* of the last hundred probes or so */

    /* Its own. */
    bool began;                                /* a time is known */
    uint64_t now_us;                           /* the latest */
    struct health_probe probes[HEALTH_PROBES]; /* by seq */
    uint64_t n_sent, first_sent_us;
    uint64_t newest_seq, oldest_open_seq; /* all before that are answered or counted */
    uint64_t answered_seq, answered_us;   /* the newest probe, and the last time */
    uint64_t carried_us; /* when it left: then, at the earliest, the uplink carried both ways */
    uint64_t refused_from_us, refused_us;     /* since when, and the last time; 0: never */
    uint64_t newest_rtt_us;                   /* of the newest one that was answered */
    uint64_t came_us;                         /* anything */
    uint64_t heard_us, gap_us;                /* packets: last time, and mean gap; 0: never */
    uint64_t base_rtt_us, base_var_us;        /* the last unloaded one, and the variation */
    struct health_window rtts, stalls, waits; /* waits: for an answer, while packets came */
    uint32_t loss_ppm, long_loss_ppm;
    bool resumed; /* packets, after a silence; no answer yet */
    uint64_t resumed_us;
    uint64_t asked_us; /* when to look, as the caller was last told */
    bool graced;
    uint64_t grace_us;
    uint64_t slow_us, better_us; /* since when; 0: not */
    uint32_t good;               /* probes in a row answered while dead */
    bool returning;
    uint64_t good_us; /* since when answers come */
    bool returned;    /* it was dead before it was up */
    uint64_t returned_us, calm_us;
    uint32_t flaps;
    uint64_t quiet_us; /* since when nothing came when it died */
    uint64_t dead_us;  /* when that was */
};

/* Also for another address: forgets everything. */
void health_init(struct health *h);

/* A probe left. seq rises by one with each. */
void health_sent(struct health *h, uint64_t seq, uint64_t now_us);
/* Its answer came: late, twice or out of order as it may be. One that was never sent is ignored.
 * came_us may be before the latest time that was told: it was read later. */
void health_answered(struct health *h, uint64_t seq, uint64_t came_us);
/* The concentrator's host has refused a probe. */
void health_refused(struct health *h, uint64_t now_us);
/* So many packets came in by the uplink since the last call. Call it every 15 ms while the uplink
 * carries traffic; the finer, the sooner is silence noticed. */
void health_heard(struct health *h, uint64_t packets, uint64_t now_us);

/* Judges anew: true when the verdict or the doubt has changed. */
bool health_look(struct health *h, uint64_t now_us);
/* How long the newest answer took or, where that is longer, the next one is being waited for. */
uint64_t health_delay_us(const struct health *h, uint64_t now_us);
/* When to look again although nothing came; UINT64_MAX: no need. */
uint64_t health_next_us(const struct health *h);

#endif
