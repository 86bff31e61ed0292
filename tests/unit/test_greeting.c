/* The gateway's half of the handshake against a concentrator's half made here, from the protocol's
 * own functions: what is said, what is understood, in pieces of any size, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/greeting.h"

#define TIME_MS 123456789012u
#define RECORD_BYTES(payload) ((payload) + RECORD_OVERHEAD)

struct scene {
    struct buffer_pool *pool;
    struct buffer *flight;
    struct key key;
    struct greeting g;
    /* The concentrator. */
    struct hello_keys hello_keys;
    struct hello hello;
    size_t hello_len;
    struct record_cipher *seal, *open;
    uint8_t said[4096]; /* to the gateway */
    size_t said_len;
};

static void scene_start(struct scene *s, enum crypto_suite suite, const uint8_t *token)
{
    *s = (struct scene){.pool = buffer_pool_new(0)};
    s->flight = buffer_get(s->pool);
    assert_int_equal(key_generate(&s->key), 0);
    assert_int_equal(greeting_start(&s->g, &s->key, suite, TIME_MS, token, s->flight), 0);
}

static void concentrator_end(struct scene *s)
{
    record_cipher_free(s->seal);
    record_cipher_free(s->open);
    s->seal = s->open = NULL;
}

static void scene_end(struct scene *s)
{
    struct greeting zero;

    greeting_end(&s->g);
    greeting_end(&s->g);
    memset(&zero, 0, sizeof(zero));
    assert_memory_equal(&s->g, &zero, sizeof(zero)); /* nothing secret stays */
    concentrator_end(s);
    buffer_put(s->pool, s->flight);
    buffer_pool_free(s->pool);
}

/* The concentrator reads HELLO from the flight. */
static void hear_hello(struct scene *s)
{
    const uint8_t *flight = s->flight->data + s->flight->start;

    assert_true(buffer_length(s->flight) >= HELLO_FIXED);
    assert_memory_equal(flight + HELLO_SALT, s->key.id, KEY_ID);
    assert_int_equal(hello_derive(&s->key, flight, &s->hello_keys), 0);
    assert_int_equal(hello_open(&s->hello_keys, flight, &s->hello), HELLO_OK);
    s->hello_len = HELLO_FIXED;
    if (s->hello.ext_len > 0) {
        uint8_t *ext = s->flight->data + s->flight->start + HELLO_FIXED;
        assert_int_equal(hello_open_ext(&s->hello_keys, flight, ext, &s->hello), HELLO_OK);
        s->hello_len += s->hello.ext_len + CRYPTO_TAG;
    }
    s->open = record_opener_new((enum crypto_suite)s->hello.suite, s->hello_keys.c2s);
    assert_non_null(s->open);
}

/* It answers; behind the answer it can seal records. */
static void say_reply(struct scene *s, struct reply *reply)
{
    const uint8_t *salt_c = s->flight->data + s->flight->start;
    uint8_t salt_s[HELLO_SALT];
    struct reply_keys keys;

    assert_int_equal(crypto_random(salt_s, sizeof(salt_s)), 0);
    assert_int_equal(reply_derive(&s->key, s->hello_keys.prk, salt_s, &keys), 0);
    int n = reply_write(&keys, salt_c, salt_s, reply, s->said + s->said_len);
    assert_true(n > 0);
    s->said_len += (size_t)n;
    s->seal = record_sealer_new((enum crypto_suite)s->hello.suite, keys.s2c);
    assert_non_null(s->seal);
}

static void say_record(struct scene *s, enum record_type type, const void *payload, size_t len)
{
    uint8_t *frame = s->said + s->said_len;

    assert_true(s->said_len + RECORD_BYTES(len) <= sizeof(s->said));
    if (len > 0)
        memcpy(frame + RECORD_HEAD, payload, len);
    assert_int_equal(record_seal(s->seal, type, frame, len), RECORD_BYTES(len));
    s->said_len += RECORD_BYTES(len);
}

/* The gateway reads what was said, at most `most` bytes at once, until it has a verdict. What it
 * has not asked for stays. */
