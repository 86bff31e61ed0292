/* What this process may do, and gives up for good once it has started: its user, its capabilities,
 * and every way to get them back (capabilities(7)). Call it before there are threads, for each has
 * capabilities of its own. */
#ifndef CORE_PRIVILEGE_H
#define CORE_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Sets of capabilities: bit N for the one with number N. */
#define PRIVILEGE(capability) (UINT64_C(1) << (capability))

struct privilege_user {
    uid_t uid;
    gid_t gid;
};

/* Returns 0, or -errno: -ENOENT when there is no such user. */
int privilege_find_user(const char *name, struct privilege_user *out);

bool privilege_has(unsigned capability);

/* Becomes user (NULL: stays), in no other group; keeps of its capabilities those in kept. From then
 * on no program it starts gets more, and no core file, with the keys in it, is written. Returns 0,
 * or -errno: -EPERM when it may not become that user. */
int privilege_drop(const struct privilege_user *user, uint64_t kept);

#endif
