/* bondway doctor: is all here as it must be? With or without a daemon that runs. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/command.h"
#include "cli/findings.h"
#include "cli/provision.h"
#include "cli/view.h"
#include "config/concentrator_config.h"
#include "config/gateway_config.h"
#include "config/draft.h"
#include "config/edit.h"
#include "core/control.h"
#include "core/log.h"

#define WHY_MAX 512

struct examination {
    const char *config; /* NULL: whichever is there */
    bool json;
    const struct provision_role *role;
    struct findings *findings;
};

/* ---- the configuration ---- */

/* By what it lists. */
static const struct provision_role *role_of(const char *path)
{
    const struct provision_role *role = NULL;
    struct draft draft;
    char *nothing = NULL;
    size_t len;
    FILE *nowhere = open_memstream(&nothing, &len);

    if (!nowhere)
        return NULL;
    if (draft_open(&draft, path, nowhere) == 0 && draft.text)
        role = edit_has(draft.text, provision_concentrator.list) ? &provision_concentrator
                                                                 : &provision_gateway;
    draft_close(&draft);
    fclose(nowhere);
    free(nothing);
    return role;
}

/* A router has a gateway's, a VPS a concentrator's. */
static void choose_config(struct examination *x)
{
    if (x->config) {
        x->role = role_of(x->config);
        return;
    }
    bool is_vps = access(provision_gateway.config, F_OK) != 0 &&
                  access(provision_concentrator.config, F_OK) == 0;
    x->role = is_vps ? &provision_concentrator : &provision_gateway;
    x->config = x->role->config;
}

/* Each line of what the loader has said is a finding: "file:line: what; what to do". */
static void note_complaints(struct examination *x, char *said)
{
    for (char *line; (line = strsep(&said, "\n"));) {
        char *remedy = strstr(line, "; ");
        if (remedy)
            *remedy = '\0';
        if (*line)
            findings_add(x->findings, FINDING_BAD, "config", remedy ? remedy + 2 : NULL, "%s",
                         line);
    }
}

static void *load(struct examination *x, void *(*loader)(const char *path, FILE *complaints))
{
    char *said = NULL;
    size_t len;
    FILE *out = open_memstream(&said, &len);
    void *config = out ? loader(x->config, out) : NULL;

    if (out)
        fclose(out);
    if (config)
        findings_add(x->findings, FINDING_OK, "config", NULL, "%s, and the keys it names",
                     x->config);
    else
        note_complaints(x, said);
    free(said);
    return config;
}

static void *load_gateway(const char *path, FILE *complaints)
{
    return gateway_config_load(path, complaints);
}

static void *load_concentrator(const char *path, FILE *complaints)
{
    return concentrator_config_load(path, complaints);
}

/* ---- the daemon ---- */

static struct json_object *ask(struct examination *x, const char *socket)
{
    struct json_object *status = NULL;
    char why[WHY_MAX];
    int err = control_ask(socket, "status", &status, why, sizeof(why));

    if (err == -ENOENT || err == -ECONNREFUSED)
        findings_add(x->findings, FINDING_NOTE, x->role->daemon, NULL,
                     "none runs now: `bondway %s` starts one", x->role->daemon);
    else if (err)
        findings_add(x->findings, FINDING_WARN, x->role->daemon, NULL, "%s", why);
    return status;
}

static void check_gateway_daemon(struct examination *x, const char *socket)
{
    struct json_object *status = ask(x, socket);

    if (!status)
        return;
    if (strcmp(view_text(status, "version"), BONDWAY_VERSION) != 0)
        findings_add(x->findings, FINDING_WARN, "gateway", "restart it",
                     "it runs, but version %s; this is " BONDWAY_VERSION,
                     view_text(status, "version"));
    if (view_count(status, "intercepting"))
        findings_add(x->findings, FINDING_OK, "gateway", NULL,
                     "it runs, and carries the LAN's connections");
    else
        findings_add(x->findings, FINDING_WARN, "gateway", "`bondway status` says why",
                     "it runs, but new connections take the router's normal way");
    json_object_put(status);
}

