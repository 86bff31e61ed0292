/* bondway: finds the command, and runs it. */
#include <stddef.h>
#include <string.h>

#include "cli/command.h"
#include "config/suggest.h"
#include "core/crypto.h"

static int help(void)
{
    printf("Usage: bondway [COMMAND] [OPTIONS]\n\n"
           "Joins a router's Internet uplinks into one fast connection.\n\n");
    for (const struct command *const *c = commands; *c; c++)
        printf("  %-14s%s\n", (*c)->name, (*c)->summary);
    printf("\nAlone, bondway shows the status. bondway COMMAND --help tells more of each;\n"
           "bondway --version prints the version.\n");
    return command_finish(EXIT_WELL);
}

static int unknown(const char *name)
{
    const char *near = NULL;

    for (const char *const *left_out = commands_left_out; *left_out; left_out++) {
        if (strcmp(*left_out, name) == 0) {
            fprintf(stderr,
                    "bondway: this build, for routers, has no \"%s\"; install bondway on the VPS, "
                    "and run it there\n",
                    name);
            return EXIT_USAGE;
        }
    }
    for (const struct command *const *c = commands; *c && !near; c++) {
        if (suggest_close(name, (*c)->name))
            near = (*c)->name;
    }
    fprintf(stderr, "bondway: unknown command \"%s\"; ", name);
    if (near)
        fprintf(stderr, "did you mean \"%s\"?\n", near);
    else
        fprintf(stderr, "see bondway --help\n");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static char status[] = "status", *alone[] = {status, NULL};

    crypto_start();
    if (argc < 2)
        return status_command.run(1, alone);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help();
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return command_version();
    for (const struct command *const *c = commands; *c; c++) {
        if (strcmp((*c)->name, argv[1]) == 0)
            return (*c)->run(argc - 1, argv + 1);
    }
    return unknown(argv[1]);
}
