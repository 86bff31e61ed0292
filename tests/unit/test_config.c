/* The configuration: what is accepted, and that every mistake is named with its line and remedy.
 * The examples that we ship are held to the option tables. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "config/concentrator_config.h"
#include "config/gateway_config.h"
#include "config/option.h"
#include "config/suggest.h"

#define TEXT 16384

/* libconfig 1.5 loses the string that it was reading at a syntax error. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig\n";
}

/* A directory with two good keys, "@a" and "@b" in the texts below, and the file to load. */
struct lab {
    char directory[64];
    char key_a[80], key_b[80], file[80];
    char complaints[TEXT];
};

static void write_file(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void write_key(const char *path)
{
    struct key key;
    char text[KEY_TEXT];

    assert_int_equal(key_generate(&key), 0);
    key_format(&key, text);
    write_file(path, text, strlen(text));
}

static int lab_up(void **state)
{
    struct lab *lab = calloc(1, sizeof(*lab));

    strcpy(lab->directory, "/tmp/bondway-config-XXXXXX");
    assert_non_null(mkdtemp(lab->directory));
    snprintf(lab->key_a, sizeof(lab->key_a), "%s/a.key", lab->directory);
    snprintf(lab->key_b, sizeof(lab->key_b), "%s/b.key", lab->directory);
    snprintf(lab->file, sizeof(lab->file), "%s/conf", lab->directory);
    write_key(lab->key_a);
    write_key(lab->key_b);
    *state = lab;
    return 0;
}

static int lab_down(void **state)
{
    struct lab *lab = *state;

    unlink(lab->key_a);
    unlink(lab->key_b);
    unlink(lab->file);
    rmdir(lab->directory);
    free(lab);
    return 0;
}

/* Replaces "@a", "@b" by the key files' paths and "@f" by the file's own. */
static void expand(const struct lab *lab, const char *text, char *out, size_t len)
{
    size_t n = 0;

    for (; *text && n < len - 1; text++) {
        const char *path = text[0] != '@'   ? NULL
                           : text[1] == 'a' ? lab->key_a
                           : text[1] == 'b' ? lab->key_b
                           : text[1] == 'f' ? lab->file
                                            : NULL;
        if (path) {
            n += (size_t)snprintf(out + n, len - n, "%s", path);
            text++;
        } else {
            out[n++] = *text;
        }
    }
    out[n] = '\0';
}

static void put(struct lab *lab, const char *text)
{
    char expanded[TEXT];

    expand(lab, text, expanded, sizeof(expanded));
    write_file(lab->file, expanded, strlen(expanded));
}

static struct gateway_config *load_gateway(struct lab *lab)
{
    FILE *complaints = fmemopen(lab->complaints, sizeof(lab->complaints), "w");
    struct gateway_config *config = gateway_config_load(lab->file, complaints);

    fclose(complaints);
    return config;
}

static struct concentrator_config *load_concentrator(struct lab *lab)
{
    FILE *complaints = fmemopen(lab->complaints, sizeof(lab->complaints), "w");
    struct concentrator_config *config = concentrator_config_load(lab->file, complaints);

    fclose(complaints);
    return config;
}

static void assert_complaints(struct lab *lab, const char *expected)
{
    char expanded[TEXT];

    expand(lab, expected, expanded, sizeof(expanded));
    assert_string_equal(lab->complaints, expanded);
}

static void assert_gateway_complaints(struct lab *lab, const char *text, const char *expected)
{
    put(lab, text);
    assert_null(load_gateway(lab));
    assert_complaints(lab, expected);
}

static void assert_concentrator_complaints(struct lab *lab, const char *text, const char *expected)
{
    put(lab, text);
    assert_null(load_concentrator(lab));
    assert_complaints(lab, expected);
}

/* Three lines, to which each test adds its own from the fourth on. */
#define GATEWAY                                                                                    \
    "lan_interfaces = [\"br-lan\"];\n"                                                             \
    "concentrators = ({ name = \"vps\"; address = \"203.0.113.10\"; key_file = \"@a\"; });\n"      \
    "uplinks = ({ name = \"dsl\"; interface = \"ppp0\"; }, { name = \"lte\"; interface = "         \
    "\"wwan0\"; });\n"
/* Likewise, two lines. */
#define CONCENTRATOR                                                                               \
    "listen = [\"0.0.0.0:7171\"];\n"                                                               \
    "gateways = ({ name = \"home\"; key_file = \"@a\"; });\n"

static void assert_addr(const struct addr *a, const char *expected)
{
    char text[ADDR_TEXT];

    assert_string_equal(a->port ? addr_format(a, text) : addr_format_ip(a, text), expected);
}

static void assert_cidr(const struct cidr *c, const char *expected)
{
    char text[ADDR_TEXT];

    assert_string_equal(cidr_format(c, text), expected);
}

/* ---- the gateway ---- */

static void gateway_defaults(void **state)
{
    struct lab *lab = *state;

    put(lab, GATEWAY);
    struct gateway_config *config = load_gateway(lab);
    assert_complaints(lab, "");
    assert_non_null(config);
    assert_int_equal(config->n_lan_interfaces, 1);
    assert_string_equal(config->lan_interfaces[0], "br-lan");
    assert_int_equal(config->listen_port, 7170);
    assert_int_equal(config->scheduler, SCHEDULER_BOND);
    assert_int_equal(config->encryption, ENCRYPTION_AUTO);
    assert_int_equal(config->when_unreachable, UNREACHABLE_DIRECT);
    assert_true(config->route_unproxied);
    assert_int_equal(config->n_bypass, 0);
    assert_string_equal(config->control_socket, "/run/bondway/gateway.sock");
    assert_int_equal(config->metrics_listen.family, 0);
    assert_string_equal(config->state_dir, "/var/lib/bondway");
    assert_string_equal(config->packet_scheduler, "");
    assert_int_equal(config->firewall_mark, 0x10000000);
    assert_int_equal(config->routing_table, 7170);
    assert_int_equal(config->rule_priority, 7170);
    assert_int_equal(config->dial_timeout_ms, 10000);
    assert_int_equal(config->idle_timeout_ms, 124 * 60000);
    assert_int_equal(config->half_closed_timeout_ms, 600000);
    assert_int_equal(config->max_flows, 4096);
    assert_int_equal(config->n_concentrators, 1);
    assert_addr(&config->concentrators[0].address, "203.0.113.10:7171");
    assert_int_equal(config->n_uplinks, 2);
    assert_string_equal(config->uplinks[1].name, "lte");
    assert_string_equal(config->uplinks[1].interface, "wwan0");
    assert_int_equal(config->uplinks[1].cost, 0);
    assert_int_equal(config->uplinks[1].weight, 0);
    assert_int_equal(config->uplinks[1].gateway.family, 0);
    assert_true(config->uplinks[1].monthly_budget == 0);
    assert_int_equal(config->n_rules, 0);
    gateway_config_free(config);
}

static void gateway_keys_are_loaded(void **state)
{
    struct lab *lab = *state;
    struct key key;
    char why[128];

    put(lab, GATEWAY);
    struct gateway_config *config = load_gateway(lab);
    assert_non_null(config);
    assert_int_equal(key_load(&key, lab->key_a, why, sizeof(why)), 0);
    assert_string_equal(config->concentrators[0].key_file, lab->key_a);
    assert_memory_equal(&config->concentrators[0].key, &key, sizeof(key));
    gateway_config_free(config);
}

static void gateway_everything_set(void **state)
{
    struct lab *lab = *state;

    put(lab,
        "lan_interfaces = ( \"br-lan\", \"eth0.100\" ); listen_port = 1;\n"
        "scheduler = \"bond\"; encryption = \"never\"; when_unreachable = \"refuse\";\n"
        "route_unproxied = false; bypass = [\"10.0.0.0/8\", \"2001:db8::/32\", \"192.0.2.1\"];\n"
        "control_socket = \"/tmp/x\"; firewall_mark = 0xC0000000; routing_table = 3000000000L;\n"
        "rule_priority = 100; dial_timeout = \"1500ms\"; idle_timeout = \"2h\";\n"
        "half_closed_timeout = \"90s\"; max_flows = 7;\n"
        "state_dir = \"/etc/bondway\"; packet_scheduler = \"blest\";\n"
        "concentrators = (\n"
        "  { name = \"vps\"; address = \"203.0.113.10\"; port = 443; key_file = \"@a\"; },\n"
        "  { key_file = \"@b\"; name = \"two\"; port = 443; address = \"2001:db8::5\"; });\n"
        "uplinks = ({ name = \"dsl\"; interface = \"ppp0\"; cost = 3; weight = 9;\n"
        "  gateway = \"192.0.2.254\"; gateway6 = \"fe80::1\";\n"
        "  monthly_budget = \"50GB\"; budget_day = 31; on_budget = \"off\"; });\n");
    struct gateway_config *config = load_gateway(lab);
    assert_complaints(lab, "");
    assert_non_null(config);
    assert_int_equal(config->n_lan_interfaces, 2);
    assert_string_equal(config->lan_interfaces[1], "eth0.100");
    assert_int_equal(config->listen_port, 1);
    assert_int_equal(config->encryption, ENCRYPTION_NEVER);
    assert_int_equal(config->when_unreachable, UNREACHABLE_REFUSE);
    assert_false(config->route_unproxied);
    assert_int_equal(config->n_bypass, 3);
    assert_cidr(&config->bypass[0], "10.0.0.0/8");
    assert_cidr(&config->bypass[2], "192.0.2.1/32");
    assert_string_equal(config->control_socket, "/tmp/x");
    assert_int_equal(config->firewall_mark, 0xC0000000);
    assert_int_equal(config->routing_table, 3000000000);
    assert_int_equal(config->dial_timeout_ms, 1500);
    assert_int_equal(config->idle_timeout_ms, 7200000);
    assert_int_equal(config->half_closed_timeout_ms, 90000);
    assert_int_equal(config->max_flows, 7);
    assert_addr(&config->concentrators[0].address, "203.0.113.10:443");
    assert_addr(&config->concentrators[1].address, "[2001:db8::5]:443");
    assert_int_equal(config->uplinks[0].cost, 3);
    assert_int_equal(config->uplinks[0].weight, 9);
    assert_addr(&config->uplinks[0].gateway, "192.0.2.254");
    assert_addr(&config->uplinks[0].gateway6, "fe80::1");
    assert_true(config->uplinks[0].monthly_budget == UINT64_C(50000000000));
    assert_int_equal(config->uplinks[0].budget_day, 31);
    assert_int_equal(config->uplinks[0].on_budget, ON_BUDGET_OFF);
    assert_string_equal(config->state_dir, "/etc/bondway");
    assert_string_equal(config->packet_scheduler, "blest");
    gateway_config_free(config);
}

static void gateway_rules(void **state)
{
    struct lab *lab = *state;

    put(lab, GATEWAY
        "encryption = \"always\";\n"
        "rules = ({ name = \"one\"; destinations = [\"198.51.100.0/24\"]; clients = "
        "[\"10.0.0.1\", \"02:00:5e:10:00:ff\"];\n"
        "  ports = (22, \"8000-8100\"); dscp = [0, 63]; uplinks = [\"lte\", \"dsl\"]; scheduler = "
        "\"bond\";\n"
        "  encryption = \"never\"; }, { name = \"all\"; ports = []; },\n"
        "  { name = \"lte\"; action = \"direct\"; uplinks = [\"lte\"]; },\n"
        "  { name = \"none\"; action = \"refuse\"; });\n");
    char text[ADDR_TEXT];
    struct gateway_config *config = load_gateway(lab);
    assert_complaints(lab, "");
    assert_non_null(config);
    assert_int_equal(config->n_rules, 4);
    const struct rule_config *rule = &config->rules[0];
    assert_cidr(&rule->destinations[0], "198.51.100.0/24");
    assert_cidr(&rule->clients[0].network, "10.0.0.1/32");
    assert_int_equal(rule->clients[1].network.base.family, 0);
    assert_string_equal(mac_format(&rule->clients[1].mac, text), "02:00:5e:10:00:ff");
    assert_int_equal(rule->line, 5);
    assert_int_equal(rule->n_ports, 2);
    assert_int_equal(rule->ports[0].first, 22);
    assert_int_equal(rule->ports[0].last, 22);
    assert_int_equal(rule->ports[1].first, 8000);
    assert_int_equal(rule->ports[1].last, 8100);
    assert_int_equal(rule->n_dscp, 2);
    assert_int_equal(rule->dscp[1], 63);
    assert_int_equal(rule->uplinks, 3);
    assert_int_equal(rule->n_order, 2);
    assert_int_equal(rule->order[0], 1);
    assert_int_equal(rule->order[1], 0);
    assert_int_equal(rule->encryption, ENCRYPTION_NEVER);
    assert_int_equal(rule->action, RULE_PROXY);
    /* What the second leaves open is as outside of rules. */
    assert_int_equal(config->rules[1].uplinks, UINT32_MAX);
    assert_int_equal(config->rules[1].encryption, ENCRYPTION_ALWAYS);
    assert_int_equal(config->rules[1].action, RULE_PROXY);
    assert_int_equal(config->rules[1].n_ports, 0);
    assert_int_equal(config->rules[1].n_order, 0);
    assert_int_equal(config->rules[2].action, RULE_DIRECT);
    assert_int_equal(config->rules[2].uplinks, 2);
    assert_int_equal(config->rules[2].line, 8);
    assert_int_equal(config->rules[3].action, RULE_REFUSE);
    gateway_config_free(config);
}

struct mistake {
    const char *line, *complaint;
};

/* One line behind GATEWAY each, so all are in line 4. */
static const struct mistake gateway_mistakes[] = {
    {"listen_prot = 1;", "unknown key \"listen_prot\"; did you mean \"listen_port\"?"},
    {"listen_port = 0;", "listen_port is 0; write a whole number from 1 to 65535"},
    {"listen_port = 65536;", "listen_port is 65536; write a whole number from 1 to 65535"},
    {"listen_port = 9999999999;", "a number above 2147483647; write an L behind it"},
    {"listen_port = 4294974466;", "a number above 2147483647; write an L behind it"},
    {"firewall_mark = 0x110000000;", "a number above 2147483647; write an L behind it"},
    {"listen_port = 4294974466L;",
     "listen_port is 4294974466; write a whole number from 1 to 65535"},
    {"listen_port = 9999999999.5;", "listen_port is 1e+10; write a whole number from 1 to 65535"},
    {"listen_port = 1.5;", "listen_port is 1.5; write a whole number from 1 to 65535"},
    {"listen_port = \"7170\";", "listen_port is \"7170\"; write a whole number from 1 to 65535"},
    {"listen_port = true;", "listen_port is true; write a whole number from 1 to 65535"},
    {"listen_port = [1];", "listen_port is an array; write a whole number from 1 to 65535"},
    {"listen_port = (1);", "listen_port is a list; write a whole number from 1 to 65535"},
    {"listen_port = { };", "listen_port is a group; write a whole number from 1 to 65535"},
    {"firewall_mark = 0;", "firewall_mark is 0; write a whole number from 1 to 4294967295"},
    {"direct_mark = 0;", "direct_mark is 0; write a whole number from 1 to 4294967295"},
    {"direct_mark = 0x30000000;",
     "direct_mark and firewall_mark have bits in common; give each its own, such as 0x0f000000 and "
     "0x10000000"},
    {"firewall_mark = 0x3000000;",
     "direct_mark and firewall_mark have bits in common; give each its own, such as 0x0f000000 and "
     "0x10000000"},
    {"direct_mark = 0x500;", "direct_mark has gaps; write bits in a row, such as 0x0f000000"},
    {"direct_mark = 0x80;",
     "direct_mark has too few bits to number 2 uplinks; write more in a row, "
     "such as 0x0f000000"},
    {"routing_table = 254;", "routing_table is 254; write a whole number from 256 to 4294967279"},
    {"rule_priority = 32766;", "rule_priority is 32766; write a whole number from 1 to 32000"},
    {"max_flows = -1;", "max_flows is -1; write a whole number from 1 to 1000000"},
    {"encryption = \"Auto\";", "encryption is \"Auto\"; write \"auto\", \"always\" or \"never\""},
    {"encryption = true;", "encryption is true; write \"auto\", \"always\" or \"never\""},
    {"when_unreachable = \"\";", "when_unreachable is \"\"; write \"direct\" or \"refuse\""},
    {"scheduler = \"bnd\";",
     "scheduler is \"bnd\"; write \"bond\", \"failover\", \"overflow\", \"latency\" or \"spread\""},
    {"route_unproxied = 0;", "route_unproxied is 0; write false or true"},
    {"packet_scheduler = \"b/est\";",
     "packet_scheduler is \"b/est\"; write a name of 1 to 31 letters, digits, '.', '_' or '-'"},
    {"state_dir = \"budgets\";",
     "state_dir is \"budgets\"; write an absolute path of at most 4000 bytes"},
    {"metrics_listen = \"127.0.0.1\";",
     "metrics_listen is \"127.0.0.1\"; write an address and port, such as \"192.0.2.1:7171\" or "
     "\"[::]:7171\""},
    {"dial_timeout = 10;",
     "dial_timeout is 10; write a time from \"100ms\" to \"5m\", with the unit ms, s, m or h"},
    {"dial_timeout = \"10\";",
     "dial_timeout is \"10\"; write a time from \"100ms\" to \"5m\", with the unit ms, s, m or h"},
    {"dial_timeout = \"-1s\";",
     "dial_timeout is \"-1s\"; write a time from \"100ms\" to \"5m\", with the unit ms, s, m or h"},
    {"dial_timeout = \"99ms\";", "dial_timeout is \"99ms\"; write a time from \"100ms\" to \"5m\", "
                                 "with the unit ms, s, m or h"},
    {"idle_timeout = \"99999999999999999999h\";",
     "idle_timeout is \"99999999999999999999h\"; write a time from \"1m\" to \"168h\", with the "
     "unit ms, s, m or h"},
    {"bypass = \"10.0.0.0/8\";",
     "bypass is \"10.0.0.0/8\"; write a list: bypass = [\"192.0.2.0/24\"];"},
    {"bypass = [\"10.0.0.0/33\"];", "bypass holds \"10.0.0.0/33\"; each must be an address or a "
                                    "network, such as \"10.0.0.0/8\""},
    {"bypass = [\"10.0.0.5/8\"];", "bypass: \"10.0.0.5/8\" has bits beyond its prefix; write "
                                   "\"10.0.0.0/8\", or \"10.0.0.5\" for that address alone"},
    {"bypass = (\"10.0.0.0/8\", 5);",
     "bypass holds 5; each must be an address or a network, such as \"10.0.0.0/8\""},
    {"control_socket = \"gateway.sock\";",
     "control_socket is \"gateway.sock\"; write an absolute path of at most 107 bytes"},
    {"rules = { };", "rules is a group; write a list: rules = ( { name = \"ssh\"; ... } );"},
    {"rules = (5);", "rules holds 5; each must be a group: { name = \"...\"; ... }"},
    {"rules = ({ ports = [22]; });", "name is missing; add name = \"ssh\";"},
    {"rules = ({ name = \"r\"; ports = [0]; });",
     "ports holds 0; each must be a port from 1 to 65535, or a range such as \"8000-8100\""},
    {"rules = ({ name = \"r\"; ports = [\"90-80\"]; });",
     "ports: \"90-80\" ends before it begins; write \"80-90\""},
    {"rules = ({ name = \"r\"; ports = [\"80-\"]; });",
     "ports holds \"80-\"; each must be a port from 1 to 65535, or a range such as \"8000-8100\""},
    {"rules = ({ name = \"r\"; ports = [\"80-90x\"]; });",
     "ports holds \"80-90x\"; each must be a port from 1 to 65535, or a range such as "
     "\"8000-8100\""},
    {"rules = ({ name = \"r\"; dscp = [64]; });",
     "dscp holds 64; each must be a whole number from 0 to 63"},
    {"rules = ({ name = \"r\"; uplinks = [\"lte\", \"lta\"]; });",
     "there is no uplink \"lta\"; did you mean \"lte\"?"},
    {"rules = ({ name = \"r\"; uplinks = [\"satellite\"]; });",
     "there is no uplink \"satellite\"; write a name from uplinks"},
    {"rules = ({ name = \"r\"; uplinks = [\"lte\", \"lte\"]; });",
     "uplinks holds \"lte\" twice; remove one"},
    {"rules = ({ name = \"r\"; uplinks = []; });",
     "uplinks is empty; write at least one: uplinks = [\"dsl\"];"},
    {"rules = ({ name = \"r\"; uplinks = [1]; });", "uplinks holds 1; each must be a name"},
    {"rules = ({ name = \"r\"; action = \"drop\"; });",
     "action is \"drop\"; write \"proxy\", \"direct\" or \"refuse\""},
    {"rules = ({ name = \"r\"; action = \"direct\"; scheduler = \"bond\"; });",
     "rule \"r\" has action = \"direct\", where scheduler means nothing; remove it"},
    {"rules = ({ name = \"r\"; action = \"direct\"; encryption = \"never\"; });",
     "rule \"r\" has action = \"direct\", where encryption means nothing; remove it"},
    {"rules = ({ name = \"r\"; action = \"refuse\"; scheduler = \"bond\"; });",
     "rule \"r\" has action = \"refuse\", where scheduler means nothing; remove it"},
    {"rules = ({ name = \"r\"; action = \"refuse\"; uplinks = [\"lte\"]; });",
     "rule \"r\" has action = \"refuse\", where uplinks means nothing; remove it"},
    {"rules = ({ name = \"r\"; clients = [\"10.0.0.5/24\"]; });",
     "clients: \"10.0.0.5/24\" has bits beyond its prefix; write \"10.0.0.0/24\", or \"10.0.0.5\" "
     "for that address alone"},
    {"rules = ({ name = \"r\"; clients = [\"2:0:5e:10:0:ff\"]; });",
     "clients holds \"2:0:5e:10:0:ff\"; each must be an address, a network such as "
     "\"192.168.1.0/28\", or a MAC address such as \"02:00:5e:10:00:ff\""},
    {"rules = ({ name = \"r\"; }, { name = \"r\"; });",
     "two rules have the same name \"r\"; give each its own"},
    {"rules = ({ name = \"r r\"; });",
     "name is \"r r\"; write a name of 1 to 31 letters, digits, '.', '_' or '-'"},
    {"rules = ({ name = \"r\"; destination = [\"192.0.2.1\"]; });",
     "unknown key \"destination\"; did you mean \"destinations\"?"},
    {"rules = ({ name = \"r\"; when = \"night\"; });",
     "unknown key \"when\"; remove it (the keys here are name, destinations, ports, clients, dscp, "
     "uplinks, scheduler, encryption, action)"},
    {"control_socket = \"/x;", "a string or comment has no end; close it"},
    {"/* control_socket = 5;", "a string or comment has no end; close it"},
    {"listen_port 5;", "syntax error; look here and on the line before for a missing ';', quote or "
                       "bracket"},
    {"lan_interfaces = [\"lan2\"];", "duplicate setting name; write each key once"},
    {"bypass = [\"10.0.0.1\", 5];",
     "mismatched element type in array; write ( ) instead of [ ] where numbers and text mix"},
    {"bypass = [\"10.0.0.1\"", "syntax error; look here and on the line before for a missing ';', "
                               "quote or bracket"},
    {"@include \"other.conf\"", "@include is not supported; write everything in one file"},
};

static void gateway_names_each_mistake(void **state)
{
    for (size_t i = 0; i < sizeof(gateway_mistakes) / sizeof(gateway_mistakes[0]); i++) {
        char text[2048], expected[2048];
        snprintf(text, sizeof(text), "%s%s", GATEWAY, gateway_mistakes[i].line);
        snprintf(expected, sizeof(expected), "@f:4: %s\n", gateway_mistakes[i].complaint);
        assert_gateway_complaints(*state, text, expected);
    }
}

/* A person wants to see all of it at once, in the order of the file. */
static void gateway_names_all_mistakes(void **state)
{
    assert_gateway_complaints(
        *state,
        "lan_interfaces = [\"lan\", \"lan\", \"a b\"];\n"
        "concentrators = (\n"
        "  { name = \"vps\"; address = \"203.0.113.10\"; key_file = \"@a\"; },\n"
        "  { name = \"vps\"; address = \"203.0.113.10\"; port = 7171; key_file = \"x\"; },\n"
        "  {\n"
        "    name = \"no-address\";\n"
        "    key_file = \"/nonexistent/key\"; });\n"
        "uplinks = (\n"
        "  { name = \"dsl\"; interface = \"ppp0\"; gateway = \"2001:db8::1\"; },\n"
        "  { name = \"lte\"; interface = \"ppp0\"; gateway6 = \"[2001:db8::1]:80\"; },\n"
        "  { name = \"dsl\"; interface = \"lan\"; },\n"
        "  { name = \"sat\"; interface = \"a-name-too-long1\"; gateway = \"0.0.0.0\"; });\n",
        "@f:1: lan_interfaces holds \"a b\"; each must be an interface's name of at most 15 "
        "letters, digits, '.', '_' or '-'\n"
        "@f:1: lan_interfaces holds \"lan\" twice; remove one\n"
        "@f:4: key_file is \"x\"; write an absolute path of at most 4095 bytes\n"
        "@f:4: two concentrators have the same name \"vps\"; give each its own\n"
        "@f:4: concentrator \"vps\" has the address and port of \"vps\"; remove one of them\n"
        "@f:5: address is missing; add address = \"203.0.113.10\";\n"
        "@f:7: key file \"/nonexistent/key\" does not exist; make one with bondway keygen\n"
        "@f:9: gateway is \"2001:db8::1\"; write an IPv4 address such as \"192.0.2.1\"\n"
        "@f:10: gateway6: \"[2001:db8::1]:80\" has a port behind it; write \"2001:db8::1\" (a "
        "concentrator's port has a key of its own: port = 80)\n"
        "@f:10: two uplinks have the same interface \"ppp0\"; give each its own\n"
        "@f:11: two uplinks have the same name \"dsl\"; give each its own\n"
        "@f:11: \"lan\" is one of lan_interfaces, too; an interface leads either to the LAN or to "
        "the Internet\n"
        "@f:12: interface is \"a-name-too-long1\"; write an interface's name of at most 15 "
        "letters, "
        "digits, '.', '_' or '-'\n"
        "@f:12: gateway is \"0.0.0.0\"; write an IPv4 address such as \"192.0.2.1\"\n");
}

static void budgets_that_cannot_be_meant(void **state)
{
    assert_gateway_complaints(
        *state,
        "lan_interfaces = [\"lan\"];\n"
        "concentrators = ({ name = \"vps\"; address = \"203.0.113.10\"; key_file = \"@a\"; });\n"
        "uplinks = (\n"
        "  { name = \"dsl\"; interface = \"ppp0\"; budget_day = 1; on_budget = \"off\"; },\n"
        "  { name = \"lte\"; interface = \"ppp1\"; monthly_budget = \"999kB\"; budget_day = 32; "
        "},\n"
        "  { name = \"sat\"; interface = \"ppp2\"; monthly_budget = \"1MB\"; on_budget = \"on\"; "
        "});\n",
        "@f:4: budget_day without monthly_budget; set that, too, or remove it\n"
        "@f:4: on_budget without monthly_budget; set that, too, or remove it\n"
        "@f:5: monthly_budget is \"999kB\"; write a size in kB, MB, GB or TB, such as \"50GB\"; at "
        "least \"1MB\"\n"
        "@f:5: budget_day is 32; write a whole number from 1 to 31\n"
        "@f:6: on_budget is \"on\"; write \"standby\" or \"off\"\n");
}

static void gateway_needs_its_parts(void **state)
{
    assert_gateway_complaints(*state, "# nothing here\n",
                              "@f:1: lan_interfaces is missing; add lan_interfaces = "
                              "[\"br-lan\"];\n"
                              "@f:1: concentrators is missing; add concentrators = ( { name = "
                              "\"vps\"; ... } );\n"
                              "@f:1: uplinks is missing; add uplinks = ( { name = \"dsl\"; ... } "
                              ");\n");
    assert_gateway_complaints(
        *state, "lan_interfaces = [];\nconcentrators = ();\nuplinks = ();\n",
        "@f:1: lan_interfaces is empty; write at least one: lan_interfaces = [\"br-lan\"];\n"
        "@f:2: concentrators is empty; write at least one: concentrators = ( { name = \"vps\"; ... "
        "} );\n"
        "@f:3: uplinks is empty; write at least one: uplinks = ( { name = \"dsl\"; ... } );\n");
}

/* The array of uplinks stands in the struct: one more than fits must not be written. */
static void gateway_counts_uplinks(void **state)
{
    struct lab *lab = *state;
    char text[2048];

    for (int n = UPLINKS_MAX; n <= UPLINKS_MAX + 1; n++) {
        int len = snprintf(text, sizeof(text), "%s",
                           "lan_interfaces = [\"br-lan\"];\nconcentrators = ({ name = \"vps\"; "
                           "address = \"203.0.113.10\"; key_file = \"@a\"; });\nuplinks = (");
        for (int i = 0; i < n; i++)
            len += snprintf(text + len, sizeof(text) - (size_t)len,
                            "%s{ name = \"u%d\"; interface = \"if%d\"; }", i ? ", " : "", i, i);
        snprintf(text + len, sizeof(text) - (size_t)len, ");\n");
        put(lab, text);
        struct gateway_config *config = load_gateway(lab);
        assert_complaints(lab, n > UPLINKS_MAX ? "@f:3: uplinks holds 9; write at most 8\n" : "");
        assert_true(n > UPLINKS_MAX || config->n_uplinks == UPLINKS_MAX);
        gateway_config_free(config);
    }
}

/* Takes `running`, a file with these uplinks, and gives it as what runs now. */
static struct gateway_config *reload_with(struct lab *lab, struct gateway_config *running,
                                          const char *more, const char *uplinks)
{
    char text[2048];

    snprintf(text, sizeof(text),
             "lan_interfaces = [\"br-lan\"];\nconcentrators = ({ name = \"vps\"; "
             "address = \"203.0.113.10\"; key_file = \"@a\"; });\nuplinks = (%s);\n"
             "rules = ({ name = \"r\"; uplinks = [\"new\"]; });\n%s",
             uplinks, more);
    put(lab, text);
    FILE *complaints = fmemopen(lab->complaints, sizeof(lab->complaints), "w");
    struct gateway_config *config = gateway_config_reload(lab->file, running, complaints);
    fclose(complaints);
    assert_complaints(lab, "");
    gateway_config_free(running);
    return config;
}

static struct gateway_config *reload_uplinks(struct lab *lab, struct gateway_config *running,
                                             const char *uplinks)
{
    return reload_with(lab, running, "", uplinks);
}

static void assert_places(const struct gateway_config *config, const char *expected)
{
    char text[256] = "";

    for (size_t i = 0; i < config->n_uplinks; i++) {
        const struct uplink_config *u = &config->uplinks[i];
        size_t len = strlen(text);
        snprintf(text + len, sizeof(text) - len, "%s%s%u", i ? " " : "", u->name, u->rank);
    }
    assert_string_equal(text, expected);
}

#define UPLINK(name, interface) "{ name = \"" name "\"; interface = \"" interface "\"; }"

/* Flows, measurements and rules know an uplink by its place. */
static void uplinks_keep_their_places(void **state)
{
    struct lab *lab = *state;
    struct gateway_config *c =
        reload_uplinks(lab, NULL, UPLINK("new", "if0") "," UPLINK("b", "if1"));

    assert_places(c, "new0 b1");
    c = reload_uplinks(lab, c, UPLINK("b", "if1") "," UPLINK("new", "if0")); /* in another order */
    assert_places(c, "new1 b0");
    c = reload_uplinks(lab, c, UPLINK("b", "if0") "," UPLINK("new", "if1")); /* under other names */
    assert_places(c, "b0 new1");
    assert_int_equal(c->rules[0].uplinks, 1u << 1);
    c = reload_uplinks(lab, c, UPLINK("new", "if2") "," UPLINK("b", "if0"));
    assert_places(c, "b1 0 new0"); /* the place that is left is not taken at once */
    assert_int_equal(c->rules[0].uplinks, 1u << 2);
    c = reload_uplinks(lab, c, UPLINK("new", "if3") "," UPLINK("c", "if2"));
    assert_places(c, "0 0 c1 new0");
    c = reload_uplinks(lab, c, UPLINK("new", "if1")); /* it is back, and in its place */
    assert_places(c, "0 new0 0 0");
    gateway_config_free(c);
}

/* A place has a number, and that must fit in the mark: 1, 2 and 3 do. */
static void places_fit_in_the_mark(void **state)
{
    static const char mark[] = "direct_mark = 0x3000000;\n";
    struct lab *lab = *state;
    struct gateway_config *c =
        reload_with(lab, NULL, mark, UPLINK("new", "if0") "," UPLINK("b", "if1"));

    c = reload_with(lab, c, mark, UPLINK("new", "if2") "," UPLINK("b", "if1"));
    assert_places(c, "0 b1 new0");
    c = reload_with(lab, c, mark, UPLINK("new", "if3") "," UPLINK("b", "if1"));
    assert_places(c, "new0 b1 0");
    c = reload_with(lab, c, mark, UPLINK("new", "if3") "," UPLINK("b", "if4"));
    assert_places(c, "new0 0 b1");
    gateway_config_free(c);
}

/* Nothing is free then but what is left just now. */
static void all_places_are_taken(void **state)
{
    static const char *const first[] = {"if0", "if1"};
    struct lab *lab = *state;
    struct gateway_config *c = NULL;
    char text[1024];

    for (int i = 0; i < 2; i++) {
        int len = snprintf(text, sizeof(text), "{ name = \"new\"; interface = \"%s\"; }", first[i]);
        for (int u = 1; u < UPLINKS_MAX; u++)
            len += snprintf(text + len, sizeof(text) - (size_t)len,
                            ", { name = \"u%d\"; interface = \"other%d\"; }", u, u);
        c = reload_uplinks(lab, c, text);
        assert_int_equal(c->n_uplinks, UPLINKS_MAX);
        assert_string_equal(c->uplinks[0].name, "new");
        assert_string_equal(c->uplinks[0].interface, first[i]);
    }
    gateway_config_free(c);
}

static void what_cannot_change_is_named(void **state)
{
    struct lab *lab = *state;

    put(lab, GATEWAY);
    struct gateway_config *running = load_gateway(lab);
    put(lab, GATEWAY "rule_priority = 100; max_flows = 3;\nrouting_table = 7171;\n");
    FILE *complaints = fmemopen(lab->complaints, sizeof(lab->complaints), "w");
    assert_null(gateway_config_reload(lab->file, running, complaints));
    fclose(complaints);
    assert_complaints(lab, "@f:4: rule_priority cannot change from 7170 to 100 while this runs; "
                           "restart it, or write 7170 again\n"
                           "@f:5: routing_table cannot change from 7170 to 7171 while this runs; "
                           "restart it, or write 7170 again\n");
    gateway_config_free(running);
}

static void key_file_problems_are_named(void **state)
{
    struct lab *lab = *state;
    char expected[TEXT];

    chmod(lab->key_a, 0644);
    snprintf(
        expected, sizeof(expected),
        "@f:2: key file \"@a\": others than its owner may read it (mode 0644): chmod 600 @a\n");
    assert_gateway_complaints(lab, GATEWAY, expected);
    write_file(lab->key_a, "", 0);
    assert_gateway_complaints(lab, GATEWAY,
                              "@f:2: key file \"@a\": holds no key: `bondway keygen` makes one\n");
}

/* ---- the concentrator ---- */

static void concentrator_defaults(void **state)
{
    struct lab *lab = *state;

    put(lab, CONCENTRATOR);
    struct concentrator_config *config = load_concentrator(lab);
    assert_complaints(lab, "");
    assert_non_null(config);
    assert_int_equal(config->n_listen, 1);
    assert_addr(&config->listen[0], "0.0.0.0:7171");
    assert_in_range(config->workers, 1, 1024);
    assert_string_equal(config->control_socket, "/run/bondway/concentrator.sock");
    assert_int_equal(config->metrics_listen.family, 0);
    assert_int_equal(config->n_allow_destinations, 0);
    assert_int_equal(config->n_deny_destinations, 0);
    assert_int_equal(config->hello_timeout_ms, 5000);
    assert_int_equal(config->dial_timeout_ms, 30000);
    assert_int_equal(config->idle_timeout_ms, 124 * 60000);
    assert_int_equal(config->half_closed_timeout_ms, 600000);
    assert_int_equal(config->warm_timeout_ms, 120000);
    assert_int_equal(config->max_unauthenticated, 1024);
    assert_int_equal(config->max_unauthenticated_per_source, 32);
    assert_int_equal(config->max_warm, 64);
    assert_int_equal(config->max_pending_dials, 256);
    assert_int_equal(config->max_dials_per_second, 400);
    assert_int_equal(config->n_peers, 1);
    assert_string_equal(config->peers[0].name, "home");
    assert_int_equal(config->peers[0].max_flows, 4096);
    assert_int_equal(config->peers[0].n_allow_destinations, 0);
    concentrator_config_free(config);
}

static void concentrator_everything_set(void **state)
{
    struct lab *lab = *state;

    put(lab,
        "listen = [\"192.0.2.1:1\", \"[::]:65535\"]; workers = 3; control_socket = \"/c\";\n"
        "allow_destinations = [\"10.0.0.0/8\"]; deny_destinations = [\"2001:db8::1\"];\n"
        "hello_timeout = \"1s\"; dial_timeout = \"2s\"; idle_timeout = \"3m\";\n"
        "half_closed_timeout = \"4s\"; warm_timeout = \"5s\"; max_unauthenticated = 6;\n"
        "max_unauthenticated_per_source = 7; max_warm = 8; max_pending_dials = 9;\n"
        "max_dials_per_second = 11;\n"
        "gateways = ({ name = \"a\"; key_file = \"@a\"; max_flows = 10;\n"
        "  allow_destinations = [\"10.1.0.0/16\"]; }, { name = \"b\"; key_file = \"@b\"; });\n");
    struct concentrator_config *config = load_concentrator(lab);
    assert_complaints(lab, "");
    assert_non_null(config);
    assert_addr(&config->listen[1], "[::]:65535");
    assert_int_equal(config->workers, 3);
    assert_string_equal(config->control_socket, "/c");
    assert_cidr(&config->allow_destinations[0], "10.0.0.0/8");
    assert_cidr(&config->deny_destinations[0], "2001:db8::1/128");
    assert_int_equal(config->hello_timeout_ms, 1000);
    assert_int_equal(config->dial_timeout_ms, 2000);
    assert_int_equal(config->idle_timeout_ms, 180000);
    assert_int_equal(config->half_closed_timeout_ms, 4000);
    assert_int_equal(config->warm_timeout_ms, 5000);
    assert_int_equal(config->max_unauthenticated, 6);
    assert_int_equal(config->max_unauthenticated_per_source, 7);
    assert_int_equal(config->max_warm, 8);
    assert_int_equal(config->max_pending_dials, 9);
    assert_int_equal(config->max_dials_per_second, 11);
    assert_int_equal(config->n_peers, 2);
    assert_int_equal(config->peers[0].max_flows, 10);
    assert_cidr(&config->peers[0].allow_destinations[0], "10.1.0.0/16");
    assert_memory_not_equal(&config->peers[0].keys, &config->peers[1].keys,
                            sizeof(config->peers[0].keys));
    concentrator_config_free(config);
}

static void concentrator_names_all_mistakes(void **state)
{
    assert_concentrator_complaints(
        *state,
        "listen = [\"0.0.0.0:7171\", \"0.0.0.0\", \"0.0.0.0:7171\"];\n"
        "workers = 257;\n"
        "metrics_listen = 9172;\n"
        "gateways = (\n"
        "  { name = \"home\"; key_file = \"@a\"; },\n"
        "  { name = \"branch\"; key_file = \"@a\"; },\n"
        "  { name = \"home\"; keyfile = \"@b\"; });\n",
        "@f:1: listen holds \"0.0.0.0\"; each must be an address and port, such as "
        "\"192.0.2.1:7171\" or \"[::]:7171\"\n"
        "@f:1: listen holds \"0.0.0.0:7171\" twice; remove one\n"
        "@f:2: workers is 257; write a whole number from 0 to 256\n"
        "@f:3: metrics_listen is 9172; write an address and port, such as \"192.0.2.1:7171\" or "
        "\"[::]:7171\"\n"
        "@f:6: gateway \"branch\" has the key of \"home\"; make one of its own with bondway "
        "keygen\n"
        "@f:7: unknown key \"keyfile\"; did you mean \"key_file\"?\n"
        "@f:7: key_file is missing; add key_file = \"/etc/bondway/home.key\";\n"
        "@f:7: two gateways have the same name \"home\"; give each its own\n");
}

/* The last gateway's key must be possible to withdraw. */
static void concentrator_without_gateways(void **state)
{
    struct lab *lab = *state;

    put(lab, "listen = [\"0.0.0.0:7171\"]; gateways = ();\n");
    struct concentrator_config *config = load_concentrator(lab);
    assert_non_null(config);
    assert_int_equal(config->n_peers, 0);
    concentrator_config_free(config);
}

/* ---- files that are none ---- */

static void odd_files_are_refused(void **state)
{
    static const struct {
        const char *path, *complaint;
    } files[] = {
        {"/nonexistent.conf",
         "/nonexistent.conf: there is no such file; create it, or name another with -c\n"},
        {"/", "/: is a directory; name the file in it\n"},
        {"/dev/zero", "/dev/zero: is not a regular file; name one with -c\n"},
    };
    struct lab *lab = *state;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        FILE *complaints = fmemopen(lab->complaints, sizeof(lab->complaints), "w");
        assert_null(gateway_config_load(files[i].path, complaints));
        fclose(complaints);
        assert_string_equal(lab->complaints, files[i].complaint);
    }
    assert_int_equal(mkfifo(lab->file, 0600), 0);
    assert_null(load_gateway(lab));
    assert_complaints(lab, "@f: is not a regular file; name one with -c\n");
}

