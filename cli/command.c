#include "cli/command.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

int command_version(void)
{
    printf("bondway " BONDWAY_VERSION "\n");
    return command_finish(EXIT_WELL);
}

int command_bad_option(char **argv, int result)
{
    const char *wrong = argv[optind - 1], short_option[] = {'-', (char)optopt, '\0'};

    if (strncmp(wrong, "--", 2) != 0)
        wrong = short_option;
    fprintf(stderr, "bondway %s: option %s %s; see bondway %s --help\n", argv[0], wrong,
            result == ':' ? "needs an argument" : "is not known", argv[0]);
    return EXIT_USAGE;
}

int command_unexpected(const char *command, const char *argument)
{
    fprintf(stderr, "bondway %s: unexpected argument \"%s\"; see bondway %s --help\n", command,
            argument, command);
    return EXIT_USAGE;
}

int command_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE)
        fprintf(stderr, "bondway: cannot write the output: %s\n", strerror(errno));
    return EXIT_FAILED;
}
