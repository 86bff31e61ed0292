/* The replay cache: every salt that opened a HELLO in the last 90 s, exactly (no filter that errs),
 * with a quota for each gateway. A salt leaves by age alone: nobody can push it out. One lock;
 * safe from every thread. */
#ifndef CONCENTRATOR_REPLAY_H
#define CONCENTRATOR_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hello.h"
#include "core/key.h"

#define REPLAY_KEPT_MS 90000

struct replay;

/* NULL: out of memory, or no randomness. */
struct replay *replay_new(void);
void replay_free(struct replay *replay); /* NULL is fine */

enum replay_verdict { REPLAY_NEW, REPLAY_SEEN, REPLAY_FULL };

/* Check and insert in one step. quota: how many salts this id may have in here (about 80 bytes
 * each). now_ms never goes back (clock_boot_ms()). */
enum replay_verdict replay_insert(struct replay *replay, const uint8_t id[KEY_ID],
                                  const uint8_t salt[HELLO_SALT], size_t quota, uint64_t now_ms);
bool replay_contains(struct replay *replay, const uint8_t id[KEY_ID],
                     const uint8_t salt[HELLO_SALT], uint64_t now_ms);
/* One salt, as another process is told of it. */
struct replay_entry {
    uint8_t id[KEY_ID];
    uint8_t salt[HELLO_SALT];
    uint64_t until_ms; /* clock_boot_ms() */
};
/* All of them, the oldest first: *out is malloced, NULL for none. Returns 0, or -ENOMEM. */
int replay_list(struct replay *replay, struct replay_entry **out, size_t *n);
/* Into one that is empty. Returns 0, or -ENOMEM. */
int replay_restore(struct replay *replay, const struct replay_entry *list, size_t n);
/* How many salts it holds. */
size_t replay_count(struct replay *replay);

#endif
