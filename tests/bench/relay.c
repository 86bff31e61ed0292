/* bench-relay: the least that can carry TCP over Multipath TCP, as the measure of what the rest of
 * bondway costs. A thread for each direction of each connection; it reads up to 256 KiB, writes
 * them, and reads again. No encryption, no limits, no resets. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define CHUNK (256 * 1024)

struct ends {
    int listen_protocol, dial_protocol;
    bool transparent;
    struct sockaddr_in at, to;
};

/* One connection, owned by its two threads: the second one to end frees it. */
struct joint {
    const struct ends *ends;
    int near, far;
    atomic_int running;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static bool write_all(int fd, const char *bytes, ssize_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, bytes, (size_t)n);

        if (written <= 0)
            return false;
        bytes += written;
        n -= written;
    }
    return true;
}

static void carry(struct joint *j, int from, int to)
{
    char *chunk = malloc(CHUNK);
    ssize_t n;

    while (chunk && (n = read(from, chunk, CHUNK)) > 0)
        if (!write_all(to, chunk, n))
            break;
    free(chunk);
    shutdown(to, SHUT_WR);
    if (atomic_fetch_sub(&j->running, 1) == 1) {
        close(j->near);
        close(j->far);
        free(j);
    }
}

static void *carry_inward(void *arg)
{
    struct joint *j = arg;

    carry(j, j->far, j->near);
    return NULL;
}

static void start(void *(*run)(void *), void *arg)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, arg) != 0)
        fail("pthread_create");
    pthread_detach(thread);
}

static void set_nodelay(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Dials, and carries what the near side sends. */
static void *serve(void *arg)
{
    struct joint *j = arg;

    j->far = socket(AF_INET, SOCK_STREAM, j->ends->dial_protocol);
    if (j->far == -1)
        fail("socket");
    if (connect(j->far, (const struct sockaddr *)&j->ends->to, sizeof(j->ends->to)) == -1) {
        perror("connect");
        close(j->near);
        close(j->far);
        free(j);
        return NULL;
    }
    set_nodelay(j->near);
    set_nodelay(j->far);
    start(carry_inward, j);
    carry(j, j->near, j->far);
    return NULL;
}

static int listen_at(const struct ends *ends)
{
    int fd = socket(AF_INET, SOCK_STREAM, ends->listen_protocol);
    int one = 1;

    if (fd == -1)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (ends->transparent && setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one)) == -1)
        fail("IP_TRANSPARENT");
    if (bind(fd, (const struct sockaddr *)&ends->at, sizeof(ends->at)) == -1 ||
        listen(fd, 1024) == -1)
        fail("listen");
    return fd;
}

static struct sockaddr_in address(const char *ip, const char *port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, ip, &sin.sin_addr) != 1) {
        fprintf(stderr, "not an IPv4 address: %s\n", ip);
        exit(2);
    }
    return sin;
}

int main(int argc, char **argv)
{
    if (argc != 5 || (strcmp(argv[1], "gateway") != 0 && strcmp(argv[1], "concentrator") != 0)) {
        fprintf(stderr, "Usage: bench-relay gateway|concentrator LISTEN_PORT TO_IP TO_PORT\n");
        return 2;
    }
    bool gateway = strcmp(argv[1], "gateway") == 0;
    struct ends ends = {.listen_protocol = gateway ? IPPROTO_TCP : IPPROTO_MPTCP,
                        .dial_protocol = gateway ? IPPROTO_MPTCP : IPPROTO_TCP,
                        .transparent = gateway,
                        .at = address("0.0.0.0", argv[2]),
                        .to = address(argv[3], argv[4])};
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_at(&ends);
    for (;;) {
        struct joint *j = malloc(sizeof(*j));

        if (!j)
            fail("malloc");
        *j = (struct joint){
            .ends = &ends, .near = accept(listener, NULL, NULL), .far = -1, .running = 2};
        if (j->near == -1)
            fail("accept");
        start(serve, j);
    }
}
