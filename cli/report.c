/* bondway report: all that a bug report needs, and nothing that a stranger must not see. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/mask.h"
#include "cli/provision.h"
#include "config/draft.h"
#include "config/edit.h"
#include "core/control.h"
#include "core/log.h"
#include "core/sysctl.h"

#define WHY_MAX 512
#define SYSCTL_TEXT 128

struct report {
    const char *config; /* NULL: wherever they are by default */
    FILE *out;          /* as it is, before it is masked */
};

static void begin(const struct report *r, const char *title)
{
    fprintf(r->out, "\n== %s\n", title);
}

/* ---- the machine ---- */

static void write_first_line(const struct report *r, const char *path, const char *prefix)
{
    FILE *file = fopen(path, "re");
    char line[256];

    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, prefix, strlen(prefix)) == 0) {
            fputs(line, r->out);
            break;
        }
    }
    if (file)
        fclose(file);
}

static void write_machine(const struct report *r)
{
    struct utsname name;
    time_t now = time(NULL);
    char date[64];
    struct tm tm;

    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    fprintf(r->out, "bondway " BONDWAY_VERSION ", %s\n", date);
    if (uname(&name) == 0)
        fprintf(r->out, "%s %s %s %s\n", name.sysname, name.release, name.version, name.machine);
    write_first_line(r, "/etc/os-release", "PRETTY_NAME=");
    write_first_line(r, "/proc/meminfo", "MemTotal:");
}

static void write_sysctl(const struct report *r, const char *name)
{
    char value[SYSCTL_TEXT];

    if (sysctl_read(name, value, sizeof(value)) == 0)
        fprintf(r->out, "%s = %s\n", name, value);
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void write_sysctls(const struct report *r)
{
    static const char *const others[] = {"net/ipv4/ip_forward",
                                         "net/ipv6/conf/all/forwarding",
                                         "net/ipv4/tcp_rmem",
                                         "net/ipv4/tcp_wmem",
                                         "net/core/rmem_max",
                                         "net/core/wmem_max",
                                         "net/ipv4/tcp_congestion_control",
                                         "net/ipv4/conf/all/rp_filter",
                                         "net/bridge/bridge-nf-call-iptables",
                                         "net/bridge/bridge-nf-call-ip6tables"};
    struct dirent **entries;
    int n = scandir("/proc/sys/net/mptcp", &entries, not_hidden, alphasort);

    begin(r, "sysctls");
    for (int i = 0; i < n; i++) {
        char name[sizeof("net/mptcp/") + sizeof(entries[i]->d_name)];
        snprintf(name, sizeof(name), "net/mptcp/%s", entries[i]->d_name);
        write_sysctl(r, name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    else
        fputs("no net/mptcp\n", r->out);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        write_sysctl(r, others[i]);
}

/* command: a constant of ours, for the shell. */
static void write_output(const struct report *r, const char *command)
{
    char line[1024];

    begin(r, command);
    fflush(r->out);
    FILE *output = popen(command, "re");
    while (output && fgets(line, sizeof(line), output))
        fputs(line, r->out);
    if (!output || pclose(output) != 0)
        fputs("(it failed)\n", r->out);
}

static void write_network(const struct report *r)
{
    static const char *const looks[] = {
        "nft list table inet bondway 2>&1",
        "ip address 2>&1",
        "ip -4 rule 2>&1",
        "ip -6 rule 2>&1",
        "ip -4 route show table all 2>&1",
        "ip -6 route show table all 2>&1",
    };

    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
        write_output(r, looks[i]);
}

/* ---- the daemons ---- */

static void write_answer(const struct report *r, const char *socket, const char *question)
{
    struct json_object *answer;
    char why[WHY_MAX];

    begin(r, question);
    if (control_ask(socket, question, &answer, why, sizeof(why))) {
        fprintf(r->out, "%s\n", why);
        return;
    }
    fprintf(r->out, "%s\n",
            json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY |
                                                       JSON_C_TO_STRING_SPACED |
                                                       JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(answer);
}

static bool on_event(void *arg, struct json_object *event)
{
    const struct report *r = arg;

    fprintf(r->out, "%s\n", json_object_to_json_string_ext(event, JSON_C_TO_STRING_NOSLASHESCAPE));
    return true;
}

static void write_events(const struct report *r, const char *socket)
{
    const struct control_reader reader = {.line = on_event, .arg = (void *)r, .out_fd = -1};
    char why[WHY_MAX];

    begin(r, "events");
    if (control_read(socket, "events", false, &reader, why, sizeof(why)))
        fprintf(r->out, "%s\n", why);
}

/* One of the two that a host may be. */
static void write_role(const struct report *r, const struct role *role)
{
    const char *path = r->config ? r->config : role->config;
    struct draft draft;

    if (draft_open(&draft, path, r->out))
        return;
    if (draft.text && (!r->config || edit_has(draft.text, role->list))) {
        begin(r, path);
        fputs(draft.text, r->out);
        begin(r, "what is wrong with it");
        if (role->check(path, r->out))
            fputs("nothing\n", r->out);
        char *socket = draft_text(&draft, "control_socket", role->socket);
        if (socket) {
            write_answer(r, socket, "status");
            write_answer(r, socket, "flows");
            write_events(r, socket);
        }
        free(socket);
    }
    draft_close(&draft);
}

/* ---- the whole ---- */

static int print_masked(const char *text)
{
    struct mask *mask = mask_new();
    char *masked = mask && text ? mask_text(mask, text) : NULL;

    mask_free(mask);
    if (!masked) {
        command_complain(&report_command, "out of memory");
        return EXIT_FAILED;
    }
    fputs(masked, stdout);
    free(masked);
    return command_finish(EXIT_WELL);
}

static int write_report(struct report *r)
{
    char *text = NULL;
    size_t len;

    r->out = open_memstream(&text, &len);
    if (!r->out)
        return print_masked(NULL);
    log_set_level(LOG_LEVEL_ERROR);
    write_machine(r);
    for (const struct role *const *role = roles; *role; role++)
        write_role(r, *role);
    write_sysctls(r);
    write_network(r);
    fclose(r->out);
    int code = print_masked(text);
    free(text);
    return code;
}

static const struct command_option options[] = {
    {'c', "config", "FILE",
     "the configuration; default /etc/bondway/gateway.conf and\n"
     "/etc/bondway/concentrator.conf, what there is of them"},
    {0, "", NULL, NULL},
};

static int run(int argc, char **argv)
{
    struct report r = {0};
    int code;

    for (int option; (option = command_next_option(&report_command, argc, argv, &code));) {
        if (option < 0)
            return code;
        r.config = optarg;
    }
    return write_report(&r);
}

const struct command report_command = {
    .name = "report",
    .summary = "print what a bug report needs, without secrets",
    .text =
        "Prints version, kernel, configuration, status, flows, events, our nftables table, rules\n"
        "and routes, as one text: bondway report > report.txt. Keys are left out; every public\n"
        "address has another name, the same wherever it stands. Run it as root.",
    .options = options,
    .notes =
        "Names that you have given (of uplinks, gateways, interfaces, files) stay: look it over\n"
        "before you send it.\n",
    .exit_status = "0 well, 1 failed, 2 wrong usage",
    .run = run,
};
