#include "core/hangup.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct hangup_watch {
    int epoll;
    struct event *readable;
};

/* One at a time: a callback may close other sockets, whose events must not be in hand already.
 * EPOLLET tells each once. */
static void on_readable(evutil_socket_t epoll, short what, void *arg)
{
    struct epoll_event event;

    while (epoll_wait(epoll, &event, 1, 0) == 1) {
        struct hangup *hangup = event.data.ptr;
        hangup->on_hangup(hangup);
    }
}

struct hangup_watch *hangup_watch_new(struct event_base *base)
{
    struct hangup_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return NULL;
    watch->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (watch->epoll != -1)
        watch->readable = event_new(base, watch->epoll, EV_READ | EV_PERSIST, on_readable, watch);
    if (!watch->readable || event_add(watch->readable, NULL) == -1) {
        hangup_watch_free(watch);
        return NULL;
    }
    return watch;
}

void hangup_watch_free(struct hangup_watch *watch)
{
    if (!watch)
        return;
    if (watch->readable)
        event_free(watch->readable);
    if (watch->epoll != -1)
        close(watch->epoll);
    free(watch);
}

int hangup_add(struct hangup_watch *watch, int fd, struct hangup *hangup)
{
    /* EPOLLERR and EPOLLHUP are always reported (epoll_ctl(2)). */
    struct epoll_event event = {.events = EPOLLET, .data.ptr = hangup};

    return epoll_ctl(watch->epoll, EPOLL_CTL_ADD, fd, &event) == -1 ? -errno : 0;
}

void hangup_remove(struct hangup_watch *watch, int fd)
{
    epoll_ctl(watch->epoll, EPOLL_CTL_DEL, fd, NULL);
}
