/* bondway gateway: the command, and what a router is to the others. */
#include <string.h>

#include "cli/checks.h"
#include "cli/examine.h"
#include "cli/serve.h"
#include "cli/status.h"
#include "cli/view.h"
#include "config/gateway_config.h"
#include "gateway/gateway.h"
#include "gateway/shadows.h"

#define CONFIG "/etc/bondway/gateway.conf"

static bool check(const char *path, FILE *complaints)
{
    struct gateway_config *config = gateway_config_load(path, complaints);

    gateway_config_free(config);
    return config != NULL;
}

static void warn(const char *path, FILE *out)
{
    struct gateway_config *config = gateway_config_load(path, out);

    if (config) {
        serve_warn_of_packet_scheduler(path, config->packet_scheduler_line,
                                       config->packet_scheduler, out);
        shadows_tell(config, path, out);
    }
    gateway_config_free(config);
}

static void *load(const char *path, FILE *complaints)
{
    return gateway_config_load(path, complaints);
}

static void examine_status(struct findings *findings, const char *socket)
{
    struct json_object *status = examine_daemon(findings, &role_gateway, socket);

    if (!status)
        return;
    if (strcmp(view_text(status, "version"), BONDWAY_VERSION) != 0)
        findings_add(findings, FINDING_WARN, "gateway", "restart it",
                     "it runs, but version %s; this is " BONDWAY_VERSION,
                     view_text(status, "version"));
    if (view_count(status, "intercepting"))
        findings_add(findings, FINDING_OK, "gateway", NULL,
                     "it runs, and carries the LAN's connections");
    else
        findings_add(findings, FINDING_WARN, "gateway", "`bondway status` says why",
                     "it runs, but new connections take the router's normal way");
    json_object_put(status);
}

static void examine(struct findings *findings, const char *path)
{
    struct gateway_config *config = examine_config(findings, path, load);

    checks_gateway_kernel(findings, config);
    if (!config)
        return;
    checks_packet_scheduler(findings, config->packet_scheduler);
    checks_lan(findings, config);
    examine_status(findings, config->control_socket);
    checks_uplinks(findings, config);
    gateway_config_free(config);
}

const struct role role_gateway = {
    .daemon = "gateway",
    .list = "concentrators",
    .needs_one = true,
    .config = CONFIG,
    .socket = "/run/bondway/gateway.sock",
    .rows = gateway_config_rows,
    .check = check,
    .warn = warn,
    .examine = examine,
    .show = status_show_gateway,
    .run = gateway_run,
};

static const struct command_option options[] = {SERVE_OPTIONS(CONFIG), {0, "", NULL, NULL}};

static int run(int argc, char **argv)
{
    return serve(&gateway_command, &role_gateway, argc, argv);
}

const struct command gateway_command = {
    .name = "gateway",
    .summary = "carry the LAN's connections over all uplinks (on the router)",
    .text =
        "Runs on the router: takes the LAN's TCP connections, and carries each over all uplinks\n"
        "to the concentrator.",
    .options = options,
    .notes = SERVE_NOTES,
    .exit_status = SERVE_EXIT_STATUS,
    .run = run,
};
