/* What the concentrator wants of this kernel's MPTCP: the in-kernel path manager with room for a
 * gateway's uplinks. Changes its limits, and puts them back; the rest it only tells. */
#ifndef CONCENTRATOR_KERNEL_H
#define CONCENTRATOR_KERNEL_H

#include <stdbool.h>

#include "core/path_manager.h"

struct kernel {
    struct path_limits before;
    bool changed;
};

/* Warns, with the remedy, of everything that will keep connections on one path. Goes on. */
void kernel_prepare(struct kernel *kernel);
void kernel_restore(const struct kernel *kernel);

#endif
