/* One direction of a relay, pumped by hand: what it moves, what it waits for, what it holds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/pipe.h"
#include "tests/unit/far_end.h"
#include "tests/unit/pairs.h"

/* A key that lives for few records, so that its end can be reached: the linker sends the pipe's
 * calls here. */
static struct record_cipher *short_lived;
static uint32_t seals_left, key_life;
int __real_record_seal(struct record_cipher *c, enum record_type type, uint8_t *frame, size_t len);
int __wrap_record_seal(struct record_cipher *c, enum record_type type, uint8_t *frame, size_t len);
uint32_t __real_record_seals_left(const struct record_cipher *c);
uint32_t __wrap_record_seals_left(const struct record_cipher *c);

uint32_t __wrap_record_seals_left(const struct record_cipher *c)
{
    return c == short_lived ? seals_left : __real_record_seals_left(c);
}

int __wrap_record_seal(struct record_cipher *c, enum record_type type, uint8_t *frame, size_t len)
{
    if (c == short_lived && type == RECORD_REKEY)
        seals_left = key_life;
    else if (c == short_lived && seals_left == 0)
        return -EKEYEXPIRED;
    else if (c == short_lived)
        seals_left--;
    return __real_record_seal(c, type, frame, len);
}

/* A pipe between two pairs: the test writes to `feed`, and reads from `tap`. */
struct scene {
    struct buffer_pool *pool;
    struct pipe pipe;
    int feed, tap;
    int source, sink;
    struct far_end far;  /* sealed: at feed (PIPE_OPEN) or at tap (PIPE_SEAL) */
    struct pipe reverse; /* PIPE_OPEN: where PONGs are owed */
    struct record_cipher *spare;
    uint64_t written, read; /* of pattern `kind` */
    size_t descriptors;
};

static void scene_start(struct scene *s, enum pipe_kind kind)
{
    size_t before = descriptors_open();
    struct pair in = pair_new(PAIR_UNIX), out = pair_new(PAIR_UNIX);
    struct record_cipher *seal = NULL, *open = NULL;

    *s = (struct scene){.pool = buffer_pool_new(0), .descriptors = before};
    s->feed = in.a;
    s->source = in.b;
    s->sink = out.a;
    s->tap = out.b;
    if (kind != PIPE_PLAIN)
        far_end_new(&s->far, kind == PIPE_SEAL ? s->tap : s->feed, &seal, &open);
    s->pipe = (struct pipe){.kind = kind,
                            .source = s->source,
                            .sink = s->sink,
                            .pool = s->pool,
                            .cipher = kind == PIPE_SEAL ? seal : open};
    s->spare = kind == PIPE_SEAL ? open : seal;
    s->pipe.reverse = &s->reverse;
}

static void drop(int *fd)
{
    if (*fd != -1)
        close(*fd);
    *fd = -1;
}

static void scene_end(struct scene *s)
{
    pipe_release(&s->pipe);
    pipe_release(&s->pipe);
    assert_int_equal(buffer_pool_used(s->pool), 0);
    buffer_pool_free(s->pool);
    record_cipher_free(s->spare);
    if (s->pipe.kind != PIPE_PLAIN) {
        if (s->pipe.kind == PIPE_SEAL)
            s->tap = -1;
        else
            s->feed = -1;
        far_end_free(&s->far);
    }
    drop(&s->feed);
    drop(&s->source);
    drop(&s->sink);
    drop(&s->tap);
    assert_int_equal(descriptors_open(), s->descriptors);
}

/* How much of the stream the source takes now, up to n. */
static void write_some(struct scene *s, size_t n)
{
    uint8_t *block = malloc(n);

    pattern_fill(0, s->written, block, n);
    ssize_t sent = send(s->feed, block, n, MSG_NOSIGNAL);
    free(block);
    if (sent > 0)
        s->written += (uint64_t)sent;
    else
        assert_int_equal(errno, EAGAIN);
}

static void write_all(struct scene *s, size_t n)
{
    uint64_t until = s->written + n;

    write_some(s, n);
    assert_true(s->written == until);
}

