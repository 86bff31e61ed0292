#include "core/readiness.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int readiness_tell(void)
{
    char ready[48];
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (!path || !*path)
        return 0;
    size_t len = strlen(path);
    if (len >= sizeof(at.sun_path))
        return -ENAMETOOLONG;
    memcpy(at.sun_path, path, len);
    if (at.sun_path[0] == '@') /* an abstract address */
        at.sun_path[0] = '\0';
    snprintf(ready, sizeof(ready), "READY=1\nMAINPID=%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    socklen_t at_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t n = sendto(fd, ready, strlen(ready), MSG_NOSIGNAL, (struct sockaddr *)&at, at_len);
    int err = n == -1 ? -errno : 0;
    close(fd);
    return err;
}
