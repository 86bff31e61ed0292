/* bondway invite: makes a gateway known to this concentrator, and prints the join link for it. */
#include <errno.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/provision.h"
#include "cli/qr.h"
#include "cli/terminal.h"
#include "cli/view.h"
#include "concentrator/egress.h"
#include "config/concentrator_config.h"
#include "config/draft.h"
#include "config/edit.h"
#include "core/control.h"
#include "core/crypto.h"
#include "core/link.h"
#include "core/privilege.h"

#define DEFAULT_PORT 7171
#define SERVICE_USER "bondway"
#define ENTRY_MAX (2 * PATH_MAX)
#define LISTEN_MAX 8

static const char fresh_config[] =
    "# bondway concentrator. `bondway concentrator --keys` tells what else may stand here.\n\n";

struct invitation {
    const char *config;
    const char *address; /* --address, or NULL */
    bool force, rotate, retire;
    struct draft draft;
    struct concentrator_config *loaded; /* NULL: the file is not there, or names no gateways */
    char *user, *socket;                /* whose the keys are, "": ours; the concentrator's */
    struct addr listen[LISTEN_MAX];
    size_t n_listen;
    const struct peer_config *known; /* the gateway, where the file has it */
    char key_path[PATH_MAX];
    struct key_ring keys; /* what the file at key_path holds; the link has the last one */
    bool made_key;        /* where there was no such file */
    struct join_link link;
};

/* ---- where gateways reach this host ---- */

static bool is_any(const struct addr *a)
{
    static const uint8_t none[sizeof(a->ip)];

    return memcmp(a->ip, none, sizeof(none)) == 0;
}

static bool is_public(const struct addr *a)
{
    static const struct egress_policy nothing;
    struct addr alone = *a;

    alone.port = 0;
    return egress_check(&nothing, &alone) == EGRESS_ALLOWED;
}

/* The first public address of that family; text: of the first that is not, for a message. */
static bool find_public(const struct ifaddrs *all, uint8_t family, struct addr *out,
                        char interface[IFNAMSIZ], char other[ADDR_TEXT])
{
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        struct addr a;
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK) ||
            addr_from_sockaddr(&a, i->ifa_addr) || a.family != family)
            continue;
        if (is_public(&a)) {
            *out = a;
            snprintf(interface, IFNAMSIZ, "%s", i->ifa_name);
            return true;
        }
        if (family == 4 && !other[0])
            addr_format_ip(&a, other);
    }
    return false;
}

/* Where the concentrator listens, as a gateway reaches it: an address of its own, or by which
 * interface. */
static bool reach(const struct ifaddrs *all, const struct addr *listen, struct join_link *link,
                  char other[ADDR_TEXT])
{
    char interface[IFNAMSIZ], text[ADDR_TEXT];
    struct addr found = *listen;

    if (is_any(listen)) {
        if (!find_public(all, listen->family, &found, interface, other))
            return false;
        fprintf(stderr, "Gateways reach this host at %s (of %s); if not, say --address HOST.\n",
                addr_format_ip(&found, text), interface);
    } else if (!is_public(listen)) {
        return false;
    }
    snprintf(link->host, sizeof(link->host), "%s", addr_format_ip(&found, text));
    link->port = listen->port;
    return true;
}

/* IPv4 before IPv6: more uplinks have it. */
static int find_address(const struct addr *listen, size_t n, struct join_link *link)
{
    char other[ADDR_TEXT] = "";
    struct ifaddrs *all = NULL;
    bool found = false;

    if (getifaddrs(&all) == -1)
        all = NULL;
    for (uint8_t family = 4; family <= 6; family += 2) {
        for (size_t i = 0; i < n && !found; i++)
            found = listen[i].family == family && reach(all, &listen[i], link, other);
    }
    freeifaddrs(all);
    if (found)
        return 0;
    command_complain(
        &invite_command,
        "no public address is on this host's interfaces%s%s%s; say where gateways reach it: "
        "--address HOST",
        other[0] ? " (it has " : "", other, other[0] ? ": behind NAT?)" : "");
    return -ENOENT;
}

