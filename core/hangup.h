/* Tells that a connection was reset while nobody reads from it: backpressure and half-close leave
 * sockets out of the event loop, which would then not hear of a reset until much later. (libevent
 * cannot watch for EPOLLERR alone; a nested epoll set can, and costs nothing while nothing
 * happens.) */
#ifndef CORE_HANGUP_H
#define CORE_HANGUP_H

#include <event2/event.h>

struct hangup_watch;

/* One socket's entry; owned by its relay, by value. */
struct hangup {
    /* The connection ended both ways, or failed: not necessarily an error. It may be called again
     * when more happens. It may remove any socket. */
    void (*on_hangup)(struct hangup *hangup);
};

struct hangup_watch *hangup_watch_new(struct event_base *base); /* NULL: out of resources */
void hangup_watch_free(struct hangup_watch *watch);
/* Watches fd until it is removed: before it is closed, since a process that has just been forked
 * may hold it open. Returns 0, or -errno. */
int hangup_add(struct hangup_watch *watch, int fd, struct hangup *hangup);
void hangup_remove(struct hangup_watch *watch, int fd);

#endif
