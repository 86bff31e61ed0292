/* Netlink as the other modules use it: answers, refusals, dumps, events, and events that were lost
 * because nobody read them in time. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "core/netlink.h"
#include "tests/unit/netns.h"

static void finds_a_generic_family(void **state)
{
    struct netlink *nl;
    uint16_t id = 0;
    uint32_t group = 0;

    assert_int_equal(netlink_new(&nl, NETLINK_GENERIC), 0);
    assert_int_equal(netlink_genl_family(nl, "nlctrl", &id, "notify", &group), 0);
    assert_int_equal(id, 0x10);
    assert_int_not_equal(group, 0);
    assert_int_equal(netlink_genl_family(nl, "nlctrl", &id, "no-such", &group), -ENOENT);
    assert_int_equal(netlink_genl_family(nl, "no-such", &id, NULL, NULL), -ENOENT);
    netlink_free(nl);
}

static struct nlmsghdr *get_link(char *buffer, const char *name)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);

    nlh->nlmsg_type = RTM_GETLINK;
    mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
    if (name)
        mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
    return nlh;
}

static int count(const struct nlmsghdr *nlh, void *arg)
{
    ++*(int *)arg;
    return MNL_CB_OK;
}

static int refuse(const struct nlmsghdr *nlh, void *arg)
{
    ++*(int *)arg;
    errno = ERANGE;
    return MNL_CB_ERROR;
}

static void answers_and_refusals(void **state)
{
    char buffer[256] __attribute__((aligned(4)));
    struct netlink *nl;
    int seen = 0;

    assert_int_equal(netlink_new(&nl, NETLINK_ROUTE), 0);
    assert_int_equal(netlink_request(nl, get_link(buffer, "lo"), count, &seen), 0);
    assert_int_equal(seen, 1);
    assert_int_equal(netlink_request(nl, get_link(buffer, "no-such"), count, &seen), -ENODEV);
    assert_int_equal(seen, 1);
    netlink_free(nl);
}

static int dump(struct netlink *nl, mnl_cb_t each, int *seen)
{
    char buffer[256] __attribute__((aligned(4)));
    struct nlmsghdr *nlh = get_link(buffer, NULL);

    *seen = 0;
    nlh->nlmsg_flags = NLM_F_DUMP;
    return netlink_request(nl, nlh, each, seen);
}

/* A dump that its reader gives up must not disturb the next request. */
static void dumps(void **state)
{
    struct netlink *nl;
    int seen;

    netns_run(
        "for i in $(seq 40); do echo link add v$i type veth peer name w$i; done | ip -batch -");
    assert_int_equal(netlink_new(&nl, NETLINK_ROUTE), 0);
    assert_int_equal(dump(nl, refuse, &seen), -ERANGE);
    assert_int_equal(seen, 1);
    assert_int_equal(dump(nl, count, &seen), 0);
    assert_true(seen >= 81);
    netlink_free(nl);
    netns_run("for i in $(seq 40); do echo link del v$i; done | ip -batch -");
}

static void add_address(struct netlink *nl, uint32_t ip)
{
    char buffer[256] __attribute__((aligned(4)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

    nlh->nlmsg_type = RTM_NEWADDR;
    nlh->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
    ifa->ifa_family = AF_INET;
    ifa->ifa_prefixlen = 32;
    ifa->ifa_index = 1;
    mnl_attr_put_u32(nlh, IFA_LOCAL, htonl(ip));
    assert_int_equal(netlink_request(nl, nlh, NULL, NULL), 0);
}

struct watch {
    int addresses, lost;
};

static int on_message(const struct nlmsghdr *nlh, void *arg)
{
    struct watch *w = arg;

    w->addresses += nlh->nlmsg_type == RTM_NEWADDR;
    return MNL_CB_OK;
}

static void on_lost(void *arg)
{
    ((struct watch *)arg)->lost++;
}

static void watches_and_notices_loss(void **state)
{
    struct event_base *base = event_base_new();
    struct netlink *nl, *requests;
    struct netns_wait wait = {0};
    struct watch w = {0};
    int sent = 0;

    assert_int_equal(netlink_new(&nl, NETLINK_ROUTE), 0);
    assert_int_equal(netlink_new(&requests, NETLINK_ROUTE), 0);
    assert_int_equal(netlink_join(nl, RTNLGRP_IPV4_IFADDR), 0);
    assert_int_equal(netlink_watch(nl, base, on_message, on_lost, &w), 0);
    for (; sent < 3; sent++)
        add_address(requests, 0x0a000001u + (uint32_t)sent);
    while (w.addresses < 3) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        netns_wait(&wait);
    }
    assert_int_equal(w.lost, 0);
    for (; sent < 8000; sent++)
        add_address(requests, 0x0a000001u + (uint32_t)sent);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_true(w.lost > 0);
    assert_true(w.addresses > 1000 && w.addresses < 8000);
    netlink_free(nl);
    netlink_free(requests);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_generic_family),
        cmocka_unit_test(answers_and_refusals),
        cmocka_unit_test(dumps),
        cmocka_unit_test(watches_and_notices_loss),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
