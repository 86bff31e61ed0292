/* What the concentrator wants of this kernel's MPTCP: the in-kernel path manager with room for a
 * gateway's uplinks. Changes its limits, and how soon it gives up a path that has fallen silent;
 * puts both back. The rest it only tells. Needs CAP_NET_ADMIN at both times; what it opens at first
 * serves for both, since the sandbox opens nothing of the kind. */
#ifndef CONCENTRATOR_KERNEL_H
#define CONCENTRATOR_KERNEL_H

#include <stdbool.h>

#include "core/path_manager.h"

struct kernel {
    struct path_manager *path_manager; /* NULL: its limits are as they were */
    struct path_limits before;
    int stale_fd; /* net.mptcp.stale_loss_cnt; -1: it is as it was */
    char stale_before[16];
};

/* What was there before, for the process that will put it back. */
struct kernel_legacy {
    bool limits_changed;
    struct path_limits limits;
    char stale[16]; /* "": as it was */
};

/* Warns, with the remedy, of everything that will keep connections on one path. Goes on. */
void kernel_prepare(struct kernel *kernel);
/* Likewise, after another process has prepared it. */
void kernel_inherit(struct kernel *kernel, const struct kernel_legacy *legacy);
void kernel_bequeath(const struct kernel *kernel, struct kernel_legacy *out);
void kernel_restore(struct kernel *kernel);
void kernel_forget(struct kernel *kernel); /* leaves it as it is: another will restore it */

#endif
