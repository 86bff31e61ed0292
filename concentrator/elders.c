#include "concentrator/elders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "concentrator/handover.h"
#include "core/list.h"
#include "core/log.h"

struct elders {
    struct event_base *base;
    struct list all;
};

struct elder {
    struct list node;
    struct elders *elders;
    int fd;
    struct event *readable;
};

static void forget(struct elder *e)
{
    list_remove(&e->node);
    if (e->readable)
        event_free(e->readable);
    close(e->fd);
    free(e);
}

/* It names one of its own elders, or has ended. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct elder *e = arg;
    struct elders *elders = e->elders;
    int further, err = handover_meet_elder(fd, &further);

    if (err == 1)
        elders_add(elders, further);
    else if (err < 0)
        forget(e);
}

struct elders *elders_new(struct event_base *base)
{
    struct elders *elders = calloc(1, sizeof(*elders));

    if (!elders)
        return NULL;
    elders->base = base;
    list_init(&elders->all);
    return elders;
}

void elders_free(struct elders *elders)
{
    if (!elders)
        return;
    list_each(it, &elders->all) forget(list_entry(it, struct elder, node));
    free(elders);
}

void elders_add(struct elders *elders, int fd)
{
    struct elder *e = calloc(1, sizeof(*e));

    if (!e) {
        close(fd); /* which it notices, and says */
        return;
    }
    e->elders = elders;
    e->fd = fd;
    list_append(&elders->all, &e->node);
    e->readable = event_new(elders->base, fd, EV_READ | EV_PERSIST, on_readable, e);
    if (!e->readable || event_add(e->readable, NULL) == -1)
        forget(e);
    else
        handover_tell_reload(fd);
}

void elders_tell(struct elders *elders)
{
    list_each(it, &elders->all) handover_tell_reload(list_entry(it, struct elder, node)->fd);
}

void elders_bequeath(struct elders *elders, int heir_fd)
{
    list_each(it, &elders->all)
    {
        struct elder *e = list_entry(it, struct elder, node);
        int err = handover_name_elder(heir_fd, e->fd);
        if (err < 0)
            log_warning("handover", "cannot name a process before this one to the next: %s",
                        strerror(-err));
        forget(e);
    }
}
