#include "core/loop.h"

#include <limits.h>

enum { FIRST, OTHERS, PRIORITIES }; /* libevent's default is the middle one: OTHERS */

#define ROUND_US 10000

struct event_base *loop_new(void)
{
    static const struct timeval round = {.tv_usec = ROUND_US};
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config && event_config_set_max_dispatch_interval(config, &round, INT_MAX, OTHERS) == 0)
        base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    if (base && event_base_priority_init(base, PRIORITIES) == -1) {
        event_base_free(base);
        return NULL;
    }
    return base;
}

void loop_goes_first(struct event *event)
{
    event_priority_set(event, FIRST);
}