/* Reads what has arrived in clear, and compares it. */
static void read_clear(struct scene *s)
{
    static uint8_t block[1 << 16];
    ssize_t n;

    while ((n = recv(s->tap, block, sizeof(block), 0)) > 0) {
        pattern_check(0, s->read, block, (size_t)n);
        s->read += (uint64_t)n;
    }
}

static bool at_end(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* Hears DATA until something else, or nothing, comes; that is left in *other. */
static bool hear_data(struct scene *s, struct record *other)
{
    while (far_end_hear(&s->far, other)) {
        if (other->type != RECORD_DATA)
            return true;
        pattern_check(0, s->read, other->payload, other->len);
        s->read += other->len;
    }
    return false;
}

static void expect_nothing_held(struct scene *s)
{
    assert_int_equal(buffer_pool_used(s->pool), 0);
}

static const size_t sizes[] = {1,     2,     100,   16382, 16383, 16384, 32766,
                               32767, 65459, 65460, 65461, 65535, 65536, 100000};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void plain_carries_all_sizes(void **state)
{
    struct scene s;

    scene_start(&s, PIPE_PLAIN);
    for (size_t i = 0; i < SIZES; i++) {
        write_all(&s, sizes[i]);
        while (s.read < s.written) {
            assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
            expect_nothing_held(&s);
            read_clear(&s);
        }
        assert_int_equal(s.pipe.bytes, s.written);
    }
    scene_end(&s);
}

static void sealed_carries_all_sizes(void **state)
{
    struct scene s;
    struct record record;

    scene_start(&s, PIPE_SEAL);
    for (size_t i = 0; i < SIZES; i++) {
        write_all(&s, sizes[i]);
        while (s.read < s.written) {
            assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
            expect_nothing_held(&s);
            assert_false(hear_data(&s, &record));
        }
        assert_int_equal(s.pipe.bytes, s.written);
    }
    scene_end(&s);
}

/* Records of every kind of size, cut anywhere. */
static void opened_carries_all_sizes(void **state)
{
    struct scene s;
    uint8_t *payload = malloc(RECORD_PAYLOAD_MAX);
    uint32_t seed = 7;

    scene_start(&s, PIPE_OPEN);
    for (int i = 0; i < 60; i++) {
        size_t len = i == 0 ? RECORD_PAYLOAD_MAX : 1 + random_next(&seed) % RECORD_PAYLOAD_MAX;
        pattern_fill(0, s.written, payload, len);
        far_end_put(&s.far, RECORD_DATA, payload, len);
        s.written += len;
    }
    for (size_t at = 0; at < s.far.out_len;) {
        size_t n = 1 + random_next(&seed) % (at < 200 ? 3 : 50000);
        if (n > s.far.out_len - at)
            n = s.far.out_len - at;
        assert_int_equal(send(s.far.fd, s.far.out + at, n, 0), n);
        at += n;
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
        read_clear(&s);
    }
    assert_true(s.read == s.written);
    assert_int_equal(s.pipe.bytes, s.written);
    expect_nothing_held(&s);
    free(payload);
    scene_end(&s);
}

static void waits_without_a_buffer(void **state)
{
    for (int kind = PIPE_PLAIN; kind <= PIPE_OPEN; kind++) {
        struct scene s;
        scene_start(&s, (enum pipe_kind)kind);
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
        expect_nothing_held(&s);
        assert_int_equal(s.pipe.traffic, 0);
        scene_end(&s);
    }
}

/* The limit holds in each turn, whatever it is, and nothing is lost by it. */
static void reads_no_more_than_its_limit(void **state)
{
    for (int kind = PIPE_PLAIN; kind <= PIPE_SEAL; kind++) {
        struct scene s;
        struct record record;
        scene_start(&s, (enum pipe_kind)kind);
        for (size_t limit = 1; limit < 300000; limit = limit * 3 + 1) {
            write_some(&s, 100000);
            uint64_t before = s.pipe.bytes;
            s.pipe.limit = limit;
            assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
            assert_true(s.pipe.bytes - before <= limit);
            assert_true(limit < 10000 || s.pipe.bytes > before);
            s.pipe.limit = 0;
            while (s.pipe.bytes < s.written)
                assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
            while (s.read < s.written) {
                if (kind == PIPE_PLAIN)
                    read_clear(&s);
                else
                    assert_false(hear_data(&s, &record));
            }
        }
        scene_end(&s);
    }
}

/* A sink that takes nothing: one buffer is held, the rest stays with the source. */
static void holds_one_buffer_when_blocked(void **state)
{
    for (int kind = PIPE_PLAIN; kind <= PIPE_SEAL; kind++) {
        struct scene s;
        struct record record;
        scene_start(&s, (enum pipe_kind)kind);
        do {
            write_some(&s, 100000);
        } while (pipe_pump(&s.pipe) == PIPE_WANT_READ);
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_WRITE);
        assert_int_equal(buffer_pool_used(s.pool), 1);
        uint64_t traffic = s.pipe.traffic;
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_WRITE);
        assert_int_equal(s.pipe.traffic, traffic);
        while (s.read < s.written) {
            if (kind == PIPE_PLAIN)
                read_clear(&s);
            else
                assert_false(hear_data(&s, &record));
            pipe_pump(&s.pipe);
        }
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
        expect_nothing_held(&s);
        scene_end(&s);
    }
}

