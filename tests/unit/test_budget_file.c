/* The text that keeps the budgets: what is read is exactly what was written, or nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/state_file.h"
#include "gateway/budget_file.h"

static const char written[] =
    "bondway budgets 1\n"
    "boot 6c5a4f0e-0d1b-4b6e-9a7c-1f2e3d4c5b6a\n"
    "uplink lte day 1 now 1793491200 123456 other 1790812800 99 reached 120000 begun 1 "
    "interface 3 100 200\n"
    "uplink sat.2 day 31 now 0 7 other 0 0 reached 0 begun 0 interface 0 0 0\n"
    "check ";

static const struct budget_book book = {
    .boot = "6c5a4f0e-0d1b-4b6e-9a7c-1f2e3d4c5b6a",
    .n = 2,
    .entries = {{"lte",
                 {.day = 1,
                  .now = {1793491200, 123456},
                  .other = {1790812800, 99},
                  .reached = 120000,
                  .begun = true,
                  .last = {3, 100, 200}}},
                {"sat.2", {.day = 31, .now = {0, 7}}}},
};

static size_t write_book(const struct budget_book *from, char text[STATE_FILE_MAX + 1])
{
    int len = budget_book_write(from, text, STATE_FILE_MAX + 1);

    assert_true(len > 0);
    return (size_t)len;
}

static void comes_back_as_it_was(void **state)
{
    char text[STATE_FILE_MAX + 1];
    struct budget_book again;
    size_t len = write_book(&book, text);

    assert_memory_equal(text, written, sizeof(written) - 1);
    assert_int_equal(len, sizeof(written) - 1 + 17);
    assert_int_equal(strlen(text), len);
    assert_int_equal(budget_book_read(&again, text, len), 0);
    assert_int_equal(again.n, 2);
    assert_string_equal(again.boot, book.boot);
    assert_string_equal(again.entries[0].uplink, "lte");
    assert_memory_equal(&again.entries[0].count, &book.entries[0].count,
                        sizeof(struct budget_count));
    assert_memory_equal(&again.entries[1].count, &book.entries[1].count,
                        sizeof(struct budget_count));
}

/* A file that was cut off, or in which one bit has turned, is none. */
static void torn_or_turned_it_is_nothing(void **state)
{
    char text[STATE_FILE_MAX + 1], bad[STATE_FILE_MAX + 1];
    struct budget_book again;
    size_t len = write_book(&book, text);

    for (size_t n = 0; n < len; n++) {
        memcpy(bad, text, n);
        bad[n] = '\0';
        assert_int_equal(budget_book_read(&again, bad, n), -EBADMSG);
    }
    for (size_t i = 0; i < 8 * len; i++) {
        memcpy(bad, text, len + 1);
        bad[i / 8] = (char)(bad[i / 8] ^ 1 << i % 8);
        assert_int_equal(budget_book_read(&again, bad, len), -EBADMSG);
    }
    strcpy(bad, text);
    strcat(bad, "\n");
    assert_int_equal(budget_book_read(&again, bad, len + 1), -EBADMSG);
}

/* A right check beside what cannot be. */
static void what_cannot_be_is_refused(void **state)
{
    char text[STATE_FILE_MAX + 1];
    struct budget_book wrong = book, again;

    wrong.entries[0].count.now.used = UINT64_MAX / 2;
    size_t len = write_book(&wrong, text);
    assert_int_equal(budget_book_read(&again, text, len), -EBADMSG);
    wrong = book;
    wrong.entries[0].count.day = 32;
    len = write_book(&wrong, text);
    assert_int_equal(budget_book_read(&again, text, len), -EBADMSG);
    assert_int_equal(budget_book_write(&book, text, 100), -ENOSPC);
}

static void the_fullest_book_fits(void **state)
{
    char text[STATE_FILE_MAX + 1];
    struct budget_book full = {.n = BUDGET_FILE_ENTRIES}, again;

    strcpy(full.boot, book.boot);
    for (size_t i = 0; i < full.n; i++) {
        memset(full.entries[i].uplink, 'a' + (int)i % 26, NAME_MAX_LENGTH);
        full.entries[i].count =
            (struct budget_count){.day = 31,
                                  .now = {INT64_MAX, UINT64_MAX / 8},
                                  .other = {INT64_MIN, UINT64_MAX / 8},
                                  .begun = true,
                                  .last = {UINT32_MAX, UINT64_MAX / 8, UINT64_MAX / 8}};
    }
    size_t len = write_book(&full, text);
    assert_int_equal(budget_book_read(&again, text, len), 0);
    assert_int_equal(again.n, BUDGET_FILE_ENTRIES);
}

/* What is configured no more is kept while there is room. */
static void who_gets_an_entry(void **state)
{
    struct gateway_config config = {.n_uplinks = 2};
    struct budget_book b = book;

    strcpy(config.uplinks[0].name, "lte");
    strcpy(config.uplinks[1].name, "cell");
    assert_ptr_equal(budget_book_find(&b, "lte", &config), &b.entries[0]);
    assert_int_equal(b.entries[0].count.day, 1);
    assert_ptr_equal(budget_book_find(&b, "cell", &config), &b.entries[2]);
    assert_int_equal(b.entries[2].count.day, 0);
    assert_string_equal(b.entries[2].uplink, "cell");
    while (b.n < BUDGET_FILE_ENTRIES)
        b.entries[b.n++] = (struct budget_entry){"gone", {.day = 3}};
    strcpy(b.entries[b.n - 1].uplink, "lte");
    assert_ptr_equal(budget_book_find(&b, "new", &config), &b.entries[b.n - 2]);
    assert_int_equal(b.entries[b.n - 2].count.day, 0);
    assert_string_equal(b.entries[b.n - 2].uplink, "new");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),      cmocka_unit_test(torn_or_turned_it_is_nothing),
        cmocka_unit_test(what_cannot_be_is_refused), cmocka_unit_test(the_fullest_book_fits),
        cmocka_unit_test(who_gets_an_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
