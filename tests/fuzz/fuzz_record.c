/* A stream of records. The first byte's low bit: 0, the rest is the stream as it comes from the
 * network; 1, the rest says what a holder of the key seals: type u8, length u8, payload, and so on.
 * The second bit chooses the suite; the others, in how small pieces the stream comes. */
#include "tests/fuzz/scene.h"

#include "core/wire.h"

#define STREAM_MAX 65536

/* Seals record after record; a REKEY that is well-formed changes the key here too. Returns the
 * length of the stream. */
static size_t seal_stream(enum crypto_suite suite, const uint8_t first_key[32], const uint8_t *data,
                          size_t size, uint8_t *stream)
{
    uint8_t key[32];
    uint64_t counter = 0;
    size_t used = 0;

    memcpy(key, first_key, sizeof(key));
    while (size >= 2 && STREAM_MAX - used >= 256 + RECORD_OVERHEAD) {
        size_t len = data[1] < size - 2 ? data[1] : size - 2;
        uint8_t *frame = stream + used;

        wire_put_u16(frame, (uint16_t)(1 + len));
        frame[2] = data[0];
        memcpy(frame + RECORD_HEAD, data + 2, len);
        scene_seal(suite, key, counter++, frame, 2, frame + 2, 1 + len);
        if (data[0] == RECORD_REKEY && len == 0) {
            must(crypto_hkdf_expand(key, "bondway1 rekey", 14, key, 32) == 0);
            counter = 0;
        }
        used += len + RECORD_OVERHEAD;
        data += 2 + len;
        size -= 2 + len;
    }
    return used;
}

/* Feeds the stream in growing views; what opens must lie inside the view. Returns how many bytes
 * were taken. */
static size_t open_stream(struct record_cipher *open, uint8_t *stream, size_t len, size_t step)
{
    size_t taken = 0;

    for (size_t seen = step < len ? step : len;; seen = step < len - seen ? seen + step : len) {
        enum record_verdict verdict = RECORD_OK;
        struct record record;

        while (verdict == RECORD_OK) {
            verdict = record_open(open, stream + taken, seen - taken, &record);
            if (verdict != RECORD_OK)
                break;
            must(record.consumed == record.len + RECORD_OVERHEAD);
            must(record.consumed <= seen - taken && record.type <= RECORD_OPENED);
            must(record.payload == stream + taken + RECORD_HEAD);
            taken += record.consumed;
        }
        if (verdict == RECORD_BAD || seen == len)
            return taken;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t sealed[STREAM_MAX];
    static struct scene scene;
    struct record_cipher *open;
    enum crypto_suite suite;
    uint8_t *stream;
    size_t len, step;

    if (scene.key.id[0] == 0)
        scene_init(&scene);
    if (size < 1)
        return 0;
    suite = data[0] & 2 ? SUITE_AES_128_GCM : SUITE_CHACHA20_POLY1305;
    step = (size_t)(data[0] >> 2) * 8 + 1;
    if (data[0] & 1) {
        len = seal_stream(suite, scene.keys.c2s, data + 1, size - 1, sealed);
        stream = scene_exact(sealed, len);
    } else {
        len = size - 1;
        stream = scene_exact(data + 1, len);
    }
    open = record_opener_new(suite, scene.keys.c2s);
    must(open);
    open_stream(open, stream, len, step);
    record_cipher_free(open);
    free(stream);
    return 0;
}