/* A source that always has more must not keep others waiting. */
static void yields_to_others(void **state)
{
    struct scene s;
    int size = 4 << 20;

    scene_start(&s, PIPE_PLAIN);
    setsockopt(s.feed, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    setsockopt(s.sink, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    write_some(&s, 3 << 20);
    assert_in_range(s.written, 1 << 20, 3 << 20);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
    read_clear(&s);
    assert_in_range(s.read, 1, 512 << 10);
    while (s.read < s.written) {
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
        read_clear(&s);
    }
    scene_end(&s);
}

static void end_of_stream_travels(void **state)
{
    struct scene s;
    struct record record;

    scene_start(&s, PIPE_PLAIN);
    write_all(&s, 70000);
    shutdown(s.feed, SHUT_WR);
    while (pipe_pump(&s.pipe) == PIPE_WANT_READ)
        ;
    assert_int_equal(pipe_pump(&s.pipe), PIPE_DONE);
    read_clear(&s);
    assert_true(s.read == s.written && at_end(s.tap));
    expect_nothing_held(&s);
    scene_end(&s);

    scene_start(&s, PIPE_SEAL);
    write_all(&s, 70000);
    shutdown(s.feed, SHUT_WR);
    while (pipe_pump(&s.pipe) == PIPE_WANT_READ)
        ;
    assert_true(hear_data(&s, &record));
    assert_int_equal(record.type, RECORD_FIN);
    assert_false(far_end_hear(&s.far, &record));
    assert_true(s.read == s.written && !s.far.ended); /* FIN has told all */
    assert_null(s.pipe.cipher);
    scene_end(&s);
}

static void fin_ends_the_stream(void **state)
{
    struct scene s;
    uint8_t payload[300];

    scene_start(&s, PIPE_OPEN);
    pattern_fill(0, 0, payload, sizeof(payload));
    far_end_put(&s.far, RECORD_DATA, payload, sizeof(payload));
    far_end_put(&s.far, RECORD_FIN, NULL, 0);
    far_end_send(&s.far);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_DONE);
    read_clear(&s);
    assert_int_equal(s.read, sizeof(payload));
    assert_true(at_end(s.tap));
    expect_nothing_held(&s);
    scene_end(&s);
}

/* At a record's border, and anywhere inside a record. */
static void end_of_stream_without_fin_is_a_truncation(void **state)
{
    for (size_t cut = 0; cut < 10 + RECORD_OVERHEAD; cut++) {
        struct scene s;
        uint8_t payload[10];
        enum pipe_result result;
        scene_start(&s, PIPE_OPEN);
        pattern_fill(0, 0, payload, sizeof(payload));
        far_end_say(&s.far, RECORD_DATA, payload, sizeof(payload));
        far_end_put(&s.far, RECORD_DATA, payload, sizeof(payload));
        assert_int_equal(send(s.far.fd, s.far.out, cut, 0), cut);
        shutdown(s.far.fd, SHUT_WR);
        while ((result = pipe_pump(&s.pipe)) == PIPE_WANT_READ)
            ;
        assert_int_equal(result, PIPE_TRUNCATED);
        read_clear(&s);
        assert_int_equal(s.read, sizeof(payload));
        assert_false(at_end(s.tap));
        scene_end(&s);
    }
}

static void reset_comes_behind_the_data(void **state)
{
    struct scene s;
    uint8_t payload[5000];

    scene_start(&s, PIPE_OPEN);
    for (int i = 0; i < 12; i++) { /* more records than one write takes */
        pattern_fill(0, s.written, payload, sizeof(payload));
        far_end_put(&s.far, RECORD_DATA, payload, sizeof(payload));
        s.written += sizeof(payload);
    }
    far_end_put(&s.far, RECORD_RESET, "\7", 1);
    far_end_send(&s.far);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_PEER_RESET);
    read_clear(&s);
    assert_true(s.read == s.written);
    assert_false(at_end(s.tap));
    scene_end(&s);
}

