/* The text of a configuration file, before libconfig sees it. libconfig ends the program when an
 * @include names a directory, follows nesting as deep as the stack goes, and (1.5) takes a number
 * beyond 32 bits for another: such text is refused here. */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#define SOURCE_MAX_BYTES (1024 * 1024)
#define SOURCE_MAX_DEPTH 16

/* Reads a regular file of at most SOURCE_MAX_BYTES that holds no NUL byte. Returns 0 and the text
 * (the caller's to free), or -errno and why[]: what is wrong and what to do, without the path. */
int source_read(const char *path, char **text, char *why, size_t why_len);

struct source_mistake {
    int line;
    const char *what; /* static */
};

/* Behind a comment, string or name that starts at `text`; `text` itself where none starts; NULL
 * when it does not end: libconfig would let it swallow the rest of the file in silence. */
const char *source_skip(const char *text);
/* False when the text must not be given to libconfig. */
bool source_check(const char *text, struct source_mistake *mistake);

#endif
