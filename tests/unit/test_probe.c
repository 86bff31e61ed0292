/* Probes over a real link, to a concentrator that is played by the test in a namespace of its own:
 * what is answered, what is ignored, and that nothing stops it. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/probe_packet.h"
#include "gateway/probe.h"
#include "tests/unit/netns.h"
#include "tests/unit/pairs.h"

#define PORT 7171
#define UPLINK 3

struct world {
    struct event_base *base;
    struct uplink_config config;
    struct uplink uplink;
    struct concentrator_entry entry;
    struct probe_keys keys;
    struct prober *prober;
    int server; /* the concentrator's socket */
    struct addr peer;
    uint64_t answered[64];
    size_t n_answered, n_refused;
    uint64_t age_us; /* of the newest */
};

static int far_away; /* the concentrator's namespace */

static struct addr ip(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse_ip(&a, text), 0);
    return a;
}

static void on_answered(void *arg, uint64_t seq, uint64_t age_us)
{
    struct world *w = arg;

    assert_true(w->n_answered < 64);
    w->answered[w->n_answered++] = seq;
    w->age_us = age_us;
}

static void on_refused(void *arg)
{
    struct world *w = arg;

    w->n_refused++;
}

static const struct prober_events events = {.answered = on_answered, .refused = on_refused};

static int listen_at(const struct addr *address, uint16_t port)
{
    struct sockaddr_storage ss;
    struct addr a = *address;
    int before = netns_switch(far_away);
    int fd = socket(a.family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    a.port = port;
    socklen_t len = addr_to_sockaddr(&a, &ss);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    netns_back(before);
    return fd;
}

static void world_new(struct world *w, uint8_t family)
{
    *w = (struct world){.base = event_base_new()};
    strcpy(w->config.interface, "wan");
    w->uplink = (struct uplink){.config = &w->config,
                                .index = UPLINK,
                                .v4.address = ip("10.7.0.1"),
                                .v6.address = ip("fd07::1")};
    w->entry.address = ip(family == 6 ? "fd07::2" : "10.7.0.2");
    w->entry.address.port = 4; /* of the TCP listener: another one */
    assert_int_equal(key_generate(&w->entry.key), 0);
    assert_int_equal(probe_derive(&w->entry.key, &w->keys), 0);
    w->server = listen_at(&w->entry.address, PORT);
    assert_int_equal(prober_new(&w->prober, w->base, &w->uplink, &w->entry, PORT, &events, w), 0);
}

static void world_end(struct world *w)
{
    prober_free(w->prober);
    if (w->server != -1)
        close(w->server);
    event_base_free(w->base);
}

/* The next request, as the concentrator sees it. */
static struct probe hear(struct world *w, uint8_t request[PROBE_SIZE])
{
    struct sockaddr_storage ss;
    struct netns_wait wait = {0};
    uint8_t packet[200];
    socklen_t len = sizeof(ss);
    struct probe p;
    ssize_t n;

    while ((n = recvfrom(w->server, packet, sizeof(packet), 0, (struct sockaddr *)&ss, &len)) == -1)
        netns_wait(&wait);
    assert_int_equal(n, PROBE_SIZE);
    assert_memory_equal(packet, w->entry.key.id, KEY_ID);
    assert_int_equal(probe_read_request(&w->keys, packet, &p), 0);
    assert_int_equal(addr_from_sockaddr(&w->peer, (struct sockaddr *)&ss), 0);
    memcpy(request, packet, PROBE_SIZE);
    return p;
}

static void say_from(struct world *w, int fd, const void *packet, size_t size)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&w->peer, &ss);

    assert_int_equal(sendto(fd, packet, size, 0, (struct sockaddr *)&ss, len), (ssize_t)size);
}

static void answer(struct world *w, const uint8_t request[PROBE_SIZE], const struct probe *p)
{
    uint8_t packet[PROBE_SIZE];

    assert_int_equal(probe_write_answer(&w->keys, request, p, packet), 0);
    say_from(w, w->server, packet, sizeof(packet));
}

static void until_answered(struct world *w, size_t n)
{
    struct netns_wait wait = {0};

    while (w->n_answered < n) {
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        if (w->n_answered < n)
            netns_wait(&wait);
    }
    assert_int_equal(w->n_answered, n);
}

