/* Join links: every one that is made is read again, and a badly pasted one is recognised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/link.h"

static char good[LINK_TEXT];

static int make_link(void **state)
{
    struct join_link link = {.host = "203.0.113.10", .port = 7171, .name = "home"};

    if (key_generate(&link.key))
        return -1;
    link_format(&link, good);
    return 0;
}

static void test_links_survive_text(void **state)
{
    static const char *const hosts[] = {"203.0.113.10", "2001:db8::1", "vps.example.org", "a"};
    struct join_link link = {.port = 65535, .name = "b.-_9"}, back;
    char text[LINK_TEXT];

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        memset(link.host, 0, sizeof(link.host));
        memcpy(link.host, hosts[i], strlen(hosts[i]));
        assert_int_equal(key_generate(&link.key), 0);
        link_format(&link, text);
        assert_int_equal(link_parse(&back, text), LINK_OK);
        assert_memory_equal(&back, &link, sizeof(link));
    }
}

static void test_the_longest_link(void **state)
{
    struct join_link link = {.port = 65535}, back;
    char text[LINK_TEXT];

    memset(link.host, 'h', LINK_HOST_MAX);
    memset(link.name, 'n', LINK_NAME_MAX);
    assert_int_equal(key_generate(&link.key), 0);
    link_format(&link, text);
    assert_int_equal(link_parse(&back, text), LINK_OK);
    assert_memory_equal(&back, &link, sizeof(link));
}

static void test_the_form(void **state)
{
    struct join_link link = {.host = "2001:db8::1", .port = 7171, .name = "home"};
    char text[LINK_TEXT], key[KEY_TEXT], expected[LINK_TEXT];

    assert_int_equal(key_generate(&link.key), 0);
    link_format(&link, text);
    key_format(&link.key, key);
    snprintf(expected, sizeof(expected), "bondway1://[2001:db8::1]:7171/%s#home",
             key + strlen("bondway1:"));
    assert_string_equal(text, expected);
}

static void expect_good(const char *text)
{
    struct join_link link;

    assert_int_equal(link_parse(&link, text), LINK_OK);
    assert_string_equal(link.host, "203.0.113.10");
    assert_string_equal(link.name, "home");
}

/* As it comes out of a terminal or a mail: broken into lines, with blanks around. */
static void test_white_space_is_passed_over(void **state)
{
    char text[2 * LINK_TEXT] = " ";
    size_t n = 1;

    for (size_t i = 0; good[i]; i++) {
        text[n++] = good[i];
        if (i % 20 == 19)
            text[n++] = i % 40 == 39 ? '\n' : ' ';
    }
    snprintf(text + n, sizeof(text) - n, "\r\n");
    expect_good(text);
}

/* By people, chats and mail programs: "%.*s" are its two halves. */
static void test_what_stands_around_it_is_passed_over(void **state)
{
    static const char *const forms[] = {
        "\"%.*s%s\"",
        "'%.*s%s'\n",
        "`%.*s%s`",
        "<%.*s%s>",
        "> %.*s\n> %s\n",
        "\xe2\x80\x9c%.*s%s\xe2\x80\x9d",
        "\xef\xbb\xbf%.*s\xc2\xa0%s",
        "The link: %.*s%s",
        "# bondway join %.*s%s",
    };
    char text[2 * LINK_TEXT];

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        snprintf(text, sizeof(text), forms[i], 60, good, good + 60);
        expect_good(text);
    }
}

static void expect(const char *text, enum link_verdict verdict)
{
    static const struct join_link wiped;
    struct join_link link;

    memset(&link, 0x55, sizeof(link));
    assert_int_equal(link_parse(&link, text), verdict);
    assert_memory_equal(&link, &wiped, sizeof(link));
    assert_true(strlen(link_why(verdict)) > 4);
}

/* Wherever it is cut, up to the name. */
static void test_cut_short(void **state)
{
    size_t end = (size_t)(strchr(good, '#') - good) + 1;
    char text[LINK_TEXT];

    for (size_t n = strlen("bondway1://"); n <= end; n++) {
        memcpy(text, good, n);
        text[n] = '\0';
        expect(text, LINK_CUT);
    }
}

/* The id and the secret do not belong together, whichever digit is another. */
static void test_a_wrong_character(void **state)
{
    char *key = strrchr(good, '/') + 1, *end = strchr(good, '#'), text[LINK_TEXT];

    for (char *at = key; at < end; at++) {
        char was = *at;
        *at = was == 'A' ? 'B' : 'A';
        expect(good, LINK_DAMAGED);
        *at = '!';
        expect(good, LINK_DAMAGED);
        *at = was;
    }
    snprintf(text, sizeof(text), "%.*s%s", (int)(end - good) - 1, good, end);
    expect(text, LINK_DAMAGED);
}

static void test_something_else(void **state)
{
    char key[KEY_TEXT], text[3 * LINK_TEXT];
    struct key any;

    expect("", LINK_NONE);
    expect("https://example.org/", LINK_NONE);
    expect("bondway", LINK_NONE);
    expect("bondway join", LINK_NONE);
    assert_int_equal(key_generate(&any), 0);
    key_format(&any, key);
    expect(key, LINK_KEY);
    expect("bondway2://203.0.113.10:7171/AAAA#home", LINK_VERSION);
    snprintf(text, sizeof(text), "%s %0400d", good, 0);
    expect(text, LINK_LONG);
    snprintf(text, sizeof(text), "%s\n%s", good, good);
    expect(text, LINK_LONG);
}

static void expect_host(const char *host, enum link_verdict verdict)
{
    char text[LINK_TEXT];

    snprintf(text, sizeof(text), "bondway1://%s%s", host, strrchr(good, '/'));
    expect(text, verdict);
}

static void test_a_wrong_host_or_port(void **state)
{
    static const char *const hosts[] = {
        "",      "203.0.113.10", "203.0.113.10:", "h:0",      "h:65536", "h:+7171",   "h:07171",
        ":7171", "[::1]",        "h h!x:1",       "::1:7171", "-h:1",    "h:71710000"};

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        expect_host(hosts[i], LINK_HOST);
}

static void test_a_wrong_name(void **state)
{
    char text[2 * LINK_TEXT];

    snprintf(text, sizeof(text), "%s!", good);
    expect(text, LINK_NAME);
    snprintf(text, sizeof(text), "%s#", good);
    expect(text, LINK_NAME);
    snprintf(text, sizeof(text), "%s%040d", good, 0);
    expect(text, LINK_LONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_survive_text),
        cmocka_unit_test(test_the_longest_link),
        cmocka_unit_test(test_the_form),
        cmocka_unit_test(test_white_space_is_passed_over),
        cmocka_unit_test(test_what_stands_around_it_is_passed_over),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_a_wrong_character),
        cmocka_unit_test(test_something_else),
        cmocka_unit_test(test_a_wrong_host_or_port),
        cmocka_unit_test(test_a_wrong_name),
    };

    return cmocka_run_group_tests(tests, make_link, NULL);
}
