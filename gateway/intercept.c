#include "gateway/intercept.h"

#include <inttypes.h>

/* Not on the Internet, or not the same place seen from the concentrator: this network, private
 * networks, shared address space (carriers' NAT, mesh VPNs), link-local, benchmarks, multicast and
 * reserved. */
static const char *const built_in4[] = {
    "0.0.0.0/8",     "10.0.0.0/8",   "100.64.0.0/10",  "127.0.0.0/8",   "169.254.0.0/16",
    "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
};
/* ::/8 holds unspecified, loopback, mapped addresses, and the local NAT64's 64:ff9b::/96. */
static const char *const built_in6[] = {
    "::/8", "100::/64", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
};

static void write_bypass(const struct gateway_config *config, uint8_t family, FILE *out)
{
    const char *const *built_in = family == 6 ? built_in6 : built_in4;
    size_t n = family == 6 ? sizeof(built_in6) / sizeof(built_in6[0])
                           : sizeof(built_in4) / sizeof(built_in4[0]);
    char text[ADDR_TEXT];

    /* What the user lists may overlap with itself and with ours. */
    fprintf(out, "  set bypass%u {\n    type ipv%u_addr\n    flags interval\n    auto-merge\n",
            family, family);
    fprintf(out, "    elements = {\n");
    for (size_t i = 0; i < n; i++)
        fprintf(out, "      %s,\n", built_in[i]);
    for (size_t i = 0; i < config->n_concentrators; i++) {
        if (config->concentrators[i].address.family == family)
            fprintf(out, "      %s,\n", addr_format_ip(&config->concentrators[i].address, text));
    }
    for (size_t i = 0; i < config->n_bypass; i++) {
        if (config->bypass[i].base.family == family)
            fprintf(out, "      %s,\n", cidr_format(&config->bypass[i], text));
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

/* A packet of a connection that runs already is ours when, and only when, one of our sockets has
 * it; so connections that ran directly before we came keep running directly. A new connection is
 * known by its SYN, without help from conntrack, which may be absent or busy with other zones.
 * Where nobody listens, tproxy lets the packet go on, and the router forwards it as usual. */
static void write_chain(const struct gateway_config *config, bool take_new, FILE *out)
{
    const char *syn = "tcp flags & (fin | syn | rst | ack) == syn";
    uint32_t mark = config->firewall_mark;

    fprintf(out, "  chain prerouting {\n"
                 "    type filter hook prerouting priority mangle; policy accept;\n");
    write_lan(config, out);
    fprintf(out, "    meta l4proto != tcp return\n");
    fprintf(out,
            "    tcp flags & (syn | ack) != syn socket transparent 1 "
            "meta mark set meta mark or 0x%" PRIx32 " accept\n",
            mark);
    fprintf(out, "    fib daddr type { local, broadcast, multicast, anycast } return\n"
                 "    ip daddr @bypass4 return\n"
                 "    ip6 daddr @bypass6 return\n");
    if (take_new) {
        fprintf(out,
                "    meta nfproto ipv4 %s tproxy ip to 127.0.0.1:%u "
                "meta mark set meta mark or 0x%" PRIx32 " accept\n",
                syn, config->listen_port, mark);
        fprintf(out,
                "    meta nfproto ipv6 %s tproxy ip6 to [::1]:%u "
                "meta mark set meta mark or 0x%" PRIx32 " accept\n",
                syn, config->listen_port, mark);
    }
    fprintf(out, "  }\n");
}

static void write_table(const struct gateway_config *config, bool take_new, FILE *out)
{
    intercept_write_removal(out);
    fprintf(out, "table " INTERCEPT_TABLE " {\n");
    write_bypass(config, 4, out);
    write_bypass(config, 6, out);
    write_chain(config, take_new, out);
    fprintf(out, "}\n");
}

void intercept_write_rules(const struct gateway_config *config, FILE *out)
{
    write_table(config, true, out);
}

void intercept_write_running(const struct gateway_config *config, FILE *out)
{
    write_table(config, false, out);
}

void intercept_write_removal(FILE *out)
{
    /* To delete a table that is not there would fail, so it is made first. */
    fprintf(out, "table " INTERCEPT_TABLE "\ndelete table " INTERCEPT_TABLE "\n");
}