/* One probe that is answered as it should be; behind it all that came before has been read. */
static void exchange(struct world *w, uint64_t seq)
{
    uint8_t request[PROBE_SIZE];
    size_t before = w->n_answered;

    assert_int_equal(prober_send(w->prober, seq), 0);
    struct probe p = hear(w, request);
    assert_true(p.seq == seq);
    p.server_ms = 77;
    answer(w, request, &p);
    until_answered(w, before + 1);
    assert_true(w->answered[before] == seq);
}

static void an_answer_tells_its_probe(void **state)
{
    for (uint8_t family = 4; family <= 6; family += 2) {
        struct world w;
        world_new(&w, family);
        exchange(&w, 1);
        struct addr from = family == 6 ? w.uplink.v6.address : w.uplink.v4.address;
        assert_true(addr_equal_ip(&w.peer, &from));
        exchange(&w, 2);
        exchange(&w, UINT64_MAX);
        world_end(&w);
    }
}

/* While nobody reads, an answer lies in the socket: how long, the kernel knows. */
static void an_answer_tells_how_long_it_lay(void **state)
{
    uint8_t request[PROBE_SIZE];
    struct world w;

    world_new(&w, 4);
    exchange(&w, 1);
    assert_in_range(w.age_us, 0, 40000);
    assert_int_equal(prober_send(w.prober, 2), 0);
    struct probe p = hear(&w, request);
    answer(&w, request, &p);
    for (uint64_t begin_us = clock_now_us(); clock_now_us() - begin_us < 50000;)
        continue; /* busy */
    until_answered(&w, 2);
    assert_in_range(w.age_us, 45000, 900000);
    world_end(&w);
}

static void the_concentrator_learns_time_and_uplink(void **state)
{
    uint8_t request[PROBE_SIZE], again[PROBE_SIZE];
    struct world w;

    world_new(&w, 4);
    assert_int_equal(prober_send(w.prober, 5), 0);
    assert_int_equal(prober_send(w.prober, 6), 0);
    struct probe first = hear(&w, request), second = hear(&w, again);
    assert_int_equal(first.uplink, UPLINK);
    assert_true(first.time_us > 0 && second.time_us >= first.time_us);
    /* A nonce is never used twice: all but the key's name differs. */
    assert_memory_not_equal(request + KEY_ID, again + KEY_ID, CRYPTO_NONCE);
    answer(&w, again, &second); /* in any order */
    answer(&w, request, &first);
    until_answered(&w, 2);
    assert_true(w.answered[0] == 6 && w.answered[1] == 5);
    world_end(&w);
}

/* Two gateways with one key, or one that was started again, share no nonce. */
static void every_prober_has_nonces_of_its_own(void **state)
{
    uint8_t one[PROBE_SIZE], other[PROBE_SIZE];
    struct world w;

    world_new(&w, 4);
    assert_int_equal(prober_send(w.prober, 1), 0);
    hear(&w, one);
    prober_free(w.prober);
    assert_int_equal(prober_new(&w.prober, w.base, &w.uplink, &w.entry, PORT, &events, &w), 0);
    assert_int_equal(prober_send(w.prober, 1), 0);
    hear(&w, other);
    assert_memory_not_equal(one + KEY_ID, other + KEY_ID, CRYPTO_NONCE);
    world_end(&w);
}

