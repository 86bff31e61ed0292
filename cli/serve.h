/* The daemons' commands: bondway gateway, bondway concentrator. */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include "cli/role.h"

enum serve_option { SERVE_CHECK = 256, SERVE_KEYS, SERVE_SYSLOG, SERVE_DEBUG, SERVE_TAKE_OVER };

/* For the table of options; config: the default, a literal. */
#define SERVE_OPTIONS(config)                                                                      \
    {'c', "config", "FILE", "the configuration; default " config},                                 \
        {SERVE_CHECK, "check", NULL, "say what is wrong in it, and change nothing"},               \
        {SERVE_KEYS, "keys", NULL, "list the keys that it may hold"},                              \
        {SERVE_SYSLOG, "syslog", NULL, "log to syslog, not to standard error"},                    \
    {                                                                                              \
        SERVE_DEBUG, "debug", NULL, "log more"                                                     \
    }

#define SERVE_NOTES                                                                                \
    "SIGHUP reads the configuration anew; SIGTERM ends it in order, a second one at once."
#define SERVE_EXIT_STATUS "0 well, 1 failed, 2 wrong usage or configuration"

/* For role.warn: where this kernel does not have it. "" is the kernel's own. */
void serve_warn_of_packet_scheduler(const char *path, unsigned line, const char *name, FILE *out);

/* Runs the daemon to its end, or does what the options ask for instead. Returns an exit code. */
int serve(const struct command *command, const struct role *role, int argc, char **argv);

#endif
