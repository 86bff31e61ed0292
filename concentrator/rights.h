/* What the concentrator keeps of the rights it was started with, once its ports are bound and the
 * kernel is prepared: those of an ordinary user, and CAP_NET_ADMIN if it had that, for large send
 * buffers (core/sendroom.c) and to put the kernel's settings back. The sandbox (core/sandbox.h)
 * sees to it that the latter is good for nothing else. */
#ifndef CONCENTRATOR_RIGHTS_H
#define CONCENTRATOR_RIGHTS_H

#include "config/concentrator_config.h"

/* Becomes the configured user, who gets the control socket's directory if there is none yet, and
 * must be able to read what a reload reads. Before there are threads. Returns 0, or -errno after
 * having said why. */
int rights_give_up(const struct concentrator_config *config, const char *config_path);
/* For this thread and those begun later, after the last file to write and the last port have been
 * opened. Says so where it cannot be had. */
void rights_enclose(void);

#endif
