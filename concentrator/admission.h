/* Who may come in: protocol.md, "S on HELLO", steps 2 to 6. No socket; time comes from the caller.
 * Safe from every thread. */
#ifndef CONCENTRATOR_ADMISSION_H
#define CONCENTRATOR_ADMISSION_H

#include <stddef.h>
#include <stdint.h>

#include "concentrator/peers.h"
#include "concentrator/replay.h"
#include "core/hello.h"

struct admission;

/* The protocol's clock starts at wall_ms and then follows boot_ms (clock_boot_ms()), so that a step
 * of the wall clock reopens nothing. NULL: out of memory, or no randomness. */
struct admission *admission_new(uint64_t wall_ms, uint64_t boot_ms);
void admission_free(struct admission *admission);
/* The protocol's time. */
uint64_t admission_time_ms(const struct admission *admission, uint64_t boot_ms);

/* What the next process must know to go on where this one ends: nothing is accepted twice, and
 * tokens stay valid. */
struct admission_legacy {
    uint64_t started_wall_ms, started_boot_ms;
    uint8_t k_boot[32];
    struct replay_entry *salts; /* malloced */
    size_t n_salts;
};
/* From now on nobody is welcome: whose HELLO is good is sent away with a CHALLENGE, and comes back,
 * to the next process or, when that has come to nothing, to this one. */
void admission_close(struct admission *admission);
void admission_reopen(struct admission *admission);
/* Once closed, and when every thread knows. Returns 0, or -ENOMEM. */
int admission_bequeath(struct admission *admission, struct admission_legacy *out);
/* Into a new one. Returns 0, or -ENOMEM. */
int admission_inherit(struct admission *admission, const struct admission_legacy *legacy);
void admission_legacy_clear(struct admission_legacy *legacy);

/* One connection's first flight as it comes in: all that a stranger can make us hold. */
struct greeting {
    uint8_t flight[HELLO_MAX];
    size_t have, want;       /* read until have == want, then ask admission_judge() */
    const struct peer *peer; /* NULL until the HELLO has opened */
    struct hello_keys keys;
    struct hello hello;
    uint8_t refusal; /* enum refusal, with ADMISSION_REFUSED */
};
void greeting_begin(struct greeting *greeting);
void greeting_wipe(struct greeting *greeting);

enum admission_verdict {
    ADMISSION_MORE,      /* want has grown: read on */
    ADMISSION_WELCOME,   /* answer WELCOME; its salt is in the cache now */
    ADMISSION_CHALLENGE, /* answer CHALLENGE, then end of stream */
    ADMISSION_REFUSED,   /* answer REFUSED with the code, then end of stream */
    ADMISSION_BAD,       /* say nothing */
    ADMISSION_REPLAY,    /* say nothing */
    ADMISSION_FAILED     /* out of memory: it may come again */
};

enum admission_verdict admission_judge(struct admission *admission, const struct peers *peers,
                                       struct greeting *greeting, uint64_t boot_ms);

/* Writes the answer (REPLY, and a token with CHALLENGE) to out[REPLY_MAX]; keys then hold what the
 * records to the gateway are sealed with. Returns its length, or -errno. */
int admission_reply(struct admission *admission, const struct greeting *greeting,
                    enum reply_type type, uint8_t code, uint16_t probe_port, uint64_t boot_ms,
                    struct reply_keys *keys, uint8_t *out);

#endif
