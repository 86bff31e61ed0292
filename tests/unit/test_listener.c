/* Listening: what is accepted, in what state, and what happens when descriptors run out. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/listener.h"
#include "core/log.h"
#include "core/mptcp.h"
#include "core/saved_syn.h"
#include "tests/unit/netns.h"
#include "tests/unit/pairs.h"

#define WAIT_MS 5000
#define MANY 40

/* Counts the tries, and can make the next ones fail: the linker sends accept4() here. */
static int tries, fail_next, fail_with;
int __real_accept4(int fd, struct sockaddr *at, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *at, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *at, socklen_t *len, int flags)
{
    tries++;
    if (fail_next > 0) {
        fail_next--;
        errno = fail_with;
        return -1;
    }
    return __real_accept4(fd, at, len, flags);
}

/* Likewise; there is no memory to wait with. */
static int fail_next_add;
int __real_event_add(struct event *event, const struct timeval *in);
int __wrap_event_add(struct event *event, const struct timeval *in);

int __wrap_event_add(struct event *event, const struct timeval *in)
{
    if (!in && fail_next_add > 0) {
        fail_next_add--;
        return -1;
    }
    return __real_event_add(event, in);
}

struct scene {
    struct event_base *base;
    struct listener *listener;
    struct addr at;
    int accepted[MANY];
    struct addr peers[MANY];
    size_t n_accepted;
    int clients[MANY];
    size_t n_clients;
    size_t descriptors;
};

static void on_accepted(void *arg, int fd, const struct addr *peer)
{
    struct scene *s = arg;

    assert_true(s->n_accepted < MANY);
    s->accepted[s->n_accepted] = fd;
    s->peers[s->n_accepted++] = *peer;
}

static int listen_at(struct scene *s, struct listener **out, enum listener_kind kind,
                     const char *at)
{
    assert_int_equal(addr_parse(&s->at, at), 0);
    return listener_new(out, s->base, kind, &s->at, on_accepted, s);
}

static void scene_start(struct scene *s, enum listener_kind kind, const char *at)
{
    *s = (struct scene){.descriptors = descriptors_open()};
    tries = fail_next = 0;
    s->base = event_base_new();
    assert_int_equal(listen_at(s, &s->listener, kind, at), 0);
}

static void close_connections(struct scene *s)
{
    for (size_t i = 0; i < s->n_accepted; i++)
        close(s->accepted[i]);
    for (size_t i = 0; i < s->n_clients; i++)
        close(s->clients[i]);
    s->n_accepted = s->n_clients = 0;
}

static void scene_end(struct scene *s)
{
    close_connections(s);
    listener_free(s->listener);
    event_base_free(s->base);
    assert_int_equal(descriptors_open(), s->descriptors);
}

static int client_socket(struct scene *s, bool mptcp, uint8_t family)
{
    int fd = mptcp ? mptcp_socket(family) : mptcp_tcp_socket(family);

    assert_true(fd >= 0 && s->n_clients < MANY);
    s->clients[s->n_clients++] = fd;
    return fd;
}

static void connect_to(int fd, const char *text)
{
    struct addr to;
    struct sockaddr_storage ss;
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    assert_int_equal(addr_parse(&to, text), 0);
    socklen_t len = addr_to_sockaddr(&to, &ss);
    if (connect(fd, (struct sockaddr *)&ss, len) == 0)
        return;
    assert_int_equal(errno, EINPROGRESS);
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_int_equal(p.revents & (POLLERR | POLLHUP), 0);
}

