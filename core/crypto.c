#include "core/crypto.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/wire.h"

#define HASH 32
/* Longest info this program expands with, generously. */
#define INFO_MAX 128

void crypto_start(void)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS |
                            OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_NO_ADD_ALL_DIGESTS,
                        NULL);
}

int crypto_random(void *out, size_t len)
{
    assert(len <= INT_MAX);
    return RAND_bytes(out, (int)len) == 1 ? 0 : -EIO;
}

static int hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                       uint8_t mac[HASH])
{
    unsigned mac_len = HASH;

    assert(key_len <= INT_MAX);
    return HMAC(EVP_sha256(), key, (int)key_len, data, len, mac, &mac_len) ? 0 : -EIO;
}

int crypto_hmac(const uint8_t key[32], const void *data, size_t len, uint8_t mac[32])
{
    return hmac_sha256(key, 32, data, len, mac);
}

int crypto_hkdf_extract(const void *salt, size_t salt_len, const void *ikm, size_t ikm_len,
                        uint8_t prk[32])
{
    return hmac_sha256(salt, salt_len, ikm, ikm_len, prk);
}

int crypto_hkdf_expand(const uint8_t prk[32], const void *info, size_t info_len, uint8_t *out,
                       size_t out_len)
{
    uint8_t block[HASH + INFO_MAX + 1], mac[HASH];
    size_t before = 0; /* bytes of the last block at the front: none in the first round */
    int err = 0;

    if (info_len > INFO_MAX || out_len > 255 * HASH)
        return -EINVAL;
    for (uint8_t round = 1; out_len > 0 && !err; round++) {
        size_t part = out_len < HASH ? out_len : HASH;

        if (info_len > 0)
            memcpy(block + before, info, info_len);
        block[before + info_len] = round;
        err = crypto_hmac(prk, block, before + info_len + 1, mac);
        memcpy(out, mac, part);
        memcpy(block, mac, HASH);
        before = HASH;
        out += part;
        out_len -= part;
    }
    crypto_wipe(block, sizeof(block));
    crypto_wipe(mac, sizeof(mac));
    return err;
}

void crypto_wipe(void *secret, size_t len)
{
    OPENSSL_cleanse(secret, len);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

const char *crypto_suite_name(enum crypto_suite suite)
{
    switch (suite) {
    case SUITE_CHACHA20_POLY1305:
        return "chacha20-poly1305";
    case SUITE_AES_128_GCM:
        return "aes-128-gcm";
    }
    return "unknown";
}

struct aead {
    EVP_CIPHER_CTX *ctx;
    int seal; /* as EVP_CipherInit_ex wants it */
};

static const EVP_CIPHER *suite_cipher(enum crypto_suite suite)
{
    switch (suite) {
    case SUITE_CHACHA20_POLY1305:
        return EVP_chacha20_poly1305();
    case SUITE_AES_128_GCM:
        return EVP_aes_128_gcm();
    }
    return NULL;
}

struct aead *aead_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY], bool seal)
{
    const EVP_CIPHER *cipher = suite_cipher(suite);
    struct aead *aead = cipher ? calloc(1, sizeof(*aead)) : NULL;

    if (!aead)
        return NULL;
    aead->seal = seal;
    aead->ctx = EVP_CIPHER_CTX_new();
    if (!aead->ctx || EVP_CipherInit_ex(aead->ctx, cipher, NULL, key, NULL, aead->seal) != 1) {
        aead_free(aead);
        return NULL;
    }
    return aead;
}

void aead_free(struct aead *aead)
{
    if (!aead)
        return;
    EVP_CIPHER_CTX_free(aead->ctx); /* libcrypto wipes it */
    free(aead);
}

int aead_rekey(struct aead *aead, const uint8_t key[CRYPTO_KEY])
{
    return EVP_CipherInit_ex(aead->ctx, NULL, NULL, key, NULL, aead->seal) == 1 ? 0 : -EIO;
}

