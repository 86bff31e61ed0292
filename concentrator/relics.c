#include "concentrator/relics.h"

#include <netinet/tcp.h>

#include "core/log.h"
#include "core/sock_diag.h"

#define SUBFLOWS_MAX 16

static bool is_unheard(const struct mptcp_subflow *s)
{
    return s->tcp_state == TCP_ESTABLISHED && s->unacked > 0 && s->timeouts >= RELICS_TIMEOUTS &&
           s->unheard_ms >= RELICS_UNHEARD_MS;
}

static bool is_well(const struct mptcp_subflow *s)
{
    return s->tcp_state == TCP_ESTABLISHED && s->timeouts == 0;
}

int relics_find(const struct mptcp_subflow *subflows, size_t n)
{
    bool one_is_well = false;

    for (size_t i = 0; i < n; i++)
        one_is_well = one_is_well || is_well(&subflows[i]);
    for (size_t i = 0; one_is_well && i < n; i++) {
        if (is_unheard(&subflows[i]))
            return (int)i;
    }
    return -1;
}

void relics_clear(struct netlink *diag, int fd)
{
    struct mptcp_subflow subflows[SUBFLOWS_MAX];
    int n = mptcp_subflows(fd, subflows, SUBFLOWS_MAX);
    int relic = n > 1 ? relics_find(subflows, (size_t)n) : -1;
    char at[ADDR_TEXT];

    while (relic >= 0) {
        struct mptcp_subflow *s = &subflows[relic];
        int err = sock_diag_reset(diag, &s->local, &s->remote, 0);
        log_debug("relics", "%s its other end is gone unheard_ms=%u error=%d",
                  addr_format(&s->remote, at), s->unheard_ms, -err);
        *s = subflows[--n];
        relic = relics_find(subflows, (size_t)n);
    }
}
