/* MPTCP sockets on loopback: what they tell of themselves, on kernels new and older, and that a
 * reset is a reset, whatever the connection is doing. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/mptcp.h"
#include "core/mptcp_uapi.h"
#include "tests/unit/netns.h"

#define RESET_WITHIN_MS 1000

/* An older kernel, as far as the options go: the linker sends the module's getsockopt here. */
static bool old_kernel;
int __real_getsockopt(int fd, int level, int option, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len);

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    bool newer = (level == UAPI_SOL_MPTCP && option == UAPI_MPTCP_FULL_INFO) ||
                 (level == IPPROTO_TCP && option == UAPI_TCP_IS_MPTCP);

    if (old_kernel && newer) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return __real_getsockopt(fd, level, option, value, len);
}

struct pair {
    int client, server;
};

static void await(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    assert_int_equal(poll(&p, 1, 5000), 1);
}

/* Both ends non-blocking. */
static struct pair connect_pair(uint8_t family, bool client_mptcp, bool server_mptcp)
{
    struct pair pair;
    struct addr at;
    struct sockaddr_storage ss;

    assert_int_equal(addr_parse_ip(&at, family == 6 ? "::1" : "127.0.0.1"), 0);
    int listener = server_mptcp ? mptcp_socket(family) : mptcp_tcp_socket(family);
    assert_true(listener >= 0);
    socklen_t len = addr_to_sockaddr(&at, &ss);
    assert_int_equal(bind(listener, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(addr_of_socket(&at, listener), 0);
    pair.client = client_mptcp ? mptcp_socket(family) : mptcp_tcp_socket(family);
    assert_true(pair.client >= 0);
    len = addr_to_sockaddr(&at, &ss);
    assert_int_equal(connect(pair.client, (struct sockaddr *)&ss, len), -1);
    assert_int_equal(errno, EINPROGRESS);
    await(listener, POLLIN);
    pair.server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(pair.server >= 0);
    await(pair.client, POLLOUT);
    close(listener);
    return pair;
}

static void say(int from, int to, const char *what)
{
    char heard[64];

    assert_int_equal(send(from, what, strlen(what), 0), strlen(what));
    await(to, POLLIN);
    assert_int_equal(recv(to, heard, sizeof(heard), 0), strlen(what));
}

static void close_pair(struct pair pair)
{
    close(pair.client);
    close(pair.server);
}

static void knows_mptcp_from_tcp(void **state)
{
    uint32_t token = 0, other = 0;

    for (int age = 0; age < 2; age++) {
        old_kernel = age == 1;
        for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
            struct pair mptcp = connect_pair(family, true, true);
            struct pair stripped = connect_pair(family, true, false);
            struct pair plain = connect_pair(family, false, true);
            assert_true(mptcp_is_active(mptcp.client) && mptcp_is_active(mptcp.server));
            assert_false(mptcp_is_active(stripped.client) || mptcp_is_active(stripped.server));
            assert_false(mptcp_is_active(plain.client) || mptcp_is_active(plain.server));
            assert_int_equal(mptcp_token(mptcp.client, &token), 0);
            assert_int_equal(mptcp_token(mptcp.server, &other), 0);
            assert_true(token != 0 && other != 0 && token != other);
            assert_true(mptcp_token(stripped.client, &token) < 0);
            assert_true(mptcp_token(plain.client, &token) < 0);
            close_pair(mptcp);
            close_pair(stripped);
            close_pair(plain);
        }
    }
    old_kernel = false;
}

static void no_token_before_connecting(void **state)
{
    uint32_t token;
    int fd = mptcp_socket(4);

    assert_true(mptcp_token(fd, &token) < 0);
    close(fd);
}

static void tells_its_subflows(void **state)
{
    struct mptcp_subflow flows[8];
    struct addr local, remote;

    for (int age = 0; age < 2; age++) {
        struct pair pair = connect_pair(4, true, true);
        old_kernel = age == 1;
        say(pair.client, pair.server, "twelve bytes");
        say(pair.server, pair.client, "five!");
        assert_int_equal(addr_of_socket(&local, pair.client), 0);
        assert_int_equal(addr_of_peer(&remote, pair.client), 0);
        struct netns_wait wait = {0};
        do {
            assert_int_equal(mptcp_subflows(pair.client, flows, 8), 1);
            if (flows[0].tx_bytes < 12)
                netns_wait(&wait);
        } while (flows[0].tx_bytes < 12);
        assert_true(addr_equal(&flows[0].local, &local));
        assert_true(addr_equal(&flows[0].remote, &remote));
        assert_int_equal(flows[0].tcp_state, TCP_ESTABLISHED);
        assert_int_equal(flows[0].rx_bytes, 5);
        assert_in_range(flows[0].rtt_us, 1, 1000000);
        assert_int_equal(mptcp_subflows(pair.client, flows, 0), 0);
        close_pair(pair);
    }
    old_kernel = false;
}

static void no_subflows_of_plain_tcp(void **state)
{
    struct mptcp_subflow flows[8];
    struct pair pair = connect_pair(4, false, false);

    assert_true(mptcp_subflows(pair.client, flows, 8) < 0);
    close_pair(pair);
}

static int int_option(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static void tunes(void **state)
{
    struct pair pair = connect_pair(4, true, true);

    mptcp_tune(pair.client);
    assert_int_equal(int_option(pair.client, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(int_option(pair.client, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_in_range(int_option(pair.client, IPPROTO_TCP, TCP_KEEPIDLE), 30, 300);
    assert_int_equal(int_option(pair.client, IPPROTO_TCP, TCP_KEEPINTVL), 15);
    assert_int_equal(int_option(pair.client, IPPROTO_TCP, TCP_KEEPCNT), 4);
    close_pair(pair);
}

/* What the connection is doing when it is reset. peer: who must notice. */
static void nothing(int self, int peer)
{
}

static void unread_data(int self, int peer)
{
    assert_int_equal(send(peer, "unread", 6, 0), 6);
    await(self, POLLIN);
}

static void unsent_data(int self, int peer)
{
    static char block[65536];

    while (send(self, block, sizeof(block), 0) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
}

static void own_half_closed(int self, int peer)
{
    char byte;

    assert_int_equal(shutdown(self, SHUT_WR), 0);
    await(peer, POLLIN);
    assert_int_equal(recv(peer, &byte, 1, 0), 0);
}

static void peers_half_closed(int self, int peer)
{
    char byte;

    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    await(self, POLLIN);
    assert_int_equal(recv(self, &byte, 1, 0), 0);
}

/* Reads and writes until the end: a clean end of stream does not count as a reset. */
static bool sees_reset(int peer)
{
    static char block[65536];
    uint64_t deadline = clock_now_ms() + RESET_WITHIN_MS;

    while (clock_now_ms() < deadline) {
        struct pollfd p = {.fd = peer, .events = POLLIN};
        ssize_t n = recv(peer, block, sizeof(block), 0);
        if (n == -1 && errno == ECONNRESET)
            return true;
        if (n == 0 || (n == -1 && errno != EAGAIN))
            return false;
        if (n == -1)
            poll(&p, 1, 20);
    }
    return false;
}

static void resets(void **state)
{
    static void (*const doing[])(int self, int peer) = {nothing, unread_data, unsent_data,
                                                        own_half_closed, peers_half_closed};

    for (size_t i = 0; i < sizeof(doing) / sizeof(doing[0]); i++) {
        for (int kind = 0; kind < 3; kind++) {
            struct pair pair = connect_pair(4, kind > 0, kind > 1);
            say(pair.client, pair.server, "hello");
            say(pair.server, pair.client, "hello");
            doing[i](pair.client, pair.server);
            mptcp_reset(pair.client);
            if (doing[i] == own_half_closed) {
                /* It has read our end of stream already: only its error tells, EPIPE for TCP. */
                struct pollfd p = {.fd = pair.server, .events = 0};
                assert_int_equal(poll(&p, 1, RESET_WITHIN_MS), 1);
                int error = int_option(pair.server, SOL_SOCKET, SO_ERROR);
                assert_true(error == ECONNRESET || error == EPIPE);
            } else if (!sees_reset(pair.server)) {
                fail_msg("no reset: case %zu kind %d", i, kind);
            }
            close(pair.server);
        }
    }
}

/* The case in which close() alone leaves the sender waiting for a minute and more: it sends all the
 * time, and we happen to have read everything. */
static void resets_an_endless_sender(void **state)
{
    static char block[65536];

    for (int kind = 0; kind < 3; kind++) {
        struct pair pair = connect_pair(4, kind > 0, kind > 1);
        uint64_t deadline;
        ssize_t n;

        for (int i = 0; i < 200; i++) {
            while (send(pair.server, block, sizeof(block), 0) > 0)
                ;
            while (recv(pair.client, block, sizeof(block), 0) > 0)
                ;
        }
        mptcp_reset(pair.client);
        deadline = clock_now_ms() + RESET_WITHIN_MS;
        while ((n = send(pair.server, block, sizeof(block), MSG_NOSIGNAL)) > 0 ||
               (errno == EAGAIN && clock_now_ms() < deadline)) {
            struct pollfd p = {.fd = pair.server, .events = POLLOUT};
            if (n == -1)
                poll(&p, 1, 20);
        }
        assert_int_equal(errno, ECONNRESET);
        close(pair.server);
    }
}

static int receive_buffer_of(int fd)
{
    int bytes = 0;
    socklen_t len = sizeof(bytes);

    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len), 0);
    return bytes;
}

/* Whoever connects or is accepted: from the start, and for good. */
static void has_a_wide_receive_buffer(void **state)
{
    struct pair pair = connect_pair(4, true, true);

    assert_in_range(receive_buffer_of(pair.client), 2 << 20, 32 << 20);
    assert_int_equal(receive_buffer_of(pair.server), receive_buffer_of(pair.client));
    close(pair.client);
    close(pair.server);
}

static void needs_mptcp_enabled(void **state)
{
    netns_run("echo 0 > /proc/sys/net/mptcp/enabled");
    int fd = mptcp_socket(4);
    assert_true(fd == -ENOPROTOOPT || fd == -EPROTONOSUPPORT);
    netns_run("echo 1 > /proc/sys/net/mptcp/enabled");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_mptcp_from_tcp),
        cmocka_unit_test(no_token_before_connecting),
        cmocka_unit_test(tells_its_subflows),
        cmocka_unit_test(no_subflows_of_plain_tcp),
        cmocka_unit_test(tunes),
        cmocka_unit_test(resets),
        cmocka_unit_test(resets_an_endless_sender),
        cmocka_unit_test(has_a_wide_receive_buffer),
        cmocka_unit_test(needs_mptcp_enabled),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
