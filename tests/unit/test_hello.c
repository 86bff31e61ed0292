/* The handshake: what one end writes the other reads; all else is bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/hello.h"
#include "core/wire.h"

#define SEALED_HELLO 40 /* behind salt_c and id */
#define SEALED_REPLY 32 /* behind salt_s */
#define FIXED 32

static const uint8_t token[HELLO_TOKEN] = "a token of 24 bytes here";
static const uint8_t salt_c[HELLO_SALT] = "the client's salt", salt_s[HELLO_SALT] = "the server's";
static const uint64_t sent_ms = 0x0102030405060708;

static bool no_memory;

struct aead *__real_aead_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY], bool seals);
struct aead *__wrap_aead_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY], bool seals);

struct aead *__wrap_aead_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY], bool seals)
{
    return no_memory ? NULL : __real_aead_new(suite, key, seals);
}

struct scene {
    struct key key;
    struct hello_keys keys;
    struct reply_keys reply_keys;
    uint8_t flight[HELLO_MAX];
};

static int set_up(void **state)
{
    static struct scene scene;

    memset(&scene.key, 0x42, sizeof(scene.key));
    *state = &scene;
    return hello_derive(&scene.key, salt_c, &scene.keys) < 0 ||
           reply_derive(&scene.key, scene.keys.prk, salt_s, &scene.reply_keys) < 0;
}

static int write_hello(struct scene *scene, const uint8_t *with)
{
    return hello_write(&scene->key, &scene->keys, salt_c, SUITE_AES_128_GCM, sent_ms, with,
                       scene->flight);
}

static int write_reply(struct scene *scene, enum reply_type type)
{
    struct reply reply = {.type = type,
                          .code = type == REPLY_REFUSED ? REFUSED_LIMIT : 0,
                          .time_ms = sent_ms,
                          .probe_port = 7171,
                          .has_token = type == REPLY_CHALLENGE};

    memcpy(reply.token, token, HELLO_TOKEN);
    return reply_write(&scene->reply_keys, salt_c, salt_s, &reply, scene->flight);
}

/* Seals text in place as whoever holds the key may. */
static void seal(const uint8_t key[32], uint64_t counter, const uint8_t *aad, size_t aad_len,
                 uint8_t *text, size_t len)
{
    struct aead *aead = aead_new(SUITE_CHACHA20_POLY1305, key, true);
    uint8_t nonce[CRYPTO_NONCE];

    aead_counter_nonce(counter, nonce);
    assert_int_equal(aead_seal(aead, nonce, aad, aad_len, text, len, text + len), 0);
    aead_free(aead);
}

/* A HELLO with these 32 bytes inside. */
static void forge_hello(struct scene *scene, const uint8_t fixed[FIXED])
{
    uint8_t aad[8 + SEALED_HELLO] = "bondway1";

    memcpy(scene->flight, salt_c, HELLO_SALT);
    memcpy(scene->flight + HELLO_SALT, scene->key.id, KEY_ID);
    memcpy(scene->flight + SEALED_HELLO, fixed, FIXED);
    memcpy(aad + 8, scene->flight, SEALED_HELLO);
    seal(scene->keys.hello, 0, aad, sizeof(aad), scene->flight + SEALED_HELLO, FIXED);
}

static void forge_reply(struct scene *scene, const uint8_t fixed[FIXED])
{
    uint8_t aad[14 + 2 * HELLO_SALT] = "bondway1 reply";

    memcpy(scene->flight, salt_s, HELLO_SALT);
    memcpy(scene->flight + SEALED_REPLY, fixed, FIXED);
    memcpy(aad + 14, salt_c, HELLO_SALT);
    memcpy(aad + 14 + HELLO_SALT, salt_s, HELLO_SALT);
    seal(scene->reply_keys.reply, 0, aad, sizeof(aad), scene->flight + SEALED_REPLY, FIXED);
}

