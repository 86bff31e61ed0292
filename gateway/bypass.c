#include "gateway/bypass.h"

#include <assert.h>

/* This network, private networks, shared address space (carriers' NAT, mesh VPNs), link-local,
 * benchmarks, multicast and reserved. ::/8 holds unspecified, loopback, mapped addresses, and the
 * local NAT64's 64:ff9b::/96. */
static const char built_in[][16] = {
    "0.0.0.0/8",      "10.0.0.0/8",    "100.64.0.0/10", "127.0.0.0/8",
    "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",  "192.168.0.0/16",
    "198.18.0.0/15",  "224.0.0.0/3",   "::/8",          "100::/64",
    "fc00::/7",       "fe80::/10",     "fec0::/10",     "ff00::/8",
};
#define N_BUILT_IN (sizeof(built_in) / sizeof(built_in[0]))

size_t bypass_count(const struct gateway_config *config)
{
    return N_BUILT_IN + config->n_concentrators + config->n_bypass;
}

static struct cidr lone(const struct addr *a)
{
    struct cidr c = {.base = *a, .prefix = (uint8_t)(addr_size(a) * 8)};

    c.base.port = 0;
    return c;
}

struct cidr bypass_at(const struct gateway_config *config, size_t index)
{
    struct cidr c = {.prefix = 0};

    if (index < N_BUILT_IN) {
        int err = cidr_parse(&c, built_in[index]);
        assert(!err);
        (void)err;
        return c;
    }
    index -= N_BUILT_IN;
    if (index < config->n_concentrators)
        return lone(&config->concentrators[index].address);
    return config->bypass[index - config->n_concentrators];
}
