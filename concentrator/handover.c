#include "concentrator/handover.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"

#define MAGIC "bondway hand over 1"
#define PATIENCE_MS 5000
#define SALTS_MAX (16u << 20)
/* Of descriptors in one message: the kernel takes 253 (SCM_MAX_FD). */
#define TOGETHER 128
#define TAKEN 't'
#define LET_GO 'g'
#define RELOAD 'r'

struct head {
    char magic[24];
    uint64_t started_wall_ms, started_boot_ms;
    uint8_t k_boot[32];
    struct kernel_legacy kernel;
    uint64_t n_salts, n_listeners;
};

void handover_clear(struct handover *h)
{
    for (size_t i = 0; i < h->n_listeners; i++)
        close(h->listeners[i]);
    free(h->listeners);
    admission_legacy_clear(&h->admission);
    *h = (struct handover){0};
}

int handover_find(const struct handover *h, const struct addr *at, size_t index)
{
    struct addr here;

    for (size_t i = 0; i < h->n_listeners; i++) {
        if (addr_of_socket(&here, h->listeners[i]) == 0 && addr_equal(&here, at) && index-- == 0)
            return h->listeners[i];
    }
    return -1;
}

/* ---- bytes and descriptors, by a deadline ---- */

/* 0: fd is ready, be it to tell what is wrong with it. */
static int wait_for(int fd, short events, uint64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now_ms = clock_now_ms();
        if (now_ms >= deadline_ms)
            return -ETIMEDOUT;
        int n = poll(&p, 1, (int)(deadline_ms - now_ms));
        if (n > 0)
            return 0;
        if (n == -1 && errno != EINTR)
            return -errno;
    }
}

static bool may_go_on(ssize_t n)
{
    return n == -1 && (errno == EAGAIN || errno == EINTR);
}

static int send_all(int fd, const void *bytes, size_t len, uint64_t deadline_ms)
{
    for (const uint8_t *at = bytes; len > 0;) {
        int err = wait_for(fd, POLLOUT, deadline_ms);
        if (err < 0)
            return err;
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n == -1 && !may_go_on(n))
            return -errno;
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int receive_all(int fd, void *bytes, size_t len, uint64_t deadline_ms)
{
    for (uint8_t *at = bytes; len > 0;) {
        int err = wait_for(fd, POLLIN, deadline_ms);
        if (err < 0)
            return err;
        ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        if (n == 0)
            return -EPIPE;
        if (n == -1 && !may_go_on(n))
            return -errno;
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* One byte, and so many descriptors beside it. */
struct parcel {
    uint8_t byte;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(TOGETHER * sizeof(int))];
    struct iovec iov;
    struct msghdr msg;
};

static void parcel_begin(struct parcel *p, size_t n)
{
    memset(p, 0, sizeof(*p));
    p->iov = (struct iovec){&p->byte, 1};
    p->msg = (struct msghdr){.msg_iov = &p->iov,
                             .msg_iovlen = 1,
                             .msg_control = p->control,
                             .msg_controllen = CMSG_SPACE(n * sizeof(int))};
}

static int send_descriptors(int fd, const int *descriptors, size_t n, uint64_t deadline_ms)
{
    struct parcel p;

    parcel_begin(&p, n);
    struct cmsghdr *c = CMSG_FIRSTHDR(&p.msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), descriptors, n * sizeof(int));
    int err = wait_for(fd, POLLOUT, deadline_ms);
    if (err == 0 && sendmsg(fd, &p.msg, MSG_NOSIGNAL | MSG_DONTWAIT) == -1)
        err = -errno;
    return err;
}

static int receive_descriptors(int fd, int *descriptors, size_t n, uint64_t deadline_ms)
{
    struct parcel p;

    parcel_begin(&p, n);
    int err = wait_for(fd, POLLIN, deadline_ms);
    if (err < 0)
        return err;
    ssize_t got = recvmsg(fd, &p.msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return got == 0 ? -EPIPE : -errno;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&p.msg);
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(n * sizeof(int)))
        return -EPROTO;
    memcpy(descriptors, CMSG_DATA(c), n * sizeof(int));
    return 0;
}

/* ---- the old one's side ---- */

static int send_listeners(int fd, const struct handover *h, uint64_t deadline_ms)
{
    int err = 0;

    for (size_t at = 0; at < h->n_listeners && err == 0; at += TOGETHER) {
        size_t left = h->n_listeners - at;
        err =
            send_descriptors(fd, h->listeners + at, left < TOGETHER ? left : TOGETHER, deadline_ms);
    }
    return err;
}

int handover_send(int fd, const struct handover *h)
{
    uint64_t deadline_ms = clock_now_ms() + PATIENCE_MS;
    struct head head = {.magic = MAGIC,
                        .started_wall_ms = h->admission.started_wall_ms,
                        .started_boot_ms = h->admission.started_boot_ms,
                        .kernel = h->kernel,
                        .n_salts = h->admission.n_salts,
                        .n_listeners = h->n_listeners};

    memcpy(head.k_boot, h->admission.k_boot, sizeof(head.k_boot));
    int err = send_all(fd, &head, sizeof(head), deadline_ms);
    if (err == 0)
        err = send_listeners(fd, h, deadline_ms);
    if (err == 0)
        err = send_all(fd, h->admission.salts, h->admission.n_salts * sizeof(struct replay_entry),
                       deadline_ms);
    crypto_wipe(&head, sizeof(head));
    return err;
}

