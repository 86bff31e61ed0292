/* What a person sees of status, flows and events: units, aligned tables, the headline, and the exit
 * code that goes with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "cli/events.h"
#include "cli/table.h"
#include "cli/units.h"
#include "cli/view.h"

#define TEXT 8192

static char seen[TEXT]; /* what was printed last */

static void assert_seen(const char *expected)
{
    assert_string_equal(seen, expected);
}

/* ---- units ---- */

static void bytes_are_short(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {999, "999 B"},
        {1000, "1.0 kB"},
        {1234, "1.2 kB"},
        {99900, "99.9 kB"},
        {99960, "100 kB"},
        {999400, "999 kB"},
        {999600, "1.0 MB"},
        {48100000, "48.1 MB"},
        {UINT64_C(1200000000), "1.2 GB"},
        {UINT64_MAX, "18.4 EB"},
    };
    char out[UNITS_TEXT];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(units_bytes(cases[i].bytes, out), cases[i].text);
    assert_string_equal(units_rate(48100000, out), "48.1 Mb/s");
    assert_string_equal(units_rate(0, out), "0 b/s");
}

static void times_are_short(void **state)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {
        {-1, "0 s"},         {0.9, "0 s"},     {59.9, "59 s"},
        {60, "1 min"},       {3599, "59 min"}, {3600, "1 h 0 min"},
        {7500, "2 h 5 min"}, {86400, "1 day"}, {4 * 86400, "4 days"},
    };
    char out[UNITS_TEXT];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(units_time(cases[i].seconds, out), cases[i].text);
}

static void delays_and_percents_are_short(void **state)
{
    char out[UNITS_TEXT];

    assert_string_equal(units_delay(0, out), "0 ms");
    assert_string_equal(units_delay(0.42, out), "0.4 ms");
    assert_string_equal(units_delay(9.96, out), "10 ms");
    assert_string_equal(units_delay(20.1, out), "20 ms");
    assert_string_equal(units_delay(1500, out), "1.5 s");
    assert_string_equal(units_percent(0, out), "0 %");
    assert_string_equal(units_percent(0.31, out), "0.3 %");
    assert_string_equal(units_percent(12.3, out), "12 %");
    assert_string_equal(units_percent(100, out), "100 %");
}

/* ---- tables ---- */

static const struct column columns[] = {
    {"NAME", false, 3, SHORTENS},
    {"EMPTY", false, 0, LEAVES},
    {"RTT", true, 2, LEAVES},
    {"NOTE", false, 1, GOES_BENEATH},
};

static void print_on(struct table *table, bool colour, size_t width)
{
    struct screen screen = {
        .out = fmemopen(seen, sizeof(seen), "w"), .colour = colour, .columns = width};

    seen[0] = '\0';
    table_print(table, &screen);
    fclose(screen.out);
}

static void print(struct table *table, bool colour)
{
    print_on(table, colour, 0);
}

static void add_row(struct table *table, const char *name, const char *rtt, const char *note)
{
    table_add(table, PAINT_NONE, name);
    table_add(table, PAINT_NONE, NULL);
    table_add(table, PAINT_NONE, rtt);
    table_add(table, PAINT_BAD, note);
}

static void columns_are_aligned(void **state)
{
    struct table *table = table_new(columns, 4);

    add_row(table, "dsl", "9 ms", "");
    add_row(table, "satellite", "600 ms", "no carrier");
    add_row(table, "", "", "odd");
    print(table, false);
    table_free(table);
    assert_seen("  NAME          RTT  NOTE\n"
                "  dsl          9 ms\n"
                "  satellite  600 ms  no carrier\n"
                "                     odd\n");
}

static void colours_do_not_shift_columns(void **state)
{
    struct table *table = table_new(columns, 4);

    add_row(table, "dsl", "9 ms", "dead");
    print(table, true);
    table_free(table);
    assert_seen("  \033[2mNAME\033[0m   \033[2mRTT\033[0m  \033[2mNOTE\033[0m\n"
                "  dsl   9 ms  \033[31mdead\033[0m\n");
}

