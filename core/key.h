/* A gateway's key: public id and secret, and their text form (protocol.md, Key). */
#ifndef CORE_KEY_H
#define CORE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_ID 8
#define KEY_SECRET 32
#define KEY_TEXT 64 /* "bondway1:" + 54 characters of base64url + terminator */

struct key {
    uint8_t id[KEY_ID];
    uint8_t secret[KEY_SECRET];
};

/* A random secret, and the id that belongs to it. Returns 0, or -errno. */
int key_generate(struct key *key);
/* The id belongs to the secret (protocol.md, Key), so no character of the text is wrong. False,
 * too, for a good key that somebody else has made another way. */
bool key_is_whole(const struct key *key);
void key_format(const struct key *key, char out[KEY_TEXT]);
/* One key line, without its newline. Returns 0, or -EINVAL; strict: no padding, no other
 * characters, unused bits zero. */
int key_parse(struct key *key, const char *text);
void key_wipe(struct key *key);

/* Reads the one key in a file ('#' comments and blank lines allowed). Returns 0, or -errno, and
 * then why[] says what is wrong and what to do, to be printed behind the path: -EACCES/-ENOENT
 * from open, -EPERM when others than the owner can read it, -EINVAL when it holds no good key
 * line. *key is all zeros then. */
int key_load(struct key *key, const char *path, char *why, size_t why_len);

#endif
