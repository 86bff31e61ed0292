#include "concentrator/own_addresses.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>

static size_t count(const struct ifaddrs *all)
{
    size_t n = 0;

    for (; all; all = all->ifa_next)
        n++;
    return n;
}

int own_addresses_renew(struct own_addresses *own, uint64_t now_ms)
{
    struct ifaddrs *all;

    if (own->list && now_ms - own->read_ms < OWN_ADDRESSES_RENEW_MS)
        return 0;
    if (getifaddrs(&all) == -1)
        return -errno;
    struct addr *list = calloc(count(all) + 1, sizeof(list[0]));
    if (!list) {
        freeifaddrs(all);
        return -ENOMEM;
    }
    free(own->list);
    *own = (struct own_addresses){.list = list, .read_ms = now_ms};
    for (const struct ifaddrs *it = all; it; it = it->ifa_next) {
        if (it->ifa_addr && addr_from_sockaddr(&list[own->n], it->ifa_addr) == 0)
            own->n++;
    }
    freeifaddrs(all);
    return 0;
}

void own_addresses_clear(struct own_addresses *own)
{
    free(own->list);
    *own = (struct own_addresses){0};
}
