/* Keys: one text for each, and a key file that fails says why and what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/key.h"

#define TEXT "bondway1:oKGio6SlpqcAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw"

static char dir[] = "/tmp/bondway-key-XXXXXX";
static char file[sizeof(dir) + 4];

static int make_dir(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof(file), "%s/key", dir);
    return 0;
}

static int remove_dir(void **state)
{
    unlink(file);
    return rmdir(dir);
}

static void write_file(const char *content, size_t len, mode_t mode)
{
    int fd;

    unlink(file);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd != -1);
    assert_int_equal(write(fd, content, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* Loads what was written; on failure checks that the reason holds `word` and not the secret. */
static void expect_load(const char *content, int result, const char *word)
{
    static const struct key wiped;
    struct key key;
    char why[160] = "", text[KEY_TEXT];

    memset(&key, 0x55, sizeof(key));
    write_file(content, strlen(content), 0600);
    assert_int_equal(key_load(&key, file, why, sizeof(why)), result);
    if (result == 0) {
        key_format(&key, text);
        assert_string_equal(text, TEXT);
        return;
    }
    if (!strstr(why, word))
        fail_msg("\"%s\" is not in: %s", word, why);
    assert_null(strstr(why, "ChYGRob"));
    assert_memory_equal(&key, &wiped, sizeof(key));
}

static void test_generated_keys_survive_text(void **state)
{
    struct key key, other, back;
    char text[KEY_TEXT];

    for (int i = 0; i < 200; i++) {
        assert_int_equal(key_generate(&key), 0);
        assert_int_equal(key_generate(&other), 0);
        assert_memory_not_equal(&key, &other, sizeof(key));
        key_format(&key, text);
        assert_int_equal(strlen(text), KEY_TEXT - 1);
        assert_int_equal(key_parse(&back, text), 0);
        assert_memory_equal(&back, &key, sizeof(key));
    }
}

static void test_whole_alphabet(void **state)
{
    const char *text = "bondway1:ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0w";
    const char *rest = "bondway1:123456789-_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    struct key key;
    char out[KEY_TEXT];

    assert_int_equal(key_parse(&key, text), 0);
    key_format(&key, out);
    assert_string_equal(out, text);
    assert_int_equal(key_parse(&key, rest), 0);
    key_format(&key, out);
    assert_string_equal(out, rest);
}

