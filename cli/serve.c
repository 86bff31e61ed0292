#include "cli/serve.h"

#include <getopt.h>

#include "core/log.h"
#include "core/packet_scheduler.h"

#define WHY_MAX 512

void serve_warn_of_packet_scheduler(const char *path, unsigned line, const char *name, FILE *out)
{
    char why[WHY_MAX];

    if (name[0] && packet_scheduler_find(name, why, sizeof(why)))
        fprintf(out, "%s:%u: warning: %s\n", path, line, why);
}

static int check(const struct role *role, const char *path)
{
    if (!role->check(path, stderr))
        return EXIT_USAGE;
    if (role->warn)
        role->warn(path, stderr);
    printf("%s: well\n", path);
    return command_finish(EXIT_WELL);
}

static int describe(const struct role *role)
{
    option_describe(role->rows(), stdout);
    return command_finish(EXIT_WELL);
}

int serve(const struct command *command, const struct role *role, int argc, char **argv)
{
    const char *path = role->config;
    bool check_only = false, takes_over = false;
    int option, code;

    while ((option = command_next_option(command, argc, argv, &code)) > 0) {
        if (option == 'c')
            path = optarg;
        else if (option == SERVE_CHECK)
            check_only = true;
        else if (option == SERVE_KEYS)
            return describe(role);
        else if (option == SERVE_SYSLOG)
            log_use_syslog("bondway");
        else if (option == SERVE_DEBUG)
            log_set_level(LOG_LEVEL_DEBUG);
        else if (option == SERVE_TAKE_OVER)
            takes_over = true;
    }
    if (option < 0)
        return code;
    if (check_only)
        return check(role, path);
    return takes_over ? role->take_over(path) : role->run(path);
}
