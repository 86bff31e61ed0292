/* Records: in order, whole, in one direction, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/record.h"
#include "core/wire.h"

static const uint8_t key_a[CRYPTO_KEY] = {'a'}, key_b[CRYPTO_KEY] = {'b'};

struct pair {
    struct record_cipher *seal, *open;
};

static struct pair pair_new(enum crypto_suite suite)
{
    struct pair pair = {record_sealer_new(suite, key_a), record_opener_new(suite, key_a)};

    assert_true(pair.seal && pair.open);
    return pair;
}

static void pair_free(struct pair *pair)
{
    record_cipher_free(pair->seal);
    record_cipher_free(pair->open);
}

/* Seals text as DATA behind the *used bytes of a stream. */
static void append(struct record_cipher *seal, uint8_t *stream, size_t *used, const char *text)
{
    size_t len = strlen(text);
    int n;

    memcpy(stream + *used + RECORD_HEAD, text, len);
    n = record_seal(seal, RECORD_DATA, stream + *used, len);
    assert_int_equal(n, len + RECORD_OVERHEAD);
    *used += (size_t)n;
}

static size_t seal_text(struct record_cipher *seal, uint8_t *frame, const char *text)
{
    size_t used = 0;

    append(seal, frame, &used, text);
    return used;
}

static void expect_text(const struct record *record, const char *text)
{
    assert_int_equal(record->type, RECORD_DATA);
    assert_int_equal(record->len, strlen(text));
    assert_memory_equal(record->payload, text, record->len);
}

static void each_suite(void (*check)(enum crypto_suite suite))
{
    check(SUITE_CHACHA20_POLY1305);
    check(SUITE_AES_128_GCM);
}

static void check_stream(enum crypto_suite suite)
{
    struct pair pair = pair_new(suite);
    uint8_t stream[128], *at = stream;
    struct record record;
    size_t used = 0;

    append(pair.seal, stream, &used, "one");
    append(pair.seal, stream, &used, "two");
    append(pair.seal, stream, &used, "three");
    assert_null(memmem(stream, used, "three", 5));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(record_open(pair.open, at, used, &record), RECORD_OK);
        expect_text(&record, i == 0 ? "one" : i == 1 ? "two" : "three");
        assert_ptr_equal(record.payload, at + RECORD_HEAD);
        at += record.consumed;
        used -= record.consumed;
    }
    assert_int_equal(used, 0);
    assert_int_equal(record_open(pair.open, at, 0, &record), RECORD_SHORT);
    pair_free(&pair);
}

static void test_stream(void **state)
{
    each_suite(check_stream);
}

static void check_sizes(enum crypto_suite suite)
{
    static const size_t sizes[] = {1, 2, 15, 16, 17, 255, 256, 16382, RECORD_PAYLOAD_MAX};
    static uint8_t frame[RECORD_MAX], plain[RECORD_PAYLOAD_MAX];
    struct pair pair = pair_new(suite);
    struct record record;

    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        memcpy(frame + RECORD_HEAD, plain, sizes[i]);
        assert_int_equal(record_seal(pair.seal, RECORD_DATA, frame, sizes[i]),
                         sizes[i] + RECORD_OVERHEAD);
        assert_int_equal(record_open(pair.open, frame, sizeof(frame), &record), RECORD_OK);
        assert_int_equal(record.consumed, sizes[i] + RECORD_OVERHEAD);
        assert_int_equal(record.len, sizes[i]);
        assert_memory_equal(record.payload, plain, sizes[i]);
    }
    pair_free(&pair);
}

static void test_sizes(void **state)
{
    each_suite(check_sizes);
}

/* Cut short anywhere, a record waits untouched; the rest makes it whole. */
static void check_cuts(enum crypto_suite suite)
{
    struct pair pair = pair_new(suite);
    uint8_t frame[64], copy[64];
    size_t n = seal_text(pair.seal, frame, "cut me");
    struct record record;

    memcpy(copy, frame, n);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* so that ASan sees a read too far */

        memcpy(exact, frame, cut);
        assert_int_equal(record_open(pair.open, exact, cut, &record), RECORD_SHORT);
        assert_memory_equal(exact, copy, cut);
        free(exact);
    }
    assert_int_equal(record_open(pair.open, frame, n, &record), RECORD_OK);
    expect_text(&record, "cut me");
    pair_free(&pair);
}

static void test_cuts(void **state)
{
    each_suite(check_cuts);
}

/* Any bit turned: BAD, or, where it made the length greater, SHORT until that much has come, and
 * BAD then. */
