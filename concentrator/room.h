/* The room: how many connections this process can have at once, as far as its descriptors and this
 * machine's memory go. It is shared out at the start, so that strangers cannot take a gateway's
 * part of it; what is beyond it is refused, while everything else goes on. */
#ifndef CONCENTRATOR_ROOM_H
#define CONCENTRATOR_ROOM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A session beyond its HELLO: the gateway's connection and the destination's. */
#define ROOM_SESSION_DESCRIPTORS 2
/* What it takes of memory, where both of its sides have stopped reading (user memory; the kernel
 * bounds its own). */
#define ROOM_SESSION_BYTES (64u << 10)
/* For the control socket, the log, and what is read now and then. */
#define ROOM_SPARE_DESCRIPTORS 8

struct room_facts {
    size_t descriptors, descriptors_used; /* the limit, and how many there are at the start */
    uint64_t memory;                      /* bytes; half of it is for sessions */
    size_t unauthenticated;               /* as configured */
};

struct room_shares {
    size_t sessions;
    size_t unauthenticated; /* at most a quarter of the descriptors */
    bool by_memory;         /* else by descriptors */
};

/* Returns 0, or -ENOSPC: not even one of each. Pure. */
int room_share_out(struct room_shares *out, const struct room_facts *facts);
/* How many descriptors there must be to start and to have a few sessions. */
size_t room_descriptors_needed(size_t workers, size_t listen_addresses);
/* The facts of this process; its memory is the machine's, or what its control groups leave of it (a
 * container's limit, MemoryMax= of systemd). Returns 0, or -errno. */
int room_look(struct room_facts *out);
/* The least memory.max (cgroup v2) of this group, as /proc/self/cgroup spells it, and of all above
 * it; UINT64_MAX: none of them has one. root: where that file system is mounted. */
uint64_t room_cgroup_memory(const char *root, const char *group);

/* The sessions there are; safe from every thread. Zero-initialised; max is set once. */
struct room {
    atomic_size_t sessions;
    size_t max;
};
/* False: there is none. */
bool room_take(struct room *room);
void room_leave(struct room *room);

#endif
