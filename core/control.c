#include "core/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/control_internal.h"
#include "core/document.h"
#include "core/hangup.h"
#include "core/list.h"
#include "core/loop.h"

#define CLIENTS_MAX 16
#define KEPT_MAX 16
#define BACKLOG_MAX (64 * 1024)
#define DEADLINE_MS 2000
#define PAUSE_MS 100 /* when there are no descriptors left */

struct control {
    struct event_base *base;
    const struct control_command *commands;
    void *arg;
    char *path;
    dev_t device; /* of the socket's file, so that only our own is unlinked */
    ino_t inode;
    int fd;
    int spare; /* kept open, so that there is one to accept with when there are no more; -1: in use
                */
    struct event *accepting, *pause;
    struct list clients;
    unsigned n_clients, n_kept; /* the kept ones take no place of those that ask */
    struct hangup_watch
        *hangups; /* of the kept ones: one may have shut down its sending side only */
};

/* One connection: first the request is read, then the answer written. */
struct control_client {
    struct list node;
    struct control *control;
    int fd;
    struct event *io, *deadline;
    char request[REQUEST_MAX];
    size_t request_len;
    char *out; /* sent..out_len of it waits */
    size_t out_len, out_size, sent;
    size_t backlog_max;
    bool kept, cut_off;
    struct hangup hangup;
    void (*ended)(void *arg);
    void *ended_arg;
};

/* ---- a client ---- */

/* Opened again whenever something has been closed. */
static void keep_spare(struct control *control)
{
    if (control->spare == -1)
        control->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Without a pause, the loop would spin on the connection that stays in the queue. */
static void pause_accepting(struct control *control)
{
    struct timeval pause = control_in_ms(PAUSE_MS);

    event_del(control->accepting);
    event_add(control->pause, &pause);
}

static void accept_again(struct control *control)
{
    if (event_add(control->accepting, NULL) == -1)
        pause_accepting(control);
}

/* It takes no place of those that ask any more. */
static void leave_place(struct control *control)
{
    if (control->n_clients-- == CLIENTS_MAX)
        accept_again(control);
}

static void client_close(struct control_client *client)
{
    struct control *control = client->control;

    list_remove(&client->node);
    if (client->kept) {
        control->n_kept--;
        hangup_remove(control->hangups, client->fd);
        client->ended(client->ended_arg);
    } else {
        leave_place(control);
    }
    if (client->io)
        event_free(client->io);
    if (client->deadline)
        event_free(client->deadline);
    if (client->fd != -1)
        close(client->fd);
    keep_spare(control);
    free(client->out);
    free(client);
}

static struct json_object *answer_error(const char *text)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "error", text);
    return document_finish(&d);
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
        n += (size_t)snprintf(text + n, sizeof(text) - n, " %s%s", c->name,
                              c->begin ? " [follow]" : "");
    return answer_error(text);
}

static bool is_command(const struct control_command *command, const char *request, bool *follow)
{
    size_t len = strlen(command->name);

    if (strncmp(request, command->name, len) != 0)
        return false;
    *follow = command->begin && strcmp(request + len, " follow") == 0;
    return *follow || request[len] == '\0';
}

static bool client_make_room(struct control_client *client, size_t len)
{
    size_t waiting = client->out_len - client->sent, size = 2 * (waiting + len);

    if (client->out_size - client->out_len >= len)
        return true;
    char *out = malloc(size);
    if (!out)
        return false;
    if (waiting > 0)
        memcpy(out, client->out + client->sent, waiting);
    free(client->out);
    client->out = out;
    client->out_size = size;
    client->out_len = waiting;
    client->sent = 0;
    return true;
}

/* From the event loop, as a caller may still write. */
static void cut_off(struct control_client *client)
{
    client->cut_off = true;
    event_active(client->deadline, EV_TIMEOUT, 0);
}

void control_write(struct control_client *client, const char *line, size_t len)
{
    size_t waiting = client->out_len - client->sent;

    if (client->cut_off)
        return;
    if (len >= client->backlog_max - waiting || !client_make_room(client, len + 1)) {
        cut_off(client);
        return;
    }
    memcpy(client->out + client->out_len, line, len);
    client->out[client->out_len + len] = '\n';
    client->out_len += len + 1;
    if (event_add(client->io, NULL) == -1)
        cut_off(client);
}

static void client_all_sent(struct control_client *client)
{
    if (!client->kept) {
        client_close(client);
        return;
    }
    event_del(client->io);
    free(client->out);
    client->out = NULL;
    client->out_len = client->out_size = client->sent = 0;
    client->backlog_max = BACKLOG_MAX;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct control_client *client = arg;
    ssize_t n = send(fd, client->out + client->sent, client->out_len - client->sent,
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_close(client);
        return;
    }
    client->sent += (size_t)n;
    if (client->sent == client->out_len)
        client_all_sent(client);
}

