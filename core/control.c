#include "core/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/list.h"

#define CLIENTS_MAX 16
#define REQUEST_MAX 256
#define DEADLINE_MS 2000
#define PAUSE_MS 100 /* when there are no descriptors left */
#define ASK_TIMEOUT_MS 5000
#define ANSWER_MAX (64 * 1024 * 1024)

struct control {
    struct event_base *base;
    const struct control_command *commands;
    void *arg;
    char *path;
    dev_t device; /* of the socket's file, so that only our own is unlinked */
    ino_t inode;
    int fd;
    struct event *accepting, *pause;
    struct list clients;
    unsigned n_clients;
};

/* One connection: first the request is read, then the answer written. */
struct client {
    struct list node;
    struct control *control;
    int fd;
    struct event *io, *deadline;
    char request[REQUEST_MAX];
    size_t request_len;
    char *answer; /* NULL while the request is read */
    size_t answer_len, sent;
};

static struct timeval in_ms(unsigned ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

/* ---- a client ---- */

static void client_close(struct client *client)
{
    struct control *control = client->control;

    list_remove(&client->node);
    if (control->n_clients-- == CLIENTS_MAX)
        event_add(control->accepting, NULL);
    if (client->io)
        event_free(client->io);
    if (client->deadline)
        event_free(client->deadline);
    close(client->fd);
    free(client->answer);
    free(client);
}

static struct json_object *answer_error(const char *text)
{
    struct json_object *answer = json_object_new_object();

    if (answer)
        json_object_object_add(answer, "error", json_object_new_string(text));
    return answer;
}

/* The name may be any bytes; what is answered is text. */
static struct json_object *answer_unknown(const struct control *control, const char *name)
{
    char text[2 * REQUEST_MAX];
    size_t n = (size_t)snprintf(text, sizeof(text), "unknown command \"%s\"; known:", name);

    for (char *c = text; *c; c++) {
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    }
    for (const struct control_command *c = control->commands; c->name && n < sizeof(text); c++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, " %s", c->name);
    return answer_error(text);
}

static struct json_object *answer_to(const struct control *control, const char *name)
{
    for (const struct control_command *c = control->commands; c->name; c++) {
        if (strcmp(c->name, name) == 0) {
            struct json_object *answer = c->answer(control->arg);
            return answer ? answer : answer_error("internal failure; see the log");
        }
    }
    return answer_unknown(control, name);
}

/* Keeps the document's text, one line: seconds and milliseconds to three places, not to 17. Returns
 * false when memory is short. */
static bool client_set_answer(struct client *client, struct json_object *answer)
{
    json_c_set_serialization_double_format("%.3f", JSON_C_OPTION_THREAD);
    const char *text =
        answer ? json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE |
                                                            JSON_C_TO_STRING_NOZERO)
               : NULL;
    size_t len = text ? strlen(text) : 0;

    client->answer = text ? malloc(len + 1) : NULL;
    if (client->answer) {
        memcpy(client->answer, text, len);
        client->answer[len] = '\n';
        client->answer_len = len + 1;
    }
    json_object_put(answer);
    return client->answer != NULL;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct client *client = arg;
    ssize_t n = send(fd, client->answer + client->sent, client->answer_len - client->sent,
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        client->sent += (size_t)n;
    if (n <= 0 || client->sent == client->answer_len)
        client_close(client);
}

static void client_answer(struct client *client, struct json_object *answer)
{
    struct control *control = client->control;

    event_free(client->io);
    client->io = event_new(control->base, client->fd, EV_WRITE | EV_PERSIST, on_writable, client);
    if (!client_set_answer(client, answer) || !client->io || event_add(client->io, NULL) == -1)
        client_close(client);
}

/* The request ends with its line, or with the stream. */
static void client_take(struct client *client, bool eof)
{
    char *end = memchr(client->request, '\n', client->request_len);

    if (!end && client->request_len == sizeof(client->request))
        client_answer(client, answer_error("the request is longer than 255 bytes"));
    else if (!end && eof && client->request_len == 0)
        client_close(client);
    else if (end || eof) {
        if (!end)
            end = client->request + client->request_len;
        *end = '\0';
        client_answer(client, answer_to(client->control, client->request));
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct client *client = arg;
    ssize_t n = recv(fd, client->request + client->request_len,
                     sizeof(client->request) - client->request_len, MSG_DONTWAIT);

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == -1) {
        client_close(client);
        return;
    }
    client->request_len += (size_t)n;
    client_take(client, n == 0);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    client_close(arg);
}

/* Takes fd. */
static void client_new(struct control *control, int fd)
{
    struct timeval deadline = in_ms(DEADLINE_MS);
    struct client *client = calloc(1, sizeof(*client));

    if (!client) {
        close(fd);
        return;
    }
    client->control = control;
    client->fd = fd;
    list_append(&control->clients, &client->node);
    if (++control->n_clients == CLIENTS_MAX)
        event_del(control->accepting);
    client->io = event_new(control->base, fd, EV_READ | EV_PERSIST, on_readable, client);
    client->deadline = evtimer_new(control->base, on_deadline, client);
    if (!client->io || event_add(client->io, NULL) == -1 || !client->deadline ||
        event_add(client->deadline, &deadline) == -1)
        client_close(client);
}

/* ---- the socket ---- */

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
    struct control *control = arg;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd != -1) {
        client_new(control, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        /* The connection stays in the queue: without a pause, the loop would spin on it. */
        struct timeval pause = in_ms(PAUSE_MS);
        event_del(control->accepting);
        event_add(control->pause, &pause);
    }
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct control *control = arg;

    if (control->n_clients < CLIENTS_MAX)
        event_add(control->accepting, NULL);
}

