/* The userspace path manager on a real connection: a gateway with two uplinks to one concentrator,
 * whose kernel accepts joins. A subflow joins, stands by, leaves, comes back and is destroyed. */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/mptcp.h"
#include "core/path_manager.h"
#include "core/sysctl.h"
#include "tests/unit/netns.h"

#define EVENTS_MAX 64
#define SECOND_ID 7

struct lab {
    struct event_base *base;
    struct path_manager *pm, *far_pm;
    int far;                              /* the concentrator's namespace */
    struct path_event events[EVENTS_MAX]; /* of both ends: told apart by the token */
    size_t n_events;
    int listener, client, server;
    uint32_t token, far_token;
    struct addr first, second, remote;
    uint32_t ifindex; /* of the second uplink */
};

static void on_event(void *arg, const struct path_event *event)
{
    struct lab *lab = arg;

    assert_true(lab->n_events < EVENTS_MAX);
    lab->events[lab->n_events++] = *event;
}

/* The next event of this type at one end; it is taken out of the list. */
static struct path_event next_event_of(struct lab *lab, uint32_t token, enum path_event_type type)
{
    struct netns_wait wait = {0};

    for (;;) {
        for (size_t i = 0; i < lab->n_events; i++) {
            struct path_event event = lab->events[i];
            if (event.type != type || event.token != token)
                continue;
            memmove(&lab->events[i], &lab->events[i + 1],
                    (--lab->n_events - i) * sizeof(lab->events[0]));
            return event;
        }
        event_base_loop(lab->base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
}

static struct path_event next_event(struct lab *lab, enum path_event_type type)
{
    return next_event_of(lab, lab->token, type);
}

static struct addr parse(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, text) == 0 || addr_parse_ip(&a, text) == 0, 1);
    return a;
}

static void await(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    assert_int_equal(poll(&p, 1, 5000), 1);
}

static void say(int from, int to)
{
    char byte = 'x';

    assert_int_equal(send(from, &byte, 1, 0), 1);
    await(to, POLLIN);
    assert_int_equal(recv(to, &byte, 1, 0), 1);
}

