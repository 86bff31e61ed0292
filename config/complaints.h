/* What a daemon that runs finds wrong with a configuration: each mistake a line of its log, and the
 * first one as the reason that its event tells. */
#ifndef CONFIG_COMPLAINTS_H
#define CONFIG_COMPLAINTS_H

#include <stddef.h>
#include <stdio.h>

#define COMPLAINTS_REASON 320

struct complaints {
    FILE *out; /* for gateway_config_reload() and its like; NULL: out of memory */
    char *text;
    size_t len;
};

void complaints_open(struct complaints *complaints);
/* Logs them, and writes the reason: "" when nothing was wrong. */
void complaints_close(struct complaints *complaints, char reason[COMPLAINTS_REASON]);

#endif
