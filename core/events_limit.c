#include "core/events_limit.h"

uint64_t events_limit_opens_ms(const struct events_limit *limit)
{
    if (limit->passed < EVENTS_BURST)
        return 0;
    return limit->passed_ms[limit->passed % EVENTS_BURST] + EVENTS_WINDOW_MS;
}

uint64_t events_limit_last_ms(const struct events_limit *limit)
{
    return limit->passed ? limit->passed_ms[(limit->passed - 1) % EVENTS_BURST] : 0;
}

bool events_limit_pass(struct events_limit *limit, uint64_t now_ms, uint32_t *held)
{
    *held = 0;
    if (now_ms < events_limit_opens_ms(limit)) {
        limit->held++;
        return false;
    }
    limit->passed_ms[limit->passed++ % EVENTS_BURST] = now_ms;
    *held = limit->held;
    limit->held = 0;
    return true;
}
