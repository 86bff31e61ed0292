#include "core/pipe.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

/* Reads in one turn, so that one fast flow does not keep the others waiting. */
#define READS_PER_TURN 4

/* Full records that fit a buffer; the last one may be shorter. */
#define FRAMES 4

_Static_assert(FRAMES *RECORD_MAX >= BUFFER_SIZE && (FRAMES - 1) * RECORD_MAX < BUFFER_SIZE,
               "a buffer holds FRAMES records");

/* Internal: there is something to go on with. */
#define PIPE_GO ((enum pipe_result) - 1)

static void give_back_empty(struct pipe *p)
{
    if (p->buffer && p->out_count == 0 && buffer_length(p->buffer) == 0) {
        buffer_put(p->pool, p->buffer);
        p->buffer = NULL;
    }
}

static bool ready_buffer(struct pipe *p)
{
    if (!p->buffer)
        p->buffer = buffer_get(p->pool);
    return p->buffer != NULL;
}

static void add_span(struct pipe *p, void *bytes, size_t len)
{
    p->out[p->out_first + p->out_count++] = (struct iovec){.iov_base = bytes, .iov_len = len};
}

static void consume_spans(struct pipe *p, size_t n)
{
    while (n > 0) {
        struct iovec *span = &p->out[p->out_first];
        size_t part = n < span->iov_len ? n : span->iov_len;

        span->iov_base = (uint8_t *)span->iov_base + part;
        span->iov_len -= part;
        n -= part;
        if (span->iov_len == 0) {
            p->out_first++;
            p->out_count--;
        }
    }
    if (p->out_count == 0)
        p->out_first = 0;
}

/* Writes what is ready. PIPE_GO: all of it. */
static enum pipe_result flush(struct pipe *p)
{
    while (p->out_count > 0) {
        struct msghdr msg = {.msg_iov = &p->out[p->out_first], .msg_iovlen = p->out_count};
        ssize_t n = sendmsg(p->sink, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno == EAGAIN)
            return PIPE_WANT_WRITE;
        if (n == -1)
            return PIPE_SINK_RESET;
        p->traffic += (uint64_t)n;
        consume_spans(p, (size_t)n);
    }
    return PIPE_GO;
}

/* One control record, alone in the buffer. */
static enum pipe_result seal_control(struct pipe *p, enum record_type type, const void *payload,
                                     size_t len)
{
    if (!ready_buffer(p))
        return PIPE_NO_MEMORY;
    uint8_t *frame = p->buffer->data;
    if (len > 0)
        memcpy(frame + RECORD_HEAD, payload, len);
    int n = record_seal(p->cipher, type, frame, len);
    if (n < 0)
        return PIPE_FAILED;
    p->buffer->start = p->buffer->end = 0;
    add_span(p, frame, (size_t)n);
    return PIPE_GO;
}

static enum pipe_result produce_sealed(struct pipe *p)
{
    if (!p->cipher)
        return PIPE_WANT_READ; /* the last record has been sealed */
    if (record_seals_left(p->cipher) == 0)
        return seal_control(p, RECORD_REKEY, NULL, 0);
    if (p->owes_pong) {
        p->owes_pong = false;
        return seal_control(p, RECORD_PONG, p->pong, sizeof(p->pong));
    }
    return PIPE_WANT_READ;
}

