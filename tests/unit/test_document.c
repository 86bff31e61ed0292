/* A document is whole, or it is not there: at every allocation that fails, while it is built and
 * while it is written. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/document.h"

/* The n-th allocation from now on fails, in json-c, too, and all those behind it, or it alone. */
static unsigned allocations, failing;
static bool for_good;

static bool fails(void)
{
    if (failing == 0)
        return false;
    allocations++;
    return allocations == failing || (for_good && allocations > failing);
}

void *malloc(size_t size)
{
    static void *(*real)(size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "malloc");
    return fails() ? NULL : real(size);
}

void *calloc(size_t n, size_t size)
{
    static void *(*real)(size_t, size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "calloc");
    return fails() ? NULL : real(n, size);
}

void *realloc(void *old, size_t size)
{
    static void *(*real)(void *, size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "realloc");
    return fails() ? NULL : real(old, size);
}

#define LONG "0123456789012345678901234567890123456789012345678901234567890123456789"

static struct json_object *build(void)
{
    /* More keys than an object has room for at first. */
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                       "j", "k", "l", "m", "n", "o", "p", "q", "r"};
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "text", LONG);
    document_add_null(&d, "null");
    document_open_list(&d, "list");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        document_open_object(&d, NULL);
        document_add_decimal(&d, "number", (double)i / 4, 3);
        document_close(&d);
    }
    document_close(&d);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        document_add_number(&d, keys[i], i);
    document_add_document(&d, "taken", json_object_new_string("it"));
    return document_finish(&d);
}

/* From the first allocation to the last, and the one behind it, which does not come. */
static void fail_each(const char *whole)
{
    unsigned n = 0, last;

    do {
        allocations = 0;
        failing = ++n;
        struct json_object *document = build();
        char *text = document_write(document);
        last = allocations;
        failing = 0;
        if (n <= last)
            assert_null(text);
        else
            assert_string_equal(text, whole);
        free(text);
        json_object_put(document);
    } while (n <= last);
    assert_true(n > 100);
}

static void a_failed_allocation_is_no_half_document(void **state)
{
    struct json_object *document = build();
    char *whole = document_write(document);

    assert_non_null(whole);
    for_good = false;
    fail_each(whole);
    for_good = true;
    fail_each(whole);
    free(whole);
    json_object_put(document);
}

static void assert_written(struct document *d, const char *expected)
{
    struct json_object *document = document_finish(d);
    char *text = document_write(document);

    assert_string_equal(text, expected);
    free(text);
    json_object_put(document);
}

static void everything_is_written_as_it_was_added(void **state)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "text", "a/b");
    document_add_number(&d, "most", INT64_MAX);
    document_add_bool(&d, "yes", true);
    document_add_bool(&d, "no", false);
    document_add_null(&d, "nothing");
    document_open_object(&d, "empty");
    document_close(&d);
    document_open_list(&d, "list");
    document_add_number(&d, NULL, 1);
    document_open_list(&d, NULL);
    document_close(&d);
    document_add_text(&d, NULL, "");
    document_close(&d);
    document_add_document(&d, "other", json_object_new_int(-7));
    assert_written(&d, "{\"text\":\"a/b\",\"most\":9223372036854775807,\"yes\":true,\"no\":false,"
                       "\"nothing\":null,\"empty\":{},\"list\":[1,[],\"\"],\"other\":-7}");
}

static void decimals_have_the_digits_that_mean_something(void **state)
{
    struct document d = {.depth = 0};

    document_open_list(&d, NULL);
    document_add_decimal(&d, NULL, 20.149, 1);
    document_add_decimal(&d, NULL, 20, 1);
    document_add_decimal(&d, NULL, 0.147, 3);
    document_add_decimal(&d, NULL, 41.25, 3);
    document_add_decimal(&d, NULL, 100, 3);
    assert_written(&d, "[20.1,20.0,0.147,41.25,100.0]");
}

/* What a person has named is any text. */
static void text_is_quoted(void **state)
{
    static const char any[] = "say \"a\\b\"\n\t\x01 \xc3\xa9/";
    struct document d = {.depth = 0};

    document_open_list(&d, NULL);
    document_add_text(&d, NULL, any);
    struct json_object *document = document_finish(&d);
    char *text = document_write(document);
    assert_string_equal(text, "[\"say \\\"a\\\\b\\\"\\u000a\\u0009\\u0001 \xc3\xa9/\"]");
    struct json_object *read = json_tokener_parse(text);
    assert_string_equal(json_object_get_string(json_object_array_get_idx(read, 0)), any);
    json_object_put(read);
    free(text);
    json_object_put(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_allocation_is_no_half_document),
        cmocka_unit_test(everything_is_written_as_it_was_added),
        cmocka_unit_test(decimals_have_the_digits_that_mean_something),
        cmocka_unit_test(text_is_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
