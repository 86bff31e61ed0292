/* Which rule a flow meets first: by tables, and against a matcher so simple that it must be right.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/rules.h"
#include "tests/unit/pairs.h"

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

static struct client_match client(const char *text)
{
    struct client_match match = {0};

    if (cidr_parse(&match.network, text))
        assert_int_equal(mac_parse(&match.mac, text), 0);
    return match;
}

static struct mac card(const char *text)
{
    struct mac m = {0};

    if (text)
        assert_int_equal(mac_parse(&m, text), 0);
    return m;
}

static struct flow_key flow(const char *from, const char *to, int8_t dscp)
{
    return (struct flow_key){.client = address(from), .destination = address(to), .dscp = dscp};
}

static void rule_named(struct rule_config *rule, const char *name)
{
    memset(rule, 0, sizeof(*rule));
    strcpy(rule->name, name);
    rule->uplinks = UINT32_MAX;
}

/* Compiled for this one flow. */
static struct policy match(const struct gateway_config *config, const struct flow_key *key)
{
    struct rules *rules = rules_new(config);

    assert_non_null(rules);
    struct policy policy = rules_match(rules, key);
    rules_free(rules);
    return policy;
}

static void without_rules_the_defaults(void **state)
{
    struct gateway_config config = {.scheduler = SCHEDULER_LATENCY,
                                    .encryption = ENCRYPTION_ALWAYS};
    struct flow_key key = flow("192.168.1.7:50000", "198.51.100.1:443", -1);
    struct policy policy = match(&config, &key);

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
    struct policy policy = match(&config, &key);
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
    assert_string_equal(match(&config, &to_ssh).rule, "ssh");
    assert_string_equal(match(&config, &to_web).rule, "first");
}

/* Flows, and whether they meet the rule below. */
static const struct {
    const char *client, *destination;
    int8_t dscp;
    bool matches;
    const char *mac;
} flows[] = {
    {"192.168.1.7:1", "198.51.100.1:443", 46, true, NULL},
    {"192.168.1.7:1", "198.51.100.255:8000", 0, true, NULL},
    {"192.168.1.127:1", "203.0.113.9:8010", 0, true, NULL},
    {"[2001:db8::1]:1", "[2001:db8:1:2::3]:8005", 46, true, NULL},
    {"192.168.1.7:1", "[2001:db8:1:2::3]:443", 46, true, NULL},
    {"192.168.1.7:1", "198.51.101.1:443", 46, false, NULL},
    {"192.168.1.7:1", "203.0.113.8:443", 46, false, NULL},
    {"192.168.1.7:1", "[2001:db8:2::1]:443", 46, false, NULL},
    {"192.168.1.128:1", "198.51.100.1:443", 46, false, NULL},
    {"[2001:db8:0:1::1]:1", "198.51.100.1:443", 46, false, NULL},
    {"192.168.1.7:443", "198.51.100.1:444", 46, false, NULL}, /* the destination's port counts */
    {"192.168.1.7:1", "198.51.100.1:7999", 46, false, NULL},
    {"192.168.1.7:1", "198.51.100.1:8011", 46, false, NULL},
    {"192.168.1.7:1", "198.51.100.1:443", 1, false, NULL},
    {"192.168.1.7:1", "198.51.100.1:443", -1, false, NULL}, /* unknown is none of them */
    {"192.168.9.9:1", "198.51.100.1:443", 46, true, "02:00:5e:10:00:ff"},
    {"[fd00::1]:1", "[2001:db8:1::]:443", 46, true, "02:00:5e:10:00:ff"},
    {"192.168.9.9:1", "198.51.100.1:443", 46, false, "02:00:5e:10:00:fe"},
    {"192.168.9.9:1", "198.51.101.1:443", 46, false, "02:00:5e:10:00:ff"},
    {"192.168.1.7:1", "198.51.100.1:443", 46, true, "02:00:5e:10:00:fe"}, /* by its network */
};

