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

struct role {
    const char *name, *summary, *config;
    int (*run)(const char *config_path);
    bool (*check)(const char *config_path);
    const struct option_row *(*rows)(void);
    const char *reload; /* what it takes to apply another configuration */
};

static bool check_gateway(const char *path)
{
    struct gateway_config *config = gateway_config_load(path, stderr);

    gateway_config_free(config);
    return config != NULL;
}

static bool check_concentrator(const char *path)
{
    struct concentrator_config *config = concentrator_config_load(path, stderr);

    concentrator_config_free(config);
    return config != NULL;
}

static const struct role gateway = {
    "gateway",
    "Runs on the router: takes the LAN's TCP connections, and carries each over all uplinks\n"
    "to the concentrator.",
    "/etc/bondway/gateway.conf",
    gateway_run,
    check_gateway,
    gateway_config_rows,
    "A new configuration takes a restart;",
};
static const struct role concentrator = {
    "concentrator",
    "Runs on the VPS: receives the gateways' connections, and dials their destinations.",
    "/etc/bondway/concentrator.conf",
    concentrator_run,
    check_concentrator,
    concentrator_config_rows,
    "SIGHUP reads the configuration anew;",
};

static int help(const struct role *role)
{
    printf("Usage: bondway %s [-c FILE] [--check] [--syslog] [--debug]\n\n%s\n\n"
           "  -c, --config FILE  the configuration; default %s\n"
           "      --check        say what is wrong in it, and change nothing\n"
           "      --keys         list the keys that it may hold\n"
           "      --syslog       log to syslog, not to standard error\n"
           "      --debug        log more\n"
           "  -h, --help         this text\n"
           "  -V, --version      the version\n\n"
           "%s SIGTERM ends it in order, a second one at once.\n"
           "Exit status: 0 well, 1 failed, 2 wrong usage or configuration.\n",
           role->name, role->summary, role->config, role->reload);
    return command_finish(EXIT_WELL);
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

enum { LONG_CHECK = 256, LONG_KEYS, LONG_SYSLOG, LONG_DEBUG };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, LONG_CHECK},
    {"keys", no_argument, NULL, LONG_KEYS},   {"syslog", no_argument, NULL, LONG_SYSLOG},
    {"debug", no_argument, NULL, LONG_DEBUG}, {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0},
};

static int serve(const struct role *role, int argc, char **argv)
{
    const char *path = role->config;
    bool check_only = false;

    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":c:hV", options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case LONG_CHECK:
            check_only = true;
            break;
        case LONG_KEYS:
            return describe(role);
        case LONG_SYSLOG:
            log_use_syslog("bondway");
            break;
        case LONG_DEBUG:
            log_set_level(LOG_LEVEL_DEBUG);
            break;
        case 'h':
            return help(role);
        case 'V':
            return command_version();
        default:
            return command_bad_option(argv, c);
        }
    }
    if (optind < argc)
        return command_unexpected(role->name, argv[optind]);
    return check_only ? check(role, path) : role->run(path);
}

int gateway_command(int argc, char **argv)
{
    return serve(&gateway, argc, argv);
}

int concentrator_command(int argc, char **argv)
{
    return serve(&concentrator, argc, argv);
}
