#include "config/value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/types.h"
#include "core/addr.h"

/* A number's suffix. A table of these goes from large to small, and ends with an empty one. */
struct unit {
    char name[4];
    uint64_t factor;
};

static const struct unit times[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 0}};
static const struct unit sizes[] = {
    {"TB", 1000000000000}, {"GB", 1000000000}, {"MB", 1000000}, {"kB", 1000}, {"", 0}};

typedef int read_value(const struct option_row *row, const config_setting_t *setting, void *into);
typedef void write_expected(const struct option_row *row, char *out, size_t len);
typedef void explain_text(const char *text, char *out, size_t len);

/* What each kind of value is. */
struct kind {
    size_t size;
    read_value *read;
    write_expected *expected; /* or, where it does not depend on the row: */
    const char *text;
};

static int read_word(const struct option_word *words, const char *text, int *value)
{
    for (; words->word[0]; words++) {
        if (strcmp(words->word, text) == 0) {
            *value = words->value;
            return 0;
        }
    }
    return -EINVAL;
}

static int read_bool(const struct option_row *row, const config_setting_t *setting, void *into)
{
    if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
        return -EINVAL;
    *(bool *)into = config_setting_get_bool(setting);
    return 0;
}

static int read_choice(const struct option_row *row, const config_setting_t *setting, void *into)
{
    const char *text = config_setting_get_string(setting);
    int value;

    if (!text)
        return -EINVAL;
    int err = read_word(row->words, text, &value);
    if (err)
        return err;
    *(unsigned *)into = (unsigned)value;
    return 0;
}

/* "auto", "always" or "never" */
static void expect_words(const struct option_row *row, char *out, size_t len)
{
    const char *between = "";
    size_t n = 0;

    out[0] = '\0';
    for (const struct option_word *word = row->words; word->word[0] && n < len; word++) {
        n += (size_t)snprintf(out + n, len - n, "%s\"%s\"", between, word->word);
        between = word[1].word[0] && word[2].word[0] ? ", " : " or ";
    }
}

/* libconfig reads 0x80000000 and above into a negative int. */
static bool get_integer(const config_setting_t *setting, int64_t *value)
{
    int type = config_setting_type(setting);

    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return false;
    if (type == CONFIG_TYPE_INT && config_setting_get_format(setting) == CONFIG_FORMAT_HEX)
        *value = (uint32_t)config_setting_get_int(setting);
    else
        *value = config_setting_get_int64(setting);
    return true;
}

static int read_bounded(const config_setting_t *setting, int64_t min, int64_t max, int64_t *value)
{
    return get_integer(setting, value) && *value >= min && *value <= max ? 0 : -EINVAL;
}

static int read_integer(const struct option_row *row, const config_setting_t *setting, void *into)
{
    int64_t value;
    int err = read_bounded(setting, row->min, row->max, &value);

    if (!err)
        *(uint32_t *)into = (uint32_t)value;
    return err;
}

static void expect_integer(const struct option_row *row, char *out, size_t len)
{
    snprintf(out, len, "a whole number from %" PRIu32 " to %" PRIu32, row->min, row->max);
}

static int read_port(const struct option_row *row, const config_setting_t *setting, void *into)
{
    int64_t value;
    int err = read_bounded(setting, 1, UINT16_MAX, &value);

    if (!err)
        *(uint16_t *)into = (uint16_t)value;
    return err;
}

static int read_dscp(const struct option_row *row, const config_setting_t *setting, void *into)
{
    int64_t value;
    int err = read_bounded(setting, 0, 63, &value);

    if (!err)
        *(int8_t *)into = (int8_t)value;
    return err;
}

/* Digits from *text on, which moves behind them. */
static bool parse_digits(const char **text, uint64_t *value)
{
    const char *start = *text;

    for (*value = 0; isdigit((unsigned char)**text); ++*text) {
        if (*value > UINT64_MAX / 10 - 1)
            return false;
        *value = *value * 10 + (uint64_t)(**text - '0');
    }
    return *text != start;
}

