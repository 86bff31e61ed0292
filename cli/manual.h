/* What describes the program beside itself, written from the tables that it reads its options and
 * its configuration by. For bondway-manual, a tool of the build. */
#ifndef CLI_MANUAL_H
#define CLI_MANUAL_H

#include <stdio.h>

#include "config/option.h"

/* One of the configuration files. */
struct manual_file {
    const char *name;    /* "gateway.conf" */
    const char *command; /* who reads it: "gateway" */
    const struct option_row *rows;
};

/* Manual pages, in roff. */
void manual_program(FILE *out);
/* example: a whole file, which is shown. */
void manual_config(const struct manual_file *file, FILE *example, FILE *out);

/* Completions of commands, their options, and file names. */
void completion_bash(FILE *out);
void completion_zsh(FILE *out);

#endif
