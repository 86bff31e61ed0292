/* What the kernel says over netlink, as far as we read it. The first byte chooses who reads; then
 * come datagrams, each behind its length in two bytes; an empty one is the last for a socket. They
 * wait in a pair of sockets that stands in for netlink's: for who asks they are answers (the n-th
 * request has the sequence number n), and for who listens they are events. */
#include "tests/fuzz/scene.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/netlink.h"
#include "core/path_manager.h"
#include "gateway/tally.h"
#include "gateway/uplink_snapshot.h"

#define DATAGRAM_MAX 32768

static const uint8_t *datagrams;
static size_t left;

/* ---- in place of libmnl's, by the linker's --wrap ---- */

struct mnl_socket *__wrap_mnl_socket_open2(int bus, int flags);
int __wrap_mnl_socket_bind(struct mnl_socket *socket, unsigned groups, pid_t pid);
int __wrap_mnl_socket_setsockopt(const struct mnl_socket *socket, int type, void *value,
                                 socklen_t len);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *request, size_t len);

static void send_datagrams(int fd)
{
    while (left >= 2) {
        size_t len = (size_t)datagrams[0] | (size_t)datagrams[1] << 8;
        if (len > left - 2 || len > DATAGRAM_MAX)
            return;
        ssize_t n = len > 0 ? send(fd, datagrams + 2, len, 0) : 0;
        datagrams += 2 + len;
        left -= 2 + len;
        if (n <= 0)
            return;
    }
}

struct mnl_socket *__wrap_mnl_socket_open2(int bus, int flags)
{
    int pair[2];

    must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair) == 0);
    struct mnl_socket *socket = mnl_socket_fdopen(pair[0]);
    must(socket);
    send_datagrams(pair[1]);
    close(pair[1]);
    return socket;
}

int __wrap_mnl_socket_bind(struct mnl_socket *socket, unsigned groups, pid_t pid)
{
    return 0;
}

int __wrap_mnl_socket_setsockopt(const struct mnl_socket *socket, int type, void *value,
                                 socklen_t len)
{
    return 0;
}

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *request, size_t len)
{
    return (ssize_t)len;
}

/* ---- who reads ---- */

static void read_uplinks(void)
{
    static const struct gateway_config config = {
        .n_uplinks = 2, .uplinks = {{.interface = "wan0"}, {.interface = "wan1"}}};
    static struct uplink_snapshot snapshot;
    struct uplink uplink = {.config = &config.uplinks[0]};
    struct netlink *nl;

    must(netlink_new(&nl, 0) == 0);
    if (uplink_snapshot_read(&snapshot, nl, &config) == 0) {
        for (size_t i = 0; i < snapshot.n_addresses; i++)
            must(snapshot.addresses[i].address.family == 4 ||
                 snapshot.addresses[i].address.family == 6);
        uplink_assess(&uplink, &snapshot, 0);
    }
    netlink_free(nl);
}

static void on_event(void *arg, const struct path_event *event)
{
    must(event->local.family == 0 || event->local.family == 4 || event->local.family == 6);
}

static void read_paths(void)
{
    struct event_base *base = event_base_new();
    struct path_manager *manager;
    struct path_limits limits;

    must(base);
    if (path_manager_new(&manager, base, on_event, NULL) == 0) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        path_manager_get_limits(manager, &limits);
        path_manager_free(manager);
    }
    event_base_free(base);
}

static void read_counters(void)
{
    struct tally *tally;

    must(tally_new(&tally) == 0);
    tally_read(tally);
    tally_free(tally);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(void) = {read_uplinks, read_paths, read_counters};

    if (size == 0)
        return 0;
    datagrams = data + 1;
    left = size - 1;
    readers[data[0] % (sizeof(readers) / sizeof(readers[0]))]();
    return 0;
}
