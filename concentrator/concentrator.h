/* The concentrator: everything on the VPS, from configuration to exit. */
#ifndef CONCENTRATOR_CONCENTRATOR_H
#define CONCENTRATOR_CONCENTRATOR_H

#include <stdbool.h>

/* Runs until a signal ends it, or another has taken over and its last flow has ended. take_over:
 * from the one that answers on the same control socket, if there is one. Returns the program's exit
 * code: 0 well, 1 failed, 2 wrong configuration. */
int concentrator_run(const char *config_path, bool take_over);

#endif
