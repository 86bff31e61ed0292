/* What the concentrator wants of this kernel's MPTCP: the in-kernel path manager with room for a
 * gateway's uplinks. Changes its limits, and
 * how soon it gives up a path that has fallen silent; puts both back. The rest it only tells. */
#ifndef CONCENTRATOR_KERNEL_H
#define CONCENTRATOR_KERNEL_H

#include <stdbool.h>

#include "core/path_manager.h"
#include "core/sysctl.h"

struct kernel {
    struct path_limits before;
    bool changed;
    struct sysctl_change stale; /* net.mptcp.stale_loss_cnt */
};

/* Warns, with the remedy, of everything that will keep connections on one path. Goes on. */
void kernel_prepare(struct kernel *kernel);
void kernel_restore(struct kernel *kernel);

#endif
