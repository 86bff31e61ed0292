#include "concentrator/echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"

/* Probes answered in one turn of the loop, so that flows get theirs. */
#define ANSWERS_PER_TURN 64

struct echo_socket {
    struct echo *echo;
    int fd;
    struct event *readable;
};

struct echo {
    struct peers *peers;
    const struct admission *admission;
    size_t n;
    struct echo_socket sockets[];
};

/* Returns 0 and the answer, or -errno for what must be passed over in silence. */
static int answer(const struct echo *echo, const uint8_t request[PROBE_SIZE],
                  uint8_t out[PROBE_SIZE])
{
    const struct peer *peer = peers_find(echo->peers, request);
    struct probe probe;

    if (!peer)
        return -EBADMSG;
    int err = probe_read_request(&peer->probe_keys, request, &probe);
    if (err < 0)
        return err;
    probe.server_ms = admission_time_ms(echo->admission, clock_boot_ms());
    return probe_write_answer(&peer->probe_keys, request, &probe, out);
}

/* One datagram, with the address it was sent to: the answer must come from there. */
struct datagram {
    struct sockaddr_storage from;
    uint8_t bytes[PROBE_SIZE]; /* what is longer is cut: it is padding */
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    struct iovec iov;
    struct msghdr msg;
};

static ssize_t receive(int fd, struct datagram *d)
{
    d->iov = (struct iovec){d->bytes, sizeof(d->bytes)};
    memset(&d->msg, 0, sizeof(d->msg));
    d->msg.msg_name = &d->from;
    d->msg.msg_namelen = sizeof(d->from);
    d->msg.msg_iov = &d->iov;
    d->msg.msg_iovlen = 1;
    d->msg.msg_control = d->control;
    d->msg.msg_controllen = sizeof(d->control);
    return recvmsg(fd, &d->msg, MSG_DONTWAIT);
}

/* The packet information as received serves as the one to send with; only IPv4's interface must not
 * stay: the route decides that. */
static void turn_round(struct datagram *d)
{
    struct in_pktinfo info;
    struct cmsghdr *c = CMSG_FIRSTHDR(&d->msg);

    if (!c || c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
        return;
    memcpy(&info, CMSG_DATA(c), sizeof(info));
    info.ipi_ifindex = 0;
    info.ipi_spec_dst = info.ipi_addr;
    memcpy(CMSG_DATA(c), &info, sizeof(info));
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    const struct echo_socket *s = arg;
    struct datagram d;
    uint8_t out[PROBE_SIZE];

    for (int i = 0; i < ANSWERS_PER_TURN; i++) {
        ssize_t n = receive(fd, &d);
        if (n == -1)
            return;
        if (n != PROBE_SIZE || answer(s->echo, d.bytes, out) < 0)
            continue;
        turn_round(&d);
        d.iov = (struct iovec){out, sizeof(out)};
        /* A lost answer is what a probe is there to notice. */
        if (sendmsg(fd, &d.msg, MSG_DONTWAIT | MSG_NOSIGNAL) == -1)
            continue;
    }
}

static int set_flag(int fd, int level, int option)
{
    int one = 1;

    return setsockopt(fd, level, option, &one, sizeof(one)) == -1 ? -errno : 0;
}

static int bind_to(int fd, const struct addr *at)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(at, &ss);
    int err = set_flag(fd, SOL_SOCKET, SO_REUSEPORT);

    if (err == 0 && at->family == 6)
        err = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (err == 0)
        err = at->family == 6 ? set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO)
                              : set_flag(fd, IPPROTO_IP, IP_PKTINFO);
    if (err == 0 && bind(fd, (struct sockaddr *)&ss, len) == -1)
        err = -errno;
    return err;
}

static int open_socket(struct echo_socket *s, struct event_base *base, const struct addr *at)
{
    s->fd =
        socket(at->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd == -1)
        return -errno;
    int err = bind_to(s->fd, at);
    if (err < 0)
        return err;
    s->readable = event_new(base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
    return s->readable && event_add(s->readable, NULL) == 0 ? 0 : -ENOMEM;
}

int echo_new(struct echo **out, struct event_base *base, struct peers *peers,
             const struct admission *admission)
{
    const struct concentrator_config *config = peers_config(peers);
    struct echo *echo = calloc(1, sizeof(*echo) + config->n_listen * sizeof(echo->sockets[0]));
    int err = 0;

    if (!echo)
        return -ENOMEM;
    echo->peers = peers_ref(peers);
    echo->admission = admission;
    while (err == 0 && echo->n < config->n_listen) {
        struct echo_socket *s = &echo->sockets[echo->n];
        s->echo = echo;
        err = open_socket(s, base, &config->listen[echo->n++]);
    }
    if (err < 0) {
        echo_free(echo);
        return err;
    }
    *out = echo;
    return 0;
}

void echo_free(struct echo *echo)
{
    if (!echo)
        return;
    for (size_t i = 0; i < echo->n; i++) {
        if (echo->sockets[i].readable)
            event_free(echo->sockets[i].readable);
        if (echo->sockets[i].fd != -1)
            close(echo->sockets[i].fd);
    }
    peers_unref(echo->peers);
    free(echo);
}

void echo_reload(struct echo *echo, struct peers *peers)
{
    struct peers *before = echo->peers;

    echo->peers = peers_ref(peers);
    peers_unref(before);
}
