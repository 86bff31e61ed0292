#include "cli/provision.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/view.h"
#include "core/clock.h"
#include "core/control.h"
#include "core/crypto.h"
#include "core/file.h"
#include "core/privilege.h"

#define WHY_MAX 512
#define RELOAD_PATIENCE_MS 5000
#define RELOAD_LOOK_US 20000

int provision_key_path(const struct command *command, const char *config, const char *name,
                       char out[PATH_MAX])
{
    char copy[PATH_MAX], directory[PATH_MAX];
    int n = snprintf(copy, sizeof(copy), "%s", config);
    int err = n < (int)sizeof(copy) ? 0 : -ENAMETOOLONG;

    if (!err && !realpath(dirname(copy), directory)) {
        /* What is missing is made when it is written to. */
        if (errno == ENOENT && config[0] == '/')
            snprintf(directory, sizeof(directory), "%s", copy);
        else
            err = -errno;
    }
    if (!err && snprintf(out, PATH_MAX, "%s/%s.key", directory, name) >= PATH_MAX)
        err = -ENAMETOOLONG;
    if (err)
        command_complain(command, "%s: %s", config, strerror(-err));
    return err;
}

/* From the process's own word: a control socket still has the owner of its first moment, and the
 * files in /proc of one that has given up rights are root's. */
static int user_of_daemon(const char *socket, struct privilege_user *out)
{
    char path[32], line[128], why[WHY_MAX];
    struct ucred peer;
    int found = 0;

    int err = control_peer(socket, &peer, why, sizeof(why));
    if (err)
        return err;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)peer.pid);
    FILE *status = fopen(path, "re");
    if (!status)
        return -errno;
    while (fgets(line, sizeof(line), status)) {
        found += sscanf(line, "Uid: %*u %u", &out->uid) == 1;
        found += sscanf(line, "Gid: %*u %u", &out->gid) == 1;
    }
    fclose(status);
    return found == 2 ? 0 : -EPROTO;
}

static struct file_owner owner_of_key(const struct provision_reader *reader)
{
    struct file_owner owner = {.mode = 0600, .secret = true, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct privilege_user user;
    struct stat st;

