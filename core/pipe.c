#include "core/pipe.h"

#include <assert.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What may be read in one turn, so that one fast flow does not keep the others waiting. */
#define TURN_BYTES (256 * 1024)
/* What is left of a turn below this is left to the next one: no read is that small. */
#define LEAST_READ 4096
/* A read that brings so much is followed by a larger one, if the sink has room for it. */
#define BULK_READ (16 * 1024)
/* Full records that fit the workspace. */
#define FRAMES 16
/* Payloads of opened records that are written at once. */
#define SPANS 32

_Static_assert(FRAMES *RECORD_MAX <= WORKSPACE_SIZE, "the workspace holds FRAMES records");
_Static_assert(TURN_BYTES <= WORKSPACE_SIZE, "a turn's first read fits");

/* Internal: there is something to go on with. */
#define PIPE_GO ((enum pipe_result) - 1)

/* One turn of pipe_pump(): what lies in the workspace. */
struct turn {
    struct pipe *pipe;
    uint8_t *bytes;          /* the workspace */
    size_t start, end;       /* raw: read, but not yet opened or passed on */
    struct iovec out[SPANS]; /* what is to be written */
    unsigned first, count;
    size_t budget; /* how much may still be read */
    bool drained;  /* the last read got all there was */
};

static void add_span(struct turn *t, void *bytes, size_t len)
{
    t->out[t->first + t->count++] = (struct iovec){.iov_base = bytes, .iov_len = len};
}

static void consume_spans(struct turn *t, size_t n)
{
    while (n > 0) {
        struct iovec *span = &t->out[t->first];
        size_t part = n < span->iov_len ? n : span->iov_len;

        span->iov_base = (uint8_t *)span->iov_base + part;
        span->iov_len -= part;
        n -= part;
        if (span->iov_len == 0) {
            t->first++;
            t->count--;
        }
    }
    if (t->count == 0)
        t->first = 0;
}

/* One write. PIPE_GO: *n bytes went out. */
static enum pipe_result write_spans(struct pipe *p, struct iovec *spans, unsigned count, size_t *n)
{
    struct msghdr msg = {.msg_iov = spans, .msg_iovlen = count};
    ssize_t sent;

    do {
        sent = sendmsg(p->sink, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent == -1 && errno == EINTR);
    if (sent == -1) {
        p->room = 0;
        return errno == EAGAIN ? PIPE_WANT_WRITE : PIPE_SINK_RESET;
    }
    *n = (size_t)sent;
    p->room -= *n < p->room ? *n : p->room;
    p->traffic += *n;
    return PIPE_GO;
}

/* Writes what is ready. PIPE_GO: all of it. */
static enum pipe_result flush(struct turn *t)
{
    while (t->count > 0) {
        size_t n;
        enum pipe_result r = write_spans(t->pipe, &t->out[t->first], t->count, &n);

        if (r != PIPE_GO)
            return r;
        consume_spans(t, n);
    }
    return PIPE_GO;
}

/* Writes what was ready when the last turn ended. PIPE_GO: all of it. */
static enum pipe_result flush_held(struct pipe *p)
{
    while (p->ready > 0) {
        struct iovec span = {.iov_base = p->held->data + p->held->start, .iov_len = p->ready};
        size_t n;
        enum pipe_result r = write_spans(p, &span, 1, &n);

        if (r != PIPE_GO)
            return r;
        p->held->start += n;
        p->ready -= n;
    }
    return PIPE_GO;
}

/* One control record, alone in the workspace. */
static enum pipe_result seal_control(struct turn *t, enum record_type type, const void *payload,
                                     size_t len)
{
    if (len > 0)
        memcpy(t->bytes + RECORD_HEAD, payload, len);
    int n = record_seal(t->pipe->cipher, type, t->bytes, len);
    if (n < 0)
        return PIPE_FAILED;
    add_span(t, t->bytes, (size_t)n);
    return PIPE_GO;
}

static enum pipe_result produce_sealed(struct turn *t)
{
    struct pipe *p = t->pipe;

