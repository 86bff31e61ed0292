/* The gateway and the salts of tests/unit/protocol-vectors.json, so that its flights open here,
 * and a way to seal what the fuzzer makes up: otherwise nothing it tries would get past a seal. */
#ifndef TESTS_FUZZ_SCENE_H
#define TESTS_FUZZ_SCENE_H

#include <stdlib.h>
#include <string.h>

#include "core/hello.h"
#include "core/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An assertion that holds in every build type. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct scene {
    struct key key;
    uint8_t salt_c[HELLO_SALT], salt_s[HELLO_SALT];
    struct hello_keys keys;
    struct reply_keys reply_keys;
};

static inline void scene_count_up(uint8_t *out, size_t len, uint8_t from)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(from + i);
}

static inline void scene_init(struct scene *scene)
{
    scene_count_up(scene->key.id, KEY_ID, 0xa0);
    scene_count_up(scene->key.secret, KEY_SECRET, 0x00);
    scene_count_up(scene->salt_c, HELLO_SALT, 0x40);
    scene_count_up(scene->salt_s, HELLO_SALT, 0x80);
    must(hello_derive(&scene->key, scene->salt_c, &scene->keys) == 0);
    must(reply_derive(&scene->key, scene->keys.prk, scene->salt_s, &scene->reply_keys) == 0);
}

/* Seals text in place, the tag right behind it. */
static inline void scene_seal(enum crypto_suite suite, const uint8_t key[32], uint64_t counter,
                              const uint8_t *aad, size_t aad_len, uint8_t *text, size_t len)
{
    struct aead *aead = aead_new(suite, key, true);
    uint8_t nonce[CRYPTO_NONCE];

    aead_counter_nonce(counter, nonce);
    must(aead_seal(aead, nonce, aad, aad_len, text, len, text + len) == 0);
    aead_free(aead);
}

/* The bytes in memory of exactly that size, so that ASan sees a read too far. Free it. */
static inline uint8_t *scene_exact(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    must(copy);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

#endif
