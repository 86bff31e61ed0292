#include "core/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/mptcp.h"

#define BACKLOG 1024
/* Connections taken in one turn of the loop, so that running flows get theirs. */
#define ACCEPTS_PER_TURN 16
/* A pause, when accepting fails for want of something; twice as long each time, until it succeeds.
 */
#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 800

struct listener {
    int fd;
    struct event *readable, *resume;
    uint32_t pause_ms; /* the next one's */
    listener_accepted *accepted;
    void *arg;
    struct log_limit exhausted;
};

/* Errors of the connection that was about to be taken, not of the listener (accept(2)). */
static bool concerns_one_connection(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPERM:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static void pause_once(struct listener *l)
{
    struct timeval pause = {.tv_usec = (suseconds_t)l->pause_ms * 1000};

    event_add(l->resume, &pause);
    if (l->pause_ms < PAUSE_MAX_MS)
        l->pause_ms *= 2;
}

static void pause_accepting(struct listener *l, int error)
{
    uint32_t held;

    if (log_limit_pass(&l->exhausted, clock_now_ms(), &held))
        log_warning("listener", "cannot accept: %s; running flows go on, new ones wait",
                    strerror(error));
    event_del(l->readable);
    pause_once(l);
}

/* For want of memory, too, it waits. */
static void accept_again(struct listener *l)
{
    if (event_add(l->readable, NULL) == -1)
        pause_once(l);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    accept_again(arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage ss;
        struct addr peer = {0};
        socklen_t len = sizeof(ss);
        int conn = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (conn == -1 && errno == EAGAIN)
            return;
        if (conn == -1 && concerns_one_connection(errno))
            continue;
        if (conn == -1) {
            pause_accepting(l, errno);
            return;
        }
        l->pause_ms = PAUSE_FIRST_MS;
        addr_from_sockaddr(&peer, (struct sockaddr *)&ss);
        l->accepted(l->arg, conn, &peer);
    }
}

static int set_flag(int fd, int level, int option)
{
    int one = 1;

    return setsockopt(fd, level, option, &one, sizeof(one)) == -1 ? -errno : 0;
}

static int set_options(int fd, enum listener_kind kind, const struct addr *at)
{
    static const int with_link_header = 2; /* since Linux 5.10 */
    int err = set_flag(fd, SOL_SOCKET, SO_REUSEADDR);

    if (!err && at->family == 6)
        err = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (!err && kind == LISTENER_MPTCP)
        err = set_flag(fd, SOL_SOCKET, SO_REUSEPORT);
    /* For core/saved_syn.h; a kernel that does not save it costs only the rules that ask for it. */
    if (!err && kind == LISTENER_TRANSPARENT)
        setsockopt(fd, IPPROTO_TCP, TCP_SAVE_SYN, &with_link_header, sizeof(with_link_header));
    if (!err && kind == LISTENER_TRANSPARENT)
        err = at->family == 6 ? set_flag(fd, IPPROTO_IPV6, IPV6_TRANSPARENT)
                              : set_flag(fd, IPPROTO_IP, IP_TRANSPARENT);
    return err;
}

static int open_socket(enum listener_kind kind, const struct addr *at)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(at, &ss);
    int fd = kind == LISTENER_MPTCP ? mptcp_socket(at->family) : mptcp_tcp_socket(at->family);

    /* A kernel without MPTCP still serves: gateways then fall back to plain TCP. */
    if (fd < 0 && kind == LISTENER_MPTCP)
        fd = mptcp_tcp_socket(at->family);
    if (fd < 0)
        return fd;
    int err = set_options(fd, kind, at);
    if (!err && (bind(fd, (struct sockaddr *)&ss, len) == -1 || listen(fd, BACKLOG) == -1))
        err = -errno;
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

int listener_new(struct listener **out, struct event_base *base, enum listener_kind kind,
                 const struct addr *at, listener_accepted *accepted, void *arg)
{
    int fd = open_socket(kind, at);

    if (fd < 0)
        return fd;
    int err = listener_adopt(out, base, fd, accepted, arg);
    if (err < 0)
        close(fd);
    return err;
}

int listener_adopt(struct listener **out, struct event_base *base, int fd,
                   listener_accepted *accepted, void *arg)
{
    struct listener *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->accepted = accepted;
    l->arg = arg;
    l->pause_ms = PAUSE_FIRST_MS;
    l->exhausted = (struct log_limit){.burst = 1, .interval_ms = 10000};
    l->fd = -1;
    l->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, l);
    l->resume = evtimer_new(base, on_resume, l);
    if (!l->readable || !l->resume || event_add(l->readable, NULL) == -1) {
        listener_free(l);
        return -ENOMEM;
    }
    l->fd = fd;
    *out = l;
    return 0;
}

int listener_fd(const struct listener *l)
{
    return l->fd;
}

void listener_pause(struct listener *l)
{
    event_del(l->readable);
    event_del(l->resume);
}

void listener_resume(struct listener *l)
{
    accept_again(l);
}

void listener_free(struct listener *l)
{
    if (!l)
        return;
    if (l->readable)
        event_free(l->readable);
    if (l->resume)
        event_free(l->resume);
    if (l->fd != -1)
        close(l->fd);
    free(l);
}
