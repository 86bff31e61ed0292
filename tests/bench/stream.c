/* bench-stream: one end of a connection that somebody else has made and handed over. It sends, or
 * notes when what arrives; see usage(). Both ends are on one machine, and share its clock. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024)

static char chunk[CHUNK];

/* What heal reads: native byte order, 16 bytes each. */
struct arrival {
    uint64_t us; /* CLOCK_MONOTONIC */
    uint64_t bytes;
};

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* A late stamp is a wrong one. */
static void hurry(void)
{
    struct sched_param most = {.sched_priority = 1};

    if (sched_setscheduler(0, SCHED_FIFO, &most) == -1)
        perror("bench-stream: no real-time priority, stamps may be late");
}

/* MSG_TRUNC: the kernel drops the bytes (tcp(7)). */
static int receive(int fd)
{
    ssize_t n;

    hurry();
    while ((n = recv(fd, chunk, CHUNK, MSG_TRUNC)) > 0) {
        struct arrival arrival = {.us = now_us(), .bytes = (uint64_t)n};

        if (write(STDOUT_FILENO, &arrival, sizeof(arrival)) != sizeof(arrival))
            return 1;
    }
    return n == 0 ? 0 : 1;
}

static int send_all(int fd, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, chunk, size, 0);

        if (n <= 0)
            return -errno;
        size -= (size_t)n;
    }
    return 0;
}

static int send_bulk(int fd)
{
    while (send_all(fd, CHUNK) == 0)
        ;
    return 1;
}

static void wait_until(uint64_t us)
{
    struct timespec at = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* By the clock: after a stall, what should have been sent meanwhile follows at once. */
static int send_paced(int fd, size_t size, uint64_t interval_us)
{
    hurry();
    for (uint64_t next = now_us(); send_all(fd, size) == 0; wait_until(next))
        next += interval_us;
    return 1;
}

static int usage(void)
{
    fprintf(stderr,
            "Usage: bench-stream receive FD           stamps to stdout\n"
            "       bench-stream bulk FD              sends what fits\n"
            "       bench-stream paced FD BYTES US    sends so many bytes every so often\n");
    return 2;
}

int main(int argc, char **argv)
{
    int fd = argc >= 3 ? atoi(argv[2]) : -1;

    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "receive") == 0)
        return receive(fd);
    if (argc == 3 && strcmp(argv[1], "bulk") == 0)
        return send_bulk(fd);
    if (argc == 5 && strcmp(argv[1], "paced") == 0) {
        size_t size = (size_t)atol(argv[3]);

        return size > CHUNK ? usage() : send_paced(fd, size, strtoull(argv[4], NULL, 10));
    }
    return usage();
}