static void test_parse_is_strict(void **state)
{
    static const char *const bad[] = {
        "",
        "bondway1:",
        "bondway2:oKGio6SlpqcAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw",
        "oKGio6SlpqcAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw",
        TEXT "=",
        TEXT "==",
        TEXT "\n",
        TEXT " ",
        TEXT "A",
        (" " TEXT),
        "BONDWAY1:oKGio6SlpqcAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw"};
    struct key key, untouched;
    char text[KEY_TEXT];

    memset(&key, 0x55, sizeof(key));
    untouched = key;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (key_parse(&key, bad[i]) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    for (size_t len = 0; len < KEY_TEXT - 1; len++) {
        memcpy(text, TEXT, KEY_TEXT);
        text[len] = '\0';
        assert_int_equal(key_parse(&key, text), -EINVAL);
    }
    assert_memory_equal(&key, &untouched, sizeof(key));
}

/* Every character at every place: accepted only if it is a digit that leaves the unused bits zero,
 * so that no two texts mean one key. */
static void test_every_character(void **state)
{
    const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct key key;
    char text[KEY_TEXT];

    for (size_t at = 0; at < KEY_TEXT - 1; at++) {
        for (int c = 1; c < 256; c++) {
            const char *digit = strchr(digits, c);
            bool good = at < 9              ? TEXT[at] == (char)c
                        : at < KEY_TEXT - 2 ? digit != NULL
                                            : digit && (digit - digits) % 16 == 0;

            memcpy(text, TEXT, KEY_TEXT);
            text[at] = (char)c;
            assert_int_equal(key_parse(&key, text), good ? 0 : -EINVAL);
        }
    }
}

static void test_load_good(void **state)
{
    expect_load(TEXT, 0, NULL);
    expect_load(TEXT "\n", 0, NULL);
    expect_load(TEXT "\r\n", 0, NULL);
    expect_load("\n# home\n\n  " TEXT "\t\n# made in 2026\n\n", 0, NULL);
}

static void test_load_content(void **state)
{
    expect_load("", -EINVAL, "holds no key");
    expect_load("\n  \n# nothing\n", -EINVAL, "bondway keygen");
    expect_load("password\n", -EINVAL, "line 1: not a key line");
    expect_load("# x\nbondway1://vps:7171/"
                "oKGio6SlpqcAAQID#home\n",
                -EINVAL, "line 2: this is a join link");
    expect_load("bondway1:oKGio6SlpqcAAQID\n", -EINVAL, "line 1: the key is cut short");
    expect_load(TEXT "=\n", -EINVAL, "line 1: something follows");
    expect_load("bondway1:oKGio6SlpqcAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e+w\n", -EINVAL,
                "line 1: the key has a wrong character");
    expect_load(TEXT "\n\n" TEXT "\n", -EINVAL, "line 3: a second key (the first is in line 1)");
}

static void test_load_of_two(void **state)
{
    static const struct key_ring wiped;
    struct key_ring ring;
    struct key other;
    char second[KEY_TEXT], text[KEY_TEXT], id[KEY_ID_TEXT], why[160];
    char content[4 * KEY_TEXT];

    assert_int_equal(key_generate(&other), 0);
    key_format(&other, second);
    snprintf(content, sizeof(content), "# the old one\n" TEXT "\n\n%s\n", second);
    write_file(content, strlen(content), 0600);
    assert_int_equal(key_ring_load(&ring, file, why, sizeof(why)), 0);
    assert_int_equal(ring.n, 2);
    key_format(&ring.keys[0], text);
    assert_string_equal(text, TEXT);
    assert_memory_equal(&ring.keys[1], &other, sizeof(other));
    assert_string_equal(key_format_id(&ring.keys[0], id), "a0a1a2a3a4a5a6a7");
    assert_int_equal(key_load(&other, file, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "line 4: a second key (the first is in line 2): keep one"));

    write_file(TEXT "\n" TEXT "\n", strlen(TEXT "\n" TEXT "\n"), 0600);
    assert_int_equal(key_ring_load(&ring, file, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "line 2: the key of line 1 again: remove one of them"));
    assert_memory_equal(&ring, &wiped, sizeof(ring));

    snprintf(content, sizeof(content), TEXT "\n%s\n" TEXT "\n", second);
    write_file(content, strlen(content), 0600);
    assert_int_equal(key_ring_load(&ring, file, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "line 3: a third key (the first is in line 1): keep two"));
    assert_memory_equal(&ring, &wiped, sizeof(ring));
}

static void test_load_size(void **state)
{
    char big[5000];
    char why[160];
    struct key key;

    memset(big, '#', sizeof(big));
    write_file(big, 4096, 0600);
    assert_int_equal(key_load(&key, file, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "holds no key"));
    write_file(big, 4097, 0600);
    assert_int_equal(key_load(&key, file, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "too long"));
    write_file(TEXT "\n\0\n", sizeof(TEXT) + 2, 0600);
    assert_int_equal(key_load(&key, file, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "not text"));
}

static void test_load_permissions(void **state)
{
    static const mode_t wrong[] = {0640, 0604, 0660, 0622, 0611, 0777};
    char why[160], command[80];
    struct key key;

    snprintf(command, sizeof(command), "chmod 600 %s", file);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        write_file(TEXT, sizeof(TEXT) - 1, wrong[i]);
        assert_int_equal(key_load(&key, file, why, sizeof(why)), -EPERM);
        assert_non_null(strstr(why, command));
    }
    write_file(TEXT, sizeof(TEXT) - 1, 0400);
    assert_int_equal(key_load(&key, file, why, sizeof(why)), 0);
}

static void test_load_no_file(void **state)
{
    char why[160] = "";
    struct key key;

    unlink(file);
    assert_int_equal(key_load(&key, file, why, sizeof(why)), -ENOENT);
    assert_string_equal(why, "cannot be opened: No such file or directory");
    assert_int_equal(key_load(&key, dir, why, sizeof(why)), -EINVAL);
    assert_string_equal(why, "is not a regular file");
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(key_load(&key, file, why, sizeof(why)), -EINVAL);
    assert_string_equal(why, "is not a regular file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generated_keys_survive_text),
        cmocka_unit_test(test_whole_alphabet),
        cmocka_unit_test(test_parse_is_strict),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_load_good),
        cmocka_unit_test(test_load_content),
        cmocka_unit_test(test_load_of_two),
        cmocka_unit_test(test_load_size),
        cmocka_unit_test(test_load_permissions),
        cmocka_unit_test(test_load_no_file),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
