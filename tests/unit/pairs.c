#include "tests/unit/pairs.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/addr.h"
#include "core/mptcp.h"

#define WAIT_MS 10000

static void await(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static int stream_socket(enum pair_kind kind)
{
    int fd = kind == PAIR_MPTCP ? mptcp_socket(4) : mptcp_tcp_socket(4);

    assert_true(fd >= 0);
    return fd;
}

static struct pair connected(enum pair_kind kind)
{
    struct pair pair;
    struct addr at;
    struct sockaddr_storage ss;
    int listener = stream_socket(kind);

    assert_int_equal(addr_parse_ip(&at, "127.0.0.1"), 0);
    socklen_t len = addr_to_sockaddr(&at, &ss);
    assert_int_equal(bind(listener, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(addr_of_socket(&at, listener), 0);
    pair.a = stream_socket(kind);
    len = addr_to_sockaddr(&at, &ss);
    assert_true(connect(pair.a, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS);
    await(listener, POLLIN);
    pair.b = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(pair.b >= 0);
    await(pair.a, POLLOUT);
    close(listener);
    mptcp_tune(pair.a);
    mptcp_tune(pair.b);
    return pair;
}

struct pair pair_new(enum pair_kind kind)
{
    int fds[2];

    if (kind != PAIR_UNIX)
        return connected(kind);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){fds[0], fds[1]};
}

const char *pair_kind_name(enum pair_kind kind)
{
    static const char *const names[] = {"unix", "tcp", "mptcp"};

    return names[kind];
}

size_t descriptors_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 3; /* ".", ".." and the directory itself */
}

void pattern_fill(uint32_t seed, uint64_t at, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = pattern(seed, at + i);
}

void pattern_check(uint32_t seed, uint64_t at, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != pattern(seed, at + i))
            fail_msg("byte %llu of stream %u is wrong", (unsigned long long)(at + i), seed);
    }
}

uint32_t random_next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}
