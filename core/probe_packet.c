#include "core/probe_packet.h"

#include <errno.h>
#include <string.h>

#include "core/wire.h"

/* id[8] | nonce[12] | sealed: seq u64 | time_us u64 | uplink u8 | … | tag */
#define AT_NONCE KEY_ID
#define AT_SEALED (KEY_ID + CRYPTO_NONCE)
#define AT_TAG (PROBE_SIZE - CRYPTO_TAG)
#define AT_TIME (AT_SEALED + 8)
#define AT_UPLINK (AT_SEALED + 16)
#define AT_REST (AT_SEALED + 17)
#define AT_SERVER (AT_TAG - 8)

int probe_derive(const struct key *key, struct probe_keys *keys)
{
    static const char salt[] = "bondway1 probe";
    uint8_t prk[32];
    int err;

    err = crypto_hkdf_extract(salt, sizeof(salt) - 1, key->secret, KEY_SECRET, prk);
    if (!err)
        err = crypto_hkdf_expand(prk, "c2s", 3, keys->c2s, sizeof(keys->c2s));
    if (!err)
        err = crypto_hkdf_expand(prk, "s2c", 3, keys->s2c, sizeof(keys->s2c));
    crypto_wipe(prk, sizeof(prk));
    return err;
}

/* Fills in all but id and nonce, and seals. */
static int write_packet(const uint8_t key[32], const struct probe *p, uint64_t server_ms,
                        uint8_t out[PROBE_SIZE])
{
    struct aead *aead = aead_new(SUITE_CHACHA20_POLY1305, key, true);
    int err;

    if (!aead)
        return -ENOMEM;
    memset(out + AT_SEALED, 0, PROBE_SIZE - AT_SEALED);
    wire_put_u64(out + AT_SEALED, p->seq);
    wire_put_u64(out + AT_TIME, p->time_us);
    out[AT_UPLINK] = p->uplink;
    wire_put_u64(out + AT_SERVER, server_ms);
    err = aead_seal(aead, out + AT_NONCE, out, AT_SEALED, out + AT_SEALED, AT_TAG - AT_SEALED,
                    out + AT_TAG);
    aead_free(aead);
    return err;
}

/* Opens a copy: the packet stays as it came. zeros: how many bytes after uplink must be. */
static int read_packet(const uint8_t key[32], const uint8_t packet[PROBE_SIZE], size_t zeros,
                       struct probe *p)
{
    static const uint8_t zero[AT_TAG - AT_REST];
    struct aead *aead = aead_new(SUITE_CHACHA20_POLY1305, key, false);
    uint8_t copy[PROBE_SIZE];
    int err;

    if (!aead)
        return -ENOMEM;
    memcpy(copy, packet, PROBE_SIZE);
    err = aead_open(aead, copy + AT_NONCE, copy, AT_SEALED, copy + AT_SEALED, AT_TAG - AT_SEALED,
                    copy + AT_TAG);
    aead_free(aead);
    if (err)
        return err;
    if (memcmp(copy + AT_REST, zero, zeros) != 0)
        return -EBADMSG;
    *p = (struct probe){.seq = wire_get_u64(copy + AT_SEALED),
                        .time_us = wire_get_u64(copy + AT_TIME),
                        .uplink = copy[AT_UPLINK],
                        .server_ms = wire_get_u64(copy + AT_SERVER)};
    return 0;
}

int probe_write_request(const struct key *key, const struct probe_keys *keys,
                        const uint8_t nonce[CRYPTO_NONCE], const struct probe *p,
                        uint8_t out[PROBE_SIZE])
{
    memcpy(out, key->id, KEY_ID);
    memcpy(out + AT_NONCE, nonce, CRYPTO_NONCE);
    return write_packet(keys->c2s, p, 0, out);
}

int probe_read_request(const struct probe_keys *keys, const uint8_t packet[PROBE_SIZE],
                       struct probe *p)
{
    return read_packet(keys->c2s, packet, AT_TAG - AT_REST, p);
}

int probe_write_answer(const struct probe_keys *keys, const uint8_t request[PROBE_SIZE],
                       const struct probe *p, uint8_t out[PROBE_SIZE])
{
    memcpy(out, request, AT_SEALED);
    return write_packet(keys->s2c, p, p->server_ms, out);
}

int probe_read_answer(const struct probe_keys *keys, const uint8_t packet[PROBE_SIZE],
                      struct probe *p)
{
    return read_packet(keys->s2c, packet, AT_SERVER - AT_REST, p);
}