static void check_flips(enum crypto_suite suite)
{
    static uint8_t frame[RECORD_MAX];
    struct pair pair = pair_new(suite);
    uint8_t sealed[64];
    size_t n = seal_text(pair.seal, sealed, "every bit");
    struct record record;

    for (size_t bit = 0; bit < n * 8; bit++) {
        memset(frame, 0, sizeof(frame));
        memcpy(frame, sealed, n);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (bit < 16)
            assert_int_not_equal(record_open(pair.open, frame, n, &record), RECORD_OK);
        memcpy(frame, sealed, n);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(record_open(pair.open, frame, sizeof(frame), &record), RECORD_BAD);
    }
    assert_int_equal(record_open(pair.open, sealed, n, &record), RECORD_OK);
    pair_free(&pair);
}

static void test_flips(void **state)
{
    each_suite(check_flips);
}

static void test_every_length_field(void **state)
{
    static uint8_t frame[RECORD_MAX];
    struct pair pair = pair_new(SUITE_AES_128_GCM);
    struct record record;

    for (unsigned length = 0; length <= 0xffff; length++) {
        bool possible = length >= 1 && length <= 16384;

        wire_put_u16(frame, (uint16_t)length);
        /* An impossible length is refused at once, not waited for. */
        assert_int_equal(record_open(pair.open, frame, 2, &record),
                         possible ? RECORD_SHORT : RECORD_BAD);
    }
    pair_free(&pair);
}

/* Lost, repeated and exchanged records, and such from the other direction or another session. */
static void check_order(enum crypto_suite suite)
{
    struct pair pair = pair_new(suite);
    struct record_cipher *other = record_opener_new(suite, key_b);
    uint8_t first[64], second[64], work[64];
    size_t n = seal_text(pair.seal, first, "first");
    size_t m = seal_text(pair.seal, second, "second");
    struct record record;

    memcpy(work, second, m);
    assert_int_equal(record_open(pair.open, work, m, &record), RECORD_BAD);
    memcpy(work, first, n);
    assert_int_equal(record_open(other, work, n, &record), RECORD_BAD);
    memcpy(work, first, n);
    assert_int_equal(record_open(pair.open, work, n, &record), RECORD_OK);
    memcpy(work, first, n);
    assert_int_equal(record_open(pair.open, work, n, &record), RECORD_BAD);
    memcpy(work, second, m);
    assert_int_equal(record_open(pair.open, work, m, &record), RECORD_OK);
    record_cipher_free(other);
    pair_free(&pair);
}

static void test_order(void **state)
{
    each_suite(check_order);
}

static void test_suites_do_not_mix(void **state)
{
    struct pair chacha = pair_new(SUITE_CHACHA20_POLY1305), aes = pair_new(SUITE_AES_128_GCM);
    uint8_t frame[64];
    size_t n = seal_text(chacha.seal, frame, "x");
    struct record record;

    assert_int_equal(record_open(aes.open, frame, n, &record), RECORD_BAD);
    pair_free(&chacha);
    pair_free(&aes);
}

/* Each type has its payload sizes; an unknown type has none. */
static void test_payload_of_type(void **state)
{
    static const struct {
        size_t min, max;
    } sizes[] = {[RECORD_DATA] = {1, 20}, [RECORD_FIN] = {0, 0},   [RECORD_RESET] = {1, 1},
                 [RECORD_REKEY] = {0, 0}, [RECORD_PING] = {8, 8},  [RECORD_PONG] = {8, 8},
                 [RECORD_OPEN] = {0, 20}, [RECORD_OPENED] = {1, 1}};

    for (unsigned type = 0; type < 256; type++) {
        /* A sealer of REKEYs with a payload does not exist: made by hand below. */
        for (size_t len = 0; len <= 20 && type != RECORD_REKEY; len++) {
            bool known = type <= RECORD_OPENED;
            bool fits = known && len >= sizes[type].min && len <= sizes[type].max;
            struct pair pair = pair_new(SUITE_AES_128_GCM);
            uint8_t frame[64] = {0};
            struct record record;
            int n = record_seal(pair.seal, (enum record_type)type, frame, len);

            assert_int_equal(n, len + RECORD_OVERHEAD);
            assert_int_equal(record_open(pair.open, frame, (size_t)n, &record),
                             fits ? RECORD_OK : RECORD_BAD);
            pair_free(&pair);
        }
    }
}

static void test_rekey_has_no_payload(void **state)
{
    struct record_cipher *open = record_opener_new(SUITE_AES_128_GCM, key_a);
    struct aead *seal = aead_new(SUITE_AES_128_GCM, key_a, true);
    uint8_t frame[RECORD_OVERHEAD + 1] = {0, 2, RECORD_REKEY, 'x'}, nonce[CRYPTO_NONCE] = {0};
    struct record record;

    assert_int_equal(aead_seal(seal, nonce, frame, 2, frame + 2, 2, frame + 4), 0);
    assert_int_equal(record_open(open, frame, sizeof(frame), &record), RECORD_BAD);
    aead_free(seal);
    record_cipher_free(open);
}

