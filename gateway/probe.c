#include "gateway/probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/errqueue.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/probe_packet.h"

#define ANSWERS_PER_TURN 16
#define REFUSALS_PER_TURN 16
#define AGE_MAX_US 1000000
#define NONCE_RANDOM 4 /* of the nonce's bytes; a counter fills the rest */

struct prober {
    struct key key;
    struct probe_keys keys;
    uint8_t nonce[CRYPTO_NONCE]; /* of the first one */
    uint8_t uplink;
    struct addr to;
    int fd;
    struct event *readable;
    const struct prober_events *events;
    void *arg;
};

/* What the wall clock says; where it was set meanwhile, or there is no stamp: it came just now. */
static uint64_t age_us(struct msghdr *message)
{
    struct timespec now, stamp = {0};

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS &&
            c->cmsg_len == CMSG_LEN(sizeof(stamp)))
            memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
    }
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age =
        ((int64_t)now.tv_sec - stamp.tv_sec) * 1000000 + (now.tv_nsec - stamp.tv_nsec) / 1000;
    return age >= 0 && age <= AGE_MAX_US ? (uint64_t)age : 0;
}

static ssize_t receive(int fd, uint8_t *packet, size_t size, uint64_t *age)
{
    union {
        struct cmsghdr aligned;
        uint8_t bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec into = {.iov_base = packet, .iov_len = size};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);

    *age = n >= 0 ? age_us(&message) : 0;
    return n;
}

static bool is_refusal(const struct prober *p, const struct cmsghdr *c)
{
    union {
        struct sock_extended_err error;
        uint8_t bytes[sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)];
    } told = {0};
    struct addr from;
    bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;

    if (!v6 && (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR))
        return false;
    size_t len = c->cmsg_len - CMSG_LEN(0);
    memcpy(told.bytes, CMSG_DATA(c), len < sizeof(told) ? len : sizeof(told));
    return told.error.ee_errno == ECONNREFUSED &&
           told.error.ee_origin == (v6 ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP) &&
           addr_from_sockaddr(&from, SO_EE_OFFENDER(&told.error)) == 0 &&
           addr_equal_ip(&from, &p->to);
}

/* Takes one from the queue of errors, if there is any. */
static bool read_error(const struct prober *p, bool *refused)
{
    union {
        struct cmsghdr aligned;
        uint8_t bytes[CMSG_SPACE(sizeof(struct timespec)) +
                      CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6))];
    } control;
    uint8_t quoted[KEY_ID + NONCE_RANDOM] = {0};
    struct iovec into = {.iov_base = quoted, .iov_len = sizeof(quoted)};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

    if (recvmsg(p->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) == -1)
        return false;
    bool ours = memcmp(quoted + KEY_ID, p->nonce, NONCE_RANDOM) == 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        *refused = *refused || (ours && is_refusal(p, c));
    return true;
}

static void read_errors(struct prober *p)
{
    bool refused = false;

    for (int i = 0; i < REFUSALS_PER_TURN && read_error(p, &refused); i++)
        ;
    if (refused && p->events->refused)
        p->events->refused(p->arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct prober *p = arg;
    uint8_t packet[PROBE_SIZE + 1]; /* room to see that one is too long */
    struct probe probe;

    read_errors(p);
    for (int i = 0; i < ANSWERS_PER_TURN; i++) {
        uint64_t age;
        ssize_t n = receive(fd, packet, sizeof(packet), &age);

        if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return; /* any other error is of a probe, and what came stands behind it */
        if (n == PROBE_SIZE && probe_read_answer(&p->keys, packet, &probe) == 0 &&
            probe.uplink == p->uplink)
            p->events->answered(p->arg, probe.seq, age);
    }
}

static int queue_errors(int fd, uint8_t family)
{
    int on = 1;
    int err = family == 6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on))
                          : setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));

    return err == -1 ? -errno : 0;
}