/* Nobody reads at the tap. */
static void block_sink(struct scene *s)
{
    static const char block[4096];

    while (send(s->sink, block, sizeof(block), 0) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
}

static void unblock_sink(struct scene *s)
{
    static char block[4096];

    while (recv(s->tap, block, sizeof(block), 0) > 0)
        ;
}

static void reset_does_not_wait_for_a_blocked_sink(void **state)
{
    struct scene s;

    scene_start(&s, PIPE_OPEN);
    block_sink(&s);
    far_end_put(&s.far, RECORD_DATA, "data", 4);
    far_end_put(&s.far, RECORD_RESET, "\0", 1);
    far_end_send(&s.far);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_PEER_RESET);
    scene_end(&s);
}

/* What may not come: a few records, the last of which is wrong. */
static void put_wrong(struct far_end *far, int which)
{
    static const uint8_t garbage[64] = {0, 20, 0xde, 0xad};
    static const uint8_t none[32] = {0, 0}, huge[32] = {0x40, 0x01};
    const uint8_t *raw[] = {garbage, none, huge};
    static const enum record_type after_fin[] = {RECORD_DATA, RECORD_FIN, RECORD_PING, RECORD_REKEY,
                                                 RECORD_RESET};

    if (which < 3) {
        memcpy(far->out + far->out_len, raw[which], 32);
        far->out_len += 48;
    } else if (which == 3) {
        far_end_put(far, RECORD_OPEN, "\0\4\0\120\1\2\3\4", 8);
    } else if (which == 4) {
        far_end_put(far, RECORD_OPENED, "\0", 1);
    } else if (which == 5) {
        far_end_put(far, RECORD_DATA, NULL, 0);
    } else if (which == 6) {
        far_end_put(far, (enum record_type)8, "new", 3);
    } else if (which == 7) {
        far_end_put(far, RECORD_PING, "1234567", 7);
    } else if (which == 8) {
        far_end_put(far, RECORD_RESET, NULL, 0);
    } else {
        enum record_type type = after_fin[which - 9];
        far_end_put(far, RECORD_FIN, NULL, 0);
        far_end_put(far, type, "12345678",
                    type == RECORD_FIN || type == RECORD_REKEY ? 0
                    : type == RECORD_RESET                     ? 1
                                                               : 8);
    }
}
#define WRONG 14

