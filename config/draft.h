/* A configuration file that a command edits: locked against other such commands, changed in memory
 * (config/edit.h), and written only when the loader takes the new text. */
#ifndef CONFIG_DRAFT_H
#define CONFIG_DRAFT_H

#include <stdbool.h>
#include <stdio.h>

struct draft {
    const char *path; /* borrowed */
    char *text;       /* as it is, or is to be; malloced; NULL: there is no such file yet */
    int lock;         /* on its directory */
};

/* Reads the file, if there is one. Writes what is wrong to `complaints`; then *draft is nothing.
 * Returns 0, or -errno. */
int draft_open(struct draft *draft, const char *path, FILE *complaints);
/* The next text, taken from whoever made it. */
void draft_change(struct draft *draft, char *text);
/* Which element of a list of groups has that name: its index, and what its key_file says (malloced;
 * NULL where it says nothing); or -ENOENT. */
int draft_find(const struct draft *draft, const char *list, const char *name, char **key_file);
/* Which element has its key in that file, by whatever path: its name (malloced); NULL: none has.
 * But for the one at index `but` (-1: for none). */
char *draft_key_user(const struct draft *draft, const char *list, const char *key_file, int but);
/* How many elements the list has. */
int draft_count(const struct draft *draft, const char *list);
/* What a setting says, where that is text; else `otherwise`. Malloced, or NULL. */
char *draft_text(const struct draft *draft, const char *setting, const char *otherwise);
/* Likewise the i-th of a list of texts; NULL: there is none. */
char *draft_text_of(const struct draft *draft, const char *list, unsigned i);
/* Writes the text; check(), a loader's, says whether it is good. Returns 0, or -errno after
 * complaining, and then the file is as it was. */
int draft_write(struct draft *draft, bool (*check)(const char *path, FILE *complaints),
                FILE *complaints);
void draft_close(struct draft *draft); /* idempotent */

#endif
