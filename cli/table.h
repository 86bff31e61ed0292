/* Text in aligned columns, for terminals. A column that is empty in every row is left out. Where a
 * line is wider than the screen, columns yield, in the order that each says, until it is not: no
 * line is left for the terminal to wrap, and no figure is cut. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum paint { PAINT_NONE, PAINT_BOLD, PAINT_GOOD, PAINT_WARN, PAINT_BAD, PAINT_FAINT };

/* A screen to print on: where, whether it has colours, and how wide it is. */
struct screen {
    FILE *out;
    bool colour;
    size_t columns; /* 0: a line may be as long as it likes */
};

/* stdout; as wide as the terminal, and in colour there, unless NO_COLOR is set. */
struct screen screen_stdout(void);
void screen_print(const struct screen *screen, enum paint paint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Whole lines, each indented so far, broken at blanks where the screen ends. */
void screen_print_words(const struct screen *screen, size_t indent, const char *text);
/* What a terminal must be sent for that paint; PAINT_NONE ends the one before. "" without colours.
 */
const char *screen_paint(const struct screen *screen, enum paint paint);
/* Replaces control characters: part of a text may come from afar. */
void screen_clean(char *text);

enum yielding {
    LEAVES,
    SHORTENS,    /* in the middle, to no less than COLUMN_SHORT */
    GOES_BENEATH /* its text is printed beneath its row, on lines of its own */
};

/* Has room for a name, and of an address for both ends. */
#define COLUMN_SHORT 20

struct column {
    char title[12];
    bool right;           /* aligned: for figures */
    unsigned char yields; /* on a screen that is too narrow: 1 before 2; 0: never */
    enum yielding how;
};

struct table;

/* columns must outlive the table. NULL: out of memory. */
struct table *table_new(const struct column *columns, size_t n);
void table_free(struct table *table); /* NULL is fine */
/* The next cell, row by row; text is copied and cleaned, and NULL is an empty cell. */
void table_add(struct table *table, enum paint paint, const char *text);
/* Once: what is shortened for this screen stays so. Prints nothing when there is no row. */
void table_print(struct table *table, const struct screen *screen);

#endif