static void check_concentrator_daemon(struct examination *x, const char *socket)
{
    struct json_object *status = ask(x, socket), *gateways = view_list(status, "gateways");

    if (status)
        findings_add(x->findings, FINDING_OK, "concentrator", NULL, "it runs");
    for (size_t i = 0; i < view_length(gateways); i++) {
        struct json_object *gateway = json_object_array_get_idx(gateways, i);
        const char *name = view_text(gateway, "name");
        if (view_has(gateway, "last_seen_s"))
            findings_add(x->findings, FINDING_OK, name, NULL, "it has connected");
        else
            findings_add(x->findings, FINDING_NOTE, name,
                         "`bondway invite` prints its join link again; `bondway doctor` there says "
                         "more",
                         "it has not connected since the concentrator was started");
    }
    json_object_put(status);
}

/* ---- the whole ---- */

static void examine_gateway(struct examination *x)
{
    struct gateway_config *config = load(x, load_gateway);

    checks_gateway_kernel(x->findings, config);
    if (!config)
        return;
    checks_lan(x->findings, config);
    check_gateway_daemon(x, config->control_socket);
    checks_uplinks(x->findings, config);
    gateway_config_free(config);
}

static void examine_concentrator(struct examination *x)
{
    struct concentrator_config *config = load(x, load_concentrator);

    checks_concentrator_kernel(x->findings);
    if (config)
        check_concentrator_daemon(x, config->control_socket);
    concentrator_config_free(config);
}

static void print_json(const struct examination *x)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "role", json_object_new_string(x->role->daemon));
    json_object_object_add(o, "version", json_object_new_string(BONDWAY_VERSION));
    json_object_object_add(o, "findings", findings_describe(x->findings));
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                               JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}

static int examine(struct examination *x)
{
    struct screen screen = screen_stdout();

    log_set_level(LOG_LEVEL_ERROR);
    choose_config(x);
    if (!x->role) /* the loader says what is wrong with it */
        x->role = &provision_gateway;
    x->findings = findings_new();
    if (!x->findings)
        return EXIT_FAILED;
    if (x->role == &provision_concentrator)
        examine_concentrator(x);
    else
        examine_gateway(x);
    if (x->json)
        print_json(x);
    else
        findings_print(x->findings, &screen);
    int code = (int)findings_code(x->findings);
    findings_free(x->findings);
    return command_finish(code);
}

enum { LONG_JSON = 256 };

static const struct command_option options[] = {
    {'c', "config", "FILE",
     "the configuration, of a gateway or a concentrator;\n"
     "default /etc/bondway/gateway.conf, or else\n"
     "/etc/bondway/concentrator.conf"},
    {LONG_JSON, "json", NULL, "the findings as one JSON document"},
    {0, NULL, NULL, NULL},
};

static int run(int argc, char **argv)
{
    struct examination x = {0};
    int code;

    for (int option; (option = command_next_option(&doctor_command, argc, argv, &code));) {
        if (option < 0)
            return code;
        if (option == 'c')
            x.config = optarg;
        else
            x.json = true;
    }
    return examine(&x);
}

const struct command doctor_command = {
    .name = "doctor",
    .summary = "say what is wrong here, and what to do about it",
    .text =
        "Looks at the configuration, the kernel and the daemon; on a router, at the way to every\n"
        "concentrator by every uplink, too: round trip, losses, packet size, whether MPTCP\n"
        "survives, whether the key is accepted, the clock. Changes nothing, and needs no daemon\n"
        "that runs. Takes up to twelve seconds for each concentrator.",
    .options = options,
    .exit_status = "0 well, 1 it cannot work so, 2 wrong usage, 3 it works, but not as it should",
    .run = run,
};
