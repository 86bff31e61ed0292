/* netlab-link: joins a TAP device in one network namespace to one in another, through a queue
 * with rate, delay, jitter and loss for each direction. Usage: see usage().
 *
 * Offloads stay off on these devices, so the kernel hands over single packets of the MTU with
 * right checksums: loss, queue and delay act on packets as they would be on a wire. */
#include "tests/netlab/link.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <linux/if_tun.h>

#include "tests/netlab/control.h"
#include "tests/netlab/strip.h"

#ifndef TUNSETCARRIER
#define TUNSETCARRIER _IOW('T', 226, int)
#endif

#define NS_PER_S 1000000000ull
#define ETHERNET_HEADER 14
#define READS_PER_TURN 128
#define PACKETS_MAX 131072 /* about 200 MB */
#define DEVICE_QUEUE 10000 /* packets; what a burst may pile up before we read it */
#define WAKE_GAP_NS 100000ull

enum { FROM_A = UP, FROM_B = DOWN, TIMER, LISTENER, CLIENT };

enum work { WORK_NONE, WORK_DONE, WORK_LEFT };

struct client {
    int fd; /* -1: none; one client at a time is served */
    size_t length;
    char line[CONTROL_LINE_MAX];
};

struct loop {
    struct link *link;
    int epoll;
    int timer;
    int listener;
    uint64_t armed_ns;
    struct client client;
};

uint64_t link_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static struct packet *pool_get(struct link *link)
{
    struct packet *packet = link->pool;

    if (packet) {
        link->pool = packet->next;
        return packet;
    }
    if (link->packets == PACKETS_MAX)
        return NULL;
    packet = malloc(sizeof(*packet));
    if (packet)
        link->packets++;
    return packet;
}

static void pool_put(struct link *link, struct packet *packet)
{
    packet->next = link->pool;
    link->pool = packet;
}

static void flush_lane(struct link *link, struct lane *lane)
{
    struct packet *next;

    for (struct packet *packet = lane_flush(lane); packet; packet = next) {
        next = packet->next;
        pool_put(link, packet);
    }
}

int link_set_carrier(struct link *link, bool on)
{
    int state = on;

    if (ioctl(link->device[0], TUNSETCARRIER, &state) == -1)
        return -errno;
    link->carrier = on;
    if (!on) {
        flush_lane(link, &link->lane[UP]);
        flush_lane(link, &link->lane[DOWN]);
    }
    return 0;
}

/* False: the packet did not get onto the lane, and is still ours. */
static bool offer(struct link *link, struct lane *lane, struct packet *packet, uint32_t length)
{
    size_t header = link->point_to_point ? 0 : ETHERNET_HEADER;

    if (!link->carrier) {
        lane->stats.dropped_carrier++;
        return false;
    }
    packet->length = length;
    packet->wire_bytes = length + (link->point_to_point ? ETHERNET_HEADER : 0);
    if (lane->settings.strip_mptcp && length > header)
        strip_mptcp(packet->frame + header, length - header);
    return lane_offer(lane, packet, link_now_ns());
}

/* Moves what the device has to say onto its lane. Returns whether there may be more. */
static bool pump(struct link *link, int direction)
{
    struct lane *lane = &link->lane[direction];
    uint8_t scratch[LANE_FRAME_MAX];

    for (int i = 0; i < READS_PER_TURN; i++) {
        struct packet *packet = pool_get(link);
        ssize_t n = read(link->device[direction], packet ? packet->frame : scratch, LANE_FRAME_MAX);

        if (n > 0 && !packet)
            lane->stats.dropped_queue++;
        else if (packet && (n <= 0 || !offer(link, lane, packet, (uint32_t)n)))
            pool_put(link, packet);
        if (n <= 0)
            return false;
    }
    return true;
}

/* Hands over what has arrived by now. The write fails only while the device is down; what a
 * real interface that is down would do with a frame is what happens here. Returns whether there was
 * any. */
static enum work deliver(struct link *link, int direction, uint64_t now_ns)
{
    struct packet *packet;
    enum work work = WORK_NONE;

    while ((packet = lane_take(&link->lane[direction], now_ns))) {
        if (!packet->lost) {
            ssize_t n = write(link->device[!direction], packet->frame, packet->length);
            (void)n;
        }
        pool_put(link, packet);
        work = WORK_DONE;
    }
    return work;
}

