#include "config/edit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/source.h"

/* As libconfig has them. */
#define BLANKS " \t\r\n\f"

/* A list's brackets. */
struct found {
    const char *open, *close;
};

/* A group from its first bracket to behind its last one. */
struct element {
    const char *begin, *end;
};

/* Behind white space and comments. */
static const char *skip_blank(const char *at)
{
    for (;;) {
        at += strspn(at, BLANKS);
        if (*at != '#' && *at != '/')
            return at;
        const char *behind = source_skip(at);
        if (!behind || behind == at)
            return at;
        at = behind;
    }
}

/* The next character that is in no comment, string or name. */
static const char *next_mark(const char *at)
{
    const char *behind;

    while (*at && (behind = source_skip(at)) && behind != at)
        at = behind;
    return at;
}

/* Behind the bracket that closes the one at `at`. */
static const char *skip_brackets(const char *at)
{
    int depth = 0;

    for (; *at; at++) {
        at = next_mark(at);
        if (*at && strchr("([{", *at))
            depth++;
        else if (*at && strchr(")]}", *at) && --depth == 0)
            return at + 1;
        else if (!*at)
            break;
    }
    return at;
}

/* The value of a setting of the file's outermost group, or NULL. */
static const char *find_value(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = text; *at;) {
        const char *behind = source_skip(at);
        if (!behind)
            return NULL;
        if ((size_t)(behind - at) == len && strncmp(at, name, len) == 0) {
            at = skip_blank(behind);
            return *at ? skip_blank(at + 1) : NULL;
        }
        if (behind != at)
            at = behind;
        else
            at = strchr("([{", *at) ? skip_brackets(at) : at + 1;
    }
    return NULL;
}

bool edit_has(const char *text, const char *setting)
{
    return find_value(text, setting) != NULL;
}

/* Returns 0, -ENOENT, or -EINVAL when it is something else than a list in ( ). */
static int find_list(const char *text, const char *name, struct found *list)
{
    const char *value = find_value(text, name);

    if (!value)
        return -ENOENT;
    if (*value != '(')
        return -EINVAL;
    list->open = value;
    list->close = skip_brackets(value) - 1;
    return 0;
}

/* The element behind `at`, which is behind the list's opening bracket or an element. */
static bool next_element(const struct found *list, const char *at, struct element *element)
{
    at = skip_blank(at);
    if (*at == ',')
        at = skip_blank(at + 1);
    if (at >= list->close || *at != '{')
        return false;
    *element = (struct element){at, skip_brackets(at)};
    return true;
}

/* The comma that follows directly, or NULL. */
static const char *comma_behind(const char *at)
{
    at = skip_blank(at);
    return *at == ',' ? at : NULL;
}

static const char *line_begin(const char *text, const char *at)
{
    while (at > text && at[-1] != '\n')
        at--;
    return at;
}

static const char *line_end(const char *at)
{
    return at + strcspn(at, "\n");
}

/* text with [from, to) replaced. */
static char *splice(const char *text, const char *from, const char *to, const char *with)
{
    size_t head = (size_t)(from - text), tail = strlen(to), middle = strlen(with);
    char *out = malloc(head + middle + tail + 1);

    if (!out)
        return NULL;
    memcpy(out, text, head);
    memcpy(out + head, with, middle);
    memcpy(out + head + middle, to, tail + 1);
    return out;
}

__attribute__((format(printf, 5, 6))) static int
splice_format(const char *text, const char *from, const char *to, char **out, const char *fmt, ...)
{
    char *with;
    va_list args;

    va_start(args, fmt);
    int n = vasprintf(&with, fmt, args);
    va_end(args);
    if (n == -1)
        return -ENOMEM;
    *out = splice(text, from, to, with);
    free(with);
    return *out ? 0 : -ENOMEM;
}

/* ---- appending ---- */

static int append_list(const char *text, const char *list, const char *entry, char **out)
{
    const char *end = text + strlen(text);
    bool torn = end > text && end[-1] != '\n';

    return splice_format(text, end, end, out, "%s%s = (\n  %s\n);\n", torn ? "\n" : "", list,
                         entry);
}

/* In front of the closing bracket: on a line of its own if that is, too. */
static int append_first(const char *text, const struct found *list, const char *entry, char **out)
{
    const char *begin = line_begin(text, list->close), *from = list->close;

    if (begin > list->open && begin + strspn(begin, " \t") == list->close)
        return splice_format(text, begin, begin, out, "  %s\n", entry);
    while (from > list->open + 1 && strchr(" \t", from[-1]))
        from--;
    return splice_format(text, from, list->close, out, "\n  %s\n", entry);
}

