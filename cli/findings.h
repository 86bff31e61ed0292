/* What an examination has found: each finding with what to do about it. One that there was no
 * memory for is missing, and findings_code() then says that the examination has failed. */
#ifndef CLI_FINDINGS_H
#define CLI_FINDINGS_H

#include <stddef.h>
#include <json-c/json.h>

#include "cli/command.h"
#include "cli/table.h"
#include "core/document.h"

enum finding_level {
    FINDING_OK,
    FINDING_NOTE, /* worth knowing; nothing is wrong */
    FINDING_WARN, /* it works, but not as it should */
    FINDING_BAD   /* it cannot work so */
};

struct findings;

struct findings *findings_new(void);      /* NULL: out of memory */
void findings_free(struct findings *all); /* NULL is fine */

/* subject: "kernel", an uplink's name; remedy: what to do, NULL or "": nothing. All are copied. */
void findings_add(struct findings *all, enum finding_level level, const char *subject,
                  const char *remedy, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Likewise, of "what is wrong; what to do". */
void findings_add_line(struct findings *all, enum finding_level level, const char *subject,
                       const char *line);
/* Figures for programs, of the finding that was added last; taken. NULL: they have failed. */
void findings_add_figures(struct findings *all, struct json_object *figures);

/* For a person, in the order in which they came. */
void findings_print(const struct findings *all, const struct screen *screen);
/* Adds "findings": [{"level":"warn","subject":"lte","text":"…","remedy":"…","figures":{…}}]. */
void findings_describe(const struct findings *all, struct document *d);
/* By the worst one: EXIT_WELL, EXIT_DEGRADED or EXIT_FAILED. */
enum exit_code findings_code(const struct findings *all);

#endif
