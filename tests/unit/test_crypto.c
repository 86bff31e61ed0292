/* The primitives against the vectors of their RFCs, and the contract around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "core/crypto.h"

static uint8_t nibble(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static size_t unhex(const char *text, uint8_t *out)
{
    size_t len = strlen(text) / 2;

    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return len;
}

/* RFC 5869, A.1 to A.3: ordinary, long, and with neither salt nor info. */
static void test_hkdf(void **state)
{
    static const struct {
        const char *ikm, *salt, *info, *prk, *okm;
    } rows[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
         "f0f1f2f3f4f5f6f7f8f9", "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
        {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
         "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
         "404142434445464748494a4b4c4d4e4f",
         "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
         "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
         "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
         "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
         "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
         "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
         "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
         "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
         "cc30c58179ec3e87c14c01d5c1f3434f1d87"},
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
         "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t ikm[80], salt[80], info[80], prk[32], okm[82], got[82];
        size_t ikm_len = unhex(rows[i].ikm, ikm), salt_len = unhex(rows[i].salt, salt);
        size_t info_len = unhex(rows[i].info, info), okm_len = unhex(rows[i].okm, okm);

        assert_int_equal(crypto_hkdf_extract(salt_len ? salt : NULL, salt_len, ikm, ikm_len, got),
                         0);
        unhex(rows[i].prk, prk);
        assert_memory_equal(got, prk, 32);
        assert_int_equal(crypto_hkdf_expand(prk, info_len ? info : NULL, info_len, got, okm_len),
                         0);
        assert_memory_equal(got, okm, okm_len);
    }
}

static void test_hkdf_limits(void **state)
{
    static uint8_t prk[32], info[1024], out[255 * 32 + 1];

    assert_int_equal(crypto_hkdf_expand(prk, NULL, 0, out, 255 * 32), 0);
    assert_int_equal(crypto_hkdf_expand(prk, NULL, 0, out, sizeof(out)), -EINVAL);
    assert_int_equal(crypto_hkdf_expand(prk, info, sizeof(info), out, 32), -EINVAL);
}

/* RFC 4231, case 1, with its key filled up with zeros, which HMAC itself would add. */
static void test_hmac(void **state)
{
    uint8_t key[32] = {0}, expected[32], mac[32];

    memset(key, 0x0b, 20);
    unhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", expected);
    assert_int_equal(crypto_hmac(key, "Hi There", 8, mac), 0);
    assert_memory_equal(mac, expected, 32);
}

struct aead_vector {
    enum crypto_suite suite;
    const char *key, *nonce, *aad, *plain, *sealed, *tag;
};

static const struct aead_vector aead_vectors[] = {
    /* RFC 8439, 2.8.2 */
    {SUITE_CHACHA20_POLY1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
     "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
     "4c616469657320616e642047656e746c656d656e206f662074686520636c6173"
     "73206f66202739393a204966204920636f756c64206f6666657220796f75206f"
     "6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73"
     "637265656e20776f756c642062652069742e",
     "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
     "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
     "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
     "3ff4def08e4b7a9de576d26586cec64b6116",
     "1ae10b594f09e26a7e902ecbd0600691"},
    /* McGrew and Viega, The Galois/Counter Mode of Operation, test cases 1 and 4 */
    {SUITE_AES_128_GCM, "00000000000000000000000000000000", "000000000000000000000000", "", "", "",
     "58e2fccefa7e3061367f1d57a4e7455a"},
    {SUITE_AES_128_GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
     "5bc94fbc3221a5db94fae95ae7121a47"}};

static void check_aead(const struct aead_vector *v)
{
    uint8_t key[CRYPTO_KEY] = {0}, nonce[CRYPTO_NONCE], aad[32], plain[128], text[128];
    uint8_t sealed[128], expected[CRYPTO_TAG], tag[CRYPTO_TAG];
    struct aead *seal, *open;
    size_t aad_len = unhex(v->aad, aad), len = unhex(v->plain, plain);

    unhex(v->key, key);
    unhex(v->nonce, nonce);
    unhex(v->sealed, sealed);
    unhex(v->tag, expected);
    seal = aead_new(v->suite, key, true);
    open = aead_new(v->suite, key, false);
    for (int again = 0; again < 2; again++) { /* the second time on the fast path */
        memcpy(text, plain, len);
        assert_int_equal(aead_seal(seal, nonce, aad, aad_len, text, len, tag), 0);
        assert_memory_equal(tag, expected, CRYPTO_TAG);
        assert_memory_equal(text, sealed, len);
        assert_int_equal(aead_open(open, nonce, aad, aad_len, text, len, tag), 0);
        assert_memory_equal(text, plain, len);
    }
    aead_free(seal);
    aead_free(open);
}

static void test_aead_vectors(void **state)
{
    for (size_t i = 0; i < sizeof(aead_vectors) / sizeof(aead_vectors[0]); i++)
        check_aead(&aead_vectors[i]);
}

static void each_suite(void (*check)(enum crypto_suite suite))
{
    check(SUITE_CHACHA20_POLY1305);
    check(SUITE_AES_128_GCM);
}