static void refuses_what_may_not_come(void **state)
{
    for (int which = 0; which < WRONG; which++) {
        struct scene s;
        uint8_t payload[100];
        scene_start(&s, PIPE_OPEN);
        pattern_fill(0, 0, payload, sizeof(payload));
        far_end_put(&s.far, RECORD_DATA, payload, sizeof(payload));
        put_wrong(&s.far, which);
        far_end_send(&s.far);
        if (pipe_pump(&s.pipe) != PIPE_PROTOCOL)
            fail_msg("taken: %d", which);
        read_clear(&s);
        assert_false(at_end(s.tap));
        scene_end(&s);
    }
}

/* One bit turned, anywhere in a record. */
static void refuses_a_changed_record(void **state)
{
    for (size_t bit = 0; bit < 8 * (5 + RECORD_OVERHEAD); bit++) {
        struct scene s;
        scene_start(&s, PIPE_OPEN);
        far_end_put(&s.far, RECORD_DATA, "12345", 5);
        s.far.out[bit / 8] ^= (uint8_t)(1 << bit % 8);
        far_end_send(&s.far);
        enum pipe_result result = pipe_pump(&s.pipe);
        char byte;
        /* A longer length waits for more bytes, in vain. */
        assert_true(result == PIPE_PROTOCOL || (result == PIPE_WANT_READ && bit < 16));
        assert_int_equal(recv(s.tap, &byte, 1, 0), -1);
        scene_end(&s);
    }
}

static void peers_rekey_is_followed(void **state)
{
    struct scene s;
    uint8_t payload[700];

    scene_start(&s, PIPE_OPEN);
    for (int i = 0; i < 30; i++) {
        pattern_fill(0, s.written, payload, sizeof(payload));
        far_end_put(&s.far, RECORD_DATA, payload, sizeof(payload));
        s.written += sizeof(payload);
        if (i % 3 == 1)
            far_end_put(&s.far, RECORD_REKEY, NULL, 0);
    }
    far_end_put(&s.far, RECORD_FIN, NULL, 0);
    far_end_send(&s.far);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_DONE);
    read_clear(&s);
    assert_true(s.read == s.written && at_end(s.tap));
    scene_end(&s);
}

/* A key that ends anywhere within what one read brings, or right before FIN. */
static void rekeys_when_due(void **state)
{
    for (key_life = 1; key_life <= 9; key_life++) {
        struct scene s;
        struct record record;
        unsigned rekeys = 0, others = 0;
        scene_start(&s, PIPE_SEAL);
        short_lived = s.pipe.cipher;
        seals_left = key_life;
        enum pipe_result result = PIPE_WANT_READ;
        for (int round = 0; result != PIPE_DONE; round++) {
            if (s.written < 500000)
                write_some(&s, round % 2 ? 65460 : 150000);
            else
                shutdown(s.feed, SHUT_WR);
            result = pipe_pump(&s.pipe);
            assert_true(result <= PIPE_DONE);
            while (hear_data(&s, &record)) {
                rekeys += record.type == RECORD_REKEY;
                others += record.type == RECORD_FIN;
            }
        }
        assert_true(s.read == s.written);
        assert_int_equal(others, 1);
        assert_in_range(rekeys, s.written / RECORD_PAYLOAD_MAX / key_life, 600);
        short_lived = NULL;
        scene_end(&s);
    }
}

static void reset_is_the_last_record(void **state)
{
    for (int key_ended = 0; key_ended < 2; key_ended++) {
        struct scene s;
        struct record record;
        scene_start(&s, PIPE_SEAL);
        write_all(&s, 30000);
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
        uint64_t before = s.written;
        write_all(&s, 1000);
        if (key_ended) {
            short_lived = s.pipe.cipher;
            seals_left = 0;
            key_life = 10;
        }
        pipe_send_reset(&s.pipe, 5);
        assert_int_equal(pipe_pump(&s.pipe), PIPE_DONE);
        assert_true(hear_data(&s, &record));
        if (key_ended) {
            assert_int_equal(record.type, RECORD_REKEY);
            assert_true(far_end_hear(&s.far, &record));
        }
        assert_int_equal(record.type, RECORD_RESET);
        assert_int_equal(record.payload[0], 5);
        assert_false(far_end_hear(&s.far, &record));
        assert_true(s.far.ended && s.read == before);
        short_lived = NULL;
        scene_end(&s);
    }
}

