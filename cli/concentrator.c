/* bondway concentrator: the command, and what a VPS is to the others. */
#include "cli/checks.h"
#include "cli/examine.h"
#include "cli/serve.h"
#include "cli/status.h"
#include "cli/view.h"
#include "concentrator/concentrator.h"
#include "config/concentrator_config.h"

#define CONFIG "/etc/bondway/concentrator.conf"

static bool check(const char *path, FILE *complaints)
{
    struct concentrator_config *config = concentrator_config_load(path, complaints);

    concentrator_config_free(config);
    return config != NULL;
}

static void warn(const char *path, FILE *out)
{
    struct concentrator_config *config = concentrator_config_load(path, out);

    if (config)
        serve_warn_of_packet_scheduler(path, config->packet_scheduler_line,
                                       config->packet_scheduler, out);
    concentrator_config_free(config);
}

static void *load(const char *path, FILE *complaints)
{
    return concentrator_config_load(path, complaints);
}

static void examine_status(struct findings *findings, const char *socket)
{
    struct json_object *status = examine_daemon(findings, &role_concentrator, socket);
    struct json_object *gateways = view_list(status, "gateways");

    if (status)
        findings_add(findings, FINDING_OK, "concentrator", NULL, "it runs");
    for (size_t i = 0; i < view_length(gateways); i++) {
        struct json_object *gateway = json_object_array_get_idx(gateways, i);
        const char *name = view_text(gateway, "name");
        if (view_has(gateway, "last_seen_s"))
            findings_add(findings, FINDING_OK, name, NULL, "it has connected");
        else
            findings_add(findings, FINDING_NOTE, name,
                         "`bondway invite` prints its join link again; `bondway doctor` there says "
                         "more",
                         "it has not connected since the concentrator was started");
    }
    json_object_put(status);
}

static void examine(struct findings *findings, const char *path)
{
    struct concentrator_config *config = examine_config(findings, path, load);

    checks_concentrator_kernel(findings);
    if (config) {
        checks_packet_scheduler(findings, config->packet_scheduler);
        examine_status(findings, config->control_socket);
    }
    concentrator_config_free(config);
}

static int begin(const char *path)
{
    return concentrator_run(path, false);
}

static int take_over(const char *path)
{
    return concentrator_run(path, true);
}

const struct role role_concentrator = {
    .daemon = "concentrator",
    .list = "gateways",
    .config = CONFIG,
    .socket = "/run/bondway/concentrator.sock",
    .rows = concentrator_config_rows,
    .check = check,
    .warn = warn,
    .examine = examine,
    .show = status_show_concentrator,
    .run = begin,
    .take_over = take_over,
};

static const struct command_option options[] = {
    SERVE_OPTIONS(CONFIG),
    {SERVE_TAKE_OVER, "take-over", NULL,
     "take the place of the one that runs, whose flows go on to their end"},
    {0, "", NULL, NULL}};

static int run(int argc, char **argv)
{
    return serve(&concentrator_command, &role_concentrator, argc, argv);
}

const struct command concentrator_command = {
    .name = "concentrator",
    .summary = "receive them and dial their destinations (on the VPS)",
    .text = "Runs on the VPS: receives the gateways' connections, and dials their destinations.",
    .options = options,
    .notes = SERVE_NOTES,
    .exit_status = SERVE_EXIT_STATUS,
    .run = run,
};
