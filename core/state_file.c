#include "core/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- reading and writing, with system calls alone: the thread below shares its memory with a
 * program that forks --- */

static int open_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd == -1 ? -errno : fd;
}

int state_file_read(const char *dir, const char *name, char text[STATE_FILE_MAX + 1])
{
    int at = open_dir(dir);
    size_t len = 0;
    ssize_t n = 1;

    if (at < 0)
        return at;
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int err = fd == -1 ? -errno : 0;
    close(at);
    if (err)
        return err;
    /* One byte more than may be, to see that it is too long. */
    while (n > 0 && len <= STATE_FILE_MAX) {
        n = read(fd, text + len, STATE_FILE_MAX + 1 - len);
        if (n == -1 && errno == EINTR)
            n = 1;
        else if (n > 0)
            len += (size_t)n;
    }
    err = n == -1 ? -errno : len > STATE_FILE_MAX ? -EFBIG : 0;
    close(fd);
    if (err)
        return err;
    text[len] = '\0';
    return (int)len;
}

/* With all that is above it. */
static int make_dir(const char *dir)
{
    char path[PATH_MAX];
    size_t len = strlen(dir);

    if (len >= sizeof(path))
        return -ENAMETOOLONG;
    memcpy(path, dir, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        char was = path[i];
        path[i] = '\0';
        if (mkdir(path, 0755) == -1 && errno != EEXIST)
            return -errno;
        path[i] = was;
    }
    return 0;
}

static int write_synced(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd) == -1 ? -errno : 0;
}

static int write_beside(int at, const char *beside, const char *text, size_t len)
{
    int fd = openat(at, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd == -1)
        return -errno;
    int err = write_synced(fd, text, len);
    /* Some file systems tell of a full disk only now. */
    if (close(fd) == -1 && !err)
        err = -errno;
    return err;
}

static int replace(int at, const char *name, const char *text, size_t len)
{
    char beside[NAME_MAX + 1];

    if (strlen(name) + sizeof(".new") > sizeof(beside))
        return -ENAMETOOLONG;
    stpcpy(stpcpy(beside, name), ".new");
    int err = write_beside(at, beside, text, len);
    if (!err && renameat(at, beside, at, name) == -1)
        err = -errno;
    if (err)
        unlinkat(at, beside, 0);
    else if (fsync(at) == -1)
        err = -errno;
    return err;
}

int state_file_write(const char *dir, const char *name, const char *text, size_t len)
{
    int at = open_dir(dir);

    if (at == -ENOENT) {
        int err = make_dir(dir);
        if (err)
            return err;
        at = open_dir(dir);
    }
    if (at < 0)
        return at;
    int err = replace(at, name, text, len);
    close(at);
    return err;
}

int state_file_set_aside(const char *dir, const char *name)
{
    char bad[NAME_MAX + 1];
    int at = open_dir(dir);

    if (at < 0)
        return at;
    snprintf(bad, sizeof(bad), "%s.bad", name);
    int err = renameat(at, name, at, bad) == -1 ? -errno : 0;
    close(at);
    return err;
}

/* --- in the background --- */

struct state_writer {
    const char *dir, *name;
    state_writer_done *done;
    void *arg;
    struct event *finished;
    int fd; /* an eventfd: the thread is through */
    bool busy;
    pthread_t thread;
    /* The thread's while it is busy. */
    char *text;
    size_t len;
    int result;
};

static void *write_it(void *arg)
{
    struct state_writer *w = arg;
    uint64_t one = 1;

    w->result = state_file_write(w->dir, w->name, w->text, w->len);
    /* An eventfd that is at 0 takes it. */
    if (write(w->fd, &one, sizeof(one)) == -1)
        abort();
    return NULL;
}

static void join(struct state_writer *w)
{
    pthread_join(w->thread, NULL);
    w->busy = false;
    free(w->text);
    w->text = NULL;
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
    struct state_writer *w = arg;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) == -1)
        return;
    join(w);
    w->done(w->arg, w->result);
}

int state_writer_new(struct state_writer **out, struct event_base *base, const char *dir,
                     const char *name, state_writer_done *done, void *arg)
{
    struct state_writer *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    *w = (struct state_writer){.dir = dir, .name = name, .done = done, .arg = arg};
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = w->fd == -1 ? -errno : 0;
    if (!err) {
        w->finished = event_new(base, w->fd, EV_READ | EV_PERSIST, on_finished, w);
        err = w->finished && event_add(w->finished, NULL) == 0 ? 0 : -ENOMEM;
    }
    if (err) {
        state_writer_free(w);
        return err;
    }
    *out = w;
    return 0;
}

void state_writer_free(struct state_writer *w)
{
    if (!w)
        return;
    if (w->busy)
        join(w);
    if (w->finished)
        event_free(w->finished);
    if (w->fd != -1)
        close(w->fd);
    free(w);
}

/* Signals are the event loop's: the thread takes none. */
int state_writer_save(struct state_writer *w, const char *text, size_t len)
{
    sigset_t all, before;

    if (w->busy)
        return -EBUSY;
    w->text = malloc(len);
    if (!w->text)
        return -ENOMEM;
    memcpy(w->text, text, len);
    w->len = len;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = -pthread_create(&w->thread, NULL, write_it, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        free(w->text);
        w->text = NULL;
        return err;
    }
    w->busy = true;
    return 0;
}