static void reset_comes_behind_what_is_held(void **state)
{
    struct scene s;
    struct record record;

    scene_start(&s, PIPE_SEAL);
    do {
        write_some(&s, 100000);
    } while (pipe_pump(&s.pipe) == PIPE_WANT_READ);
    uint64_t sealed = s.pipe.bytes;
    pipe_send_reset(&s.pipe, 0);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_WRITE);
    while (!hear_data(&s, &record))
        pipe_pump(&s.pipe);
    assert_int_equal(record.type, RECORD_RESET);
    assert_true(s.read == sealed && sealed < s.written);
    scene_end(&s);
}

static void ping_is_owed_a_pong(void **state)
{
    struct scene s;
    char word[4];

    scene_start(&s, PIPE_OPEN);
    far_end_put(&s.far, RECORD_PING, "abcdefgh", 8);
    far_end_put(&s.far, RECORD_DATA, "data", 4);
    far_end_put(&s.far, RECORD_PONG, "ABCDEFGH", 8);
    far_end_send(&s.far);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
    assert_true(s.reverse.owes_pong);
    assert_memory_equal(s.reverse.pong, "abcdefgh", 8);
    assert_int_equal(recv(s.tap, word, sizeof(word), 0), 4);
    assert_memory_equal(word, "data", 4);
    assert_int_equal(s.pipe.bytes, 4);
    expect_nothing_held(&s);
    scene_end(&s);
}

static void owe_pong(struct scene *s)
{
    s->pipe.owes_pong = true;
    memcpy(s->pipe.pong, "abcdefgh", 8);
}

static void pong_is_sent(void **state)
{
    struct scene s;
    struct record record;

    scene_start(&s, PIPE_SEAL);
    owe_pong(&s);
    write_all(&s, 100);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
    assert_true(far_end_hear(&s.far, &record));
    assert_int_equal(record.type, RECORD_PONG);
    assert_memory_equal(record.payload, "abcdefgh", 8);
    assert_false(hear_data(&s, &record));
    assert_int_equal(s.read, 100);
    scene_end(&s);
}

static void pong_waits_for_a_blocked_sink(void **state)
{
    struct scene s;
    struct record record;

    scene_start(&s, PIPE_SEAL);
    do {
        write_some(&s, 100000);
    } while (pipe_pump(&s.pipe) == PIPE_WANT_READ);
    owe_pong(&s);
    assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_WRITE);
    while (!hear_data(&s, &record))
        pipe_pump(&s.pipe);
    assert_int_equal(record.type, RECORD_PONG);
    assert_memory_equal(record.payload, "abcdefgh", 8);
    while (s.read < s.written) {
        pipe_pump(&s.pipe);
        assert_false(hear_data(&s, &record));
    }
    scene_end(&s);
}

static void no_pong_behind_fin_or_reset(void **state)
{
    for (int reset = 0; reset < 2; reset++) {
        struct scene s;
        struct record record;
        scene_start(&s, PIPE_SEAL);
        block_sink(&s);
        if (!reset) {
            shutdown(s.feed, SHUT_WR);
            assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_WRITE);
        }
        owe_pong(&s);
        if (reset)
            pipe_send_reset(&s.pipe, 1);
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_WRITE);
        unblock_sink(&s);
        assert_int_equal(pipe_pump(&s.pipe), PIPE_DONE);
        assert_true(far_end_hear(&s.far, &record));
        assert_int_equal(record.type, reset ? RECORD_RESET : RECORD_FIN);
        assert_false(far_end_hear(&s.far, &record));
        assert_int_equal(s.far.ended, reset);
        scene_end(&s);
    }
}

/* An AF_UNIX socket that is closed with something unread resets its peer. */
static void reset_peer_of(int *other, int self)
{
    assert_int_equal(send(self, "unread", 6, 0), 6);
    drop(other);
}

