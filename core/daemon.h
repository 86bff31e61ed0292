/* What both daemons do alike: signals on an event base, and the reasons to stop. */
#ifndef CORE_DAEMON_H
#define CORE_DAEMON_H

#include <event2/event.h>

struct daemon;

struct daemon_handlers {
    void (*reload)(void *arg); /* SIGHUP */
    void (*stop)(void *arg);   /* SIGTERM, SIGINT: the first time; a second ends the loop at once */
    void (*child)(void *arg);  /* SIGCHLD; may be NULL */
    void *arg;
};

/* Ignores SIGPIPE; and, after daemon_free(), SIGTERM and SIGINT: who is at his end anyway ends
 * well. NULL: out of memory. */
struct daemon *daemon_new(struct event_base *base, const struct daemon_handlers *handlers);
void daemon_free(struct daemon *daemon);

/* Gives back the code and constants, the libraries' too, that only starting or reading a
 * configuration has needed, a megabyte or so: what is used again comes back from its file. */
void daemon_trim(void);

#endif
