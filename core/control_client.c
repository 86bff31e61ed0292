#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/control.h"
#include "core/control_internal.h"

#define ASK_TIMEOUT_MS 5000
#define ANSWER_MAX (64 * 1024 * 1024)
#define LINE_MAX_LENGTH (64 * 1024)

static int ask_failed(int err, const char *path, char *why, size_t why_len)
{
    if (err == -ENOENT || err == -ECONNREFUSED)
        snprintf(why, why_len,
                 "no bondway answers at %s: is it running? start it with `bondway gateway` or "
                 "`bondway concentrator`",
                 path);
    else if (err == -EACCES || err == -EPERM)
        snprintf(why, why_len, "%s is for its owner only: run this as root", path);
    else if (err == -EAGAIN || err == -ETIMEDOUT)
        snprintf(why, why_len, "bondway at %s did not answer within %d s", path,
                 ASK_TIMEOUT_MS / 1000);
    else if (err == -EBADMSG)
        snprintf(why, why_len, "%s did not answer as bondway does", path);
    else
        snprintf(why, why_len, "cannot ask at %s: %s", path, strerror(-err));
    return err;
}

static int ask_connect(const char *path, int *fd)
{
    struct timeval timeout = control_in_ms(ASK_TIMEOUT_MS);
    struct sockaddr_un un;
    int err = control_address(&un, path);

    if (err)
        return err;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd == -1)
        return -errno;
    if (setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == -1 ||
        setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == -1 ||
        connect(*fd, (struct sockaddr *)&un, sizeof(un)) == -1) {
        err = -errno;
        close(*fd);
    }
    return err;
}

static int ask_send(int fd, const char *command)
{
    char line[REQUEST_MAX];
    int n = snprintf(line, sizeof(line), "%s\n", command);

    if (n < 0 || (size_t)n >= sizeof(line))
        return -EINVAL;
    if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
        return -errno;
    return 0;
}

/* Many a greeting of another program begins with a number, which is JSON, too. */
static bool is_document(struct json_object *answer)
{
    return json_object_is_type(answer, json_type_object) ||
           json_object_is_type(answer, json_type_array);
}

/* Parses the stream as it comes: the document is complete when it is, whoever closes when. */
static int ask_receive(int fd, struct json_tokener *tokener, struct json_object **answer)
{
    uint64_t deadline_ms = clock_now_ms() + ASK_TIMEOUT_MS;
    size_t total = 0;

    while (total < ANSWER_MAX && clock_now_ms() < deadline_ms) {
        char chunk[16384];
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -errno;
        if (n == 0)
            return -EBADMSG;
        total += (size_t)n;
        *answer = json_tokener_parse_ex(tokener, chunk, (int)n);
        if (*answer)
            return is_document(*answer) ? 0 : -EBADMSG;
        if (json_tokener_get_error(tokener) != json_tokener_continue)
            return -EBADMSG;
    }
    return total < ANSWER_MAX ? -ETIMEDOUT : -EBADMSG;
}

/* The daemon's own complaint becomes ours. */
static int take_error(struct json_object **answer, char *why, size_t why_len)
{
    struct json_object *error;

    if (!json_object_is_type(*answer, json_type_object) ||
        !json_object_object_get_ex(*answer, "error", &error))
        return 0;
    snprintf(why, why_len, "%s", json_object_get_string(error));
    json_object_put(*answer);
    *answer = NULL;
    return -EPROTO;
}

static int read_line(const struct control_reader *reader, const char *text, size_t len, char *why,
                     size_t why_len)
{
    struct json_tokener *tokener = json_tokener_new();
    int err = tokener ? 0 : -ENOMEM;
    struct json_object *line = tokener ? json_tokener_parse_ex(tokener, text, (int)len) : NULL;

    if (!err && !json_object_is_type(line, json_type_object))
        err = -EBADMSG;
    if (!err)
        err = take_error(&line, why, why_len);
    if (!err && !reader->line(reader->arg, line))
        err = -ECANCELED;
    json_object_put(line);
    if (tokener)
        json_tokener_free(tokener);
    return err;
}

/* Hands out the whole lines in text; *len becomes what is left of the last one, at its begin. */
static int read_lines(const struct control_reader *reader, char *text, size_t *len, char *why,
                      size_t why_len)
{
    char *begin = text, *end = text + *len, *newline;
    int err = 0;

    while (!err && (newline = memchr(begin, '\n', (size_t)(end - begin)))) {
        err = read_line(reader, begin, (size_t)(newline - begin) + 1, why, why_len);
        begin = newline + 1;
    }
    *len = (size_t)(end - begin);
    memmove(text, begin, *len);
    return err;
}

/* Until there is something to receive. */
static int read_wait(int fd, int out_fd, int timeout_ms)
{
    struct pollfd polls[] = {{.fd = fd, .events = POLLIN}, {.fd = out_fd}};
    int n = poll(polls, 2, timeout_ms);

    if (n == -1)
        return errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ETIMEDOUT;
    return polls[1].revents & (POLLERR | POLLHUP) ? -ECANCELED : 0;
}

static int read_stream(int fd, const struct control_reader *reader, int timeout_ms, char *why,
                       size_t why_len)
{
    char text[LINE_MAX_LENGTH];
    size_t len = 0;

    for (;;) {
        int err = read_wait(fd, reader->out_fd, timeout_ms);
        if (err)
            return err;
        ssize_t n = recv(fd, text + len, sizeof(text) - len, MSG_DONTWAIT);
        if (n == -1 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n == -1)
            return errno == ECONNRESET ? 0 : -errno;
        if (n == 0)
            return len == 0 ? 0 : -EBADMSG;
        len += (size_t)n;
        err = read_lines(reader, text, &len, why, why_len);
        if (err)
            return err;
        if (len == sizeof(text))
            return -EBADMSG;
    }
}

int control_read(const char *path, const char *command, bool follow,
                 const struct control_reader *reader, char *why, size_t why_len)
{
    char request[REQUEST_MAX];
    int fd, err = ask_connect(path, &fd);

    if (err)
        return ask_failed(err, path, why, why_len);
    snprintf(request, sizeof(request), "%s%s", command, follow ? " follow" : "");
    err = ask_send(fd, request);
    if (!err)
        err = read_stream(fd, reader, follow ? -1 : ASK_TIMEOUT_MS, why, why_len);
    close(fd);
    if (!err || err == -ECANCELED || err == -EPROTO)
        return err;
    return ask_failed(err, path, why, why_len);
}

int control_ask(const char *path, const char *command, struct json_object **answer, char *why,
                size_t why_len)
{
    int fd, err = ask_connect(path, &fd);

    *answer = NULL;
    if (err)
        return ask_failed(err, path, why, why_len);
    struct json_tokener *tokener = json_tokener_new();
    err = tokener ? ask_send(fd, command) : -ENOMEM;
    if (!err)
        err = ask_receive(fd, tokener, answer);
    if (tokener)
        json_tokener_free(tokener);
    close(fd);
    if (err) {
        json_object_put(*answer);
        *answer = NULL;
        return ask_failed(err, path, why, why_len);
    }
    return take_error(answer, why, why_len);
}

int control_peer(const char *path, struct ucred *peer, char *why, size_t why_len)
{
    socklen_t len = sizeof(*peer);
    int fd, err = ask_connect(path, &fd);

    if (err)
        return ask_failed(err, path, why, why_len);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &len) == -1)
        err = -errno;
    close(fd);
    return err ? ask_failed(err, path, why, why_len) : 0;
}