/* By source address (our policy rules) and by interface, as the trunks. */
static int bind_and_aim(int fd, const struct uplink *uplink, const struct addr *to)
{
    struct sockaddr_storage ss;
    const char *interface = uplink->config->interface;
    struct addr from = uplink_route(uplink, to->family)->address;

    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface) + 1) ==
        -1)
        return -errno;
    from.port = 0;
    socklen_t len = addr_to_sockaddr(&from, &ss);
    if (bind(fd, (struct sockaddr *)&ss, len) == -1)
        return -errno;
    len = addr_to_sockaddr(to, &ss);
    return connect(fd, (struct sockaddr *)&ss, len) == -1 ? -errno : 0;
}

static int open_socket(struct prober *p, struct event_base *base, const struct uplink *uplink)
{
    p->fd = socket(p->to.family == 6 ? AF_INET6 : AF_INET,
                   SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd == -1)
        return -errno;
    int err = queue_errors(p->fd, p->to.family), on = 1;
    if (!err)
        err = bind_and_aim(p->fd, uplink, &p->to);
    if (err)
        return err;
    setsockopt(p->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
    p->readable = event_new(base, p->fd, EV_READ | EV_PERSIST, on_readable, p);
    if (!p->readable)
        return -ENOMEM;
    loop_goes_first(p->readable);
    return event_add(p->readable, NULL) == 0 ? 0 : -ENOMEM;
}

int prober_new(struct prober **out, struct event_base *base, const struct uplink *uplink,
               const struct concentrator_entry *entry, uint16_t port,
               const struct prober_events *events, void *arg)
{
    struct prober *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->key = entry->key;
    p->uplink = (uint8_t)uplink->index;
    p->fd = -1;
    p->events = events;
    p->arg = arg;
    p->to = entry->address;
    p->to.port = port;
    int err = probe_derive(&entry->key, &p->keys);
    if (!err)
        err = crypto_random(p->nonce, NONCE_RANDOM);
    if (!err)
        err = open_socket(p, base, uplink);
    if (err) {
        prober_free(p);
        return err;
    }
    *out = p;
    return 0;
}

void prober_free(struct prober *p)
{
    if (!p)
        return;
    if (p->readable)
        event_free(p->readable);
    if (p->fd != -1)
        close(p->fd);
    key_wipe(&p->key);
    crypto_wipe(&p->keys, sizeof(p->keys));
    free(p);
}

static int write_request(struct prober *p, uint64_t seq, uint8_t packet[PROBE_SIZE])
{
    struct probe probe = {.seq = seq, .time_us = clock_now_us(), .uplink = p->uplink};
    uint8_t nonce[CRYPTO_NONCE];

    memcpy(nonce, p->nonce, NONCE_RANDOM);
    for (size_t i = 0; i < sizeof(seq); i++)
        nonce[NONCE_RANDOM + i] = (uint8_t)(seq >> (8 * (sizeof(seq) - 1 - i)));
    return probe_write_request(&p->key, &p->keys, nonce, &probe, packet);
}

/* The error of an earlier probe, which nobody has read yet, is told instead of sending, once. */
static int send_bytes(struct prober *p, const uint8_t *packet, size_t len)
{
    ssize_t n = send(p->fd, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n == -1 && errno != EMSGSIZE)
        n = send(p->fd, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n == -1 ? -errno : 0;
}

int prober_send(struct prober *p, uint64_t seq)
{
    uint8_t packet[PROBE_SIZE];
    int err = write_request(p, seq, packet);

    return err ? err : send_bytes(p, packet, sizeof(packet));
}

/* PROBE: the kernel sets DF, and does not hold the packet to what it believes of the way. */
static int forbid_fragments(const struct prober *p)
{
    int v4 = IP_PMTUDISC_PROBE, v6 = IPV6_PMTUDISC_PROBE;
    int err = p->to.family == 6
                  ? setsockopt(p->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof(v6))
                  : setsockopt(p->fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof(v4));

    return err == -1 ? -errno : 0;
}

int prober_send_sized(struct prober *p, uint64_t seq, size_t packet_bytes)
{
    size_t headers = (p->to.family == 6 ? 40 : 20) + 8;
    uint8_t packet[PROBE_PACKET_MAX] = {0};

    if (packet_bytes > sizeof(packet) || packet_bytes < headers + PROBE_SIZE)
        return -EINVAL;
    int err = forbid_fragments(p);
    if (!err)
        err = write_request(p, seq, packet);
    return err ? err : send_bytes(p, packet, packet_bytes - headers);
}
