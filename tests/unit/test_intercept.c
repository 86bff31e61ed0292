/* Interception with a real nft and kernel: a LAN client, the router, and hosts beyond it. What is
 * taken arrives with its original destination; what must not be taken goes its normal way; and no
 * connection that runs is torn by our coming or going. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/mptcp.h"
#include "gateway/intercept.h"
#include "gateway/nft.h"
#include "gateway/routes.h"
#include "gateway/rules.h"
#include "gateway/tally.h"
#include "tests/unit/netns.h"
#include "tests/unit/pairs.h"

#define PORT 7170

struct lab {
    struct gateway_config config;
    char lan[2][INTERFACE_NAME];
    struct cidr bypass[3];
    struct routes *routes;
    int client_ns, far_ns;
    int taken[2], direct; /* listeners: ours (IPv4, IPv6), and the far host's */
};

/* One connection of the client, and the other end of it, wherever that is. */
struct link {
    int client, other;
    bool taken;
};

static struct addr parse(const char *text)
{
    struct addr a;

    if (addr_parse(&a, text))
        assert_int_equal(addr_parse_ip(&a, text), 0);
    return a;
}

static int start_listening(const char *at, bool transparent)
{
    struct addr a = parse(at);
    struct sockaddr_storage ss;
    int on = 1, off = 0, fd = mptcp_tcp_socket(a.family);

    assert_true(fd >= 0);
    if (transparent && a.family == 4)
        assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)), 0);
    if (transparent && a.family == 6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on)), 0);
    if (!transparent)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    socklen_t len = addr_to_sockaddr(&a, &ss);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void raise_client(struct lab *lab)
{
    lab->client_ns = netns_new();
    netns_veth("lan", lab->client_ns, "eth0");
    netns_run("ip addr add 10.0.0.1/24 dev lan && ip -6 addr add fd00::1/64 dev lan nodad");
    int before = netns_switch(lab->client_ns);
    netns_run("ip addr add 10.0.0.2/24 dev eth0 && ip route add default via 10.0.0.1 && "
              "ip -6 addr add fd00::2/64 dev eth0 nodad && ip -6 route add default via fd00::1");
    netns_back(before);
}

static void raise_far(struct lab *lab)
{
    lab->far_ns = netns_new();
    netns_veth("wan", lab->far_ns, "eth0");
    netns_run("ip addr add 192.0.2.10/24 dev wan && ip route add default via 192.0.2.1 && "
              "ip -6 addr add 2001:db8::10/64 dev wan nodad && "
              "ip -6 route add default via 2001:db8::1");
    int before = netns_switch(lab->far_ns);
    netns_run("ip addr add 192.0.2.1/24 dev eth0 && ip route add default via 192.0.2.10 && "
              "ip -6 addr add 2001:db8::1/64 dev eth0 nodad && "
              "ip -6 route add default via 2001:db8::10");
    netns_run("for a in 203.0.113.80 203.0.113.81 198.51.100.80 172.16.9.9 100.64.9.9; do "
              "ip addr add $a/32 dev lo; done; for a in 2001:db8:9::80 2001:db8:9::81 "
              "2001:db8:8::80 fd77::9; do ip -6 addr add $a/128 dev lo nodad; done");
    lab->direct = start_listening("[::]:80", false);
    netns_back(before);
}

static void configure(struct lab *lab)
{
    struct gateway_config *c = &lab->config;

    strcpy(lab->lan[0], "lan");
    strcpy(lab->lan[1], "guest");
    c->lan_interfaces = lab->lan;
    c->n_lan_interfaces = 2;
    c->listen_port = PORT;
    c->routing_table = 7170;
    c->rule_priority = 1000;
    c->firewall_mark = 0x40000;
    c->concentrators[0].address = parse("203.0.113.81:7171");
    c->concentrators[1].address = parse("[2001:db8:9::81]:7171");
    c->n_concentrators = 2;
    /* The third lies within the built-in list. */
    assert_int_equal(cidr_parse(&lab->bypass[0], "198.51.100.0/24"), 0);
    assert_int_equal(cidr_parse(&lab->bypass[1], "2001:db8:8::/48"), 0);
    assert_int_equal(cidr_parse(&lab->bypass[2], "10.1.0.0/16"), 0);
    c->bypass = lab->bypass;
    c->n_bypass = 3;
}

