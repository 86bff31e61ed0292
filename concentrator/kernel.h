/* What the concentrator wants of this kernel's MPTCP: the in-kernel path manager with room for a
 * gateway's uplinks. Changes its limits, how soon it gives up a path that has fallen silent, and
 * the packet scheduler where one is asked for; puts all back. The rest it only tells. Needs
 * CAP_NET_ADMIN at both times; what it opens at first serves for both, since the sandbox opens
 * nothing of the kind. */
#ifndef CONCENTRATOR_KERNEL_H
#define CONCENTRATOR_KERNEL_H

#include <stdbool.h>

#include "core/path_manager.h"

/* A sysctl that was changed, held open to be put back. */
struct held_sysctl {
    bool changed;
    int fd;
    char before[32];
    char found[32]; /* by this process, which has written it; "": it has not */
};

struct kernel {
    struct path_manager *path_manager; /* NULL: its limits are as they were */
    struct path_limits before;
    bool raised; /* by this process, which found: */
    struct path_limits found;
    struct held_sysctl stale, scheduler;
};

/* What was there before, for the process that will put it back. */
struct kernel_legacy {
    bool limits_changed;
    struct path_limits limits;
    char stale[32], scheduler[32]; /* "": as it was */
};

/* Warns, with the remedy, of everything that will keep connections on one path, and goes on.
 * packet_scheduler: "" for the kernel's own choice. Returns 0, or -errno after having said why: it
 * cannot be had. */
int kernel_prepare(struct kernel *kernel, const char *packet_scheduler);
/* Likewise, after another process has prepared it. */
int kernel_inherit(struct kernel *kernel, const struct kernel_legacy *legacy,
                   const char *packet_scheduler);
void kernel_bequeath(const struct kernel *kernel, struct kernel_legacy *out);
void kernel_restore(struct kernel *kernel);
void kernel_forget(struct kernel *kernel); /* leaves it as it is: another will restore it */
/* After kernel_inherit(), of one that inherits nothing after all: as the other has it. */
void kernel_withdraw(struct kernel *kernel);

#endif
