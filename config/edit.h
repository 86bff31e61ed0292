/* A list of groups in the text of a configuration file, changed where it stands: everything else,
 * comments and layout too, stays as its owner wrote it. Pure. The text must be one that libconfig
 * takes (config/source.h). */
#ifndef CONFIG_EDIT_H
#define CONFIG_EDIT_H

#include <stdbool.h>
#include <stddef.h>

/* Does the file's outermost group have that setting? */
bool edit_has(const char *text, const char *setting);

/* These write a new text to *out (the caller's to free), and return 0, or -ENOMEM, or -EINVAL where
 * list is no list in ( ) of groups, or has no such element. entry: "{ ... }". */

/* Behind the last element, laid out like that; where there is no such list, at the end of the
 * text. */
int edit_append(const char *text, const char *list, const char *entry, char **out);
int edit_replace(const char *text, const char *list, size_t index, const char *entry, char **out);
/* With the line it leaves blank, and with a comment behind it on that line. */
int edit_remove(const char *text, const char *list, size_t index, char **out);

#endif
