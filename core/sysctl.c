#include "core/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int sysctl_open(const char *name, int flags)
{
    char path[256];
    int n = snprintf(path, sizeof(path), "/proc/sys/%s", name);

    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    int fd = open(path, flags | O_CLOEXEC);
    return fd == -1 ? -errno : fd;
}

/* The kernel separates several numbers by tabs and ends with a newline; we write spaces. */
static void tidy(char *value)
{
    value[strcspn(value, "\n")] = '\0';
    for (; *value; value++) {
        if (*value == '\t')
            *value = ' ';
    }
}

int sysctl_read(const char *name, char *value, size_t len)
{
    int fd = sysctl_open(name, O_RDONLY);

    if (fd < 0)
        return fd;
    ssize_t n = read(fd, value, len);
    int err = n == -1 ? -errno : 0;
    close(fd);
    if (err)
        return err;
    if ((size_t)n == len)
        return -EOVERFLOW;
    value[n] = '\0';
    tidy(value);
    return 0;
}

int sysctl_write(const char *name, const char *value)
{
    int fd = sysctl_open(name, O_WRONLY);

    if (fd < 0)
        return fd;
    int err = write(fd, value, strlen(value)) == -1 ? -errno : 0;
    close(fd);
    return err;
}

int sysctl_set(struct sysctl_change *change, const char *name, const char *value)
{
    char before[sizeof(change->before)];
    int err = sysctl_read(name, before, sizeof(before));

    if (err)
        return err;
    if (strcmp(before, value) == 0)
        return 0;
    err = sysctl_write(name, value);
    if (err || change->changed)
        return err;
    change->name = name;
    memcpy(change->before, before, sizeof(before));
    change->changed = true;
    return 0;
}

int sysctl_restore(struct sysctl_change *change)
{
    if (!change->changed)
        return 0;
    change->changed = false;
    int err = sysctl_write(change->name, change->before);
    return err == -ENOENT ? 0 : err; /* it has gone, with its interface */
}
