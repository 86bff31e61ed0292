#include "core/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/loop.h"

/* The kernel fills dump datagrams up to 32 KiB when the reader has room for them. */
#define RECEIVE_BYTES 32768
/* Room for a burst of events while the loop is busy elsewhere. */
#define WATCH_QUEUE_BYTES (1024 * 1024)

struct netlink {
    struct mnl_socket *socket;
    uint32_t sequence;
    struct event *event;
    mnl_cb_t on_message;
    netlink_lost *on_lost;
    void *arg;
    char buffer[RECEIVE_BYTES];
};

/* One request's answers: what has been learned so far. */
struct answer {
    mnl_cb_t on_message;
    void *arg;
    int error;
    bool complete;
};

int netlink_new(struct netlink **out, int protocol)
{
    struct netlink *nl = calloc(1, sizeof(*nl));
    int err;

    if (!nl)
        return -ENOMEM;
    nl->socket = mnl_socket_open2(protocol, SOCK_CLOEXEC);
    if (!nl->socket || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) == -1) {
        err = -errno;
        netlink_free(nl);
        return err;
    }
    *out = nl;
    return 0;
}

void netlink_free(struct netlink *nl)
{
    if (!nl)
        return;
    if (nl->event)
        event_free(nl->event);
    if (nl->socket)
        mnl_socket_close(nl->socket);
    free(nl);
}

uint32_t netlink_port(const struct netlink *nl)
{
    return mnl_socket_get_portid(nl->socket);
}

/* One datagram. Returns its length, 0 for one to skip, or -errno. */
static ssize_t receive(struct netlink *nl)
{
    struct sockaddr_nl from = {0};
    struct iovec iov = {.iov_base = nl->buffer, .iov_len = sizeof(nl->buffer)};
    struct msghdr msg = {
        .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    do {
        n = recvmsg(mnl_socket_get_fd(nl->socket), &msg, 0);
    } while (n == -1 && errno == EINTR);
    if (n == -1)
        return -errno;
    if (msg.msg_flags & MSG_TRUNC)
        return -EMSGSIZE;
    /* Another process may write to our port: only the kernel is believed. */
    return from.nl_pid == 0 ? n : 0;
}

/* libmnl takes a length beyond 2 GiB for a negative one, and so for good. */
static bool is_whole(const struct nlmsghdr *nlh, int left)
{
    return mnl_nlmsg_ok(nlh, left) && nlh->nlmsg_len <= (uint32_t)left;
}

static void note_error(struct answer *answer, int error)
{
    if (answer->error == 0)
        answer->error = error;
}

/* NLMSG_ERROR (zero: the acknowledgement) and NLMSG_DONE both begin with a status. */
static void note_end(struct answer *answer, const struct nlmsghdr *nlh)
{
    int status = 0;

    if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(status))
        memcpy(&status, mnl_nlmsg_get_payload(nlh), sizeof(status));
    if (status < 0)
        note_error(answer, status);
    answer->complete = true;
}

static void note_message(struct answer *answer, const struct nlmsghdr *nlh)
{
    if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
        note_error(answer, -EINTR);
    switch (nlh->nlmsg_type) {
    case NLMSG_NOOP:
        return;
    case NLMSG_ERROR:
    case NLMSG_DONE:
        note_end(answer, nlh);
        return;
    case NLMSG_OVERRUN:
        note_error(answer, -ENOBUFS);
        return;
    }
    if (answer->on_message && answer->error == 0 &&
        answer->on_message(nlh, answer->arg) == MNL_CB_ERROR)
        note_error(answer, errno ? -errno : -EIO);
}