/* One rule with every condition. */
static void every_condition_must_hold(void **state)
{
    struct cidr destinations[] = {network("198.51.100.0/24"), network("2001:db8:1::/48"),
                                  network("203.0.113.9")};
    struct client_match clients[] = {client("192.168.1.0/25"), client("2001:db8::/64"),
                                     client("02:00:5e:10:00:ff")};
    struct port_range ports[] = {{443, 443}, {8000, 8010}};
    int8_t dscp[] = {0, 46};
    struct rule_config rule;
    struct gateway_config config = {.rules = &rule, .n_rules = 1};

    rule_named(&rule, "strict");
    rule.destinations = destinations;
    rule.n_destinations = 3;
    rule.clients = clients;
    rule.n_clients = 3;
    rule.ports = ports;
    rule.n_ports = 2;
    rule.dscp = dscp;
    rule.n_dscp = 2;
    for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
        struct flow_key key = flow(flows[i].client, flows[i].destination, flows[i].dscp);
        key.mac = card(flows[i].mac);
        if ((match(&config, &key).rule[0] != '\0') != flows[i].matches)
            fail_msg("flow %zu", i);
    }
}

/* The ends of what can be: nothing wraps around, nothing is left out. */
static void the_whole_range_counts(void **state)
{
    struct cidr ends[] = {network("0.0.0.0/1"), network("255.255.255.255"), network("::/0")};
    struct port_range ports[] = {{1, 1}, {65535, 65535}, {60000, 65535}};
    struct rule_config rule;
    struct gateway_config config = {.rules = &rule, .n_rules = 1};
    static const struct {
        const char *to;
        bool matches;
    } cases[] = {{"0.0.0.0:1", true},          {"127.255.255.255:65535", true},
                 {"128.0.0.0:1", false},       {"255.255.255.254:1", false},
                 {"255.255.255.255:1", true},  {"[::]:1", true},
                 {"[ffff::ffff]:65535", true}, {"1.1.1.1:2", false},
                 {"1.1.1.1:59999", false},     {"1.1.1.1:60000", true}};

    rule_named(&rule, "ends");
    rule.destinations = ends;
    rule.n_destinations = 3;
    rule.ports = ports;
    rule.n_ports = 3;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct flow_key key = flow("192.168.1.7:1", cases[i].to, -1);
        if ((match(&config, &key).rule[0] != '\0') != cases[i].matches)
            fail_msg("%s", cases[i].to);
    }
}

/* ---- against a naive matcher ---- */

#define RULES 130 /* more than two words of 64 */
#define LISTED 4
#define ROUNDS 60
#define FLOWS 400

struct random_rules {
    uint32_t seed;
    struct rule_config rules[RULES];
    struct cidr destinations[RULES][LISTED];
    struct client_match clients[RULES][LISTED];
    struct port_range ports[RULES][LISTED];
    int8_t dscp[RULES][LISTED];
};

static uint32_t below(uint32_t *seed, uint32_t n)
{
    return random_next(seed) % n;
}

/* From few addresses, so that things meet. */
static struct addr random_address(uint32_t *seed)
{
    struct addr a = {.family = below(seed, 2) ? 6 : 4};
    size_t size = addr_size(&a);

    for (size_t i = 0; i < size; i++)
        a.ip[i] = (uint8_t)(below(seed, 4) ? 0 : below(seed, 3) * 127 + below(seed, 2));
    a.port = (uint16_t)(1 + below(seed, 12));
    return a;
}

static struct cidr random_network(uint32_t *seed)
{
    struct addr a = random_address(seed);
    char text[ADDR_TEXT], whole[2 * ADDR_TEXT];
    unsigned bits = (unsigned)addr_size(&a) * 8;

    snprintf(whole, sizeof(whole), "%s/%u", addr_format_ip(&a, text), below(seed, bits + 1));
    return network(whole);
}

static struct mac random_mac(uint32_t *seed)
{
    return (struct mac){{2, 0, 0, 0, 0, (uint8_t)below(seed, 6)}};
}