/* The listener stays: joins come to it. */
static void start_listening(struct lab *lab)
{
    struct sockaddr_storage ss;
    int before = netns_switch(lab->far);

    lab->listener = mptcp_socket(lab->remote.family);
    assert_true(lab->listener >= 0);
    socklen_t len = addr_to_sockaddr(&lab->remote, &ss);
    assert_int_equal(bind(lab->listener, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(listen(lab->listener, 5), 0);
    netns_back(before);
}

/* Dials from the first uplink's address. */
static void dial(struct lab *lab)
{
    struct sockaddr_storage ss;

    lab->client = mptcp_socket(lab->remote.family);
    assert_true(lab->client >= 0);
    socklen_t len = addr_to_sockaddr(&lab->first, &ss);
    assert_int_equal(bind(lab->client, (struct sockaddr *)&ss, len), 0);
    len = addr_to_sockaddr(&lab->remote, &ss);
    assert_int_equal(connect(lab->client, (struct sockaddr *)&ss, len), -1);
    assert_int_equal(errno, EINPROGRESS);
    await(lab->listener, POLLIN);
    lab->server = accept4(lab->listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(lab->server >= 0);
    await(lab->client, POLLOUT);
    assert_int_equal(mptcp_token(lab->client, &lab->token), 0);
    assert_int_equal(mptcp_token(lab->server, &lab->far_token), 0);
}

static void accept_joins(struct lab *lab)
{
    struct path_limits limits = {.subflows = 8, .add_addr_accepted = 1}, now;
    int before = netns_switch(lab->far);

    assert_int_equal(path_manager_new(&lab->far_pm, lab->base, on_event, lab), 0);
    assert_int_equal(path_manager_set_limits(lab->far_pm, &limits), 0);
    assert_int_equal(path_manager_get_limits(lab->far_pm, &now), 0);
    assert_int_equal(now.subflows, 8);
    assert_int_equal(now.add_addr_accepted, 1);
    limits.subflows = 1000;
    assert_int_equal(path_manager_set_limits(lab->far_pm, &limits), -EINVAL);
    netns_back(before);
}

static void raise_links(struct lab *lab)
{
    lab->far = netns_new();
    netns_veth("dsl", lab->far, "dsl");
    netns_veth("lte", lab->far, "lte");
    netns_run("ip addr add 10.1.0.1/24 dev dsl && ip addr add 10.2.0.1/24 dev lte && "
              "ip -6 addr add fd01::1/64 dev dsl nodad && ip -6 addr add fd02::1/64 dev lte nodad");
    netns_run("ip route add 10.9.0.1 via 10.1.0.2 && "
              "ip route add 10.9.0.1 via 10.2.0.2 table 2 && ip rule add from 10.2.0.1 table 2 && "
              "ip -6 route add fd09::1 via fd01::2 && "
              "ip -6 route add fd09::1 via fd02::2 table 2 && ip -6 rule add from fd02::1 table 2");
    int before = netns_switch(lab->far);
    netns_run("ip addr add 10.1.0.2/24 dev dsl && ip addr add 10.2.0.2/24 dev lte && "
              "ip -6 addr add fd01::2/64 dev dsl nodad && ip -6 addr add fd02::2/64 dev lte nodad "
              "&& ip addr add 10.9.0.1/32 dev lo && ip -6 addr add fd09::1/128 dev lo nodad");
    netns_back(before);
    lab->ifindex = if_nametoindex("lte");
}

static void setup(struct lab *lab, uint8_t family)
{
    memset(lab, 0, sizeof(*lab));
    lab->base = event_base_new();
    netns_enter();
    raise_links(lab);
    accept_joins(lab);
    if (sysctl_write("net/mptcp/path_manager", "userspace") == -ENOENT)
        assert_int_equal(sysctl_write("net/mptcp/pm_type", "1"), 0);
    assert_int_equal(path_manager_new(&lab->pm, lab->base, on_event, lab), 0);
    lab->first = parse(family == 6 ? "fd01::1" : "10.1.0.1");
    lab->second = parse(family == 6 ? "fd02::1" : "10.2.0.1");
    lab->remote = parse(family == 6 ? "[fd09::1]:7171" : "10.9.0.1:7171");
    start_listening(lab);
    dial(lab);
}

static void teardown(struct lab *lab)
{
    close(lab->client);
    close(lab->server);
    close(lab->listener);
    close(lab->far);
    path_manager_free(lab->pm);
    path_manager_free(lab->far_pm);
    event_base_free(lab->base);
}

/* Linux 6.1 does not: see path_manager_create(). From 6.12 on every one must. */
static bool kernel_heeds_joins(void)
{
    struct utsname name;
    int major = 0, minor = 0;

    assert_int_equal(uname(&name), 0);
    assert_int_equal(sscanf(name.release, "%d.%d", &major, &minor), 2);
    return major > 6 || (major == 6 && minor >= 12);
}

static int create(struct lab *lab, bool backup)
{
    return path_manager_create(lab->pm, lab->token, SECOND_ID, &lab->second, lab->ifindex, backup,
                               &lab->remote);
}

static void establish(struct lab *lab)
{
    struct netns_wait wait = {0};
    struct path_event event = next_event(lab, PATH_EVENT_CREATED);

    assert_true(addr_equal_ip(&event.local, &lab->first));
    assert_true(addr_equal(&event.remote, &lab->remote));
    assert_int_equal(create(lab, false), -ENOTCONN);
    say(lab->client, lab->server);
    say(lab->server, lab->client);
    next_event(lab, PATH_EVENT_ESTABLISHED);
    while (create(lab, false) != 0)
        netns_wait(&wait);
}

/* Returns the local address with its port. */
static struct addr joined(struct lab *lab)
{
    struct path_event event = next_event(lab, PATH_EVENT_SUB_ESTABLISHED);

    assert_int_equal(event.local_id, SECOND_ID);
    if (event.ifindex || kernel_heeds_joins())
        assert_int_equal(event.ifindex, lab->ifindex);
    assert_int_equal(event.error, 0);
    assert_false(event.backup);
    assert_true(addr_equal_ip(&event.local, &lab->second));
    assert_true(addr_equal(&event.remote, &lab->remote));
    assert_int_not_equal(event.local.port, 0);
    return event.local;
}

static void await_subflows(struct lab *lab, int expected)
{
    struct netns_wait wait = {0};
    struct mptcp_subflow flows[8];

    for (;;) {
        int n = mptcp_subflows(lab->client, flows, 8), live = 0;
        assert_true(n >= 0);
        for (int i = 0; i < n; i++)
            live += flows[i].tcp_state == TCP_ESTABLISHED;
        if (live == expected)
            return;
        netns_wait(&wait);
    }
}

/* The far end is told: the flag binds both directions. */
static void stand_by(struct lab *lab, const struct addr *local, bool backup)
{
    assert_int_equal(path_manager_set_backup(lab->pm, lab->token, local, &lab->remote, backup), 0);
    struct path_event event = next_event_of(lab, lab->far_token, PATH_EVENT_SUB_PRIORITY);
    assert_int_equal(event.backup, backup);
    assert_true(addr_equal(&event.remote, local));
}

static void full_life(uint8_t family)
{
    struct lab lab;

    setup(&lab, family);
    establish(&lab);
    struct addr local = joined(&lab);
    await_subflows(&lab, 2);
    stand_by(&lab, &local, true);
    stand_by(&lab, &local, false);

    assert_int_equal(path_manager_remove(lab.pm, lab.token, SECOND_ID), 0);
    struct path_event closed = next_event(&lab, PATH_EVENT_SUB_CLOSED);
    assert_int_equal(closed.local_id, SECOND_ID);
    assert_true(addr_equal(&closed.local, &local));
    await_subflows(&lab, 1);
    assert_int_equal(path_manager_remove(lab.pm, lab.token, SECOND_ID), -EINVAL);

    assert_int_equal(create(&lab, false), 0);
    local = joined(&lab);
    await_subflows(&lab, 2);
    assert_int_equal(path_manager_destroy(lab.pm, lab.token, &local, &lab.remote), 0);
    next_event(&lab, PATH_EVENT_SUB_CLOSED);
    await_subflows(&lab, 1);

    say(lab.client, lab.server);
    mptcp_reset(lab.client);
    lab.client = -1;
    next_event(&lab, PATH_EVENT_CLOSED);
    teardown(&lab);
}

static void full_life_ipv4(void **state)
{
    full_life(4);
}

static void full_life_ipv6(void **state)
{
    full_life(6);
}

static void joins_as_backup_and_leaves_the_first(void **state)
{
    struct lab lab;
    struct netns_wait wait = {0};

    setup(&lab, 4);
    say(lab.client, lab.server);
    say(lab.server, lab.client);
    while (create(&lab, true) != 0)
        netns_wait(&wait);
    struct path_event near = next_event(&lab, PATH_EVENT_SUB_ESTABLISHED);
    struct path_event event = next_event_of(&lab, lab.far_token, PATH_EVENT_SUB_ESTABLISHED);
    /* Both are heeded or neither, so the one that shows tells of the other. */
    assert_int_equal(event.backup, near.ifindex != 0);
    assert_true(event.backup || !kernel_heeds_joins());
    if (!event.backup)
        stand_by(&lab, &near.local, true);
    assert_int_equal(path_manager_remove(lab.pm, lab.token, 0), 0);
    event = next_event(&lab, PATH_EVENT_SUB_CLOSED);
    assert_int_equal(event.local_id, 0);
    assert_true(addr_equal_ip(&event.local, &lab.first));
    await_subflows(&lab, 1);
    say(lab.server, lab.client);
    say(lab.client, lab.server);
    teardown(&lab);
}

static void refuses_an_unknown_connection(void **state)
{
    struct lab lab;

    setup(&lab, 4);
    lab.token ^= 1;
    assert_true(create(&lab, false) < 0);
    lab.token ^= 1;
    teardown(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_life_ipv4),
        cmocka_unit_test(full_life_ipv6),
        cmocka_unit_test(joins_as_backup_and_leaves_the_first),
        cmocka_unit_test(refuses_an_unknown_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