static void odd_contents_are_refused(void **state)
{
    struct lab *lab = *state;
    char *text = malloc(1024 * 1024 + 1);

    write_file(lab->file, "listen_port = 1;\0", 17);
    assert_null(load_gateway(lab));
    assert_complaints(lab, "@f: holds a NUL byte; name a text file\n");
    memset(text, '#', 1024 * 1024 + 1);
    write_file(lab->file, text, 1024 * 1024 + 1);
    assert_null(load_gateway(lab));
    assert_complaints(lab, "@f: is larger than 1 MiB; name a configuration file\n");
    memset(text, '(', 100000);
    memcpy(text, "\na=", 3);
    write_file(lab->file, text, 100000);
    assert_null(load_gateway(lab));
    assert_complaints(lab, "@f:2: brackets are nested too deep; close some\n");
    free(text);
}

/* What only looks like an @include or a bracket, in comments and strings. */
static void comments_and_strings_are_skipped(void **state)
{
    struct lab *lab = *state;

    put(lab, GATEWAY "# @include ((((((((((((((((((\n// @include {{{{{{{{{{{{{{{{{{{{\n"
                     "/* @include \"/\"\n[[[[[[[[[[[[[[[[[[[[[ */ control_socket = "
                     "\"/\\\"@x[[[[[[[[[[[[[[[[[[[[[[[\";\n");
    struct gateway_config *config = load_gateway(lab);
    assert_complaints(lab, "");
    assert_non_null(config);
    assert_string_equal(config->control_socket, "/\"@x[[[[[[[[[[[[[[[[[[[[[[[");
    gateway_config_free(config);
}