    if (!p->cipher)
        return PIPE_WANT_READ; /* the last record has been sealed */
    if (record_seals_left(p->cipher) == 0)
        return seal_control(t, RECORD_REKEY, NULL, 0);
    if (p->owes_pong) {
        p->owes_pong = false;
        return seal_control(t, RECORD_PONG, p->pong, sizeof(p->pong));
    }
    return PIPE_WANT_READ;
}

static enum pipe_result take_record(struct turn *t, const struct record *r)
{
    struct pipe *p = t->pipe;

    if (p->stage != PIPE_STREAMING)
        return PIPE_PROTOCOL; /* nothing comes after FIN or RESET */
    switch (r->type) {
    case RECORD_DATA:
        p->bytes += r->len;
        add_span(t, r->payload, r->len);
        return PIPE_GO;
    case RECORD_FIN:
        p->stage = PIPE_FINISHING;
        return PIPE_GO;
    case RECORD_RESET:
        p->stage = PIPE_RESETTING;
        return PIPE_GO;
    case RECORD_PING: /* of several, the last one is answered */
        memcpy(p->reverse->pong, r->payload, sizeof(p->reverse->pong));
        p->reverse->owes_pong = true;
        return PIPE_GO;
    case RECORD_PONG:
    case RECORD_REKEY:
        return PIPE_GO;
    default:
        return PIPE_PROTOCOL;
    }
}

/* Opens the whole records that have come; their payloads become the output. */
static enum pipe_result produce_opened(struct turn *t)
{
    while (t->count < SPANS && t->end > t->start) {
        struct record r;
        enum record_verdict v =
            record_open(t->pipe->cipher, t->bytes + t->start, t->end - t->start, &r);

        if (v == RECORD_SHORT)
            break;
        if (v == RECORD_BAD)
            return PIPE_PROTOCOL;
        t->start += r.consumed;
        enum pipe_result result = take_record(t, &r);
        if (result != PIPE_GO)
            return result;
    }
    return t->count > 0 ? PIPE_GO : PIPE_WANT_READ;
}

static enum pipe_result produce_plain(struct turn *t)
{
    if (t->end == t->start)
        return PIPE_WANT_READ;
    add_span(t, t->bytes + t->start, t->end - t->start);
    t->pipe->bytes += t->end - t->start;
    t->start = t->end = 0;
    return PIPE_GO;
}

/* Output from what has come. PIPE_GO: there is some; PIPE_WANT_READ: nothing has. */
static enum pipe_result produce(struct turn *t)
{
    if (t->count > 0)
        return PIPE_GO;
    switch (t->pipe->kind) {
    case PIPE_SEAL:
        return produce_sealed(t);
    case PIPE_OPEN:
        return produce_opened(t);
    default:
        return produce_plain(t);
    }
}

/* Seals n payload bytes that were read into the frames. */
static enum pipe_result seal_frames(struct turn *t, size_t n)
{
    uint8_t *frame = t->bytes;
    size_t total = 0;

    t->pipe->bytes += n;
    while (n > 0) {
        size_t part = n < RECORD_PAYLOAD_MAX ? n : RECORD_PAYLOAD_MAX;
        int len = record_seal(t->pipe->cipher, RECORD_DATA, frame, part);

        if (len < 0)
            return PIPE_FAILED;
        frame += len;
        total += (size_t)len;
        n -= part;
    }
    add_span(t, t->bytes, total);
    return PIPE_GO;
}

/* What the kernel will take for the sink now, about. */
static size_t sink_room(const struct pipe *p)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(p->sink, SOL_SOCKET, SO_MEMINFO, info, &len) == -1)
        return 0;
    /* TCP and MPTCP count what waits in the one, other families in the other. */
    uint32_t taken = info[SK_MEMINFO_WMEM_QUEUED] > info[SK_MEMINFO_WMEM_ALLOC]
                         ? info[SK_MEMINFO_WMEM_QUEUED]
                         : info[SK_MEMINFO_WMEM_ALLOC];
    return info[SK_MEMINFO_SNDBUF] > taken ? info[SK_MEMINFO_SNDBUF] - taken : 0;
}