static void test_hello(void **state)
{
    struct scene *scene = *state;
    struct hello hello;

    assert_int_equal(write_hello(scene, NULL), HELLO_FIXED);
    assert_memory_equal(scene->flight, salt_c, HELLO_SALT);
    assert_memory_equal(scene->flight + HELLO_SALT, scene->key.id, KEY_ID);
    assert_int_equal(hello_open(&scene->keys, scene->flight, &hello), HELLO_OK);
    assert_int_equal(hello.version, 1);
    assert_int_equal(hello.suite, SUITE_AES_128_GCM);
    assert_true(hello.time_ms == sent_ms);
    assert_int_equal(hello.ext_len, 0);
    assert_false(hello.has_token);
}

static void test_hello_with_token(void **state)
{
    struct scene *scene = *state;
    struct hello hello;

    assert_int_equal(write_hello(scene, token), HELLO_FIXED + 27 + CRYPTO_TAG);
    assert_int_equal(hello_open(&scene->keys, scene->flight, &hello), HELLO_OK);
    assert_int_equal(hello.ext_len, 27);
    assert_int_equal(
        hello_open_ext(&scene->keys, scene->flight, scene->flight + HELLO_FIXED, &hello), HELLO_OK);
    assert_true(hello.has_token);
    assert_memory_equal(hello.token, token, HELLO_TOKEN);
}

/* One who has the key is not taken for a stranger. */
static void test_no_memory_says_nothing_of_the_bytes(void **state)
{
    struct scene *scene = *state;
    struct hello hello = {.ext_len = 27};
    struct reply reply;

    write_hello(scene, token);
    no_memory = true;
    assert_int_equal(hello_open(&scene->keys, scene->flight, &hello), HELLO_FAILED);
    assert_int_equal(
        hello_open_ext(&scene->keys, scene->flight, scene->flight + HELLO_FIXED, &hello),
        HELLO_FAILED);
    no_memory = false;
    write_reply(scene, REPLY_WELCOME);
    no_memory = true;
    assert_int_equal(reply_open(&scene->reply_keys, salt_c, scene->flight, &reply), HELLO_FAILED);
    no_memory = false;
    assert_int_equal(reply_open(&scene->reply_keys, salt_c, scene->flight, &reply), HELLO_OK);
}

static enum hello_verdict open_whole(struct scene *scene, const uint8_t *flight)
{
    uint8_t ext[27 + CRYPTO_TAG];
    struct hello_keys keys;
    struct key key = scene->key;
    struct hello hello;

    /* As a concentrator does: the keys come from the salt that arrived. */
    if (hello_derive(&key, flight, &keys) < 0 || hello_open(&keys, flight, &hello) != HELLO_OK)
        return HELLO_BAD;
    memcpy(ext, flight + HELLO_FIXED, sizeof(ext));
    return hello_open_ext(&keys, flight, ext, &hello);
}