static void listen_on_router(struct lab *lab)
{
    lab->taken[0] = start_listening("127.0.0.1:7170", true);
    lab->taken[1] = start_listening("[::1]:7170", true);
}

static void setup(struct lab *lab)
{
    memset(lab, 0, sizeof(*lab));
    netns_enter();
    /* Early demultiplexing delivers many packets of running flows with or without our rules. */
    netns_run("cd /proc/sys/net && echo 1 > ipv4/ip_forward && "
              "echo 1 > ipv6/conf/all/forwarding && echo 0 > ipv4/ip_early_demux");
    raise_client(lab);
    raise_far(lab);
    configure(lab);
    listen_on_router(lab);
    assert_int_equal(routes_new(&lab->routes, &lab->config), 0);
    assert_int_equal(routes_intercept(lab->routes, true), 0);
}

static void teardown(struct lab *lab)
{
    routes_free(lab->routes);
    close(lab->client_ns);
    close(lab->far_ns);
    close(lab->taken[0]);
    close(lab->taken[1]);
    close(lab->direct);
}

enum table { TABLE_ALL, TABLE_RUNNING, TABLE_NONE };

/* anew: the whole table; otherwise it stands, and gets another plan. */
static void load_plan(const struct lab *lab, enum table table, bool anew,
                      const struct carriers *carriers)
{
    struct intercept_plan plan = {.take_new = table == TABLE_ALL, .carriers = *carriers};
    char nft[128], why[512], *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_int_equal(nft_find(nft, sizeof(nft)), 0);
    if (table == TABLE_NONE)
        intercept_write_removal(out);
    else if (anew)
        intercept_write_table(&lab->config, &plan, out);
    else
        intercept_write_plan(&lab->config, &plan, out);
    fclose(out);
    if (nft_run(nft, text, why, sizeof(why)))
        fail_msg("%s in:\n%s", why, text);
    free(text);
}

static const struct carriers no_carriers;

static void load(const struct lab *lab, enum table table)
{
    load_plan(lab, table, true, &no_carriers);
}

static struct link dial(const struct lab *lab, const char *to)
{
    struct addr a = parse(to);
    struct sockaddr_storage ss;
    struct pollfd p[] = {{.fd = lab->taken[0], .events = POLLIN},
                         {.fd = lab->taken[1], .events = POLLIN},
                         {.fd = lab->direct, .events = POLLIN}};
    struct link link = {0};
    int before = netns_switch(lab->client_ns);

    link.client = mptcp_tcp_socket(a.family);
    socklen_t len = addr_to_sockaddr(&a, &ss);
    assert_int_equal(connect(link.client, (struct sockaddr *)&ss, len), -1);
    assert_int_equal(errno, EINPROGRESS);
    netns_back(before);
    if (poll(p, 3, 5000) < 1)
        fail_msg("%s: no answer", to);
    link.taken = !(p[2].revents & POLLIN);
    int listener = p[2].revents ? lab->direct : p[0].revents ? lab->taken[0] : lab->taken[1];
    link.other = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(link.other >= 0);
    return link;
}

static void say(int from, int to)
{
    struct pollfd p = {.fd = to, .events = POLLIN};
    char byte = 'x';

    assert_int_equal(send(from, &byte, 1, MSG_NOSIGNAL), 1);
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(recv(to, &byte, 1, 0), 1);
}

static void assert_alive(const struct link *link)
{
    say(link->client, link->other);
    say(link->other, link->client);
}

static void hang_up(const struct link *link)
{
    mptcp_reset(link->client);
    mptcp_reset(link->other);
}