static void make_random_rule(struct random_rules *all, size_t i)
{
    struct rule_config *rule = &all->rules[i];
    uint32_t *seed = &all->seed;

    memset(rule, 0, sizeof(*rule));
    snprintf(rule->name, sizeof(rule->name), "%zu", i);
    rule->destinations = all->destinations[i];
    rule->clients = all->clients[i];
    rule->ports = all->ports[i];
    rule->dscp = all->dscp[i];
    rule->n_destinations = below(seed, LISTED + 1);
    rule->n_clients = below(seed, LISTED + 1);
    rule->n_ports = below(seed, LISTED + 1);
    rule->n_dscp = below(seed, 4) ? 0 : below(seed, LISTED + 1);
    for (size_t j = 0; j < LISTED; j++) {
        rule->destinations[j] = random_network(seed);
        rule->clients[j] = below(seed, 3) ? (struct client_match){.network = random_network(seed)}
                                          : (struct client_match){.mac = random_mac(seed)};
        rule->ports[j].first = (uint16_t)(1 + below(seed, 12));
        rule->ports[j].last = (uint16_t)(rule->ports[j].first + below(seed, 6));
        rule->dscp[j] = (int8_t)below(seed, 64);
    }
}

static bool naive_client(const struct rule_config *rule, const struct flow_key *key)
{
    for (size_t i = 0; i < rule->n_clients; i++) {
        const struct client_match *c = &rule->clients[i];
        if (c->network.base.family ? cidr_contains(&c->network, &key->client)
                                   : memcmp(&c->mac, &key->mac, sizeof(c->mac)) == 0)
            return true;
    }
    return rule->n_clients == 0;
}

static bool naive_match(const struct rule_config *rule, const struct flow_key *key)
{
    bool destination = rule->n_destinations == 0, port = rule->n_ports == 0;
    bool dscp = rule->n_dscp == 0;

    for (size_t i = 0; i < rule->n_destinations; i++)
        destination |= cidr_contains(&rule->destinations[i], &key->destination);
    for (size_t i = 0; i < rule->n_ports; i++)
        port |= key->destination.port >= rule->ports[i].first &&
                key->destination.port <= rule->ports[i].last;
    for (size_t i = 0; i < rule->n_dscp; i++)
        dscp |= rule->dscp[i] == key->dscp;
    return destination && port && dscp && naive_client(rule, key);
}

static struct flow_key random_flow(uint32_t *seed)
{
    struct flow_key key = {.dscp = -1};

    key.destination = random_address(seed);
    key.client = random_address(seed);
    if (below(seed, 2))
        key.dscp = (int8_t)below(seed, 64);
    if (below(seed, 2))
        key.mac = random_mac(seed);
    return key;
}

static void matches_like_a_naive_matcher(void **state)
{
    static struct random_rules all = {.seed = 1};
    size_t met[RULES + 1] = {0};

    for (int round = 0; round < ROUNDS; round++) {
        size_t n = 1 + below(&all.seed, RULES);
        struct gateway_config config = {.rules = all.rules, .n_rules = n};
        for (size_t i = 0; i < n; i++)
            make_random_rule(&all, i);
        struct rules *rules = rules_new(&config);
        assert_non_null(rules);
        for (int i = 0; i < FLOWS; i++) {
            struct flow_key key = random_flow(&all.seed);
            size_t expected = 0;
            while (expected < n && !naive_match(&all.rules[expected], &key))
                expected++;
            met[expected]++;
            assert_string_equal(rules_match(rules, &key).rule,
                                expected < n ? all.rules[expected].name : "");
        }
        rules_free(rules);
    }
    /* The first rules took some, the last ones, and none: or this would say little. */
    assert_true(met[0] > 100 && met[40] > 0 && met[70] > 0);
}

/* ---- rules that can never match ---- */