static void test_every_bit_of_hello(void **state)
{
    struct scene *scene = *state;
    int len = write_hello(scene, token);

    for (int bit = 0; bit < len * 8; bit++) {
        scene->flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(open_whole(scene, scene->flight), HELLO_BAD);
        scene->flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(open_whole(scene, scene->flight), HELLO_OK);
}

static enum hello_verdict open_whole_reply(struct scene *scene, const uint8_t *flight)
{
    uint8_t ext[27 + CRYPTO_TAG];
    struct reply_keys keys;
    struct reply reply;

    if (reply_derive(&scene->key, scene->keys.prk, flight, &keys) < 0 ||
        reply_open(&keys, salt_c, flight, &reply) != HELLO_OK)
        return HELLO_BAD;
    memcpy(ext, flight + REPLY_FIXED, sizeof(ext));
    return reply_open_ext(&keys, flight, ext, &reply);
}

static void test_every_bit_of_reply(void **state)
{
    struct scene *scene = *state;
    int len = write_reply(scene, REPLY_CHALLENGE);

    assert_int_equal(len, REPLY_FIXED + 27 + CRYPTO_TAG);
    for (int bit = 0; bit < len * 8; bit++) {
        scene->flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(open_whole_reply(scene, scene->flight), HELLO_BAD);
        scene->flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(open_whole_reply(scene, scene->flight), HELLO_OK);
}

/* Neither EXT fits another HELLO, even one under the same keys. */
static void test_hellos_do_not_mix(void **state)
{
    struct scene *scene = *state;
    uint8_t first[HELLO_MAX], mixed[HELLO_MAX];
    struct hello hello;

    write_hello(scene, token);
    memcpy(first, scene->flight, sizeof(first));
    hello_write(&scene->key, &scene->keys, salt_c, SUITE_AES_128_GCM, sent_ms + 1, token,
                scene->flight);
    memcpy(mixed, first, HELLO_FIXED);
    memcpy(mixed + HELLO_FIXED, scene->flight + HELLO_FIXED, sizeof(mixed) - HELLO_FIXED);
    assert_int_equal(open_whole(scene, first), HELLO_OK);
    assert_int_equal(open_whole(scene, scene->flight), HELLO_OK);
    assert_int_equal(open_whole(scene, mixed), HELLO_BAD);
    /* The salt of one, the sealed part of the other. */
    memcpy(mixed, first, sizeof(mixed));
    mixed[0] ^= 1;
    assert_int_equal(open_whole(scene, mixed), HELLO_BAD);
    assert_int_equal(hello_open(&scene->keys, mixed, &hello), HELLO_BAD);
}

/* Another gateway's secret, or its id with our secret. */
static void test_other_keys(void **state)
{
    struct scene *scene = *state;
    struct key secret = scene->key, id = scene->key;
    struct hello_keys keys;
    struct hello hello;

    secret.secret[0] ^= 1;
    id.id[0] ^= 1;
    write_hello(scene, NULL);
    assert_int_equal(hello_derive(&secret, salt_c, &keys), 0);
    assert_int_equal(hello_open(&keys, scene->flight, &hello), HELLO_BAD);
    assert_int_equal(hello_derive(&id, salt_c, &keys), 0);
    assert_int_equal(hello_open(&keys, scene->flight, &hello), HELLO_BAD);
}

static void test_hello_fields(void **state)
{
    struct scene *scene = *state;
    struct hello hello;

    for (size_t at = 0; at < FIXED; at++) {
        uint8_t fixed[FIXED] = {1, 1, 2};
        /* version, suite and time_ms hold anything; ext_len's low byte too; the rest is fixed. */
        bool free_field = at == 0 || at == 2 || (at >= 4 && at < 12) || at == 13;

        fixed[at] ^= 0x80;
        forge_hello(scene, fixed);
        assert_int_equal(hello_open(&scene->keys, scene->flight, &hello),
                         free_field ? HELLO_OK : HELLO_BAD);
    }
    for (unsigned type = 0; type < 256; type++) {
        uint8_t fixed[FIXED] = {1, (uint8_t)type, 2};

        forge_hello(scene, fixed);
        assert_int_equal(hello_open(&scene->keys, scene->flight, &hello),
                         type == 1 ? HELLO_OK : HELLO_BAD);
    }
}

static void test_ext_len_range(void **state)
{
    struct scene *scene = *state;
    uint8_t hello_fixed[FIXED] = {1, 1, 2}, reply_fixed[FIXED] = {1, REPLY_WELCOME};
    struct hello hello;
    struct reply reply;

    for (unsigned len = 0; len <= 0xffff; len += len < 1100 ? 1 : 997) {
        enum hello_verdict expected = len <= 1024 ? HELLO_OK : HELLO_BAD;

        wire_put_u16(hello_fixed + 12, (uint16_t)len);
        forge_hello(scene, hello_fixed);
        assert_int_equal(hello_open(&scene->keys, scene->flight, &hello), expected);
        wire_put_u16(reply_fixed + 12, (uint16_t)len);
        forge_reply(scene, reply_fixed);
        assert_int_equal(reply_open(&scene->reply_keys, salt_c, scene->flight, &reply), expected);
    }
}

/* EXT with these TLVs, sealed well, behind a HELLO that announces it. */
static enum hello_verdict open_tlvs(struct scene *scene, const uint8_t *tlvs, size_t len,
                                    struct hello *hello)
{
    uint8_t fixed[FIXED] = {1, 1, 2};
    uint8_t *ext = malloc(len + CRYPTO_TAG); /* exact, for ASan */
    enum hello_verdict verdict;

    wire_put_u16(fixed + 12, (uint16_t)len);
    forge_hello(scene, fixed);
    memcpy(ext, tlvs, len);
    seal(scene->keys.hello, 1, scene->flight + SEALED_HELLO, FIXED + CRYPTO_TAG, ext, len);
    assert_int_equal(hello_open(&scene->keys, scene->flight, hello), HELLO_OK);
    verdict = hello_open_ext(&scene->keys, scene->flight, ext, hello);
    free(ext);
    return verdict;
}

static void test_ext_tlvs(void **state)
{
    static const struct {
        uint8_t bytes[12];
        size_t len;
        enum hello_verdict verdict;
    } rows[] = {{{1, 0, 0}, 3, HELLO_OK},
                {{1, 0, 2, 0, 0}, 5, HELLO_OK},
                {{1, 0, 2, 0, 1}, 5, HELLO_BAD},
                {{1, 0, 2, 1, 0}, 5, HELLO_BAD},
                {{1, 0, 3, 0, 0}, 5, HELLO_BAD},
                {{1, 1, 0, 0, 0}, 5, HELLO_BAD},
                {{1, 0xff, 0xff, 0, 0}, 5, HELLO_BAD},
                {{1, 0, 0, 1, 0, 0, 0x7f, 0, 1, 9}, 10, HELLO_OK},
                {{0, 0, 1, 9}, 4, HELLO_OK},
                {{3, 0, 1, 9}, 4, HELLO_OK},
                {{0x7f, 0, 0}, 3, HELLO_OK},
                {{0x80, 0, 0}, 3, HELLO_BAD},
                {{0xff, 0, 1, 9}, 4, HELLO_BAD},
                {{3, 0, 1, 9, 0x80, 0, 0}, 7, HELLO_BAD},
                {{1}, 1, HELLO_BAD},
                {{1, 0}, 2, HELLO_BAD},
                {{1, 0, 0, 1}, 4, HELLO_BAD},
                {{1, 0, 0, 1, 0}, 5, HELLO_BAD},
                {{2, 0, 0}, 3, HELLO_BAD},
                {{2, 0, 1, 9}, 4, HELLO_BAD}};
    struct hello hello;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (open_tlvs(*state, rows[i].bytes, rows[i].len, &hello) != rows[i].verdict)
            fail_msg("row %zu", i);
        assert_false(hello.has_token);
    }
}

static void test_ext_token_among_others(void **state)
{
    uint8_t tlvs[HELLO_EXT_MAX] = {5, 0, 1, 9, 2, 0, HELLO_TOKEN};
    struct hello hello;

    memcpy(tlvs + 7, token, HELLO_TOKEN);
    tlvs[31] = 1; /* padding up to the end */
    wire_put_u16(tlvs + 32, HELLO_EXT_MAX - 34);
    assert_int_equal(open_tlvs(*state, tlvs, sizeof(tlvs), &hello), HELLO_OK);
    assert_true(hello.has_token);
    assert_memory_equal(hello.token, token, HELLO_TOKEN);
    for (size_t len = 1; len < sizeof(tlvs); len++) {
        enum hello_verdict whole = len == 4 || len == 31 ? HELLO_OK : HELLO_BAD;

        assert_int_equal(open_tlvs(*state, tlvs, len, &hello), whole);
    }
}

static void test_ext_two_tokens(void **state)
{
    uint8_t tlvs[54] = {2, 0, HELLO_TOKEN, [27] = 2, [29] = HELLO_TOKEN};
    struct hello hello;

    assert_int_equal(open_tlvs(*state, tlvs, 27, &hello), HELLO_OK);
    assert_int_equal(open_tlvs(*state, tlvs, 54, &hello), HELLO_BAD);
}

static void test_no_ext_to_open(void **state)
{
    struct scene *scene = *state;
    struct hello hello = {.ext_len = 0};
    uint8_t ext[CRYPTO_TAG] = {0};

    write_hello(scene, NULL);
    assert_int_equal(hello_open_ext(&scene->keys, scene->flight, ext, &hello), HELLO_BAD);
}

static void test_reply_types(void **state)
{
    static const enum reply_type types[] = {REPLY_WELCOME, REPLY_CHALLENGE, REPLY_REFUSED};
    struct scene *scene = *state;
    struct reply reply;

    for (size_t i = 0; i < 3; i++) {
        bool challenge = types[i] == REPLY_CHALLENGE;
        int len = write_reply(scene, types[i]);

        assert_int_equal(len, REPLY_FIXED + (challenge ? 27 + CRYPTO_TAG : 0));
        assert_int_equal(reply_open(&scene->reply_keys, salt_c, scene->flight, &reply), HELLO_OK);
        assert_int_equal(reply.type, types[i]);
        assert_int_equal(reply.code, types[i] == REPLY_REFUSED ? REFUSED_LIMIT : 0);
        assert_true(reply.time_ms == sent_ms);
        assert_int_equal(reply.probe_port, 7171);
        assert_false(reply.has_token);
        if (!challenge)
            continue;
        assert_int_equal(
            reply_open_ext(&scene->reply_keys, scene->flight, scene->flight + REPLY_FIXED, &reply),
            HELLO_OK);
        assert_true(reply.has_token);
        assert_memory_equal(reply.token, token, HELLO_TOKEN);
    }
}

static void test_reply_fields(void **state)
{
    struct scene *scene = *state;
    struct reply reply;

    for (size_t at = 0; at < FIXED; at++) {
        uint8_t fixed[FIXED] = {1, REPLY_WELCOME};
        /* time_ms, probe_port and ext_len's low byte hold anything. */
        bool free_field = (at >= 4 && at < 12) || (at >= 13 && at < 16);

        fixed[at] ^= 0x80;
        forge_reply(scene, fixed);
        assert_int_equal(reply_open(&scene->reply_keys, salt_c, scene->flight, &reply),
                         free_field ? HELLO_OK : HELLO_BAD);
    }
}

static void test_reply_type_and_code(void **state)
{
    static const struct {
        uint8_t type, code, ext_len;
        enum hello_verdict verdict;
    } rows[] = {{REPLY_WELCOME, 0, 0, HELLO_OK},
                {REPLY_WELCOME, 1, 0, HELLO_BAD},
                {REPLY_CHALLENGE, 0, 27, HELLO_OK},
                {REPLY_CHALLENGE, 0, 0, HELLO_BAD},
                {REPLY_CHALLENGE, 1, 27, HELLO_BAD},
                {REPLY_REFUSED, 1, 0, HELLO_OK},
                {REPLY_REFUSED, 4, 0, HELLO_OK},
                {REPLY_REFUSED, 200, 0, HELLO_OK},
                {REPLY_REFUSED, 0, 0, HELLO_BAD},
                {0, 0, 0, HELLO_BAD},
                {1, 0, 0, HELLO_BAD},
                {5, 0, 0, HELLO_BAD},
                {255, 0, 0, HELLO_BAD}};
    struct scene *scene = *state;
    struct reply reply;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t fixed[FIXED] = {1, rows[i].type, rows[i].code, [13] = rows[i].ext_len};

        forge_reply(scene, fixed);
        if (reply_open(&scene->reply_keys, salt_c, scene->flight, &reply) != rows[i].verdict)
            fail_msg("row %zu", i);
    }
}

