#include "gateway/greeting.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Records before OPENED are short ones: OPENED, PING, REKEY. */
#define SHORT_RECORD_MAX 64
#define RECORD_LENGTH_BYTES 2

static void expect(struct greeting *g, int stage, size_t bytes)
{
    g->stage = stage;
    g->want = g->have + bytes;
}

int greeting_start(struct greeting *g, const struct key *key, enum crypto_suite suite,
                   uint64_t time_ms, const uint8_t *token, struct buffer *flight)
{
    memset(g, 0, sizeof(*g));
    g->key = key;
    g->suite = suite;
    expect(g, GREETING_REPLY, REPLY_FIXED);
    int err = crypto_random(g->salt_c, sizeof(g->salt_c));
    if (!err)
        err = hello_derive(key, g->salt_c, &g->hello_keys);
    if (err)
        return err;
    g->sealer = record_sealer_new(suite, g->hello_keys.c2s);
    if (!g->sealer)
        return -ENOMEM;
    assert(BUFFER_SIZE - flight->end >= HELLO_MAX);
    int n = hello_write(key, &g->hello_keys, g->salt_c, suite, time_ms, token,
                        flight->data + flight->end);
    if (n < 0)
        return n;
    flight->end += (size_t)n;
    return 0;
}

static int append_record(struct greeting *g, enum record_type type, const void *payload, size_t len,
                         struct buffer *flight)
{
    uint8_t *frame = flight->data + flight->end;

    assert(BUFFER_SIZE - flight->end >= len + RECORD_OVERHEAD);
    memcpy(frame + RECORD_HEAD, payload, len);
    int n = record_seal(g->sealer, type, frame, len);
    if (n < 0)
        return n;
    flight->end += (size_t)n;
    return 0;
}

int greeting_open(struct greeting *g, enum open_mode mode, const struct addr *destination,
                  const uint8_t *early, size_t early_len, struct buffer *flight)
{
    uint8_t payload[OPEN_MAX];
    size_t len = open_write(mode, destination, payload);
    int err = append_record(g, RECORD_OPEN, payload, len, flight);

    if (err || early_len == 0)
        return err;
    assert(early_len <= GREETING_EARLY_MAX);
    if (mode == OPEN_SEALED)
        return append_record(g, RECORD_DATA, early, early_len, flight);
    memcpy(flight->data + flight->end, early, early_len);
    flight->end += early_len;
    return 0;
}

bool greeting_has_begun(const struct greeting *g)
{
    return g->stage != GREETING_REPLY || g->have > 0;
}

size_t greeting_wants(struct greeting *g, uint8_t **where)
{
    *where = g->held + g->have;
    return g->want - g->have;
}

static void expect_record(struct greeting *g)
{
    g->have = 0;
    expect(g, GREETING_RECORD_HEAD, RECORD_LENGTH_BYTES);
}

static enum greeting_verdict welcomed(struct greeting *g)
{
    g->opener = record_opener_new(g->suite, g->reply_keys.s2c);
    crypto_wipe(&g->reply_keys, sizeof(g->reply_keys));
    crypto_wipe(&g->hello_keys, sizeof(g->hello_keys));
    expect_record(g);
    return g->opener ? GREETING_WELCOMED : GREETING_FAILED;
}

/* reply_open() has seen to it that the reply makes sense. */
static enum greeting_verdict judge_reply(struct greeting *g)
{
    switch (g->reply.type) {
    case REPLY_WELCOME:
        return welcomed(g);
    case REPLY_CHALLENGE:
        return GREETING_CHALLENGED;
    case REPLY_REFUSED:
        return GREETING_REFUSED;
    default:
        return GREETING_BAD;
    }
}

static enum greeting_verdict not_opened(enum hello_verdict verdict)
{
    return verdict == HELLO_FAILED ? GREETING_FAILED : GREETING_BAD;
}

static enum greeting_verdict read_reply(struct greeting *g)
{
    if (reply_derive(g->key, g->hello_keys.prk, g->held, &g->reply_keys) < 0)
        return GREETING_FAILED;
    enum hello_verdict verdict = reply_open(&g->reply_keys, g->salt_c, g->held, &g->reply);
    if (verdict != HELLO_OK)
        return not_opened(verdict);
    if (g->reply.ext_len == 0)
        return judge_reply(g);
    expect(g, GREETING_EXT, (size_t)g->reply.ext_len + CRYPTO_TAG);
    return GREETING_MORE;
}

static enum greeting_verdict read_ext(struct greeting *g)
{
    enum hello_verdict verdict =
        reply_open_ext(&g->reply_keys, g->held, g->held + REPLY_FIXED, &g->reply);

    return verdict == HELLO_OK ? judge_reply(g) : not_opened(verdict);
}

static enum greeting_verdict read_record_head(struct greeting *g)
{
    size_t length = (size_t)g->held[0] << 8 | g->held[1];

    if (length == 0 || length > SHORT_RECORD_MAX)
        return GREETING_BAD;
    expect(g, GREETING_RECORD, length + CRYPTO_TAG);
    return GREETING_MORE;
}

static enum greeting_verdict read_record(struct greeting *g)
{
    struct record r;

    if (record_open(g->opener, g->held, g->have, &r) != RECORD_OK)
        return GREETING_BAD;
    expect_record(g);
    switch (r.type) {
    case RECORD_OPENED:
        g->opened_code = r.payload[0];
        return GREETING_OPENED;
    case RECORD_PING: /* the bytes that follow show that we live */
    case RECORD_REKEY:
        return GREETING_MORE;
    default:
        return GREETING_BAD;
    }
}

enum greeting_verdict greeting_read(struct greeting *g, size_t n)
{
    g->have += n;
    if (g->have < g->want)
        return GREETING_MORE;
    switch (g->stage) {
    case GREETING_REPLY:
        return read_reply(g);
    case GREETING_EXT:
        return read_ext(g);
    case GREETING_RECORD_HEAD:
        return read_record_head(g);
    default:
        return read_record(g);
    }
}

void greeting_take_ciphers(struct greeting *g, struct record_cipher **seal,
                           struct record_cipher **open)
{
    *seal = g->sealer;
    *open = g->opener;
    g->sealer = g->opener = NULL;
}

void greeting_end(struct greeting *g)
{
    record_cipher_free(g->sealer);
    record_cipher_free(g->opener);
    crypto_wipe(g, sizeof(*g));
}
