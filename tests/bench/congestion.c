/* Preloaded into the daemons that a bench measures: each MPTCP socket gets the congestion control
 * $BENCH_CONGESTION. A route's (netlab, pin_congestion) reaches only the first subflow; those that
 * join later get the namespace's, which the host may forbid to set. */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

int socket(int domain, int type, int protocol)
{
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    const char *name = getenv("BENCH_CONGESTION");
    int fd = real(domain, type, protocol);

    if (fd != -1 && name && protocol == IPPROTO_MPTCP)
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
    return fd;
}