/* "50GB", or "50 GB" */
static bool parse_quantity(const struct unit *units, const char *text, uint64_t *value)
{
    if (!text || !parse_digits(&text, value))
        return false;
    text += strspn(text, " ");
    for (; units->name[0]; units++) {
        if (strcmp(units->name, text) == 0) {
            bool fits = *value <= INT64_MAX / units->factor;
            *value *= units->factor;
            return fits;
        }
    }
    return false;
}

static int read_duration(const struct option_row *row, const config_setting_t *setting, void *into)
{
    uint64_t ms;

    if (!parse_quantity(times, config_setting_get_string(setting), &ms))
        return -EINVAL;
    if (ms < row->min || ms > row->max)
        return -EINVAL;
    *(uint32_t *)into = (uint32_t)ms;
    return 0;
}

/* In the largest unit that makes it a whole number. */
static void show_quantity(const struct unit *units, uint64_t value, char *out, size_t len)
{
    while (units[1].name[0] && value % units->factor != 0)
        units++;
    snprintf(out, len, "\"%" PRIu64 "%s\"", value / units->factor, units->name);
}

static void expect_duration(const struct option_row *row, char *out, size_t len)
{
    char min[32], max[32];

    show_quantity(times, row->min, min, sizeof(min));
    show_quantity(times, row->max, max, sizeof(max));
    snprintf(out, len, "a time from %s to %s, with the unit ms, s, m or h", min, max);
}

static int read_size(const struct option_row *row, const config_setting_t *setting, void *into)
{
    uint64_t bytes;

    if (!parse_quantity(sizes, config_setting_get_string(setting), &bytes) || bytes < row->min)
        return -EINVAL;
    *(uint64_t *)into = bytes;
    return 0;
}

static void expect_size(const struct option_row *row, char *out, size_t len)
{
    char min[32];

    show_quantity(sizes, row->min, min, sizeof(min));
    snprintf(out, len, "a size in kB, MB, GB or TB, such as \"50GB\"%s%s",
             row->min ? "; at least " : "", row->min ? min : "");
}

/* Letters, digits, '.', '_' and '-' only: these names go into nftables rules and tables that people
 * read. */
static int read_plain_text(const config_setting_t *setting, size_t max, char *into)
{
    const char *text = config_setting_get_string(setting);

    if (!text || text[0] == '\0' || strlen(text) > max)
        return -EINVAL;
    for (const char *c = text; *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            return -EINVAL;
    }
    strcpy(into, text);
    return 0;
}

static int read_name(const struct option_row *row, const config_setting_t *setting, void *into)
{
    return read_plain_text(setting, NAME_MAX_LENGTH, into);
}

static int read_interface(const struct option_row *row, const config_setting_t *setting, void *into)
{
    return read_plain_text(setting, INTERFACE_NAME - 1, into);
}

static int read_path(const struct option_row *row, const config_setting_t *setting, void *into)
{
    const char *text = config_setting_get_string(setting);

    if (!text || text[0] != '/' || strlen(text) > row->max)
        return -EINVAL;
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    memcpy(into, &copy, sizeof(copy));
    return 0;
}

static void expect_path(const struct option_row *row, char *out, size_t len)
{
    snprintf(out, len, "an absolute path of at most %" PRIu32 " bytes", row->max);
}

