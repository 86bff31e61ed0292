/* HELLO and EXT as a concentrator gets them. The first byte: 0, the rest is a flight; else the rest
 * is what a holder of the key seals: 32 bytes of HELLO, then EXT's TLVs. */
#include "tests/fuzz/scene.h"

#include "core/wire.h"

#define CLEAR (HELLO_SALT + KEY_ID)
#define FIXED 32

/* Returns the length of the flight in out[HELLO_MAX]. */
static size_t seal_flight(const struct scene *scene, const uint8_t *data, size_t size, uint8_t *out)
{
    size_t ext_len = size - FIXED < HELLO_EXT_MAX ? size - FIXED : HELLO_EXT_MAX;
    uint8_t aad[8 + CLEAR] = "bondway1", *fixed = out + CLEAR;

    memcpy(out, scene->salt_c, HELLO_SALT);
    memcpy(out + HELLO_SALT, scene->key.id, KEY_ID);
    memcpy(fixed, data, FIXED);
    memcpy(aad + 8, out, CLEAR);
    scene_seal(SUITE_CHACHA20_POLY1305, scene->keys.hello, 0, aad, sizeof(aad), fixed, FIXED);
    memcpy(out + HELLO_FIXED, data + FIXED, ext_len);
    scene_seal(SUITE_CHACHA20_POLY1305, scene->keys.hello, 1, fixed, FIXED + CRYPTO_TAG,
               out + HELLO_FIXED, ext_len);
    return HELLO_FIXED + ext_len + CRYPTO_TAG;
}

static void read_flight(const struct scene *scene, const uint8_t *flight, size_t len)
{
    struct hello hello;
    uint8_t *ext;

    if (len < HELLO_FIXED || hello_open(&scene->keys, flight, &hello) != HELLO_OK)
        return;
    must(hello.type == 1 && hello.flags == 0 && hello.ext_len <= HELLO_EXT_MAX);
    must(!hello.has_token);
    if (hello.ext_len == 0 || len - HELLO_FIXED < hello.ext_len + (size_t)CRYPTO_TAG)
        return;
    ext = scene_exact(flight + HELLO_FIXED, hello.ext_len + CRYPTO_TAG);
    if (hello_open_ext(&scene->keys, flight, ext, &hello) == HELLO_OK)
        must(!hello.has_token || hello.ext_len >= 3 + HELLO_TOKEN);
    free(ext);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    uint8_t sealed[HELLO_MAX];

    if (scene.key.id[0] == 0)
        scene_init(&scene);
    if (size > 0 && data[0] == 0)
        read_flight(&scene, data + 1, size - 1);
    else if (size > FIXED)
        read_flight(&scene, sealed, seal_flight(&scene, data + 1, size - 1, sealed));
    return 0;
}