/* "HOST", "HOST:PORT", "2001:db8::1", "[2001:db8::1]:PORT". Returns an exit code. */
static int take_address(struct join_link *link, const char *text, uint16_t port)
{
    char whole[LINK_TEXT];
    struct addr a;

    bool bare6 = addr_parse_ip(&a, text) == 0 && a.family == 6;
    if (!bare6 && link_set_host(link, text) == LINK_OK)
        return EXIT_WELL;
    snprintf(whole, sizeof(whole), bare6 ? "[%s]:%u" : "%s:%u", text, (unsigned)port);
    if (link_set_host(link, whole) == LINK_OK)
        return EXIT_WELL;
    command_complain(&invite_command,
                     "\"%s\" is no host; write --address HOST or --address HOST:PORT", text);
    return EXIT_USAGE;
}

/* Before anything is changed. Returns an exit code, as what follows. */
static int choose_address(struct invitation *v)
{
    if (!v->address)
        return find_address(v->listen, v->n_listen, &v->link) ? EXIT_FAILED : EXIT_WELL;
    return take_address(&v->link, v->address, v->listen[0].port);
}

/* ---- the key, and the configuration ---- */

static void read_listen(struct invitation *v)
{
    static const struct addr anywhere[] = {{.family = 4, .port = DEFAULT_PORT},
                                           {.family = 6, .port = DEFAULT_PORT}};

    while (v->n_listen < LISTEN_MAX) {
        char *text = draft_text_of(&v->draft, "listen", (unsigned)v->n_listen);
        bool good = text && addr_parse(&v->listen[v->n_listen], text) == 0;
        free(text);
        if (!good)
            break;
        v->n_listen++;
    }
    if (v->n_listen == 0) {
        memcpy(v->listen, anywhere, sizeof(anywhere));
        v->n_listen = 2;
    }
}

/* As whom a concentrator runs that is told nothing else: the package makes that user. */
static const char *usual_user(void)
{
    struct privilege_user found;

    return privilege_find_user(SERVICE_USER, &found) == 0 ? SERVICE_USER : "";
}

/* A new file, and one that names no gateways yet, are completed; any other must be good as it is.
 */
static int load(struct invitation *v)
{
    if (draft_open(&v->draft, v->config, stderr))
        return EXIT_USAGE;
    read_listen(v);
    bool first = draft_count(&v->draft, role_concentrator.list) == 0;
    v->user = draft_text(&v->draft, "user", first ? usual_user() : "");
    v->socket = draft_text(&v->draft, "control_socket", role_concentrator.socket);
    if (!v->user || !v->socket) {
        command_complain(&invite_command, "out of memory");
        return EXIT_FAILED;
    }
    if (!v->draft.text || !edit_has(v->draft.text, role_concentrator.list))
        return EXIT_WELL;
    v->loaded = concentrator_config_load(v->config, stderr);
    if (!v->loaded)
        return EXIT_USAGE;
    for (size_t i = 0; i < v->loaded->n_peers; i++) {
        if (strcmp(v->loaded->peers[i].name, v->link.name) == 0)
            v->known = &v->loaded->peers[i];
    }
    return EXIT_WELL;
}

static bool is_anothers(const struct invitation *v, const struct key *key)
{
    for (size_t i = 0; v->loaded && i < v->loaded->n_peers; i++) {
        const struct peer_config *peer = &v->loaded->peers[i];
        if (peer != v->known && peer_config_has(peer, key->id))
            return true;
    }
    return false;
}

static int write_keys(struct invitation *v)
{
    const struct provision_reader reader = {
        .user = v->user,
        .socket = v->socket,
        .like = v->loaded && v->loaded->n_peers > 0 ? v->loaded->peers[0].key_file : NULL};

    return provision_keys_write(&invite_command, v->key_path, &v->keys, &reader) ? EXIT_FAILED
                                                                                 : EXIT_WELL;
}

