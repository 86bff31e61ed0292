#include "config/option.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/source.h"
#include "config/suggest.h"
#include "config/value.h"

#define TEXT_MAX 256
#define PAIRS_MAX 1024 /* elements of a list that are compared with each other */
#define NO_MEMORY "out of memory; free some"

/* Kept until the end: a person wants them in the order of the file, not in that of the checks. */
static void complain_at(struct option_file *file, int line, const char *fmt, va_list args)
{
    struct complaint *all =
        reallocarray(file->complaints, file->n_complaints + 1, sizeof(*file->complaints));
    char *text = NULL;

    file->failed = true;
    if (all)
        file->complaints = all;
    if (!all || vasprintf(&text, fmt, args) == -1) {
        fprintf(file->out, "%s: " NO_MEMORY "\n", file->path);
        return;
    }
    all[file->n_complaints] =
        (struct complaint){.line = line > 0 ? line : 1, .number = file->n_complaints, .text = text};
    file->n_complaints++;
}

void option_complain(struct option_file *file, const config_setting_t *setting, const char *fmt,
                     ...)
{
    va_list args;

    va_start(args, fmt);
    complain_at(file, setting ? (int)config_setting_source_line(setting) : 1, fmt, args);
    va_end(args);
}

__attribute__((format(printf, 3, 4))) static void complain_line(struct option_file *file, int line,
                                                                const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    complain_at(file, line, fmt, args);
    va_end(args);
}

/* ---- the file ---- */

/* libconfig (up to 1.7) does not look at what malloc() returns, and a daemon must not die of a
 * reload: before it gets a text, there must be as much memory as it can take for it. That is up to
 * 123 bytes for each of the text, counted with 1.5 (lists in lists of one number); later ones have
 * somewhat larger settings. Beside it malloc() itself takes more at a time than it is asked for. */
#define PARSED_BYTES 192
#define SPARE_BYTES (1024 * 1024)

static bool has_memory_for(const char *text)
{
    size_t size = SPARE_BYTES + strlen(text) * PARSED_BYTES;
    void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (block == MAP_FAILED)
        return false;
    munmap(block, size);
    return true;
}

/* Into one that is zeroed. Returns 0, -ENOMEM, or -EINVAL, which libconfig explains. */
static int parse_text(config_t *into, const char *text)
{
    if (!has_memory_for(text))
        return -ENOMEM;
    config_init(into);
    return config_read_string(into, text) == CONFIG_TRUE ? 0 : -EINVAL;
}

static int parse(struct option_file *file, const char *text)
{
    struct source_mistake mistake;

    if (!source_check(text, &mistake)) {
        complain_line(file, mistake.line, "%s", mistake.what);
        return -EINVAL;
    }
    int err = parse_text(&file->parsed, text);
    if (err == -ENOMEM)
        complain_line(file, 1, NO_MEMORY);
    if (err != -EINVAL)
        return err;
    const char *why = config_error_text(&file->parsed);
    const char *remedy = "look here and on the line before for a missing ';', quote or bracket";
    if (strstr(why, "duplicate"))
        remedy = "write each key once";
    else if (strstr(why, "mismatched"))
        remedy = "write ( ) instead of [ ] where numbers and text mix";
    complain_line(file, config_error_line(&file->parsed), "%s; %s", why, remedy);
    return -EINVAL;
}

int option_file_open(struct option_file *file, const char *path, FILE *out)
{
    char why[TEXT_MAX], *text;

    *file = (struct option_file){.path = path, .out = out};
    int err = source_read(path, &text, why, sizeof(why));
    if (err) {
        file->failed = true;
        fprintf(out, "%s: %s\n", path, why);
        return err;
    }
    err = parse(file, text);
    free(text);
    return err;
}

static int by_line(const void *a, const void *b)
{
    const struct complaint *one = a, *other = b;

    if (one->line != other->line)
        return one->line < other->line ? -1 : 1;
    return one->number < other->number ? -1 : 1;
}

