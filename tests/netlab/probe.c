/* netlab-probe: sends numbered UDP packets from one network namespace to another at a steady
 * rate, and prints as JSON what arrived and when. It measures the emulator; see usage(). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define PAYLOAD_MAX 1472
#define SLOT_NS 100000000ull
#define SLOTS_MAX 200
#define QUIET_MS 500 /* nothing came for so long after the last was sent: that was all */
/* A 500 Mb/s flood may wait for the receiver's turn on the processor for so many bytes. */
#define RECEIVE_BUFFER (64 << 20)

struct stamp {
    uint64_t sequence;
    uint64_t sent_ns; /* CLOCK_REALTIME, as the kernel's receive stamps are */
};

struct probe {
    int sender;
    int receiver;
    size_t payload;
    uint64_t gap_ns_x1000; /* between two packets, in picoseconds */
    uint64_t count;
    volatile bool sending;

    uint64_t received;
    uint64_t reordered;
    uint64_t last_sequence;
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t slots[SLOTS_MAX]; /* packets per SLOT_NS since the first */
    double *delays_ms;         /* of each received packet, room for count */
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec at = {.tv_sec = (time_t)(at_ns / NS_PER_S),
                          .tv_nsec = (long)(at_ns % NS_PER_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static void *run_sender(void *arg)
{
    struct probe *probe = arg;
    uint8_t payload[PAYLOAD_MAX] = {0};
    uint64_t start_ns = now_ns(CLOCK_MONOTONIC);

    for (uint64_t i = 0; i < probe->count; i++) {
        uint64_t at_ns = start_ns + i * probe->gap_ns_x1000 / 1000;
        struct stamp stamp = {.sequence = i};

        if (now_ns(CLOCK_MONOTONIC) < at_ns)
            sleep_until(at_ns);
        stamp.sent_ns = now_ns(CLOCK_REALTIME);
        memcpy(payload, &stamp, sizeof(stamp));
        /* A full device queue is a loss like any other: the receiver sees it missing. */
        (void)!send(probe->sender, payload, probe->payload, 0);
    }
    probe->sending = false;
    return NULL;
}

static uint64_t arrival_of(struct msghdr *message)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    struct timespec at;

    if (!header || header->cmsg_type != SCM_TIMESTAMPNS)
        return now_ns(CLOCK_REALTIME);
    memcpy(&at, CMSG_DATA(header), sizeof(at));
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

static void note(struct probe *probe, const struct stamp *stamp, uint64_t at_ns)
{
    uint64_t slot;

    if (!probe->received)
        probe->first_ns = at_ns;
    else if (stamp->sequence < probe->last_sequence)
        probe->reordered++;
    probe->last_sequence = stamp->sequence;
    probe->last_ns = at_ns;
    slot = (at_ns - probe->first_ns) / SLOT_NS;
    if (slot < SLOTS_MAX)
        probe->slots[slot]++;
    if (probe->received < probe->count)
        probe->delays_ms[probe->received] = ((double)at_ns - (double)stamp->sent_ns) / 1e6;
    probe->received++;
}

static void run_receiver(struct probe *probe)
{
    for (;;) {
        struct stamp stamp;
        char control[64];
        struct iovec part = {.iov_base = &stamp, .iov_len = sizeof(stamp)};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(probe->receiver, &message, 0);

        if (n == (ssize_t)sizeof(stamp))
            note(probe, &stamp, arrival_of(&message));
        else if (n == -1 && errno == EAGAIN && !probe->sending)
            return;
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_result(struct probe *probe)
{
    uint64_t n = probe->received;
    double sum = 0;

    for (uint64_t i = 0; i < n; i++)
        sum += probe->delays_ms[i];
    qsort(probe->delays_ms, n, sizeof(double), compare);
    printf("{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"reordered\":%" PRIu64
           ",\"seconds\":%.9f,\"delay_ms\":{\"min\":%.4f,\"median\":%.4f,\"p99\":%.4f,"
           "\"max\":%.4f,\"mean\":%.4f},\"slots\":[",
           probe->count, n, probe->reordered, (double)(probe->last_ns - probe->first_ns) / 1e9,
           n ? probe->delays_ms[0] : 0, n ? probe->delays_ms[n / 2] : 0,
           n ? probe->delays_ms[n - 1 - n / 100] : 0, n ? probe->delays_ms[n - 1] : 0,
           n ? sum / (double)n : 0);
    for (uint64_t i = 0; i < SLOTS_MAX && i * SLOT_NS <= probe->last_ns - probe->first_ns; i++)
        printf("%s%" PRIu64, i ? "," : "", probe->slots[i]);
    printf("]}\n");
}

static int enter_namespace(const char *name)
{
    char path[256];
    int fd;
    int done;

    snprintf(path, sizeof(path), "/run/netns/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    done = fd == -1 ? -1 : setns(fd, CLONE_NEWNET);
    if (fd != -1)
        close(fd);
    return done;
}

static int open_receiver(const char *namespace, struct sockaddr *address, socklen_t *length)
{
    const struct timeval quiet = {.tv_usec = QUIET_MS * 1000};
    const int size = RECEIVE_BUFFER;
    const int on = 1;
    int fd;

    if (enter_namespace(namespace) == -1)
        return -1;
    fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || bind(fd, address, *length) == -1 || getsockname(fd, address, length) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof(quiet)) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) == -1)
        return -1;
    return fd;
}

static int open_sender(const char *namespace, const struct sockaddr *address, socklen_t length)
{
    const int size = 4 << 20;
    int fd;

    if (enter_namespace(namespace) == -1)
        return -1;
    fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || connect(fd, address, length) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == -1)
        return -1;
    return fd;
}

static socklen_t parse_address(const char *text, struct sockaddr_storage *address)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

    memset(address, 0, sizeof(*address));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        return sizeof(*v6);
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: netlab-probe FROM_NAMESPACE TO_NAMESPACE TO_ADDRESS "
                    "PACKETS_PER_SECOND SECONDS PAYLOAD_BYTES\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct probe probe = {.sending = true};
    struct sockaddr_storage address;
    socklen_t length;
    pthread_t sender;
    double per_second;

    /* What else runs on this machine is not what is measured. */
    setpriority(PRIO_PROCESS, 0, -20);
    if (argc != 7 || (length = parse_address(argv[3], &address)) == 0)
        return usage();
    per_second = atof(argv[4]);
    probe.payload = (size_t)atoi(argv[6]);
    if (per_second <= 0 || probe.payload < sizeof(struct stamp) || probe.payload > PAYLOAD_MAX)
        return usage();
    probe.count = (uint64_t)(per_second * atof(argv[5]));
    probe.gap_ns_x1000 = (uint64_t)(1e12 / per_second);
    probe.delays_ms = calloc(probe.count + 1, sizeof(double));
    probe.receiver = open_receiver(argv[2], (struct sockaddr *)&address, &length);
    if (probe.receiver != -1)
        probe.sender = open_sender(argv[1], (struct sockaddr *)&address, length);
    if (!probe.delays_ms || probe.receiver == -1 || probe.sender == -1 ||
        pthread_create(&sender, NULL, run_sender, &probe) != 0) {
        perror("netlab-probe");
        return 1;
    }
    run_receiver(&probe);
    pthread_join(sender, NULL);
    print_result(&probe);
    free(probe.delays_ms);
    return 0;
}
