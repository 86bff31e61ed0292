/* bondway top, frame by frame: on every size of screen it keeps within it, and shows what is most
 * important first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/top_view.h"

#define FRAME_MAX 65536

static const char status_text[] =
    "{\"role\":\"gateway\",\"version\":\"1.2.3\",\"uptime_s\":61,"
    "\"concentrators\":[{\"name\":\"vps\",\"state\":\"up\"}],\"uplinks\":["
    "{\"name\":\"dsl\",\"state\":\"up\",\"role\":\"active\",\"rx_bps\":25000000,\"tx_bps\":5000000,"
    "\"rx_capacity_bps\":50000000,\"tx_capacity_bps\":10000000,\"rtt_ms\":20.5},"
    "{\"name\":\"lte\",\"state\":\"up\",\"role\":\"standby\",\"rx_bps\":0,\"tx_bps\":0,"
    "\"rtt_ms\":61},"
    "{\"name\":\"a-long-name-of-31-characters-xyz\",\"state\":\"down\",\"role\":\"off\","
    "\"reason\":\"no carrier\",\"rx_bps\":0,\"tx_bps\":0}]}";

struct scene {
    struct top_memory *memory;
    struct json_object *status, *flows;
    char frame[FRAME_MAX];
};

static struct json_object *parse(const char *text)
{
    struct json_object *object = json_tokener_parse(text);

    assert_non_null(object);
    return object;
}

/* Of a flow that has received so many bytes. */
static void add_flow(struct json_object *flows, int id, const char *destination, uint64_t rx_bytes)
{
    char text[512];

    snprintf(text, sizeof(text),
             "{\"id\":%d,\"destination\":\"%s\",\"age_s\":%d,\"rx_bytes\":%llu,\"tx_bytes\":0,"
             "\"subflows\":[{\"uplink\":\"dsl\",\"rx_bytes\":3,\"tx_bytes\":0},"
             "{\"uplink\":\"lte\",\"rx_bytes\":1,\"tx_bytes\":0}]}",
             id, destination, id, (unsigned long long)rx_bytes);
    json_object_array_add(flows, parse(text));
}

/* Two looks, a second apart: flow 2 has received 1 MB in it, flow 1 nothing. */
static int begin(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));

    s->memory = top_memory_new();
    s->status = parse(status_text);
    struct json_object *before = json_object_new_array();
    add_flow(before, 1, "192.0.2.1:443", 5000);
    add_flow(before, 2, "192.0.2.2:443", 5000);
    top_update(s->memory, s->status, before, 1000);
    json_object_put(before);
    s->flows = json_object_new_array();
    add_flow(s->flows, 1, "192.0.2.1:443", 5000);
    add_flow(s->flows, 2, "192.0.2.2:443", 1005000);
    add_flow(s->flows, 3, "192.0.2.3:443", 7000);
    top_update(s->memory, s->status, s->flows, 2000);
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct scene *s = *state;

    top_memory_free(s->memory);
    json_object_put(s->status);
    json_object_put(s->flows);
    free(s);
    return 0;
}

static const char *render(struct scene *s, struct top_page page, const char *complaint)
{
    memset(s->frame, 0, sizeof(s->frame));
    page.screen.out = fmemopen(s->frame, sizeof(s->frame), "w");
    assert_non_null(page.screen.out);
    top_render(s->memory, s->status, s->flows, complaint, &page);
    fclose(page.screen.out);
    return s->frame;
}

static const char *render_plain(struct scene *s, int width)
{
    return render(s, (struct top_page){.width = width}, "");
}

/* Columns of a line: a UTF-8 character is one, and a code in escapes none. */
static int columns_of(const char *line, size_t len)
{
    int columns = 0;

    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\033') {
            while (i < len && !strchr("mKJH", line[i]))
                i++;
            continue;
        }
        columns += line[i] != '\r' && ((unsigned char)line[i] & 0xc0) != 0x80;
    }
    return columns;
}

static int count_lines(const char *frame, int width)
{
    int lines = 0;

    while (*frame) {
        size_t len = strcspn(frame, "\n");
        if (columns_of(frame, len) > width)
            fail_msg("wider than %d: %.*s", width, (int)len, frame);
        lines++;
        frame += len + (frame[len] == '\n');
    }
    return lines;
}