/* Behind those that are there. */
static int add_key(struct invitation *v)
{
    int err = key_generate(&v->keys.keys[v->keys.n]);

    if (err) {
        command_complain(&invite_command, "no randomness: %s", strerror(-err));
        return EXIT_FAILED;
    }
    v->keys.n++;
    bool was_there = access(v->key_path, F_OK) == 0;
    int code = write_keys(v);
    v->made_key = code == EXIT_WELL && !was_there;
    return code;
}

/* Its owner would lose it. */
static int check_key_user(const struct invitation *v)
{
    char *user = draft_key_user(&v->draft, role_concentrator.list, v->key_path, -1);

    if (!user)
        return EXIT_WELL;
    command_complain(&invite_command,
                     "%s is the key of gateway \"%s\": choose another name, or write another "
                     "key_file for that one in %s",
                     v->key_path, user, v->config);
    free(user);
    return EXIT_FAILED;
}

/* The keys that are there; none where there is no file, or it does not matter. */
static int read_keys(struct invitation *v)
{
    char why[256];

    if (v->known)
        snprintf(v->key_path, sizeof(v->key_path), "%s", v->known->key_file);
    else if (provision_key_path(&invite_command, v->config, v->link.name, v->key_path) ||
             check_key_user(v))
        return EXIT_FAILED;
    int err = v->force ? 0 : key_ring_load(&v->keys, v->key_path, why, sizeof(why));
    if (!err || err == -ENOENT)
        return EXIT_WELL;
    command_complain(&invite_command, "%s: %s; or make a new one with --force", v->key_path, why);
    return EXIT_FAILED;
}

/* The link's key: the one that is there, or a new one. */
static int settle_key(struct invitation *v)
{
    int code = read_keys(v);

    if (!code && (v->keys.n == 0 || (v->rotate && v->keys.n < KEY_RING)))
        code = add_key(v);
    if (code)
        return code;
    v->link.key = v->keys.keys[v->keys.n - 1];
    if (!key_is_whole(&v->link.key)) {
        command_complain(
            &invite_command,
            "%s: bondway has not made this key, and a join link cannot carry it: make a new "
            "one with --force",
            v->key_path);
        return EXIT_FAILED;
    }
    if (!is_anothers(v, &v->link.key))
        return EXIT_WELL;
    command_complain(&invite_command,
                     "%s: another gateway has this key: make a new one with --force", v->key_path);
    return EXIT_FAILED;
}

/* Listens where the kernel has the family. */
static char *begin_config(const struct invitation *v)
{
    bool ipv6 = access("/proc/net/if_inet6", F_OK) == 0;
    const char *user = v->user; /* so the concentrator need not stay root */
    char *text;

    int n = asprintf(&text, "%s%s%s%slisten = [\"0.0.0.0:%d\"%s];\n", fresh_config,
                     *user ? "user = \"" : "", user, *user ? "\";\n" : "", DEFAULT_PORT,
                     ipv6 ? ", \"[::]:7171\"" : "");
    return n == -1 ? NULL : text;
}

static int add_entry(struct invitation *v)
{
    char entry[ENTRY_MAX], quoted[ENTRY_MAX - 128], *changed;

    if (!v->draft.text)
        draft_change(&v->draft, begin_config(v));
    snprintf(entry, sizeof(entry), "{ name = \"%s\"; key_file = \"%s\"; }", v->link.name,
             provision_quote(v->key_path, quoted, sizeof(quoted)));
    int err = v->draft.text ? edit_append(v->draft.text, role_concentrator.list, entry, &changed)
                            : -ENOMEM;
    if (err == -EINVAL)
        command_complain(&invite_command,
                         "%s: gateways is no list in ( ): write gateways = ( %s );", v->config,
                         entry);
    else if (err)
        command_complain(&invite_command, "out of memory");
    if (err)
        return EXIT_USAGE;
    draft_change(&v->draft, changed);
    return draft_write(&v->draft, role_concentrator.check, stderr) ? EXIT_FAILED : EXIT_WELL;
}

