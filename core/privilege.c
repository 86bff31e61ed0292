#include "core/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORDS _LINUX_CAPABILITY_U32S_3

struct sets {
    uint64_t effective, permitted;
};

static int read_sets(struct sets *sets)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[WORDS] = {0};

    if (syscall(SYS_capget, &head, data) == -1)
        return -errno;
    sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
    sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return 0;
}

/* Nothing is inheritable. */
static int write_sets(const struct sets *sets)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[WORDS] = {0};

    for (int i = 0; i < WORDS; i++) {
        data[i].effective = (uint32_t)(sets->effective >> (32 * i));
        data[i].permitted = (uint32_t)(sets->permitted >> (32 * i));
    }
    return syscall(SYS_capset, &head, data) == -1 ? -errno : 0;
}

int privilege_find_user(const char *name, struct privilege_user *out)
{
    errno = 0;
    const struct passwd *entry = getpwnam(name);

    if (!entry)
        return errno && errno != ESRCH && errno != EBADF && errno != EPERM ? -errno : -ENOENT;
    *out = (struct privilege_user){.uid = entry->pw_uid, .gid = entry->pw_gid};
    return 0;
}

bool privilege_has(unsigned capability)
{
    struct sets sets;

    return read_sets(&sets) == 0 && (sets.effective & PRIVILEGE(capability));
}

/* What a program that root starts gets. Without CAP_SETPCAP it stays as it is, but then we are not
 * root, or PR_SET_NO_NEW_PRIVS does as well. */
static void cut_bounding_set(uint64_t kept)
{
    for (unsigned capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
        if (!(kept & PRIVILEGE(capability)))
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
}

/* Its own user it is already. The capabilities outlive the change, to be cut down after it. */
static int become(const struct privilege_user *user)
{
    uid_t real, effective, saved;

    if (getresuid(&real, &effective, &saved) == -1)
        return -errno;
    if (real == user->uid && effective == user->uid && saved == user->uid)
        return 0;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == -1 || setgroups(0, NULL) == -1 ||
        setresgid(user->gid, user->gid, user->gid) == -1 ||
        setresuid(user->uid, user->uid, user->uid) == -1)
        return -errno;
    return 0;
}

int privilege_drop(const struct privilege_user *user, uint64_t kept)
{
    struct sets sets;

    cut_bounding_set(kept);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    int err = user ? become(user) : 0;
    if (!err)
        err = read_sets(&sets);
    if (err)
        return err;
    sets.permitted &= kept;
    sets.effective = sets.permitted;
    err = write_sets(&sets);
    if (err)
        return err;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
        return -errno;
    return 0;
}
