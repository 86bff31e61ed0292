/* The concentrator: everything on the VPS, from configuration to exit. */
#ifndef CONCENTRATOR_CONCENTRATOR_H
#define CONCENTRATOR_CONCENTRATOR_H

/* Runs until a signal ends it. Returns the program's exit code: 0 well, 1 failed, 2 wrong
 * configuration. */
int concentrator_run(const char *config_path);

#endif