/* Nothing that a terminal would obey comes back out of a file. */
static void complaints_are_fit_for_a_terminal(void **state)
{
    assert_gateway_complaints(*state, GATEWAY "control_socket = \"x\\x1b[31m\\n\";\n",
                              "@f:4: control_socket is \"x?[31m?\"; write an absolute path of at "
                              "most 107 bytes\n");
}

/* ---- the tables and the examples ---- */

static char *read_example(const char *name)
{
    char path[512];
    char *text = calloc(1, TEXT);

    snprintf(path, sizeof(path), "%s/%s", EXAMPLES, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, TEXT - 1, file) > 0);
    fclose(file);
    return text;
}

/* The keys of an example are where a user would have them: here they are the lab's. */
static void place_keys(const struct lab *lab, char *text)
{
    static const char *const paths[] = {"/etc/bondway/vps.key", "/etc/bondway/home.key",
                                        "/etc/bondway/branch.key"};
    const char *keys[] = {lab->key_a, lab->key_a, lab->key_b};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char *at = strstr(text, paths[i]), rest[TEXT];
        if (!at)
            continue;
        strcpy(rest, at + strlen(paths[i]));
        sprintf(at, "%s%s", keys[i], rest);
    }
}

/* "#key = default;" becomes "key = default;". */
static void uncomment(char *text)
{
    for (char *at = text; (at = strstr(at, "\n#")); at++) {
        if (at[2] >= 'a' && at[2] <= 'z')
            at[1] = ' ';
    }
}

