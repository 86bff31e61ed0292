/* A frame of `bondway top`: what to show of a daemon's answers, on how large a screen. Pure. */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <json-c/json.h>

#include "cli/table.h"

/* Where it goes. */
struct top_page {
    struct screen screen;
    int width, height; /* in characters; height 0: as many lines as there are */
    bool utf8;         /* else ASCII alone */
    bool terminal;     /* each line ends by clearing the rest of it; else there are no such codes */
};

/* What it remembers from one frame to the next. Zero-initialised: nothing. */
struct top_memory;
struct top_memory *top_memory_new(void); /* NULL: out of memory */
void top_memory_free(struct top_memory *memory);

/* Takes in the answers to "status" and "flows", which were asked for at now_ms. */
void top_update(struct top_memory *memory, struct json_object *status, struct json_object *flows,
                uint64_t now_ms);
/* complaint: what is wrong with what is shown; "": nothing. */
void top_render(const struct top_memory *memory, struct json_object *status,
                struct json_object *flows, const char *complaint, const struct top_page *page);

#endif
