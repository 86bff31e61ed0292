#include "config/complaints.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

void complaints_open(struct complaints *c)
{
    *c = (struct complaints){0};
    c->out = open_memstream(&c->text, &c->len);
}

static size_t log_lines(const char *text)
{
    size_t n = 0;

    for (; *text; n++) {
        size_t len = strcspn(text, "\n");
        log_error("reload", "%.*s", (int)len, text);
        text += len + (text[len] == '\n');
    }
    return n;
}

void complaints_close(struct complaints *c, char reason[COMPLAINTS_REASON])
{
    bool complete = c->out && fclose(c->out) == 0 && c->text;
    const char *text = complete ? c->text : "out of memory; free some\n";
    int first = (int)strcspn(text, "\n");
    size_t n = log_lines(text);

    if (n > 1)
        snprintf(reason, COMPLAINTS_REASON, "%.*s (and %zu more: see the log)",
                 first < COMPLAINTS_REASON - 64 ? first : COMPLAINTS_REASON - 64, text, n - 1);
    else
        snprintf(reason, COMPLAINTS_REASON, "%.*s", first, text);
    free(c->text);
}