static void the_gateway_example_loads(void **state)
{
    struct lab *lab = *state;
    char *text = read_example("gateway.conf");

    place_keys(lab, text);
    for (int i = 0; i < 2; i++) {
        write_file(lab->file, text, strlen(text));
        struct gateway_config *config = load_gateway(lab);
        assert_complaints(lab, "");
        assert_non_null(config);
        assert_int_equal(config->n_uplinks, 3);
        assert_int_equal(config->n_rules, 4);
        gateway_config_free(config);
        uncomment(text);
    }
    free(text);
}

static void the_concentrator_example_loads(void **state)
{
    struct lab *lab = *state;
    char *text = read_example("concentrator.conf");

    place_keys(lab, text);
    for (int i = 0; i < 2; i++) {
        write_file(lab->file, text, strlen(text));
        struct concentrator_config *config = load_concentrator(lab);
        assert_complaints(lab, "");
        assert_non_null(config);
        assert_int_equal(config->n_peers, 2);
        concentrator_config_free(config);
        uncomment(text);
    }
    free(text);
}

/* Every key that there is is in the example; a default as it is. (One that there is not is a
 * mistake.) */
static void assert_example_shows(const char *text, const struct option_row *rows, bool outermost)
{
    for (const struct option_row *row = rows; row->name[0]; row++) {
        bool group = row->kind == OPTION_GROUP;
        char line[256];
        snprintf(line, sizeof(line), "%s = ", row->name);
        if (!strstr(text, line))
            fail_msg("%s: not in the example", row->name);
        snprintf(line, sizeof(line), "\n#%s = %s;", row->name, row->def ? row->def : "");
        if (outermost && row->def && !group && !strstr(text, line))
            fail_msg("%s: the example does not show its default %s", row->name, row->def);
        if (group)
            assert_example_shows(text, row->rows, false);
    }
}

