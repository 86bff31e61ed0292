#include "core/timers.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>

/* The array grows twofold, too. */
#define ROOM_FIRST 64

static void never(evutil_socket_t fd, short what, void *arg)
{
}

/* That many run for a moment. Returns 0, or -ENOMEM. */
static int run_at_once(struct event_base *base, struct event *fillers, size_t n)
{
    static const struct timeval long_time = {.tv_sec = 3600};
    size_t running = 0;

    while (running < n) {
        evtimer_assign(&fillers[running], base, never, NULL);
        if (event_add(&fillers[running], &long_time) == -1)
            break;
        running++;
    }
    for (size_t i = 0; i < running; i++)
        event_del(&fillers[i]);
    return running == n ? 0 : -ENOMEM;
}

int timers_reserve(struct timers *timers, size_t n)
{
    size_t room = timers->room ? timers->room : ROOM_FIRST;

    if (n <= timers->room)
        return 0;
    while (room < n)
        room *= 2;
    struct event *fillers = calloc(room, sizeof(*fillers));
    int err = fillers ? run_at_once(timers->base, fillers, room) : -ENOMEM;
    free(fillers);
    if (err == 0)
        timers->room = room;
    return err;
}
