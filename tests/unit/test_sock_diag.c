/* A socket that is ended from outside: both ends learn of it at once. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include <sys/socket.h>

#include "core/sock_diag.h"
#include "tests/unit/netns.h"
#include "tests/unit/pairs.h"

static struct addr far_end_of(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct addr a;

    assert_int_equal(getpeername(fd, (struct sockaddr *)&ss, &len), 0);
    assert_int_equal(addr_from_sockaddr(&a, (struct sockaddr *)&ss), 0);
    return a;
}

static int error_of(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;

    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    return errno;
}

static void both_ends_learn_of_it(void **state)
{
    struct pair pair = pair_new(PAIR_TCP), other = pair_new(PAIR_TCP);
    struct netlink *diag;
    struct addr local, remote = far_end_of(pair.a);

    assert_int_equal(netlink_new(&diag, NETLINK_SOCK_DIAG), 0);
    assert_int_equal(addr_of_socket(&local, pair.a), 0);
    assert_int_equal(sock_diag_reset(diag, &local, &remote, 0), 0);
    assert_int_equal(error_of(pair.a), ECONNABORTED);
    assert_int_equal(error_of(pair.b), ECONNRESET);
    assert_true(sock_diag_reset(diag, &local, &remote, 0) < 0);
    assert_int_equal(send(other.a, "x", 1, 0), 1); /* nobody else is meant */
    netlink_free(diag);
    close(pair.a);
    close(pair.b);
    close(other.a);
    close(other.b);
}

/* Of an MPTCP connection, its first subflow; plain TCP has none to tell of. */
static void the_kernel_tells_who_is_taken_in(void **state)
{
    struct pair mptcp = pair_new(PAIR_MPTCP), tcp = pair_new(PAIR_TCP);
    struct netlink *diag;
    struct addr local, remote = far_end_of(mptcp.a);
    char byte;

    assert_int_equal(netlink_new(&diag, NETLINK_SOCK_DIAG), 0);
    assert_int_equal(addr_of_socket(&local, mptcp.a), 0);
    assert_int_equal(send(mptcp.a, "x", 1, 0), 1);
    assert_int_equal(recv(mptcp.b, &byte, 1, 0), 1);
    assert_int_equal(send(mptcp.b, "x", 1, 0), 1); /* with the word that it has come */
    assert_int_equal(recv(mptcp.a, &byte, 1, 0), 1);
    assert_int_equal(sock_diag_is_taken_in(diag, &local, &remote, 0), 1);
    local.port++;
    assert_int_equal(sock_diag_is_taken_in(diag, &local, &remote, 0), -ENOENT);
    remote = far_end_of(tcp.a);
    assert_int_equal(addr_of_socket(&local, tcp.a), 0);
    assert_int_equal(sock_diag_is_taken_in(diag, &local, &remote, 0), 0);
    netlink_free(diag);
    close(mptcp.a);
    close(mptcp.b);
    close(tcp.a);
    close(tcp.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_learn_of_it),
        cmocka_unit_test(the_kernel_tells_who_is_taken_in),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
