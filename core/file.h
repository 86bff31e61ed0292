/* Files written whole or not at all: beside the old one first, and then in its place. */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct file_draft {
    char path[PATH_MAX];  /* what it will replace, symbolic links followed */
    char draft[PATH_MAX]; /* where it stands until then; "" when there is none */
};

/* A file that is there keeps its mode and owner; a new one gets these. */
struct file_owner {
    mode_t mode;
    bool secret; /* one that is there keeps of its mode only what this allows */
    uid_t uid;   /* (uid_t)-1, (gid_t)-1: whoever we are */
    gid_t gid;
};

/* Makes the directory, too, if only that is missing (mode 0755). Returns 0, or -errno. */
int file_draft(struct file_draft *file, const char *path, const char *text, size_t len,
               const struct file_owner *owner);
/* Returns 0, or -errno and then the draft is gone. */
int file_publish(struct file_draft *file);
void file_discard(struct file_draft *file); /* nothing is left of it; idempotent */

#endif