void option_file_close(struct option_file *file)
{
    if (file->n_complaints)
        qsort(file->complaints, file->n_complaints, sizeof(*file->complaints), by_line);
    for (size_t i = 0; i < file->n_complaints; i++) {
        fprintf(file->out, "%s:%d: %s\n", file->path, file->complaints[i].line,
                file->complaints[i].text);
        free(file->complaints[i].text);
    }
    free(file->complaints);
    config_destroy(&file->parsed);
}

/* ---- reading by the tables ---- */

static void read_group(struct option_file *file, const config_setting_t *group,
                       const struct option_row *rows, void *into);

static void *row_field(const struct option_row *row, void *into)
{
    return (char *)into + row->at;
}

static void read_one(struct option_file *file, const config_setting_t *setting,
                     const struct option_row *row, void *into)
{
    char shown[TEXT_MAX], expected[TEXT_MAX], why[TEXT_MAX];
    bool listed = row->flags & OPTION_LIST;

    if (row->kind == OPTION_GROUP && config_setting_is_group(setting)) {
        read_group(file, setting, row->rows, into);
        return;
    }
    int err = row->kind == OPTION_GROUP ? -EINVAL : value_read(row, setting, into);
    if (!err)
        return;
    value_show(setting, shown, sizeof(shown));
    value_expected(row, expected, sizeof(expected));
    if (err == -ENOMEM)
        option_complain(file, setting, NO_MEMORY);
    else if (value_explain(row, setting, why, sizeof(why))[0])
        option_complain(file, setting, "%s: %s %s", row->name, shown, why);
    else if (listed)
        option_complain(file, setting, "%s holds %s; each must be %s", row->name, shown, expected);
    else
        option_complain(file, setting, "%s is %s; write %s", row->name, shown, expected);
}

/* The list's array: a new one, or the one in the struct. NULL: out of memory. */
static char *list_array(const struct option_row *row, size_t n, void *into)
{
    if (row->flags & OPTION_IN_PLACE)
        return row_field(row, into);
    void *array = calloc(n ? n : 1, value_size(row));
    if (array)
        memcpy(row_field(row, into), &array, sizeof(array));
    return array;
}

static bool list_fits(struct option_file *file, const config_setting_t *setting,
                      const struct option_row *row)
{
    unsigned n = (unsigned)config_setting_length(setting);

    if (!config_setting_is_array(setting) && !config_setting_is_list(setting)) {
        char shown[TEXT_MAX];
        option_complain(file, setting, "%s is %s; write a list: %s = %s;", row->name,
                        value_show(setting, shown, sizeof(shown)), row->name, row->example);
        return false;
    }
    if (n < row->min) {
        option_complain(file, setting, "%s is empty; write at least one: %s = %s;", row->name,
                        row->name, row->example);
        return false;
    }
    if (row->max && n > row->max) {
        option_complain(file, setting, "%s holds %u; write at most %u", row->name, n,
                        (unsigned)row->max);
        return false;
    }
    return true;
}

static void read_list(struct option_file *file, const config_setting_t *setting,
                      const struct option_row *row, void *into)
{
    if (!list_fits(file, setting, row))
        return;
    size_t n = (size_t)config_setting_length(setting);
    char *array = NULL;
    if (row->kind != OPTION_REFERENCE) {
        array = list_array(row, n, into);
        if (!array) {
            option_complain(file, setting, NO_MEMORY);
            return;
        }
        *(size_t *)((char *)into + row->count_at) = n;
    }
    for (size_t i = 0; i < n; i++)
        read_one(file, config_setting_get_elem(setting, (unsigned)i), row,
                 array ? array + i * value_size(row) : NULL);
}

static void read_setting(struct option_file *file, const config_setting_t *setting,
                         const struct option_row *row, void *into)
{
    if (row->flags & OPTION_LIST)
        read_list(file, setting, row, into);
    else
        read_one(file, setting, row, row_field(row, into));
}

/* Defaults take the same way as what a person writes. */
static void read_default(struct option_file *file, const struct option_row *row, void *into)
{
    char text[TEXT_MAX];
    config_t parsed = {0};

    snprintf(text, sizeof(text), "%s = %s;", row->name, row->def);
    int err = parse_text(&parsed, text);
    if (err == 0)
        read_setting(file, config_lookup(&parsed, row->name), row, into);
    else if (err == -ENOMEM)
        option_complain(file, NULL, NO_MEMORY);
    else
        option_complain(file, NULL, "bad default: %s", text);
    config_destroy(&parsed);
}