static void expect(const char *frame, const char *text)
{
    if (!strstr(frame, text))
        fail_msg("no \"%s\" in\n%s", text, frame);
}

static void test_a_frame(void **state)
{
    assert_string_equal(
        render_plain(*state, 80),
        "bondway gateway 1.2.3, for 1 min  degraded: `bondway status` says how\n"
        "\n"
        "uplinks                  down               up                     rtt\n"
        "dsl             up       ####.... 25.0 Mb/s #.        5.0 Mb/s   20 ms\n"
        "lte             up                    0 b/s              0 b/s   61 ms standby\n"
        "a-long-name-of- down     no carrier\n"
        "together                          25.0 Mb/s           5.0 Mb/s\n"
        "\n"
        "3 flows                                     down         up\n"
        "192.0.2.2:443           ###########     8.0 Mb/s      0 b/s dsl 75 %, lte 25 %\n"
        "192.0.2.1:443                              0 b/s      0 b/s dsl 75 %, lte 25 %\n"
        "192.0.2.3:443                              0 b/s      0 b/s dsl 75 %, lte 25 %\n");
}

static void test_every_size_is_kept(void **state)
{
    for (int width = 1; width <= 200; width++) {
        for (int height = 1; height <= 30; height++) {
            for (int kind = 0; kind < 8; kind++) {
                struct top_page page = {.screen.colour = kind & 1,
                                        .width = width,
                                        .height = height,
                                        .utf8 = kind & 2,
                                        .terminal = kind & 4};
                assert_true(count_lines(render(*state, page, ""), width) <= height);
            }
        }
    }
}

static void test_what_goes_first_where_it_is_narrow(void **state)
{
    expect(render_plain(*state, 80), "rtt");
    assert_null(strstr(render_plain(*state, 60), "rtt"));
    expect(render_plain(*state, 60), " up ");
    assert_null(strstr(render_plain(*state, 40), "\nuplinks              down                up"));
    expect(render_plain(*state, 40), "25.0 Mb/s");
    expect(render_plain(*state, 31), "25.0 Mb/s");
}

static void test_the_busiest_flow_comes_first(void **state)
{
    const char *frame = render_plain(*state, 100);
    const char *first = strstr(frame, "192.0.2.2:443"), *second = strstr(frame, "192.0.2.1:443");

    assert_non_null(first);
    assert_non_null(second);
    assert_true(first < second);
    expect(frame, "8.0 Mb/s");
    expect(frame, "dsl 75 %, lte 25 %");
    expect(frame, "3 flows");
    struct top_page low = {.width = 100, .height = 10};
    frame = render(*state, low, "");
    expect(frame, "192.0.2.2:443");
    assert_null(strstr(frame, "192.0.2.1:443"));
}

static void test_a_flow_that_is_new_has_no_rate_yet(void **state)
{
    struct scene *s = *state;

    top_memory_free(s->memory);
    s->memory = top_memory_new();
    top_update(s->memory, s->status, s->flows, 1000);
    assert_null(strstr(render_plain(s, 100), "8.0 Mb/s"));
}

static void test_bars(void **state)
{
    struct top_page page = {.width = 80, .utf8 = true};
    const char *frame = render(*state, page, "");

    expect(frame, "████····"); /* half of what it can, on a scale of 50 Mb/s */
    for (const char *c = render_plain(*state, 80); *c; c++)
        assert_true((unsigned char)*c < 0x80);
}

static void test_colours_only_where_they_are_wanted(void **state)
{
    struct top_page page = {.width = 80, .screen.colour = true};

    expect(render(*state, page, ""), "\033[32m");
    assert_null(strchr(render_plain(*state, 80), '\033'));
    page = (struct top_page){.width = 80, .height = 24, .terminal = true};
    assert_null(strstr(render(*state, page, ""), "m"
                                                 "\033[32m"));
    expect(render(*state, page, ""), "\033[K\n");
}

static struct json_object *replace(struct json_object *before, const char *text)
{
    json_object_put(before);
    return parse(text);
}

/* A name that another begins like, and shares beside which a bar gets shorter: the largest first.
 */
