/* The handshake of protocol.md: key schedule, HELLO, EXT, REPLY, OPEN, OPENED, token. Pure:
 * bytes in, verdict out; no socket, no clock. */
#ifndef CORE_HELLO_H
#define CORE_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/crypto.h"
#include "core/key.h"

#define HELLO_SALT 32
#define HELLO_FIXED 88     /* salt_c, id, sealed HELLO */
#define REPLY_FIXED 80     /* salt_s, sealed REPLY */
#define HELLO_EXT_MAX 1024 /* ext_len */
#define HELLO_MAX (HELLO_FIXED + HELLO_EXT_MAX + CRYPTO_TAG)
#define REPLY_MAX (REPLY_FIXED + HELLO_EXT_MAX + CRYPTO_TAG)
#define HELLO_TOKEN 24 /* expiry_ms u64, 16 bytes of HMAC */
#define PROTOCOL_VERSION 1

/* The functions here return OK or BAD; SHORT is for who collects the bytes. */
/* FAILED: out of memory, which says nothing of the bytes. */
enum hello_verdict { HELLO_OK = 0, HELLO_SHORT, HELLO_BAD, HELLO_FAILED };

enum reply_type { REPLY_WELCOME = 2, REPLY_CHALLENGE = 3, REPLY_REFUSED = 4 };
enum refusal { REFUSED_VERSION = 1, REFUSED_SUITE = 2, REFUSED_LIMIT = 3, REFUSED_SHUTDOWN = 4 };

/* What the first flight derives. prk is kept for the reply's schedule. Wipe after use. */
struct hello_keys {
    uint8_t prk[32], hello[32], c2s[32];
};
struct reply_keys {
    uint8_t reply[32], s2c[32];
};

/* Return 0, or -errno. */
int hello_derive(const struct key *key, const uint8_t salt_c[HELLO_SALT], struct hello_keys *out);
int reply_derive(const struct key *key, const uint8_t prk[32], const uint8_t salt_s[HELLO_SALT],
                 struct reply_keys *out);

struct hello {
    uint8_t version, type, suite, flags;
    uint64_t time_ms;
    uint16_t ext_len;
    bool has_token;
    uint8_t token[HELLO_TOKEN];
};

/* Writes salt_c, id, HELLO and, with a token, EXT to out[HELLO_MAX]. Returns the length, or
 * -errno. */
int hello_write(const struct key *key, const struct hello_keys *keys,
                const uint8_t salt_c[HELLO_SALT], enum crypto_suite suite, uint64_t time_ms,
                const uint8_t token[HELLO_TOKEN] /* or NULL */, uint8_t *out);
/* Opens the sealed HELLO in flight[0..HELLO_FIXED). Fills all of *h but the token. Checks seal,
 * zeros, type and ext_len's range; version and suite are the caller's policy. flight is not
 * changed. */
enum hello_verdict hello_open(const struct hello_keys *keys, const uint8_t flight[HELLO_FIXED],
                              struct hello *h);
/* Opens EXT (h->ext_len + tag bytes right behind the HELLO) in place and reads the token. */
enum hello_verdict hello_open_ext(const struct hello_keys *keys, const uint8_t flight[HELLO_FIXED],
                                  uint8_t *ext, struct hello *h);

struct reply {
    uint8_t version, type, code, flags;
    uint64_t time_ms;
    uint16_t ext_len, probe_port;
    bool has_token;
    uint8_t token[HELLO_TOKEN];
};

/* Writes salt_s, REPLY and, when r->has_token, EXT to out[REPLY_MAX]; r->version, ext_len are
 * filled in. Returns the length, or -errno. */
int reply_write(const struct reply_keys *keys, const uint8_t salt_c[HELLO_SALT],
                const uint8_t salt_s[HELLO_SALT], struct reply *r, uint8_t *out);
/* Checks all of it, version too. REFUSED has a code, the others have none; CHALLENGE has an EXT,
 * which holds a token. */
enum hello_verdict reply_open(const struct reply_keys *keys, const uint8_t salt_c[HELLO_SALT],
                              const uint8_t flight[REPLY_FIXED], struct reply *r);
enum hello_verdict reply_open_ext(const struct reply_keys *keys, const uint8_t flight[REPLY_FIXED],
                                  uint8_t *ext, struct reply *r);

/* token = expiry_ms || HMAC(k_boot, "bondway1 token" || id || expiry_ms)[16]. Return 0/-errno. */
int token_make(const uint8_t k_boot[32], const uint8_t id[KEY_ID], uint64_t expiry_ms,
               uint8_t token[HELLO_TOKEN]);
bool token_valid(const uint8_t k_boot[32], const uint8_t id[KEY_ID], uint64_t now_ms,
                 const uint8_t token[HELLO_TOKEN]);

/* OPEN's payload (record type 6). */
enum open_mode { OPEN_SEALED = 0, OPEN_PLAIN = 1 };
#define OPEN_MAX 20
size_t open_write(enum open_mode mode, const struct addr *destination, uint8_t out[OPEN_MAX]);
/* BAD: unknown TLVs >= 0x80 (others are skipped), port 0, anything cut short. */
enum hello_verdict open_read(const uint8_t *payload, size_t len, enum open_mode *mode,
                             struct addr *destination);

/* OPENED's code (record type 7). */
enum opened {
    OPENED_CONNECTED = 0,
    OPENED_REFUSED,
    OPENED_UNREACHABLE,
    OPENED_TIMED_OUT,
    OPENED_DENIED,
    OPENED_BUSY,
    OPENED_FAILED
};
const char *opened_name(uint8_t code);
const char *refusal_name(uint8_t code);

#endif
