/* Sysctls of this network namespace, changed and put back. */
#ifndef CORE_SYSCTL_H
#define CORE_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>

/* name with slashes: "net/mptcp/enabled". A value of several numbers reads as separated by spaces.
 * Return 0, or -errno (-ENOENT: the kernel has none; -EOVERFLOW: longer than len). */
int sysctl_read(const char *name, char *value, size_t len);
int sysctl_write(const char *name, const char *value);
/* For one who will write later, when he may no longer open: a descriptor, or -errno. */
int sysctl_open(const char *name, int flags);

/* A change that remembers what was there. Zero-initialised: nothing to restore. */
struct sysctl_change {
    const char *name; /* static */
    char before[32];
    bool changed;
};
/* Writes value unless it is there already. Set again, it still remembers the first. Returns 0, or
 * -errno. */
int sysctl_set(struct sysctl_change *change, const char *name, const char *value);
/* Returns 0, also when the sysctl has gone, as an interface's goes with it; or -errno. */
int sysctl_restore(struct sysctl_change *change);

#endif
