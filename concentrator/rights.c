#include "concentrator/rights.h"

#include <errno.h>
#include <libgen.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/privilege.h"
#include "core/sandbox.h"

#define LABEL "rights"

/* /run is root's. A directory that is there already belongs to whom it belongs. */
static int make_socket_directory(const char *socket, const struct privilege_user *user)
{
    char *path = strdup(socket);
    int err = 0;

    if (!path)
        return -ENOMEM;
    const char *directory = dirname(path);
    if (mkdir(directory, 0755) == 0 && chown(directory, user->uid, user->gid) == -1)
        err = -errno;
    free(path);
    return err;
}

static int become(const struct concentrator_config *config)
{
    struct privilege_user user;
    int err = privilege_find_user(config->user, &user);

    if (err == -ENOENT) {
        log_error(LABEL, "there is no user %s: make it (useradd --system %s), or correct user",
                  config->user, config->user);
        return err;
    }
    if (err == 0 && geteuid() == 0)
        err = make_socket_directory(config->control_socket, &user);
    if (err == 0)
        err = privilege_drop(&user, PRIVILEGE(CAP_NET_ADMIN));
    if (err < 0)
        log_error(LABEL, "cannot become user %s: %s; start it as root, or as that user",
                  config->user, strerror(-err));
    return err;
}

static int stay(void)
{
    int err = privilege_drop(NULL, PRIVILEGE(CAP_NET_ADMIN));

    if (err < 0)
        log_error(LABEL, "cannot give up capabilities: %s", strerror(-err));
    else if (geteuid() == 0)
        log_warning(LABEL, "runs as root: give it a user of its own (useradd --system bondway, "
                           "chown bondway the key files, and user = \"bondway\" in the "
                           "configuration)");
    return err;
}

static int check_readable(const char *path)
{
    if (access(path, R_OK) == 0)
        return 0;
    int err = -errno;
    log_error(LABEL, "user %u may not read %s, so a reload would fail: %s; chown %u %s",
              (unsigned)getuid(), path, strerror(-err), (unsigned)getuid(), path);
    return err;
}

int rights_give_up(const struct concentrator_config *config, const char *config_path)
{
    int err = config->user[0] ? become(config) : stay();

    if (err == 0)
        err = check_readable(config_path);
    for (size_t i = 0; i < config->n_peers && err == 0; i++)
        err = check_readable(config->peers[i].key_file);
    return err;
}

void rights_enclose(void)
{
    int err = sandbox_enter(SANDBOX_RELAY);

    if (err < 0)
        log_warning(LABEL, "runs without its seccomp sandbox: %s",
                    err == -EOPNOTSUPP ? "this kernel or processor has none for it"
                                       : strerror(-err));
}
