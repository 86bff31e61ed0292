/* What both sides of the control socket share: control.c serves, control_client.c asks. */
#ifndef CORE_CONTROL_INTERNAL_H
#define CORE_CONTROL_INTERNAL_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define REQUEST_MAX 256 /* with its newline */

static inline struct timeval control_in_ms(unsigned ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

/* Returns 0, or -ENAMETOOLONG. */
static inline int control_address(struct sockaddr_un *un, const char *path)
{
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(un->sun_path))
        return -ENAMETOOLONG;
    strcpy(un->sun_path, path);
    return 0;
}

#endif
