#include "cli/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/terminal.h"

#define INDENT 2
#define INDENT_BENEATH 4
#define GAP 2

struct cell {
    char *text; /* NULL: empty */
    enum paint paint;
};

struct table {
    const struct column *columns;
    size_t n_columns;
    struct cell *cells; /* row by row */
    size_t n_cells, room;
};

struct screen screen_stdout(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool plain = (no_color && *no_color) || !term || strcmp(term, "dumb") == 0;
    struct screen screen = {.out = stdout};
    int columns, lines;

    if (isatty(STDOUT_FILENO)) {
        terminal_size(&columns, &lines);
        screen.columns = (size_t)columns;
        screen.colour = !plain;
    }
    return screen;
}

static const char paints[][8] = {
    [PAINT_NONE] = "\033[0m",  [PAINT_BOLD] = "\033[1m", [PAINT_GOOD] = "\033[32m",
    [PAINT_WARN] = "\033[33m", [PAINT_BAD] = "\033[31m", [PAINT_FAINT] = "\033[2m",
};

const char *screen_paint(const struct screen *screen, enum paint paint)
{
    return screen->colour ? paints[paint] : "";
}

void screen_print(const struct screen *screen, enum paint paint, const char *fmt, ...)
{
    va_list args;

    if (paint != PAINT_NONE)
        fputs(screen_paint(screen, paint), screen->out);
    va_start(args, fmt);
    vfprintf(screen->out, fmt, args);
    va_end(args);
    if (paint != PAINT_NONE)
        fputs(screen_paint(screen, PAINT_NONE), screen->out);
}

static void print_spaces(const struct screen *screen, size_t n)
{
    fprintf(screen->out, "%*s", (int)n, "");
}

/* Of text, what fits into that many columns without breaking a word; a longer word is all there. */
static size_t words_that_fit(const char *text, size_t columns)
{
    size_t fit = strcspn(text, " ");

    while (text[fit] && fit + 1 + strcspn(text + fit + 1, " ") <= columns)
        fit += 1 + strcspn(text + fit + 1, " ");
    return fit;
}

void screen_print_words(const struct screen *screen, size_t indent, const char *text)
{
    size_t columns = screen->columns > indent ? screen->columns - indent : SIZE_MAX;

    while (*text) {
        size_t n = words_that_fit(text, columns);
        print_spaces(screen, indent);
        fprintf(screen->out, "%.*s\n", (int)n, text);
        text += n + strspn(text + n, " ");
    }
}

void screen_clean(char *text)
{
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
}

struct table *table_new(const struct column *columns, size_t n)
{
    struct table *table = calloc(1, sizeof(*table));

    if (table) {
        table->columns = columns;
        table->n_columns = n;
    }
    return table;
}

void table_free(struct table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i].text);
    free(table->cells);
    free(table);
}

static bool make_room(struct table *table)
{
    size_t room = table->room ? 2 * table->room : 64;

    if (table->n_cells < table->room)
        return true;
    struct cell *cells = reallocarray(table->cells, room, sizeof(*cells));
    if (!cells)
        return false;
    table->cells = cells;
    table->room = room;
    return true;
}

void table_add(struct table *table, enum paint paint, const char *text)
{
    if (!make_room(table))
        return;
    struct cell *cell = &table->cells[table->n_cells++];
    *cell = (struct cell){.paint = paint, .text = text && *text ? strdup(text) : NULL};
    if (cell->text)
        screen_clean(cell->text);
}

/* Of a column, in characters; 0 when all of it is empty. */
static size_t column_width(const struct table *table, size_t column)
{
    size_t width = 0;

    for (size_t i = column; i < table->n_cells; i += table->n_columns) {
        size_t len = table->cells[i].text ? strlen(table->cells[i].text) : 0;
        width = len > width ? len : width;
    }
    size_t title = strlen(table->columns[column].title);
    return width > 0 && title > width ? title : width;
}

/* ---- a screen that is too narrow ---- */

static size_t line_width(const struct table *table, const size_t *widths)
{
    size_t width = INDENT, gap = 0;

    for (size_t i = 0; i < table->n_columns; i++) {
        if (widths[i] > 0) {
            width += gap + widths[i];
            gap = GAP;
        }
    }
    return width;
}

/* "[2001:db8..05]:443" */
static void shorten_text(char *text, size_t width)
{
    size_t len = strlen(text), tail = (width - 2) / 2;

    if (len <= width)
        return;
    memcpy(text + width - tail - 2, "..", 2);
    memmove(text + width - tail, text + len - tail, tail + 1);
}

/* Returns its new width. */
static size_t shorten_column(struct table *table, size_t column, size_t width, size_t excess)
{
    size_t shorter = width > excess + COLUMN_SHORT ? width - excess : COLUMN_SHORT;

    if (width <= COLUMN_SHORT)
        return width;
    for (size_t i = column; i < table->n_cells; i += table->n_columns) {
        if (table->cells[i].text)
            shorten_text(table->cells[i].text, shorter);
    }
    return shorter;
}

/* A width of 0 is that of a column that is not there. */
static void fit(struct table *table, size_t *widths, size_t columns)
{
    for (size_t turn = 1; turn <= table->n_columns; turn++) {
        for (size_t i = 0; i < table->n_columns; i++) {
            size_t width = line_width(table, widths);
            if (width <= columns)
                return;
            if (table->columns[i].yields == turn)
                widths[i] = table->columns[i].how == SHORTENS
                                ? shorten_column(table, i, widths[i], width - columns)
                                : 0;
        }
    }
}

/* ---- printing ---- */

/* gap: what the cells so far have left to fill; none is printed behind a line's last text. */
static void print_cell(const struct screen *screen, const struct column *column, size_t width,
                       enum paint paint, const char *text, size_t *gap)
{
    size_t fill = width - strlen(text);

    if (*text) {
        print_spaces(screen, *gap + (column->right ? fill : 0));
        screen_print(screen, paint, "%s", text);
        *gap = GAP + (column->right ? 0 : fill);
    } else {
        *gap += GAP + fill;
    }
}

/* cells: one row, or NULL for the titles. */
static void print_row(const struct table *table, const struct screen *screen, const size_t *widths,
                      const struct cell *cells)
{
    size_t gap = INDENT;

    for (size_t i = 0; i < table->n_columns; i++) {
        const char *text = cells ? cells[i].text : table->columns[i].title;
        if (widths[i] > 0)
            print_cell(screen, &table->columns[i], widths[i], cells ? cells[i].paint : PAINT_FAINT,
                       text ? text : "", &gap);
    }
    fputc('\n', screen->out);
}

static void print_beneath(const struct table *table, const struct screen *screen,
                          const size_t *widths, const struct cell *cells)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        if (widths[i] == 0 && cells[i].text && table->columns[i].how == GOES_BENEATH)
            screen_print_words(screen, INDENT_BENEATH, cells[i].text);
    }
}

void table_print(struct table *table, const struct screen *screen)
{
    size_t rows = table->n_cells / table->n_columns;
    size_t *widths = calloc(table->n_columns, sizeof(*widths));

    if (!widths)
        return;
    for (size_t i = 0; i < table->n_columns; i++)
        widths[i] = column_width(table, i);
    if (screen->columns > 0)
        fit(table, widths, screen->columns);
    if (rows > 0)
        print_row(table, screen, widths, NULL);
    for (size_t i = 0; i < rows; i++) {
        const struct cell *cells = table->cells + i * table->n_columns;
        print_row(table, screen, widths, cells);
        print_beneath(table, screen, widths, cells);
    }
    free(widths);
}
