#include "core/key.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crypto.h"

#define PREFIX "bondway1:"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define RAW (KEY_ID + KEY_SECRET)
#define DIGITS 54 /* of base64url for RAW bytes; the last carries 4 unused bits */
#define FILE_MAX 4096

static_assert(sizeof(struct key) == RAW, "id and secret lie side by side");
static_assert(PREFIX_LEN + DIGITS + 1 == KEY_TEXT, "the text fits exactly");

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The first bytes of HMAC-SHA-256(secret, "bondway1 id"). Returns 0, or -errno. */
static int derive_id(const struct key *key, uint8_t id[KEY_ID])
{
    static const char label[] = "bondway1 id";
    uint8_t mac[32];
    int err = crypto_hmac(key->secret, label, sizeof(label) - 1, mac);

    if (!err)
        memcpy(id, mac, KEY_ID);
    crypto_wipe(mac, sizeof(mac));
    return err;
}

int key_generate(struct key *key)
{
    int err = crypto_random(key->secret, KEY_SECRET);

    return err ? err : derive_id(key, key->id);
}

bool key_is_whole(const struct key *key)
{
    uint8_t id[KEY_ID];

    return derive_id(key, id) == 0 && crypto_equal(id, key->id, KEY_ID);
}

void key_wipe(struct key *key)
{
    crypto_wipe(key, sizeof(*key));
}

void key_ring_wipe(struct key_ring *ring)
{
    crypto_wipe(ring, sizeof(*ring));
}

void key_format(const struct key *key, char out[KEY_TEXT])
{
    uint8_t raw[RAW];
    char *digit = out + PREFIX_LEN;
    unsigned bits = 0, waiting = 0;

    memcpy(raw, key->id, KEY_ID);
    memcpy(raw + KEY_ID, key->secret, KEY_SECRET);
    memcpy(out, PREFIX, PREFIX_LEN);
    for (size_t i = 0; i < RAW; i++) {
        bits = (bits << 8 | raw[i]) & 0x3fff;
        for (waiting += 8; waiting >= 6; waiting -= 6)
            *digit++ = base64url[bits >> (waiting - 6) & 63];
    }
    *digit++ = base64url[bits << (6 - waiting) & 63];
    *digit = '\0';
    crypto_wipe(raw, sizeof(raw));
}

const char *key_format_id(const struct key *key, char out[KEY_ID_TEXT])
{
    for (size_t i = 0; i < KEY_ID; i++)
        snprintf(out + 2 * i, 3, "%02x", key->id[i]);
    return out;
}

/* Exactly DIGITS digits, then the end. */
static int decode(uint8_t raw[RAW], const char *text)
{
    unsigned bits = 0, waiting = 0;
    size_t n = 0;

    for (size_t i = 0; i < DIGITS; i++) {
        const char *digit = text[i] != '\0' ? strchr(base64url, text[i]) : NULL;

        if (!digit)
            return -EINVAL;
        bits = (bits << 6 | (unsigned)(digit - base64url)) & 0x3fff;
        waiting += 6;
        if (waiting >= 8) {
            waiting -= 8;
            raw[n++] = (uint8_t)(bits >> waiting);
        }
    }
    return text[DIGITS] == '\0' && (bits & ((1u << waiting) - 1)) == 0 ? 0 : -EINVAL;
}

int key_parse(struct key *key, const char *text)
{
    uint8_t raw[RAW];
    int err = -EINVAL;

    if (strncmp(text, PREFIX, PREFIX_LEN) == 0)
        err = decode(raw, text + PREFIX_LEN);
    if (!err) {
        memcpy(key->id, raw, KEY_ID);
        memcpy(key->secret, raw + KEY_ID, KEY_SECRET);
    }
    crypto_wipe(raw, sizeof(raw));
    return err;
}

/* What to tell about a line that is no key. Never the line itself: it may be a key but for a slip
 * of the hand. */
static const char *describe_bad_line(const char *line)
{
    if (strncmp(line, PREFIX "//", PREFIX_LEN + 2) == 0)
        return "this is a join link, not a key: give it to `bondway join`";
    if (strncmp(line, PREFIX, PREFIX_LEN) != 0)
        return "not a key line: a key starts with \"" PREFIX "\"; `bondway keygen` makes one";
    if (strlen(line) < PREFIX_LEN + DIGITS)
        return "the key is cut short: copy the whole line again";
    if (strlen(line) > PREFIX_LEN + DIGITS)
        return "something follows the key on its line: remove it";
    return "the key has a wrong character: copy the whole line again";
}