/* What is written by control_begin, or is the only document, may be of any size. */
static bool client_begin(struct control_client *client)
{
    event_free(client->io);
    client->io =
        event_new(client->control->base, client->fd, EV_WRITE | EV_PERSIST, on_writable, client);
    client->backlog_max = SIZE_MAX;
    if (client->io)
        loop_goes_first(client->io);
    return client->io != NULL;
}

/* Takes answer. */
static void client_answer(struct control_client *client, struct json_object *answer)
{
    char *text = document_write(answer);

    json_object_put(answer);
    if (text && client_begin(client))
        control_write(client, text, strlen(text));
    else
        client_close(client);
    free(text);
}

static void on_hangup(struct hangup *hangup)
{
    client_close(list_entry(hangup, struct control_client, hangup));
}

int control_keep(struct control_client *client, void (*ended)(void *arg), void *arg)
{
    struct control *control = client->control;

    if (control->n_kept == KEPT_MAX)
        return -EBUSY;
    client->hangup.on_hangup = on_hangup;
    int err = hangup_add(control->hangups, client->fd, &client->hangup);
    if (err)
        return err;
    client->kept = true;
    client->ended = ended;
    client->ended_arg = arg;
    control->n_kept++;
    leave_place(control);
    event_del(client->deadline);
    return 0;
}

static void client_stream(struct control_client *client, control_begin *begin, bool follow)
{
    if (!client_begin(client)) {
        client_close(client);
        return;
    }
    int err = begin(client->control->arg, client, follow);
    size_t waiting = client->out_len - client->sent;
    client->backlog_max = waiting + BACKLOG_MAX;
    if (err)
        client_answer(client, answer_error(err == -EBUSY ? "too many follow already"
                                                         : "internal failure; see the log"));
    else if (waiting == 0)
        client_all_sent(client);
}

static void client_take_away(struct control_client *client, control_take *take)
{
    void *arg = client->control->arg;
    int fd = client->fd;

    event_del(client->io);
    client->fd = -1;
    client_close(client);
    take(arg, fd);
}

static void client_run(struct control_client *client, const char *request)
{
    const struct control *control = client->control;
    bool follow;

    for (const struct control_command *c = control->commands; c->name; c++) {
        if (!is_command(c, request, &follow))
            continue;
        if (c->take) {
            client_take_away(client, c->take);
            return;
        }
        if (c->begin) {
            client_stream(client, c->begin, follow);
            return;
        }
        struct json_object *answer = c->answer(control->arg);
        client_answer(client, answer ? answer : answer_error("internal failure; see the log"));
        return;
    }
    client_answer(client, answer_unknown(control, request));
}

/* The request ends with its line, or with the stream. */
static void client_take(struct control_client *client, bool eof)
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
        client_run(client, client->request);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct control_client *client = arg;
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
    struct timeval deadline = control_in_ms(DEADLINE_MS);
    struct control_client *client = calloc(1, sizeof(*client));

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
    if (!client->io || !client->deadline) {
        client_close(client);
        return;
    }
    loop_goes_first(client->io);
    if (event_add(client->io, NULL) == -1 || event_add(client->deadline, &deadline) == -1)
        client_close(client);
}

/* ---- the socket ---- */

/* When there are no descriptors left, a person wants to know why. */
static int accept_client(struct control *control)
{
    int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd != -1 || (errno != EMFILE && errno != ENFILE) || control->spare == -1)
        return fd;
    close(control->spare);
    control->spare = -1;
    return accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
    struct control *control = arg;
    int fd = accept_client(control);

    if (fd != -1)
        client_new(control, fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        pause_accepting(control);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct control *control = arg;

    if (control->n_clients < CLIENTS_MAX)
        accept_again(control);
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
    int err = control_address(&un, control->path);

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
    control->hangups = hangup_watch_new(control->base);
    if (!control->accepting || !control->pause || !control->hangups)
        return -ENOMEM;
    loop_goes_first(control->accepting);
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
    control->fd = control->spare = -1;
    keep_spare(control);
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
    list_each(it, &control->clients) client_close(list_entry(it, struct control_client, node));
    if (control->accepting)
        event_free(control->accepting);
    if (control->pause)
        event_free(control->pause);
    hangup_watch_free(control->hangups);
    if (is_our_file(control))
        unlink(control->path);
    if (control->fd != -1)
        close(control->fd);
    if (control->spare != -1)
        close(control->spare);
    free(control->path);
    free(control);
}
