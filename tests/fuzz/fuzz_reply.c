/* REPLY and EXT as a gateway gets them. The first byte: 0, the rest is a flight; else the rest is
 * what a concentrator seals: 32 bytes of REPLY, then EXT's TLVs. */
#include "tests/fuzz/scene.h"

#define FIXED 32

/* Returns the length of the flight in out[REPLY_MAX]. */
static size_t seal_flight(const struct scene *scene, const uint8_t *data, size_t size, uint8_t *out)
{
    size_t ext_len = size - FIXED < HELLO_EXT_MAX ? size - FIXED : HELLO_EXT_MAX;
    uint8_t aad[14 + 2 * HELLO_SALT] = "bondway1 reply", *fixed = out + HELLO_SALT;

    memcpy(out, scene->salt_s, HELLO_SALT);
    memcpy(fixed, data, FIXED);
    memcpy(aad + 14, scene->salt_c, HELLO_SALT);
    memcpy(aad + 14 + HELLO_SALT, scene->salt_s, HELLO_SALT);
    scene_seal(SUITE_CHACHA20_POLY1305, scene->reply_keys.reply, 0, aad, sizeof(aad), fixed, FIXED);
    memcpy(out + REPLY_FIXED, data + FIXED, ext_len);
    scene_seal(SUITE_CHACHA20_POLY1305, scene->reply_keys.reply, 1, fixed, FIXED + CRYPTO_TAG,
               out + REPLY_FIXED, ext_len);
    return REPLY_FIXED + ext_len + CRYPTO_TAG;
}

static void read_flight(const struct scene *scene, const uint8_t *flight, size_t len)
{
    struct reply reply;
    uint8_t *ext;

    if (len < REPLY_FIXED ||
        reply_open(&scene->reply_keys, scene->salt_c, flight, &reply) != HELLO_OK)
        return;
    must(reply.version == PROTOCOL_VERSION && reply.flags == 0);
    must(reply.type >= REPLY_WELCOME && reply.type <= REPLY_REFUSED);
    must((reply.code != 0) == (reply.type == REPLY_REFUSED));
    if (reply.ext_len == 0 || len - REPLY_FIXED < reply.ext_len + (size_t)CRYPTO_TAG)
        return;
    ext = scene_exact(flight + REPLY_FIXED, reply.ext_len + CRYPTO_TAG);
    if (reply_open_ext(&scene->reply_keys, flight, ext, &reply) == HELLO_OK)
        must(reply.has_token || reply.type != REPLY_CHALLENGE);
    free(ext);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    uint8_t sealed[REPLY_MAX];

    if (scene.key.id[0] == 0)
        scene_init(&scene);
    if (size > 0 && data[0] == 0)
        read_flight(&scene, data + 1, size - 1);
    else if (size > FIXED)
        read_flight(&scene, sealed, seal_flight(&scene, data + 1, size - 1, sealed));
    return 0;
}
