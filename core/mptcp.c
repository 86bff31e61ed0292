#include "core/mptcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "core/mptcp_uapi.h"

/* More than uplinks: those that are closing count, too. */
#define SUBFLOWS_MAX 32

/* Rarely, since every subflow of every idle flow pays for it, on metered uplinks too; but before
 * the NAT of a mobile carrier forgets the connection (some do after 5 minutes). */
#define KEEPALIVE_IDLE_S 240
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 4
#define WATCHED_IDLE_S 10
#define WATCHED_INTERVAL_S 5

/* A limit: what it holds is what has come and cannot be delivered yet. While a lost packet is sent
 * again, that is all that comes in a round trip, besides the one that is under way: two of 130 Mb/s
 * at 600 ms. With half of this the sender stood still meanwhile, and began again with a burst that
 * the path's queue could not hold: 85 Mb/s of 124. More would be fetched for nothing where a client
 * stops reading. */
#define RECEIVE_BUFFER_MAX (32u << 20)
#define RECEIVE_BUFFER_MIN (2u << 20)
#define RECEIVE_BUFFER_OF_MEMORY 32 /* a thirty-second part */

static int stream_socket(uint8_t family, int protocol)
{
    int fd = socket(family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    protocol);

    return fd == -1 ? -errno : fd;
}

static uint32_t receive_buffer(void)
{
    struct sysinfo info;
    uint64_t bytes = RECEIVE_BUFFER_MIN;

    if (sysinfo(&info) == 0)
        bytes = (uint64_t)info.totalram * info.mem_unit / RECEIVE_BUFFER_OF_MEMORY;
    if (bytes < RECEIVE_BUFFER_MIN)
        return RECEIVE_BUFFER_MIN;
    return bytes < RECEIVE_BUFFER_MAX ? (uint32_t)bytes : RECEIVE_BUFFER_MAX;
}

int mptcp_socket(uint8_t family)
{
    int bytes = (int)receive_buffer() / 2; /* the kernel doubles it */
    int fd = stream_socket(family, IPPROTO_MPTCP);

    /* Without CAP_NET_ADMIN the kernel's own tuning has to do. */
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
    return fd;
}

int mptcp_tcp_socket(uint8_t family)
{
    return stream_socket(family, IPPROTO_TCP);
}

static int read_info(int fd, struct uapi_mptcp_info *info)
{
    socklen_t len = sizeof(*info);

    memset(info, 0, sizeof(*info));
    if (getsockopt(fd, UAPI_SOL_MPTCP, UAPI_MPTCP_INFO, info, &len) == -1)
        return -errno;
    return len < sizeof(*info) ? -EOPNOTSUPP : 0;
}

bool mptcp_is_active(int fd)
{
    struct uapi_mptcp_info info;
    int value = 0;
    socklen_t len = sizeof(value);

    if (getsockopt(fd, IPPROTO_TCP, UAPI_TCP_IS_MPTCP, &value, &len) == 0)
        return value == 1;
    return read_info(fd, &info) == 0 && !(info.flags & UAPI_MPTCP_INFO_FLAG_FALLBACK);
}

int mptcp_token(int fd, uint32_t *token)
{
    struct uapi_mptcp_info info;
    int err = read_info(fd, &info);

    if (err)
        return err;
    if (info.token == 0)
        return -ENOTCONN;
    *token = info.token;
    return 0;
}

static void fill(struct mptcp_subflow *out, const struct uapi_mptcp_subflow_addrs *addrs,
                 const struct uapi_tcp_info *tcp)
{
    memset(out, 0, sizeof(*out));
    addr_from_sockaddr(&out->local, (const struct sockaddr *)&addrs->local);
    addr_from_sockaddr(&out->remote, (const struct sockaddr *)&addrs->remote);
    out->tcp_state = tcp->state;
    out->rtt_us = tcp->rtt;
    out->min_rtt_us = tcp->min_rtt;
    out->unacked = tcp->unacked;
    out->last_sent_ms = tcp->last_data_sent;
    out->rx_bytes = tcp->bytes_received;
    out->tx_bytes = tcp->bytes_acked;
    out->retransmits = tcp->total_retrans;
    out->timeouts = tcp->retransmits;
    out->unheard_ms = tcp->last_ack_recv;
}