static enum pipe_result take_record(struct pipe *p, const struct record *r)
{
    if (p->stage != PIPE_STREAMING)
        return PIPE_PROTOCOL; /* nothing comes after FIN or RESET */
    switch (r->type) {
    case RECORD_DATA:
        p->bytes += r->len;
        add_span(p, r->payload, r->len);
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

/* Opens the whole records that are held; their payloads become the output. */
static enum pipe_result produce_opened(struct pipe *p)
{
    struct buffer *b = p->buffer;

    while (b && p->out_count < PIPE_SPANS && buffer_length(b) > 0) {
        struct record r;
        enum record_verdict v = record_open(p->cipher, b->data + b->start, buffer_length(b), &r);

        if (v == RECORD_SHORT)
            break;
        if (v == RECORD_BAD)
            return PIPE_PROTOCOL;
        b->start += r.consumed;
        enum pipe_result result = take_record(p, &r);
        if (result != PIPE_GO)
            return result;
    }
    return p->out_count > 0 ? PIPE_GO : PIPE_WANT_READ;
}

static enum pipe_result produce_plain(struct pipe *p)
{
    struct buffer *b = p->buffer;

    if (!b || buffer_length(b) == 0)
        return PIPE_WANT_READ;
    add_span(p, b->data + b->start, buffer_length(b));
    p->bytes += buffer_length(b);
    b->start = b->end = 0;
    return PIPE_GO;
}

/* Output from what is held. PIPE_GO: there is some; PIPE_WANT_READ: nothing is held. */
static enum pipe_result produce(struct pipe *p)
{
    if (p->out_count > 0)
        return PIPE_GO;
    switch (p->kind) {
    case PIPE_SEAL:
        return produce_sealed(p);
    case PIPE_OPEN:
        return produce_opened(p);
    default:
        return produce_plain(p);
    }
}

/* Seals n payload bytes that were read into the frames of the buffer. */
static enum pipe_result seal_frames(struct pipe *p, size_t n)
{
    uint8_t *frame = p->buffer->data;
    size_t total = 0;

    p->bytes += n;
    while (n > 0) {
        size_t part = n < RECORD_PAYLOAD_MAX ? n : RECORD_PAYLOAD_MAX;
        int len = record_seal(p->cipher, RECORD_DATA, frame, part);

        if (len < 0)
            return PIPE_FAILED;
        frame += len;
        total += (size_t)len;
        n -= part;
    }
    add_span(p, p->buffer->data, total);
    return PIPE_GO;
}

/* Where the next bytes of the source belong. Returns how many spans. */
static int read_spans(struct pipe *p, struct iovec spans[FRAMES])
{
    struct buffer *b = p->buffer;

    if (p->kind != PIPE_SEAL) {
        /* The start of a record that is not whole yet moves to the front. */
        memmove(b->data, b->data + b->start, buffer_length(b));
        b->end = buffer_length(b);
        b->start = 0;
        spans[0] = (struct iovec){.iov_base = b->data + b->end, .iov_len = BUFFER_SIZE - b->end};
        return 1;
    }
    /* No more than this key still seals: produce_sealed() has made sure of one. */
    uint32_t left = record_seals_left(p->cipher);
    int count = left < FRAMES ? (int)left : FRAMES;
    size_t at = 0;
    for (int i = 0; i < count; i++, at += RECORD_MAX) {
        size_t room = BUFFER_SIZE - at - RECORD_OVERHEAD;
        spans[i] = (struct iovec){.iov_base = b->data + at + RECORD_HEAD,
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

/* One read. *drained: it got all there was. */
static enum pipe_result fill(struct pipe *p, bool *drained)
{
    struct iovec spans[FRAMES];

    if (!ready_buffer(p))
        return PIPE_NO_MEMORY;
    int count = read_spans(p, spans);
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
    size_t room = 0;
    for (int i = 0; i < count; i++)
        room += spans[i].iov_len;
    *drained = (size_t)n < room;
    p->traffic += (uint64_t)n;
    if (p->kind == PIPE_SEAL)
        return seal_frames(p, (size_t)n);
    p->buffer->end += (size_t)n;
    return PIPE_GO;
}

/* All that was held is out: now the end itself. */
static enum pipe_result finish(struct pipe *p)
{
    if (p->kind == PIPE_OPEN && p->stage == PIPE_RESETTING)
        return PIPE_PEER_RESET;
    if (p->kind == PIPE_SEAL && p->cipher) {
        enum pipe_result r = p->stage == PIPE_RESETTING ? seal_control(p, RECORD_RESET, p->pong, 1)
                                                        : seal_control(p, RECORD_FIN, NULL, 0);
        if (r != PIPE_GO)
            return r;
        record_cipher_free(p->cipher);
        p->cipher = NULL;
        return PIPE_GO;
    }
    shutdown(p->sink, SHUT_WR);
    p->stage = PIPE_ENDED;
    pipe_release(p);
    return PIPE_DONE;
}

static enum pipe_result step(struct pipe *p, int *reads, bool *drained)
{
    enum pipe_result r = produce(p);

    if (r == PIPE_GO) {
        r = flush(p);
        /* A reset does not wait for a sink that takes nothing. */
        bool reset_came = p->kind == PIPE_OPEN && p->stage == PIPE_RESETTING;
        return r == PIPE_WANT_WRITE && reset_came ? PIPE_PEER_RESET : r;
    }
    if (r != PIPE_WANT_READ)
        return r;
    if (p->stage != PIPE_STREAMING)
        return finish(p);
    if (*drained || *reads == READS_PER_TURN)
        return PIPE_WANT_READ;
    ++*reads;
    return fill(p, drained);
}

enum pipe_result pipe_pump(struct pipe *p)
{
    bool drained = false;
    int reads = 0;
    enum pipe_result r;

    if (p->stage == PIPE_ENDED)
        return PIPE_DONE;
    do {
        r = step(p, &reads, &drained);
    } while (r == PIPE_GO);
    if (r == PIPE_WANT_READ)
        give_back_empty(p);
    return r;
}

void pipe_prepend(struct pipe *p, struct buffer *first)
{
    assert(!p->buffer && p->kind != PIPE_SEAL);
    p->buffer = first;
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
    p->out_count = p->out_first = 0;
    buffer_put(p->pool, p->buffer);
    p->buffer = NULL;
    record_cipher_free(p->cipher);
    p->cipher = NULL;
}
