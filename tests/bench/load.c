/* bench-load: the two ends of the benchmark, the client and the destination; see usage(). Both do
 * as little as they can: what is sent lies ready, what comes is discarded without being copied. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1024 * 1024)
#define REQUEST_SIZE 100
#define ANSWER_SIZE 1024
#define PATIENCE_S 10 /* a short exchange that takes longer has failed */

enum what {
    WHAT_DOWN = 'd',  /* the destination sends */
    WHAT_UP = 'u',    /* the client sends; the destination says how much it got. Without a
                         half-close, which not every relay survives */
    WHAT_SHORT = 's', /* ANSWER_SIZE bytes, then the end */
    WHAT_HOLD = 'h'   /* ANSWER_SIZE bytes, and the connection stays */
};

/* Both ends are this program, on one machine. */
union request {
    struct {
        enum what what;
        uint32_t limit_ms;
        uint64_t limit_bytes;
    } ask;
    char bytes[REQUEST_SIZE];
};

static char chunk[CHUNK];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- bulk, at either end ---- */

static uint64_t end_of(const union request *r)
{
    return now_us() + (uint64_t)r->ask.limit_ms * 1000;
}

static void send_bulk(int fd, const union request *r)
{
    uint64_t end_us = end_of(r);

    for (uint64_t left = r->ask.limit_bytes; left > 0 && now_us() < end_us;) {
        ssize_t n = send(fd, chunk, left < CHUNK ? left : CHUNK, 0);

        if (n <= 0) {
            perror("send");
            return;
        }
        left -= (uint64_t)n;
    }
}

/* MSG_TRUNC: the kernel drops the bytes (tcp(7)). */
static uint64_t discard_bulk(int fd, uint64_t limit_bytes, uint64_t end_us)
{
    uint64_t total = 0;

    while (total < limit_bytes && now_us() < end_us) {
        ssize_t n = recv(fd, chunk, CHUNK, MSG_TRUNC);

        if (n <= 0)
            break;
        total += (uint64_t)n;
    }
    return total;
}

static void discard_rest(int fd)
{
    discard_bulk(fd, UINT64_MAX, UINT64_MAX);
}

/* ---- the destination ---- */

struct call {
    int fd;
    union request request;
};

static void *run_bulk(void *arg)
{
    struct call *call = arg;

    if (call->request.ask.what == WHAT_DOWN) {
        send_bulk(call->fd, &call->request);
        shutdown(call->fd, SHUT_WR);
    } else {
        uint64_t total =
            discard_bulk(call->fd, call->request.ask.limit_bytes, end_of(&call->request));
        send(call->fd, &total, sizeof(total), MSG_NOSIGNAL);
    }
    discard_rest(call->fd);
    close(call->fd);
    free(call);
    return NULL;
}

static void start_bulk(int fd, const union request *request)
{
    struct call *call = malloc(sizeof(*call));
    pthread_t thread;

    if (!call)
        fail("malloc");
    *call = (struct call){.fd = fd, .request = *request};
    if (pthread_create(&thread, NULL, run_bulk, call) != 0)
        fail("pthread_create");
    pthread_detach(thread);
}

static void answer(int epoll, int fd)
{
    union request request;
    ssize_t n = recv(fd, &request, sizeof(request), 0);

    if (n != sizeof(request)) { /* its end; or a request in pieces, which none is here */
        close(fd);
        return;
    }
    if (request.ask.what == WHAT_DOWN || request.ask.what == WHAT_UP) {
        epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
        start_bulk(fd, &request);
        return;
    }
    send(fd, chunk, ANSWER_SIZE, MSG_NOSIGNAL);
    if (request.ask.what == WHAT_SHORT)
        close(fd);
}

static void serve(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), one = 1;
    struct epoll_event events[64], entry = {.events = EPOLLIN, .data.fd = listener};

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (struct sockaddr *)&at, sizeof(at)) == -1 || listen(listener, 1024) == -1 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &entry) == -1)
        fail("listen");
    for (;;) {
        int count = epoll_wait(epoll, events, 64, -1);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                answer(epoll, fd);
                continue;
            }
            entry.data.fd = accept(listener, NULL, NULL);
            if (entry.data.fd != -1)
                epoll_ctl(epoll, EPOLL_CTL_ADD, entry.data.fd, &entry);
        }
    }
}

/* ---- the client ---- */

static int dial(const struct sockaddr_in *to, const union request *request)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    if (fd == -1 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) == -1)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (send(fd, request, sizeof(*request), 0) != sizeof(*request))
        fail("send");
    return fd;
}

static void print_bulk(uint64_t bytes, uint64_t took_us)
{
    printf("{\"bytes\": %" PRIu64 ", \"seconds\": %.6f}\n", bytes, (double)took_us / 1e6);
}

static int bulk(const struct sockaddr_in *to, enum what what, uint64_t bytes, uint32_t limit_ms)
{
    union request request = {
        .ask = {.what = what, .limit_bytes = bytes, .limit_ms = limit_ms},
    };
    uint64_t start_us = now_us(), total;
    int fd = dial(to, &request);

    if (what == WHAT_DOWN) {
        total = discard_bulk(fd, UINT64_MAX, UINT64_MAX);
    } else {
        send_bulk(fd, &request);
        if (recv(fd, &total, sizeof(total), MSG_WAITALL) != sizeof(total))
            fail("recv");
    }
    print_bulk(total, now_us() - start_us);
    close(fd);
    return 0;
}

