#include "core/path_manager.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "core/mptcp_uapi.h"
#include "core/netlink.h"

#define REQUEST_BYTES 512

struct path_manager {
    struct netlink *requests, *events;
    uint16_t family;
    path_manager_on_event *on_event;
    void *arg;
};

/* An address as a command names it. Zero where it says nothing. */
struct endpoint {
    const struct addr *addr;
    bool has_id, has_flags;
    uint8_t id;
    uint32_t flags, ifindex;
};

static struct nlmsghdr *begin(const struct path_manager *pm, char *buffer, uint8_t command)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));

    nlh->nlmsg_type = pm->family;
    genl->cmd = command;
    genl->version = UAPI_MPTCP_PM_VERSION;
    return nlh;
}

static void put_endpoint(struct nlmsghdr *nlh, uint16_t type, const struct endpoint *e)
{
    const struct addr *a = e->addr;
    struct nlattr *nest = mnl_attr_nest_start(nlh, type);

    mnl_attr_put_u16(nlh, UAPI_MPTCP_PM_ADDR_ATTR_FAMILY, a->family == 6 ? AF_INET6 : AF_INET);
    mnl_attr_put(nlh,
                 a->family == 6 ? UAPI_MPTCP_PM_ADDR_ATTR_ADDR6 : UAPI_MPTCP_PM_ADDR_ATTR_ADDR4,
                 addr_size(a), a->ip);
    if (a->port)
        mnl_attr_put_u16(nlh, UAPI_MPTCP_PM_ADDR_ATTR_PORT, a->port);
    if (e->has_id)
        mnl_attr_put_u8(nlh, UAPI_MPTCP_PM_ADDR_ATTR_ID, e->id);
    if (e->has_flags)
        mnl_attr_put_u32(nlh, UAPI_MPTCP_PM_ADDR_ATTR_FLAGS, e->flags);
    if (e->ifindex)
        mnl_attr_put_u32(nlh, UAPI_MPTCP_PM_ADDR_ATTR_IF_IDX, e->ifindex);
    mnl_attr_nest_end(nlh, nest);
}

static int send_pair(struct path_manager *pm, uint8_t command, uint32_t token,
                     const struct endpoint *local, const struct addr *remote)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = begin(pm, buffer, command);
    struct endpoint there = {.addr = remote};

    mnl_attr_put_u32(nlh, UAPI_MPTCP_PM_ATTR_TOKEN, token);
    put_endpoint(nlh, UAPI_MPTCP_PM_ATTR_ADDR, local);
    put_endpoint(nlh, UAPI_MPTCP_PM_ATTR_ADDR_REMOTE, &there);
    return netlink_request(pm->requests, nlh, NULL, NULL);
}

int path_manager_create(struct path_manager *pm, uint32_t token, uint8_t local_id,
                        const struct addr *local, uint32_t ifindex, bool backup,
                        const struct addr *remote)
{
    struct endpoint e = {.addr = local,
                         .has_id = true,
                         .id = local_id,
                         .has_flags = true,
                         .flags = UAPI_MPTCP_PM_ADDR_FLAG_SUBFLOW,
                         .ifindex = ifindex};

    if (backup)
        e.flags |= UAPI_MPTCP_PM_ADDR_FLAG_BACKUP;
    return send_pair(pm, UAPI_MPTCP_PM_CMD_SUBFLOW_CREATE, token, &e, remote);
}

int path_manager_destroy(struct path_manager *pm, uint32_t token, const struct addr *local,
                         const struct addr *remote)
{
    struct endpoint e = {.addr = local};

    return send_pair(pm, UAPI_MPTCP_PM_CMD_SUBFLOW_DESTROY, token, &e, remote);
}

int path_manager_set_backup(struct path_manager *pm, uint32_t token, const struct addr *local,
                            const struct addr *remote, bool backup)
{
    struct endpoint e = {
        .addr = local, .has_flags = true, .flags = backup ? UAPI_MPTCP_PM_ADDR_FLAG_BACKUP : 0};

    return send_pair(pm, UAPI_MPTCP_PM_CMD_SET_FLAGS, token, &e, remote);
}

int path_manager_remove(struct path_manager *pm, uint32_t token, uint8_t local_id)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = begin(pm, buffer, UAPI_MPTCP_PM_CMD_REMOVE);

    mnl_attr_put_u32(nlh, UAPI_MPTCP_PM_ATTR_TOKEN, token);
    mnl_attr_put_u8(nlh, UAPI_MPTCP_PM_ATTR_LOC_ID, local_id);
    return netlink_request(pm->requests, nlh, NULL, NULL);
}

static int on_limits(const struct nlmsghdr *nlh, void *arg)
{
    struct path_limits *limits = arg;
    const struct nlattr *attr;

    mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
    {
        if (mnl_attr_validate(attr, MNL_TYPE_U32) == -1)
            continue;
        if (mnl_attr_get_type(attr) == UAPI_MPTCP_PM_ATTR_SUBFLOWS)
            limits->subflows = mnl_attr_get_u32(attr);
        if (mnl_attr_get_type(attr) == UAPI_MPTCP_PM_ATTR_RCV_ADD_ADDRS)
            limits->add_addr_accepted = mnl_attr_get_u32(attr);
    }
    return MNL_CB_OK;
}