/* A CHALLENGE whose EXT holds only padding is of no use. */
static void test_challenge_without_token(void **state)
{
    struct scene *scene = *state;
    uint8_t fixed[FIXED] = {1, REPLY_CHALLENGE, [13] = 3};
    uint8_t ext[3 + CRYPTO_TAG] = {1};
    struct reply reply;

    forge_reply(scene, fixed);
    seal(scene->reply_keys.reply, 1, scene->flight + SEALED_REPLY, FIXED + CRYPTO_TAG, ext, 3);
    assert_int_equal(reply_open(&scene->reply_keys, salt_c, scene->flight, &reply), HELLO_OK);
    assert_int_equal(reply_open_ext(&scene->reply_keys, scene->flight, ext, &reply), HELLO_BAD);
}

/* A reply answers one HELLO, and no other of the same gateway. */
static void test_reply_is_bound(void **state)
{
    struct scene *scene = *state;
    uint8_t other_salt[HELLO_SALT] = "another";
    struct hello_keys other;
    struct reply_keys keys;
    struct reply reply;

    write_reply(scene, REPLY_WELCOME);
    assert_int_equal(reply_open(&scene->reply_keys, other_salt, scene->flight, &reply), HELLO_BAD);
    assert_int_equal(hello_derive(&scene->key, other_salt, &other), 0);
    assert_int_equal(reply_derive(&scene->key, other.prk, salt_s, &keys), 0);
    assert_int_equal(reply_open(&keys, salt_c, scene->flight, &reply), HELLO_BAD);
}

