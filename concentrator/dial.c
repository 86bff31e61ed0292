#include "concentrator/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/mptcp.h"

struct dial {
    struct event *event; /* becomes writable, or its time is over */
    int fd;
    int error; /* of a connect() that failed at once */
    dial_done *done;
    void *arg;
};

enum opened dial_code(int error)
{
    switch (error) {
    case 0:
        return OPENED_CONNECTED;
    case ECONNREFUSED:
        return OPENED_REFUSED;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EAFNOSUPPORT: /* a kernel without IPv6 */
        return OPENED_UNREACHABLE;
    case ETIMEDOUT:
        return OPENED_TIMED_OUT;
    case EMFILE: /* of ours, not of the destination: another concentrator may have what it takes */
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EADDRNOTAVAIL:
        return OPENED_BUSY;
    default:
        return OPENED_FAILED;
    }
}

static int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1 ? errno : error;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct dial *d = arg;
    int error = d->error;

    if (error == 0)
        error = what & EV_WRITE ? socket_error(d->fd) : ETIMEDOUT;
    int connected = -1;
    if (error == 0) {
        connected = d->fd;
        d->fd = -1;
    }
    d->done(d->arg, dial_code(error), connected);
}

/* Returns 0 once connect() is under way, or -errno. */
static int begin(struct dial *d, const struct addr *to)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(to, &ss);

    d->fd = mptcp_tcp_socket(to->family);
    if (d->fd < 0)
        return d->fd;
    if (connect(d->fd, (struct sockaddr *)&ss, len) == -1 && errno != EINPROGRESS)
        return -errno;
    return 0;
}

struct dial *dial_new(struct event_base *base, const struct addr *to, uint32_t timeout_ms,
                      dial_done *done, void *arg)
{
    struct timeval limit = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
    struct dial *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->done = done;
    d->arg = arg;
    d->error = -begin(d, to);
    d->event = event_new(base, d->error ? -1 : d->fd, EV_WRITE, on_event, d);
    if (!d->event || event_add(d->event, &limit) == -1) {
        dial_free(d);
        return NULL;
    }
    if (d->error)
        event_active(d->event, EV_TIMEOUT, 0);
    return d;
}

void dial_free(struct dial *d)
{
    if (!d)
        return;
    if (d->event)
        event_free(d->event);
    if (d->fd >= 0)
        close(d->fd);
    free(d);
}
