#include "gateway/tally.h"

#include <netinet/in.h> /* before what includes linux/in.h */

#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/netlink.h"
#include "gateway/intercept.h"

struct count {
    uint64_t before; /* of tables that are gone */
    uint64_t now;    /* of this one */
};

struct tally {
    struct netlink *netlink;
    struct count direct, refused;
};

int tally_new(struct tally **out)
{
    struct tally *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    int err = netlink_new(&t->netlink, NETLINK_NETFILTER);
    if (err) {
        tally_free(t);
        return err;
    }
    *out = t;
    return 0;
}

void tally_free(struct tally *t)
{
    if (!t)
        return;
    netlink_free(t->netlink);
    free(t);
}

static const struct nlattr *find(const struct nlattr *nest, uint16_t type)
{
    struct nlattr *attribute;

    mnl_attr_for_each_nested(attribute, nest)
    {
        if (mnl_attr_get_type(attribute) == type)
            return attribute;
    }
    return NULL;
}

/* False: this expression is no counter. */
static bool read_counter(const struct nlattr *expression, uint64_t *packets)
{
    const struct nlattr *name = find(expression, NFTA_EXPR_NAME);
    const struct nlattr *data = find(expression, NFTA_EXPR_DATA);

    if (!name || !data || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0 ||
        strcmp(mnl_attr_get_str(name), "counter") != 0)
        return false;
    const struct nlattr *value = find(data, NFTA_COUNTER_PACKETS);
    if (!value || mnl_attr_validate(value, MNL_TYPE_U64) < 0)
        return false;
    *packets = be64toh(mnl_attr_get_u64(value));
    return true;
}

/* A rule. arg: the packets of the first counter of the chain. */
static int on_rule(const struct nlmsghdr *message, void *arg)
{
    struct nlattr *attribute, *expression;

    mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attribute) != NFTA_RULE_EXPRESSIONS)
            continue;
        mnl_attr_for_each_nested(expression, attribute)
        {
            if (read_counter(expression, arg))
                return MNL_CB_OK;
        }
    }
    return MNL_CB_OK;
}

/* A table that somebody else has removed took its counters along, and was put back. */
static void note(struct count *count, uint64_t packets)
{
    if (packets < count->now)
        count->before += count->now;
    count->now = packets;
}

static void ask(struct netlink *netlink, const char *chain, struct count *count)
{
    char buffer[256];
    struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
    uint64_t packets = 0;

    request->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    struct nfgenmsg *family = mnl_nlmsg_put_extra_header(request, sizeof(*family));
    *family = (struct nfgenmsg){.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
    mnl_attr_put_strz(request, NFTA_RULE_TABLE, INTERCEPT_TABLE_NAME);
    mnl_attr_put_strz(request, NFTA_RULE_CHAIN, chain);
    if (netlink_request(netlink, request, on_rule, &packets) == 0)
        note(count, packets);
}

struct tally_counts tally_read(struct tally *t)
{
    ask(t->netlink, TALLY_DIRECT, &t->direct);
    ask(t->netlink, TALLY_REFUSED, &t->refused);
    return (struct tally_counts){.direct = t->direct.before + t->direct.now,
                                 .refused = t->refused.before + t->refused.now};
}

static void begin_anew(struct count *count)
{
    count->before += count->now;
    count->now = 0;
}

void tally_begin_anew(struct tally *t)
{
    begin_anew(&t->direct);
    begin_anew(&t->refused);
}