/* How much of the workspace the next read may fill. What is large is read in large strokes, which
 * cost less for each byte; but only as far as the sink has room, so that a slow one does not make
 * us hold more than a buffer. */
static size_t stroke(const struct turn *t)
{
    struct pipe *p = t->pipe;

    if (p->limit && t->budget < BUFFER_SIZE)
        return t->budget;
    /* It has only grown since it was known: the kernel need be asked only where it matters. */
    if (p->bulk && p->room < t->budget)
        p->room = sink_room(p);
    if (t->budget <= BUFFER_SIZE || p->room <= BUFFER_SIZE)
        return BUFFER_SIZE;
    return p->room < t->budget ? p->room : t->budget;
}

/* Where the next bytes of the source belong. Returns how many spans. */
static int read_spans(struct turn *t, struct iovec spans[FRAMES])
{
    size_t size = stroke(t);

    if (t->pipe->kind != PIPE_SEAL) {
        /* The start of a record that is not whole yet moves to the front. */
        memmove(t->bytes, t->bytes + t->start, t->end - t->start);
        t->end -= t->start;
        t->start = 0;
        spans[0] = (struct iovec){.iov_base = t->bytes + t->end, .iov_len = size - t->end};
        return 1;
    }
    /* No more than this key still seals: produce_sealed() has made sure of one. */
    uint32_t left = record_seals_left(t->pipe->cipher);
    int count = 0;
    for (size_t at = 0; at + RECORD_OVERHEAD < size && count < (int)left; at += RECORD_MAX) {
        size_t room = size - at - RECORD_OVERHEAD;
        spans[count++] =
            (struct iovec){.iov_base = t->bytes + at + RECORD_HEAD,
                           .iov_len = room < RECORD_PAYLOAD_MAX ? room : RECORD_PAYLOAD_MAX};
    }
    return count;
}

static enum pipe_result source_ended(struct pipe *p)
{
    if (p->kind == PIPE_OPEN)
        return PIPE_TRUNCATED;
    p->stage = PIPE_FINISHING;
    return PIPE_GO;
}

/* One read. */
static enum pipe_result fill(struct turn *t)
{
    struct pipe *p = t->pipe;
    struct iovec spans[FRAMES];
    int count = read_spans(t, spans);
    size_t room = 0;
    ssize_t n;

    do {
        n = readv(p->source, spans, count);
    } while (n == -1 && errno == EINTR);
    if (n == -1 && errno == EAGAIN)
        return PIPE_WANT_READ;
    if (n == -1)
        return PIPE_SOURCE_RESET;
    if (n == 0)
        return source_ended(p);
    for (int i = 0; i < count; i++)
        room += spans[i].iov_len;
    t->drained = (size_t)n < room;
    t->budget -= (size_t)n < t->budget ? (size_t)n : t->budget;
    if (t->budget < LEAST_READ)
        t->budget = 0;
    p->bulk = n >= BULK_READ;
    p->traffic += (uint64_t)n;
    if (p->kind == PIPE_SEAL)
        return seal_frames(t, (size_t)n);
    t->end += (size_t)n;
    return PIPE_GO;
}

/* All that had come is out: now the end itself. Where FIN tells it, the connection stays open: one
 * of MPTCP that has begun to end takes in no subflow any more, and is closed with its last one. */
static enum pipe_result finish(struct turn *t)
{
    struct pipe *p = t->pipe;