static void what_is_no_answer_is_ignored(void **state)
{
    uint8_t request[PROBE_SIZE], packet[PROBE_SIZE + 1] = {0};
    struct probe_keys wrong;
    struct key other;
    struct world w;

    world_new(&w, 4);
    assert_int_equal(prober_send(w.prober, 9), 0);
    struct probe p = hear(&w, request), foreign = p;
    say_from(&w, w.server, request, PROBE_SIZE); /* an echo proves nothing */
    assert_int_equal(key_generate(&other), 0);
    assert_int_equal(probe_derive(&other, &wrong), 0);
    assert_int_equal(probe_write_answer(&wrong, request, &p, packet), 0);
    say_from(&w, w.server, packet, PROBE_SIZE);
    foreign.uplink = UPLINK + 1;
    answer(&w, request, &foreign);
    assert_int_equal(probe_write_answer(&w.keys, request, &p, packet), 0);
    say_from(&w, w.server, packet, PROBE_SIZE - 1);
    say_from(&w, w.server, packet, PROBE_SIZE + 1);
    say_from(&w, w.server, packet, 0);
    int stranger = listen_at(&w.entry.address, PORT + 1); /* right, but from another port */
    say_from(&w, stranger, packet, PROBE_SIZE);
    close(stranger);
    for (size_t at = 0; at < PROBE_SIZE; at += 4) {
        packet[at] ^= 1;
        if (at >= KEY_ID) /* which is for the concentrator to look at */
            say_from(&w, w.server, packet, PROBE_SIZE);
        packet[at] ^= 1;
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    exchange(&w, 10);
    assert_int_equal(w.n_answered, 1);
    world_end(&w);
}

/* The concentrator is down for a while: its host refuses. */
static void refuses_for_a_while(uint8_t family)
{
    struct world w;

    world_new(&w, family);
    exchange(&w, 1);
    close(w.server);
    for (uint64_t seq = 2; seq < 12; seq++) {
        prober_send(w.prober, seq); /* may tell of the refusal before */
        for (int i = 0; i < 3; i++)
            event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(w.n_answered, 1);
    assert_in_range(w.n_refused, 1, 10);
    w.server = listen_at(&w.entry.address, PORT);
    struct netns_wait wait = {0};
    while (prober_send(w.prober, 12) < 0)
        netns_wait(&wait);
    uint8_t request[PROBE_SIZE];
    struct probe p = hear(&w, request);
    answer(&w, request, &p);
    until_answered(&w, 2);
    world_end(&w);
}

static void refusals_do_not_stop_it(void **state)
{
    refuses_for_a_while(4);
    refuses_for_a_while(6);
}

/* Their error stands before what is sent next: it leaves all the same, and they are told. */
static void what_is_sent_behind_a_refusal_leaves(void **state)
{
    uint8_t request[PROBE_SIZE];
    struct netns_wait wait = {0};
    struct world w;

    world_new(&w, 4);
    close(w.server);
    assert_int_equal(prober_send(w.prober, 1), 0);
    w.server = listen_at(&w.entry.address, PORT);
    assert_int_equal(prober_send(w.prober, 2), 0);
    assert_true(hear(&w, request).seq == 2);
    while (w.n_refused == 0) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
    world_end(&w);
}

static void put_checksum(uint8_t *packet, size_t size)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i += 2)
        sum += (uint32_t)packet[i] << 8 | packet[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    packet[2] = (uint8_t)(~sum >> 8);
    packet[3] = (uint8_t)~sum;
}

/* A port that is unreachable, as told from there, of a packet to the concentrator with that
 * payload. */
static void refuse(struct world *w, const char *from, const uint8_t payload[PROBE_SIZE])
{
    enum { ICMP = 8, IP = 20, UDP = 8, SIZE = IP + UDP + PROBE_SIZE };
    uint8_t packet[ICMP + SIZE] = {3, 3}, *quoted = packet + ICMP, *udp = quoted + IP;
    struct sockaddr_storage ss;
    struct addr own = ip(from), to = w->peer;
    int before = netns_switch(far_away);
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);

    netns_back(before);
    memcpy(quoted, (uint8_t[]){0x45, 0, 0, SIZE, 0, 0, 0, 0, 60, IPPROTO_UDP}, 10);
    memcpy(quoted + 12, to.ip, 4);
    memcpy(quoted + 16, w->entry.address.ip, 4);
    memcpy(udp,
           (uint8_t[]){(uint8_t)(to.port >> 8), (uint8_t)to.port, PORT >> 8, PORT & 255, 0,
                       UDP + PROBE_SIZE},
           6);
    memcpy(udp + UDP, payload, PROBE_SIZE);
    put_checksum(packet, sizeof(packet));
    socklen_t len = addr_to_sockaddr(&own, &ss);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    to.port = 0;
    len = addr_to_sockaddr(&to, &ss);
    assert_int_equal(sendto(fd, packet, sizeof(packet), 0, (struct sockaddr *)&ss, len),
                     (ssize_t)sizeof(packet));
    close(fd);
}

/* Neither a box on the way, nor who guesses our port, but sees no probe. */
static void only_the_concentrator_refuses(void **state)
{
    static const uint8_t guess[PROBE_SIZE];
    uint8_t request[PROBE_SIZE];
    struct world w;

    world_new(&w, 4);
    assert_int_equal(prober_send(w.prober, 1), 0);
    struct probe p = hear(&w, request);
    refuse(&w, "10.7.0.3", request);
    refuse(&w, "10.7.0.2", guess);
    answer(&w, request, &p);
    until_answered(&w, 1);
    assert_int_equal(w.n_refused, 0);
    refuse(&w, "10.7.0.2", request);
    exchange(&w, 2);
    assert_int_equal(w.n_refused, 1);
    world_end(&w);
}