/* A HELLO thrown back at its sender is no REPLY, and the keys of the directions differ. */
static void test_directions(void **state)
{
    struct scene *scene = *state;
    struct reply_keys reflected;
    struct reply reply;

    write_hello(scene, NULL);
    assert_int_equal(reply_derive(&scene->key, scene->keys.prk, scene->flight, &reflected), 0);
    assert_int_equal(reply_open(&reflected, salt_c, scene->flight, &reply), HELLO_BAD);
    assert_memory_not_equal(scene->keys.c2s, scene->reply_keys.s2c, 32);
    assert_memory_not_equal(scene->keys.hello, scene->reply_keys.reply, 32);
    assert_memory_not_equal(scene->keys.hello, scene->keys.c2s, 32);
}

static void test_token(void **state)
{
    static const uint8_t k_boot[32] = {1}, other_boot[32] = {2}, id[KEY_ID] = {3}, other_id[KEY_ID];
    const uint64_t expiry = 1700000000000;
    uint8_t made[HELLO_TOKEN];

    assert_int_equal(token_make(k_boot, id, expiry, made), 0);
    assert_true(token_valid(k_boot, id, expiry - 10000, made));
    assert_true(token_valid(k_boot, id, expiry - 1, made));
    assert_false(token_valid(k_boot, id, expiry, made));
    assert_false(token_valid(k_boot, id, expiry + 1, made));
    assert_false(token_valid(k_boot, id, expiry - 10001, made));
    assert_false(token_valid(k_boot, id, 0, made));
    assert_false(token_valid(k_boot, id, UINT64_MAX, made));
    assert_false(token_valid(other_boot, id, expiry - 1, made));
    assert_false(token_valid(k_boot, other_id, expiry - 1, made));
    for (size_t bit = 0; bit < sizeof(made) * 8; bit++) {
        made[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(token_valid(k_boot, id, wire_get_u64(made) - 1, made));
        made[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static struct addr address(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, text), 0);
    return a;
}

static void test_open(void **state)
{
    static const uint8_t expected[] = {1, 4, 0x01, 0xbb, 192, 0, 2, 1};
    struct addr v4 = address("192.0.2.1:443"), v6 = address("[2001:db8::1]:65535"), got;
    enum open_mode mode;
    uint8_t out[OPEN_MAX];

    assert_int_equal(open_write(OPEN_PLAIN, &v4, out), sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));
    assert_int_equal(open_read(out, 8, &mode, &got), HELLO_OK);
    assert_int_equal(mode, OPEN_PLAIN);
    assert_memory_equal(&got, &v4, sizeof(got));
    assert_int_equal(open_write(OPEN_SEALED, &v6, out), OPEN_MAX);
    assert_int_equal(open_read(out, OPEN_MAX, &mode, &got), HELLO_OK);
    assert_int_equal(mode, OPEN_SEALED);
    assert_memory_equal(&got, &v6, sizeof(got));
}

/* Cut anywhere an OPEN is bad: nothing is guessed. */
static void test_open_cut(void **state)
{
    struct addr v6 = address("[2001:db8::1]:443"), got;
    enum open_mode mode;
    uint8_t out[OPEN_MAX + 4];
    size_t whole = open_write(OPEN_SEALED, &v6, out);

    memcpy(out + whole, "\x05\x00\x01x", 4);
    for (size_t len = 0; len <= sizeof(out); len++) {
        uint8_t *exact = malloc(len ? len : 1);
        bool good = len == whole || len == sizeof(out);

        memcpy(exact, out, len);
        assert_int_equal(open_read(exact, len, &mode, &got), good ? HELLO_OK : HELLO_BAD);
        free(exact);
    }
}

static void test_open_fields(void **state)
{
    static const struct {
        uint8_t bytes[40];
        size_t len;
        enum hello_verdict verdict;
    } rows[] = {{{0, 4, 0, 1, 1, 2, 3, 4}, 8, HELLO_OK},
                {{2, 4, 0, 1, 1, 2, 3, 4}, 8, HELLO_BAD},
                {{255, 4, 0, 1, 1, 2, 3, 4}, 8, HELLO_BAD},
                {{0, 0, 0, 1, 1, 2, 3, 4}, 8, HELLO_BAD},
                {{0, 5, 0, 1, 1, 2, 3, 4}, 8, HELLO_BAD},
                {{0, 4, 0, 0, 1, 2, 3, 4}, 8, HELLO_BAD},
                {{0, 6, 0, 1, 1, 2, 3, 4}, 8, HELLO_BAD},
                {{0, 4, 0, 1, 1, 2, 3, 4, 1, 0, 1, 0}, 12, HELLO_OK},
                {{0, 4, 0, 1, 1, 2, 3, 4, 1, 0, 1, 1}, 12, HELLO_BAD},
                {{0, 4, 0, 1, 1, 2, 3, 4, 2, 0, 1, 9}, 12, HELLO_OK},
                {{0, 4, 0, 1, 1, 2, 3, 4, 0x7f, 0, 0}, 11, HELLO_OK},
                {{0, 4, 0, 1, 1, 2, 3, 4, 0x80, 0, 0}, 11, HELLO_BAD},
                {{0, 4, 0, 1, 1, 2, 3, 4, 9, 0, 2, 0}, 12, HELLO_BAD}};
    struct addr untouched = {.family = 9}, got = untouched;
    enum open_mode mode;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        got = untouched;
        if (open_read(rows[i].bytes, rows[i].len, &mode, &got) != rows[i].verdict)
            fail_msg("row %zu", i);
        assert_int_equal(got.family, rows[i].verdict == HELLO_OK ? 4 : 9);
    }
}

