#include "concentrator/room.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

int room_share_out(struct room_shares *out, const struct room_facts *facts)
{
    size_t taken = facts->descriptors_used + ROOM_SPARE_DESCRIPTORS;
    size_t left = facts->descriptors > taken ? facts->descriptors - taken : 0;
    size_t strangers = left / 4;
    uint64_t by_memory = facts->memory / 2 / ROOM_SESSION_BYTES;

    if (strangers > facts->unauthenticated)
        strangers = facts->unauthenticated;
    *out = (struct room_shares){.sessions = (left - strangers) / ROOM_SESSION_DESCRIPTORS,
                                .unauthenticated = strangers};
    if (out->sessions > by_memory) {
        out->sessions = (size_t)by_memory;
        out->by_memory = true;
    }
    return out->sessions > 0 && strangers > 0 ? 0 : -ENOSPC;
}

/* Counted: 14 of the process, 6 of each worker, and of each of its addresses a TCP and a UDP port.
 */
size_t room_descriptors_needed(size_t workers, size_t listen_addresses)
{
    return 14 + workers * (6 + 2 * listen_addresses) + ROOM_SPARE_DESCRIPTORS +
           8 * ROOM_SESSION_DESCRIPTORS;
}

static int count_descriptors(size_t *out)
{
    DIR *dir = opendir("/proc/self/fd");

    if (!dir)
        return -errno;
    *out = 0;
    while (readdir(dir))
        ++*out;
    closedir(dir);
    *out -= 3; /* ".", ".." and the directory itself */
    return 0;
}

int room_look(struct room_facts *out)
{
    struct rlimit limit;
    struct sysinfo info;

    *out = (struct room_facts){0};
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || sysinfo(&info) == -1)
        return -errno;
    out->descriptors = (size_t)limit.rlim_cur;
    out->memory = (uint64_t)info.totalram * info.mem_unit;
    return count_descriptors(&out->descriptors_used);
}

bool room_take(struct room *room)
{
    if (atomic_fetch_add(&room->sessions, 1) < room->max)
        return true;
    atomic_fetch_sub(&room->sessions, 1);
    return false;
}

void room_leave(struct room *room)
{
    size_t before = atomic_fetch_sub(&room->sessions, 1);

    assert(before > 0);
    (void)before;
}