    if ((reader->user && reader->user[0] && privilege_find_user(reader->user, &user) == 0) ||
        user_of_daemon(reader->socket, &user) == 0) {
        owner.uid = user.uid;
        owner.gid = user.gid;
    } else if (reader->like && stat(reader->like, &st) == 0) {
        owner.uid = st.st_uid;
        owner.gid = st.st_gid;
    }
    return owner;
}

int provision_keys_write(const struct command *command, const char *path,
                         const struct key_ring *ring, const struct provision_reader *reader)
{
    const struct file_owner owner = owner_of_key(reader);
    char lines[KEY_RING * KEY_TEXT + 1];
    struct file_draft file;
    size_t len = 0;

    for (size_t i = 0; i < ring->n; i++) {
        key_format(&ring->keys[i], lines + len);
        len += strlen(lines + len);
        lines[len++] = '\n';
    }
    int err = file_draft(&file, path, lines, len, &owner);
    if (!err)
        err = file_publish(&file);
    crypto_wipe(lines, sizeof(lines));
    if (err)
        command_complain(command, "%s: the key cannot be written: %s%s", path, strerror(-err),
                         err == -EACCES ? "; run this as root" : "");
    return err;
}

const char *provision_quote(const char *text, char *out, size_t len)
{
    size_t n = 0;

    for (; *text && n + 2 < len; text++) {
        if (strchr("\"\\", *text))
            out[n++] = '\\';
        out[n++] = *text;
    }
    out[n] = '\0';
    return out;
}

/* ---- a daemon's reload ---- */

/* What its events say since a certain one. */
struct news {
    uint64_t since, newest;
    char what[32], reason[WHY_MAX]; /* of the last reload; what "": none yet */
};

static bool on_event(void *arg, struct json_object *event)
{
    struct news *news = arg;
    const char *kind = view_text(event, "kind"), *what = view_text(event, "what");

    news->newest = view_count(event, "seq");
    bool of_daemon = strcmp(kind, "gateway") == 0 || strcmp(kind, "concentrator") == 0;
    if (news->newest > news->since && of_daemon && strstr(what, "reload")) {
        snprintf(news->what, sizeof(news->what), "%s", what);
        snprintf(news->reason, sizeof(news->reason), "%s", view_text(event, "reason"));
    }
    return true;
}

static int read_news(const char *socket, struct news *news, char *why, size_t why_len)
{
    const struct control_reader reader = {.line = on_event, .arg = news, .out_fd = -1};

    return control_read(socket, "events", false, &reader, why, why_len);
}

/* What a reload shall bring: the list has that name, or has it no more. */
struct change {
    const char *list, *name;
    bool listed;
};

static bool lists(const char *socket, const struct change *change)
{
    struct json_object *status;
    char why[WHY_MAX];
    bool found = false;

    if (control_ask(socket, "status", &status, why, sizeof(why)))
        return false;
    struct json_object *names = view_list(status, change->list);
    for (size_t i = 0; i < view_length(names); i++)
        found |= strcmp(view_text(json_object_array_get_idx(names, i), "name"), change->name) == 0;
    json_object_put(status);
    return found;
}

/* Whatever it says then, or nothing. Events of many reloads in a row are held back: then the list
 * tells. */
static void wait_for_news(const char *socket, struct news *news, const struct change *change,
                          bool before)
{
    uint64_t deadline_ms = clock_now_ms() + RELOAD_PATIENCE_MS;
    char why[WHY_MAX];

    while (!news->what[0] && clock_now_ms() < deadline_ms &&
           read_news(socket, news, why, sizeof(why)) == 0) {
        if (before != change->listed && lists(socket, change) == change->listed)
            snprintf(news->what, sizeof(news->what), "reloaded");
        usleep(RELOAD_LOOK_US);
    }
}

static int tell_outcome(const struct command *command, const struct role *role,
                        const struct news *news, const char *file, bool right)
{
    if (news->what[0] && strcmp(news->what, "reloaded") != 0) {
        command_complain(command,
                         "the running %s has not taken %s: %s\n"
                         "Correct that, and send it SIGHUP, or restart it.",
                         role->daemon, file, news->reason);
        return EXIT_FAILED;
    }
    if (!news->what[0]) {
        fprintf(stderr, "The running %s has not read %s anew: restart it.\n", role->daemon, file);
        return EXIT_FAILED;
    }
    if (!right) {
        command_complain(command,
                         "the running %s has read its configuration anew, but that is not %s: "
                         "name the right one with -c",
                         role->daemon, file);
        return EXIT_FAILED;
    }
    fprintf(stderr, "The running %s has taken it over.\n", role->daemon);
    return EXIT_WELL;
}

int provision_reload(const struct command *command, const struct role *role, const char *socket,
                     const char *file, const char *name, bool listed)
{
    const struct change change = {role->list, name, listed};
    struct news news = {0};
    struct ucred peer;
    char why[WHY_MAX];

    int err = control_peer(socket, &peer, why, sizeof(why));
    if (!err)
        err = read_news(socket, &news, why, sizeof(why));
    if (err == -ENOENT || err == -ECONNREFUSED) {
        if (listed)
            fprintf(stderr, "No %s runs here now: start it with `bondway %s`.\n", role->daemon,
                    role->daemon);
        return EXIT_WELL;
    }
    news = (struct news){.since = news.newest};
    bool before = lists(socket, &change);
    if (!err && peer.pid <= 0)
        err = -ESRCH;
    if (!err && kill(peer.pid, SIGHUP) == -1)
        err = -errno;
    if (err) {
        command_complain(command, "cannot tell the running %s to read %s anew: %s; send it SIGHUP",
                         role->daemon, file, strerror(-err));
        return EXIT_FAILED;
    }
    wait_for_news(socket, &news, &change, before);
    return tell_outcome(command, role, &news, file, lists(socket, &change) == listed);
}