static void assert_way(const struct lab *lab, const char *to, bool taken)
{
    struct link link = dial(lab, to);

    if (link.taken != taken)
        fail_msg("%s was %staken", to, taken ? "not " : "");
    assert_alive(&link);
    hang_up(&link);
}

static void assert_original(const struct lab *lab, const char *to)
{
    struct addr expected = parse(to), a;
    struct link link = dial(lab, to);

    assert_true(link.taken);
    assert_int_equal(addr_of_socket(&a, link.other), 0);
    assert_true(addr_equal(&a, &expected));
    assert_int_equal(addr_of_socket(&expected, link.client), 0);
    assert_int_equal(addr_of_peer(&a, link.other), 0);
    assert_true(addr_equal(&a, &expected));
    assert_alive(&link);
    hang_up(&link);
}

static void takes_with_the_original_destination(void **state)
{
    struct lab lab;

    setup(&lab);
    load(&lab, TABLE_ALL);
    assert_original(&lab, "203.0.113.80:80");
    assert_original(&lab, "203.0.113.80:65535");
    assert_original(&lab, "9.9.9.9:443");
    assert_original(&lab, "[2001:db8:9::80]:80");
    assert_original(&lab, "[2620:fe::fe]:443");
    teardown(&lab);
}

static void bypasses(void **state)
{
    static const char *const direct[] = {
        "203.0.113.81:80",     "198.51.100.80:80",  "172.16.9.9:80", "100.64.9.9:80",
        "192.0.2.10:81",       "10.0.0.1:81",       "[fd77::9]:80",  "[2001:db8:9::81]:80",
        "[2001:db8:8::80]:80", "[2001:db8::10]:81",
    };
    struct lab lab;

    setup(&lab);
    load(&lab, TABLE_ALL);
    for (size_t i = 0; i < sizeof(direct) / sizeof(direct[0]); i++) {
        /* The router's own services are not the far host's: listen for them here. */
        bool own = strstr(direct[i], ":81") == direct[i] + strlen(direct[i]) - 3;
        int far = lab.direct;
        if (own)
            lab.direct = start_listening("[::]:81", false);
        assert_way(&lab, direct[i], false);
        if (own)
            close(lab.direct);
        lab.direct = far;
    }
    assert_way(&lab, "203.0.113.80:80", true);
    teardown(&lab);
}

static void only_from_the_lan(void **state)
{
    struct lab lab;

    setup(&lab);
    strcpy(lab.lan[0], "other");
    load(&lab, TABLE_ALL);
    assert_way(&lab, "203.0.113.80:80", false);
    assert_way(&lab, "[2001:db8:9::80]:80", false);
    teardown(&lab);
}

/* What began before we came, and what began while we were away, keeps its way. */
static void direct_connections_survive(void **state)
{
    struct lab lab;

    setup(&lab);
    struct link v4 = dial(&lab, "203.0.113.80:80"), v6 = dial(&lab, "[2001:db8:9::80]:80");
    assert_false(v4.taken || v6.taken);
    for (int round = 0; round < 2; round++) {
        load(&lab, TABLE_ALL);
        assert_alive(&v4);
        assert_alive(&v6);
        assert_way(&lab, "203.0.113.80:80", true);
        load(&lab, TABLE_NONE);
        assert_alive(&v4);
        assert_alive(&v6);
        assert_way(&lab, "203.0.113.80:80", false);
    }
    hang_up(&v4);
    hang_up(&v6);
    teardown(&lab);
}