/* A refusal stands in front of answers that wait to be read. */
static void an_answer_behind_a_refusal_is_read(void **state)
{
    uint8_t request[PROBE_SIZE];
    struct netns_wait wait = {0};
    struct world w;

    world_new(&w, 4);
    assert_int_equal(prober_send(w.prober, 1), 0);
    struct probe p = hear(&w, request);
    close(w.server);
    assert_int_equal(prober_send(w.prober, 2), 0);
    w.server = listen_at(&w.entry.address, PORT);
    answer(&w, request, &p);
    while (w.n_answered == 0) {
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
    assert_true(w.answered[0] == 1);
    world_end(&w);
}

static void a_link_that_is_down_is_told(void **state)
{
    struct world w;

    world_new(&w, 4);
    netns_run("ip link set wan down");
    assert_true(prober_send(w.prober, 1) < 0);
    netns_run("ip link set wan up");
    struct netns_wait wait = {0};
    uint8_t request[PROBE_SIZE];
    while (prober_send(w.prober, 2) < 0)
        netns_wait(&wait);
    struct probe p = hear(&w, request);
    answer(&w, request, &p);
    until_answered(&w, 1);
    world_end(&w);
}

static void freed_with_answers_unread(void **state)
{
    uint8_t request[PROBE_SIZE];
    struct world w;

    world_new(&w, 4);
    for (uint64_t seq = 1; seq <= 40; seq++) {
        assert_int_equal(prober_send(w.prober, seq), 0);
        struct probe p = hear(&w, request);
        answer(&w, request, &p);
    }
    event_base_loop(w.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_in_range(w.n_answered, 1, 40);
    prober_free(w.prober);
    w.prober = NULL;
    size_t before = w.n_answered;
    event_base_loop(w.base, EVLOOP_NONBLOCK);
    assert_int_equal(w.n_answered, before);
    world_end(&w);
    prober_free(NULL);
}

static void what_cannot_be_bound_is_not_made(void **state)
{
    struct world w;
    struct prober *none = NULL;

    world_new(&w, 4);
    size_t open = descriptors_open();
    w.uplink.v4.address = ip("10.99.0.1"); /* not ours */
    assert_int_equal(prober_new(&none, w.base, &w.uplink, &w.entry, PORT, &events, &w),
                     -EADDRNOTAVAIL);
    w.uplink.v4.address = ip("10.7.0.1");
    strcpy(w.config.interface, "lan");
    assert_int_equal(prober_new(&none, w.base, &w.uplink, &w.entry, PORT, &events, &w), -ENODEV);
    assert_null(none);
    assert_int_equal(descriptors_open(), open);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_tells_its_probe),
        cmocka_unit_test(an_answer_tells_how_long_it_lay),
        cmocka_unit_test(the_concentrator_learns_time_and_uplink),
        cmocka_unit_test(every_prober_has_nonces_of_its_own),
        cmocka_unit_test(what_is_no_answer_is_ignored),
        cmocka_unit_test(refusals_do_not_stop_it),
        cmocka_unit_test(what_is_sent_behind_a_refusal_leaves),
        cmocka_unit_test(only_the_concentrator_refuses),
        cmocka_unit_test(an_answer_behind_a_refusal_is_read),
        cmocka_unit_test(a_link_that_is_down_is_told),
        cmocka_unit_test(freed_with_answers_unread),
        cmocka_unit_test(what_cannot_be_bound_is_not_made),
    };

    netns_enter();
    far_away = netns_new();
    netns_veth("wan", far_away, "net");
    netns_run("ip addr add 10.7.0.1/24 dev wan && ip addr add fd07::1/64 dev wan");
    int before = netns_switch(far_away);
    netns_run("ip addr add 10.7.0.2/24 dev net && ip addr add 10.7.0.3/24 dev net && ip addr add "
              "fd07::2/64 dev net nodad");
    netns_run("sysctl -qw net.ipv4.icmp_ratelimit=0"); /* each is refused */
    netns_back(before);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close(far_away);
    return failed;
}