static void test_names_and_shares_that_are_long(void **state)
{
    struct scene *s = *state;

    s->flows = replace(s->flows, "[{\"id\":2,\"destination\":\"192.0.2.2:443\",\"age_s\":1,"
                                 "\"rx_bytes\":1005000,\"tx_bytes\":0,\"subflows\":["
                                 "{\"uplink\":\"satellite-a\",\"rx_bytes\":10,\"tx_bytes\":0},"
                                 "{\"uplink\":\"lte\",\"rx_bytes\":0,\"tx_bytes\":90}]}]");
    expect(render_plain(s, 80), "\n192.0.2.2:443           ######    8.0 Mb/s      0 b/s "
                                "lte 90 %, satellite-a 10 %\n");
    expect(render_plain(s, 160), "\na-long-name-of-31-characters-xy down");
}

static void test_an_upload_has_a_bar(void **state)
{
    struct scene *s = *state;

    s->flows = replace(s->flows, "[{\"id\":2,\"destination\":\"192.0.2.2:443\",\"age_s\":1,"
                                 "\"rx_bytes\":5000,\"tx_bytes\":1000000,\"subflows\":[]}]");
    top_update(s->memory, s->status, s->flows, 3000);
    expect(render_plain(s, 80), "192.0.2.2:443           ###########        0 b/s   8.0 Mb/s\n");
}

static void test_of_a_concentrator(void **state)
{
    struct scene *s = *state;

    s->status = replace(s->status, "{\"role\":\"concentrator\",\"gateways\":["
                                   "{\"name\":\"home\",\"flows\":1,\"rx_bytes\":1,"
                                   "\"tx_bytes\":1}]}");
    s->flows = replace(s->flows, "[{\"source\":\"a\",\"destination\":\"192.0.2.2:443\","
                                 "\"gateway\":\"home\",\"rx_bytes\":1,\"tx_bytes\":1}]");
    const char *frame = render_plain(s, 80);
    expect(frame, "\nhome  1 now ");
    expect(frame, "0 b/s home\n");
    assert_null(strstr(frame, "rtt"));
}

static void test_what_is_wrong_is_said(void **state)
{
    struct scene *s = *state;

    expect(render(s, (struct top_page){.width = 80}, "no bondway answers"),
           "gone: what it said last\nno bondway answers\nuplinks");
    s->status = replace(s->status, "{\"uplinks\":[{\"name\":\"dsl\",\"state\":\"dead\","
                                   "\"reason\":\"no answer for 2 s\"}]}");
    expect(render_plain(s, 80), "dsl  dead     no answer for 2 s\n");
    s->status = replace(s->status, "{\"uplinks\":[{\"name\":\"dsl\",\"state\":\"probing\","
                                   "\"role\":\"active\",\"rtt_ms\":null}]}");
    assert_null(strstr(render_plain(s, 80), " ms")); /* unknown is not 0 */
}

static void test_what_an_uplink_lacks_is_said(void **state)
{
    expect(render_plain(*state, 80), "no carrier");
    expect(render_plain(*state, 80), "standby");
}

static void test_a_destination_with_control_characters(void **state)
{
    struct scene *s = *state;

    add_flow(s->flows, 4, "\\u001b[2J", 1);
    assert_null(strchr(render_plain(s, 80), '\033'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_frame, begin, end),
        cmocka_unit_test_setup_teardown(test_every_size_is_kept, begin, end),
        cmocka_unit_test_setup_teardown(test_what_goes_first_where_it_is_narrow, begin, end),
        cmocka_unit_test_setup_teardown(test_the_busiest_flow_comes_first, begin, end),
        cmocka_unit_test_setup_teardown(test_a_flow_that_is_new_has_no_rate_yet, begin, end),
        cmocka_unit_test_setup_teardown(test_bars, begin, end),
        cmocka_unit_test_setup_teardown(test_colours_only_where_they_are_wanted, begin, end),
        cmocka_unit_test_setup_teardown(test_names_and_shares_that_are_long, begin, end),
        cmocka_unit_test_setup_teardown(test_an_upload_has_a_bar, begin, end),
        cmocka_unit_test_setup_teardown(test_of_a_concentrator, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_is_said, begin, end),
        cmocka_unit_test_setup_teardown(test_what_an_uplink_lacks_is_said, begin, end),
        cmocka_unit_test_setup_teardown(test_a_destination_with_control_characters, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
