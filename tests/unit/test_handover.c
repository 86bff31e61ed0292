/* Handing over, where signals come between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concentrator/handover.h"

#define LISTENERS HANDOVER_LISTENERS_MAX
#define INTERRUPTIONS 20

static int interruptions; /* of the old one: it tells of each by a byte */

static void on_alarm(int number)
{
    if (write(interruptions, "", 1) == -1)
        _exit(1);
}

static void be_interrupted(void)
{
    const struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART */
    const struct itimerval often = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

/* The same listener many times: more than the connection holds, which nobody reads yet. */
static int be_the_old_one(int fd)
{
    int least = 1, listeners[LISTENERS];
    const struct handover h = {.listeners = listeners, .n_listeners = LISTENERS};

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
    listeners[0] = socket(AF_INET, SOCK_STREAM, 0);
    for (size_t i = 1; i < LISTENERS; i++)
        listeners[i] = listeners[0];
    be_interrupted();
    return -handover_send(fd, &h);
}

/* Everything that comes, up to the end; what was sent along is closed. Returns how many that were.
 */
static size_t read_all(int fd)
{
    size_t listeners = 0;

    for (;;) {
        uint8_t bytes[256];
        _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(256 * sizeof(int))];
        struct iovec iov = {bytes, sizeof(bytes)};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &msg, 0);
        const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        assert_true(n >= 0);
        if (n == 0)
            return listeners;
        for (size_t i = 0; c && CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
            int one;
            memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(one));
            close(one);
            listeners++;
        }
    }
}

static void a_signal_does_not_end_it(void **state)
{
    int ends[2], told[2], status;
    char each;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(pipe(told), 0);
    pid_t old = fork();
    if (old == 0) {
        close(ends[1]);
        interruptions = told[1];
        _exit(be_the_old_one(ends[0]));
    }
    close(ends[0]);
    close(told[1]);
    for (int i = 0; i < INTERRUPTIONS; i++)
        assert_int_equal(read(told[0], &each, 1), 1); /* it waits, and goes on waiting */
    assert_int_equal(read_all(ends[1]), LISTENERS);
    assert_int_equal(waitpid(old, &status, 0), old);
    assert_int_equal(status, 0);
    close(ends[1]);
    close(told[0]);
}

/* It has lost patience, and nobody else would listen. */
static void who_has_ended_has_taken_nothing(void **state)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(handover_is_taken(ends[0]), 0);
    assert_int_equal(write(ends[1], "tt", 2), 2);
    assert_int_equal(handover_is_taken(ends[0]), 1);
    close(ends[1]);
    assert_int_equal(handover_is_taken(ends[0]), -EPIPE);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_ended_has_taken_nothing),
        cmocka_unit_test(a_signal_does_not_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