/* Failing open, draining, reloading: what runs through us stays with us. */
static void our_connections_survive(void **state)
{
    struct lab lab;

    setup(&lab);
    load(&lab, TABLE_ALL);
    struct link v4 = dial(&lab, "203.0.113.80:80"), v6 = dial(&lab, "[2001:db8:9::80]:80");
    assert_true(v4.taken && v6.taken);
    for (int round = 0; round < 2; round++) {
        load_plan(&lab, TABLE_RUNNING, round == 0, &no_carriers);
        assert_alive(&v4);
        assert_alive(&v6);
        assert_way(&lab, "203.0.113.80:80", false);
        assert_way(&lab, "[2001:db8:9::80]:80", false);
        load_plan(&lab, TABLE_ALL, round == 0, &no_carriers);
        assert_alive(&v4);
        assert_alive(&v6);
        assert_way(&lab, "203.0.113.80:80", true);
    }
    hang_up(&v4);
    hang_up(&v6);
    teardown(&lab);
}

static void goes_direct_where_nobody_listens(void **state)
{
    struct lab lab;

    setup(&lab);
    load(&lab, TABLE_ALL);
    close(lab.taken[0]);
    close(lab.taken[1]);
    lab.taken[0] = lab.taken[1] = -1;
    assert_way(&lab, "203.0.113.80:80", false);
    assert_way(&lab, "[2001:db8:9::80]:80", false);
    listen_on_router(&lab);
    assert_way(&lab, "203.0.113.80:80", true);
    teardown(&lab);
}

/* Strict reverse path checks, which with src_valid_mark (as WireGuard's scripts set it) even see
 * our mark. */
static void passes_reverse_path_checks(void **state)
{
    struct lab lab;

    setup(&lab);
    netns_run("cd /proc/sys/net/ipv4/conf && echo 1 > all/rp_filter && echo 1 > lan/rp_filter && "
              "echo 1 > all/src_valid_mark");
    load(&lab, TABLE_ALL);
    assert_original(&lab, "203.0.113.80:80");
    teardown(&lab);
}

/* ---- rules that nftables obeys ---- */

#define RULES 7
#define LISTED 3
#define ROUNDS 40

struct steered {
    struct rule_config rules[RULES];
    struct cidr destinations[RULES][LISTED];
    struct client_match clients[RULES][LISTED];
    struct port_range ports[RULES][LISTED];
    int8_t dscp[RULES][LISTED];
};

static const char *const listed_destinations[] = {
    "203.0.113.80",   "203.0.113.0/24",  "203.0.113.64/26", "198.51.96.0/20", "0.0.0.0/0",
    "2001:db8:9::80", "2001:db8:9::/48", "2001:db8::/32",   "2001:db8:7::/48"};
static const char *const listed_clients[] = {"10.0.0.2",         "10.0.0.0/30", "10.9.0.0/16",
                                             "fd00::/64",        "fd01::/64",   "02:00:5e:10:00:01",
                                             "02:00:5e:10:00:02"};
static const struct port_range listed_ports[] = {
    {80, 80}, {443, 443}, {79, 90}, {81, 500}, {1, 79}};
static const int8_t listed_dscp[] = {0, 46, 10};

#define ANY(list, seed) (list)[random_next(seed) % (sizeof(list) / sizeof((list)[0]))]

static struct client_match any_client(uint32_t *seed)
{
    const char *text = ANY(listed_clients, seed);
    struct client_match client = {0};

    if (cidr_parse(&client.network, text))
        assert_int_equal(mac_parse(&client.mac, text), 0);
    return client;
}

static void make_rule(struct steered *s, size_t i, uint32_t *seed)
{
    struct rule_config *rule = &s->rules[i];

    *rule = (struct rule_config){.destinations = s->destinations[i],
                                 .clients = s->clients[i],
                                 .ports = s->ports[i],
                                 .dscp = s->dscp[i],
                                 .uplinks = UINT32_MAX,
                                 .action = (enum rule_action)(random_next(seed) % 3)};
    snprintf(rule->name, sizeof(rule->name), "%zu", i);
    rule->n_destinations = random_next(seed) % (LISTED + 1);
    rule->n_clients = random_next(seed) % 2 * random_next(seed) % (LISTED + 1);
    rule->n_ports = random_next(seed) % 2 * random_next(seed) % (LISTED + 1);
    rule->n_dscp = random_next(seed) % 3 == 0;
    for (size_t j = 0; j < LISTED; j++) {
        assert_int_equal(cidr_parse(&rule->destinations[j], ANY(listed_destinations, seed)), 0);
        rule->clients[j] = any_client(seed);
        rule->ports[j] = ANY(listed_ports, seed);
        rule->dscp[j] = ANY(listed_dscp, seed);
    }
    if (rule->action == RULE_DIRECT && random_next(seed) % 2) {
        rule->uplinks = 3;
        rule->n_order = 2;
        rule->order[0] = 1;
    }
}