static void the_examples_show_the_tables(void **state)
{
    char *gateway = read_example("gateway.conf");
    char *concentrator = read_example("concentrator.conf");

    assert_example_shows(gateway, gateway_config_rows(), true);
    assert_example_shows(concentrator, concentrator_config_rows(), true);
    free(gateway);
    free(concentrator);
}

static void assert_rows_are_complete(const struct option_row *rows)
{
    for (const struct option_row *row = rows; row->name[0]; row++) {
        assert_non_null(row->help);
        if (row->flags & (OPTION_REQUIRED | OPTION_LIST))
            assert_non_null(row->example);
        assert_false(row->def && row->flags & OPTION_REQUIRED);
        if (row->kind == OPTION_GROUP)
            assert_rows_are_complete(row->rows);
    }
}

static void rows_are_complete(void **state)
{
    assert_rows_are_complete(gateway_config_rows());
    assert_rows_are_complete(concentrator_config_rows());
}

/* Kinds that no available key has yet, by a table of our own. */
static void sizes_and_switches(void **state)
{
    struct values {
        uint64_t size;
        bool on, off;
    } values = {0};
    static const struct option_row rows[] = {
        {.name = "size", .kind = OPTION_SIZE, .at = offsetof(struct values, size)},
        {.name = "on", .kind = OPTION_BOOL, .at = offsetof(struct values, on)},
        {.name = "off", .kind = OPTION_BOOL, .def = "true", .at = offsetof(struct values, off)},
        {.name = ""},
    };
    struct lab *lab = *state;
    struct option_file file;
    FILE *out = fmemopen(lab->complaints, sizeof(lab->complaints), "w");

    put(lab, "size = \"50GB\"; on = true; off = false;");
    assert_int_equal(option_file_open(&file, lab->file, out), 0);
    option_read(&file, rows, &values);
    option_file_close(&file);
    assert_false(file.failed);
    assert_true(values.size == UINT64_C(50000000000));
    assert_true(values.on);
    assert_false(values.off);
    put(lab, "size = \"2  TB\";");
    assert_int_equal(option_file_open(&file, lab->file, out), 0);
    option_read(&file, rows, &values);
    option_file_close(&file);
    assert_false(file.failed);
    assert_true(values.size == UINT64_C(2000000000000));
    put(lab, "size = \"50GiB\";\non = \"yes\";\n");
    assert_int_equal(option_file_open(&file, lab->file, out), 0);
    option_read(&file, rows, &values);
    option_file_close(&file);
    fclose(out);
    assert_true(file.failed);
    assert_complaints(lab, "@f:1: size is \"50GiB\"; write a size in kB, MB, GB or TB, such as "
                           "\"50GB\"\n@f:2: on is \"yes\"; write false or true\n");
}