static void read_row(struct option_file *file, const config_setting_t *group,
                     const struct option_row *row, void *into)
{
    const config_setting_t *setting =
        config_setting_get_member((config_setting_t *)group, row->name);

    if (setting)
        read_setting(file, setting, row, into);
    else if (row->flags & OPTION_REQUIRED)
        option_complain(file, group, "%s is missing; add %s = %s;", row->name, row->name,
                        row->example);
    else if (row->def)
        read_default(file, row, into);
}

static const struct option_row *find_row(const struct option_row *rows, const char *name)
{
    for (; rows->name[0]; rows++) {
        if (strcmp(rows->name, name) == 0)
            return rows;
    }
    return NULL;
}

static void complain_unknown(struct option_file *file, const config_setting_t *setting,
                             const struct option_row *rows)
{
    const char *name = config_setting_name(setting), *best = NULL;
    char keys[2 * TEXT_MAX] = "";
    size_t n = 0;

    for (; rows->name[0]; rows++) {
        if (!best || suggest_distance(name, rows->name) < suggest_distance(name, best))
            best = rows->name;
        n += (size_t)snprintf(keys + n, n < sizeof(keys) ? sizeof(keys) - n : 0, "%s%s",
                              n ? ", " : "", rows->name);
    }
    if (best && suggest_close(name, best))
        option_complain(file, setting, "unknown key \"%.60s\"; did you mean \"%s\"?", name, best);
    else
        option_complain(file, setting, "unknown key \"%.60s\"; remove it (the keys here are %s)",
                        name, keys);
}

static void read_group(struct option_file *file, const config_setting_t *group,
                       const struct option_row *rows, void *into)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        if (!find_row(rows, config_setting_name(setting)))
            complain_unknown(file, setting, rows);
    }
    for (const struct option_row *row = rows; row->name[0]; row++)
        read_row(file, group, row, into);
}

void option_read(struct option_file *file, const struct option_row *rows, void *into)
{
    read_group(file, config_root_setting(&file->parsed), rows, into);
}

static void free_list(const struct option_row *row, void *into)
{
    size_t n = *(size_t *)((char *)into + row->count_at);
    char *array = row_field(row, into);

    if (!(row->flags & OPTION_IN_PLACE))
        memcpy(&array, row_field(row, into), sizeof(array));
    for (size_t i = 0; row->kind == OPTION_GROUP && i < n; i++)
        option_free(row->rows, array + i * row->size);
    if (!(row->flags & OPTION_IN_PLACE))
        free(array);
}

void option_free(const struct option_row *rows, void *into)
{
    for (const struct option_row *row = rows; row->name[0]; row++) {
        if (row->kind == OPTION_REFERENCE)
            continue; /* has no field */
        if (row->flags & OPTION_LIST) {
            free_list(row, into);
        } else if (row->kind == OPTION_PATH) {
            char *path;
            memcpy(&path, row_field(row, into), sizeof(path));
            free(path);
        }
    }
}

/* ---- what the loaders check beyond one key ---- */

unsigned option_line(const struct option_file *file, const char *key)
{
    const config_setting_t *setting = config_lookup(&file->parsed, key);

    return setting ? config_setting_source_line(setting) : 0;
}

const config_setting_t *option_find(const struct option_file *file, const char *list, size_t index,
                                    const char *key)
{
    const config_setting_t *all = config_lookup(&file->parsed, list), *element, *setting;

    if (!all)
        return config_root_setting(&file->parsed);
    element = config_setting_get_elem(all, (unsigned)index);
    if (!element)
        return all;
    setting = config_setting_get_member((config_setting_t *)element, key);
    return setting ? setting : element;
}

/* The text of the key in that element, or NULL. */
static const char *element_text(const config_setting_t *list, int index, const char *key)
{
    config_setting_t *element = config_setting_get_elem(list, (unsigned)index);
    const char *text = NULL;

    if (element && config_setting_is_group(element))
        config_setting_lookup_string(element, key, &text);
    return text;
}