static void test_names(void **state)
{
    assert_string_equal(opened_name(OPENED_CONNECTED), "connected");
    assert_string_equal(opened_name(OPENED_TIMED_OUT), "timed out");
    assert_string_equal(opened_name(OPENED_FAILED), "failed");
    assert_string_equal(opened_name(7), "unknown");
    assert_string_equal(opened_name(255), "unknown");
    assert_string_equal(refusal_name(0), "unknown");
    assert_string_equal(refusal_name(REFUSED_VERSION), "version");
    assert_string_equal(refusal_name(REFUSED_SHUTDOWN), "shutting down");
    assert_string_equal(refusal_name(5), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_hello, set_up),
        cmocka_unit_test_setup(test_hello_with_token, set_up),
        cmocka_unit_test_setup(test_no_memory_says_nothing_of_the_bytes, set_up),
        cmocka_unit_test_setup(test_every_bit_of_hello, set_up),
        cmocka_unit_test_setup(test_every_bit_of_reply, set_up),
        cmocka_unit_test_setup(test_hellos_do_not_mix, set_up),
        cmocka_unit_test_setup(test_other_keys, set_up),
        cmocka_unit_test_setup(test_hello_fields, set_up),
        cmocka_unit_test_setup(test_ext_len_range, set_up),
        cmocka_unit_test_setup(test_ext_tlvs, set_up),
        cmocka_unit_test_setup(test_ext_token_among_others, set_up),
        cmocka_unit_test_setup(test_ext_two_tokens, set_up),
        cmocka_unit_test_setup(test_no_ext_to_open, set_up),
        cmocka_unit_test_setup(test_reply_types, set_up),
        cmocka_unit_test_setup(test_reply_fields, set_up),
        cmocka_unit_test_setup(test_reply_type_and_code, set_up),
        cmocka_unit_test_setup(test_challenge_without_token, set_up),
        cmocka_unit_test_setup(test_reply_is_bound, set_up),
        cmocka_unit_test_setup(test_directions, set_up),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_cut),
        cmocka_unit_test(test_open_fields),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
