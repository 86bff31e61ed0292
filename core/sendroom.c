#include "core/sendroom.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/mptcp.h"

#define SUBFLOWS_LOOKED_AT 16
/* About as much as a segment holds. */
#define SEGMENT 1400u
#define LOOK_US 20000u
#define SPAN_US 200000u
/* A long path that gets little now, because there is too little room, must not be forgotten for
 * that. */
#define USED_MS 2000u
/* The send buffer holds so many times what arrives in a round trip and the time that it takes to
 * send again what was lost. */
#define WAITS_TIMES 4
#define WAITS_US 100000u
#define SECOND_US 1000000u
/* A path that carries data is heard more often. */
#define SILENT_MS 30u
#define STANDSTILL_US 20000u
#define WAIT_MAX_US 1000000u
#define ALLOWANCE_US 35000u
#define ALLOWANCE_MAX_US 2000000u
/* The kernel's packet scheduler stays with a path for so much (MPTCP_SEND_BURST_SIZE). On each
 * there are two, then: one that is sent, and one that waits. */
#define BURST (64u << 10)
#define BURSTS_MAX_US 100000u
/* Round trips that are longer by so much, for so long, are not our doing. */
#define EXCESS_US 15000u
#define EXCESS_PATIENCE_US 300000u
/* By so much of what is beyond the least at every look: most of it in five seconds. */
#define SHRINKS_BY 256
/* A change of one in so many is not worth a system call. */
#define SMALL_STEP 32
#define BYTES_MIN (64u << 10)
#define BYTES_MAX (32u << 20)
/* Below this nobody waits for what is under way. */
#define WORTH_HOLDING (128u << 10)

static uint64_t best_rate(const struct sendroom *r)
{
    uint64_t best = 0;

    for (int i = 0; i < SENDROOM_RATES; i++) {
        if (r->rates[i] > best)
            best = r->rates[i];
    }
    return best;
}

/* As in slow start: how fast the paths are is not known yet. */
static bool grows(const struct sendroom *r)
{
    uint64_t before = r->rates[(r->newest + SENDROOM_RATES - 1) % SENDROOM_RATES];

    return r->rates[r->newest] > before + before / 8;
}

static uint32_t least_allowance(const struct sendroom_view *v)
{
    uint32_t us = v->unloaded_us / 2;

    return us < ALLOWANCE_US ? ALLOWANCE_US : us < ALLOWANCE_MAX_US ? us : ALLOWANCE_MAX_US;
}

/* How long the bursts of all paths take. */
static uint64_t bursts_us(const struct sendroom_view *v, uint64_t rate)
{
    uint64_t us = v->paths > 1 && rate ? 2ull * v->paths * BURST * 1000000 / rate : 0;

    return us < BURSTS_MAX_US ? us : BURSTS_MAX_US;
}

/* How long a round trip may take: what is under way is the rate times that. */
static uint64_t room_us(const struct sendroom *r, const struct sendroom_view *v, uint64_t rate)
{
    return (uint64_t)v->unloaded_us + r->allowance_us + bursts_us(v, rate);
}

static void note_arrival(struct sendroom *r, const struct sendroom_view *v)
{
    if (v->delivered == r->arrived && v->now_us >= r->arrived_us)
        return;
    r->arrived = v->delivered;
    r->arrived_us = v->now_us;
}

/* The receiver waits for something that is lost, or a path has died: the queues of the others are
 * short for that reason alone, and are better left so for what must be sent again. */
static bool stands_still(const struct sendroom *r, const struct sendroom_view *v)
{
    return v->now_us - r->arrived_us >= STANDSTILL_US;
}

/* A sender who has less to send than there is room for says nothing of the paths. */
static bool is_used(const struct sendroom *r, const struct sendroom_view *v)
{
    return v->under_way >= r->bytes / 2;
}

static void note_rate(struct sendroom *r, const struct sendroom_view *v)
{
    uint64_t elapsed_us = v->now_us - r->span_us, rate;

    r->span_used = r->span_used && is_used(r, v);
    if (r->span_us && v->acked >= r->span_acked && elapsed_us < SPAN_US)
        return;
    /* Nor does a pause. */
    if (r->span_us && v->acked >= r->span_acked && elapsed_us <= 5 * SPAN_US) {
        rate = (v->acked - r->span_acked) * 1000000 / elapsed_us;
        if (r->span_used || rate > best_rate(r)) {
            r->newest = (r->newest + 1) % SENDROOM_RATES;
            r->rates[r->newest] = rate;
        }
    }
    r->span_us = v->now_us;
    r->span_acked = v->acked;
    r->span_used = true;
}