static void an_empty_table_prints_nothing(void **state)
{
    struct table *table = table_new(columns, 4);

    print(table, false);
    table_free(table);
    table_free(NULL);
    assert_seen("");
}

/* A name may come from afar: it moves no cursor. */
static void control_characters_are_replaced(void **state)
{
    struct table *table = table_new(columns, 4);

    add_row(table, "a\033[2Jb\nc", "1 ms", "");
    print(table, false);
    table_free(table);
    assert_seen("  NAME       RTT\n  a?[2Jb?c  1 ms\n");
}

static void many_rows(void **state)
{
    struct table *table = table_new(columns, 4);

    for (int i = 0; i < 100; i++)
        add_row(table, "n", "1 ms", "x");
    print(table, false);
    table_free(table);
    assert_int_equal(strlen(seen), 101 * strlen("  n     1 ms  x   \n") - 3 * 100);
}

/* On an ever narrower screen: what is wrong goes beneath, then the least important column goes,
 * then a name is shortened, and its ends stay. */
static void columns_yield_in_their_order(void **state)
{
    static const struct {
        size_t width;
        const char *text;
    } cases[] = {
        {58, "  NAME                           RTT  NOTE\n"
             "  a-name-of-some-length-12345   9 ms  no answer for 3 s\n"
             "  lte                          12 ms\n"},
        {53, "  NAME                           RTT\n"
             "  a-name-of-some-length-12345   9 ms\n"
             "    no answer for 3 s\n"
             "  lte                          12 ms\n"},
        {35, "  NAME\n"
             "  a-name-of-some-length-12345\n"
             "    no answer for 3 s\n"
             "  lte\n"},
        {24, "  NAME\n"
             "  a-name-of-..ngth-12345\n"
             "    no answer for 3 s\n"
             "  lte\n"},
        {10, "  NAME\n"
             "  a-name-of..gth-12345\n"
             "    no\n"
             "    answer\n"
             "    for 3\n"
             "    s\n"
             "  lte\n"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct table *table = table_new(columns, 4);
        add_row(table, "a-name-of-some-length-12345", "9 ms", "no answer for 3 s");
        add_row(table, "lte", "12 ms", "");
        print_on(table, false, cases[i].width);
        table_free(table);
        assert_seen(cases[i].text);
    }
}

/* ---- views ---- */

typedef enum exit_code viewer(struct json_object *, const struct screen *);

static enum exit_code show_on(viewer *view, const char *json, size_t width)
{
    struct json_object *answer = json_tokener_parse(json);
    struct screen screen = {.out = fmemopen(seen, sizeof(seen), "w"), .columns = width};
    struct screen nowhere = {.out = NULL};

    assert_non_null(answer);
    enum exit_code code = view(answer, &screen);
    assert_int_equal(view(answer, &nowhere), code);
    fclose(screen.out);
    json_object_put(answer);
    return code;
}

static enum exit_code show(viewer *view, const char *json)
{
    return show_on(view, json, 0);
}

#define UPLINK_DSL                                                                                 \
    "{\"name\":\"dsl\",\"interface\":\"pppoe-wan\",\"address\":\"203.0.113.7\",\"state\":\"up\","  \
    "\"reason\":\"\",\"role\":\"active\",\"cost\":0,\"rtt_ms\":20.1,\"loss_percent\":0.0,"         \
    "\"rx_bytes\":1200000000,\"tx_bytes\":88000000,\"rx_bps\":48100000,\"tx_bps\":3000000,"        \
    "\"mptcp\":\"ok\"}"
#define CONCENTRATOR(state)                                                                        \
    "{\"name\":\"vps\",\"address\":\"198.51.100.1:7171\",\"state\":\"" state                       \
    "\",\"rtt_ms\":20.1,\"warm\":4}"
#define GATEWAY(uplinks, concentrators)                                                            \
    "{\"role\":\"gateway\",\"version\":\"1.2\",\"uptime_s\":11520.5,"                              \
    "\"scheduler\":\"latency\",\"concentrators\":[" concentrators "],\"uplinks\":[" uplinks        \
    "],\"flows\":{\"active\":12,\"total\":900,"                                                    \
    "\"failed\":3,\"direct\":0,\"tcp_fallback\":1}}"

static void a_healthy_gateway(void **state)
{
    assert_int_equal(show(view_status, GATEWAY(UPLINK_DSL, CONCENTRATOR("up"))), EXIT_WELL);
    assert_seen(
        "gateway: up\n"
        "  running 3 h 12 min, version 1.2, scheduler latency\n"
        "\n"
        "uplinks\n"
        "  NAME  INTERFACE  ADDRESS      STATE  ROLE    COST    RTT  LOSS       DOWN        UP  "
        "RECEIVED     SENT\n"
        "  dsl   pppoe-wan  203.0.113.7  up     active     0  20 ms   0 %  48.1 Mb/s  3.0 Mb/s  "
        "  1.2 GB  88.0 MB\n"
        "\n"
        "concentrators\n"
        "  NAME  ADDRESS            STATE    RTT  WARM\n"
        "  vps   198.51.100.1:7171  up     20 ms     4\n"
        "\n"
        "flows\n"
        "  12 now, 900 in all, 3 failed, 1 without MPTCP\n");
}

/* An uplink without measurements: what is not known is not shown as zero. */
static void a_degraded_gateway(void **state)
{
    assert_int_equal(
        show(view_status,
             GATEWAY("{\"name\":\"dsl\",\"interface\":\"ppp0\",\"state\":\"up\",\"reason\":\"\","
                     "\"mptcp\":\"stripped\"},{\"name\":\"lte\",\"interface\":\"wwan0\","
                     "\"state\":\"down\",\"reason\":\"no carrier\",\"rtt_ms\":null}",
                     CONCENTRATOR("up"))),
        EXIT_DEGRADED);
    assert_non_null(strstr(seen, "gateway: degraded, 1 of 2 uplinks up\n"));
    assert_non_null(strstr(seen, "  NAME  INTERFACE  STATE  NOTE\n"
                                 "  dsl   ppp0       up     MPTCP is stripped on the way\n"
                                 "  lte   wwan0      down   no carrier\n"));
}

static void uplinks_with_budgets(void **state)
{
    show(view_status,
         GATEWAY(UPLINK_DSL ",{\"name\":\"lte\",\"budget\":{\"limit_bytes\":50000000000,"
                            "\"used_bytes\":41000000000,\"left_bytes\":9000000000,"
                            "\"days_left\":3,\"state\":\"low\"}},{\"name\":\"sat\","
                            "\"budget\":{\"limit_bytes\":1000000,\"used_bytes\":1000001,"
                            "\"left_bytes\":0,\"state\":\"spent\"}}",
                 CONCENTRATOR("up")));
    assert_non_null(strstr(seen, "\nbudgets\n"
                                 "  NAME  STATE     USED       OF    LEFT  DAYS LEFT\n"
                                 "  lte   low    41.0 GB  50.0 GB  9.0 GB          3\n"
                                 "  sat   spent   1.0 MB   1.0 MB     0 B\n"));
}

static void a_gateway_that_is_down(void **state)
{
    assert_int_equal(show(view_status, GATEWAY(UPLINK_DSL, CONCENTRATOR("down"))), EXIT_DEGRADED);
    assert_non_null(strstr(seen, "gateway: down, no concentrator is up\n"));
    assert_null(strstr(seen, "intercepting"));
    assert_int_equal(show(view_status, "{\"role\":\"gateway\",\"intercepting\":false}"),
                     EXIT_DEGRADED);
    assert_non_null(strstr(seen, "\n  not intercepting: new connections take the router's normal "
                                 "way\n"));
    assert_int_equal(show(view_status, GATEWAY("", CONCENTRATOR("up"))), EXIT_DEGRADED);
    assert_non_null(strstr(seen, "gateway: down, no uplink is up\n"));
    assert_int_equal(show(view_status,
                          "{\"role\":\"gateway\",\"hindrance\":\"net/x\",\"uplinks\":[" UPLINK_DSL
                          "],\"concentrators\":[" CONCENTRATOR("up") "]}"),
                     EXIT_DEGRADED);
    assert_non_null(strstr(seen, "gateway: degraded, it cannot intercept\n"));
    assert_non_null(strstr(seen, "\n  net/x is not 0: set it to 0, by sysctl -w\n"));
}

static void a_concentrator(void **state)
{
    assert_int_equal(
        show(view_status,
             "{\"role\":\"concentrator\",\"version\":\"1.2\",\"uptime_s\":300000,\"workers\":4,"
             "\"gateways\":[{\"name\":\"home\",\"flows\":12,\"total\":900,\"rx_bytes\":1000,"
             "\"tx_bytes\":2000000,\"refused\":0,\"last_seen_s\":2.5},{\"name\":\"branch\","
             "\"flows\":0,\"total\":0,\"rx_bytes\":0,\"tx_bytes\":0,\"refused\":0,"
             "\"last_seen_s\":null}],\"refused\":{\"hello\":3,\"replay\":0,\"policy\":1,"
             "\"limit\":0}}"),
        EXIT_WELL);
    assert_seen("concentrator: up, 4 workers\n"
                "  running 3 days, version 1.2\n"
                "\n"
                "gateways\n"
                "  NAME    FLOWS  TOTAL  RECEIVED    SENT  REFUSED  LAST SEEN\n"
                "  home       12    900    1.0 kB  2.0 MB        0  2 s ago\n"
                "  branch      0      0       0 B     0 B        0  never\n"
                "\n"
                "refused\n"
                "  3 unknown or forged, 0 replayed, 1 forbidden destinations, 0 beyond a limit\n");
}

static void flows_of_a_gateway(void **state)
{
    assert_int_equal(
        show(view_flows,
             "[{\"id\":7,\"client\":\"192.168.1.10:5000\",\"destination\":\"203.0.113.5:443\","
             "\"rule\":\"\",\"scheduler\":\"bond\",\"sealed\":false,\"age_s\":200.0,"
             "\"rx_bytes\":12000000,\"tx_bytes\":1000,\"subflows\":["
             "{\"uplink\":\"dsl\",\"role\":\"active\",\"state\":\"established\","
             "\"rx_bytes\":8000000,\"tx_bytes\":100000},"
             "{\"uplink\":\"lte\",\"role\":\"standby\",\"state\":\"established\",\"rx_bytes\":0,"
             "\"tx_bytes\":0},{\"uplink\":\"sat\",\"role\":\"active\",\"state\":\"joining\"}]}]"),
        EXIT_WELL);
    assert_seen("  ID  CLIENT             DESTINATION      SCHEDULER  SEALED    AGE  RECEIVED    "
                "SENT  UPLINKS\n"
                "   7  192.168.1.10:5000  203.0.113.5:443  bond       no      3 min   12.0 MB  "
                "1.0 kB  dsl 8.1 MB, lte 0 B (standby), sat 0 B (joining)\n");
}

static void flows_of_a_concentrator(void **state)
{
    show(view_flows, "[{\"gateway\":\"home\",\"source\":\"198.51.100.9:1\",\"destination\":"
                     "\"[2001:db8::1]:80\",\"state\":\"relaying\",\"sealed\":true,\"age_s\":1,"
                     "\"rx_bytes\":1,\"tx_bytes\":2}]");
    assert_seen(
        "  GATEWAY  SOURCE          DESTINATION       STATE     SEALED  AGE  RECEIVED  SENT\n"
        "  home     198.51.100.9:1  [2001:db8::1]:80  relaying  yes     1 s       1 B   2 "
        "B\n");
}

static void no_flows(void **state)
{
    show(view_flows, "[]");
    assert_seen("no flows now\n");
}

static size_t widest_line(void)
{
    size_t widest = 0;

    for (const char *line = seen; *line; line += strcspn(line, "\n") + 1) {
        size_t len = strcspn(line, "\n");
        widest = len > widest ? len : widest;
    }
    return widest;
}

#define LONG_NAME "a-name-as-long-as-one-may-be-xx"
#define LONG_ADDRESS "[2001:db8:1111:2222:3333:4444:5555:%u]:50000"

/* By ssh, on a terminal as it has always been: figures are whole, and why an uplink is dead. */
static void an_ssh_terminal_is_wide_enough(void **state)
{
    show_on(view_status,
            GATEWAY(UPLINK_DSL ",{\"name\":\"lte\",\"interface\":\"wwan0\",\"address\":"
                               "\"100.72.114.201\",\"state\":\"dead\",\"reason\":"
                               "\"no answer for 3.2 s\",\"role\":\"off\",\"cost\":10,"
                               "\"rtt_ms\":null,\"loss_percent\":null,\"rx_bytes\":271000000,"
                               "\"tx_bytes\":81200000,\"rx_bps\":0,\"tx_bps\":0}",
                    CONCENTRATOR("up")),
            80);
    assert_non_null(
        strstr(seen, "  NAME  STATE  ROLE      RTT  LOSS       DOWN        UP  RECEIVED     SENT\n"
                     "  dsl   up     active  20 ms   0 %  48.1 Mb/s  3.0 Mb/s    1.2 GB  88.0 MB\n"
                     "  lte   dead   off                      0 b/s     0 b/s    271 MB  81.2 MB\n"
                     "    no answer for 3.2 s\n"));
    show_on(view_flows,
            "[{\"id\":10400,\"client\":\"192.168.177.101:50000\",\"destination\":"
            "\"203.0.113.115:443\",\"state\":\"relaying\",\"scheduler\":\"bond\","
            "\"sealed\":true,\"age_s\":200.0,\"rx_bytes\":12000000,\"tx_bytes\":1000,"
            "\"subflows\":[{\"uplink\":\"dsl\",\"role\":\"active\",\"rx_bytes\":8000000},"
            "{\"uplink\":\"lte\",\"role\":\"standby\"}]}]",
            80);
    assert_seen("     ID  CLIENT                 DESTINATION          AGE  RECEIVED    SENT\n"
                "  10400  192.168.177.101:50000  203.0.113.115:443  3 min   12.0 MB  1.0 kB\n"
                "    dsl 8.0 MB, lte 0 B (standby)\n");
}

/* Whatever the names, and with IPv6. */
static void nothing_is_wider_than_the_terminal(void **state)
{
    static const char uplink[] =
        "{\"name\":\"" LONG_NAME "\",\"interface\":\"pppoe-wan\",\"address\":\"2001:db8:1111:"
        "2222:3333:4444:5555:6666\",\"state\":\"degraded\",\"reason\":\"no answer from the "
        "concentrator for 3.2 s\",\"role\":\"standby\",\"cost\":1000,\"rtt_ms\":1500,"
        "\"loss_percent\":100,\"rx_bytes\":999000000,\"tx_bytes\":999000000,"
        "\"rx_bps\":999000000,\"tx_bps\":99900000,\"idle_probe_bytes_per_day\":1700000}";
    static const char flow[] =
        "{\"id\":1234567,\"client\":\"" LONG_ADDRESS "\",\"destination\":\"" LONG_ADDRESS
        "\",\"state\":\"relaying\",\"rule\":\"" LONG_NAME "\",\"scheduler\":\"overflow\","
        "\"sealed\":true,\"age_s\":86399,\"rx_bytes\":999000000,\"tx_bytes\":999000000,"
        "\"subflows\":[{\"uplink\":\"" LONG_NAME "\",\"role\":\"standby\"},{\"uplink\":\"" LONG_NAME
        "\"},{\"uplink\":\"" LONG_NAME "\"}]}";
    char uplinks[TEXT / 2], answer[TEXT], flows[TEXT + 2];

    snprintf(uplinks, sizeof(uplinks), "%s,%s,%s", uplink, uplink, uplink);
    snprintf(answer, sizeof(answer),
             GATEWAY("%s", "{\"name\":\"" LONG_NAME "\",\"address\":\"" LONG_ADDRESS
                           "\",\"state\":\"down\",\"rtt_ms\":20,"
                           "\"warm\":4,\"reason\":\"it does not accept our key\"}"),
             6666u, uplinks);
    show_on(view_status, answer, 80);
    assert_in_range(widest_line(), 60, 80);
    assert_non_null(strstr(seen, "\n    no answer from the concentrator for 3.2 s\n"));
    assert_non_null(strstr(seen, "1.5 s  100 %  999 Mb/s  99.9 Mb/s\n"));
    snprintf(answer, sizeof(answer), flow, 6666u, 7777u);
    snprintf(flows, sizeof(flows), "[%s]", answer);
    show_on(view_flows, flows, 80);
    assert_in_range(widest_line(), 60, 80);
    assert_non_null(strstr(seen, "66]:50000  [2001:db8"));
    assert_non_null(strstr(seen, "77]:50000"));
    snprintf(answer, sizeof(answer),
             "{\"role\":\"concentrator\",\"workers\":4,\"gateways\":[{\"name\":\"" LONG_NAME
             "\",\"flows\":123456,\"warm\":4096,\"total\":12345678,\"rx_bytes\":999000000,"
             "\"tx_bytes\":999000000,\"refused\":1234567,\"last_seen_s\":7500}],\"refused\":"
             "{\"hello\":12345678,\"replay\":1234567,\"policy\":1234567,\"limit\":1234567}}");
    show_on(view_status, answer, 80);
    assert_in_range(widest_line(), 60, 80);
    assert_non_null(strstr(seen, "beyond a limit\n"));
}

/* Another version's answer, or nonsense: shown as far as it goes. */
static void strange_answers_do_no_harm(void **state)
{
    static const char *const answers[] = {
        "{}",
        "[]",
        "{\"role\":7}",
        "{\"role\":\"gateway\",\"uplinks\":5,\"concentrators\":{},\"flows\":[]}",
        "{\"role\":\"gateway\",\"uplinks\":[{\"budget\":7},{\"budget\":{}}]}",
        "{\"role\":\"gateway\",\"uplinks\":[1,null,\"x\",[]],\"uptime_s\":\"x\"}",
        "{\"role\":\"concentrator\",\"gateways\":[null],\"refused\":1}",
        "[1,null,[],{},{\"subflows\":[1,null]},{\"subflows\":1,\"rx_bytes\":-5}]",
    };

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        show(view_status, answers[i]);
        show(view_flows, answers[i]);
    }
}

