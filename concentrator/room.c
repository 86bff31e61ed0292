#include "concentrator/room.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* A line of the file that begins so, without its beginning and its end. */
static bool read_line(const char *path, const char *beginning, char *out, size_t len)
{
    bool found = false;
    FILE *file = fopen(path, "re");

    if (!file)
        return false;
    while (!found && fgets(out, (int)len, file))
        found = strncmp(out, beginning, strlen(beginning)) == 0;
    fclose(file);
    if (!found)
        return false;
    out[strcspn(out, "\n")] = '\0';
    memmove(out, out + strlen(beginning), strlen(out + strlen(beginning)) + 1);
    return true;
}

/* memory.max of that group alone; "max", and a root that has no such file, mean none. */
static uint64_t own_limit(const char *root, const char *group)
{
    char path[PATH_MAX], value[32];
    int n = snprintf(path, sizeof(path), "%s%s/memory.max", root, group);

    if (n < 0 || (size_t)n >= sizeof(path) || !read_line(path, "", value, sizeof(value)))
        return UINT64_MAX;
    char *end;
    uint64_t bytes = strtoull(value, &end, 10);
    return end == value ? UINT64_MAX : bytes;
}

uint64_t room_cgroup_memory(const char *root, const char *group)
{
    char at[PATH_MAX];
    uint64_t least = UINT64_MAX;

    snprintf(at, sizeof(at), "%s", group);
    for (;;) {
        uint64_t limit = own_limit(root, at);
        char *last = strrchr(at, '/');
        least = limit < least ? limit : least;
        if (!last)
            return least;
        *last = '\0';
    }
}

static uint64_t allowed_memory(void)
{
    char group[PATH_MAX];

    if (!read_line("/proc/self/cgroup", "0::", group, sizeof(group)))
        return UINT64_MAX;
    return room_cgroup_memory("/sys/fs/cgroup", group);
}

int room_look(struct room_facts *out)
{
    uint64_t allowed = allowed_memory();
    struct rlimit limit;
    struct sysinfo info;

    *out = (struct room_facts){0};
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || sysinfo(&info) == -1)
        return -errno;
    out->descriptors = (size_t)limit.rlim_cur;
    out->memory = (uint64_t)info.totalram * info.mem_unit;
    if (out->memory > allowed)
        out->memory = allowed;
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
