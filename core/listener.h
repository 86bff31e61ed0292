/* A listening socket on an event base that survives running out of descriptors: on
 * EMFILE/ENFILE/ENOMEM it pauses instead of spinning, as libevent's own listener does: 100 ms, and
 * up to 800 ms where it lasts. */
#ifndef CORE_LISTENER_H
#define CORE_LISTENER_H

#include <event2/event.h>

#include "core/addr.h"

struct listener;

/* fd is non-blocking, close-on-exec, and the callback's to keep. */
typedef void listener_accepted(void *arg, int fd, const struct addr *peer);

enum listener_kind {
    LISTENER_PLAIN,       /* TCP */
    LISTENER_TRANSPARENT, /* the same with IP_TRANSPARENT: TPROXY's target */
    LISTENER_MPTCP,       /* MPTCP where the kernel has it, else TCP; SO_REUSEPORT */
};

/* Binds and listens; IPv6 listeners are V6ONLY. Returns 0, or -errno. */
int listener_new(struct listener **out, struct event_base *base, enum listener_kind kind,
                 const struct addr *at, listener_accepted *accepted, void *arg);
/* One that listens already, made by another process. Takes fd on success. Returns 0, or -errno. */
int listener_adopt(struct listener **out, struct event_base *base, int fd,
                   listener_accepted *accepted, void *arg);
/* Its descriptor stays its own. */
int listener_fd(const struct listener *listener);
/* Who comes in between waits in the kernel's queue. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);
void listener_free(struct listener *listener); /* NULL is fine */

#endif
