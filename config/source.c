#include "config/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Behind a comment or string that starts at `text`; `text` itself where none starts. */
static const char *skip_token(const char *text)
{
    if (text[0] == '#' || (text[0] == '/' && text[1] == '/'))
        return text + strcspn(text, "\n");
    if (text[0] == '/' && text[1] == '*') {
        const char *end = strstr(text + 2, "*/");
        return end ? end + 2 : text + strlen(text);
    }
    if (text[0] != '"')
        return text;
    for (text++; *text && *text != '"'; text++) {
        if (text[0] == '\\' && text[1])
            text++;
    }
    return *text ? text + 1 : text;
}

static int line_of(const char *text, const char *at)
{
    int line = 1;

    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

bool source_check(const char *text, struct source_mistake *mistake)
{
    int depth = 0;
    const char *at = text;

    mistake->what = NULL;
    while (*at && !mistake->what) {
        const char *behind = skip_token(at);
        if (behind != at) {
            at = behind;
            continue;
        }
        if (strchr("([{", *at) && ++depth > SOURCE_MAX_DEPTH)
            mistake->what = "brackets are nested too deep; close some";
        else if (strchr(")]}", *at) && depth > 0)
            depth--;
        else if (*at == '@')
            mistake->what = "@include is not supported; write everything in one file";
        at++;
    }
    mistake->line = line_of(text, at);
    return !mistake->what;
}
