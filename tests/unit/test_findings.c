/* What doctor has found, for a person and for programs: whole, or said to have failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/findings.h"

static bool no_memory;

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);

char *__wrap_strdup(const char *text)
{
    return no_memory ? NULL : __real_strdup(text);
}

static void assert_described(const struct findings *all, const char *expected)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    findings_describe(all, &d);
    struct json_object *document = document_finish(&d);
    char *text = document_write(document);
    assert_string_equal(text, expected);
    free(text);
    json_object_put(document);
}

static void assert_printed(const struct findings *all, const char *expected)
{
    char text[1024] = "";
    struct screen screen = {.out = fmemopen(text, sizeof(text), "w")};

    assert_non_null(screen.out);
    findings_print(all, &screen);
    fclose(screen.out);
    assert_string_equal(text, expected);
}

static struct json_object *one_figure(void)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_decimal(&d, "rtt_ms", 20.04, 1);
    return document_finish(&d);
}

static void the_worst_decides(void **state)
{
    struct findings *all = findings_new();

    assert_int_equal(findings_code(all), EXIT_WELL);
    assert_described(all, "{\"findings\":[]}");
    findings_add(all, FINDING_OK, "lan", NULL, "%s is there", "br-lan");
    findings_add(all, FINDING_NOTE, "gateway", "", "none runs now");
    assert_int_equal(findings_code(all), EXIT_WELL);
    findings_add_line(all, FINDING_WARN, "dsl", "no carrier; look at its cable");
    findings_add_figures(all, one_figure());
    assert_int_equal(findings_code(all), EXIT_DEGRADED);
    assert_printed(all, "ok    lan      br-lan is there\n"
                        "note  gateway  none runs now\n"
                        "warn  dsl      no carrier\n"
                        "               -> look at its cable\n");
    assert_described(
        all, "{\"findings\":["
             "{\"level\":\"ok\",\"subject\":\"lan\",\"text\":\"br-lan is there\",\"remedy\":\"\"},"
             "{\"level\":\"note\",\"subject\":\"gateway\",\"text\":\"none runs now\","
             "\"remedy\":\"\"},"
             "{\"level\":\"warn\",\"subject\":\"dsl\",\"text\":\"no carrier\","
             "\"remedy\":\"look at its cable\",\"figures\":{\"rtt_ms\":20.0}}]}");
    findings_add_line(all, FINDING_BAD, "vps", "no uplink leads there");
    assert_int_equal(findings_code(all), EXIT_FAILED);
    findings_free(all);
}

/* Its figures are not another's. */
static void one_without_memory_is_missed(void **state)
{
    struct findings *all = findings_new();

    findings_add(all, FINDING_OK, "dsl", NULL, "it is well");
    no_memory = true;
    findings_add(all, FINDING_OK, "lte", NULL, "it is well");
    no_memory = false;
    findings_add_figures(all, one_figure());
    assert_described(all, "{\"findings\":[{\"level\":\"ok\",\"subject\":\"dsl\","
                          "\"text\":\"it is well\",\"remedy\":\"\"}]}");
    assert_int_equal(findings_code(all), EXIT_FAILED);
    findings_free(all);
}

static void figures_that_have_failed_are_missed(void **state)
{
    struct findings *all = findings_new();

    findings_add(all, FINDING_OK, "dsl", NULL, "it is well");
    findings_add_figures(all, NULL);
    assert_int_equal(findings_code(all), EXIT_FAILED);
    findings_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worst_decides),
        cmocka_unit_test(one_without_memory_is_missed),
        cmocka_unit_test(figures_that_have_failed_are_missed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
