/* Which rule a flow meets first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/rules.h"

static struct addr address(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, text), 0);
    return a;
}

static struct cidr network(const char *text)
{
    struct cidr c;

    assert_int_equal(cidr_parse(&c, text), 0);
    return c;
}

static struct flow_key flow(const char *client, const char *destination, int8_t dscp)
{
    return (struct flow_key){
        .client = address(client), .destination = address(destination), .dscp = dscp};
}

static void rule_named(struct rule_config *rule, const char *name)
{
    memset(rule, 0, sizeof(*rule));
    strcpy(rule->name, name);
    rule->uplinks = UINT32_MAX;
}

static void without_rules_the_defaults(void **state)
{
    struct gateway_config config = {.scheduler = SCHEDULER_LATENCY,
                                    .encryption = ENCRYPTION_ALWAYS};
    struct flow_key key = flow("192.168.1.7:50000", "198.51.100.1:443", -1);
    struct policy policy = rules_match(&config, &key);

    assert_string_equal(policy.rule, "");
    assert_int_equal(policy.scheduler, SCHEDULER_LATENCY);
    assert_int_equal(policy.encryption, ENCRYPTION_ALWAYS);
    assert_int_equal(policy.action, RULE_PROXY);
    assert_int_equal(policy.uplinks, UINT32_MAX);
}

static void a_rule_brings_all_of_its_policy(void **state)
{
    struct rule_config rule;
    struct gateway_config config = {.rules = &rule, .n_rules = 1};
    struct flow_key key = flow("[2001:db8::7]:50000", "[2001:db8:1::1]:22", 0);

    rule_named(&rule, "everything"); /* no condition: matches all */
    rule.scheduler = SCHEDULER_SPREAD;
    rule.encryption = ENCRYPTION_NEVER;
    rule.action = RULE_DIRECT;
    rule.uplinks = 5;
    struct policy policy = rules_match(&config, &key);
    assert_string_equal(policy.rule, "everything");
    assert_int_equal(policy.scheduler, SCHEDULER_SPREAD);
    assert_int_equal(policy.encryption, ENCRYPTION_NEVER);
    assert_int_equal(policy.action, RULE_DIRECT);
    assert_int_equal(policy.uplinks, 5);
}

static void the_first_match_counts(void **state)
{
    struct rule_config rules[3];
    struct port_range ssh = {22, 22}, all = {1, 65535};
    struct gateway_config config = {.rules = rules, .n_rules = 3};
    struct flow_key to_ssh = flow("192.168.1.7:1000", "198.51.100.1:22", -1);
    struct flow_key to_web = flow("192.168.1.7:1000", "198.51.100.1:80", -1);

    rule_named(&rules[0], "ssh");
    rules[0].ports = &ssh;
    rules[0].n_ports = 1;
    rule_named(&rules[1], "first");
    rules[1].ports = &all;
    rules[1].n_ports = 1;
    rule_named(&rules[2], "second");
    assert_string_equal(rules_match(&config, &to_ssh).rule, "ssh");
    assert_string_equal(rules_match(&config, &to_web).rule, "first");
}

/* Flows, and whether they meet the rule below. */
static const struct {
    const char *client, *destination;
    int8_t dscp;
    bool matches;
} flows[] = {
    {"192.168.1.7:1", "198.51.100.1:443", 46, true},
    {"192.168.1.7:1", "198.51.100.255:8000", 0, true},
    {"192.168.1.127:1", "203.0.113.9:8010", 0, true},
    {"[2001:db8::1]:1", "[2001:db8:1:2::3]:8005", 46, true},
    {"192.168.1.7:1", "[2001:db8:1:2::3]:443", 46, true},
    {"192.168.1.7:1", "198.51.101.1:443", 46, false},
    {"192.168.1.7:1", "203.0.113.8:443", 46, false},
    {"192.168.1.7:1", "[2001:db8:2::1]:443", 46, false},
    {"192.168.1.128:1", "198.51.100.1:443", 46, false},
    {"[2001:db8:0:1::1]:1", "198.51.100.1:443", 46, false},
    {"192.168.1.7:443", "198.51.100.1:444", 46, false}, /* the destination's port counts */
    {"192.168.1.7:1", "198.51.100.1:7999", 46, false},
    {"192.168.1.7:1", "198.51.100.1:8011", 46, false},
    {"192.168.1.7:1", "198.51.100.1:443", 1, false},
    {"192.168.1.7:1", "198.51.100.1:443", -1, false}, /* unknown is none of them */
};

/* One rule with every condition. */
static void every_condition_must_hold(void **state)
{
    struct cidr destinations[] = {network("198.51.100.0/24"), network("2001:db8:1::/48"),
                                  network("203.0.113.9")};
    struct cidr clients[] = {network("192.168.1.0/25"), network("2001:db8::/64")};
    struct port_range ports[] = {{443, 443}, {8000, 8010}};
    int8_t dscp[] = {0, 46};
    struct rule_config rule;
    struct gateway_config config = {.rules = &rule, .n_rules = 1};

    rule_named(&rule, "strict");
    rule.destinations = destinations;
    rule.n_destinations = 3;
    rule.clients = clients;
    rule.n_clients = 2;
    rule.ports = ports;
    rule.n_ports = 2;
    rule.dscp = dscp;
    rule.n_dscp = 2;
    for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
        struct flow_key key = flow(flows[i].client, flows[i].destination, flows[i].dscp);
        if ((rules_match(&config, &key).rule[0] != '\0') != flows[i].matches)
            fail_msg("flow %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_rules_the_defaults),
        cmocka_unit_test(a_rule_brings_all_of_its_policy),
        cmocka_unit_test(the_first_match_counts),
        cmocka_unit_test(every_condition_must_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