static enum greeting_verdict hear(struct scene *s, size_t most)
{
    enum greeting_verdict v = GREETING_MORE;
    size_t at = 0;

    while (v == GREETING_MORE && at < s->said_len) {
        uint8_t *where;
        size_t n = greeting_wants(&s->g, &where);
        assert_true(n > 0);
        assert_true(where >= s->g.held && where + n <= s->g.held + sizeof(s->g.held));
        n = n < most ? n : most;
        n = n < s->said_len - at ? n : s->said_len - at;
        memcpy(where, s->said + at, n);
        at += n;
        v = greeting_read(&s->g, n);
    }
    memmove(s->said, s->said + at, s->said_len - at);
    s->said_len -= at;
    return v;
}

static void be_welcome(struct scene *s, enum crypto_suite suite)
{
    struct reply reply = {.type = REPLY_WELCOME, .time_ms = TIME_MS + 5, .probe_port = 7171};

    scene_start(s, suite, NULL);
    hear_hello(s);
    say_reply(s, &reply);
    assert_int_equal(hear(s, SIZE_MAX), GREETING_WELCOMED);
}

static const enum crypto_suite suites[] = {SUITE_CHACHA20_POLY1305, SUITE_AES_128_GCM};

static void hello_says_who_and_when(void **state)
{
    uint8_t token[HELLO_TOKEN], salt[HELLO_SALT] = {0};

    memset(token, 0x5a, sizeof(token));
    for (int i = 0; i < 4; i++) {
        struct scene s;
        scene_start(&s, suites[i % 2], i < 2 ? NULL : token);
        hear_hello(&s);
        assert_int_equal(s.hello_len, buffer_length(s.flight));
        assert_int_equal(s.hello_len, i < 2 ? HELLO_FIXED : HELLO_FIXED + 27 + CRYPTO_TAG);
        assert_int_equal(s.hello.version, PROTOCOL_VERSION);
        assert_int_equal(s.hello.suite, suites[i % 2]);
        assert_true(s.hello.time_ms == TIME_MS);
        assert_int_equal(s.hello.has_token, i >= 2);
        if (i >= 2)
            assert_memory_equal(s.hello.token, token, sizeof(token));
        assert_memory_not_equal(s.flight->data, salt, sizeof(salt)); /* never twice */
        memcpy(salt, s.flight->data, sizeof(salt));
        scene_end(&s);
    }
}

/* The flight may hold something already. */
static void hello_is_appended(void **state)
{
    struct scene s;

    scene_start(&s, SUITE_AES_128_GCM, NULL);
    size_t before = s.flight->end;
    greeting_end(&s.g);
    assert_int_equal(greeting_start(&s.g, &s.key, SUITE_AES_128_GCM, TIME_MS, NULL, s.flight), 0);
    assert_int_equal(s.flight->end, 2 * before);
    s.flight->start = before;
    hear_hello(&s);
    scene_end(&s);
}

/* In pieces of every size, with more behind it: it takes its own bytes, and no more. */
static void welcome_in_pieces(void **state)
{
    for (size_t most = 1; most <= REPLY_MAX; most += most < 130 ? 1 : 250) {
        for (int ext = 0; ext < 2; ext++) {
            struct scene s;
            struct reply reply = {.type = REPLY_WELCOME,
                                  .time_ms = 77,
                                  .probe_port = 4242,
                                  .has_token = ext /* any EXT would do */};
            scene_start(&s, suites[most % 2], NULL);
            hear_hello(&s);
            say_reply(&s, &reply);
            memset(s.said + s.said_len, 0xee, 50);
            s.said_len += 50;
            assert_int_equal(hear(&s, most), GREETING_WELCOMED);
            assert_int_equal(s.said_len, 50);
            assert_int_equal(s.g.reply.probe_port, 4242);
            assert_true(s.g.reply.time_ms == 77);
            scene_end(&s);
        }
    }
}