/* The rules of a case are those below whose letters it has; the last one's shadow is asked for. */
static const struct {
    char letter;
    const char *to, *from;
    uint16_t first_port, last_port;
    int8_t dscp;
} shadow_rules[] = {
    {'a', NULL, NULL, 0, 0, -1},
    {'b', "198.51.100.0/24", NULL, 0, 0, -1},
    {'c', "198.51.100.128/25", NULL, 0, 0, -1},
    {'d', "198.51.100.128/25", NULL, 80, 443, -1},
    {'e', NULL, NULL, 80, 90, -1},
    {'f', NULL, NULL, 81, 81, 46},
    {'g', NULL, NULL, 0, 0, 46},
    {'h', NULL, "192.168.1.0/24", 0, 0, -1},
    {'i', NULL, "192.168.1.9", 0, 0, -1},
    {'j', NULL, "02:00:5e:10:00:01", 0, 0, -1},
    {'k', NULL, "02:00:5e:10:00:02", 0, 0, -1},
    {'l', NULL, "0.0.0.0/0", 0, 0, -1},
    {'m', "198.51.100.0/24", "fd00::/64", 0, 0, -1},
    {'n', "2001:db8::/32", NULL, 0, 0, -1},
};

static const struct {
    const char *rules;
    int shadow;
} shadow_cases[] = {
    {"a", RULES_NO_SHADOW},
    {"ab", 0},
    {"ba", RULES_NO_SHADOW},
    {"bc", 0},
    {"cb", RULES_NO_SHADOW},
    {"ebd", 1},
    {"cd", 0},
    {"dc", RULES_NO_SHADOW},
    {"ef", 0},
    {"gf", 0},
    {"fg", RULES_NO_SHADOW},
    {"hi", 0},
    {"ih", RULES_NO_SHADOW},
    {"hj", RULES_NO_SHADOW},
    {"jk", RULES_NO_SHADOW},
    {"jj", 0},
    {"aj", 0},
    {"ja", RULES_NO_SHADOW},
    {"lb", 0}, /* who goes to IPv4 comes from there */
    {"ln", RULES_NO_SHADOW},
    {"m", RULES_MATCHES_NOTHING},
    {"hga", RULES_NO_SHADOW},
};

static void make_shadow_rule(struct random_rules *all, size_t i, char letter)
{
    size_t which = (size_t)(letter - 'a');
    struct rule_config *rule = &all->rules[i];

    assert_int_equal(shadow_rules[which].letter, letter);
    make_random_rule(all, i); /* for its lists */
    rule->n_destinations = shadow_rules[which].to != NULL;
    rule->n_clients = shadow_rules[which].from != NULL;
    rule->n_ports = shadow_rules[which].first_port > 0;
    rule->n_dscp = shadow_rules[which].dscp >= 0;
    if (rule->n_destinations)
        rule->destinations[0] = network(shadow_rules[which].to);
    if (rule->n_clients)
        rule->clients[0] = client(shadow_rules[which].from);
    rule->ports[0] =
        (struct port_range){shadow_rules[which].first_port, shadow_rules[which].last_port};
    rule->dscp[0] = shadow_rules[which].dscp;
}

static void shadows_are_found(void **state)
{
    static struct random_rules all = {.seed = 1};

    for (size_t i = 0; i < sizeof(shadow_cases) / sizeof(shadow_cases[0]); i++) {
        size_t n = strlen(shadow_cases[i].rules);
        struct gateway_config config = {.rules = all.rules, .n_rules = n};
        for (size_t j = 0; j < n; j++)
            make_shadow_rule(&all, j, shadow_cases[i].rules[j]);
        struct rules *rules = rules_new(&config);
        assert_non_null(rules);
        if (rules_shadow(rules, n - 1) != shadow_cases[i].shadow)
            fail_msg("%s: %d", shadow_cases[i].rules, rules_shadow(rules, n - 1));
        rules_free(rules);
    }
}