int path_manager_get_limits(struct path_manager *pm, struct path_limits *limits)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = begin(pm, buffer, UAPI_MPTCP_PM_CMD_GET_LIMITS);

    memset(limits, 0, sizeof(*limits));
    return netlink_request(pm->requests, nlh, on_limits, limits);
}

int path_manager_set_limits(struct path_manager *pm, const struct path_limits *limits)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = begin(pm, buffer, UAPI_MPTCP_PM_CMD_SET_LIMITS);

    mnl_attr_put_u32(nlh, UAPI_MPTCP_PM_ATTR_SUBFLOWS, limits->subflows);
    mnl_attr_put_u32(nlh, UAPI_MPTCP_PM_ATTR_RCV_ADD_ADDRS, limits->add_addr_accepted);
    return netlink_request(pm->requests, nlh, NULL, NULL);
}

static uint32_t value_of(const struct nlattr *attr)
{
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;

    switch (attr ? mnl_attr_get_payload_len(attr) : 0) {
    case sizeof(u8):
        return mnl_attr_get_u8(attr);
    case sizeof(u16):
        memcpy(&u16, mnl_attr_get_payload(attr), sizeof(u16));
        return u16;
    case sizeof(u32):
        memcpy(&u32, mnl_attr_get_payload(attr), sizeof(u32));
        return u32;
    default:
        return 0;
    }
}

/* Either attribute may be there; the kernel may give an IPv4 address in its IPv6 form. */
static void read_addr(struct addr *out, const struct nlattr *v4, const struct nlattr *v6,
                      const struct nlattr *port)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

    if (v6 && mnl_attr_get_payload_len(v6) == sizeof(in6->sin6_addr)) {
        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_addr, mnl_attr_get_payload(v6), sizeof(in6->sin6_addr));
    } else if (v4 && mnl_attr_get_payload_len(v4) == sizeof(in->sin_addr)) {
        in->sin_family = AF_INET;
        memcpy(&in->sin_addr, mnl_attr_get_payload(v4), sizeof(in->sin_addr));
    } else {
        return;
    }
    addr_from_sockaddr(out, (const struct sockaddr *)&ss);
    out->port = ntohs((uint16_t)value_of(port));
}

static int on_event_message(const struct nlmsghdr *nlh, void *arg)
{
    struct path_manager *pm = arg;
    const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *at[UAPI_MPTCP_ATTR_COUNT] = {0};
    const struct nlattr *attr;
    struct path_event event = {0};

    if (nlh->nlmsg_type != pm->family || mnl_nlmsg_get_payload_len(nlh) < sizeof(*genl))
        return MNL_CB_OK;
    mnl_attr_for_each(attr, nlh, sizeof(*genl))
    {
        if (mnl_attr_get_type(attr) < UAPI_MPTCP_ATTR_COUNT)
            at[mnl_attr_get_type(attr)] = attr;
    }
    event.type = (enum path_event_type)genl->cmd;
    event.token = value_of(at[UAPI_MPTCP_ATTR_TOKEN]);
    event.local_id = (uint8_t)value_of(at[UAPI_MPTCP_ATTR_LOC_ID]);
    event.remote_id = (uint8_t)value_of(at[UAPI_MPTCP_ATTR_REM_ID]);
    event.ifindex = value_of(at[UAPI_MPTCP_ATTR_IF_IDX]);
    event.error = (uint8_t)value_of(at[UAPI_MPTCP_ATTR_ERROR]);
    event.backup = value_of(at[UAPI_MPTCP_ATTR_BACKUP]) != 0;
    read_addr(&event.local, at[UAPI_MPTCP_ATTR_SADDR4], at[UAPI_MPTCP_ATTR_SADDR6],
              at[UAPI_MPTCP_ATTR_SPORT]);
    read_addr(&event.remote, at[UAPI_MPTCP_ATTR_DADDR4], at[UAPI_MPTCP_ATTR_DADDR6],
              at[UAPI_MPTCP_ATTR_DPORT]);
    pm->on_event(pm->arg, &event);
    return MNL_CB_OK;
}

static void on_lost(void *arg)
{
    struct path_manager *pm = arg;
    struct path_event event = {.type = PATH_EVENT_LOST};

    pm->on_event(pm->arg, &event);
}

static int subscribe(struct path_manager *pm, struct event_base *base, uint32_t group)
{
    int err = netlink_new(&pm->events, NETLINK_GENERIC);

    if (!err)
        err = netlink_join(pm->events, group);
    if (!err)
        err = netlink_watch(pm->events, base, on_event_message, on_lost, pm);
    return err;
}

int path_manager_new(struct path_manager **out, struct event_base *base,
                     path_manager_on_event *on_event, void *arg)
{
    struct path_manager *pm = calloc(1, sizeof(*pm));
    uint32_t group = 0;

    if (!pm)
        return -ENOMEM;
    pm->on_event = on_event;
    pm->arg = arg;
    int err = netlink_new(&pm->requests, NETLINK_GENERIC);
    if (!err)
        err = netlink_genl_family(pm->requests, UAPI_MPTCP_PM_NAME, &pm->family,
                                  UAPI_MPTCP_PM_EVENTS, &group);
    if (!err && on_event)
        err = subscribe(pm, base, group);
    if (err) {
        path_manager_free(pm);
        return err;
    }
    *out = pm;
    return 0;
}

void path_manager_free(struct path_manager *pm)
{
    if (!pm)
        return;
    netlink_free(pm->events);
    netlink_free(pm->requests);
    free(pm);
}