static int fill_address(struct sockaddr_un *un, const char *path)
{
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(un->sun_path))
        return -ENAMETOOLONG;
    strcpy(un->sun_path, path);
    return 0;
}

/* The directory of path, made when it is missing; locked, so that of two programs that start at
 * once only one replaces a stale socket. Returns its descriptor, or -errno. */
static int lock_directory(const char *path)
{
    char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;

    snprintf(directory, sizeof(directory), "%.*s", (int)len, path);
    if (!slash)
        strcpy(directory, ".");
    else if (len == 0)
        strcpy(directory, "/");
    bool made = mkdir(directory, 0755) == 0;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1)
        return -errno;
    /* mkdir() heeds the umask; status may be asked for from a daemon's odd one. */
    if ((made && fchmod(fd, 0755) == -1) || flock(fd, LOCK_EX) == -1) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

/* 0 when a program listens there; -ECONNREFUSED when none does. */
static int try_connect(const struct sockaddr_un *un)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1)
        return -errno;
    int err = connect(fd, (const struct sockaddr *)un, sizeof(*un)) == -1 ? -errno : 0;
    close(fd);
    return err == -EAGAIN ? 0 : err; /* its queue is full: it lives */
}

/* Removes a socket that nobody answers on, and nothing else. */
static int remove_stale(const struct sockaddr_un *un)
{
    struct stat st;

    if (lstat(un->sun_path, &st) == -1)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int err = try_connect(un);
    if (err == 0)
        return -EADDRINUSE;
    if (err != -ECONNREFUSED)
        return err;
    return unlink(un->sun_path) == -1 ? -errno : 0;
}

/* The mode of a socket's file is that of the socket, less the umask: set before bind(), it is
 * never wider than 0600; set again, it is not narrower either. */
static int bind_private(int fd, const struct sockaddr_un *un, struct stat *st)
{
    if (fchmod(fd, 0600) == -1 || bind(fd, (const struct sockaddr *)un, sizeof(*un)) == -1)
        return -errno;
    if (chmod(un->sun_path, 0600) == -1 || lstat(un->sun_path, st) == -1 ||
        listen(fd, CLIENTS_MAX) == -1) {
        int err = -errno;
        unlink(un->sun_path);
        return err;
    }
    return 0;
}

static int control_bind(struct control *control)
{
    struct sockaddr_un un;
    struct stat st;
    int err = fill_address(&un, control->path);

    if (err)
        return err;
    int directory = lock_directory(control->path);
    if (directory < 0)
        return directory;
    err = remove_stale(&un);
    if (!err)
        err = bind_private(control->fd, &un, &st);
    close(directory);
    if (err)
        return err;
    control->device = st.st_dev;
    control->inode = st.st_ino;
    return 0;
}

static int control_start(struct control *control, const char *path)
{
    control->path = strdup(path);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (!control->path || control->fd == -1)
        return control->path ? -errno : -ENOMEM;
    control->accepting =
        event_new(control->base, control->fd, EV_READ | EV_PERSIST, on_connection, control);
    control->pause = evtimer_new(control->base, on_pause_over, control);
    if (!control->accepting || !control->pause)
        return -ENOMEM;
    int err = control_bind(control);
    if (err)
        return err;
    return event_add(control->accepting, NULL) == -1 ? -ENOMEM : 0;
}

int control_new(struct control **out, struct event_base *base, const char *path,
                const struct control_command *commands, void *arg)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control)
        return -ENOMEM;
    control->base = base;
    control->commands = commands;
    control->arg = arg;
    control->fd = -1;
    list_init(&control->clients);
    int err = control_start(control, path);
    if (err) {
        control_free(control);
        return err;
    }
    *out = control;
    return 0;
}

static bool is_our_file(const struct control *control)
{
    struct stat st;

    return control->inode && lstat(control->path, &st) == 0 && st.st_dev == control->device &&
           st.st_ino == control->inode;
}

void control_free(struct control *control)
{
    if (!control)
        return;
    list_each(it, &control->clients) client_close(list_entry(it, struct client, node));
    if (control->accepting)
        event_free(control->accepting);
    if (control->pause)
        event_free(control->pause);
    if (is_our_file(control))
        unlink(control->path);
    if (control->fd != -1)
        close(control->fd);
    free(control->path);
    free(control);
}

/* ---- asking ---- */

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
    struct timeval timeout = in_ms(ASK_TIMEOUT_MS);
    struct sockaddr_un un;
    int err = fill_address(&un, path);

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