/* Several keys in a row, each made from the one before. */
static void check_rekey(enum crypto_suite suite)
{
    struct pair pair = pair_new(suite);
    uint8_t frame[64], copy[64], key[CRYPTO_KEY];
    struct record record;
    size_t n;

    memcpy(key, key_a, CRYPTO_KEY);
    for (int i = 0; i < 3; i++) {
        struct record_cipher *stuck = record_opener_new(suite, key), *fresh;

        assert_int_equal(crypto_hkdf_expand(key, "bondway1 rekey", 14, key, CRYPTO_KEY), 0);
        fresh = record_opener_new(suite, key);
        assert_int_equal(record_seal(pair.seal, RECORD_REKEY, frame, 0), RECORD_OVERHEAD);
        assert_int_equal(record_open(pair.open, frame, RECORD_OVERHEAD, &record), RECORD_OK);
        assert_int_equal(record.type, RECORD_REKEY);
        n = seal_text(pair.seal, frame, "under a new key");
        memcpy(copy, frame, n);
        assert_int_equal(record_open(stuck, copy, n, &record), RECORD_BAD);
        memcpy(copy, frame, n);
        assert_int_equal(record_open(fresh, copy, n, &record), RECORD_OK);
        assert_int_equal(record_open(pair.open, frame, n, &record), RECORD_OK);
        expect_text(&record, "under a new key");
        record_cipher_free(stuck);
        record_cipher_free(fresh);
    }
    pair_free(&pair);
}

static void test_rekey(void **state)
{
    each_suite(check_rekey);
}

/* Seals and opens one record of each until a REKEY is due; returns how many those were. */
static unsigned run_until_due(struct pair *pair, uint8_t frame[64])
{
    struct record record;
    unsigned count = 0;

    while (!record_rekey_due(pair->seal)) {
        frame[RECORD_HEAD] = 'x';
        if (record_seal(pair->seal, RECORD_DATA, frame, 1) != RECORD_OVERHEAD + 1 ||
            record_open(pair->open, frame, RECORD_OVERHEAD + 1, &record) != RECORD_OK)
            fail_msg("record %u", count);
        count++;
    }
    return count;
}

/* Seals as a peer that counts differently would: with the counter it is told. */
static void seal_by_hand(struct aead *aead, uint64_t counter, uint8_t type, uint8_t *frame)
{
    size_t text = type == RECORD_DATA ? 2 : 1;
    uint8_t nonce[CRYPTO_NONCE];

    wire_put_u16(frame, (uint16_t)text);
    frame[2] = type;
    frame[3] = 'x';
    aead_counter_nonce(counter, nonce);
    assert_int_equal(aead_seal(aead, nonce, frame, 2, frame + 2, text, frame + 2 + text), 0);
}

/* The whole life of a key, for real. Our sealer counts REKEY among the 2^22 records; a peer may
 * send one record more before it, but no two. */
static void test_rekey_when_due(void **state)
{
    struct pair pair = pair_new(SUITE_AES_128_GCM);
    struct aead *peer = aead_new(SUITE_AES_128_GCM, key_a, true);
    uint8_t frame[64];
    struct record record;

    assert_int_equal(run_until_due(&pair, frame), RECORD_REKEY_AFTER - 1);
    assert_int_equal(record_seal(pair.seal, RECORD_DATA, frame, 1), -EKEYEXPIRED);
    assert_int_equal(record_seal(pair.seal, RECORD_FIN, frame, 0), -EKEYEXPIRED);
    assert_int_equal(record_seal(pair.seal, RECORD_REKEY, frame, 0), RECORD_OVERHEAD);
    assert_false(record_rekey_due(pair.seal));
    seal_by_hand(peer, RECORD_REKEY_AFTER - 1, RECORD_DATA, frame);
    assert_int_equal(record_open(pair.open, frame, sizeof(frame), &record), RECORD_OK);
    seal_by_hand(peer, RECORD_REKEY_AFTER, RECORD_DATA, frame);
    assert_int_equal(record_open(pair.open, frame, sizeof(frame), &record), RECORD_BAD);
    seal_by_hand(peer, RECORD_REKEY_AFTER, RECORD_REKEY, frame);
    assert_int_equal(record_open(pair.open, frame, sizeof(frame), &record), RECORD_OK);
    assert_int_equal(seal_text(pair.seal, frame, "goes on"), 7 + RECORD_OVERHEAD);
    assert_int_equal(record_open(pair.open, frame, 7 + RECORD_OVERHEAD, &record), RECORD_OK);
    expect_text(&record, "goes on");
    aead_free(peer);
    pair_free(&pair);
}

static void test_no_such_suite(void **state)
{
    assert_null(record_sealer_new((enum crypto_suite)7, key_a));
    assert_null(record_opener_new((enum crypto_suite)0, key_a));
    record_cipher_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_every_length_field),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_suites_do_not_mix),
        cmocka_unit_test(test_payload_of_type),
        cmocka_unit_test(test_rekey_has_no_payload),
        cmocka_unit_test(test_rekey),
        cmocka_unit_test(test_rekey_when_due),
        cmocka_unit_test(test_no_such_suite),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
