#include "core/sock_diag.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

/* Of linux/mptcp.h, which older headers lack (Linux 5.7). */
#define SUBFLOW_FLAGS 8 /* an attribute */
#define FULLY_ESTABLISHED (1 << 6)

static struct nlmsghdr *put_request(char *buffer, uint16_t type, const struct addr *local,
                                    const struct addr *remote, uint32_t ifindex)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct inet_diag_req_v2 *request = mnl_nlmsg_put_extra_header(nlh, sizeof(*request));

    nlh->nlmsg_type = type;
    request->sdiag_family = local->family == 6 ? AF_INET6 : AF_INET;
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_ext = 1 << (INET_DIAG_INFO - 1); /* with it comes what is asked for here */
    request->idiag_states = UINT32_MAX;
    request->id.idiag_sport = htons(local->port);
    request->id.idiag_dport = htons(remote->port);
    memcpy(request->id.idiag_src, local->ip, addr_size(local));
    memcpy(request->id.idiag_dst, remote->ip, addr_size(remote));
    request->id.idiag_if = ifindex;
    request->id.idiag_cookie[0] = request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return nlh;
}

int sock_diag_reset(struct netlink *diag, const struct addr *local, const struct addr *remote,
                    uint32_t ifindex)
{
    char buffer[256] __attribute__((aligned(NLMSG_ALIGNTO)));

    return netlink_request(diag, put_request(buffer, SOCK_DESTROY, local, remote, ifindex), NULL,
                           NULL);
}

/* The attribute of that type, or NULL. */
static const struct nlattr *find(const struct nlattr *in, uint16_t type)
{
    const struct nlattr *attr;

    mnl_attr_for_each_nested(attr, in)
    {
        if (mnl_attr_get_type(attr) == type)
            return attr;
    }
    return NULL;
}

static uint32_t flags_in(const struct nlattr *ulp)
{
    const struct nlattr *mptcp = find(ulp, INET_ULP_INFO_MPTCP);
    const struct nlattr *flags = mptcp ? find(mptcp, SUBFLOW_FLAGS) : NULL;

    return flags && mnl_attr_validate(flags, MNL_TYPE_U32) == 0 ? mnl_attr_get_u32(flags) : 0;
}

static int read_flags(const struct nlmsghdr *nlh, void *arg)
{
    uint32_t *flags = arg;
    const struct nlattr *attr;

    mnl_attr_for_each(attr, nlh, sizeof(struct inet_diag_msg))
    {
        if (mnl_attr_get_type(attr) == INET_DIAG_ULP_INFO)
            *flags = flags_in(attr);
    }
    return MNL_CB_OK;
}

int sock_diag_is_taken_in(struct netlink *diag, const struct addr *local, const struct addr *remote,
                          uint32_t ifindex)
{
    char buffer[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    uint32_t flags = 0;
    int err = netlink_request(
        diag, put_request(buffer, SOCK_DIAG_BY_FAMILY, local, remote, ifindex), read_flags, &flags);

    return err ? err : (flags & FULLY_ESTABLISHED) != 0;
}