/* Whatever stands in a file, loading it ends, and harms nothing. */
static void mutilated_files_do_no_harm(void **state)
{
    struct lab *lab = *state;
    char *example = read_example("gateway.conf"), *text = malloc(TEXT);
    uint32_t random = 1;

    place_keys(lab, example);
    uncomment(example);
    for (int round = 0; round < 1500; round++) {
        size_t len = strlen(example);
        memcpy(text, example, len + 1);
        for (int i = 0; i < 1 + round % 4; i++) {
            random = random * 1103515245 + 12345;
            text[(random >> 8) % len] = "\"({[]});=,0x9\\#@\n\xff"[(random >> 3) % 18];
        }
        write_file(lab->file, text, len);
        gateway_config_free(load_gateway(lab));
    }
    free(text);
    free(example);
}

static void near_words_are_found(void **state)
{
    assert_int_equal(suggest_distance("status", "status"), 0);
    assert_int_equal(suggest_distance("", "abc"), 3);
    assert_int_equal(suggest_distance("stauts", "status"), 1);
    assert_int_equal(suggest_distance("statu", "status"), 1);
    assert_int_equal(suggest_distance("sstatus", "status"), 1);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_true(suggest_close("lan_interface", "lan_interfaces"));
    assert_true(suggest_close("adress", "address"));
    assert_false(suggest_close("colour", "cost"));
    assert_false(suggest_close("x", "name"));
}

