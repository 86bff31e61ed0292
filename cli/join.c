/* bondway join: takes a join link, and makes this router a gateway of that concentrator. */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/command.h"
#include "cli/findings.h"
#include "cli/provision.h"
#include "config/draft.h"
#include "config/edit.h"
#include "config/gateway_config.h"
#include "core/crypto.h"
#include "core/link.h"
#include "core/log.h"
#include "gateway/survey.h"

#define PASTED_MAX 4096
#define ENTRY_MAX (2 * PATH_MAX)
#define NAMES_TEXT 512
#define COST_STEP 10
#define DEFAULT_NAME "vps"

struct names {
    const char *list[UPLINKS_MAX];
    size_t n;
};

struct joining {
    const char *config, *name;  /* name NULL: none was asked for */
    struct names lans, uplinks; /* as they were asked for */
    bool force, unchecked;
    struct join_link link;
    struct addr address; /* the link's, with port */
    struct draft draft;
    struct gateway_config *loaded; /* NULL: the file is not there, or names no concentrators */
    int replaces;                  /* index of the entry that is to be replaced; -1: a new one */
    char key_path[PATH_MAX];
};

#define complain(...) command_complain(&join_command, __VA_ARGS__)

/* ---- the link ---- */

static bool more_was_pasted(void)
{
    struct pollfd terminal = {.fd = STDIN_FILENO, .events = POLLIN};

    return poll(&terminal, 1, 0) > 0;
}

/* The whole of a pipe; of a terminal, lines until there is a link: it may have been broken into
 * several, or pasted with what stood before it. */
static enum link_verdict read_pasted(struct join_link *link, char text[PASTED_MAX])
{
    bool asks = isatty(STDIN_FILENO);
    enum link_verdict verdict;
    size_t have = 0;

    if (asks)
        fputs("Paste the join link that `bondway invite` has printed on the VPS:\n", stderr);
    while (have + 1 < PASTED_MAX) {
        ssize_t n = read(STDIN_FILENO, text + have, PASTED_MAX - 1 - have);
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
        text[have] = '\0';
        bool blank = strspn(text, " \t\r\n") == have;
        verdict = asks && !blank ? link_parse(link, text) : LINK_CUT;
        if (verdict != LINK_CUT && (verdict != LINK_NONE || !more_was_pasted())) {
            /* What else was pasted is no command for the shell, and may hold the secret. */
            tcflush(STDIN_FILENO, TCIFLUSH);
            return verdict;
        }
    }
    text[have] = '\0';
    return link_parse(link, text);
}

/* What stands in the argument list is wiped there: others can see it as long as it is. */
static int read_link(struct joining *j, char *operand)
{
    char text[PASTED_MAX];
    enum link_verdict verdict;

    if (operand) {
        verdict = link_parse(&j->link, operand);
        crypto_wipe(operand, strlen(operand));
    } else {
        verdict = read_pasted(&j->link, text);
        crypto_wipe(text, sizeof(text));
    }
    if (verdict == LINK_OK)
        return EXIT_WELL;
    complain("%s", link_why(verdict));
    return EXIT_USAGE;
}

/* A configuration holds addresses, so that nothing waits for DNS when the uplinks are down. */
static int resolve(struct joining *j)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    char text[ADDR_TEXT];

    if (addr_parse_ip(&j->address, j->link.host) == 0) {
        j->address.port = j->link.port;
        return EXIT_WELL;
    }
    int err = getaddrinfo(j->link.host, NULL, &hints, &all);
    for (struct addrinfo *a = all; !err && a; a = a->ai_next) {
        if (j->address.family == 0 || (j->address.family == 6 && a->ai_family == AF_INET))
            addr_from_sockaddr(&j->address, a->ai_addr);
    }
    if (all)
        freeaddrinfo(all);
    if (err || !j->address.family) {
        complain("cannot find the address of %s: %s; is an uplink up? or have the VPS invite with "
                 "--address and its IP address",
                 j->link.host, err ? gai_strerror(err) : "it has none");
        return EXIT_FAILED;
    }
    j->address.port = j->link.port;
    fprintf(stderr, "%s is %s now; that address is written down.\n", j->link.host,
            addr_format_ip(&j->address, text));
    return EXIT_WELL;
}

/* ---- what is there already ---- */

static int load(struct joining *j)
{
    if (draft_open(&j->draft, j->config, stderr))
        return EXIT_USAGE;
    if (j->draft.text && (j->lans.n || j->uplinks.n)) {
        complain("%s is there already: --lan and --uplink are for a new one; edit it", j->config);
        return EXIT_USAGE;
    }
    if (!j->draft.text || !edit_has(j->draft.text, role_gateway.list))
        return EXIT_WELL;
    j->loaded = gateway_config_load(j->config, stderr);
    return j->loaded ? EXIT_WELL : EXIT_USAGE;
}