static bool is_unspecified(const struct addr *a)
{
    static const uint8_t zero[16];

    return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

static int read_ip(const struct option_row *row, const config_setting_t *setting, void *into)
{
    const char *text = config_setting_get_string(setting);
    struct addr a;

    if (!text || addr_parse_ip(&a, text) || is_unspecified(&a))
        return -EINVAL;
    if (row->min && a.family != row->min)
        return -EINVAL;
    *(struct addr *)into = a;
    return 0;
}

static void expect_ip(const struct option_row *row, char *out, size_t len)
{
    snprintf(out, len, "an %s address such as \"%s\"",
             row->min == 0   ? "IP"
             : row->min == 4 ? "IPv4"
                             : "IPv6",
             row->min == 6 ? "2001:db8::1" : "192.0.2.1");
}

static void explain_ip(const char *text, char *out, size_t len)
{
    char ip[ADDR_TEXT];
    struct addr a;

    if (addr_parse(&a, text))
        return;
    snprintf(
        out, len,
        "has a port behind it; write \"%s\" (a concentrator's port has a key of its own: port = "
        "%u)",
        addr_format_ip(&a, ip), (unsigned)a.port);
}

static int read_endpoint(const struct option_row *row, const config_setting_t *setting, void *into)
{
    const char *text = config_setting_get_string(setting);
    struct addr a;

    if (!text || addr_parse(&a, text) || a.port == 0)
        return -EINVAL;
    *(struct addr *)into = a;
    return 0;
}

/* "10.0.0.5/8" may mean a network or an address: who wrote it has to say. */
static int parse_network(const char *text, struct cidr *network)
{
    bool exact;

    return !text || cidr_parse_exact(network, text, &exact) || !exact ? -EINVAL : 0;
}

static int read_network(const struct option_row *row, const config_setting_t *setting, void *into)
{
    struct cidr network;

    if (parse_network(config_setting_get_string(setting), &network))
        return -EINVAL;
    *(struct cidr *)into = network;
    return 0;
}

static void explain_network(const char *text, char *out, size_t len)
{
    char network[ADDR_TEXT];
    struct cidr c;

    if (cidr_parse(&c, text))
        return;
    snprintf(out, len,
             "has bits beyond its prefix; write \"%s\", or \"%.*s\" for that address alone",
             cidr_format(&c, network), (int)strcspn(text, "/"), text);
}

static int read_client(const struct option_row *row, const config_setting_t *setting, void *into)
{
    const char *text = config_setting_get_string(setting);
    struct client_match client = {0};

    if (parse_network(text, &client.network) && (!text || mac_parse(&client.mac, text)))
        return -EINVAL;
    *(struct client_match *)into = client;
    return 0;
}

static bool parse_port(const char **text, uint16_t *port)
{
    uint64_t value;

    if (!parse_digits(text, &value) || value == 0 || value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

static int read_ports(const struct option_row *row, const config_setting_t *setting, void *into)
{
    const char *text = config_setting_get_string(setting);
    struct port_range range;

    if (!text) {
        int err = read_port(row, setting, &range.first);
        if (err)
            return err;
        range.last = range.first;
    } else if (!parse_port(&text, &range.first) || *text++ != '-' ||
               !parse_port(&text, &range.last) || *text || range.first > range.last) {
        return -EINVAL;
    }
    *(struct port_range *)into = range;
    return 0;
}

static void explain_ports(const char *text, char *out, size_t len)
{
    uint16_t first, last;

    if (!parse_port(&text, &first) || *text != '-')
        return;
    text++;
    if (parse_port(&text, &last) && !*text)
        snprintf(out, len, "ends before it begins; write \"%u-%u\"", last, first);
}

/* Nothing is stored: the loader looks the name up. */
static int read_reference(const struct option_row *row, const config_setting_t *setting, void *into)
{
    return config_setting_get_string(setting) ? 0 : -EINVAL;
}

static const struct kind kinds[] = {
    [OPTION_BOOL] = {sizeof(bool), read_bool, NULL, "false or true"},
    [OPTION_INTEGER] = {sizeof(uint32_t), read_integer, expect_integer, NULL},
    [OPTION_PORT] = {sizeof(uint16_t), read_port, NULL, "a whole number from 1 to 65535"},
    [OPTION_DURATION] = {sizeof(uint32_t), read_duration, expect_duration, NULL},
    [OPTION_SIZE] = {sizeof(uint64_t), read_size, expect_size, NULL},
    [OPTION_CHOICE] = {sizeof(unsigned), read_choice, expect_words, NULL},
    [OPTION_NAME] = {NAME_MAX_LENGTH + 1, read_name, NULL,
                     "a name of 1 to 31 letters, digits, '.', '_' or '-'"},
    [OPTION_INTERFACE] = {INTERFACE_NAME, read_interface, NULL,
                          "an interface's name of at most 15 letters, digits, '.', '_' or '-'"},
    [OPTION_PATH] = {sizeof(char *), read_path, expect_path, NULL},
    [OPTION_IP] = {sizeof(struct addr), read_ip, expect_ip, NULL},
    [OPTION_ENDPOINT] = {sizeof(struct addr), read_endpoint, NULL,
                         "an address and port, such as \"192.0.2.1:7171\" or \"[::]:7171\""},
    [OPTION_NETWORK] = {sizeof(struct cidr), read_network, NULL,
                        "an address or a network, such as \"10.0.0.0/8\""},
    [OPTION_CLIENT] = {sizeof(struct client_match), read_client, NULL,
                       "an address, a network such as \"192.168.1.0/28\", or a MAC address such as "
                       "\"02:00:5e:10:00:ff\""},
    [OPTION_PORTS] = {sizeof(struct port_range), read_ports, NULL,
                      "a port from 1 to 65535, or a range such as \"8000-8100\""},
    [OPTION_DSCP] = {sizeof(int8_t), read_dscp, NULL, "a whole number from 0 to 63"},
    [OPTION_REFERENCE] = {0, read_reference, NULL, "a name"},
    [OPTION_GROUP] = {0, NULL, NULL, "a group: { name = \"...\"; ... }"},
};

static explain_text *const explanations[OPTION_GROUP + 1] = {
    [OPTION_IP] = explain_ip,
    [OPTION_NETWORK] = explain_network,
    [OPTION_CLIENT] = explain_network,
    [OPTION_PORTS] = explain_ports,
};

size_t value_size(const struct option_row *row)
{
    return row->kind == OPTION_GROUP ? row->size : kinds[row->kind].size;
}

int value_read(const struct option_row *row, const config_setting_t *setting, void *into)
{
    return kinds[row->kind].read(row, setting, into);
}

const char *value_expected(const struct option_row *row, char *out, size_t len)
{
    const struct kind *kind = &kinds[row->kind];

    if (kind->expected)
        kind->expected(row, out, len);
    else
        snprintf(out, len, "%s", kind->text);
    return out;
}

const char *value_explain(const struct option_row *row, const config_setting_t *setting, char *out,
                          size_t len)
{
    const char *text = config_setting_get_string(setting);

    out[0] = '\0';
    if (text && explanations[row->kind])
        explanations[row->kind](text, out, len);
    return out;
}

/* Quoted, shortened, and fit for a terminal. */
static void show_string(const char *text, char *out, size_t len)
{
    int n = snprintf(out, len, "\"%.200s%s\"", text, strlen(text) > 200 ? "..." : "");

    for (int i = 0; i < n && (size_t)i < len && out[i]; i++) {
        if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f)
            out[i] = '?';
    }
}

const char *value_show(const config_setting_t *setting, char *out, size_t len)
{
    static const char *const aggregates[] = {[CONFIG_TYPE_GROUP] = "a group",
                                             [CONFIG_TYPE_ARRAY] = "an array",
                                             [CONFIG_TYPE_LIST] = "a list"};
    int type = config_setting_type(setting);
    int64_t integer;

    if (get_integer(setting, &integer))
        snprintf(out, len, "%" PRId64, integer);
    else if (type == CONFIG_TYPE_STRING)
        show_string(config_setting_get_string(setting), out, len);
    else if (type == CONFIG_TYPE_BOOL)
        snprintf(out, len, "%s", config_setting_get_bool(setting) ? "true" : "false");
    else if (type == CONFIG_TYPE_FLOAT)
        snprintf(out, len, "%g", config_setting_get_float(setting));
    else
        snprintf(out, len, "%s", aggregates[type]);
    return out;
}