/* Who is said never to match never does, whatever comes. */
static void no_shadow_is_false(void **state)
{
    static struct random_rules all = {.seed = 5};
    struct gateway_config config = {.rules = all.rules, .n_rules = RULES};
    size_t shadows = 0;

    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < RULES; i++)
            make_random_rule(&all, i);
        struct rules *rules = rules_new(&config);
        assert_non_null(rules);
        bool never[RULES];
        for (size_t i = 0; i < RULES; i++)
            shadows += never[i] = rules_shadow(rules, i) != RULES_NO_SHADOW;
        for (int i = 0; i < 10 * FLOWS; i++) {
            struct flow_key key = random_flow(&all.seed);
            key.client.family = key.destination.family;
            struct policy policy = rules_match(rules, &key);
            if (policy.rule[0] && never[atoi(policy.rule)])
                fail_msg("rule %s does match", policy.rule);
        }
        rules_free(rules);
    }
    assert_true(shadows > 100);
}

/* ---- a list as long as a country's ---- */

#define NETWORKS 10000
#define LOOKS 100000

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void write_country(const char *path)
{
    FILE *out = fopen(path, "w");
    uint32_t seed = 7;

    fprintf(out,
            "lan_interfaces = [\"lan\"];\nconcentrators = ( { name = \"vps\"; address = "
            "\"203.0.113.10\"; key_file = \"%s.key\"; } );\n"
            "uplinks = ( { name = \"dsl\"; interface = \"dsl\"; } );\n"
            "rules = ( { name = \"country\"; destinations = [\n",
            path);
    for (int i = 0; i < NETWORKS; i++)
        fprintf(out, "%s\"%u.%u.%u.0/24\"", i ? ",\n" : "", 1 + below(&seed, 222),
                below(&seed, 256), below(&seed, 256));
    fprintf(out, "]; encryption = \"always\"; } );\n");
    fclose(out);
}

static struct gateway_config *load_country(void)
{
    char path[] = "/tmp/bondway-test-rules-XXXXXX", key_path[64], text[KEY_TEXT];
    struct key key;

    close(mkstemp(path));
    snprintf(key_path, sizeof(key_path), "%s.key", path);
    assert_int_equal(key_generate(&key), 0);
    key_format(&key, text);
    int fd = open(key_path, O_CREAT | O_WRONLY, 0600);
    dprintf(fd, "%s\n", text);
    close(fd);
    write_country(path);
    struct gateway_config *config = gateway_config_load(path, stderr);
    unlink(path);
    unlink(key_path);
    return config;
}

/* Ten thousand networks: none of it is felt. The bounds leave room for sanitizers and old machines;
 * what it takes here is printed. */
static void a_countrys_list_costs_nothing(void **state)
{
    double begin = seconds();
    struct gateway_config *config = load_country();
    double loaded = seconds();
    assert_non_null(config);
    struct rules *rules = rules_new(config);
    double compiled = seconds();
    struct flow_key key = flow("192.168.1.7:1", "1.2.3.4:443", -1);
    uint32_t seed = 3;
    size_t met = 0;

    assert_non_null(rules);
    for (int i = 0; i < LOOKS; i++) {
        uint32_t ip = random_next(&seed);
        memcpy(key.destination.ip, &ip, sizeof(ip));
        met += rules_match(rules, &key).rule[0] != '\0';
    }
    double each = (seconds() - compiled) / LOOKS;
    printf("%d networks: loaded in %.1f ms, compiled in %.1f ms to %zu KiB, %.2f us a flow\n",
           NETWORKS, 1e3 * (loaded - begin), 1e3 * (compiled - loaded), rules_bytes(rules) / 1024,
           1e6 * each);
    assert_in_range(met, LOOKS / 4000, LOOKS / 100); /* some of a hundredth of all addresses */
    assert_true(rules_bytes(rules) < 400 * 1024);
    assert_true(loaded - begin < 3 && compiled - loaded < 3);
    assert_true(each < 20e-6);
    rules_free(rules);
    gateway_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_rules_the_defaults),
        cmocka_unit_test(a_rule_brings_all_of_its_policy),
        cmocka_unit_test(the_first_match_counts),
        cmocka_unit_test(every_condition_must_hold),
        cmocka_unit_test(the_whole_range_counts),
        cmocka_unit_test(matches_like_a_naive_matcher),
        cmocka_unit_test(shadows_are_found),
        cmocka_unit_test(no_shadow_is_false),
        cmocka_unit_test(a_countrys_list_costs_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