/* Round trips are too long for what is held: is that not our doing? The header tells. */
static bool is_not_ours(const struct sendroom *r, const struct sendroom_view *v)
{
    uint64_t best = best_rate(r), rate = r->rates[r->newest];

    if (v->now_us - r->excess_us < EXCESS_PATIENCE_US)
        return false;
    if (r->lowered_us)
        return v->now_us - r->lowered_us >= EXCESS_PATIENCE_US + v->round_trip_us ||
               v->round_trip_us > (uint64_t)r->lowered_rtt_us + EXCESS_US;
    return rate >= best - best / 8 && rate < best - best / SMALL_STEP;
}

/* It grows a little too far: a rate is only what was asked for, and where others ask for more all
 * the time, one who never does ends with nothing. */
static void settle_allowance(struct sendroom *r, const struct sendroom_view *v)
{
    uint32_t least_us = least_allowance(v);
    if (r->allowance_us < least_us)
        r->allowance_us = least_us;
    uint64_t most_us = room_us(r, v, r->rates[r->newest]);
    uint64_t slack_us = EXCESS_US + most_us / SMALL_STEP;

    if (v->round_trip_us <= most_us + slack_us) {
        r->excess_us = r->lowered_us = 0;
        r->allowance_us -= (r->allowance_us - least_us) / SHRINKS_BY;
    } else if (r->excess_us == 0) {
        r->excess_us = v->now_us;
    } else if (is_not_ours(r, v)) {
        uint64_t us = v->round_trip_us - v->unloaded_us + slack_us;
        r->allowance_us = us < ALLOWANCE_MAX_US ? (uint32_t)us : ALLOWANCE_MAX_US;
        r->excess_us = r->lowered_us = 0;
    }
}

static uint32_t clamp(uint64_t bytes)
{
    return bytes < BYTES_MIN ? BYTES_MIN : bytes > BYTES_MAX ? BYTES_MAX : (uint32_t)bytes;
}

static void note_lowered(struct sendroom *r, const struct sendroom_view *v)
{
    if (r->lowered_us == 0)
        r->lowered_rtt_us = v->round_trip_us;
    r->lowered_us = v->now_us;
}

static uint32_t wanted(const struct sendroom *r, const struct sendroom_view *v, bool queues)
{
    uint64_t rate = best_rate(r), us = room_us(r, v, rate);

    if (!queues && us < 2ull * v->round_trip_us)
        us = 2ull * v->round_trip_us;
    return clamp(rate * us / 1000000);
}

/* True when a path has gone. */
static bool note_paths(struct sendroom *r, const struct sendroom_view *v)
{
    uint32_t before = r->paths;

    r->paths = v->paths;
    if (v->paths == 0 || v->paths >= before)
        return false;
    for (int i = 0; i < SENDROOM_RATES; i++)
        r->rates[i] = r->rates[i] * v->paths / before;
    r->bytes = (uint32_t)((uint64_t)r->bytes * v->paths / before);
    return r->bytes > 0;
}

/* Returns the least that the subflows were ahead of what arrives in order. */
static int64_t note_ahead(struct sendroom *r, const struct sendroom_view *v)
{
    int64_t ahead = (int64_t)(v->acked - v->delivered);
    bool anew = r->second_us == 0 || v->paths != r->paths;

    if (anew || v->now_us - r->second_us >= SECOND_US) {
        r->ahead_before = anew ? ahead : r->ahead;
        r->ahead = ahead;
        r->second_us = v->now_us;
    }
    if (ahead < r->ahead)
        r->ahead = ahead;
    return r->ahead < r->ahead_before ? r->ahead : r->ahead_before;
}

static void note_come(struct sendroom *r, const struct sendroom_view *v)
{
    uint64_t waiting = v->acked - v->delivered - (uint64_t)note_ahead(r, v);
    uint32_t most = v->under_way > v->in_subflows ? v->under_way - v->in_subflows : 0;

    if (v->unheard_ms > SILENT_MS)
        most = 0;
    r->come = v->delivered + (waiting < most ? waiting : most);
}

uint32_t sendroom_decide(struct sendroom *r, const struct sendroom_view *v)
{
    note_come(r, v);
    if (note_paths(r, v))
        return r->bytes;
    note_arrival(r, v);
    if (r->allowance_us == 0)
        r->allowance_us = least_allowance(v);
    note_rate(r, v);
    if (best_rate(r) == 0 || v->unloaded_us == 0)
        return 0;
    bool queues = v->round_trip_us > (uint64_t)v->unloaded_us + least_allowance(v) / 2;
    uint32_t bytes = wanted(r, v, queues);
    /* Nothing to hold yet, or less than is needed to tell: the kernel's own tuning will do. */
    if (r->bytes == 0 && (v->under_way < bytes || bytes < WORTH_HOLDING || !queues || grows(r)))
        return 0;
    bool changes = is_used(r, v) && (bytes < r->bytes - r->bytes / SMALL_STEP ||
                                     bytes > r->bytes + r->bytes / SMALL_STEP);
    bool drains = r->lowered_us && v->under_way > r->bytes + r->bytes / 8;
    if (r->excess_us && (drains || (changes && bytes < r->bytes)))
        note_lowered(r, v);
    if (r->bytes)
        settle_allowance(r, v);
    if (!changes || (bytes > r->bytes && stands_still(r, v)))
        return 0;
    r->bytes = bytes;
    return bytes;
}

