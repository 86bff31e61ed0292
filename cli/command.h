/* The commands of the program: one file each, one row in main.c's table. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

enum exit_code { EXIT_WELL = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DEGRADED = 3 };

/* argv[0] is the command's name. All return an exit code. */
int gateway_command(int argc, char **argv);
int concentrator_command(int argc, char **argv);
int keygen_command(int argc, char **argv);
int status_command(int argc, char **argv);
int flows_command(int argc, char **argv);
int events_command(int argc, char **argv);

int command_version(void);
/* After getopt_long() returned '?' or ':': says which option is wrong, and where help is. */
int command_bad_option(char **argv, int result);
/* Likewise, for an argument that is no option. */
int command_unexpected(const char *command, const char *argument);
/* Call last: output that did not arrive (a full disk) is a failure. */
int command_finish(int code);

#endif
