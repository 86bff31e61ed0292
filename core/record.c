#include "core/record.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire.h"

#define LENGTH 2 /* the length field, which is also the additional data */

struct record_cipher {
    struct aead *aead;
    uint64_t counter; /* of the next record */
    uint8_t key[CRYPTO_KEY];
};

static struct record_cipher *cipher_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY],
                                        bool seal)
{
    struct record_cipher *cipher = calloc(1, sizeof(*cipher));

    if (!cipher)
        return NULL;
    memcpy(cipher->key, key, CRYPTO_KEY);
    cipher->aead = aead_new(suite, key, seal);
    if (!cipher->aead) {
        record_cipher_free(cipher);
        return NULL;
    }
    return cipher;
}

struct record_cipher *record_sealer_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY])
{
    return cipher_new(suite, key, true);
}

struct record_cipher *record_opener_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY])
{
    return cipher_new(suite, key, false);
}

void record_cipher_free(struct record_cipher *cipher)
{
    if (!cipher)
        return;
    aead_free(cipher->aead);
    crypto_wipe(cipher, sizeof(*cipher));
    free(cipher);
}

static int next_key(struct record_cipher *cipher)
{
    static const char info[] = "bondway1 rekey";
    uint8_t next[CRYPTO_KEY];
    int err = crypto_hkdf_expand(cipher->key, info, sizeof(info) - 1, next, sizeof(next));

    if (!err)
        err = aead_rekey(cipher->aead, next);
    if (!err) {
        memcpy(cipher->key, next, CRYPTO_KEY);
        cipher->counter = 0;
    }
    crypto_wipe(next, sizeof(next));
    return err;
}

uint32_t record_seals_left(const struct record_cipher *cipher)
{
    const uint64_t last = RECORD_REKEY_AFTER - 1; /* that one is REKEY itself */

    return cipher->counter < last ? (uint32_t)(last - cipher->counter) : 0;
}

int record_rekey_due(const struct record_cipher *cipher)
{
    return record_seals_left(cipher) == 0;
}

int record_seal(struct record_cipher *cipher, enum record_type type, uint8_t *frame, size_t len)
{
    uint8_t nonce[CRYPTO_NONCE];
    int err;

    assert(len <= RECORD_PAYLOAD_MAX && (type != RECORD_REKEY || len == 0));
    if (record_rekey_due(cipher) && type != RECORD_REKEY)
        return -EKEYEXPIRED;
    wire_put_u16(frame, (uint16_t)(1 + len));
    frame[LENGTH] = (uint8_t)type;
    aead_counter_nonce(cipher->counter, nonce);
    err = aead_seal(cipher->aead, nonce, frame, LENGTH, frame + LENGTH, 1 + len,
                    frame + RECORD_HEAD + len);
    if (!err) {
        cipher->counter++;
        if (type == RECORD_REKEY)
            err = next_key(cipher);
    }
    return err ? err : (int)(len + RECORD_OVERHEAD);
}

/* How long the payload of each type may be. */
static bool payload_fits(uint8_t type, size_t len)
{
    switch (type) {
    case RECORD_DATA:
        return len >= 1;
    case RECORD_FIN:
    case RECORD_REKEY:
        return len == 0;
    case RECORD_RESET:
    case RECORD_OPENED:
        return len == 1;
    case RECORD_PING:
    case RECORD_PONG:
        return len == 8;
    case RECORD_OPEN: /* open_read() knows */
        return true;
    default:
        return false;
    }
}

enum record_verdict record_open(struct record_cipher *cipher, uint8_t *bytes, size_t n,
                                struct record *out)
{
    uint8_t nonce[CRYPTO_NONCE];
    size_t length;

    if (n < LENGTH)
        return RECORD_SHORT;
    length = wire_get_u16(bytes);
    if (length < 1 || length > 1 + RECORD_PAYLOAD_MAX)
        return RECORD_BAD;
    if (n < LENGTH + length + CRYPTO_TAG)
        return RECORD_SHORT;
    aead_counter_nonce(cipher->counter, nonce);
    if (aead_open(cipher->aead, nonce, bytes, LENGTH, bytes + LENGTH, length,
                  bytes + LENGTH + length) < 0)
        return RECORD_BAD;
    *out = (struct record){.type = bytes[LENGTH],
                           .payload = bytes + RECORD_HEAD,
                           .len = length - 1,
                           .consumed = LENGTH + length + CRYPTO_TAG};
    if (!payload_fits(out->type, out->len))
        return RECORD_BAD;
    /* A peer may send the full number of records before REKEY, or count REKEY among them. */
    if (out->type != RECORD_REKEY && cipher->counter >= RECORD_REKEY_AFTER)
        return RECORD_BAD;
    cipher->counter++;
    if (out->type == RECORD_REKEY && next_key(cipher) < 0)
        return RECORD_BAD;
    return RECORD_OK;
}
