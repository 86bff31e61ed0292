/* Events as a person reads them, one line each, apart from where they come from. */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

#include <json-c/json.h>

#include "cli/table.h"

#define EVENTS_DAY_TEXT 16

/* What the lines before say of how the next one looks; zeroed, there is none. */
struct events_page {
    char day[EVENTS_DAY_TEXT]; /* of the last one; a line that begins another names it */
    int subject_width;         /* the longest so far */
};

/* Times are local. Fields that are not there read as empty. */
void events_print(struct events_page *page, struct json_object *event, const struct screen *screen);

#endif
