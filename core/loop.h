/* An event loop in which a thousand busy flows do not keep anything else waiting. libevent carries
 * out all that is ready before it looks again, in no order: with so many flows that is a second
 * and more on a small machine, in which no probe is answered, an uplink that has died stays in use,
 * and nobody is told the status. Here what goes first is looked for again each 10 ms, and carried
 * out before what is left of the others.
 *
 * What goes first must be little, and come from where no stranger can make it much: while there is
 * any of it, the others wait. */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <event2/event.h>

/* Owned by the caller, for event_base_free(). NULL: out of memory, or of descriptors. */
struct event_base *loop_new(void);

/* Before the event is added. In a loop of another kind it changes nothing. */
void loop_goes_first(struct event *event);

#endif
