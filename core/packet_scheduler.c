#include "core/packet_scheduler.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/sysctl.h"

static bool is_among(const char *name, const char *words)
{
    size_t len = strlen(name);

    for (const char *word = words; *word; word += strspn(word, " ")) {
        size_t n = strcspn(word, " ");
        if (n == len && memcmp(word, name, n) == 0)
            return true;
        word += n;
    }
    return false;
}

int packet_scheduler_find(const char *name, char *why, size_t why_len)
{
    char offered[256];
    int err = sysctl_read("net/mptcp/available_schedulers", offered, sizeof(offered));

    if (!err && is_among(name, offered))
        return 0;
    if (!err)
        snprintf(why, why_len,
                 "this kernel has no packet_scheduler \"%s\"; write one that it has: %s", name,
                 offered);
    else if (err == -ENOENT) /* before Linux 6.6 */
        snprintf(why, why_len, "this kernel leaves no choice of packet_scheduler; remove the key");
    else
        snprintf(why, why_len, "cannot read net.mptcp.available_schedulers: %s", strerror(-err));
    return err ? err : -ENOENT;
}
