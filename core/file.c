#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int directory_of(const char *path, char out[PATH_MAX])
{
    char copy[PATH_MAX];

    if (strlen(path) >= sizeof(copy))
        return -ENAMETOOLONG;
    memcpy(copy, path, strlen(path) + 1);
    const char *directory = dirname(copy);
    memmove(out, directory, strlen(directory) + 1);
    return 0;
}

static int make_directory(const char *path)
{
    char directory[PATH_MAX];
    int err = directory_of(path, directory);

    if (err)
        return err;
    return mkdir(directory, 0755) == 0 || errno == EEXIST ? 0 : -errno;
}

/* A new file stands where path says, one that is there where its links lead. */
static int resolve(const char *path, char out[PATH_MAX])
{
    if (realpath(path, out))
        return 0;
    if (errno != ENOENT)
        return -errno;
    size_t len = strlen(path);
    if (len >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(out, path, len + 1);
    return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n == -1 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int fill(int fd, const char *path, const char *text, size_t len,
                const struct file_owner *owner)
{
    struct file_owner as = *owner;
    struct stat st;

    if (stat(path, &st) == 0) {
        as.uid = st.st_uid;
        as.gid = st.st_gid;
        as.mode = st.st_mode & 07777 & (owner->secret ? owner->mode : 07777);
    }
    if (fchown(fd, as.uid, as.gid) == -1 && errno != EPERM)
        return -errno;
    if (fchmod(fd, as.mode) == -1)
        return -errno;
    int err = write_all(fd, text, len);
    return err ? err : fsync(fd) == -1 ? -errno : 0;
}

int file_draft(struct file_draft *file, const char *path, const char *text, size_t len,
               const struct file_owner *owner)
{
    file->draft[0] = '\0';
    int err = make_directory(path);
    if (!err)
        err = resolve(path, file->path);
    if (err)
        return err;
    int n = snprintf(file->draft, sizeof(file->draft), "%s.XXXXXX", file->path);
    int fd = n < (int)sizeof(file->draft) ? mkostemp(file->draft, O_CLOEXEC) : -1;
    if (fd == -1) {
        file->draft[0] = '\0';
        return n < (int)sizeof(file->draft) ? -errno : -ENAMETOOLONG;
    }
    err = fill(fd, file->path, text, len, owner);
    close(fd);
    if (err)
        file_discard(file);
    return err;
}

/* After a power cut it shall be there: the directory, too, goes to the disk. */
static void sync_directory(const char *path)
{
    char directory[PATH_MAX];
    int fd = directory_of(path, directory) == 0
                 ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                 : -1;

    if (fd == -1)
        return;
    fsync(fd);
    close(fd);
}

int file_publish(struct file_draft *file)
{
    if (rename(file->draft, file->path) == -1) {
        int err = -errno;
        file_discard(file);
        return err;
    }
    file->draft[0] = '\0';
    sync_directory(file->path);
    return 0;
}

void file_discard(struct file_draft *file)
{
    if (file->draft[0])
        unlink(file->draft);
    file->draft[0] = '\0';
}
