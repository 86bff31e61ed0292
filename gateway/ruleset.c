#include "gateway/ruleset.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/netlink.h"
#include "gateway/intercept.h"

struct ruleset {
    struct netlink *watch;
    bool removed; /* in the transaction that is being told */
    ruleset_lost *lost;
    void *arg;
};

static bool is_ours(const struct nlmsghdr *message)
{
    const struct nfgenmsg *family = mnl_nlmsg_get_payload(message);
    struct nlattr *attribute;

    if (family->nfgen_family != NFPROTO_INET)
        return false;
    mnl_attr_for_each(attribute, message, sizeof(*family))
    {
        if (mnl_attr_get_type(attribute) == NFTA_TABLE_NAME)
            return mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0 &&
                   strcmp(mnl_attr_get_str(attribute), INTERCEPT_TABLE_NAME) == 0;
    }
    return false;
}

/* A transaction ends with a new generation. One that replaces the table removes it, too. */
static int on_message(const struct nlmsghdr *message, void *arg)
{
    struct ruleset *r = arg;

    if (NFNL_SUBSYS_ID(message->nlmsg_type) != NFNL_SUBSYS_NFTABLES ||
        mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
        return MNL_CB_OK;
    switch (NFNL_MSG_TYPE(message->nlmsg_type)) {
    case NFT_MSG_DELTABLE:
        r->removed = r->removed || is_ours(message);
        break;
    case NFT_MSG_NEWTABLE:
        r->removed = r->removed && !is_ours(message);
        break;
    case NFT_MSG_NEWGEN:
        if (r->removed)
            r->lost(r->arg);
        r->removed = false;
        break;
    }
    return MNL_CB_OK;
}

static void on_dropped(void *arg)
{
    struct ruleset *r = arg;

    r->removed = false;
    r->lost(r->arg);
}

int ruleset_new(struct ruleset **out, struct event_base *base, ruleset_lost *lost, void *arg)
{
    struct ruleset *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->lost = lost;
    r->arg = arg;
    int err = netlink_new(&r->watch, NETLINK_NETFILTER);
    if (!err)
        err = netlink_join(r->watch, NFNLGRP_NFTABLES);
    if (!err)
        err = netlink_watch(r->watch, base, on_message, on_dropped, r);
    if (err) {
        ruleset_free(r);
        return err;
    }
    *out = r;
    return 0;
}

void ruleset_free(struct ruleset *r)
{
    if (!r)
        return;
    netlink_free(r->watch);
    free(r);
}