/* text without the blanks around it, cut in place. */
static char *trim(char *text)
{
    size_t len;

    text += strspn(text, " \t\r");
    len = strlen(text);
    while (len > 0 && strchr(" \t\r", text[len - 1]))
        text[--len] = '\0';
    return text;
}

/* What a file's keys are read into, and where the first was found. */
struct reading {
    struct key_ring *ring;
    size_t max;
    unsigned first_line;
};

/* The line that is number `number` in its file. */
static int read_key(struct reading *r, const char *line, unsigned number, char *why, size_t why_len)
{
    struct key_ring *ring = r->ring;

    if (ring->n == r->max) {
        snprintf(why, why_len, "line %u: a %s key (the first is in line %u): keep %s", number,
                 r->max == 1 ? "second" : "third", r->first_line, r->max == 1 ? "one" : "two");
        return -EINVAL;
    }
    struct key *key = &ring->keys[ring->n];
    if (key_parse(key, line) < 0) {
        snprintf(why, why_len, "line %u: %s", number, describe_bad_line(line));
        return -EINVAL;
    }
    if (ring->n > 0 && memcmp(key->id, ring->keys[0].id, KEY_ID) == 0) {
        snprintf(why, why_len, "line %u: the key of line %u again: remove one of them", number,
                 r->first_line);
        return -EINVAL;
    }
    if (ring->n++ == 0)
        r->first_line = number;
    return 0;
}

/* Cuts text into its lines, and takes the keys among them, `max` at the most. */
static int read_lines(struct key_ring *ring, size_t max, char *text, char *why, size_t why_len)
{
    struct reading r = {.ring = ring, .max = max};

    ring->n = 0;
    for (unsigned number = 1; text; number++) {
        const char *line = trim(strsep(&text, "\n"));
        if (*line == '\0' || *line == '#')
            continue;
        int err = read_key(&r, line, number, why, why_len);
        if (err < 0)
            return err;
    }
    if (ring->n == 0)
        snprintf(why, why_len, "holds no key: `bondway keygen` makes one");
    return ring->n > 0 ? 0 : -EINVAL;
}

static int check_file(int fd, const char *path, char *why, size_t why_len)
{
    struct stat st;

    if (fstat(fd, &st) == -1) {
        int err = -errno;

        snprintf(why, why_len, "cannot be examined: %s", strerror(-err));
        return err;
    }
    if (!S_ISREG(st.st_mode)) {
        snprintf(why, why_len, "is not a regular file");
        return -EINVAL;
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        snprintf(why, why_len, "others than its owner may read it (mode %04o): chmod 600 %s",
                 (unsigned)(st.st_mode & 07777), path);
        return -EPERM;
    }
    return 0;
}

/* The whole file as a string. */
static int read_text(int fd, char text[FILE_MAX + 2], char *why, size_t why_len)
{
    size_t len = 0;
    ssize_t n;

    while ((n = read(fd, text + len, FILE_MAX + 1 - len)) != 0) {
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1) {
            int err = -errno;

            snprintf(why, why_len, "cannot be read: %s", strerror(-err));
            return err;
        }
        len += (size_t)n;
    }
    text[len] = '\0';
    if (len > FILE_MAX || strlen(text) < len) {
        snprintf(why, why_len, "is not a key file: %s",
                 len > FILE_MAX ? "it is far too long" : "it is not text");
        return -EINVAL;
    }
    return 0;
}

static int load(struct key_ring *ring, size_t max, const char *path, char *why, size_t why_len)
{
    char text[FILE_MAX + 2];
    /* NONBLOCK: a named pipe must not hold the start up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int err;

    if (fd == -1) {
        err = -errno;
        snprintf(why, why_len, "cannot be opened: %s", strerror(-err));
        return err;
    }
    err = check_file(fd, path, why, why_len);
    if (!err)
        err = read_text(fd, text, why, why_len);
    if (!err)
        err = read_lines(ring, max, text, why, why_len);
    crypto_wipe(text, sizeof(text));
    close(fd);
    return err;
}

int key_ring_load(struct key_ring *ring, const char *path, char *why, size_t why_len)
{
    int err = load(ring, KEY_RING, path, why, why_len);

    if (err)
        key_ring_wipe(ring);
    return err;
}

int key_load(struct key *key, const char *path, char *why, size_t why_len)
{
    struct key_ring ring;
    int err = load(&ring, 1, path, why, why_len);

    if (err)
        key_wipe(key);
    else
        *key = ring.keys[0];
    key_ring_wipe(&ring);
    return err;
}