/* The fast path: the key schedule stays, only the nonce is new. */
static bool aead_start(struct aead *aead, const uint8_t nonce[CRYPTO_NONCE], const void *aad,
                       size_t aad_len)
{
    int n;

    assert(aad_len <= INT_MAX);
    if (EVP_CipherInit_ex(aead->ctx, NULL, NULL, NULL, nonce, aead->seal) != 1)
        return false;
    /* An update without bytes means "the end" to OpenSSL 1.1.1. */
    return aad_len == 0 || EVP_CipherUpdate(aead->ctx, NULL, &n, aad, (int)aad_len) == 1;
}

static bool aead_run(struct aead *aead, uint8_t *text, size_t len)
{
    int n;

    assert(len <= INT_MAX);
    return len == 0 || EVP_CipherUpdate(aead->ctx, text, &n, text, (int)len) == 1;
}

int aead_seal(struct aead *aead, const uint8_t nonce[CRYPTO_NONCE], const void *aad, size_t aad_len,
              uint8_t *text, size_t len, uint8_t tag[CRYPTO_TAG])
{
    uint8_t unused[CRYPTO_TAG];
    int n;

    assert(aead->seal);
    if (!aead_start(aead, nonce, aad, aad_len) || !aead_run(aead, text, len) ||
        EVP_CipherFinal_ex(aead->ctx, unused, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(aead->ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG, tag) != 1)
        return -EIO;
    return 0;
}

int aead_open(struct aead *aead, const uint8_t nonce[CRYPTO_NONCE], const void *aad, size_t aad_len,
              uint8_t *text, size_t len, const uint8_t tag[CRYPTO_TAG])
{
    uint8_t expected[CRYPTO_TAG], unused[CRYPTO_TAG];
    int n;

    assert(!aead->seal);
    memcpy(expected, tag, CRYPTO_TAG); /* the control call wants it writable */
    if (!aead_start(aead, nonce, aad, aad_len) || !aead_run(aead, text, len) ||
        EVP_CIPHER_CTX_ctrl(aead->ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG, expected) != 1)
        return -EIO;
    return EVP_CipherFinal_ex(aead->ctx, unused, &n) == 1 ? 0 : -EBADMSG;
}

void aead_counter_nonce(uint64_t counter, uint8_t nonce[CRYPTO_NONCE])
{
    memset(nonce, 0, 4);
    wire_put_u64(nonce + 4, counter);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The shortest time to seal 4 KiB, over a millisecond of trying: the minimum is what the processor
 * can do, whatever else runs beside us. */
static uint64_t measure_suite(enum crypto_suite suite)
{
    static const uint8_t key[CRYPTO_KEY];
    struct aead *aead = aead_new(suite, key, true);
    uint8_t text[4096] = {0}, nonce[CRYPTO_NONCE], tag[CRYPTO_TAG];
    uint64_t best = UINT64_MAX, start = now_ns(), before = start, after = start;
    int err = aead ? 0 : -ENOMEM;

    for (uint64_t round = 0; !err && after - start < 1000000; round++) {
        aead_counter_nonce(round, nonce);
        before = now_ns();
        err = aead_seal(aead, nonce, NULL, 0, text, sizeof(text), tag);
        after = now_ns();
        if (!err && after - before < best)
            best = after - before;
    }
    aead_free(aead);
    return best;
}

enum crypto_suite crypto_fastest_suite(void)
{
    /* Threads that ask at once measure twice, and store the same answer. */
    static atomic_int fastest;
    int suite = atomic_load(&fastest);

    if (suite == 0) {
        suite = measure_suite(SUITE_AES_128_GCM) < measure_suite(SUITE_CHACHA20_POLY1305)
                    ? SUITE_AES_128_GCM
                    : SUITE_CHACHA20_POLY1305;
        atomic_store(&fastest, suite);
    }
    return (enum crypto_suite)suite;
}