static void arm_timer(struct loop *loop)
{
    uint64_t next = lane_next_ns(&loop->link->lane[UP]);
    uint64_t other = lane_next_ns(&loop->link->lane[DOWN]);
    struct itimerspec at = {0};

    if (other < next)
        next = other;
    if (next == loop->armed_ns)
        return;
    loop->armed_ns = next;
    if (next != LANE_NEVER) { /* else: all zero, which disarms */
        at.it_value.tv_sec = (time_t)(next / NS_PER_S);
        at.it_value.tv_nsec = (long)(next % NS_PER_S);
    }
    timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec at = {.tv_sec = (time_t)(at_ns / NS_PER_S),
                          .tv_nsec = (long)(at_ns % NS_PER_S)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static int watch(struct loop *loop, int fd, uint32_t what, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = what};

    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) == -1 ? -errno : 0;
}

static void drop_client(struct loop *loop)
{
    close(loop->client.fd); /* which also takes it out of epoll */
    loop->client.fd = -1;
    watch(loop, loop->listener, LISTENER, EPOLLIN);
}

static void on_listener(struct loop *loop)
{
    int fd = accept4(loop->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd == -1)
        return;
    loop->client = (struct client){.fd = fd};
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, loop->listener, NULL);
    if (watch(loop, fd, CLIENT, EPOLLIN))
        drop_client(loop);
}

/* Obeys every whole line the client has sent. */
static void on_client(struct loop *loop)
{
    struct client *client = &loop->client;
    ssize_t n = recv(client->fd, client->line + client->length,
                     sizeof(client->line) - client->length, MSG_DONTWAIT);
    char answer[CONTROL_ANSWER_MAX];
    char *end;

    if (n <= 0) {
        drop_client(loop);
        return;
    }
    client->length += (size_t)n;
    while ((end = memchr(client->line, '\n', client->length))) {
        size_t used = (size_t)(end - client->line) + 1;

        *end = '\0';
        control_obey(loop->link, client->line, answer);
        send(client->fd, answer, strlen(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
        client->length -= used;
        memmove(client->line, client->line + used, client->length);
    }
    if (client->length == sizeof(client->line))
        drop_client(loop);
}

static enum work on_event(struct loop *loop, uint32_t what)
{
    switch (what) {
    case FROM_A:
    case FROM_B:
        return pump(loop->link, (int)what) ? WORK_LEFT : WORK_DONE;
    case LISTENER:
        on_listener(loop);
        break;
    case CLIENT:
        on_client(loop);
        break;
    case TIMER: /* it has done its work by waking us */
        break;
    }
    return WORK_NONE;
}

static enum work most(enum work a, enum work b)
{
    return a > b ? a : b;
}

/* What wakes an idle loop is served at once. A busy one takes what gathers in WAKE_GAP_NS
 * together, like a network card that moderates its interrupts. */
static void run(struct loop *loop)
{
    enum work work = WORK_NONE;

    for (uint64_t now_ns = 0;;) {
        struct epoll_event events[8];
        int n;

        if (work == WORK_NONE)
            arm_timer(loop);
        else if (work == WORK_DONE)
            sleep_until(now_ns + WAKE_GAP_NS);
        n = epoll_wait(loop->epoll, events, 8, work == WORK_NONE ? -1 : 0);
        work = WORK_NONE;
        for (int i = 0; i < n; i++)
            work = most(work, on_event(loop, events[i].data.u32));
        now_ns = link_now_ns();
        work = most(work, deliver(loop->link, UP, now_ns));
        work = most(work, deliver(loop->link, DOWN, now_ns));
    }
}

static int enter_namespace(const char *name)
{
    char path[256];
    int fd;
    int err = 0;

    snprintf(path, sizeof(path), "%s%s", strchr(name, '/') ? "" : "/run/netns/", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return -errno;
    if (setns(fd, CLONE_NEWNET) == -1)
        err = -errno;
    close(fd);
    return err;
}

static int set_device_queue(const char *device)
{
    struct ifreq request = {.ifr_qlen = DEVICE_QUEUE};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int err = 0;

    if (fd == -1)
        return -errno;
    memcpy(request.ifr_name, device, strlen(device) + 1);
    if (ioctl(fd, SIOCSIFTXQLEN, &request) == -1)
        err = -errno;
    close(fd);
    return err;
}

/* Creates the device in the namespace that we are in. It lasts as long as the descriptor.
 * Returns that, or -errno. */
static int open_device(const char *device, bool point_to_point)
{
    struct ifreq request = {.ifr_flags = (short)((point_to_point ? IFF_TUN : IFF_TAP) | IFF_NO_PI)};
    int fd;
    int err;

    if (strlen(device) >= sizeof(request.ifr_name))
        return -ENAMETOOLONG;
    memcpy(request.ifr_name, device, strlen(device) + 1);
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1)
        return -errno;
    if (ioctl(fd, TUNSETIFF, &request) == -1 || ioctl(fd, TUNSETOFFLOAD, 0) == -1)
        err = -errno;
    else
        err = set_device_queue(device);
    if (!err)
        return fd;
    close(fd);
    return err;
}

/* where: NAMESPACE:DEVICE */
static int open_side(const char *where, bool point_to_point)
{
    const char *device = strrchr(where, ':');
    char name[200];
    int err;

    if (!device || (size_t)(device - where) >= sizeof(name))
        return -EINVAL;
    memcpy(name, where, (size_t)(device - where));
    name[device - where] = '\0';
    err = enter_namespace(name);
    return err ? err : open_device(device + 1, point_to_point);
}

static int open_listener(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;
    int err;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 64) == 0)
        return fd;
    err = -errno;
    close(fd);
    return err;
}

