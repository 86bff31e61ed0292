#include "gateway/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/privilege.h"
#include "core/sandbox.h"
#include "gateway/intercept.h"
#include "gateway/nft.h"
#include "gateway/routes.h"

#define LOCK_NAME "bondway-gateway"
#define LOCK_WAIT_MS 3000
#define LOCK_RETRY_MS 20
#define WORDS_BYTES 1024
#define REQUEST_MAX (16u * 1024 * 1024)
#define SYSCTLS_MAX 32

/* Both processes have one: the guard's began as a copy of the daemon's. */
struct guard {
    pid_t pid; /* 0: reaped */
    int fd;    /* this process's end of the socket pair */
    int lock;  /* held by both, and so free only when both are gone */
    char nft[128];
    struct sysctl_change sysctls[SYSCTLS_MAX]; /* their names are malloced */
    size_t n_sysctls;
};

enum request_kind { REQUEST_NFT = 1, REQUEST_SYSCTL };

/* A request (kind) or an answer (status: 0 or -errno), with text behind it. */
struct frame {
    int32_t value;
    uint32_t len;
};

/* ---- frames on the socket pair ---- */

static int send_all(int fd, const void *data, size_t len)
{
    for (const uint8_t *at = data; len > 0;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* -EPIPE at the end of the stream. */
static int receive_all(int fd, void *data, size_t len)
{
    for (uint8_t *at = data; len > 0;) {
        ssize_t n = recv(fd, at, len, 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? -EPIPE : -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* At once, so that for want of memory none or all of it is on its way. */
static int send_frame(int fd, int32_t value, const char *text)
{
    size_t len = strlen(text), sent;
    struct frame frame = {.value = value, .len = (uint32_t)len};
    struct iovec parts[] = {{&frame, sizeof(frame)}, {(char *)text, len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;

    if (len > REQUEST_MAX)
        return -EMSGSIZE;
    do {
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (n == -1 && errno == EINTR);
    if (n == -1)
        return -errno;
    sent = (size_t)n;
    if (sent < sizeof(frame)) /* a stream socket takes that much, or nothing */
        return -EPROTO;
    return send_all(fd, text + (sent - sizeof(frame)), len - (sent - sizeof(frame)));
}

/* *text is malloced and terminated. Returns 0, or -errno. */
static int receive_frame(int fd, int32_t *value, char **text)
{
    struct frame frame;
    int err = receive_all(fd, &frame, sizeof(frame));

    if (err)
        return err;
    if (frame.len > REQUEST_MAX)
        return -EPROTO;
    *text = malloc((size_t)frame.len + 1);
    if (!*text)
        return -ENOMEM;
    err = receive_all(fd, *text, frame.len);
    if (err) {
        free(*text);
        return err;
    }
    (*text)[frame.len] = '\0';
    *value = frame.value;
    return 0;
}

/* ---- the guard's side ---- */

static int remove_interception(const struct guard *g, char *why, size_t why_len)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return -ENOMEM;
    intercept_write_removal(out);
    int err = fclose(out) == 0 ? nft_run(g->nft, text, why, why_len) : -ENOMEM;
    free(text);
    return err;
}

/* Returns 0, or the first -errno and why. */
static int remove_leftovers(const struct guard *g, char *why, size_t why_len)
{
    why[0] = '\0';
    int err = remove_interception(g, why, why_len);
    int also = routes_flush();

    if (err && why[0] == '\0')
        snprintf(why, why_len, "cannot run nft: %s", strerror(-err));
    if (!err && also)
        snprintf(why, why_len, "cannot remove our routes: %s", strerror(-also));
    return err ? err : also;
}

static int restore_sysctls(struct guard *g)
{
    int first = 0;

    while (g->n_sysctls > 0) {
        struct sysctl_change *change = &g->sysctls[--g->n_sysctls];
        int err = sysctl_restore(change);
        if (err) {
            log_error("guard", "cannot put back %s = %s: %s", change->name, change->before,
                      strerror(-err));
            first = err;
        }
    }
    return first;
}

static int clean_up(struct guard *g)
{
    char why[WORDS_BYTES];
    int err = remove_leftovers(g, why, sizeof(why));

    if (err)
        log_error("guard", "cannot clean up: %s", why);
    int also = restore_sysctls(g);
    return err ? err : also;
}

static struct sysctl_change *find_sysctl(struct guard *g, const char *name)
{
    for (size_t i = 0; i < g->n_sysctls; i++) {
        if (strcmp(g->sysctls[i].name, name) == 0)
            return &g->sysctls[i];
    }
    return NULL;
}

/* Takes a change into the list. change->name is not kept. */
static int remember(struct guard *g, const struct sysctl_change *change)
{
    char *name = strdup(change->name);

    if (!name)
        return -ENOMEM;
    g->sysctls[g->n_sysctls] = *change;
    g->sysctls[g->n_sysctls].name = name;
    g->n_sysctls++;
    return 0;
}

/* text: "name=value". Answers with the value before, when it was changed. */
static int serve_sysctl(struct guard *g, char *text, char *answer, size_t answer_len)
{
    char *value = strchr(text, '=');
    struct sysctl_change change = {0};

    if (!value)
        return -EPROTO;
    *value++ = '\0';
    struct sysctl_change *known = find_sysctl(g, text);
    if (known)
        return sysctl_set(known, known->name, value);
    if (g->n_sysctls == SYSCTLS_MAX)
        return -ENOSPC;
    int err = sysctl_set(&change, text, value);
    if (err || !change.changed)
        return err;
    err = remember(g, &change);
    if (err) {
        sysctl_restore(&change);
        return err;
    }
    snprintf(answer, answer_len, "%s", change.before);
    return 0;
}

static int serve(struct guard *g, int32_t kind, char *text, char *answer, size_t answer_len)
{
    switch (kind) {
    case REQUEST_NFT:
        return nft_run(g->nft, text, answer, answer_len);
    case REQUEST_SYSCTL:
        return serve_sysctl(g, text, answer, answer_len);
    default:
        return -EPROTO;
    }
}

/* Until the other end closes: the daemon is gone, or lets go of us. */
static void serve_all(struct guard *g)
{
    char answer[WORDS_BYTES];
    int32_t kind;
    char *text;

    while (receive_frame(g->fd, &kind, &text) == 0) {
        answer[0] = '\0';
        int status = serve(g, kind, text, answer, sizeof(answer));
        free(text);
        if (send_frame(g->fd, status, answer))
            return;
    }
}

/* A guard made while the daemon runs inherits its connections: they must end with the daemon. */
static void close_others(const struct guard *g)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);
        if (fd > STDERR_FILENO && fd != g->fd && fd != g->lock && fd != dirfd(dir))
            close(fd);
    }
    closedir(dir);
}

/* Ctrl-C at a terminal, or a service manager's SIGTERM, reaches the whole group: the guard outlives
 * the daemon, whose end is the only signal it heeds. SIGCHLD's handler would be libevent's. */
static void settle(const struct guard *g)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    setsid();
    prctl(PR_SET_NAME, "bondway-guard");
    if (null != -1) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    closelog();
    close_others(g);
    /* Hold no mount; there is always a root. */
    if (chdir("/") == -1)
        log_debug("guard", "cannot change to /: %s", strerror(errno));
}

static _Noreturn void guard_main(struct guard *g, const sigset_t *signals, bool fresh)
{
    char why[WORDS_BYTES] = "";

    settle(g);
    sigprocmask(SIG_SETMASK, signals, NULL);
    int status = privilege_drop(NULL, PRIVILEGE(CAP_NET_ADMIN));
    sandbox_enter(SANDBOX_ROUTER); /* one that is made later has the daemon's; the daemon says it */
    if (status == 0 && fresh)
        status = remove_leftovers(g, why, sizeof(why));
    if (send_frame(g->fd, status, why) == 0 && status == 0)
        serve_all(g);
    if (status == 0) {
        status = clean_up(g);
        send_frame(g->fd, status, "");
    }
    _exit(status ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- the daemon's side ---- */

/* An abstract address belongs to the network namespace, as all that we change does. Returns the
 * socket that holds it, or -errno: -EADDRINUSE when another does. */
static int take_lock(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -errno;
    memcpy(at.sun_path + 1, LOCK_NAME, strlen(LOCK_NAME));
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(LOCK_NAME));
    if (bind(fd, (struct sockaddr *)&at, len) == -1) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

/* The guard of a gateway that has just died holds the lock until it has cleaned up. */
static int wait_for_lock(void)
{
    const struct timespec pause = {.tv_nsec = LOCK_RETRY_MS * 1000000L};
    uint64_t deadline = clock_now_ms() + LOCK_WAIT_MS;
    int fd;

    while ((fd = take_lock()) == -EADDRINUSE && clock_now_ms() < deadline)
        nanosleep(&pause, NULL);
    return fd;
}

/* The text of an answer goes to why. It takes no memory, for want of which the next answer would be
 * read in the middle of this one. */
static int receive_answer(struct guard *g, char *why, size_t why_len)
{
    struct frame frame;
    char text[WORDS_BYTES];
    int err = receive_all(g->fd, &frame, sizeof(frame));

    if (!err)
        err = frame.len < sizeof(text) ? receive_all(g->fd, text, frame.len) : -EPROTO;
    if (err) {
        snprintf(why, why_len, "the guard process is gone");
        return err;
    }
    text[frame.len] = '\0';
    snprintf(why, why_len, "%s", text);
    return frame.value;
}

static int ask(struct guard *g, enum request_kind kind, const char *text, char *why, size_t why_len)
{
    int err = g->fd == -1 ? -EPIPE : send_frame(g->fd, kind, text);

    if (err) {
        snprintf(why, why_len, "the guard process is gone");
        return err;
    }
    return receive_answer(g, why, why_len);
}

/* fresh: nothing of ours may be there yet, so what is there is left over from an earlier life.
 * No signal may find the child with the daemon's handlers, whose pipes it shares. */
static int start(struct guard *g, bool fresh, char *why, size_t why_len)
{
    sigset_t all, before;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
        return -errno;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t pid = fork();
    int err = pid == -1 ? -errno : 0;
    if (pid == 0) {
        close(pair[0]);
        g->fd = pair[1];
        guard_main(g, &before, fresh);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(pair[1]);
    if (err) {
        close(pair[0]);
        return err;
    }
    g->pid = pid;
    g->fd = pair[0];
    return receive_answer(g, why, why_len);
}

static int prepare(struct guard *g, char *why, size_t why_len)
{
    if (!privilege_has(CAP_NET_ADMIN)) {
        snprintf(why, why_len, "no right to change the network (CAP_NET_ADMIN); run as root");
        return -EPERM;
    }
    if (nft_find(g->nft, sizeof(g->nft))) {
        snprintf(why, why_len, "no nft program; install nftables");
        return -ENOENT;
    }
    g->lock = wait_for_lock();
    if (g->lock == -EADDRINUSE) {
        snprintf(why, why_len, "another bondway gateway runs in this network namespace");
        return -EBUSY;
    }
    return g->lock < 0 ? g->lock : 0;
}

int guard_new(struct guard **out, char *why, size_t why_len)
{
    struct guard *g = calloc(1, sizeof(*g));

    if (!g)
        return -ENOMEM;
    g->fd = g->lock = -1;
    why[0] = '\0';
    int err = prepare(g, why, why_len);
    if (!err)
        err = start(g, true, why, why_len);
    if (err) {
        if (why[0] == '\0')
            snprintf(why, why_len, "%s", strerror(-err));
        guard_free(g);
        return err;
    }
    *out = g;
    return 0;
}

int guard_revive(struct guard *g, char *why, size_t why_len)
{
    if (g->fd != -1)
        close(g->fd);
    g->fd = -1;
    return start(g, false, why, why_len);
}

int guard_nft(struct guard *g, const char *ruleset, char *why, size_t why_len)
{
    return ask(g, REQUEST_NFT, ruleset, why, why_len);
}

int guard_sysctl(struct guard *g, const char *name, const char *value)
{
    struct sysctl_change change = {.name = name, .changed = true};
    char request[256], before[WORDS_BYTES];
    int n = snprintf(request, sizeof(request), "%s=%s", name, value);

    if (n < 0 || (size_t)n >= sizeof(request))
        return -ENAMETOOLONG;
    int err = ask(g, REQUEST_SYSCTL, request, before, sizeof(before));
    if (err || before[0] == '\0')
        return err;
    /* Known here, too: a guard that has to be replaced passes nothing on. */
    memcpy(change.before, before, strnlen(before, sizeof(change.before) - 1));
    return remember(g, &change);
}

bool guard_died(struct guard *g)
{
    if (g->pid > 0 && waitpid(g->pid, NULL, WNOHANG) == g->pid)
        g->pid = 0;
    return g->pid == 0;
}

/* Closing our direction ends the guard, whose last answer tells how it went. */
static int let_go(struct guard *g)
{
    char why[WORDS_BYTES];

    if (g->pid <= 0)
        return 0;
    shutdown(g->fd, SHUT_WR);
    int status = receive_answer(g, why, sizeof(why));
    while (waitpid(g->pid, NULL, 0) == -1 && errno == EINTR)
        ;
    g->pid = 0;
    return status;
}

int guard_free(struct guard *g)
{
    int err = 0;

    if (!g)
        return 0;
    if (g->fd != -1) {
        err = let_go(g);
        close(g->fd);
    }
    if (g->lock >= 0)
        close(g->lock);
    for (size_t i = 0; i < g->n_sysctls; i++)
        free((char *)g->sysctls[i].name);
    free(g);
    return err;
}