static void challenge_brings_a_token(void **state)
{
    for (size_t most = 1; most < 130; most++) {
        struct scene s, again;
        struct reply reply = {
            .type = REPLY_CHALLENGE, .time_ms = 99999, .has_token = true, .token = "the token"};
        scene_start(&s, SUITE_AES_128_GCM, NULL);
        hear_hello(&s);
        say_reply(&s, &reply);
        assert_int_equal(hear(&s, most), GREETING_CHALLENGED);
        assert_true(s.g.reply.time_ms == 99999);
        assert_memory_equal(s.g.reply.token, reply.token, HELLO_TOKEN);
        scene_start(&again, SUITE_AES_128_GCM, s.g.reply.token);
        hear_hello(&again);
        assert_memory_equal(again.hello.token, reply.token, HELLO_TOKEN);
        scene_end(&again);
        scene_end(&s);
    }
}

static void refusals_say_why(void **state)
{
    static const uint8_t codes[] = {
        REFUSED_VERSION, REFUSED_SUITE, REFUSED_LIMIT, REFUSED_SHUTDOWN, 5, 255};

    for (size_t i = 0; i < sizeof(codes); i++) {
        struct scene s;
        struct reply reply = {.type = REPLY_REFUSED, .code = codes[i]};
        scene_start(&s, suites[i % 2], NULL);
        hear_hello(&s);
        say_reply(&s, &reply);
        assert_int_equal(hear(&s, 1 + i * 20), GREETING_REFUSED);
        assert_int_equal(s.g.reply.code, codes[i]);
        scene_end(&s);
    }
}

static void makes_no_sense_of_other_replies(void **state)
{
    static const struct reply replies[] = {
        {.type = 0},
        {.type = 1},
        {.type = 5},
        {.type = REPLY_WELCOME, .code = 1},
        {.type = REPLY_CHALLENGE},
        {.type = REPLY_CHALLENGE, .code = 3, .has_token = true},
        {.type = REPLY_REFUSED},
        {.type = REPLY_WELCOME, .flags = 1},
    };

    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        struct scene s;
        struct reply reply = replies[i];
        scene_start(&s, SUITE_AES_128_GCM, NULL);
        hear_hello(&s);
        say_reply(&s, &reply);
        assert_int_equal(hear(&s, SIZE_MAX), GREETING_BAD);
        scene_end(&s);
    }
}

