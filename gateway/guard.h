/* The guard: a child process that owns everything the gateway changes in the kernel: it runs nft
 * for the daemon, and when the daemon is gone (in any way, SIGKILL too) removes the interception,
 * our rules and routes, and puts the sysctls back. There is no other way to clean up: an orderly
 * exit lets go of the guard, too, and waits for it. */
#ifndef GATEWAY_GUARD_H
#define GATEWAY_GUARD_H

#include <stddef.h>
#include <stdbool.h>

#include "core/sysctl.h"

struct guard;

/* Call before any thread and before any change to the kernel's state. Holds an abstract Unix socket
 * address, so that one gateway at a time runs in a network namespace, and waits up to 3 s for the
 * guard of one that has just died. Removes leftovers of an earlier life. Returns 0, or -errno and
 * why[]: -EBUSY when another gateway runs here, -ENOENT when there is no nft program, -EPERM. */
int guard_new(struct guard **out, char *why, size_t why_len);
/* Runs `nft -f -` on ruleset in the guard; blocks (some 10 ms). Returns 0, or -errno and why[] with
 * nft's own words. */
int guard_nft(struct guard *guard, const char *ruleset, char *why, size_t why_len);
/* Sets a sysctl, to be put back at the end to what it was at first. Returns 0, or -errno. */
int guard_sysctl(struct guard *guard, const char *name, const char *value);
/* Call on SIGCHLD: true when the guard has died before its time. */
bool guard_died(struct guard *guard);
/* Then: a new guard that knows what the old one knew. Interception, routes and sysctls stay as they
 * are. Returns 0, or -errno and why[]. */
int guard_revive(struct guard *guard, char *why, size_t why_len);
/* Lets the guard clean up, and waits for it. Returns 0, or -errno when it could not clean up (the
 * guard has logged what). NULL is fine. */
int guard_free(struct guard *guard);

#endif
