/* The gateway's half of the handshake on one connection: HELLO out, REPLY in, then OPEN out and
 * OPENED in. Bytes in, bytes out; no socket. */
#ifndef GATEWAY_GREETING_H
#define GATEWAY_GREETING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/hello.h"
#include "core/record.h"

enum greeting_verdict {
    GREETING_MORE,       /* more bytes, please: greeting_wants() of them */
    GREETING_WELCOMED,   /* the concentrator knows us */
    GREETING_CHALLENGED, /* dial again with the token, on the concentrator's time */
    GREETING_REFUSED,    /* reply.code says why */
    GREETING_OPENED,     /* opened_code says how the dial to the destination went */
    GREETING_BAD,        /* not what a concentrator with our key would send */
    GREETING_FAILED      /* out of memory, or libcrypto failed */
};

/* Owned by a trunk. */
struct greeting {
    const struct key *key; /* borrowed */
    enum crypto_suite suite;
    struct hello_keys hello_keys;
    struct reply_keys reply_keys;
    uint8_t salt_c[HELLO_SALT];
    enum { GREETING_REPLY, GREETING_EXT, GREETING_RECORD_HEAD, GREETING_RECORD } stage;
    struct reply reply;
    uint8_t opened_code;
    struct record_cipher *sealer, *opener; /* owned until greeting_take_ciphers() */
    size_t have, want;
    uint8_t held[REPLY_MAX];
};

/* Appends salt, id, HELLO (and token, or NULL) to flight. Returns 0, or -errno. */
int greeting_start(struct greeting *g, const struct key *key, enum crypto_suite suite,
                   uint64_t time_ms, const uint8_t *token, struct buffer *flight);
/* Appends OPEN and, when there are any, the client's first bytes (at most EARLY_MAX): sealed, or
 * raw behind a plain OPEN. Returns 0, or -errno. */
#define GREETING_EARLY_MAX 14000 /* with the HELLO, within an initial window of ten segments */
int greeting_open(struct greeting *g, enum open_mode mode, const struct addr *destination,
                  const uint8_t *early, size_t early_len, struct buffer *flight);

/* Some of the answer is there. */
bool greeting_has_begun(const struct greeting *g);
/* How many bytes to read next, and where they go: no more, what follows belongs to the relay. */
size_t greeting_wants(struct greeting *g, uint8_t **where);
/* That many or fewer have been read there. */
enum greeting_verdict greeting_read(struct greeting *g, size_t n);

/* For the relay in sealed mode; the caller owns both from now on. */
void greeting_take_ciphers(struct greeting *g, struct record_cipher **seal,
                           struct record_cipher **open);
void greeting_end(struct greeting *g); /* wipes; idempotent on a zeroed one */

#endif
