/* bondway remove: the other end of an invitation or a join: forgets one, and its key. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/provision.h"
#include "config/draft.h"
#include "config/edit.h"

struct removal {
    const char *name, *config; /* NULL: wherever it is by default */
    bool force;
    const struct role *role;
    struct draft draft;
    int index;
    char *key_file;
};

/* ---- which file ---- */

/* Opens the file, and finds the name in it. Returns 0, -ENOENT, or another -errno after
 * complaining. */
static int look_in(struct removal *r, const char *config, const struct role *role)
{
    draft_close(&r->draft);
    free(r->key_file);
    r->key_file = NULL;
    int err = draft_open(&r->draft, config, stderr);
    if (err)
        return err == -ENOENT ? -EINVAL : err;
    if (!r->draft.text)
        return -ENOENT;
    r->role = edit_has(r->draft.text, role->list) ? role : NULL;
    r->config = config;
    r->index = r->role ? draft_find(&r->draft, role->list, r->name, &r->key_file) : -ENOENT;
    return r->index < 0 ? -ENOENT : 0;
}

/* Returns an exit code. */
static int find(struct removal *r)
{
    const char *config = r->config;
    int err = -ENOENT;

    for (const struct role *const *role = roles; *role && err == -ENOENT; role++)
        err = look_in(r, config ? config : (*role)->config, *role);
    if (!err)
        return EXIT_WELL;
    if (err != -ENOENT)
        return EXIT_USAGE;
    if (config)
        command_complain(&remove_command, "%s has no \"%s\" among its gateways or concentrators",
                         config, r->name);
    else
        command_complain(&remove_command,
                         "no configuration in /etc/bondway lists \"%s\"; name the file with -c",
                         r->name);
    return EXIT_USAGE;
}

/* ---- the removal ---- */

/* An empty list of concentrators is one mistake that is meant. */
static bool check_nothing(const char *path, FILE *complaints)
{
    return true;
}

static int edit(struct removal *r)
{
    bool last = r->role->needs_one && draft_count(&r->draft, r->role->list) == 1;
    char *changed;

    if (last && !r->force) {
        command_complain(
            &remove_command,
            "\"%s\" is the only concentrator in %s: join another one first, or stop the "
            "gateway and say --force",
            r->name, r->config);
        return EXIT_FAILED;
    }
    if (edit_remove(r->draft.text, r->role->list, (size_t)r->index, &changed)) {
        command_complain(&remove_command, "%s: cannot find \"%s\" in the text; take it out by hand",
                         r->config, r->name);
        return EXIT_FAILED;
    }
    draft_change(&r->draft, changed);
    return draft_write(&r->draft, last ? check_nothing : r->role->check, stderr) ? EXIT_USAGE
                                                                                 : EXIT_WELL;
}

static int remove_key(const struct removal *r)
{
    if (!r->key_file || unlink(r->key_file) == 0 || errno == ENOENT)
        return EXIT_WELL;
    command_complain(&remove_command, "%s: the key cannot be removed: %s", r->key_file,
                     strerror(errno));
    return EXIT_FAILED;
}

/* Not one that another has, too. */
static int settle_key(const struct removal *r)
{
    char *user = r->key_file ? draft_key_user(&r->draft, r->role->list, r->key_file, -1) : NULL;
    int code = user ? EXIT_WELL : remove_key(r);

    if (user)
        fprintf(stderr, "Removed \"%s\" from %s; its key stays: \"%s\" has it, too.\n", r->name,
                r->config, user);
    else if (!code)
        fprintf(stderr, "Removed \"%s\" from %s, and its key.\n", r->name, r->config);
    free(user);
    return code;
}

static int forget(struct removal *r)
{
    int code = find(r);

    if (!code)
        code = edit(r);
    if (code)
        return code;
    char *socket = draft_text(&r->draft, "control_socket", r->role->socket);
    code = settle_key(r);
    int reloaded =
        socket ? provision_reload(&remove_command, r->role, socket, r->config, r->name, false)
               : EXIT_FAILED;
    free(socket);
    return code ? code : reloaded;
}

enum { LONG_FORCE = 256 };

static const struct command_option options[] = {
    {'c', "config", "FILE",
     "the configuration; default /etc/bondway/gateway.conf,\n"
     "or /etc/bondway/concentrator.conf: where NAME is"},
    {LONG_FORCE, "force", NULL,
     "the gateway's only concentrator, too: it cannot start without one"},
    {0, "", NULL, NULL},
};

static int run(int argc, char **argv)
{
    struct removal r = {.draft.lock = -1};
    char *name;
    int code;

    for (int option; (option = command_next_option(&remove_command, argc, argv, &code));) {
        if (option < 0)
            return code;
        if (option == 'c')
            r.config = optarg;
        else
            r.force = true;
    }
    code = command_operand(&remove_command, argc, argv, true, &name);
    if (code)
        return code;
    r.name = name;
    code = forget(&r);
    draft_close(&r.draft);
    free(r.key_file);
    return code;
}

const struct command remove_command = {
    .name = "remove",
    .summary = "forget a gateway (on the VPS) or a concentrator (on the router)",
    .text = "On the VPS, removes the gateway NAME; on the router, the concentrator NAME: from the\n"
            "configuration, with its key file, and from the running daemon.",
    .operands = "NAME",
    .options = options,
    .exit_status = "0 well, 1 failed, 2 wrong usage or configuration",
    .run = run,
};
