/* What bondway status shows, of either role, and what these two share. */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include "cli/table.h"
#include "cli/view.h"

#define STATUS_INDENT 2 /* columns, of what stands below a heading */
#define STATUS_LINE 1024

/* Each prints the answer of such a daemon for a person; with no screen->out it only judges. Returns
 * the exit code that it stands for. (role.h) */
enum exit_code status_show_gateway(struct json_object *answer, const struct screen *screen);
enum exit_code status_show_concentrator(struct json_object *answer, const struct screen *screen);

/* "gateway: up", and since when. */
void status_print_headline(const struct screen *screen, struct json_object *answer,
                           enum paint paint, const char *state);
void status_print_heading(const struct screen *screen, const char *text);

#endif
