/* Sealed records of protocol.md: length u16 | AEAD(type || payload) | tag, one key and one counter
 * for each direction. Works in place; touches no socket. */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "core/crypto.h"

enum record_type {
    RECORD_DATA = 0,
    RECORD_FIN = 1,
    RECORD_RESET = 2,
    RECORD_REKEY = 3,
    RECORD_PING = 4,
    RECORD_PONG = 5,
    RECORD_OPEN = 6,
    RECORD_OPENED = 7
};

#define RECORD_PAYLOAD_MAX 16383
#define RECORD_HEAD 3      /* length u16, type u8: the payload lies right behind */
#define RECORD_OVERHEAD 19 /* head and tag */
#define RECORD_MAX (RECORD_PAYLOAD_MAX + RECORD_OVERHEAD)
#define RECORD_REKEY_AFTER (1u << 22) /* records under one key, at most */

/* One direction, at one end. Opaque; wiped when freed. */
struct record_cipher;
struct record_cipher *record_sealer_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY]);
struct record_cipher *record_opener_new(enum crypto_suite suite, const uint8_t key[CRYPTO_KEY]);
void record_cipher_free(struct record_cipher *cipher); /* NULL is fine */

/* Seals the len payload bytes at frame + RECORD_HEAD; writes the head before and the tag behind
 * them. Returns the record's length (len + RECORD_OVERHEAD), or -errno: -EKEYEXPIRED while a REKEY
 * is due and this is none. After a failure the cipher is of no more use. */
int record_seal(struct record_cipher *cipher, enum record_type type, uint8_t *frame, size_t len);
/* How many records may be sealed before REKEY; 0: the next one must be REKEY, with len 0, which
 * changes the key. */
uint32_t record_seals_left(const struct record_cipher *cipher);
/* The same as none left. */
int record_rekey_due(const struct record_cipher *cipher);

struct record {
    uint8_t type;
    uint8_t *payload; /* inside the bytes given to record_open */
    size_t len;
    size_t consumed; /* how many of those bytes the record took */
};

enum record_verdict { RECORD_OK = 0, RECORD_SHORT, RECORD_BAD };

/* Opens, in place, the record at bytes[0..n). SHORT: bytes are untouched, call again with more.
 * BAD: a length out of range, a seal that does not open, an unknown type, a payload of the wrong
 * size for its type (OPEN's is open_read()'s business), a REKEY that is overdue: end the
 * connection. A REKEY has changed the key already when this returns. Whether a type may come now
 * is the caller's business. */
enum record_verdict record_open(struct record_cipher *cipher, uint8_t *bytes, size_t n,
                                struct record *out);

#endif