/* As many subflows as fit no line. */
static void a_long_list_of_subflows_is_cut(void **state)
{
    char json[TEXT] = "[{\"id\":1,\"subflows\":[";

    for (int i = 0; i < 40; i++)
        snprintf(json + strlen(json), sizeof(json) - strlen(json),
                 "%s{\"uplink\":\"a-name-of-some-length-%d\",\"role\":\"standby\"}", i ? "," : "",
                 i);
    strcat(json, "]}]");
    show(view_flows, json);
    assert_non_null(strstr(seen, "a-name-of-some-length-0 0 B (standby), a-name"));
    assert_null(strstr(seen, "a-name-of-some-length-39"));
}

/* ---- events ---- */

static void show_events(const char *const *lines, size_t n, bool colour)
{
    struct screen screen = {.out = fmemopen(seen, sizeof(seen), "w"), .colour = colour};
    struct events_page page = {.day = "2026-11-28"};

    setenv("TZ", "UTC", 1);
    tzset();
    seen[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        struct json_object *event = json_tokener_parse(lines[i]);
        events_print(&page, event, &screen);
        json_object_put(event);
    }
    fclose(screen.out);
}

static void events_are_lines(void **state)
{
    static const char *const lines[] = {
        "{\"seq\":1,\"time\":\"2026-11-28T18:01:22.125Z\",\"boot_s\":41.25,\"kind\":\"uplink\","
        "\"name\":\"dsl\",\"what\":\"dead\",\"before\":\"up\",\"reason\":\"no answer for 95 ms\","
        "\"figures\":{\"rtt_ms\":20.1,\"loss_percent\":3}}",
        "{\"time\":\"2026-11-28T18:01:23.005Z\",\"kind\":\"concentrator\",\"name\":\"frankfurt\","
        "\"what\":\"up\",\"before\":\"\",\"reason\":\"\"}",
        "{\"time\":\"2026-11-29T00:00:00.000Z\",\"kind\":\"uplink\",\"name\":\"dsl\","
        "\"what\":\"down\",\"before\":\"down\",\"reason\":\"no IPv4 address\",\"held\":7,"
        "\"figures\":{\"address\":\"192.0.2.1\",\"rx_bps\":48100000,\"rx_bytes\":999,"
        "\"lost_in_row\":3}}",
    };

    show_events(lines, 3, false);
    assert_seen(
        "18:01:22.125  uplink dsl        up -> dead: no answer for 95 ms (rtt 20 ms, loss "
        "3.0 %)\n"
        "18:01:23.005  concentrator frankfurt  up\n"
        "2026-11-29\n"
        "00:00:00.000  uplink dsl              down: no IPv4 address (address 192.0.2.1, rx "
        "48.1 Mb/s, rx 999 B, lost in row 3); 7 before it left out\n");
    show_events(lines, 1, true);
    assert_seen("\033[2m18:01:22.125\033[0m  uplink dsl        up -> \033[31mdead\033[0m: no "
                "answer for 95 ms (rtt 20 ms, loss 3.0 %)\n");
}