#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, lab_up, lab_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST(gateway_defaults),
        LAB_TEST(gateway_keys_are_loaded),
        LAB_TEST(gateway_everything_set),
        LAB_TEST(gateway_rules),
        LAB_TEST(gateway_names_each_mistake),
        LAB_TEST(gateway_names_all_mistakes),
        LAB_TEST(budgets_that_cannot_be_meant),
        LAB_TEST(gateway_needs_its_parts),
        LAB_TEST(gateway_counts_uplinks),
        LAB_TEST(uplinks_keep_their_places),
        LAB_TEST(places_fit_in_the_mark),
        LAB_TEST(all_places_are_taken),
        LAB_TEST(what_cannot_change_is_named),
        LAB_TEST(key_file_problems_are_named),
        LAB_TEST(concentrator_defaults),
        LAB_TEST(concentrator_everything_set),
        LAB_TEST(concentrator_names_all_mistakes),
        LAB_TEST(concentrator_without_gateways),
        LAB_TEST(odd_files_are_refused),
        LAB_TEST(odd_contents_are_refused),
        LAB_TEST(comments_and_strings_are_skipped),
        LAB_TEST(complaints_are_fit_for_a_terminal),
        LAB_TEST(the_gateway_example_loads),
        LAB_TEST(the_concentrator_example_loads),
        LAB_TEST(the_examples_show_the_tables),
        LAB_TEST(rows_are_complete),
        LAB_TEST(sizes_and_switches),
        LAB_TEST(mutilated_files_do_no_harm),
        cmocka_unit_test(near_words_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
