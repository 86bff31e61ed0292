/* The gateway: everything on the router, from configuration to exit. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

/* Runs until a signal ends it. Returns the program's exit code: 0 well, 1 failed, 2 wrong
 * configuration. */
int gateway_run(const char *config_path);

#endif
