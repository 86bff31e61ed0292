/* The budgets' counts as text, for the file that keeps them (core/state_file.h). Pure.
 *
 *   bondway budgets 1
 *   boot 6c5a4f0e-0d1b-4b6e-9a7c-1f2e3d4c5b6a
 *   uplink lte day 1 now 1793491200 123456 other 1790812800 99 reached 0 begun 1 interface 3 10 20
 *   check 0123456789abcdef
 *
 * boot: of which life of the machine the interfaces' counters are (kernel.random.boot_id). now,
 * other: a month's first second, and the bytes used in it. reached: the limit that was. check: the
 * first 8 bytes of HMAC-SHA-256 of all that stands before it, under a key of zeros. */
#ifndef GATEWAY_BUDGET_FILE_H
#define GATEWAY_BUDGET_FILE_H

#include <stddef.h>

#include "config/gateway_config.h"
#include "gateway/budget.h"

#define BUDGET_FILE_ENTRIES 32
#define BUDGET_BOOT_ID 36

struct budget_entry {
    char uplink[NAME_MAX_LENGTH + 1];
    struct budget_count count;
};

struct budget_book {
    char boot[BUDGET_BOOT_ID + 1];
    size_t n;
    struct budget_entry entries[BUDGET_FILE_ENTRIES];
};

/* Returns the text's length, or -errno (-ENOSPC). */
int budget_book_write(const struct budget_book *book, char *text, size_t size);
/* Takes only what budget_book_write() writes, to the byte. text: terminated; len: without that.
 * Returns 0, or -EBADMSG. */
int budget_book_read(struct budget_book *book, const char *text, size_t len);

/* The uplink's entry. Where there is none: a new one (count.day is 0), in the place of the last
 * that is not of an uplink in config when all are taken. */
struct budget_entry *budget_book_find(struct budget_book *book, const char *uplink,
                                      const struct gateway_config *config);

#endif