static int start_loop(struct loop *loop)
{
    int err;

    loop->client.fd = -1;
    loop->armed_ns = LANE_NEVER;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->epoll == -1 || loop->timer == -1)
        return -errno;
    /* Edge-triggered, the timer need not be read. */
    err = watch(loop, loop->timer, TIMER, EPOLLIN | EPOLLET);
    if (!err)
        err = watch(loop, loop->listener, LISTENER, EPOLLIN);
    for (int side = 0; !err && side < 2; side++)
        err = watch(loop, loop->link->device[side], (uint32_t)side, EPOLLIN);
    return err;
}

static void init_lanes(struct link *link)
{
    uint64_t seed[2];

    if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
        seed[0] = seed[1] = link_now_ns();
    for (int i = 0; i < 2; i++)
        lane_init(&link->lane[i], seed[i] + (uint64_t)i);
}

static int fail(const char *what, int err)
{
    fprintf(stderr, "netlab-link: %s: %s\n", what, strerror(-err));
    return 1;
}

static int usage(void)
{
    fprintf(stderr, "usage: netlab-link [--tun] CONTROL_SOCKET NAMESPACE:DEVICE NAMESPACE:DEVICE\n"
                    "Creates both devices, joins them, prints \"ready\" and runs until killed.\n"
                    "The namespaces are names under /run/netns, or paths.\n");
    return 2;
}

static int open_devices(struct link *link, char **where)
{
    for (int side = 0; side < 2; side++) {
        link->device[side] = open_side(where[side], link->point_to_point);
        if (link->device[side] < 0)
            return fail(where[side], link->device[side]);
    }
    return 0;
}

/* A late packet is a wrong measurement: wake on time, and before whatever else runs here. What
 * lower ranks still need of the processor they get while this sleeps in each WAKE_GAP_NS. */
static void hurry(void)
{
    const struct sched_param first = {.sched_priority = 1};

    prctl(PR_SET_TIMERSLACK, 1ul);
    if (syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &first) == -1) /* musl's wrapper refuses */
        setpriority(PRIO_PROCESS, 0, -20);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"tun", no_argument, NULL, 't'}, {0}};
    struct link link = {.carrier = true};
    struct loop loop = {.link = &link};
    int option;
    int err;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 't')
            return usage();
        link.point_to_point = true;
    }
    if (argc - optind != 3)
        return usage();
    loop.listener = open_listener(argv[optind]);
    if (loop.listener < 0)
        return fail(argv[optind], loop.listener);
    err = open_devices(&link, argv + optind + 1);
    if (err)
        return err;
    init_lanes(&link);
    err = start_loop(&loop);
    if (err)
        return fail("event loop", err);
    hurry();
    puts("ready");
    fflush(stdout);
    run(&loop);
    return 0;
}