static bool is_repeated(const config_setting_t *list, int index, const char *key)
{
    const char *text = element_text(list, index, key);

    for (int i = 0; text && i < index; i++) {
        const char *earlier = element_text(list, i, key);
        if (earlier && strcmp(earlier, text) == 0)
            return true;
    }
    return false;
}

void option_check_unique(struct option_file *file, const char *list, const char *key,
                         const char *what)
{
    const config_setting_t *all = config_lookup(&file->parsed, list);
    int n = all && config_setting_is_list(all) ? config_setting_length(all) : 0;

    if (n > PAIRS_MAX)
        return;
    for (int i = 1; i < n; i++) {
        char shown[TEXT_MAX];
        if (!is_repeated(all, i, key))
            continue;
        const config_setting_t *setting = option_find(file, list, (size_t)i, key);
        option_complain(file, setting, "two %ss have the same %s %s; give each its own", what, key,
                        value_show(setting, shown, sizeof(shown)));
    }
}

void option_check_fixed(struct option_file *file, const struct option_row *rows, const void *now,
                        const void *running)
{
    for (const struct option_row *row = rows; row->name[0]; row++) {
        uint32_t before, after;

        if (!(row->flags & OPTION_FIXED))
            continue;
        assert(row->kind == OPTION_INTEGER && !(row->flags & OPTION_LIST));
        memcpy(&before, (const char *)running + row->at, sizeof(before));
        memcpy(&after, (const char *)now + row->at, sizeof(after));
        if (before != after)
            option_complain(file, config_lookup(&file->parsed, row->name),
                            "%s cannot change from %" PRIu32 " to %" PRIu32
                            " while this runs; restart it, or write %" PRIu32 " again",
                            row->name, before, after, before);
    }
}

static void complain_of_key(struct option_file *file, const char *list, size_t index, int err,
                            const char *why)
{
    const config_setting_t *setting = option_find(file, list, index, "key_file");
    char shown[TEXT_MAX];

    value_show(setting, shown, sizeof(shown));
    if (err == -ENOENT)
        option_complain(file, setting, "key file %s does not exist; make one with bondway keygen",
                        shown);
    else
        option_complain(file, setting, "key file %s: %s", shown, why);
}

void option_load_key(struct option_file *file, const char *list, size_t index, const char *path,
                     struct key *key)
{
    char why[TEXT_MAX];
    int err = path ? key_load(key, path, why, sizeof(why)) : 0;

    if (err < 0)
        complain_of_key(file, list, index, err, why);
}

void option_load_keys(struct option_file *file, const char *list, size_t index, const char *path,
                      struct key_ring *ring)
{
    char why[TEXT_MAX];
    int err = path ? key_ring_load(ring, path, why, sizeof(why)) : 0;

    if (err < 0)
        complain_of_key(file, list, index, err, why);
}

/* ---- documentation ---- */

static void describe_row(const struct option_row *row, const char *indent, FILE *out)
{
    char expected[TEXT_MAX];

    fprintf(out, "%s%s", indent, row->name);
    if (row->flags & OPTION_REQUIRED)
        fprintf(out, " = %s (required)", row->example);
    else if (row->def)
        fprintf(out, " = %s", row->def);
    fprintf(out, "\n%s    %s\n", indent, row->help);
    if (row->flags & OPTION_FIXED)
        fprintf(out, "%s    To change it, restart.\n", indent);
    if (row->kind != OPTION_GROUP)
        fprintf(out, "%s    %s%s\n", indent,
                row->flags & OPTION_LIST ? "A list; each is " : "Write ",
                value_expected(row, expected, sizeof(expected)));
}

static void describe_rows(const struct option_row *rows, const char *indent, FILE *out)
{
    for (const struct option_row *row = rows; row->name[0]; row++) {
        describe_row(row, indent, out);
        if (row->kind == OPTION_GROUP)
            describe_rows(row->rows, "    ", out);
    }
}

void option_describe(const struct option_row *rows, FILE *out)
{
    describe_rows(rows, "", out);
}