/* A wrong bit anywhere is noticed, and leaves the cipher fit for the next message. */
static void check_forgery(enum crypto_suite suite)
{
    static const uint8_t key[CRYPTO_KEY] = {1}, nonce[CRYPTO_NONCE] = {2};
    uint8_t sealed[20] = "nobody changes this", tag[CRYPTO_TAG], text[20], aad[3] = "aad";
    struct aead *seal = aead_new(suite, key, true), *open = aead_new(suite, key, false);

    assert_int_equal(aead_seal(seal, nonce, aad, 3, sealed, 20, tag), 0);
    for (size_t bit = 0; bit < (20 + CRYPTO_TAG + 3) * 8; bit++) {
        uint8_t mask = (uint8_t)(1 << bit % 8);
        size_t at = bit / 8;
        uint8_t *byte = at < 20                ? &text[at]
                        : at < 20 + CRYPTO_TAG ? &tag[at - 20]
                                               : &aad[at - 20 - CRYPTO_TAG];

        memcpy(text, sealed, 20);
        *byte ^= mask;
        assert_int_equal(aead_open(open, nonce, aad, 3, text, 20, tag), -EBADMSG);
        memcpy(text, sealed, 20);
        if (at >= 20)
            *byte ^= mask;
        assert_int_equal(aead_open(open, nonce, aad, 3, text, 20, tag), 0);
    }
    assert_memory_equal(text, "nobody changes this", 20);
    aead_free(seal);
    aead_free(open);
}

static void test_aead_forgery(void **state)
{
    each_suite(check_forgery);
}

static void check_rekey(enum crypto_suite suite)
{
    static const uint8_t first[CRYPTO_KEY] = {1}, second[CRYPTO_KEY] = {2};
    static const uint8_t nonce[CRYPTO_NONCE] = {3};
    uint8_t text[1] = {'x'}, same[1] = {'x'}, tag[CRYPTO_TAG], same_tag[CRYPTO_TAG];
    struct aead *turned = aead_new(suite, first, true), *fresh = aead_new(suite, second, true);

    assert_int_equal(aead_seal(turned, nonce, NULL, 0, text, 1, tag), 0);
    assert_int_equal(aead_rekey(turned, second), 0);
    text[0] = 'x';
    assert_int_equal(aead_seal(turned, nonce, NULL, 0, text, 1, tag), 0);
    assert_int_equal(aead_seal(fresh, nonce, NULL, 0, same, 1, same_tag), 0);
    assert_memory_equal(text, same, 1);
    assert_memory_equal(tag, same_tag, CRYPTO_TAG);
    aead_free(turned);
    aead_free(fresh);
}

static void test_aead_rekey(void **state)
{
    each_suite(check_rekey);
}

static void test_aead_unknown_suite(void **state)
{
    static const uint8_t key[CRYPTO_KEY];

    assert_null(aead_new((enum crypto_suite)0, key, true));
    assert_null(aead_new((enum crypto_suite)3, key, true));
    aead_free(NULL);
}

static void test_counter_nonce(void **state)
{
    static const uint8_t expected[CRYPTO_NONCE] = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t nonce[CRYPTO_NONCE];

    aead_counter_nonce(0x0102030405060708, nonce);
    assert_memory_equal(nonce, expected, CRYPTO_NONCE);
}

static void test_equal_and_wipe(void **state)
{
    uint8_t a[16] = {0}, b[16] = {0};

    assert_true(crypto_equal(a, b, 16));
    b[15] = 1;
    assert_false(crypto_equal(a, b, 16));
    assert_true(crypto_equal(a, b, 15));
    crypto_wipe(b, 16);
    assert_true(crypto_equal(a, b, 16));
}

static void test_random(void **state)
{
    uint8_t a[32] = {0}, b[32] = {0};

    assert_int_equal(crypto_random(a, sizeof(a)), 0);
    assert_int_equal(crypto_random(b, sizeof(b)), 0);
    assert_memory_not_equal(a, b, sizeof(a));
}

static void test_fastest_suite(void **state)
{
    enum crypto_suite suite = crypto_fastest_suite();

    assert_true(suite == SUITE_CHACHA20_POLY1305 || suite == SUITE_AES_128_GCM);
    for (int i = 0; i < 100000; i++) /* measured each time, they would run into the timeout */
        assert_int_equal(crypto_fastest_suite(), suite);
    assert_string_equal(crypto_suite_name(SUITE_CHACHA20_POLY1305), "chacha20-poly1305");
    assert_string_equal(crypto_suite_name(SUITE_AES_128_GCM), "aes-128-gcm");
    assert_string_equal(crypto_suite_name((enum crypto_suite)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hkdf),
        cmocka_unit_test(test_hkdf_limits),
        cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_aead_vectors),
        cmocka_unit_test(test_aead_forgery),
        cmocka_unit_test(test_aead_rekey),
        cmocka_unit_test(test_aead_unknown_suite),
        cmocka_unit_test(test_counter_nonce),
        cmocka_unit_test(test_equal_and_wipe),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_fastest_suite),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
