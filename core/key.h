/* A gateway's key: public id and secret, and their text form (protocol.md, Key). */
#ifndef CORE_KEY_H
#define CORE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_ID 8
#define KEY_SECRET 32
#define KEY_ID_TEXT (2 * KEY_ID + 1)
#define KEY_TEXT 64 /* "bondway1:" + 54 characters of base64url + terminator */

struct key {
    uint8_t id[KEY_ID];
    uint8_t secret[KEY_SECRET];
};

/* The keys of one gateway: two while a new one takes the old one's place, which is the first. */
#define KEY_RING 2
struct key_ring {
    struct key keys[KEY_RING];
    size_t n;
};

/* A random secret, and the id that belongs to it. Returns 0, or -errno. */
int key_generate(struct key *key);
/* The id belongs to the secret (protocol.md, Key), so no character of the text is wrong. False,
 * too, for a good key that somebody else has made another way. */
bool key_is_whole(const struct key *key);
void key_format(const struct key *key, char out[KEY_TEXT]);
/* The id alone, as 16 hexadecimal digits: no secret. Returns out. */
const char *key_format_id(const struct key *key, char out[KEY_ID_TEXT]);
/* One key line, without its newline. Returns 0, or -EINVAL; strict: no padding, no other
 * characters, unused bits zero. */
int key_parse(struct key *key, const char *text);
void key_wipe(struct key *key);
void key_ring_wipe(struct key_ring *ring);

/* Reads the one key in a file ('#' comments and blank lines allowed). Returns 0, or -errno, and
 * then why[] says what is wrong and what to do, to be printed behind the path: -EACCES/-ENOENT
 * from open, -EPERM when others than the owner can read it, -EINVAL when it holds no good key
 * line. *key is all zeros then. */
int key_load(struct key *key, const char *path, char *why, size_t why_len);
/* Likewise, the keys in a file that may hold up to KEY_RING of them, each on its line. */
int key_ring_load(struct key_ring *ring, const char *path, char *why, size_t why_len);

#endif
