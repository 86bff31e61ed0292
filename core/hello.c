#include "core/hello.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/wire.h"

/* Of HELLO and REPLY alike: 32 bytes, sealed, behind 40 or 32 bytes in clear. */
#define FIXED 32
#define SEALED (FIXED + CRYPTO_TAG)
#define HELLO_CLEAR (HELLO_SALT + KEY_ID)
#define REPLY_CLEAR HELLO_SALT

#define TYPE_HELLO 1

#define TLV_HEAD 3
#define TLV_PADDING 1
#define TLV_TOKEN 2
#define TLV_CRITICAL 0x80 /* from here on, not to be skipped by whoever does not know it */

static int derive_pair(const uint8_t prk[32], const char *label, const uint8_t id[KEY_ID],
                       uint8_t first[32], uint8_t second[32])
{
    uint8_t info[12 + KEY_ID], pair[64];
    int err;

    assert(strlen(label) == 12);
    memcpy(info, label, 12);
    memcpy(info + 12, id, KEY_ID);
    err = crypto_hkdf_expand(prk, info, sizeof(info), pair, sizeof(pair));
    memcpy(first, pair, 32);
    memcpy(second, pair + 32, 32);
    crypto_wipe(pair, sizeof(pair));
    return err;
}

int hello_derive(const struct key *key, const uint8_t salt_c[HELLO_SALT], struct hello_keys *out)
{
    int err = crypto_hkdf_extract(salt_c, HELLO_SALT, key->secret, KEY_SECRET, out->prk);

    return err ? err : derive_pair(out->prk, "bondway1 c2s", key->id, out->hello, out->c2s);
}

int reply_derive(const struct key *key, const uint8_t prk[32], const uint8_t salt_s[HELLO_SALT],
                 struct reply_keys *out)
{
    uint8_t prk_s[32];
    int err = crypto_hkdf_extract(salt_s, HELLO_SALT, prk, 32, prk_s);

    if (!err)
        err = derive_pair(prk_s, "bondway1 s2c", key->id, out->reply, out->s2c);
    crypto_wipe(prk_s, sizeof(prk_s));
    return err;
}

struct bytes {
    const uint8_t *at;
    size_t len;
};

/* One message under the handshake's suite: the tag comes right behind the text. */
static int seal_message(const uint8_t key[32], uint64_t counter, struct bytes aad, uint8_t *text,
                        size_t len)
{
    struct aead *aead = aead_new(SUITE_CHACHA20_POLY1305, key, true);
    uint8_t nonce[CRYPTO_NONCE];
    int err;

    if (!aead)
        return -ENOMEM;
    aead_counter_nonce(counter, nonce);
    err = aead_seal(aead, nonce, aad.at, aad.len, text, len, text + len);
    aead_free(aead);
    return err;
}

static enum hello_verdict open_message(const uint8_t key[32], uint64_t counter, struct bytes aad,
                                       uint8_t *text, size_t len)
{
    struct aead *aead = aead_new(SUITE_CHACHA20_POLY1305, key, false);
    uint8_t nonce[CRYPTO_NONCE];

    if (!aead)
        return HELLO_FAILED;
    aead_counter_nonce(counter, nonce);
    int err = aead_open(aead, nonce, aad.at, aad.len, text, len, text + len);
    aead_free(aead);
    if (err == 0)
        return HELLO_OK;
    return err == -EBADMSG ? HELLO_BAD : HELLO_FAILED;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    uint8_t any = 0;

    for (size_t i = 0; i < len; i++)
        any |= bytes[i];
    return any == 0;
}

/* Walks TLVs to their exact end. token and has_token may be NULL: then a token is a type like any
 * other that is unknown here. */
static enum hello_verdict read_tlvs(const uint8_t *at, size_t len, uint8_t *token, bool *has_token)
{
    while (len > 0) {
        size_t value;

        if (len < TLV_HEAD)
            return HELLO_BAD;
        value = wire_get_u16(at + 1);
        if (value > len - TLV_HEAD || at[0] >= TLV_CRITICAL)
            return HELLO_BAD;
        if (at[0] == TLV_PADDING && !all_zero(at + TLV_HEAD, value))
            return HELLO_BAD;
        if (at[0] == TLV_TOKEN && token) {
            if (*has_token || value != HELLO_TOKEN)
                return HELLO_BAD;
            memcpy(token, at + TLV_HEAD, HELLO_TOKEN);
            *has_token = true;
        }
        at += TLV_HEAD + value;
        len -= TLV_HEAD + value;
    }
    return HELLO_OK;
}

/* EXT with a token alone, behind the sealed message that is its additional data. Returns its
 * length, or -errno. */
static int write_ext(const uint8_t key[32], const uint8_t *sealed, const uint8_t token[HELLO_TOKEN],
                     uint8_t *out)
{
    size_t len = TLV_HEAD + HELLO_TOKEN;
    int err;

    out[0] = TLV_TOKEN;
    wire_put_u16(out + 1, HELLO_TOKEN);
    memcpy(out + TLV_HEAD, token, HELLO_TOKEN);
    err = seal_message(key, 1, (struct bytes){sealed, SEALED}, out, len);
    return err ? err : (int)(len + CRYPTO_TAG);
}