int netlink_request(struct netlink *nl, struct nlmsghdr *request, mnl_cb_t on_message, void *arg)
{
    struct answer answer = {.on_message = on_message, .arg = arg};

    request->nlmsg_flags |= NLM_F_REQUEST;
    if ((request->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
        request->nlmsg_flags |= NLM_F_ACK;
    request->nlmsg_seq = ++nl->sequence;
    if (mnl_socket_sendto(nl->socket, request, request->nlmsg_len) == -1)
        return -errno;
    /* After a failure in the middle of a dump, too, the rest must be read away. */
    while (!answer.complete) {
        ssize_t n = receive(nl);
        if (n < 0)
            return (int)n;
        int left = (int)n;
        for (const struct nlmsghdr *nlh = (const void *)nl->buffer; is_whole(nlh, left);
             nlh = mnl_nlmsg_next(nlh, &left)) {
            if (nlh->nlmsg_seq == nl->sequence)
                note_message(&answer, nlh);
        }
    }
    return answer.error;
}

int netlink_join(struct netlink *nl, unsigned group)
{
    int value = (int)group;

    if (mnl_socket_setsockopt(nl->socket, NETLINK_ADD_MEMBERSHIP, &value, sizeof(value)) == -1)
        return -errno;
    return 0;
}

static void deliver(struct netlink *nl, size_t len)
{
    int left = (int)len;

    for (const struct nlmsghdr *nlh = (const void *)nl->buffer; is_whole(nlh, left);
         nlh = mnl_nlmsg_next(nlh, &left)) {
        if (nlh->nlmsg_type >= NLMSG_MIN_TYPE)
            nl->on_message(nlh, nl->arg);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct netlink *nl = arg;

    for (;;) {
        ssize_t n = receive(nl);
        if (n == -ENOBUFS || n == -EMSGSIZE) {
            if (nl->on_lost)
                nl->on_lost(nl->arg);
        } else if (n < 0) {
            return;
        } else {
            deliver(nl, (size_t)n);
        }
    }
}

int netlink_watch(struct netlink *nl, struct event_base *base, mnl_cb_t on_message,
                  netlink_lost *on_lost, void *arg)
{
    int fd = mnl_socket_get_fd(nl->socket);
    int size = WATCH_QUEUE_BYTES;

    /* Without the privilege the default size has to do. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == -1)
        return -errno;
    nl->on_message = on_message;
    nl->on_lost = on_lost;
    nl->arg = arg;
    nl->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, nl);
    if (!nl->event)
        return -ENOMEM;
    loop_goes_first(nl->event); /* the kernel's queue is short */
    return event_add(nl->event, NULL) == 0 ? 0 : -ENOMEM;
}

struct family {
    const char *group;
    uint16_t id;
    uint32_t group_id;
};

static void read_group(const struct nlattr *entry, struct family *family)
{
    const struct nlattr *attr;
    const char *name = NULL;
    uint32_t id = 0;

    mnl_attr_for_each_nested(attr, entry)
    {
        if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_NAME &&
            mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
            name = mnl_attr_get_str(attr);
        if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_ID &&
            mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
            id = mnl_attr_get_u32(attr);
    }
    if (family->group && name && strcmp(name, family->group) == 0)
        family->group_id = id;
}

static int on_family(const struct nlmsghdr *nlh, void *arg)
{
    struct family *family = arg;
    const struct nlattr *attr, *entry;

    mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
    {
        if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID &&
            mnl_attr_validate(attr, MNL_TYPE_U16) == 0)
            family->id = mnl_attr_get_u16(attr);
        if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GROUPS)
            mnl_attr_for_each_nested(entry, attr) read_group(entry, family);
    }
    return MNL_CB_OK;
}

int netlink_genl_family(struct netlink *nl, const char *family, uint16_t *id, const char *group,
                        uint32_t *group_id)
{
    char request[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(request);
    struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
    struct family found = {.group = group};

    nlh->nlmsg_type = GENL_ID_CTRL;
    genl->cmd = CTRL_CMD_GETFAMILY;
    genl->version = 1;
    if (!mnl_attr_put_strz_check(nlh, sizeof(request), CTRL_ATTR_FAMILY_NAME, family))
        return -EINVAL;
    int err = netlink_request(nl, nlh, on_family, &found);
    if (err)
        return err;
    if (found.id == 0 || (group && found.group_id == 0))
        return -ENOENT;
    *id = found.id;
    if (group)
        *group_id = found.group_id;
    return 0;
}