/* One request, one answer. Returns the time to its first byte; 0 if it failed. */
static uint64_t exchange(const struct sockaddr_in *to, uint64_t *first_us)
{
    union request request = {.ask = {.what = WHAT_SHORT}};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    uint64_t start_us = now_us();
    char bytes[ANSWER_SIZE];
    int fd = dial(to, &request);
    size_t got = 0;
    ssize_t n;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        if (got == 0)
            *first_us = now_us() - start_us;
        got += (size_t)n;
    }
    close(fd);
    return got == ANSWER_SIZE ? now_us() - start_us : 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

struct samples {
    uint64_t *us;
    size_t count, room, failed;
};

static void add_sample(struct samples *s, uint64_t us)
{
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 1024;
        s->us = realloc(s->us, s->room * sizeof(*s->us));
        if (!s->us)
            fail("realloc");
    }
    s->us[s->count++] = us;
}

static void print_samples(struct samples *s, uint64_t took_us)
{
    if (s->count == 0) {
        fprintf(stderr, "every exchange failed\n");
        exit(1);
    }
    qsort(s->us, s->count, sizeof(*s->us), compare);
    printf("{\"flows\": %zu, \"failed\": %zu, \"seconds\": %.6f, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f}\n",
           s->count, s->failed, (double)took_us / 1e6, (double)s->us[s->count / 2] / 1e3,
           (double)s->us[s->count * 99 / 100] / 1e3);
    free(s->us);
}

/* One exchange after the other; the time to the first byte of each. */
static int latency(const struct sockaddr_in *to, size_t count)
{
    struct samples s = {0};
    uint64_t start_us = now_us(), first_us = 0;

    for (size_t i = 0; i < count; i++) {
        if (exchange(to, &first_us) > 0)
            add_sample(&s, first_us);
        else
            s.failed++;
    }
    print_samples(&s, now_us() - start_us);
    return 0;
}

struct caller {
    pthread_t thread;
    const struct sockaddr_in *to;
    uint64_t end_us;
    struct samples samples;
};

static void *call_until_end(void *arg)
{
    struct caller *c = arg;
    uint64_t first_us;

    while (now_us() < c->end_us) {
        uint64_t us = exchange(c->to, &first_us);

        if (us > 0)
            add_sample(&c->samples, us);
        else
            c->samples.failed++;
    }
    return NULL;
}

/* As many exchanges as pass, so many at once; the time to the end of each. */
static int rate(const struct sockaddr_in *to, size_t at_once, uint32_t limit_ms)
{
    struct caller *callers = calloc(at_once, sizeof(*callers));
    uint64_t start_us = now_us();
    struct samples all = {0};

    if (!callers)
        fail("calloc");
    for (size_t i = 0; i < at_once; i++) {
        callers[i] = (struct caller){.to = to, .end_us = start_us + (uint64_t)limit_ms * 1000};
        if (pthread_create(&callers[i].thread, NULL, call_until_end, &callers[i]) != 0)
            fail("pthread_create");
    }
    for (size_t i = 0; i < at_once; i++) {
        struct samples *s = &callers[i].samples;

        pthread_join(callers[i].thread, NULL);
        for (size_t k = 0; k < s->count; k++)
            add_sample(&all, s->us[k]);
        all.failed += s->failed;
        free(s->us);
    }
    free(callers);
    print_samples(&all, now_us() - start_us);
    return 0;
}

/* Connections over which one exchange has gone; they stay until stdin ends. */
static int idle(const struct sockaddr_in *to, size_t count)
{
    union request request = {.ask = {.what = WHAT_HOLD}};
    char bytes[ANSWER_SIZE];

    for (size_t i = 0; i < count; i++)
        if (recv(dial(to, &request), bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
            fail("recv");
    printf("ready\n");
    fflush(stdout);
    while (read(STDIN_FILENO, bytes, sizeof(bytes)) > 0)
        ;
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "Usage: bench-load serve PORT\n"
                    "       bench-load down|up IP PORT BYTES MS      one bulk transfer\n"
                    "       bench-load rate IP PORT CONCURRENCY MS   short exchanges, at once\n"
                    "       bench-load latency IP PORT COUNT         one after the other\n"
                    "       bench-load idle IP PORT COUNT            held until stdin ends\n");
    return 2;
}

static int run_client(char **argv, int argc, const struct sockaddr_in *to)
{
    uint64_t first = strtoull(argv[4], NULL, 10);
    uint32_t limit_ms = argc == 6 ? (uint32_t)strtoul(argv[5], NULL, 10) : 0;

    if (argc == 6 && strcmp(argv[1], "down") == 0)
        return bulk(to, WHAT_DOWN, first, limit_ms);
    if (argc == 6 && strcmp(argv[1], "up") == 0)
        return bulk(to, WHAT_UP, first, limit_ms);
    if (argc == 6 && strcmp(argv[1], "rate") == 0)
        return rate(to, first, limit_ms);
    if (argc == 5 && strcmp(argv[1], "latency") == 0)
        return latency(to, first);
    if (argc == 5 && strcmp(argv[1], "idle") == 0)
        return idle(to, first);
    return usage();
}

static void allow_many_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET};

    signal(SIGPIPE, SIG_IGN);
    allow_many_files();
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve((uint16_t)atoi(argv[2]));
    if (argc < 5 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
        return usage();
    to.sin_port = htons((uint16_t)atoi(argv[3]));
    return run_client(argv, argc, &to);
}
