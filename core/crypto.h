/* The primitives of protocol.md, from libcrypto (1.1.1 and 3.x): HKDF-SHA-256 (RFC 5869),
 * ChaCha20-Poly1305 (RFC 8439), AES-128-GCM, HMAC-SHA-256, randomness. */
#ifndef CORE_CRYPTO_H
#define CORE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPTO_KEY 32
#define CRYPTO_TAG 16
#define CRYPTO_NONCE 12

enum crypto_suite { SUITE_CHACHA20_POLY1305 = 1, SUITE_AES_128_GCM = 2 };

/* Call first in a program, before anything else here: libcrypto reads no openssl.cnf (which could
 * load engines into a daemon) and no error texts, which also saves 0.4 MB of memory. */
void crypto_start(void);

/* All return 0, or -errno (-ENOMEM, or -EIO for a failure inside libcrypto). */
int crypto_random(void *out, size_t len);
int crypto_hkdf_extract(const void *salt, size_t salt_len, const void *ikm, size_t ikm_len,
                        uint8_t prk[32]);
/* info up to 128 bytes, out up to 255 * 32: else -EINVAL. */
int crypto_hkdf_expand(const uint8_t prk[32], const void *info, size_t info_len, uint8_t *out,
                       size_t out_len);
int crypto_hmac(const uint8_t key[32], const void *data, size_t len, uint8_t mac[32]);

void crypto_wipe(void *secret, size_t len);
bool crypto_equal(const void *a, const void *b, size_t len); /* in constant time */

/* Which suite this processor does faster: measured once, in about 2 ms; cached. */
enum crypto_suite crypto_fastest_suite(void);
const char *crypto_suite_name(enum crypto_suite suite);

/* One key for one direction of use; opaque, owned by whoever made it. AES uses the first 16 bytes
 * of the key. */
struct aead;
struct aead *aead_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY], bool seal);
void aead_free(struct aead *aead); /* wipes; NULL is fine */
/* A new key for the same suite and direction of use. */
int aead_rekey(struct aead *aead, const uint8_t key[CRYPTO_KEY]);
/* In place over text[0..len), tag apart. nonce is the whole 12 bytes. */
int aead_seal(struct aead *aead, const uint8_t nonce[CRYPTO_NONCE], const void *aad, size_t aad_len,
              uint8_t *text, size_t len, uint8_t tag[CRYPTO_TAG]);
/* -EBADMSG when it does not open: then text holds garbage that must not be used. */
int aead_open(struct aead *aead, const uint8_t nonce[CRYPTO_NONCE], const void *aad, size_t aad_len,
              uint8_t *text, size_t len, const uint8_t tag[CRYPTO_TAG]);
/* 4 zero bytes || u64 counter, big-endian (protocol.md, Key schedule). */
void aead_counter_nonce(uint64_t counter, uint8_t nonce[CRYPTO_NONCE]);

#endif