static enum hello_verdict open_ext(const uint8_t key[32], const uint8_t *sealed, uint8_t *ext,
                                   size_t len, uint8_t *token, bool *has_token)
{
    *has_token = false;
    if (len == 0 || len > HELLO_EXT_MAX)
        return HELLO_BAD;
    enum hello_verdict verdict = open_message(key, 1, (struct bytes){sealed, SEALED}, ext, len);
    return verdict == HELLO_OK ? read_tlvs(ext, len, token, has_token) : verdict;
}

#define HELLO_AAD (8 + HELLO_CLEAR)

static void hello_aad(const uint8_t *flight, uint8_t aad[HELLO_AAD])
{
    memcpy(aad, "bondway1", 8);
    memcpy(aad + 8, flight, HELLO_CLEAR);
}

int hello_write(const struct key *key, const struct hello_keys *keys,
                const uint8_t salt_c[HELLO_SALT], enum crypto_suite suite, uint64_t time_ms,
                const uint8_t token[HELLO_TOKEN], uint8_t *out)
{
    uint8_t *fixed = out + HELLO_CLEAR;
    uint8_t aad[HELLO_AAD];
    int n;

    memcpy(out, salt_c, HELLO_SALT);
    memcpy(out + HELLO_SALT, key->id, KEY_ID);
    memset(fixed, 0, FIXED);
    fixed[0] = PROTOCOL_VERSION;
    fixed[1] = TYPE_HELLO;
    fixed[2] = (uint8_t)suite;
    wire_put_u64(fixed + 4, time_ms);
    wire_put_u16(fixed + 12, token ? TLV_HEAD + HELLO_TOKEN : 0);
    hello_aad(out, aad);
    n = seal_message(keys->hello, 0, (struct bytes){aad, sizeof(aad)}, fixed, FIXED);
    if (n == 0 && token)
        n = write_ext(keys->hello, fixed, token, out + HELLO_FIXED);
    return n < 0 ? n : HELLO_FIXED + n;
}

enum hello_verdict hello_open(const struct hello_keys *keys, const uint8_t flight[HELLO_FIXED],
                              struct hello *h)
{
    uint8_t aad[HELLO_AAD], fixed[SEALED];

    hello_aad(flight, aad);
    memcpy(fixed, flight + HELLO_CLEAR, SEALED);
    enum hello_verdict verdict =
        open_message(keys->hello, 0, (struct bytes){aad, sizeof(aad)}, fixed, FIXED);
    if (verdict != HELLO_OK)
        return verdict;
    *h = (struct hello){.version = fixed[0],
                        .type = fixed[1],
                        .suite = fixed[2],
                        .flags = fixed[3],
                        .time_ms = wire_get_u64(fixed + 4),
                        .ext_len = wire_get_u16(fixed + 12)};
    if (h->type != TYPE_HELLO || h->flags != 0 || h->ext_len > HELLO_EXT_MAX ||
        !all_zero(fixed + 14, FIXED - 14))
        return HELLO_BAD;
    return HELLO_OK;
}

enum hello_verdict hello_open_ext(const struct hello_keys *keys, const uint8_t flight[HELLO_FIXED],
                                  uint8_t *ext, struct hello *h)
{
    return open_ext(keys->hello, flight + HELLO_CLEAR, ext, h->ext_len, h->token, &h->has_token);
}

#define REPLY_AAD (14 + 2 * HELLO_SALT)

static void reply_aad(const uint8_t salt_c[HELLO_SALT], const uint8_t *flight,
                      uint8_t aad[REPLY_AAD])
{
    memcpy(aad, "bondway1 reply", 14);
    memcpy(aad + 14, salt_c, HELLO_SALT);
    memcpy(aad + 14 + HELLO_SALT, flight, HELLO_SALT);
}

int reply_write(const struct reply_keys *keys, const uint8_t salt_c[HELLO_SALT],
                const uint8_t salt_s[HELLO_SALT], struct reply *r, uint8_t *out)
{
    uint8_t *fixed = out + REPLY_CLEAR;
    uint8_t aad[REPLY_AAD];
    int n;

    r->version = PROTOCOL_VERSION;
    r->ext_len = r->has_token ? TLV_HEAD + HELLO_TOKEN : 0;
    memcpy(out, salt_s, HELLO_SALT);
    memset(fixed, 0, FIXED);
    fixed[0] = r->version;
    fixed[1] = r->type;
    fixed[2] = r->code;
    fixed[3] = r->flags;
    wire_put_u64(fixed + 4, r->time_ms);
    wire_put_u16(fixed + 12, r->ext_len);
    wire_put_u16(fixed + 14, r->probe_port);
    reply_aad(salt_c, out, aad);
    n = seal_message(keys->reply, 0, (struct bytes){aad, sizeof(aad)}, fixed, FIXED);
    if (n == 0 && r->has_token)
        n = write_ext(keys->reply, fixed, r->token, out + REPLY_FIXED);
    return n < 0 ? n : REPLY_FIXED + n;
}

