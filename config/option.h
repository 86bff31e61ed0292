/* Option tables: every key that a configuration file may hold is one row, with its kind, bounds,
 * default and help. This module reads a file by such tables, and complains of all that does not
 * fit; what lies between several keys is checked by the loaders. */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <libconfig.h>

#include "core/key.h"

/* What one value is, and what it becomes in the configuration's struct. */
enum option_kind {
    OPTION_BOOL,      /* bool */
    OPTION_INTEGER,   /* uint32_t, min to max */
    OPTION_PORT,      /* uint16_t, 1 to 65535 */
    OPTION_DURATION,  /* uint32_t milliseconds, min to max; "10s" */
    OPTION_SIZE,      /* uint64_t bytes, at least min; "50GB" */
    OPTION_CHOICE,    /* enum (unsigned): the word's number */
    OPTION_NAME,      /* char[NAME_MAX_LENGTH + 1] */
    OPTION_INTERFACE, /* char[INTERFACE_NAME] */
    OPTION_PATH,      /* char *, malloced; absolute, at most max bytes */
    OPTION_IP,        /* struct addr without port; family min, or any when 0 */
    OPTION_ENDPOINT,  /* struct addr with port */
    OPTION_NETWORK,   /* struct cidr */
    OPTION_CLIENT,    /* struct client_match; a network, or "02:00:5e:10:00:ff" */
    OPTION_PORTS,     /* struct port_range; 443 or "8000-8100" */
    OPTION_DSCP,      /* int8_t, 0 to 63 */
    OPTION_REFERENCE, /* the name of something else in the file: resolved by the loader */
    OPTION_GROUP,     /* a struct described by rows; only as a list */
};

enum option_flag {
    OPTION_REQUIRED = 1,
    OPTION_LIST = 2,     /* any number of values: a malloced array, and count_at its size_t */
    OPTION_IN_PLACE = 4, /* the list's array stands in the struct itself: at most max values */
    OPTION_FIXED = 8,    /* of an integer: cannot change while the daemon runs */
};

/* A table of these ends with an empty word. In the tables, short texts stand in place: a pointer
 * and its relocation take 32 bytes on a router. */
struct option_word {
    char word[12];
    int value;
};

/* A table of these ends with an empty name. Rows are read in the table's order. */
struct option_row {
    char name[32];
    uint8_t kind, flags;   /* enum option_kind, of enum option_flag */
    uint16_t at, count_at; /* offsetof() in the struct */
    uint16_t size;         /* of a group's struct */
    uint32_t min, max;
    const char *def;     /* as it would stand in the file; NULL: zero, or none */
    const char *example; /* for a required key, likewise */
    const char *help;
    union {
        const struct option_word *words; /* of a choice */
        const struct option_row *rows;   /* of a group */
    };
};

/* One mistake in the file. */
struct complaint {
    int line;
    size_t number; /* in the order of the checks */
    char *text;
};

/* A file being read. */
struct option_file {
    const char *path;
    FILE *out; /* for the complaints */
    struct complaint *complaints;
    size_t n_complaints;
    bool failed; /* nothing may start with what was read */
    config_t parsed;
};

/* Parses the file; nothing of its content is looked at yet. Only a regular file of at most 1 MiB
 * is read. Returns 0, or -errno after complaining; close it in either case. */
int option_file_open(struct option_file *file, const char *path, FILE *out);
/* Writes the complaints, in the order of their lines. */
void option_file_close(struct option_file *file);

/* Fills *into (zeroed) from the file's keys and the rows' defaults, complaining of what is wrong.
 * Whatever the outcome, option_free() is due. */
void option_read(struct option_file *file, const struct option_row *rows, void *into);
/* Complains of each OPTION_FIXED integer whose value in *now differs from that in *running. */
void option_check_fixed(struct option_file *file, const struct option_row *rows, const void *now,
                        const void *running);
/* Frees what option_read() made in *into, not *into itself. */
void option_free(const struct option_row *rows, void *into);

/* One mistake: "path:line: ..."; setting may be NULL (the whole file). */
void option_complain(struct option_file *file, const config_setting_t *setting, const char *fmt,
                     ...) __attribute__((format(printf, 3, 4)));
/* The line of a key that stands in no group; 0: it is not there. */
unsigned option_line(const struct option_file *file, const char *key);
/* The setting `key` of element `index` of the list `list`; the nearest that exists when there is
 * no such key, so that a complaint finds a line. */
const config_setting_t *option_find(const struct option_file *file, const char *list, size_t index,
                                    const char *key);
/* Complains when an earlier element of the list has the same text for key, which names one
 * `what`. */
void option_check_unique(struct option_file *file, const char *list, const char *key,
                         const char *what);

/* Loads the key, or the keys, in the file that key_file of that element names; path may be NULL. */
void option_load_key(struct option_file *file, const char *list, size_t index, const char *path,
                     struct key *key);
void option_load_keys(struct option_file *file, const char *list, size_t index, const char *path,
                      struct key_ring *ring);

/* For `--keys`: every row with its default and help. */
void option_describe(const struct option_row *rows, FILE *out);

#endif
