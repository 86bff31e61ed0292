/* Text in aligned columns, for terminals. A column that is empty in every row is left out. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum paint { PAINT_NONE, PAINT_BOLD, PAINT_GOOD, PAINT_WARN, PAINT_BAD, PAINT_FAINT };

/* A screen to print on: where, and whether it has colours. */
struct screen {
    FILE *out;
    bool colour;
};

/* stdout; in colour on a terminal, unless NO_COLOR is set. */
struct screen screen_stdout(void);
void screen_print(const struct screen *screen, enum paint paint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What a terminal must be sent for that paint; PAINT_NONE ends the one before. "" without colours.
 */
const char *screen_paint(const struct screen *screen, enum paint paint);
/* Replaces control characters: part of a text may come from afar. */
void screen_clean(char *text);

struct column {
    const char *title;
    bool right; /* aligned: for figures */
};

struct table;

/* columns must outlive the table. NULL: out of memory. */
struct table *table_new(const struct column *columns, size_t n);
void table_free(struct table *table); /* NULL is fine */
/* The next cell, row by row; text is copied and cleaned, and NULL is an empty cell. */
void table_add(struct table *table, enum paint paint, const char *text);
/* Prints nothing when there is no row. */
void table_print(const struct table *table, const struct screen *screen);

#endif
