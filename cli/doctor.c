/* bondway doctor: is all here as it must be? With or without a daemon that runs. */
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/role.h"
#include "config/draft.h"
#include "config/edit.h"
#include "core/log.h"

struct examination {
    const char *config; /* NULL: whichever is there */
    bool json;
    const struct role *role;
    struct findings *findings;
};

/* By what it lists: NULL, where the file cannot be read. */
static const struct role *role_of(const char *path)
{
    const struct role *role = NULL;
    struct draft draft;
    char *nothing = NULL;
    size_t len;
    FILE *nowhere = open_memstream(&nothing, &len);

    if (!nowhere)
        return NULL;
    if (draft_open(&draft, path, nowhere) == 0 && draft.text) {
        for (const struct role *const *r = roles; *r && !role; r++)
            role = edit_has(draft.text, (*r)->list) ? *r : NULL;
    }
    draft_close(&draft);
    fclose(nowhere);
    free(nothing);
    return role;
}

/* A router has a gateway's, a VPS a concentrator's. */
static const struct role *role_here(void)
{
    for (const struct role *const *r = roles; *r; r++) {
        if (access((*r)->config, F_OK) == 0)
            return *r;
    }
    return roles[0];
}

static struct json_object *describe(const struct examination *x)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "role", x->role->daemon);
    document_add_text(&d, "version", BONDWAY_VERSION);
    findings_describe(x->findings, &d);
    return document_finish(&d);
}

static int print_json(const struct examination *x)
{
    struct json_object *document = describe(x);

    if (!document) {
        command_complain(&doctor_command, "out of memory");
        return EXIT_FAILED;
    }
    puts(json_object_to_json_string_ext(document, JSON_C_TO_STRING_PRETTY |
                                                      JSON_C_TO_STRING_SPACED |
                                                      JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(document);
    return (int)findings_code(x->findings);
}

static int examine(struct examination *x)
{
    struct screen screen = screen_stdout();

    log_set_level(LOG_LEVEL_ERROR);
    x->role = x->config ? role_of(x->config) : role_here();
    if (!x->role) /* the loader says what is wrong with it */
        x->role = roles[0];
    x->findings = findings_new();
    if (!x->findings)
        return EXIT_FAILED;
    x->role->examine(x->findings, x->config ? x->config : x->role->config);
    int code = (int)findings_code(x->findings);
    if (x->json)
        code = print_json(x);
    else
        findings_print(x->findings, &screen);
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
    {0, "", NULL, NULL},
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
