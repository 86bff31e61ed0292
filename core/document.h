/* JSON documents of a daemon that goes on when memory runs out for a moment: built from the outside
 * in, and written, whole or not at all. */
#ifndef CORE_DOCUMENT_H
#define CORE_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

#define DOCUMENT_DEPTH 8

/* One that is being built; zeroed at first. The first allocation that fails is the last: nothing is
 * added any more, and document_finish() says so. */
struct document {
    struct json_object *open[DOCUMENT_DEPTH]; /* objects and lists, the outermost first */
    size_t depth;
    bool failed;
};

/* The first one opened is the document, without a key. All that follows goes into the one that was
 * opened last: into an object with a key, which is a literal, into a list without (NULL). */
void document_open_object(struct document *d, const char *key);
void document_open_list(struct document *d, const char *key);
void document_close(struct document *d); /* the one that was opened last; not the document */

void document_add_text(struct document *d, const char *key, const char *text);
void document_add_number(struct document *d, const char *key, uint64_t number);
void document_add_bool(struct document *d, const char *key, bool value);
/* With at most so many digits behind the point: those that mean something. digits: 1 to 9. */
void document_add_decimal(struct document *d, const char *key, double value, int digits);
void document_add_null(struct document *d, const char *key);
void document_add_document(struct document *d, const char *key,
                           struct json_object *document); /* taken; NULL: it has failed */

/* The document, the caller's to put, or NULL: out of memory. */
struct json_object *document_finish(struct document *d);

/* In one line, the caller's to free. NULL: out of memory, also for no document. */
char *document_write(struct json_object *document);

#endif
