#include "gateway/intercept.h"

#include <inttypes.h>

#include "gateway/bypass.h"

static void write_bypass(const struct gateway_config *config, uint8_t family, FILE *out)
{
    char text[ADDR_TEXT];

    /* What the user lists may overlap with itself and with ours. */
    fprintf(out, "  set bypass%u {\n    type ipv%u_addr\n    flags interval\n    auto-merge\n",
            family, family);
    fprintf(out, "    elements = {\n");
    for (size_t i = 0; i < bypass_count(config); i++) {
        struct cidr network = bypass_at(config, i);
        if (network.base.family == family)
            fprintf(out, "      %s,\n", cidr_format(&network, text));
    }
    fprintf(out, "    }\n  }\n");
}

static void write_lan(const struct gateway_config *config, FILE *out)
{
    fprintf(out, "    iifname != {");
    for (size_t i = 0; i < config->n_lan_interfaces; i++)
        fprintf(out, "%s \"%s\"", i ? "," : "", config->lan_interfaces[i]);
    fprintf(out, " } return\n");
}

/* Behind what others do with marks, which may be to write over ours (`meta mark set ct mark`).
 *
 * A packet of a connection that runs already is ours when, and only when, one of our sockets has
 * it; so connections that ran directly before we came keep running directly. A new connection is
 * known by its SYN, without help from conntrack, which may be absent or busy with other zones. */
static void write_chain(const struct gateway_config *config, FILE *out)
{
    fprintf(out, "  chain take { }\n  chain prerouting {\n"
                 "    type filter hook prerouting priority dstnat - 1; policy accept;\n");
    write_lan(config, out);
    fprintf(out, "    meta l4proto != tcp return\n");
    fprintf(out,
            "    tcp flags & (syn | ack) != syn socket transparent 1 "
            "meta mark set meta mark or 0x%" PRIx32 " accept\n",
            config->firewall_mark);
    if (steering_uplinks(config))
        fprintf(out, "    tcp flags & (syn | ack) != syn jump keep\n");
    fprintf(out, "    tcp flags & (fin | syn | rst | ack) != syn return\n"
                 "    fib daddr type { local, broadcast, multicast, anycast } return\n"
                 "    ip daddr @bypass4 return\n"
                 "    ip6 daddr @bypass6 return\n");
    if (steering_wanted(config))
        fprintf(out, "    jump rules\n");
    fprintf(out, "    jump take\n  }\n");
}

/* Where nobody listens, tproxy lets the packet go on, and the router forwards it as usual. */
static void write_take(const struct gateway_config *config, uint8_t family, const char *to,
                       FILE *out)
{
    fprintf(out,
            "add rule " INTERCEPT_TABLE " take meta nfproto ipv%u meta l4proto tcp "
            "tproxy ip%s to %s:%u meta mark set meta mark or 0x%" PRIx32 " accept\n",
            family, family == 6 ? "6" : "", to, config->listen_port, config->firewall_mark);
}

void intercept_write_plan(const struct gateway_config *config, const struct intercept_plan *plan,
                          FILE *out)
{
    fprintf(out, "flush chain " INTERCEPT_TABLE " take\n");
    if (plan->take_new) {
        write_take(config, 4, "127.0.0.1", out);
        write_take(config, 6, "[::1]", out);
    }
    steering_write_choices(config, &plan->carriers, out);
}

void intercept_write_table(const struct gateway_config *config, const struct intercept_plan *plan,
                           FILE *out)
{
    intercept_write_removal(out);
    fprintf(out, "table " INTERCEPT_TABLE " {\n");
    write_bypass(config, 4, out);
    write_bypass(config, 6, out);
    steering_write_chains(config, out);
    write_chain(config, out);
    fprintf(out, "}\n");
    intercept_write_plan(config, plan, out);
}

void intercept_write_removal(FILE *out)
{
    /* To delete a table that is not there would fail, so it is made first. */
    fprintf(out, "table " INTERCEPT_TABLE "\ndelete table " INTERCEPT_TABLE "\n");
}