static void believes_no_changed_reply(void **state)
{
    for (int challenge = 0; challenge < 2; challenge++) {
        size_t bits = 8 * (challenge ? REPLY_FIXED + 27 + CRYPTO_TAG : REPLY_FIXED);
        for (size_t bit = 0; bit < bits; bit++) {
            struct scene s;
            struct reply reply = {.type = challenge ? REPLY_CHALLENGE : REPLY_WELCOME,
                                  .has_token = challenge};
            scene_start(&s, SUITE_AES_128_GCM, NULL);
            hear_hello(&s);
            say_reply(&s, &reply);
            s.said[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(hear(&s, SIZE_MAX), GREETING_BAD);
            scene_end(&s);
        }
    }
}

/* From one that does not know the key, or that answers another HELLO of ours. */
static void believes_no_stranger(void **state)
{
    for (int replayed = 0; replayed < 2; replayed++) {
        struct scene s, other;
        struct reply reply = {.type = REPLY_WELCOME};
        scene_start(&s, SUITE_AES_128_GCM, NULL);
        scene_start(&other, SUITE_AES_128_GCM, NULL);
        if (replayed) {
            greeting_end(&other.g);
            other.flight->end = 0;
            other.key = s.key;
            assert_int_equal(greeting_start(&other.g, &other.key, SUITE_AES_128_GCM, TIME_MS, NULL,
                                            other.flight),
                             0);
        }
        hear_hello(&other);
        say_reply(&other, &reply);
        memcpy(s.said, other.said, other.said_len);
        s.said_len = other.said_len;
        assert_int_equal(hear(&s, SIZE_MAX), GREETING_BAD);
        scene_end(&other);
        scene_end(&s);
    }
}

static void opened_says_how_it_went(void **state)
{
    for (int code = 0; code < 256; code += code < 8 ? 1 : 31) {
        struct scene s;
        uint8_t payload = (uint8_t)code;
        be_welcome(&s, suites[code % 2]);
        say_record(&s, RECORD_OPENED, &payload, 1);
        memset(s.said + s.said_len, 0xee, 10); /* the relay's */
        s.said_len += 10;
        assert_int_equal(hear(&s, 1 + (size_t)code % 21), GREETING_OPENED);
        assert_int_equal(s.g.opened_code, code);
        assert_int_equal(s.said_len, 10);
        scene_end(&s);
    }
}

/* The concentrator makes sure that we live, and takes another key, while it dials. */
static void others_may_come_before_opened(void **state)
{
    for (size_t most = 1; most < 60; most++) {
        struct scene s;
        be_welcome(&s, suites[most % 2]);
        say_record(&s, RECORD_PING, "12345678", 8);
        say_record(&s, RECORD_REKEY, NULL, 0);
        say_record(&s, RECORD_PING, "abcdefgh", 8);
        say_record(&s, RECORD_REKEY, NULL, 0);
        say_record(&s, RECORD_OPENED, "\3", 1);
        assert_int_equal(hear(&s, most), GREETING_OPENED);
        assert_int_equal(s.g.opened_code, OPENED_TIMED_OUT);
        assert_int_equal(s.said_len, 0);
        scene_end(&s);
    }
}

static void others_may_not(void **state)
{
    static const struct {
        enum record_type type;
        size_t len;
    } records[] = {{RECORD_DATA, 5},   {RECORD_FIN, 0},
                   {RECORD_RESET, 1},  {RECORD_PONG, 8},
                   {RECORD_OPEN, 8},   {RECORD_OPENED, 0},
                   {RECORD_OPENED, 2}, {RECORD_PING, 7},
                   {RECORD_DATA, 300}, {9, 1}};
    static const uint8_t payload[300];

    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        struct scene s;
        be_welcome(&s, SUITE_AES_128_GCM);
        say_record(&s, records[i].type, payload, records[i].len);
        assert_int_equal(hear(&s, SIZE_MAX), GREETING_BAD);
        scene_end(&s);
    }
}

static void believes_no_changed_record(void **state)
{
    for (size_t bit = 0; bit < 8 * RECORD_BYTES(1); bit++) {
        struct scene s;
        be_welcome(&s, SUITE_CHACHA20_POLY1305);
        say_record(&s, RECORD_OPENED, "\0", 1);
        s.said[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum greeting_verdict v = hear(&s, SIZE_MAX);
        /* A length that has grown waits for bytes that do not come. */
        assert_true(v == GREETING_BAD || (v == GREETING_MORE && bit < 16));
        scene_end(&s);
    }
}

static void hear_open(struct scene *s, size_t *at, enum open_mode mode, const struct addr *to)
{
    struct record record;
    enum open_mode heard_mode;
    struct addr heard;

    assert_int_equal(record_open(s->open, s->flight->data + *at, s->flight->end - *at, &record),
                     RECORD_OK);
    assert_int_equal(record.type, RECORD_OPEN);
    assert_int_equal(open_read(record.payload, record.len, &heard_mode, &heard), HELLO_OK);
    assert_int_equal(heard_mode, mode);
    assert_true(addr_equal(&heard, to));
    *at += record.consumed;
}

static void check_open(enum open_mode mode, const char *destination, size_t early_len, bool warm)
{
    struct scene s;
    struct record record;
    struct addr to;
    uint8_t *early = malloc(GREETING_EARLY_MAX);
    size_t at;

    memset(early, 'e', GREETING_EARLY_MAX);
    assert_int_equal(addr_parse(&to, destination), 0);
    if (warm) {
        be_welcome(&s, SUITE_AES_128_GCM);
        s.flight->start = s.flight->end = 0;
        at = 0;
    } else {
        scene_start(&s, SUITE_AES_128_GCM, NULL);
        hear_hello(&s);
        at = s.hello_len;
    }
    assert_int_equal(greeting_open(&s.g, mode, &to, early_len ? early : NULL, early_len, s.flight),
                     0);
    hear_open(&s, &at, mode, &to);
    if (mode == OPEN_PLAIN) {
        assert_int_equal(s.flight->end - at, early_len);
        assert_memory_equal(s.flight->data + at, early, early_len);
    } else if (early_len > 0) {
        assert_int_equal(record_open(s.open, s.flight->data + at, s.flight->end - at, &record),
                         RECORD_OK);
        assert_int_equal(record.type, RECORD_DATA);
        assert_int_equal(record.len, early_len);
        assert_memory_equal(record.payload, early, early_len);
        at += record.consumed;
        assert_int_equal(at, s.flight->end);
    } else {
        assert_int_equal(at, s.flight->end);
    }
    free(early);
    scene_end(&s);
}

static void open_carries_the_first_bytes(void **state)
{
    static const size_t lens[] = {0, 1, 517, GREETING_EARLY_MAX};

    for (int warm = 0; warm < 2; warm++) {
        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            check_open(OPEN_SEALED, "192.0.2.1:443", lens[i], warm);
            check_open(OPEN_PLAIN, "192.0.2.1:1", lens[i], warm);
            check_open(OPEN_SEALED, "[2001:db8::1]:65535", lens[i], warm);
        }
    }
}