/* One consistent answer, since Linux 6.5. */
static int read_full(int fd, struct mptcp_subflow *out, size_t max)
{
    struct uapi_mptcp_subflow_info subflows[SUBFLOWS_MAX];
    struct uapi_tcp_info tcp[SUBFLOWS_MAX];
    struct uapi_mptcp_full_info full;
    socklen_t len = sizeof(full);

    memset(subflows, 0, sizeof(subflows));
    memset(tcp, 0, sizeof(tcp));
    memset(&full, 0, sizeof(full));
    full.size_tcpinfo_user = sizeof(tcp[0]);
    full.size_sfinfo_user = sizeof(subflows[0]);
    full.size_arrays_user = (uint32_t)max;
    full.subflow_info = (uintptr_t)subflows;
    full.tcp_info = (uintptr_t)tcp;
    if (getsockopt(fd, UAPI_SOL_MPTCP, UAPI_MPTCP_FULL_INFO, &full, &len) == -1)
        return -errno;
    size_t n = full.num_subflows < max ? full.num_subflows : max;
    for (size_t i = 0; i < n; i++)
        fill(&out[i], &subflows[i].addrs, &tcp[i]);
    return (int)n;
}

/* One of the older options: a header, and an element for each subflow. Returns how many. */
static int read_array(int fd, int option, void *buffer, size_t size, size_t element)
{
    struct uapi_mptcp_subflow_data head = {.size_subflow_data = sizeof(head),
                                           .size_user = (uint32_t)element};
    socklen_t len = (socklen_t)size;

    memset(buffer, 0, size);
    memcpy(buffer, &head, sizeof(head));
    if (getsockopt(fd, UAPI_SOL_MPTCP, option, buffer, &len) == -1)
        return -errno;
    memcpy(&head, buffer, sizeof(head));
    size_t room = (size - sizeof(head)) / element;
    return (int)(head.num_subflows < room ? head.num_subflows : room);
}

/* Two answers, which agree unless a subflow came or went between them. */
static int read_two_arrays(int fd, struct mptcp_subflow *out, size_t max)
{
    struct {
        struct uapi_mptcp_subflow_data head;
        struct uapi_mptcp_subflow_addrs of[SUBFLOWS_MAX];
    } addrs;
    struct {
        struct uapi_mptcp_subflow_data head;
        struct uapi_tcp_info of[SUBFLOWS_MAX];
    } tcp;
    int n = read_array(fd, UAPI_MPTCP_SUBFLOW_ADDRS, &addrs, sizeof(addrs), sizeof(addrs.of[0]));
    if (n < 0)
        return n;
    int m = read_array(fd, UAPI_MPTCP_TCPINFO, &tcp, sizeof(tcp), sizeof(tcp.of[0]));
    if (m < 0)
        return m;
    if (m < n)
        n = m;
    if ((size_t)n > max)
        n = (int)max;
    for (int i = 0; i < n; i++)
        fill(&out[i], &addrs.of[i], &tcp.of[i]);
    return n;
}

int mptcp_subflows(int fd, struct mptcp_subflow *out, size_t max)
{
    if (max > SUBFLOWS_MAX)
        max = SUBFLOWS_MAX;
    int n = read_full(fd, out, max);
    if (n == -EOPNOTSUPP || n == -ENOPROTOOPT)
        n = read_two_arrays(fd, out, max);
    return n;
}

/* Of a connection that has fallen back the kernel tells as of any. */
static int read_plain(int fd, struct mptcp_subflow *out)
{
    struct uapi_tcp_info tcp;
    socklen_t len = sizeof(tcp);

    memset(&tcp, 0, sizeof(tcp));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &len) == -1)
        return -errno;
    fill(out, &(struct uapi_mptcp_subflow_addrs){0}, &tcp);
    return 1;
}

uint32_t mptcp_unanswered_ms(int fd)
{
    struct mptcp_subflow subflows[SUBFLOWS_MAX];
    int n = mptcp_subflows(fd, subflows, SUBFLOWS_MAX);
    uint32_t unheard_ms = UINT32_MAX;
    bool owes = false;

    if (n < 0)
        n = read_plain(fd, subflows);
    for (int i = 0; i < n; i++) {
        owes = owes || subflows[i].unacked > 0;
        if (subflows[i].unheard_ms < unheard_ms)
            unheard_ms = subflows[i].unheard_ms;
    }
    return owes ? unheard_ms : 0;
}

void mptcp_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    /* Neither alone suffices on every kernel and in every state, and together they do no harm. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    connect(fd, &nobody, sizeof(nobody));
    close(fd);
}

static void set_int(int fd, int level, int option, int value)
{
    /* Linux < 6.10 refuses the keepalive times on MPTCP: its defaults then have to do. */
    setsockopt(fd, level, option, &value, sizeof(value));
}

static void keep_alive(int fd, int idle_s, int interval_s)
{
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

void mptcp_tune(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    keep_alive(fd, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S);
}

void mptcp_watch_closely(int fd)
{
    keep_alive(fd, WATCHED_IDLE_S, WATCHED_INTERVAL_S);
}