static void one_turn(struct scene *s)
{
    event_base_loop(s->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void until_accepted(struct scene *s, size_t n)
{
    static const struct timeval soon = {.tv_usec = 5000};
    uint64_t deadline = clock_now_ms() + WAIT_MS;

    while (s->n_accepted < n && clock_now_ms() < deadline) {
        event_base_loopexit(s->base, &soon);
        event_base_loop(s->base, EVLOOP_ONCE);
    }
    assert_int_equal(s->n_accepted, n);
}

static void run_for(struct scene *s, uint32_t ms)
{
    struct timeval tv = {.tv_usec = (suseconds_t)ms * 1000};

    event_base_loopexit(s->base, &tv);
    event_base_dispatch(s->base);
}

static int int_option(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static void hands_over_connections(void **state)
{
    static const char *const at[] = {"127.0.0.1:7001", "[::1]:7001"};

    for (enum listener_kind kind = LISTENER_TRANSPARENT; kind <= LISTENER_MPTCP; kind++) {
        for (int v6 = 0; v6 < 2; v6++) {
            struct scene s;
            struct addr own;
            scene_start(&s, kind, at[v6]);
            int client = client_socket(&s, false, v6 ? 6 : 4);
            connect_to(client, at[v6]);
            until_accepted(&s, 1);
            assert_int_equal(addr_of_socket(&own, client), 0);
            assert_true(addr_equal(&own, &s.peers[0]));
            assert_true(fcntl(s.accepted[0], F_GETFL) & O_NONBLOCK);
            assert_true(fcntl(s.accepted[0], F_GETFD) & FD_CLOEXEC);
            assert_int_equal(send(client, "hello", 5, 0), 5);
            scene_end(&s);
        }
    }
}

/* Not all at once: others have their turns in between. */
static void takes_many_in_turns(void **state)
{
    struct scene s;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7002");
    for (size_t i = 0; i < MANY; i++)
        connect_to(client_socket(&s, i % 2, 4), "127.0.0.1:7002");
    for (size_t before = 0; s.n_accepted < MANY; before = s.n_accepted) {
        one_turn(&s);
        assert_in_range(s.n_accepted - before, 1, 20);
    }
    one_turn(&s);
    assert_int_equal(s.n_accepted, MANY);
    scene_end(&s);
}

static void accepts_mptcp_and_plain(void **state)
{
    struct scene s;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7003");
    connect_to(client_socket(&s, true, 4), "127.0.0.1:7003");
    until_accepted(&s, 1);
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7003");
    until_accepted(&s, 2);
    assert_true(mptcp_is_active(s.accepted[0]));
    assert_true(mptcp_is_active(s.clients[0]));
    assert_false(mptcp_is_active(s.accepted[1]));
    scene_end(&s);
}

static void serves_without_mptcp(void **state)
{
    struct scene s;

    netns_run("echo 0 > /proc/sys/net/mptcp/enabled");
    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7004");
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7004");
    until_accepted(&s, 1);
    scene_end(&s);
    netns_run("echo 1 > /proc/sys/net/mptcp/enabled");
}

static void workers_share_a_port(void **state)
{
    struct scene s;
    struct listener *second, *other = NULL;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7005");
    assert_int_equal(listen_at(&s, &second, LISTENER_MPTCP, "127.0.0.1:7005"), 0);
    for (size_t i = 0; i < 10; i++)
        connect_to(client_socket(&s, true, 4), "127.0.0.1:7005");
    until_accepted(&s, 10);
    assert_int_equal(listen_at(&s, &other, LISTENER_TRANSPARENT, "127.0.0.1:7005"), -EADDRINUSE);
    assert_null(other);
    listener_free(second);
    scene_end(&s);
}

/* Two gateways on one port would each get half of the connections. */
static void a_transparent_port_is_not_shared(void **state)
{
    struct scene s;
    struct listener *second;

    scene_start(&s, LISTENER_TRANSPARENT, "0.0.0.0:7006");
    assert_int_equal(listen_at(&s, &second, LISTENER_TRANSPARENT, "0.0.0.0:7006"), -EADDRINUSE);
    scene_end(&s);
}

/* One listener for each family, on the same port. */
static void families_are_apart(void **state)
{
    for (enum listener_kind kind = LISTENER_TRANSPARENT; kind <= LISTENER_MPTCP; kind++) {
        struct scene s;
        struct listener *second;
        scene_start(&s, kind, "[::]:7007");
        assert_int_equal(listen_at(&s, &second, kind, "0.0.0.0:7007"), 0);
        connect_to(client_socket(&s, false, 4), "127.0.0.1:7007");
        until_accepted(&s, 1);
        assert_int_equal(s.peers[0].family, 4);
        connect_to(client_socket(&s, false, 6), "[::1]:7007");
        until_accepted(&s, 2);
        assert_int_equal(s.peers[1].family, 6);
        listener_free(second);
        scene_end(&s);
    }
}

/* What TPROXY brings: a destination that is none of this host's. Local routes bring it here. */
static void transparent_takes_foreign_destinations(void **state)
{
    static const struct {
        const char *listen, *to;
    } cases[] = {{"0.0.0.0:7008", "192.0.2.77:7008"}, {"[::]:7008", "[2001:db8::77]:7008"}};

    netns_run("ip route add local 192.0.2.0/24 dev lo");
    netns_run("ip -6 route add local 2001:db8::/64 dev lo");
    for (int v6 = 0; v6 < 2; v6++) {
        struct scene s;
        struct addr own, to;
        scene_start(&s, LISTENER_TRANSPARENT, cases[v6].listen);
        int client = client_socket(&s, false, v6 ? 6 : 4);
        int tos = 46 << 2;
        assert_int_equal(setsockopt(client, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                                    v6 ? IPV6_TCLASS : IP_TOS, &tos, sizeof(tos)),
                         0);
        connect_to(client, cases[v6].to);
        until_accepted(&s, 1);
        assert_int_equal(addr_of_socket(&own, s.accepted[0]), 0);
        assert_int_equal(addr_parse(&to, cases[v6].to), 0);
        assert_true(addr_equal(&own, &to));
        assert_int_equal(int_option(s.accepted[0], v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                                    v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT),
                         1);
        struct saved_syn syn = saved_syn_take(s.accepted[0], &s.peers[0], &own);
        assert_int_equal(syn.dscp, 46);
        assert_memory_equal(&syn.mac, &(struct mac){{0}}, sizeof(syn.mac)); /* lo has none */
        syn = saved_syn_take(s.accepted[0], &s.peers[0], &own);
        assert_int_equal(syn.dscp, -1); /* given once */
        scene_end(&s);
    }
    /* It may even listen there. */
    struct scene s;
    scene_start(&s, LISTENER_TRANSPARENT, "198.51.100.1:7008");
    scene_end(&s);
}

static void says_why_it_cannot(void **state)
{
    struct scene s;
    struct listener *none = NULL;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7009");
    assert_int_equal(listen_at(&s, &none, LISTENER_MPTCP, "198.51.100.1:7009"), -EADDRNOTAVAIL);
    assert_null(none);
    scene_end(&s);
    listener_free(NULL);
}

/* Leaves no room for another descriptor. Returns the limit there was. */
static struct rlimit exhaust(void)
{
    struct rlimit before, now;
    int next = dup(STDERR_FILENO);

    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

static void pauses_without_descriptors(void **state)
{
    struct scene s;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7010");
    for (int i = 0; i < 3; i++)
        connect_to(client_socket(&s, false, 4), "127.0.0.1:7010");
    struct rlimit before = exhaust();
    run_for(&s, 1600); /* 0, 100, 300, 700, 1500 ms */
    int tried = tries;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(s.n_accepted, 0);
    assert_in_range(tried, 2, 6); /* ever fewer */
    uint64_t at_ms = clock_now_ms();
    until_accepted(&s, 3);
    assert_in_range(clock_now_ms() - at_ms, 0, 1000);
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7010");
    until_accepted(&s, 4);
    scene_end(&s);
}

static void who_comes_during_a_pause_waits(void **state)
{
    struct scene s;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7014");
    listener_pause(s.listener);
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7014");
    run_for(&s, 50);
    assert_int_equal(s.n_accepted, 0);
    listener_resume(s.listener);
    until_accepted(&s, 1);
    scene_end(&s);
}

static void resumes_when_there_is_memory_again(void **state)
{
    struct scene s;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7016");
    listener_pause(s.listener);
    fail_next_add = 2;
    listener_resume(s.listener);
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7016");
    until_accepted(&s, 1);
    assert_int_equal(fail_next_add, 0);
    scene_end(&s);
}

/* The socket is one and the same, whoever accepts from it: who has connected already is not lost.
 */
static void another_takes_it_over(void **state)
{
    struct scene s;
    struct listener *next;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7015");
    listener_pause(s.listener);
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7015");
    int fd = fcntl(listener_fd(s.listener), F_DUPFD_CLOEXEC, 0);
    assert_int_equal(listener_adopt(&next, s.base, fd, on_accepted, &s), 0);
    listener_free(s.listener);
    s.listener = next;
    until_accepted(&s, 1);
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7015");
    until_accepted(&s, 2);
    scene_end(&s);
}

static void may_be_freed_while_pausing(void **state)
{
    struct scene s;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7011");
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7011");
    fail_next = 1;
    fail_with = ENOMEM;
    one_turn(&s);
    assert_int_equal(tries, 1);
    listener_free(s.listener);
    s.listener = NULL;
    run_for(&s, 150);
    assert_int_equal(tries, 1);
    scene_end(&s);
}

/* Which failures are the system's, and end the turn; the others are of one connection only. */
static void knows_whose_failure_it_is(void **state)
{
    static const struct {
        int error;
        bool pauses;
    } cases[] = {{EMFILE, true},       {ENFILE, true},        {ENOMEM, true},
                 {ENOBUFS, true},      {ECONNABORTED, false}, {EINTR, false},
                 {EPERM, false},       {EPROTO, false},       {EHOSTUNREACH, false},
                 {ENETUNREACH, false}, {ENETDOWN, false},     {EOPNOTSUPP, false}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scene s;
        scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7012");
        connect_to(client_socket(&s, false, 4), "127.0.0.1:7012");
        fail_next = 1;
        fail_with = cases[i].error;
        one_turn(&s);
        assert_int_equal(s.n_accepted, !cases[i].pauses);
        assert_int_equal(tries, cases[i].pauses ? 1 : 3);
        until_accepted(&s, 1);
        scene_end(&s);
    }
}

/* A failure that does not pass must not keep the loop busy in one turn for ever. */
static void a_failure_without_end_yields(void **state)
{
    struct scene s;

    scene_start(&s, LISTENER_MPTCP, "127.0.0.1:7013");
    connect_to(client_socket(&s, false, 4), "127.0.0.1:7013");
    fail_next = 1000;
    fail_with = ENETDOWN;
    one_turn(&s);
    assert_in_range(tries, 1, 20);
    fail_next = 0;
    until_accepted(&s, 1);
    scene_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_over_connections),
        cmocka_unit_test(takes_many_in_turns),
        cmocka_unit_test(accepts_mptcp_and_plain),
        cmocka_unit_test(serves_without_mptcp),
        cmocka_unit_test(workers_share_a_port),
        cmocka_unit_test(a_transparent_port_is_not_shared),
        cmocka_unit_test(families_are_apart),
        cmocka_unit_test(transparent_takes_foreign_destinations),
        cmocka_unit_test(says_why_it_cannot),
        cmocka_unit_test(pauses_without_descriptors),
        cmocka_unit_test(may_be_freed_while_pausing),
        cmocka_unit_test(who_comes_during_a_pause_waits),
        cmocka_unit_test(resumes_when_there_is_memory_again),
        cmocka_unit_test(another_takes_it_over),
        cmocka_unit_test(knows_whose_failure_it_is),
        cmocka_unit_test(a_failure_without_end_yields),
    };

    netns_enter();
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