/* ---- the whole ---- */

/* For a phone, whose browser shows LuCI. After it, the prompt's line fits on the screen, too. */
static void print_code(const char *link)
{
    struct screen screen = screen_stdout();
    int columns, lines;

    if (!screen.colour || !terminal_has_utf8())
        return;
    terminal_size(&columns, &lines);
    struct qr_size room = {(size_t)columns, (size_t)lines - 1};
    struct qr_size size = qr_print(&screen, room, link);
    if (size.columns > room.columns || size.lines > room.lines)
        fprintf(stderr,
                "No QR code: this link's takes %zu columns and %zu lines, and this terminal has "
                "%zu and %zu.\n",
                size.columns, size.lines + 1, room.columns, room.lines + 1);
}

static int print_link(const struct invitation *v)
{
    char text[LINK_TEXT], printed[LINK_TEXT];

    fprintf(stderr, "Give this link to the router, where `bondway join` takes it; it is a "
                    "secret:\n");
    link_format(&v->link, text);
    snprintf(printed, sizeof(printed), "%s", text);
    int code = command_print_secret(&invite_command, printed, "the link");
    if (!code)
        print_code(text);
    crypto_wipe(text, sizeof(text));
    return command_finish(code);
}

static void tell_of_known(const struct invitation *v)
{
    const char *name = v->link.name;

    if (v->keys.n < KEY_RING)
        fprintf(stderr, "Gateway \"%s\" is in %s already%s; its key is in %s.\n", name, v->config,
                v->force ? ", and has a new key now" : "", v->key_path);
    else
        fprintf(stderr,
                "Gateway \"%s\" has two keys, in %s. The link has the new one; the old one is good "
                "until `bondway invite %s --retire`.\n",
                name, v->key_path, name);
}

static int settle(struct invitation *v)
{
    int code = settle_key(v);

    if (code)
        return code;
    if (v->known) {
        tell_of_known(v);
        return EXIT_WELL;
    }
    code = add_entry(v);
    if (code && v->made_key)
        unlink(v->key_path);
    if (!code)
        fprintf(stderr, "Added gateway \"%s\" to %s; its key is in %s.\n", v->link.name, v->config,
                v->key_path);
    return code;
}

static int reload(const struct invitation *v)
{
    return provision_reload(&invite_command, &role_concentrator, v->socket, v->config, v->link.name,
                            true);
}

static int invite(struct invitation *v)
{
    int code = choose_address(v);

    if (!code)
        code = settle(v);
    if (code)
        return code;
    int reloaded = reload(v);
    code = print_link(v);
    return code ? code : reloaded;
}

/* ---- the end of an old key ---- */

/* The running concentrator has seen the gateway use that key. */
static bool is_in_use(const struct invitation *v, const struct key *key)
{
    struct json_object *status;
    char why[256], id[KEY_ID_TEXT];
    bool seen = false;

    if (control_ask(v->socket, "status", &status, why, sizeof(why)))
        return false;
    key_format_id(key, id);
    struct json_object *gateways = view_list(status, "gateways");
    for (size_t i = 0; i < view_length(gateways); i++) {
        struct json_object *keys = view_list(json_object_array_get_idx(gateways, i), "keys");
        for (size_t j = 0; j < view_length(keys); j++) {
            struct json_object *each = json_object_array_get_idx(keys, j);
            seen |= strcmp(view_text(each, "id"), id) == 0 && view_has(each, "last_seen_s");
        }
    }
    json_object_put(status);
    return seen;
}

