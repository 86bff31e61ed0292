/* The commands of the program: one file each. What a command is, and which options it takes, is
 * data: from it come the reading of its options, --help, the manual page and the completions of the
 * shells, so that they cannot disagree. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

enum exit_code { EXIT_WELL = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DEGRADED = 3 };

/* A table of these ends with an empty name. */
struct command_option {
    int value;            /* what command_next_option() returns: its letter, or from 256 on */
    char name[12];        /* without the "--" */
    const char *argument; /* "FILE", "PATH": what stands behind it; NULL: nothing */
    const char *help;     /* may have several lines */
};

#define COMMAND_OPTIONS_MAX 16

struct command {
    const char *name;
    const char *summary;  /* a line, for the list of commands */
    const char *text;     /* a paragraph: what it does */
    const char *operands; /* "LINK": what stands behind the options; NULL: nothing may */
    const struct command_option *options; /* but --help and --version, which all have; or NULL */
    const char *notes;                    /* what follows them; or NULL */
    const char *exit_status;              /* "0 well, 1 failed, 2 wrong usage" */
    int (*run)(int argc, char **argv);    /* argv[0] is the name. Returns an exit code. */
};

extern const struct command gateway_command, concentrator_command, status_command, flows_command,
    events_command, top_command, doctor_command, invite_command, join_command, remove_command,
    report_command, keygen_command;
/* All of this build, as they are listed; ends with NULL. */
extern const struct command *const commands[];
/* Those that it leaves out, because they are for the VPS; ends with NULL. */
extern const char *const commands_left_out[];

/* Reads the next option, in the manner of getopt_long(): returns its value, its argument in optarg;
 * 0 after the last. -1: the command is over, with the exit code in *code: --help, --version, or a
 * mistake, of which the person has been told. */
int command_next_option(const struct command *command, int argc, char **argv, int *code);

/* Then, where the command has one operand: puts it there, NULL where it is left out. Returns
 * EXIT_WELL, or another exit code when there are more, or it is `needed`, of which the person has
 * been told. */
int command_operand(const struct command *command, int argc, char **argv, bool needed,
                    char **operand);

/* "--socket PATH", "-f, --follow": how the option is written. Returns out. */
const char *command_show_option(const struct command_option *option, char *out, size_t len);
/* The options that every command has. */
extern const struct command_option command_common_options[];

int command_version(void);
/* What the command has to say of its own failure, on standard error. */
void command_complain(const struct command *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Prints a secret and a newline, past stdio, whose buffer would keep a copy; wipes it. text has
 * room for the newline in place of its end. what: "the key", for the complaint. Returns an exit
 * code. */
int command_print_secret(const struct command *command, char *text, const char *what);
/* Call last: output that did not arrive (a full disk) is a failure. */
int command_finish(int code);

#endif
