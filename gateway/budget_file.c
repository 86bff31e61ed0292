#include "gateway/budget_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crypto.h"
#include "core/state_file.h"

#define CHECK_BYTES 8
/* No counter and no sum of two of them comes near to an overflow. */
#define BYTES_MAX (UINT64_MAX / 8)

static int make_check(const char *text, size_t len, char hex[2 * CHECK_BYTES + 1])
{
    static const uint8_t key[32];
    uint8_t mac[32];
    int err = crypto_hmac(key, text, len, mac);

    for (int i = 0; !err && i < CHECK_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", mac[i]);
    return err;
}

static void write_entry(const struct budget_entry *e, FILE *out)
{
    const struct budget_count *c = &e->count;

    fprintf(out,
            "uplink %s day %" PRIu32 " now %" PRId64 " %" PRIu64 " other %" PRId64 " %" PRIu64
            " reached %" PRIu64 " begun %d interface %" PRIu32 " %" PRIu64 " %" PRIu64 "\n",
            e->uplink, c->day, c->now.start_s, c->now.used, c->other.start_s, c->other.used,
            c->reached, c->begun, c->last.ifindex, c->last.rx_bytes, c->last.tx_bytes);
}

int budget_book_write(const struct budget_book *book, char *text, size_t size)
{
    char check[2 * CHECK_BYTES + 1];
    FILE *out = fmemopen(text, size, "w");

    if (!out)
        return -ENOMEM;
    fprintf(out, "bondway budgets 1\nboot %s\n", book->boot);
    for (size_t i = 0; i < book->n; i++)
        write_entry(&book->entries[i], out);
    long len = fflush(out) == 0 ? ftell(out) : -1;
    int err = len < 0 ? -ENOSPC : make_check(text, (size_t)len, check);
    if (!err)
        len += fprintf(out, "check %s\n", check);
    if (fclose(out) != 0 || (size_t)len >= size)
        err = err ? err : -ENOSPC;
    return err ? err : (int)len;
}

static bool read_entry(const char *line, struct budget_entry *e)
{
    struct budget_count *c = &e->count;
    int begun;

    *e = (struct budget_entry){0};
    int n =
        sscanf(line,
               "uplink %31s day %" SCNu32 " now %" SCNd64 " %" SCNu64 " other %" SCNd64 " %" SCNu64
               " reached %" SCNu64 " begun %d interface %" SCNu32 " %" SCNu64 " %" SCNu64,
               e->uplink, &c->day, &c->now.start_s, &c->now.used, &c->other.start_s, &c->other.used,
               &c->reached, &begun, &c->last.ifindex, &c->last.rx_bytes, &c->last.tx_bytes);
    c->begun = begun == 1;
    return n == 11 && c->day >= 1 && c->day <= 31 && c->now.used <= BYTES_MAX &&
           c->other.used <= BYTES_MAX && c->last.rx_bytes <= BYTES_MAX &&
           c->last.tx_bytes <= BYTES_MAX;
}

/* Leniently; what is written from it tells whether it was right. */
static bool read_lines(struct budget_book *book, const char *text)
{
    const char *line = strchr(text, '\n');

    *book = (struct budget_book){0};
    if (!line || sscanf(line + 1, "boot %36s", book->boot) != 1)
        return false;
    for (line = strchr(line + 1, '\n'); line && strncmp(line + 1, "uplink ", 7) == 0;
         line = strchr(line + 1, '\n')) {
        if (book->n == BUDGET_FILE_ENTRIES || !read_entry(line + 1, &book->entries[book->n++]))
            return false;
    }
    return true;
}

int budget_book_read(struct budget_book *book, const char *text, size_t len)
{
    char again[STATE_FILE_MAX + 1];

    if (!read_lines(book, text))
        return -EBADMSG;
    int n = budget_book_write(book, again, sizeof(again));
    return n >= 0 && (size_t)n == len && memcmp(again, text, len) == 0 ? 0 : -EBADMSG;
}

static bool is_configured(const struct gateway_config *config, const char *uplink)
{
    for (size_t i = 0; i < config->n_uplinks; i++) {
        if (strcmp(config->uplinks[i].name, uplink) == 0)
            return true;
    }
    return false;
}

struct budget_entry *budget_book_find(struct budget_book *book, const char *uplink,
                                      const struct gateway_config *config)
{
    size_t i = 0;

    while (i < book->n && strcmp(book->entries[i].uplink, uplink) != 0)
        i++;
    if (i < book->n)
        return &book->entries[i];
    if (book->n < BUDGET_FILE_ENTRIES)
        book->n++;
    else
        while (is_configured(config, book->entries[--i].uplink))
            ;
    book->entries[i] = (struct budget_entry){0};
    snprintf(book->entries[i].uplink, sizeof(book->entries[i].uplink), "%s", uplink);
    return &book->entries[i];
}
