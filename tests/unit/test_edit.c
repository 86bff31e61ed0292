/* Editing a configuration file: what is asked for changes, and every other byte stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <libconfig.h>
#include <cmocka.h>

#include "config/edit.h"
#include "config/source.h"

/* Both texts are libconfig's, too. */
static void must_parse(const char *text)
{
    struct source_mistake mistake;
    config_t parsed;

    assert_true(source_check(text, &mistake));
    config_init(&parsed);
    if (config_read_string(&parsed, text) != CONFIG_TRUE)
        fail_msg("line %d: %s in\n%s", config_error_line(&parsed), config_error_text(&parsed),
                 text);
    config_destroy(&parsed);
}

static void expect(int err, char *out, const char *before, const char *after)
{
    must_parse(before);
    assert_int_equal(err, 0);
    assert_string_equal(out, after);
    must_parse(out);
    free(out);
}

static void expect_append(const char *before, const char *after)
{
    char *out = NULL;
    int err = edit_append(before, "g", "{ n = 9; }", &out);

    expect(err, out, before, after);
}

static void expect_remove(size_t index, const char *before, const char *after)
{
    char *out = NULL;
    int err = edit_remove(before, "g", index, &out);

    expect(err, out, before, after);
}

static void test_append_to_a_list_on_lines(void **state)
{
    expect_append("a = 1;\ng = (\n  { n = 1; }\n);\nb = 2;  # two\n",
                  "a = 1;\ng = (\n  { n = 1; },\n  { n = 9; }\n);\nb = 2;  # two\n");
    /* A comment stays with its element, and what looks like brackets in it is none. */
    expect_append("g = (\n\t{ n = 1; },\n\t{ n = 2; }  # second )\n);\n",
                  "g = (\n\t{ n = 1; },\n\t{ n = 2; },  # second )\n\t{ n = 9; }\n);\n");
    expect_append("g =\n( { n = 1;\n    m = \"}\"; }\n  /* ) */ )\n",
                  "g =\n( { n = 1;\n    m = \"}\"; },\n  { n = 9; }\n  /* ) */ )\n");
}

static void test_append_to_a_list_on_one_line(void **state)
{
    expect_append("g = ( { n = 1; } );", "g = ( { n = 1; }, { n = 9; } );");
    expect_append("g : ({n=1},{n=2}); a = 1;", "g : ({n=1},{n=2}, { n = 9; }); a = 1;");
}

static void test_append_to_an_empty_list(void **state)
{
    expect_append("g = ();\n", "g = (\n  { n = 9; }\n);\n");
    expect_append("g = ( );\n", "g = (\n  { n = 9; }\n);\n");
    expect_append("g = (  # none )\n);\n", "g = (  # none )\n  { n = 9; }\n);\n");
}

/* libconfig takes a form feed for a blank, so we must, or there would be two lists. */
static void test_append_behind_a_form_feed(void **state)
{
    expect_append("g\f=\f(\f{ n = 1; }\f);\n", "g\f=\f(\f{ n = 1; }, { n = 9; }\f);\n");
}

/* What is put at the end of a line must not come into a comment that goes on in the next one. */
static void test_append_beside_comments_of_several_lines(void **state)
{
    expect_append("g = ( /* none\n yet */ );\n", "g = ( /* none\n yet */\n  { n = 9; }\n);\n");
    expect_append("g = (\n  { n = 1; } /* the\n  first */\n);\n",
                  "g = (\n  { n = 1; }, /* the\n  first */\n  { n = 9; }\n);\n");
    expect_append("g = ( { n = 1; } /* the\n  first */ );\n",
                  "g = ( { n = 1; }, { n = 9; } /* the\n  first */ );\n");
}

static void test_append_where_there_is_no_list(void **state)
{
    expect_append("a = 1;\n", "a = 1;\ng = (\n  { n = 9; }\n);\n");
    expect_append("a = 1; /* no newline */", "a = 1; /* no newline */\ng = (\n  { n = 9; }\n);\n");
    expect_append("", "g = (\n  { n = 9; }\n);\n");
    /* Nor is one of that name elsewhere, or in a comment or string. */
    expect_append("x = { g = ( { n = 1; } ); };\n# g = ();\ns = \"g = ()\";\n",
                  "x = { g = ( { n = 1; } ); };\n# g = ();\ns = \"g = ()\";\n"
                  "g = (\n  { n = 9; }\n);\n");
    expect_append("gg = ( { n = 1; } );\n", "gg = ( { n = 1; } );\ng = (\n  { n = 9; }\n);\n");
}

static void test_what_is_no_such_list(void **state)
{
    char *out;

    assert_int_equal(edit_append("g = [];\n", "g", "{ }", &out), -EINVAL);
    assert_int_equal(edit_append("g = 5;\n", "g", "{ }", &out), -EINVAL);
    assert_int_equal(edit_remove("a = 1;\n", "g", 0, &out), -EINVAL);
    assert_int_equal(edit_remove("g = ( { n = 1; } );\n", "g", 1, &out), -EINVAL);
    assert_int_equal(edit_replace("g = ();\n", "g", 0, "{ }", &out), -EINVAL);
}

static void test_remove_from_a_list_on_lines(void **state)
{
    static const char three[] = "# top\ng = (\n  # about one\n  { n = 1; },  # one\n"
                                "  { n = 2;\n    m = 2; },\n  { n = 3; }  # three\n);\n";

    expect_remove(0, three,
                  "# top\ng = (\n  # about one\n  { n = 2;\n    m = 2; },\n"
                  "  { n = 3; }  # three\n);\n");
    expect_remove(1, three,
                  "# top\ng = (\n  # about one\n  { n = 1; },  # one\n  { n = 3; }  # three\n);\n");
    expect_remove(2, three,
                  "# top\ng = (\n  # about one\n  { n = 1; },  # one\n"
                  "  { n = 2;\n    m = 2; }\n);\n");
    expect_remove(0, "g = (\n  { n = 1; }\n  ,\n  { n = 2; }\n);\n",
                  "g = (\n  \n  { n = 2; }\n);\n");
}

static void test_remove_from_a_list_on_one_line(void **state)
{
    expect_remove(0, "g = ( {n=1}, {n=2}, {n=3} );", "g = ( {n=2}, {n=3} );");
    expect_remove(1, "g = ( {n=1}, {n=2}, {n=3} );", "g = ( {n=1}, {n=3} );");
    expect_remove(2, "g = ( {n=1}, {n=2}, {n=3} );", "g = ( {n=1}, {n=2} );");
    expect_remove(0, "g = ( {n=1} );", "g = ( );");
    expect_remove(0, "g = ({n=1}); a = 1;", "g = (); a = 1;");
}

static void test_replace(void **state)
{
    static const char before[] = "g = (\n  { n = 1; }, # one\n  { n = 2; } # two\n);\n";
    char *out;
    int err = edit_replace(before, "g", 1, "{ n = 9; }", &out);

    expect(err, out, before, "g = (\n  { n = 1; }, # one\n  { n = 9; } # two\n);\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_to_a_list_on_lines),
        cmocka_unit_test(test_append_to_a_list_on_one_line),
        cmocka_unit_test(test_append_to_an_empty_list),
        cmocka_unit_test(test_append_behind_a_form_feed),
        cmocka_unit_test(test_append_beside_comments_of_several_lines),
        cmocka_unit_test(test_append_where_there_is_no_list),
        cmocka_unit_test(test_what_is_no_such_list),
        cmocka_unit_test(test_remove_from_a_list_on_lines),
        cmocka_unit_test(test_remove_from_a_list_on_one_line),
        cmocka_unit_test(test_replace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
