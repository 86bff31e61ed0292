/* The text that Prometheus reads, out of a status document. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "concentrator/metrics.h"
#include "core/metrics.h"
#include "gateway/metrics.h"

static const struct metric table[] = {
    {.key = "flows.total", .name = "x_flows_total", .kind = METRIC_COUNTER, .help = "Flows."},
    {.of = METRIC_OF_UPLINK,
     .key = "rtt_ms",
     .name = "x_rtt_seconds",
     .per = 1000,
     .help = "Round trip."},
    {.of = METRIC_OF_UPLINK,
     .key = "state",
     .name = "x_state",
     .kind = METRIC_STATE,
     .help = "State.\0down\0up\0"},
    {.name = ""},
};

/* The caller frees it. */
static char *text_of(const struct metric *rows, const char *document)
{
    struct json_object *status = json_tokener_parse(document);
    struct evbuffer *out = evbuffer_new();

    assert_non_null(status);
    assert_int_equal(metrics_write(out, rows, status), 0);
    size_t len = evbuffer_get_length(out);
    char *text = malloc(len + 1);
    evbuffer_remove(out, text, len);
    text[len] = '\0';
    evbuffer_free(out);
    return text;
}

static void figures_become_series(void **state)
{
    char *text = text_of(table, "{\"flows\":{\"total\":9007199254740993},\"uplinks\":["
                                "{\"name\":\"dsl\",\"rtt_ms\":20.5,\"state\":\"up\"},"
                                "{\"name\":\"a\\\"b\\\\\\n\",\"rtt_ms\":null,\"state\":\"odd\"}]}");

    assert_string_equal(text, "# HELP x_flows_total Flows.\n"
                              "# TYPE x_flows_total counter\n"
                              "x_flows_total 9007199254740993\n"
                              "# HELP x_rtt_seconds Round trip.\n"
                              "# TYPE x_rtt_seconds gauge\n"
                              "x_rtt_seconds{uplink=\"dsl\"} 0.0205\n"
                              "# HELP x_state State.\n"
                              "# TYPE x_state gauge\n"
                              "x_state{uplink=\"dsl\",state=\"down\"} 0\n"
                              "x_state{uplink=\"dsl\",state=\"up\"} 1\n"
                              "x_state{uplink=\"a\\\"b\\\\\\n\",state=\"down\"} 0\n"
                              "x_state{uplink=\"a\\\"b\\\\\\n\",state=\"up\"} 0\n");
    free(text);
}

static void what_is_missing_is_left_out(void **state)
{
    char *text = text_of(table, "{}");

    assert_null(strstr(text, "\nx_"));
    free(text);
}

/* As promtool checks them: one prefix, counters end with _total and nothing else does, no label in
 * a name, base units, a help that ends with a full stop, every name once. */
static void expect_good_names(const struct metric *rows)
{
    for (const struct metric *m = rows; m->name[0]; m++) {
        size_t len = strlen(m->name);
        bool total = len > 6 && strcmp(m->name + len - 6, "_total") == 0;
        assert_true(strncmp(m->name, "bondway_", 8) == 0);
        assert_int_equal(total, m->kind == METRIC_COUNTER);
        assert_int_equal(strspn(m->name, "abcdefghijklmnopqrstuvwxyz_"), len);
        assert_null(strstr(m->name, "_ms"));
        assert_null(strstr(m->name, "percent"));
        assert_int_equal(m->help[strlen(m->help) - 1], '.');
        if (m->kind == METRIC_STATE)
            assert_int_not_equal(m->help[strlen(m->help) + 1], '\0');
        for (const struct metric *other = rows; other < m; other++)
            assert_string_not_equal(other->name, m->name);
    }
}

static void the_tables_keep_to_the_conventions(void **state)
{
    expect_good_names(gateway_metrics);
    expect_good_names(concentrator_metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_become_series),
        cmocka_unit_test(what_is_missing_is_left_out),
        cmocka_unit_test(the_tables_keep_to_the_conventions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