static void strange_events_do_no_harm(void **state)
{
    static char line[3 * TEXT];
    const char *const lines[] = {
        "{}",
        "[]",
        ("{\"time\":\"yesterday\\n\",\"what\":\"\\u001b[2J\",\"name\":\"\\r\",\"before\":5,"
         "\"reason\":[\"\\t\"],\"figures\":{\"a\\n\":null,\"_ms\":{},\"b_ms\":\"x\"},\"held\":-1}"),
    };

    show_events(lines, 3, false);
    assert_null(strpbrk(seen, "\033\r\t"));
    assert_non_null(strstr(seen, "yesterday?"));
    snprintf(line, sizeof(line),
             "{\"name\":\"%02000d\",\"reason\":\"%02000d\",\"figures\":{\"%0200d\":\"%02000d\"}}",
             0, 0, 0, 0);
    show_events((const char *const[]){line}, 1, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_short),
        cmocka_unit_test(times_are_short),
        cmocka_unit_test(delays_and_percents_are_short),
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(colours_do_not_shift_columns),
        cmocka_unit_test(an_empty_table_prints_nothing),
        cmocka_unit_test(control_characters_are_replaced),
        cmocka_unit_test(many_rows),
        cmocka_unit_test(columns_yield_in_their_order),
        cmocka_unit_test(a_healthy_gateway),
        cmocka_unit_test(a_degraded_gateway),
        cmocka_unit_test(uplinks_with_budgets),
        cmocka_unit_test(a_gateway_that_is_down),
        cmocka_unit_test(a_concentrator),
        cmocka_unit_test(flows_of_a_gateway),
        cmocka_unit_test(flows_of_a_concentrator),
        cmocka_unit_test(no_flows),
        cmocka_unit_test(an_ssh_terminal_is_wide_enough),
        cmocka_unit_test(nothing_is_wider_than_the_terminal),
        cmocka_unit_test(strange_answers_do_no_harm),
        cmocka_unit_test(a_long_list_of_subflows_is_cut),
        cmocka_unit_test(events_are_lines),
        cmocka_unit_test(strange_events_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
