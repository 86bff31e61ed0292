/* The file that keeps the budgets' counts. The first byte: 0, the rest is a file; else the rest is
 * what stands before the check, which is made here. What is taken is what would be written, and may
 * be counted on from. */
#include "tests/fuzz/scene.h"

#include <stdio.h>

#include "core/crypto.h"
#include "core/state_file.h"
#include "gateway/budget_file.h"

#define CHECK_LINE 24 /* "check ", 16 digits, a newline; and what ends a string */

static size_t add_check(char *text, size_t len)
{
    static const uint8_t key[32];
    uint8_t mac[32];
    size_t at = len;

    must(crypto_hmac(key, text, len, mac) == 0);
    at += (size_t)snprintf(text + at, CHECK_LINE, "check ");
    for (int i = 0; i < 8; i++)
        at += (size_t)snprintf(text + at, 3, "%02x", mac[i]);
    at += (size_t)snprintf(text + at, 2, "\n");
    return at;
}

static void count_on(const struct budget_count *count)
{
    struct budget budget;
    const struct budget_reading now = {.ifindex = 3, .rx_bytes = 1 << 20, .tx_bytes = 1 << 10};
    const uint64_t used = count->now.used;

    budget_init(&budget, 1 << 30, count->day, count);
    uint64_t added = budget_add(&budget, &now, 1000);
    must(budget.count.now.used == used + added);
    budget_turn(&budget, 1793491200);
    budget_judge(&budget, 20000);
    must(budget_next_ms(&budget) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct budget_book book;

    if (size == 0 || size - 1 > STATE_FILE_MAX - CHECK_LINE)
        return 0;
    size_t len = size - 1;
    char *text = malloc(len + CHECK_LINE);
    must(text);
    memcpy(text, data + 1, len);
    if (data[0] != 0)
        len = add_check(text, len);
    text[len] = '\0';
    if (budget_book_read(&book, text, len) == 0) {
        for (size_t i = 0; i < book.n; i++)
            count_on(&book.entries[i].count);
    }
    free(text);
    return 0;
}