/* HELLO with a token, OPEN and the first bytes: in one initial window. */
static void first_flight_fits_ten_segments(void **state)
{
    struct scene s;
    struct addr to;
    uint8_t token[HELLO_TOKEN] = {0}, *early = calloc(1, GREETING_EARLY_MAX);

    assert_int_equal(addr_parse(&to, "[2001:db8::1]:443"), 0);
    scene_start(&s, SUITE_AES_128_GCM, token);
    assert_int_equal(greeting_open(&s.g, OPEN_SEALED, &to, early, GREETING_EARLY_MAX, s.flight), 0);
    assert_in_range(buffer_length(s.flight), 1, 10 * 1420);
    free(early);
    scene_end(&s);
}

/* The relay goes on where the greeting ends: same keys, next records. */
static void ciphers_go_on(void **state)
{
    struct scene s;
    struct record record;
    struct record_cipher *seal, *open;
    struct addr to;
    uint8_t frame[64];
    size_t at;

    assert_int_equal(addr_parse(&to, "192.0.2.1:443"), 0);
    be_welcome(&s, SUITE_CHACHA20_POLY1305);
    at = s.flight->end;
    assert_int_equal(greeting_open(&s.g, OPEN_SEALED, &to, NULL, 0, s.flight), 0);
    hear_open(&s, &at, OPEN_SEALED, &to);
    say_record(&s, RECORD_OPENED, "\0", 1);
    say_record(&s, RECORD_DATA, "answer", 6);
    assert_int_equal(hear(&s, SIZE_MAX), GREETING_OPENED);
    greeting_take_ciphers(&s.g, &seal, &open);
    assert_int_equal(record_open(open, s.said, s.said_len, &record), RECORD_OK);
    assert_int_equal(record.len, 6);
    assert_memory_equal(record.payload, "answer", 6);
    memcpy(frame + RECORD_HEAD, "more", 4);
    int n = record_seal(seal, RECORD_DATA, frame, 4);
    assert_int_equal(record_open(s.open, frame, (size_t)n, &record), RECORD_OK);
    assert_memory_equal(record.payload, "more", 4);
    record_cipher_free(seal);
    record_cipher_free(open);
    scene_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_says_who_and_when),
        cmocka_unit_test(hello_is_appended),
        cmocka_unit_test(welcome_in_pieces),
        cmocka_unit_test(challenge_brings_a_token),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(makes_no_sense_of_other_replies),
        cmocka_unit_test(believes_no_changed_reply),
        cmocka_unit_test(believes_no_stranger),
        cmocka_unit_test(opened_says_how_it_went),
        cmocka_unit_test(others_may_come_before_opened),
        cmocka_unit_test(others_may_not),
        cmocka_unit_test(believes_no_changed_record),
        cmocka_unit_test(open_carries_the_first_bytes),
        cmocka_unit_test(first_flight_fits_ten_segments),
        cmocka_unit_test(ciphers_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