static void tells_which_side_was_reset(void **state)
{
    for (int kind = PIPE_PLAIN; kind <= PIPE_SEAL; kind++) {
        struct scene s;
        scene_start(&s, (enum pipe_kind)kind);
        reset_peer_of(&s.feed, s.source);
        assert_int_equal(pipe_pump(&s.pipe), PIPE_SOURCE_RESET);
        scene_end(&s);

        scene_start(&s, (enum pipe_kind)kind);
        write_all(&s, 1000);
        drop(&s.tap);
        s.far.fd = -1;
        assert_int_equal(pipe_pump(&s.pipe), PIPE_SINK_RESET);
        scene_end(&s);
    }
}

static void what_was_read_before_comes_first(void **state)
{
    for (int kind = PIPE_PLAIN; kind <= PIPE_OPEN; kind += PIPE_OPEN - PIPE_PLAIN) {
        struct scene s;
        uint8_t payload[3000];
        scene_start(&s, (enum pipe_kind)kind);
        struct buffer *first = buffer_get(s.pool);
        pattern_fill(0, 0, payload, sizeof(payload));
        if (kind == PIPE_OPEN)
            far_end_put(&s.far, RECORD_DATA, payload, sizeof(payload));
        else
            memcpy(first->data, payload, sizeof(payload));
        if (kind == PIPE_OPEN) /* cut inside the record */
            memcpy(first->data + 50, s.far.out, 1000);
        first->start = kind == PIPE_OPEN ? 50 : 0;
        first->end = kind == PIPE_OPEN ? 1050 : sizeof(payload);
        pipe_prepend(&s.pipe, first);
        if (kind == PIPE_OPEN) {
            assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
            assert_int_equal(send(s.far.fd, s.far.out + 1000, s.far.out_len - 1000, 0),
                             s.far.out_len - 1000);
        }
        assert_int_equal(pipe_pump(&s.pipe), PIPE_WANT_READ);
        read_clear(&s);
        assert_int_equal(s.read, sizeof(payload));
        expect_nothing_held(&s);
        scene_end(&s);
    }
}

static void nothing_after_the_end(void **state)
{
    struct scene s;

    scene_start(&s, PIPE_PLAIN);
    shutdown(s.feed, SHUT_WR);
    while (pipe_pump(&s.pipe) != PIPE_DONE)
        ;
    assert_int_equal(pipe_pump(&s.pipe), PIPE_DONE);
    assert_int_equal(s.pipe.stage, PIPE_ENDED);
    scene_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_carries_all_sizes),
        cmocka_unit_test(sealed_carries_all_sizes),
        cmocka_unit_test(opened_carries_all_sizes),
        cmocka_unit_test(waits_without_a_buffer),
        cmocka_unit_test(reads_no_more_than_its_limit),
        cmocka_unit_test(holds_one_buffer_when_blocked),
        cmocka_unit_test(yields_to_others),
        cmocka_unit_test(end_of_stream_travels),
        cmocka_unit_test(fin_ends_the_stream),
        cmocka_unit_test(end_of_stream_without_fin_is_a_truncation),
        cmocka_unit_test(reset_comes_behind_the_data),
        cmocka_unit_test(reset_does_not_wait_for_a_blocked_sink),
        cmocka_unit_test(refuses_what_may_not_come),
        cmocka_unit_test(refuses_a_changed_record),
        cmocka_unit_test(peers_rekey_is_followed),
        cmocka_unit_test(rekeys_when_due),
        cmocka_unit_test(reset_is_the_last_record),
        cmocka_unit_test(reset_comes_behind_what_is_held),
        cmocka_unit_test(ping_is_owed_a_pong),
        cmocka_unit_test(pong_is_sent),
        cmocka_unit_test(pong_waits_for_a_blocked_sink),
        cmocka_unit_test(no_pong_behind_fin_or_reset),
        cmocka_unit_test(tells_which_side_was_reset),
        cmocka_unit_test(what_was_read_before_comes_first),
        cmocka_unit_test(nothing_after_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
