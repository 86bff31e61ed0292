/* What invite, join and remove share: key files, and daemons that must read their configuration
 * anew. */
#ifndef CLI_PROVISION_H
#define CLI_PROVISION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cli/role.h"
#include "core/key.h"

/* The key file NAME.key beside that configuration, as an absolute path. Returns 0, or -errno after
 * complaining for that command. */
int provision_key_path(const struct command *command, const char *config, const char *name,
                       char out[PATH_MAX]);
/* Who must be able to read a key file: the configuration's user ("": none), or as whom the daemon
 * at that control socket runs, or to whom the key file `like` (NULL: none) belongs; or else us. */
struct provision_reader {
    const char *user, *socket, *like;
};
/* Writes the file, mode 0600, a line for each key. Returns 0, or -errno after complaining. */
int provision_keys_write(const struct command *command, const char *path,
                         const struct key_ring *ring, const struct provision_reader *reader);
/* text as it stands between quotes in a configuration. Returns out. */
const char *provision_quote(const char *text, char *out, size_t len);

/* Has the daemon at that control socket read its configuration anew, and waits until it has: until
 * it lists `name`, or does so no more. Says how it went, on standard error; file: the configuration
 * that was changed. Returns an exit code. */
int provision_reload(const struct command *command, const struct role *role, const char *socket,
                     const char *file, const char *name, bool listed);

#endif
