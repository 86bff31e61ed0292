#include "config/source.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static int fail(int err, const char *text, char *why, size_t why_len)
{
    snprintf(why, why_len, "%s", text);
    return err;
}

static int fail_to_open(int err, char *why, size_t why_len)
{
    if (err == -ENOENT)
        return fail(err, "there is no such file; create it, or name another with -c", why, why_len);
    if (err == -EACCES)
        return fail(err, "cannot be read: permission denied; run this as root", why, why_len);
    snprintf(why, why_len, "cannot be read: %s; name a readable file with -c", strerror(-err));
    return err;
}

/* Opens it without waiting for what a device or a pipe may do. */
static int open_regular(const char *path, int *fd, char *why, size_t why_len)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd == -1)
        return fail_to_open(-errno, why, why_len);
    int err = fstat(*fd, &st) == -1 ? -errno : 0;
    if (err)
        fail_to_open(err, why, why_len);
    else if (S_ISDIR(st.st_mode))
        err = fail(-EISDIR, "is a directory; name the file in it", why, why_len);
    else if (!S_ISREG(st.st_mode))
        err = fail(-EINVAL, "is not a regular file; name one with -c", why, why_len);
    if (err)
        close(*fd);
    return err;
}

/* Up to len bytes. Returns how many, or -errno. */
static ssize_t read_all(int fd, char *into, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = read(fd, into + have, len - have);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -errno;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

int source_read(const char *path, char **text, char *why, size_t why_len)
{
    int fd, err = open_regular(path, &fd, why, why_len);

    if (err)
        return err;
    *text = malloc(SOURCE_MAX_BYTES + 1);
    ssize_t n = *text ? read_all(fd, *text, SOURCE_MAX_BYTES + 1) : -ENOMEM;
    close(fd);
    if (n < 0)
        err = fail_to_open((int)n, why, why_len);
    else if (n > SOURCE_MAX_BYTES)
        err = fail(-EFBIG, "is larger than 1 MiB; name a configuration file", why, why_len);
    else if (memchr(*text, '\0', (size_t)n))
        err = fail(-EINVAL, "holds a NUL byte; name a text file", why, why_len);
    else
        (*text)[n] = '\0';
    if (err)
        free(*text);
    return err;
}

/* NULL when it does not end. */
static const char *skip_string(const char *text)
{
    for (text++; *text && *text != '"'; text++) {
        if (text[0] == '\\' && text[1])
            text++;
    }
    return *text ? text + 1 : NULL;
}

const char *source_skip(const char *text)
{
    if (text[0] == '#' || (text[0] == '/' && text[1] == '/'))
        return text + strcspn(text, "\n");
    if (text[0] == '/' && text[1] == '*') {
        const char *end = strstr(text + 2, "*/");
        return end ? end + 2 : NULL;
    }
    if (text[0] == '"')
        return skip_string(text);
    while (isalpha((unsigned char)*text) || *text == '*')
        text += strspn(text, LETTERS "0123456789-_*");
    return text;
}

/* Moves *text behind the number there. False when it does not fit an int, and has no L behind it:
 * libconfig 1.5 would take something else for it. */
static bool check_number(const char **text)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(*text, &end, 0);
    bool hex = (*text)[0] == '0' && ((*text)[1] == 'x' || (*text)[1] == 'X');
    size_t rest = strspn(end, "0123456789.eEL");
    bool fits = errno == 0 && value <= (hex ? UINT32_MAX : INT32_MAX);
    *text = end + rest;
    return fits || rest > 0;
}

static int line_of(const char *text, const char *at)
{
    int line = 1;

    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

/* What libconfig must not see at `*at`, which moves on; or NULL. */
static const char *check_token(const char **at, int *depth)
{
    const char *behind = source_skip(*at);
    char c = **at;

    if (!behind)
        return "a string or comment has no end; close it";
    if (behind != *at) {
        *at = behind;
        return NULL;
    }
    if (isdigit((unsigned char)c))
        return check_number(at) ? NULL : "a number above 2147483647; write an L behind it";
    ++*at;
    if (c == '@')
        return "@include is not supported; write everything in one file";
    if (strchr("([{", c) && ++*depth > SOURCE_MAX_DEPTH)
        return "brackets are nested too deep; close some";
    if (strchr(")]}", c))
        --*depth;
    return NULL;
}

bool source_check(const char *text, struct source_mistake *mistake)
{
    int depth = 0;
    const char *at = text;

    mistake->what = NULL;
    while (*at && !mistake->what)
        mistake->what = check_token(&at, &depth);
    mistake->line = line_of(text, at);
    return !mistake->what;
}
