#include "core/daemon.h"

#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/log.h"
#include "core/loop.h"

enum { STOP_TERM, STOP_INT, RELOAD, CHILD, SIGNALS };

struct daemon {
    struct event_base *base;
    struct daemon_handlers handlers;
    struct event *events[SIGNALS];
    int stops;
};

static void on_stop(evutil_socket_t signal, short what, void *arg)
{
    struct daemon *d = arg;

    if (d->stops++ == 0) {
        d->handlers.stop(d->handlers.arg);
        return;
    }
    log_warning("daemon", "stopping at once: second signal");
    event_base_loopbreak(d->base);
}

static void on_reload(evutil_socket_t signal, short what, void *arg)
{
    struct daemon *d = arg;

    d->handlers.reload(d->handlers.arg);
}

static void on_child(evutil_socket_t signal, short what, void *arg)
{
    struct daemon *d = arg;

    if (d->handlers.child)
        d->handlers.child(d->handlers.arg);
}

struct daemon *daemon_new(struct event_base *base, const struct daemon_handlers *handlers)
{
    static const struct {
        int signal;
        event_callback_fn on;
    } table[SIGNALS] = {
        [STOP_TERM] = {SIGTERM, on_stop},
        [STOP_INT] = {SIGINT, on_stop},
        [RELOAD] = {SIGHUP, on_reload},
        [CHILD] = {SIGCHLD, on_child},
    };
    struct daemon *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->base = base;
    d->handlers = *handlers;
    signal(SIGPIPE, SIG_IGN);
    /* libevent puts this back: once all is over, an impatient signal changes nothing any more. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    for (int i = 0; i < SIGNALS; i++) {
        d->events[i] = evsignal_new(base, table[i].signal, table[i].on, d);
        if (d->events[i])
            loop_goes_first(d->events[i]);
        if (!d->events[i] || event_add(d->events[i], NULL) == -1) {
            daemon_free(d);
            return NULL;
        }
    }
    return d;
}

void daemon_free(struct daemon *d)
{
    if (!d)
        return;
    for (int i = 0; i < SIGNALS; i++) {
        if (d->events[i])
            event_free(d->events[i]);
    }
    free(d);
}

/* Parts that nobody may write are as the file has them. */
static int give_back(struct dl_phdr_info *object, size_t size, void *arg)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t begin = object->dlpi_addr + part->p_vaddr, end = begin + part->p_memsz;
        if (part->p_type == PT_LOAD && !(part->p_flags & PF_W))
            madvise((void *)(begin & ~(page - 1)), end - (begin & ~(page - 1)), MADV_DONTNEED);
    }
    return 0;
}

void daemon_trim(void)
{
    dl_iterate_phdr(give_back, NULL);
}
