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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_learn_of_it),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