    if (p->kind == PIPE_OPEN && p->stage == PIPE_RESETTING)
        return PIPE_PEER_RESET;
    if (p->kind == PIPE_SEAL && p->cipher) {
        enum pipe_result r = p->stage == PIPE_RESETTING ? seal_control(t, RECORD_RESET, p->pong, 1)
                                                        : seal_control(t, RECORD_FIN, NULL, 0);
        if (r != PIPE_GO)
            return r;
        record_cipher_free(p->cipher);
        p->cipher = NULL;
        return PIPE_GO;
    }
    if (p->kind != PIPE_SEAL || p->stage == PIPE_RESETTING)
        shutdown(p->sink, SHUT_WR);
    p->stage = PIPE_ENDED;
    pipe_release(p);
    return PIPE_DONE;
}

static enum pipe_result step(struct turn *t)
{
    struct pipe *p = t->pipe;
    enum pipe_result r = produce(t);

    if (r == PIPE_GO) {
        r = flush(t);
        /* A reset does not wait for a sink that takes nothing. */
        bool reset_came = p->kind == PIPE_OPEN && p->stage == PIPE_RESETTING;
        return r == PIPE_WANT_WRITE && reset_came ? PIPE_PEER_RESET : r;
    }
    if (r != PIPE_WANT_READ)
        return r;
    if (p->stage != PIPE_STREAMING)
        return finish(t);
    if (t->drained || t->budget == 0)
        return PIPE_WANT_READ;
    return fill(t);
}

/* What is held, all of it raw, goes on in the workspace. */
static void begin(struct turn *t)
{
    struct pipe *p = t->pipe;

    if (!p->held)
        return;
    t->end = buffer_length(p->held);
    memcpy(t->bytes, p->held->data + p->held->start, t->end);
    buffer_put(p->pool, p->held);
    p->held = NULL;
}

/* The workspace is for others now: what is left in it moves to a buffer of our own. */
static enum pipe_result hold(struct turn *t, enum pipe_result why)
{
    struct pipe *p = t->pipe;
    size_t raw = t->end - t->start, ready = 0;

    for (unsigned i = 0; i < t->count; i++)
        ready += t->out[t->first + i].iov_len;
    if (ready + raw == 0)
        return why;
    p->held = buffer_get_for(p->pool, ready + raw);
    if (!p->held)
        return PIPE_NO_MEMORY;
    p->ready = ready;
    for (unsigned i = 0; i < t->count; i++) {
        const struct iovec *span = &t->out[t->first + i];
        memcpy(p->held->data + p->held->end, span->iov_base, span->iov_len);
        p->held->end += span->iov_len;
    }
    memcpy(p->held->data + ready, t->bytes + t->start, raw);
    p->held->end += raw;
    return why;
}

enum pipe_result pipe_pump(struct pipe *p)
{
    struct turn t = {.pipe = p, .budget = TURN_BYTES};
    enum pipe_result r;

    if (p->limit && p->limit < TURN_BYTES)
        t.budget = p->limit < LEAST_READ ? 0 : p->limit;
    if (p->stage == PIPE_ENDED)
        return PIPE_DONE;
    r = flush_held(p);
    if (r != PIPE_GO)
        return r;
    t.bytes = buffer_pool_workspace(p->pool);
    begin(&t);
    do {
        r = step(&t);
    } while (r == PIPE_GO);
    return r == PIPE_WANT_READ || r == PIPE_WANT_WRITE ? hold(&t, r) : r;
}

void pipe_prepend(struct pipe *p, struct buffer *first)
{
    assert(!p->held && p->kind != PIPE_SEAL);
    p->held = first;
}

void pipe_send_reset(struct pipe *p, uint8_t code)
{
    assert(p->kind == PIPE_SEAL && p->stage != PIPE_ENDED);
    p->stage = PIPE_RESETTING;
    p->owes_pong = false;
    p->pong[0] = code;
}

void pipe_release(struct pipe *p)
{
    buffer_put(p->pool, p->held);
    p->held = NULL;
    p->ready = 0;
    record_cipher_free(p->cipher);
    p->cipher = NULL;
}