/* The sender waits, and not for his subflows alone. */
static bool waits_for_buffer(const struct sendroom *r, const struct sendroom_view *v)
{
    return v->under_way >= v->buffer / 2 && (r->buffer || v->in_subflows <= v->under_way / 4);
}

uint32_t sendroom_grow(struct sendroom *r, const struct sendroom_view *v)
{
    /* The kernel's bound must be beyond ours: it lets a sender who has filled the send buffer write
     * again only when a third of it is free. */
    uint64_t bytes = 4ull * r->bytes;

    if (r->bytes == 0 && waits_for_buffer(r, v)) {
        uint64_t most = best_rate(r) * (v->round_trip_us + WAITS_US) / 1000000 * WAITS_TIMES;
        bytes = 2ull * v->buffer < most ? 2ull * v->buffer : most;
    }
    if (bytes <= v->buffer || v->buffer >= BYTES_MAX)
        return 0;
    r->buffer = clamp(bytes);
    return r->buffer;
}

uint32_t sendroom_left(const struct sendroom *r, uint64_t delivered, uint32_t under_way)
{
    if (r->bytes == 0)
        return UINT32_MAX;
    uint64_t most = r->bytes + (r->come > delivered ? r->come - delivered : 0);

    return under_way < most ? (uint32_t)(most - under_way) : 0;
}

uint32_t sendroom_wait_us(const struct sendroom *r, uint64_t now_us)
{
    uint64_t stroke = r->bytes / 16 > SENDROOM_STROKE ? r->bytes / 16 : SENDROOM_STROKE;
    uint64_t rate = best_rate(r), us = rate ? stroke * 1000000 / rate : LOOK_US;
    uint64_t silent_us = now_us > r->arrived_us ? now_us - r->arrived_us : 0;

    if (us > LOOK_US)
        us = LOOK_US;
    if (us < silent_us / 8)
        us = silent_us / 8;
    return us < WAIT_MAX_US ? (uint32_t)us : WAIT_MAX_US;
}

static void view_paths(int fd, struct sendroom_view *v)
{
    struct mptcp_subflow subflows[SUBFLOWS_LOOKED_AT];
    int n = mptcp_subflows(fd, subflows, SUBFLOWS_LOOKED_AT);

    for (int i = 0; i < n; i++) {
        const struct mptcp_subflow *s = &subflows[i];
        v->paths += s->tcp_state == TCP_ESTABLISHED;
        v->acked += s->tx_bytes;
        if (s->tcp_state != TCP_ESTABLISHED || s->last_sent_ms >= USED_MS)
            continue;
        if (s->min_rtt_us != UINT32_MAX && s->min_rtt_us > v->unloaded_us)
            v->unloaded_us = s->min_rtt_us;
        v->in_subflows += s->unacked * SEGMENT;
        if (s->unacked > 0 && s->unheard_ms > v->unheard_ms)
            v->unheard_ms = s->unheard_ms;
        if (s->unacked > 0 && s->rtt_us > v->round_trip_us)
            v->round_trip_us = s->rtt_us;
    }
}

/* Without CAP_NET_ADMIN it ends where the kernel's own tuning does (net.ipv4.tcp_wmem, 4 MB by
 * default). */
static void set_buffer(int fd, uint32_t bytes)
{
    int half = (int)(bytes / 2); /* the kernel doubles it */

    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &half, sizeof(half));
}

static uint32_t read_buffer(int fd)
{
    int bytes = 0;
    socklen_t len = sizeof(bytes);

    return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &len) == 0 ? (uint32_t)bytes : UINT32_MAX;
}

static void look(struct sendroom *r, struct sendroom_view *view, int fd)
{
    r->looked_us = view->now_us;
    view->buffer = read_buffer(fd);
    view_paths(fd, view);
    sendroom_decide(r, view);
    uint32_t buffer = sendroom_grow(r, view);
    if (buffer)
        set_buffer(fd, buffer);
}

uint32_t sendroom_ask(struct sendroom *r, int fd, uint64_t written)
{
    struct sendroom_view view = {.now_us = clock_now_us()};
    bool looks = !r->looked_us || view.now_us - r->looked_us >= LOOK_US;
    int under_way = 0;

    if (!looks && r->bytes == 0)
        return UINT32_MAX;
    if (ioctl(fd, SIOCOUTQ, &under_way) == -1 || under_way < 0)
        return UINT32_MAX;
    view.under_way = (uint32_t)under_way;
    view.delivered = written > view.under_way ? written - view.under_way : 0;
    note_arrival(r, &view);
    if (looks)
        look(r, &view, fd);
    return sendroom_left(r, view.delivered, view.under_way);
}
