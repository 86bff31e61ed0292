/* The UDP probe of protocol.md, section Probes: 68 bytes each way. Pure. */
#ifndef CORE_PROBE_PACKET_H
#define CORE_PROBE_PACKET_H

#include <stdint.h>

#include "core/crypto.h"
#include "core/key.h"

#define PROBE_SIZE 68

struct probe_keys {
    uint8_t c2s[32], s2c[32];
};

struct probe {
    uint64_t seq, time_us;
    uint8_t uplink;
    uint64_t server_ms; /* answers only */
};

/* All return 0, or -errno; -EBADMSG for a packet that must be dropped in silence. */
int probe_derive(const struct key *key, struct probe_keys *keys);
int probe_write_request(const struct key *key, const struct probe_keys *keys,
                        const uint8_t nonce[CRYPTO_NONCE], const struct probe *p,
                        uint8_t out[PROBE_SIZE]);
int probe_read_request(const struct probe_keys *keys, const uint8_t packet[PROBE_SIZE],
                       struct probe *p);
/* Answers with the request's nonce. */
int probe_write_answer(const struct probe_keys *keys, const uint8_t request[PROBE_SIZE],
                       const struct probe *p, uint8_t out[PROBE_SIZE]);
int probe_read_answer(const struct probe_keys *keys, const uint8_t packet[PROBE_SIZE],
                      struct probe *p);

#endif