/* The end of the line on which nothing but a comma and comments stand from `at` on, or NULL. A
 * comment of several lines is passed over as a whole. */
static const char *bare_line_end(const char *at)
{
    for (;;) {
        at += strspn(at, " \t\r\f,");
        if (*at == '#' || strncmp(at, "//", 2) == 0)
            return line_end(at);
        if (*at != '/')
            return *at == '\n' ? at : NULL;
        const char *behind = source_skip(at);
        if (!behind || behind == at)
            return NULL;
        at = behind;
    }
}

/* A comment behind the last element stays with it, so the comma and the entry are put in apart. */
static int append_behind(const char *text, const struct element *last, const char *entry,
                         char **out)
{
    const char *begin = line_begin(text, last->begin), *end = bare_line_end(last->end);
    const char *comma = comma_behind(last->end);
    size_t blanks = strspn(begin, " \t");
    char *widened;

    if (!end && comma)
        return splice_format(text, comma + 1, comma + 1, out, " %s", entry);
    if (!end)
        return splice_format(text, last->end, last->end, out, ", %s", entry);
    int err = splice_format(text, end, end, &widened, "\n%.*s%*s%s", (int)blanks, begin,
                            (int)(last->begin - begin - (ptrdiff_t)blanks), "", entry);
    if (err || comma) {
        *out = widened;
        return err;
    }
    const char *at = widened + (last->end - text);
    err = splice_format(widened, at, at, out, ",");
    free(widened);
    return err;
}

int edit_append(const char *text, const char *list, const char *entry, char **out)
{
    struct found found;
    struct element last, next;
    int err = find_list(text, list, &found);

    if (err == -ENOENT)
        return append_list(text, list, entry, out);
    if (err)
        return err;
    if (!next_element(&found, found.open + 1, &last))
        return append_first(text, &found, entry, out);
    while (next_element(&found, last.end, &next))
        last = next;
    return append_behind(text, &last, entry, out);
}

/* ---- an element ---- */

/* before: where the one before it, or the list's opening bracket, ends. */
static int find_element(const char *text, const char *list, size_t index, struct element *element,
                        const char **before)
{
    struct found found;
    int err = find_list(text, list, &found);

    if (err)
        return -EINVAL;
    *before = found.open + 1;
    if (!next_element(&found, *before, element))
        return -EINVAL;
    for (; index > 0; index--) {
        *before = element->end;
        if (!next_element(&found, element->end, element))
            return -EINVAL;
    }
    return 0;
}

int edit_replace(const char *text, const char *list, size_t index, const char *entry, char **out)
{
    struct element element;
    const char *before;
    int err = find_element(text, list, index, &element, &before);

    return err ? err : splice_format(text, element.begin, element.end, out, "%s", entry);
}

/* From the element to behind its comma, and further to whole lines where nothing else is on them.
 */
static struct element reach_of(const char *text, struct element reach, const char *comma)
{
    const char *begin = line_begin(text, reach.begin);

    if (comma && comma < line_end(reach.end))
        reach.end = comma + 1;
    reach.end += strspn(reach.end, " \t\r");
    if (begin + strspn(begin, " \t") != reach.begin)
        return reach;
    if (*reach.end == '#' || strncmp(reach.end, "//", 2) == 0)
        reach.end = line_end(reach.end);
    if (*reach.end == '\n')
        reach = (struct element){begin, reach.end + 1};
    return reach;
}

int edit_remove(const char *text, const char *list, size_t index, char **out)
{
    struct element element;
    const char *before, *comma, *lone = NULL;
    int err = find_element(text, list, index, &element, &before);

    if (err)
        return err;
    comma = comma_behind(element.end);
    struct element reach = reach_of(text, element, comma);
    /* A comma of the last one before, or on a line of its own, goes, too. */
    if (!comma)
        lone = comma_behind(before);
    else if (comma >= reach.end)
        lone = comma;
    char *rest = splice(text, reach.begin, reach.end, "");
    if (!rest || !lone) {
        *out = rest;
        return rest ? 0 : -ENOMEM;
    }
    const char *at = rest + (lone - text) - (lone >= reach.end ? reach.end - reach.begin : 0);
    *out = splice(rest, at, at + 1, "");
    free(rest);
    return *out ? 0 : -ENOMEM;
}