/* -1: none. */
static int find_name(const struct joining *j, const char *name)
{
    for (size_t i = 0; j->loaded && i < j->loaded->n_concentrators; i++) {
        if (strcmp(j->loaded->concentrators[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static int find_address(const struct joining *j)
{
    for (size_t i = 0; j->loaded && i < j->loaded->n_concentrators; i++) {
        if (addr_equal(&j->loaded->concentrators[i].address, &j->address))
            return (int)i;
    }
    return -1;
}

/* A name that was asked for tells which entry is meant, or else the address; then the usual name.
 */
static int find_entry(const struct joining *j)
{
    int named = find_name(j, j->name ? j->name : DEFAULT_NAME), at = find_address(j);

    return at >= 0 && (named < 0 || !j->name) ? at : named;
}

static int refuse_other(const struct joining *j, const struct concentrator_entry *entry)
{
    bool named = strcmp(entry->name, j->name) == 0;
    char at[ADDR_TEXT];

    addr_format(&entry->address, at);
    if (!named)
        complain("%s has %s already, as \"%s\", with another key; replace that with --force",
                 j->config, at, entry->name);
    else if (addr_equal(&entry->address, &j->address))
        complain("\"%s\" in %s has another key; replace it with --force", entry->name, j->config);
    else
        complain("\"%s\" in %s is another concentrator, %s; give this one a name of its own with "
                 "--name, or replace that one with --force",
                 entry->name, j->config, at);
    return EXIT_FAILED;
}

/* Its owner would lose it, whatever is to be replaced. */
static int check_key_user(const struct joining *j)
{
    char *user = draft_key_user(&j->draft, role_gateway.list, j->key_path, j->replaces);

    if (!user)
        return EXIT_WELL;
    complain("%s is the key of \"%s\": give this one another name with --name, or another key_file "
             "in %s",
             j->key_path, user, j->config);
    free(user);
    return EXIT_FAILED;
}

/* Without an entry: a key file of that name may still be there. */
static int check_key_file(const struct joining *j)
{
    struct key key;
    char why[256];

    int err = key_load(&key, j->key_path, why, sizeof(why));
    bool same = !err && crypto_equal(&key, &j->link.key, sizeof(key));
    key_wipe(&key);
    if (err == -ENOENT || same || j->force)
        return EXIT_WELL;
    complain("%s is there already, and not with this key; give this one a name of its own with "
             "--name, or replace it with --force",
             j->key_path);
    return EXIT_FAILED;
}

/* Sets the name, `replaces` and the key's path. *same: there is nothing to do. */
static int compare(struct joining *j, bool *same)
{
    int index = find_entry(j);

    *same = false;
    if (!j->name)
        j->name = DEFAULT_NAME;
    if (index < 0) {
        if (provision_key_path(&join_command, j->config, j->name, j->key_path) || check_key_user(j))
            return EXIT_FAILED;
        return check_key_file(j);
    }
    const struct concentrator_entry *entry = &j->loaded->concentrators[index];
    *same = addr_equal(&entry->address, &j->address) &&
            crypto_equal(&entry->key, &j->link.key, sizeof(entry->key));
    if (!*same && !j->force)
        return refuse_other(j, entry);
    j->name = entry->name;
    j->replaces = index;
    snprintf(j->key_path, sizeof(j->key_path), "%s", entry->key_file);
    return *same ? EXIT_WELL : check_key_user(j);
}

/* ---- a new configuration ---- */

static const char *join_names(const struct names *names, const char *quote, char out[NAMES_TEXT])
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < names->n && n < NAMES_TEXT; i++)
        n += (size_t)snprintf(out + n, NAMES_TEXT - n, "%s%s%s%s", i ? ", " : "", quote,
                              names->list[i], quote);
    return out;
}

static void take_found(struct names *names, const struct survey_interface **found, size_t n)
{
    for (size_t i = 0; i < n; i++)
        names->list[names->n++] = found[i]->name;
}

/* Fills in what was not asked for. The one LAN that is likeliest; the person is told of the rest.
 */
static int guess(struct joining *j, const struct survey *survey, struct names *others)
{
    const struct survey_interface *found[UPLINKS_MAX];
    size_t n = survey_uplinks(survey, found, UPLINKS_MAX);

    if (j->uplinks.n == 0)
        take_found(&j->uplinks, found, n);
    n = survey_lans(survey, found, UPLINKS_MAX);
    if (j->lans.n == 0 && n > 0) {
        take_found(&j->lans, found, 1);
        take_found(others, found + 1, n - 1);
    }
    if (j->uplinks.n == 0)
        complain("no interface has a default route: bring the uplinks up first, or name each with "
                 "--uplink INTERFACE");
    else if (j->lans.n == 0)
        complain("no interface looks like the LAN's: name it with --lan INTERFACE");
    return j->uplinks.n && j->lans.n ? EXIT_WELL : EXIT_FAILED;
}

static void write_config(const struct joining *j, FILE *out)
{
    char lans[NAMES_TEXT];

    fprintf(out,
            "# bondway gateway, as `bondway join` has found this router. `bondway gateway --keys`\n"
            "# tells what else may stand here.\n\n"
            "lan_interfaces = [%s];  # whose clients' TCP is carried\n\n"
            "# In order of preference; cheaper ones come first where only one is used.\n"
            "uplinks = (\n",
            join_names(&j->lans, "\"", lans));
    for (size_t i = 0; i < j->uplinks.n; i++) {
        const char *name = j->uplinks.list[i];
        fprintf(out, "  { name = \"%s\"; interface = \"%s\"; cost = %zu;%s }%s\n", name, name,
                i * COST_STEP, strncmp(name, "wwan", 4) == 0 ? " metered = true;" : "",
                i + 1 < j->uplinks.n ? "," : "");
    }
    fputs(");\n\n", out);
}

static void tell_proposal(const struct joining *j, const struct names *others)
{
    char lans[NAMES_TEXT], uplinks[NAMES_TEXT], rest[NAMES_TEXT];

    fprintf(stderr,
            "A new %s, as a proposal; look it over:\n"
            "  LAN      %s%s%s%s\n"
            "  uplinks  %s\n",
            j->config, join_names(&j->lans, "", lans), others->n ? " (not: " : "",
            join_names(others, "", rest), others->n ? ")" : "",
            join_names(&j->uplinks, "", uplinks));
    if (j->uplinks.n == 1)
        fputs("  With one uplink there is nothing to bond yet: add the others there.\n", stderr);
}

static int propose(struct joining *j)
{
    struct names others = {.n = 0};
    struct survey survey;
    char *text = NULL;
    size_t len;

    int err = survey_read(&survey);
    if (err) {
        complain("cannot read this host's interfaces: %s", strerror(-err));
        return EXIT_FAILED;
    }
    int code = guess(j, &survey, &others);
    FILE *out = code ? NULL : open_memstream(&text, &len);
    if (!out)
        return code ? code : EXIT_FAILED;
    write_config(j, out);
    fclose(out);
    draft_change(&j->draft, text);
    tell_proposal(j, &others);
    return EXIT_WELL;
}

/* ---- writing ---- */

static int edit(struct joining *j)
{
    const char *list = role_gateway.list;
    char entry[ENTRY_MAX], quoted[ENTRY_MAX - 256], at[ADDR_TEXT], *changed;

    snprintf(entry, sizeof(entry),
             "{ name = \"%s\"; address = \"%s\"; port = %u; key_file = \"%s\"; }", j->name,
             addr_format_ip(&j->address, at), (unsigned)j->address.port,
             provision_quote(j->key_path, quoted, sizeof(quoted)));
    int err = j->replaces < 0
                  ? edit_append(j->draft.text, list, entry, &changed)
                  : edit_replace(j->draft.text, list, (size_t)j->replaces, entry, &changed);
    if (err) {
        complain("%s: cannot add to concentrators in that text; write it in by hand: %s", j->config,
                 entry);
        return EXIT_USAGE;
    }
    draft_change(&j->draft, changed);
    return draft_write(&j->draft, role_gateway.check, stderr) ? EXIT_FAILED : EXIT_WELL;
}

/* The key comes first: whether the configuration is good depends on it. Where it is not, or cannot
 * be written, the key is what it was. */
static int write_both(struct joining *j, const struct provision_reader *reader)
{
    struct key_ring ring = {.keys = {j->link.key}, .n = 1}, before;
    bool was_there = access(j->key_path, F_OK) == 0;
    char why[256];
    bool had_key = key_ring_load(&before, j->key_path, why, sizeof(why)) == 0;
    int code = EXIT_FAILED;

    if (provision_keys_write(&join_command, j->key_path, &ring, reader) == 0) {
        code = edit(j);
        if (code && had_key)
            provision_keys_write(&join_command, j->key_path, &before, reader);
        else if (code && !was_there)
            unlink(j->key_path);
    }
    key_ring_wipe(&ring);
    key_ring_wipe(&before);
    return code;
}

static int store(struct joining *j)
{
    const char *socket = j->loaded ? j->loaded->control_socket : role_gateway.socket;
    const struct provision_reader reader = {.socket = socket};
    char at[ADDR_TEXT];

    if (!j->draft.text) {
        int code = propose(j);
        if (code)
            return code;
    }
    int code = write_both(j, &reader);
    if (code)
        return code;
    fprintf(stderr, "Joined as \"%s\": concentrator \"%s\" at %s is in %s, its key in %s.\n",
            j->link.name, j->name, addr_format(&j->address, at), j->config, j->key_path);
    return provision_reload(&join_command, &role_gateway, socket, j->config, j->name, true);
}

/* ---- the whole ---- */

static int check_ways(const struct joining *j)
{
    struct screen screen = screen_stdout();
    struct gateway_config *config = gateway_config_load(j->config, stderr);
    struct findings *findings = config ? findings_new() : NULL;

    if (!findings) {
        gateway_config_free(config);
        return EXIT_FAILED;
    }
    fputs("Looking at every uplink...\n", stderr);
    log_set_level(LOG_LEVEL_ERROR);
    checks_lan(findings, config);
    checks_uplinks(findings, config);
    findings_print(findings, &screen);
    int code = (int)findings_code(findings);
    findings_free(findings);
    gateway_config_free(config);
    return command_finish(code);
}

static int join(struct joining *j, char *operand)
{
    bool same;
    int code = read_link(j, operand);

    if (!code && j->name && !link_is_name(j->name)) {
        complain("\"%s\" is no name; write 1 to %d letters, digits, '.', '_' or '-'", j->name,
                 LINK_NAME_MAX);
        code = EXIT_USAGE;
    }
    if (!code)
        code = resolve(j);
    if (!code)
        code = load(j);
    if (!code)
        code = compare(j, &same);
    if (code)
        return code;
    if (same)
        fprintf(stderr, "%s has this concentrator already, as \"%s\", with this key.\n", j->config,
                j->name);
    else
        code = store(j);
    draft_close(&j->draft); /* nobody else need wait any longer */
    return code || j->unchecked ? code : check_ways(j);
}

enum { LONG_NAME = 256, LONG_LAN, LONG_UPLINK, LONG_FORCE, LONG_NO_CHECK };

static const struct command_option options[] = {
    {'c', "config", "FILE", "the configuration; default /etc/bondway/gateway.conf"},
    {LONG_NAME, "name", "NAME", "what the concentrator is called here; default vps"},
    {LONG_LAN, "lan", "INTERFACE",
     "for a new configuration: the LAN's; default: what looks\n"
     "like it. May be given several times"},
    {LONG_UPLINK, "uplink", "INTERFACE",
     "likewise: an uplink's; default: all that have a default\n"
     "route"},
    {LONG_FORCE, "force", NULL, "replace what is there under that name, or with that address"},
    {LONG_NO_CHECK, "no-check", NULL, "do not look whether it works"},
    {0, "", NULL, NULL},
};

static bool add_name(struct names *names, const char *name)
{
    if (names->n == UPLINKS_MAX) {
        complain("at most %d", UPLINKS_MAX);
        return false;
    }
    names->list[names->n++] = name;
    return true;
}

static bool take_option(struct joining *j, int option)
{
    switch (option) {
    case 'c':
        j->config = optarg;
        return true;
    case LONG_NAME:
        j->name = optarg;
        return true;
    case LONG_LAN:
        return add_name(&j->lans, optarg);
    case LONG_UPLINK:
        return add_name(&j->uplinks, optarg);
    case LONG_FORCE:
        j->force = true;
        return true;
    default:
        j->unchecked = true;
        return true;
    }
}

static int run(int argc, char **argv)
{
    struct joining j = {.config = role_gateway.config, .replaces = -1, .draft.lock = -1};
    char *operand;
    int code;

    for (int option; (option = command_next_option(&join_command, argc, argv, &code));) {
        if (option < 0)
            return code;
        if (!take_option(&j, option))
            return EXIT_USAGE;
    }
    code = command_operand(&join_command, argc, argv, false, &operand);
    if (code)
        return code;
    code = join(&j, operand);
    gateway_config_free(j.loaded);
    draft_close(&j.draft);
    link_wipe(&j.link);
    return code;
}

const struct command join_command = {
    .name = "join",
    .summary = "make this router a gateway of the VPS that has printed a join link",
    .text =
        "Takes the join link that `bondway invite` has printed on the VPS: stores its key, adds\n"
        "the concentrator to the configuration, has the running gateway take it over, and looks\n"
        "by every uplink whether it works. Where there is no configuration yet it writes one,\n"
        "from the default routes that it finds.",
    .operands = "[LINK]",
    .options = options,
    .notes = "The link is a secret: without LINK it is read from the terminal, or from standard\n"
             "input, and so appears in no argument list and no history. Run again, it changes\n"
             "nothing, but looks again.\n",
    .exit_status = "0 well, 1 failed, or it does not work, 2 wrong usage or configuration,\n"
                   "3 it works, but not by every uplink, or not as it should",
    .run = run,
};
