/* Room for the timers of an event base. libevent (2.1) keeps those that run in an array that it
 * makes larger when there is no room for one more, and never smaller; for want of memory for that,
 * and of nothing else, event_add() of a timer fails. A daemon whose timer does not run would wait
 * for ever. So room is made beforehand, by whoever takes on what will need it, and can still be
 * turned away then; and what event_add() of a timer returns tells nothing. */
#ifndef CORE_TIMERS_H
#define CORE_TIMERS_H

#include <event2/event.h>
#include <stddef.h>

struct timers {
    struct event_base *base;
    size_t room; /* at first 0 */
};

/* Room for n timers that run at once. Cheap when there is. Returns 0, or -ENOMEM: as before. */
int timers_reserve(struct timers *timers, size_t n);

#endif