/* A CHALLENGE brings a token, in EXT; only a refusal has a code. */
static bool reply_makes_sense(const struct reply *r)
{
    switch (r->type) {
    case REPLY_WELCOME:
        return r->code == 0;
    case REPLY_CHALLENGE:
        return r->code == 0 && r->ext_len > 0;
    case REPLY_REFUSED:
        return r->code != 0;
    default:
        return false;
    }
}

enum hello_verdict reply_open(const struct reply_keys *keys, const uint8_t salt_c[HELLO_SALT],
                              const uint8_t flight[REPLY_FIXED], struct reply *r)
{
    uint8_t aad[REPLY_AAD], fixed[SEALED];

    reply_aad(salt_c, flight, aad);
    memcpy(fixed, flight + REPLY_CLEAR, SEALED);
    enum hello_verdict verdict =
        open_message(keys->reply, 0, (struct bytes){aad, sizeof(aad)}, fixed, FIXED);
    if (verdict != HELLO_OK)
        return verdict;
    *r = (struct reply){.version = fixed[0],
                        .type = fixed[1],
                        .code = fixed[2],
                        .flags = fixed[3],
                        .time_ms = wire_get_u64(fixed + 4),
                        .ext_len = wire_get_u16(fixed + 12),
                        .probe_port = wire_get_u16(fixed + 14)};
    if (r->version != PROTOCOL_VERSION || !reply_makes_sense(r) || r->flags != 0 ||
        r->ext_len > HELLO_EXT_MAX || !all_zero(fixed + 16, FIXED - 16))
        return HELLO_BAD;
    return HELLO_OK;
}

enum hello_verdict reply_open_ext(const struct reply_keys *keys, const uint8_t flight[REPLY_FIXED],
                                  uint8_t *ext, struct reply *r)
{
    enum hello_verdict verdict =
        open_ext(keys->reply, flight + REPLY_CLEAR, ext, r->ext_len, r->token, &r->has_token);

    if (verdict == HELLO_OK && r->type == REPLY_CHALLENGE && !r->has_token)
        return HELLO_BAD;
    return verdict;
}

#define TOKEN_LIFE_MS 10000

int token_make(const uint8_t k_boot[32], const uint8_t id[KEY_ID], uint64_t expiry_ms,
               uint8_t token[HELLO_TOKEN])
{
    uint8_t signed_part[14 + KEY_ID + 8], mac[32];
    int err;

    memcpy(signed_part, "bondway1 token", 14);
    memcpy(signed_part + 14, id, KEY_ID);
    wire_put_u64(signed_part + 14 + KEY_ID, expiry_ms);
    err = crypto_hmac(k_boot, signed_part, sizeof(signed_part), mac);
    if (err)
        return err;
    wire_put_u64(token, expiry_ms);
    memcpy(token + 8, mac, HELLO_TOKEN - 8);
    crypto_wipe(mac, sizeof(mac));
    return 0;
}

bool token_valid(const uint8_t k_boot[32], const uint8_t id[KEY_ID], uint64_t now_ms,
                 const uint8_t token[HELLO_TOKEN])
{
    uint64_t expiry_ms = wire_get_u64(token);
    uint8_t expected[HELLO_TOKEN];

    if (token_make(k_boot, id, expiry_ms, expected) < 0 ||
        !crypto_equal(token, expected, HELLO_TOKEN))
        return false;
    return expiry_ms > now_ms && expiry_ms - now_ms <= TOKEN_LIFE_MS;
}

#define OPEN_CLEAR 4 /* mode, family, port: before the address */

size_t open_write(enum open_mode mode, const struct addr *destination, uint8_t out[OPEN_MAX])
{
    out[0] = (uint8_t)mode;
    out[1] = destination->family;
    wire_put_u16(out + 2, destination->port);
    memcpy(out + OPEN_CLEAR, destination->ip, addr_size(destination));
    return OPEN_CLEAR + addr_size(destination);
}

enum hello_verdict open_read(const uint8_t *payload, size_t len, enum open_mode *mode,
                             struct addr *destination)
{
    struct addr to = {0};

    if (len < OPEN_CLEAR || payload[0] > OPEN_PLAIN || (payload[1] != 4 && payload[1] != 6))
        return HELLO_BAD;
    to.family = payload[1];
    to.port = wire_get_u16(payload + 2);
    payload += OPEN_CLEAR;
    len -= OPEN_CLEAR;
    if (to.port == 0 || len < addr_size(&to))
        return HELLO_BAD;
    memcpy(to.ip, payload, addr_size(&to));
    if (read_tlvs(payload + addr_size(&to), len - addr_size(&to), NULL, NULL) != HELLO_OK)
        return HELLO_BAD;
    *mode = (enum open_mode)(payload - OPEN_CLEAR)[0];
    *destination = to;
    return HELLO_OK;
}

const char *opened_name(uint8_t code)
{
    static const char names[][12] = {"connected", "refused", "unreachable", "timed out",
                                     "denied",    "busy",    "failed"};

    return code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}

const char *refusal_name(uint8_t code)
{
    static const char names[][16] = {"unknown", "version", "suite", "limit", "shutting down"};

    return code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}