/* What becomes of a connection, by what it meets. far: the listeners of the far host. */
static enum rule_action fate(const struct lab *lab, const struct flow_key *key, const int far[2])
{
    bool v6 = key->destination.family == 6;
    int before = netns_switch(lab->client_ns), client = mptcp_tcp_socket(key->destination.family);
    int tos = key->dscp << 2, error = 0;
    socklen_t len = sizeof(error);
    struct sockaddr_storage ss;
    struct pollfd p = {.fd = client, .events = POLLOUT};

    assert_int_equal(setsockopt(client, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS,
                                &tos, sizeof(tos)),
                     0);
    connect(client, (struct sockaddr *)&ss, addr_to_sockaddr(&key->destination, &ss));
    netns_back(before);
    if (poll(&p, 1, 5000) < 1)
        fail_msg("no answer");
    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &len);
    mptcp_reset(client);
    if (error == ECONNREFUSED)
        return RULE_REFUSE;
    assert_int_equal(error, 0);
    int taken = accept4(lab->taken[v6], NULL, NULL, SOCK_NONBLOCK);
    int direct = accept4(far[key->destination.port == 443], NULL, NULL, SOCK_NONBLOCK);
    assert_true((taken == -1) != (direct == -1));
    close(taken == -1 ? direct : taken);
    return taken == -1 ? RULE_DIRECT : RULE_PROXY;
}

static void assert_fates(const struct lab *lab, const int far[2], uint32_t *seed, size_t met[3])
{
    static const char *const to[] = {"203.0.113.80:80",      "203.0.113.82:80",
                                     "203.0.113.82:443",     "[2001:db8:9::80]:80",
                                     "[2001:db8:9::80]:443", "[2001:db8:9::82]:443"};
    struct rules *rules = rules_new(&lab->config);

    assert_non_null(rules);
    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        struct flow_key key = {.destination = parse(to[i]), .dscp = ANY(listed_dscp, seed)};
        key.client = parse(key.destination.family == 6 ? "fd00::2" : "10.0.0.2");
        assert_int_equal(mac_parse(&key.mac, "02:00:5e:10:00:01"), 0);
        struct policy policy = rules_match(rules, &key);
        enum rule_action found = fate(lab, &key, far);
        if (found != policy.action)
            fail_msg("to %s dscp %d: %d, but rule \"%s\" says %d", to[i], key.dscp, found,
                     policy.rule, policy.action);
        met[found]++;
    }
    rules_free(rules);
}

static void assert_counted(struct tally *tally, const size_t met[3])
{
    struct tally_counts counted = tally_read(tally);

    assert_int_equal(counted.direct, met[RULE_DIRECT]);
    assert_int_equal(counted.refused, met[RULE_REFUSE]);
}

/* nftables and our own matcher agree, whatever the rules; and what became of how many is known,
 * although tables are made anew, or lost. */
