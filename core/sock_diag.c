#include "core/sock_diag.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

int sock_diag_reset(struct netlink *diag, const struct addr *local, const struct addr *remote,
                    uint32_t ifindex)
{
    char buffer[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct inet_diag_req_v2 *request = mnl_nlmsg_put_extra_header(nlh, sizeof(*request));

    nlh->nlmsg_type = SOCK_DESTROY;
    request->sdiag_family = local->family == 6 ? AF_INET6 : AF_INET;
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_states = UINT32_MAX;
    request->id.idiag_sport = htons(local->port);
    request->id.idiag_dport = htons(remote->port);
    memcpy(request->id.idiag_src, local->ip, addr_size(local));
    memcpy(request->id.idiag_dst, remote->ip, addr_size(remote));
    request->id.idiag_if = ifindex;
    request->id.idiag_cookie[0] = request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return netlink_request(diag, nlh, NULL, NULL);
}