/* Not before the gateway has the new one: it would be shut out. */
static int retire(struct invitation *v)
{
    struct key_ring *keys = &v->keys;
    int code = read_keys(v);

    if (code)
        return code;
    if (keys->n < KEY_RING) {
        fprintf(stderr, "Gateway \"%s\" has one key: there is no old one.\n", v->link.name);
        return EXIT_WELL;
    }
    if (!is_in_use(v, &keys->keys[1])) {
        command_complain(&invite_command,
                         "no running concentrator has seen \"%s\" use its new key: give the link "
                         "to `bondway join --force` on the router first (`bondway invite %s` "
                         "prints it again)",
                         v->link.name, v->link.name);
        return EXIT_FAILED;
    }
    keys->keys[0] = keys->keys[1];
    keys->n = 1;
    code = write_keys(v);
    if (code)
        return code;
    fprintf(stderr, "The old key of gateway \"%s\" is good no more; its key is in %s.\n",
            v->link.name, v->key_path);
    return reload(v);
}

/* ---- the command ---- */

static int carry_out(struct invitation *v)
{
    int code = load(v);

    if (code)
        return code;
    if ((v->rotate || v->retire) && !v->known) {
        command_complain(&invite_command, "%s has no gateway \"%s\"; invite it first", v->config,
                         v->link.name);
        return EXIT_USAGE;
    }
    return v->retire ? retire(v) : invite(v);
}

static int begin(struct invitation *v, const char *name)
{
    if (!link_is_name(name)) {
        command_complain(&invite_command,
                         "\"%s\" is no name; write 1 to %d letters, digits, '.', '_' or '-'", name,
                         LINK_NAME_MAX);
        return EXIT_USAGE;
    }
    memcpy(v->link.name, name, strlen(name) + 1);
    int code = carry_out(v);
    concentrator_config_free(v->loaded);
    free(v->user);
    free(v->socket);
    key_ring_wipe(&v->keys);
    draft_close(&v->draft);
    link_wipe(&v->link);
    return code;
}

enum { LONG_ADDRESS = 256, LONG_FORCE, LONG_ROTATE, LONG_RETIRE };

static const struct command_option options[] = {
    {LONG_ADDRESS, "address", "HOST[:PORT]",
     "where gateways reach this host; default: the public\n"
     "address of its interfaces, and the port it listens on"},
    {'c', "config", "FILE", "the configuration; default /etc/bondway/concentrator.conf"},
    {LONG_FORCE, "force", NULL, "a new key, also for a gateway that is known: its old one ends"},
    {LONG_ROTATE, "rotate", NULL, "a new key beside the old one: both are good"},
    {LONG_RETIRE, "retire", NULL,
     "then: the old one ends, and with it the flows that it\n"
     "began. Not before the gateway has used the new one"},
    {0, "", NULL, NULL},
};

static void take_option(struct invitation *v, int option)
{
    switch (option) {
    case LONG_ADDRESS:
        v->address = optarg;
        break;
    case 'c':
        v->config = optarg;
        break;
    case LONG_FORCE:
        v->force = true;
        break;
    case LONG_ROTATE:
        v->rotate = true;
        break;
    case LONG_RETIRE:
        v->retire = true;
        break;
    }
}

static int run(int argc, char **argv)
{
    struct invitation v = {.config = role_concentrator.config, .draft.lock = -1};
    char *name;
    int code;

    for (int option; (option = command_next_option(&invite_command, argc, argv, &code));) {
        if (option < 0)
            return code;
        take_option(&v, option);
    }
    if (v.force + v.rotate + v.retire > 1) {
        command_complain(&invite_command, "choose one of --force, --rotate and --retire");
        return EXIT_USAGE;
    }
    code = command_operand(&invite_command, argc, argv, true, &name);
    return code ? code : begin(&v, name);
}

const struct command invite_command = {
    .name = "invite",
    .summary = "make a gateway known here, and print its join link (on the VPS)",
    .text = "Makes a key for the gateway NAME, adds it to the configuration, has the running\n"
            "concentrator take it over, and prints a join link, which `bondway join` takes on the\n"
            "router. Of a gateway that is known already it prints the link again.",
    .operands = "NAME",
    .options = options,
    .notes =
        "The link is a secret. On a terminal with colours, in UTF-8, it follows as a QR code, if\n"
        "there is room: for a phone, from where it can be pasted into LuCI.\n",
    .exit_status = "0 well, 1 failed, 2 wrong usage or configuration",
    .run = run,
};