static void nftables_obeys_the_rules(void **state)
{
    static const struct carriers all = {{3, 3}};
    static struct steered s;
    struct tally *tally;
    size_t met[3] = {0};
    uint32_t seed = 1;
    struct lab lab;

    setup(&lab);
    int before = netns_switch(lab.client_ns);
    netns_run("ip link set eth0 address 02:00:5e:10:00:01 && ip route replace default via 10.0.0.1 "
              "&& ip -6 route replace default via fd00::1");
    netns_back(before);
    before = netns_switch(lab.far_ns);
    netns_run("ip addr add 203.0.113.82/32 dev lo && ip -6 addr add 2001:db8:9::82 dev lo nodad");
    int far[2] = {lab.direct, start_listening("[::]:443", false)};
    netns_back(before);
    lab.config.direct_mark = 0xf000;
    lab.config.n_uplinks = 2;
    lab.config.rules = s.rules;
    assert_int_equal(tally_new(&tally), 0);
    for (int round = 0; round < ROUNDS; round++) {
        lab.config.n_rules = 1 + (size_t)round % RULES;
        for (size_t i = 0; i < lab.config.n_rules; i++)
            make_rule(&s, i, &seed);
        load_plan(&lab, TABLE_ALL, true, round % 2 ? &all : &no_carriers);
        tally_begin_anew(tally);
        assert_fates(&lab, far, &seed, met);
        assert_counted(tally, met);
        load_plan(&lab, TABLE_ALL, false, round % 3 ? &all : &no_carriers);
        assert_counted(tally, met);
    }
    load(&lab, TABLE_NONE);
    assert_counted(tally, met);
    tally_free(tally);
    assert_true(met[RULE_PROXY] > ROUNDS && met[RULE_DIRECT] > ROUNDS / 2 &&
                met[RULE_REFUSE] > ROUNDS / 2);
    close(far[1]);
    teardown(&lab);
}

/* What is refused stays refused when we fail open. */
static void refuses_while_nothing_is_taken(void **state)
{
    struct rule_config rule = {.name = "none", .uplinks = UINT32_MAX, .action = RULE_REFUSE};
    struct port_range http = {80, 80};
    struct lab lab;

    setup(&lab);
    rule.ports = &http;
    rule.n_ports = 1;
    lab.config.rules = &rule;
    lab.config.n_rules = 1;
    for (int anew = 1; anew >= 0; anew--) {
        struct flow_key key = {.destination = parse("203.0.113.80:80"), .dscp = 0};
        int far[2] = {lab.direct, lab.direct};
        load_plan(&lab, TABLE_RUNNING, anew, &no_carriers);
        assert_int_equal(fate(&lab, &key, far), RULE_REFUSE);
        key.destination = parse("[2001:db8:9::80]:80");
        assert_int_equal(fate(&lab, &key, far), RULE_REFUSE);
    }
    teardown(&lab);
}

static void leaves_other_tables_alone(void **state)
{
    struct lab lab;

    setup(&lab);
    netns_run("nft add table inet bondway2 && nft add table ip bondway");
    load(&lab, TABLE_NONE);
    load(&lab, TABLE_ALL);
    assert_true(netns_try("nft list table inet bondway"));
    load(&lab, TABLE_NONE);
    load(&lab, TABLE_NONE);
    assert_false(netns_try("nft list table inet bondway"));
    netns_run("nft list table inet bondway2 >/dev/null && nft list table ip bondway >/dev/null");
    teardown(&lab);
}

static void tells_what_nft_says(void **state)
{
    char nft[128], why[512];

    netns_enter();
    assert_int_equal(nft_find(nft, sizeof(nft)), 0);
    assert_int_equal(nft_run(nft, "table inet x { nonsense }\n", why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "syntax error"));
    assert_null(strchr(why, '\n'));
    assert_int_equal(nft_run("/nonexistent", "", why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_with_the_original_destination),
        cmocka_unit_test(bypasses),
        cmocka_unit_test(only_from_the_lan),
        cmocka_unit_test(direct_connections_survive),
        cmocka_unit_test(our_connections_survive),
        cmocka_unit_test(goes_direct_where_nobody_listens),
        cmocka_unit_test(passes_reverse_path_checks),
        cmocka_unit_test(nftables_obeys_the_rules),
        cmocka_unit_test(refuses_while_nothing_is_taken),
        cmocka_unit_test(leaves_other_tables_alone),
        cmocka_unit_test(tells_what_nft_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