/* Behind its word, the other may have lost patience and ended. */
static int check_alive(int fd)
{
    char more;

    return recv(fd, &more, 1, MSG_DONTWAIT | MSG_PEEK) == 0 ? -EPIPE : 0;
}

int handover_is_taken(int fd)
{
    char word;
    ssize_t n = recv(fd, &word, 1, MSG_DONTWAIT);

    if (may_go_on(n))
        return 0;
    if (n == -1)
        return -errno;
    if (n == 0)
        return -EPIPE;
    if (word != TAKEN)
        return -EPROTO;
    int err = check_alive(fd);
    return err < 0 ? err : 1;
}

void handover_let_go(int fd)
{
    static const char word = LET_GO;

    send_all(fd, &word, 1, clock_now_ms() + PATIENCE_MS);
}

int handover_name_elder(int fd, int elder)
{
    return send_descriptors(fd, &elder, 1, clock_now_ms() + PATIENCE_MS);
}

int handover_is_told_reload(int fd)
{
    char words[64]; /* several are one */
    ssize_t n = recv(fd, words, sizeof(words), MSG_DONTWAIT);

    if (may_go_on(n))
        return 0;
    if (n <= 0)
        return n == 0 ? -EPIPE : -errno;
    return memchr(words, RELOAD, (size_t)n) != NULL;
}

/* ---- the new one's side ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(un.sun_path))
        return -ENAMETOOLONG;
    strcpy(un.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == -1) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static int receive_listeners(int fd, size_t n, struct handover *out, uint64_t deadline_ms)
{
    int err = 0;

    out->listeners = calloc(n, sizeof(out->listeners[0]));
    if (!out->listeners)
        return -ENOMEM;
    while (out->n_listeners < n && err == 0) {
        size_t left = n - out->n_listeners, some = left < TOGETHER ? left : TOGETHER;
        err = receive_descriptors(fd, out->listeners + out->n_listeners, some, deadline_ms);
        if (err == 0)
            out->n_listeners += some;
    }
    return err;
}

static int receive_salts(int fd, size_t n, struct admission_legacy *out, uint64_t deadline_ms)
{
    out->salts = n ? calloc(n, sizeof(out->salts[0])) : NULL;
    if (n && !out->salts)
        return -ENOMEM;
    out->n_salts = n;
    return receive_all(fd, out->salts, n * sizeof(out->salts[0]), deadline_ms);
}

static int receive(int fd, struct handover *out)
{
    static const char command[] = HANDOVER_COMMAND "\n";
    uint64_t deadline_ms = clock_now_ms() + PATIENCE_MS;
    struct head head;

    int err = send_all(fd, command, strlen(command), deadline_ms);
    if (err == 0)
        err = receive_all(fd, &head, sizeof(head), deadline_ms);
    /* An older program answers with a complaint, and ends. */
    if (err == -EPIPE || (err == 0 && memcmp(head.magic, MAGIC, sizeof(MAGIC)) != 0))
        return -EPROTO;
    if (err == 0 && (head.n_salts > SALTS_MAX || head.n_listeners > HANDOVER_LISTENERS_MAX))
        err = -EPROTO;
    if (err < 0)
        return err;
    out->admission.started_wall_ms = head.started_wall_ms;
    out->admission.started_boot_ms = head.started_boot_ms;
    memcpy(out->admission.k_boot, head.k_boot, sizeof(head.k_boot));
    out->kernel = head.kernel;
    crypto_wipe(head.k_boot, sizeof(head.k_boot));
    err = receive_listeners(fd, (size_t)head.n_listeners, out, deadline_ms);
    return err < 0 ? err : receive_salts(fd, (size_t)head.n_salts, &out->admission, deadline_ms);
}

int handover_ask(const char *control_socket, struct handover *out, int *fd)
{
    *out = (struct handover){0};
    *fd = -1;
    int connection = connect_to(control_socket);
    if (connection < 0)
        return connection;
    int err = receive(connection, out);
    if (err < 0) {
        handover_clear(out);
        close(connection);
        return err;
    }
    *fd = connection;
    return 0;
}

int handover_take(int fd)
{
    static const char taken = TAKEN;
    uint64_t deadline_ms = clock_now_ms() + PATIENCE_MS;
    char word = 0;
    int err = send_all(fd, &taken, 1, deadline_ms);

    if (err == 0)
        err = receive_all(fd, &word, 1, deadline_ms);
    return err < 0 ? err : word == LET_GO ? 0 : -EPROTO;
}

void handover_tell_reload(int fd)
{
    static const char word = RELOAD;

    /* Where there is no room for one more, enough wait already. */
    send(fd, &word, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int handover_meet_elder(int fd, int *elder)
{
    int err = receive_descriptors(fd, elder, 1, clock_now_ms() + 1);

    return err == 0 ? 1 : err == -EAGAIN || err == -EINTR || err == -ETIMEDOUT ? 0 : err;
}
