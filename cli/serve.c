/* bondway gateway and bondway concentrator: the daemons, and the check of their configuration. */
#include <getopt.h>
#include <stdio.h>

#include "cli/command.h"
#include "concentrator/concentrator.h"
#include "config/concentrator_config.h"
#include "config/gateway_config.h"
#include "config/option.h"
#include "core/log.h"
#include "gateway/gateway.h"
#include "gateway/shadows.h"

struct role {
    const struct command *command;
    const char *config;
    int (*run)(const char *config_path);
    int (*take_over)(const char *config_path);
    bool (*check)(const char *config_path);
    const struct option_row *(*rows)(void);
};

static bool check_gateway(const char *path)
{
    struct gateway_config *config = gateway_config_load(path, stderr);
    bool loads = config != NULL;

    if (loads)
        shadows_tell(config, path, stderr);
    gateway_config_free(config);
    return loads;
}

static bool check_concentrator(const char *path)
{
    struct concentrator_config *config = concentrator_config_load(path, stderr);

    concentrator_config_free(config);
    return config != NULL;
}

static int check(const struct role *role, const char *path)
{
    if (!role->check(path))
        return EXIT_USAGE;
    printf("%s: well\n", path);
    return command_finish(EXIT_WELL);
}

static int describe(const struct role *role)
{
    option_describe(role->rows(), stdout);
    return command_finish(EXIT_WELL);
}

enum { LONG_CHECK = 256, LONG_KEYS, LONG_SYSLOG, LONG_DEBUG, LONG_TAKE_OVER };

static int serve(const struct role *role, int argc, char **argv)
{
    const char *path = role->config;
    bool check_only = false, takes_over = false;
    int option, code;

    while ((option = command_next_option(role->command, argc, argv, &code)) > 0) {
        if (option == 'c')
            path = optarg;
        else if (option == LONG_CHECK)
            check_only = true;
        else if (option == LONG_KEYS)
            return describe(role);
        else if (option == LONG_SYSLOG)
            log_use_syslog("bondway");
        else if (option == LONG_DEBUG)
            log_set_level(LOG_LEVEL_DEBUG);
        else if (option == LONG_TAKE_OVER)
            takes_over = true;
    }
    if (option < 0)
        return code;
    if (check_only)
        return check(role, path);
    return takes_over ? role->take_over(path) : role->run(path);
}

#define GATEWAY_CONFIG "/etc/bondway/gateway.conf"
#define CONCENTRATOR_CONFIG "/etc/bondway/concentrator.conf"
#define OPTIONS(config)                                                                            \
    {'c', "config", "FILE", "the configuration; default " config},                                 \
        {LONG_CHECK, "check", NULL, "say what is wrong in it, and change nothing"},                \
        {LONG_KEYS, "keys", NULL, "list the keys that it may hold"},                               \
        {LONG_SYSLOG, "syslog", NULL, "log to syslog, not to standard error"},                     \
    {                                                                                              \
        LONG_DEBUG, "debug", NULL, "log more"                                                      \
    }

static const struct command_option gateway_options[] = {OPTIONS(GATEWAY_CONFIG),
                                                        {0, NULL, NULL, NULL}};
static const struct command_option concentrator_options[] = {
    OPTIONS(CONCENTRATOR_CONFIG),
    {LONG_TAKE_OVER, "take-over", NULL,
     "take the place of the one that runs, whose flows go on to their end"},
    {0, NULL, NULL, NULL}};

static int run_gateway(int argc, char **argv)
{
    static const struct role gateway = {
        .command = &gateway_command,
        .config = GATEWAY_CONFIG,
        .run = gateway_run,
        .check = check_gateway,
        .rows = gateway_config_rows,
    };

    return serve(&gateway, argc, argv);
}

const struct command gateway_command = {
    .name = "gateway",
    .summary = "carry the LAN's connections over all uplinks (on the router)",
    .text =
        "Runs on the router: takes the LAN's TCP connections, and carries each over all uplinks\n"
        "to the concentrator.",
    .options = gateway_options,
    .notes = "SIGHUP reads the configuration anew; SIGTERM ends it in order, a second one at once.",
    .exit_status = "0 well, 1 failed, 2 wrong usage or configuration",
    .run = run_gateway,
};

static int begin_concentrator(const char *path)
{
    return concentrator_run(path, false);
}

static int replace_concentrator(const char *path)
{
    return concentrator_run(path, true);
}

static int run_concentrator(int argc, char **argv)
{
    static const struct role concentrator = {
        .command = &concentrator_command,
        .config = CONCENTRATOR_CONFIG,
        .run = begin_concentrator,
        .take_over = replace_concentrator,
        .check = check_concentrator,
        .rows = concentrator_config_rows,
    };

    return serve(&concentrator, argc, argv);
}

const struct command concentrator_command = {
    .name = "concentrator",
    .summary = "receive them and dial their destinations (on the VPS)",
    .text = "Runs on the VPS: receives the gateways' connections, and dials their destinations.",
    .options = concentrator_options,
    .notes = "SIGHUP reads the configuration anew; SIGTERM ends it in order, a second one at once.",
    .exit_status = "0 well, 1 failed, 2 wrong usage or configuration",
    .run = run_concentrator,
};
