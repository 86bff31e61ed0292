#include "cli/checks.h"

#include <inttypes.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/units.h"
#include "core/packet_scheduler.h"
#include "core/sysctl.h"
#include "gateway/bridges.h"
#include "gateway/checkup.h"
#include "gateway/concentrators.h"
#include "gateway/intercept.h"
#include "gateway/nft.h"

#define CLOCK_OFF_MS 30000 /* as much as protocol.md allows without a challenge */
#define LOSSES_MANY 3      /* of CHECKUP_PROBES */
#define MTU_SMALL 1280     /* what IPv6 demands of every link */
#define TEXT_MAX 512

/* ---- the kernel ---- */

static bool has_userspace_path_manager(void)
{
    char value[32];

    return sysctl_read("net/mptcp/path_manager", value, sizeof(value)) == 0 ||
           sysctl_read("net/mptcp/pm_type", value, sizeof(value)) == 0;
}

static void check_mptcp(struct findings *f)
{
    char value[8] = "";

    if (sysctl_read("net/mptcp/enabled", value, sizeof(value)) || !has_userspace_path_manager())
        findings_add(f, FINDING_BAD, "kernel",
                     "use Linux 5.19 or later with CONFIG_MPTCP: any Debian 12 kernel, OpenWrt "
                     "24.10",
                     "it cannot bond: it has no MPTCP with a userspace path manager");
    else if (value[0] == '0')
        findings_add(f, FINDING_NOTE, "kernel", NULL,
                     "MPTCP is switched off (net.mptcp.enabled): the gateway switches it on while "
                     "it runs");
    else
        findings_add(f, FINDING_OK, "kernel", NULL, "MPTCP, with a userspace path manager");
}

/* Has the kernel look at the very rules that the gateway would set. */
static void check_interception(struct findings *f, const struct gateway_config *config,
                               const char *nft)
{
    static const struct intercept_plan plan = {.take_new = true,
                                               .carriers = {{UINT32_MAX, UINT32_MAX}}};
    char why[TEXT_MAX], *rules = NULL;
    size_t len;
    FILE *out = open_memstream(&rules, &len);

    if (!out)
        return;
    intercept_write_table(config, &plan, out);
    fclose(out);
    if (nft_check(nft, rules, why, sizeof(why)) == 0)
        findings_add(f, FINDING_OK, "kernel", NULL, "nftables, with TPROXY");
    else
        findings_add(
            f, FINDING_BAD, "kernel",
            "load or install nft_tproxy, nft_socket and nft_fib_inet (OpenWrt: kmod-nft-tproxy, "
            "kmod-nft-socket, kmod-nft-fib)",
            "it does not take the rules that intercept the LAN's connections: %s", why);
    free(rules);
}

static void check_nft(struct findings *f, const struct gateway_config *config)
{
    char nft[256];

    if (nft_find(nft, sizeof(nft)))
        findings_add(f, FINDING_BAD, "nft", "install nftables", "there is no nft program");
    else if (geteuid() != 0)
        findings_add(f, FINDING_WARN, "kernel", "run this as root",
                     "not root: whether it has TPROXY cannot be seen");
    else if (config)
        check_interception(f, config, nft);
}

static void check_bridges(struct findings *f, const struct gateway_config *config)
{
    const char *hindrance = bridges_hindrance(config);

    if (hindrance)
        findings_add(f, FINDING_BAD, "kernel",
                     "set it to 0, in a file in /etc/sysctl.d, and now by sysctl -w",
                     "%s is not 0: connections from a bridge cannot be intercepted", hindrance);
}

void checks_gateway_kernel(struct findings *f, const struct gateway_config *config)
{
    check_mptcp(f);
    check_nft(f, config);
    if (config)
        check_bridges(f, config);
}

void checks_concentrator_kernel(struct findings *f)
{
    char value[8] = "";

    if (sysctl_read("net/mptcp/enabled", value, sizeof(value)))
        findings_add(f, FINDING_BAD, "kernel", "use a kernel with CONFIG_MPTCP",
                     "it has no MPTCP: every flow keeps to one uplink");
    else if (value[0] == '0')
        findings_add(f, FINDING_BAD, "kernel", "sysctl -w net.mptcp.enabled=1",
                     "MPTCP is switched off: every flow keeps to one uplink");
    else
        findings_add(f, FINDING_OK, "kernel", NULL, "MPTCP");
}

void checks_packet_scheduler(struct findings *f, const char *name)
{
    char why[TEXT_MAX];

    if (name[0] && packet_scheduler_find(name, why, sizeof(why)))
        findings_add_line(f, FINDING_BAD, "kernel", why);
}

/* ---- the LAN ---- */

void checks_lan(struct findings *f, const struct gateway_config *config)
{
    for (size_t i = 0; i < config->n_lan_interfaces; i++) {
        const char *name = config->lan_interfaces[i];
        if (if_nametoindex(name) == 0)
            findings_add(f, FINDING_WARN, "lan", "correct lan_interfaces, or bring it up",
                         "there is no interface %s: nothing comes from there", name);
        else
            findings_add(f, FINDING_OK, "lan", NULL, "%s is there", name);
    }
}

/* ---- uplinks ---- */

static struct json_object *figures_of(const struct checkup_result *r, const char *concentrator)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "concentrator", concentrator);
    if (r->connected) {
        document_add_number(&d, "connect_ms", r->connect_ms);
        document_add_bool(&d, "mptcp", r->mptcp);
    }
    if (r->answered > 0)
        document_add_decimal(&d, "rtt_ms", r->rtt_ms, 1);
    document_add_number(&d, "probes_lost", CHECKUP_PROBES - r->answered);
    if (r->mtu)
        document_add_number(&d, "packet_bytes", r->mtu);
    return document_finish(&d);
}

/* "36 ms to vps, 0 of 10 probes lost, packets up to 1500 bytes, MPTCP survives" */
static void describe(const struct checkup_result *r, const char *concentrator, char *out,
                     size_t len)
{
    char delay[UNITS_TEXT];
    size_t n = (size_t)snprintf(
        out, len, "%s to %s",
        units_delay(r->answered > 0 ? r->rtt_ms : (double)r->connect_ms, delay), concentrator);

    if (r->answered > 0)
        n += (size_t)snprintf(out + n, len - n, ", %u of %d probes lost",
                              CHECKUP_PROBES - r->answered, CHECKUP_PROBES);
    if (r->mtu)
        n += (size_t)snprintf(out + n, len - n, ", packets up to %u bytes", r->mtu);
    if (r->mptcp)
        snprintf(out + n, len - n, ", MPTCP survives");
}

static void note_failure(struct findings *f, const struct checkup_result *r,
                         const struct concentrator_entry *entry)
{
    char why[TEXT_MAX];

    concentrator_explain(entry, r->why, r->error, why, sizeof(why));
    findings_add(f, FINDING_WARN, r->uplink.config->name, NULL, "no way to %s: %s", entry->name,
                 why);
    if (r->answered > 0)
        findings_add(f, FINDING_NOTE, r->uplink.config->name,
                     "open that port for TCP, too, in the VPS's firewall and its provider's",
                     "UDP gets through to %s, port %u", entry->name, (unsigned)entry->address.port);
}

/* The kernel takes a SYN that is lost again and again for one that MPTCP stops, too. */
static bool is_lossy(const struct checkup_result *r)
{
    return r->answered > 0 && CHECKUP_PROBES - r->answered >= LOSSES_MANY;
}

static void note_success(struct findings *f, const struct checkup_result *r,
                         const struct concentrator_entry *entry)
{
    const char *name = r->uplink.config->name;
    char text[TEXT_MAX];

    describe(r, entry->name, text, sizeof(text));
    if (!r->mptcp && is_lossy(r))
        findings_add(f, FINDING_WARN, name,
                     "look at its signal, its cable, its load; then at this once more",
                     "%s; MPTCP did not get through, perhaps for that", text);
    else if (!r->mptcp)
        findings_add(f, FINDING_WARN, name,
                     "a box on the way removes MPTCP: another port of the concentrator often helps",
                     "%s, but MPTCP is stripped: it can carry flows only alone", text);
    else if (r->answered == 0)
        findings_add(f, FINDING_WARN, name,
                     "open the port for UDP, too, on the VPS and at its provider; if it is one "
                     "uplink of several, its provider blocks UDP",
                     "%s, but no probe is answered: its death will be noticed late", text);
    else if (is_lossy(r))
        findings_add(f, FINDING_WARN, name, "look at its signal, its cable, its load", "%s", text);
    else if (r->mtu && r->mtu < MTU_SMALL)
        findings_add(f, FINDING_WARN, name,
                     "something on the way drops larger packets: set the interface's MTU to that",
                     "%s", text);
    else
        findings_add(f, FINDING_OK, name, NULL, "%s", text);
    findings_add_figures(f, figures_of(r, entry->name));
}

static const char *remedy_of(const struct uplink *uplink)
{
    if (uplink->ifindex == 0)
        return "is its name right? correct interface, or bring it up";
    return uplink->carrier ? "it needs an address and a default route, with any metric"
                           : "look at its cable, or its modem";
}

static void note_result(struct findings *f, const struct checkup_result *r,
                        const struct concentrator_entry *entry)
{
    if (!r->tried)
        findings_add(f, FINDING_WARN, r->uplink.config->name, remedy_of(&r->uplink), "%s: %s",
                     r->uplink.config->interface,
                     r->uplink.reason[0] ? r->uplink.reason : "no way out for that address");
    else if (r->welcomed)
        note_success(f, r, entry);
    else
        note_failure(f, r, entry);
}

static void note_clock(struct findings *f, const struct checkup_result *r)
{
    int64_t off_ms = r->ahead_ms < 0 ? -r->ahead_ms : r->ahead_ms;
    char text[UNITS_TEXT];

    if (off_ms > CLOCK_OFF_MS)
        findings_add(f, FINDING_WARN, "clock", "let NTP set it: bondway minds not, TLS does",
                     "it is %s %s the concentrator's", units_time((double)off_ms / 1000, text),
                     r->ahead_ms < 0 ? "behind" : "ahead of");
    else
        findings_add(f, FINDING_OK, "clock", NULL, "within %s of the concentrator's",
                     units_delay((double)off_ms, text));
}

/* What the uplinks say of the concentrator, taken together. */
static void note_concentrator(struct findings *f, const struct checkup_result *results, size_t n,
                              const struct concentrator_entry *entry)
{
    const struct checkup_result *best = NULL;
    unsigned stripped = 0, welcomed = 0;
    char at[ADDR_TEXT];

    for (size_t i = 0; i < n; i++) {
        welcomed += results[i].welcomed;
        stripped += results[i].welcomed && !results[i].mptcp;
        if (results[i].welcomed && (!best || results[i].rtt_ms < best->rtt_ms))
            best = &results[i];
    }
    addr_format(&entry->address, at);
    if (!best) {
        findings_add(f, FINDING_BAD, entry->name, "see the uplinks above", "no uplink leads to %s",
                     at);
        return;
    }
    if (stripped == welcomed && welcomed > 1)
        findings_add(f, FINDING_BAD, entry->name,
                     "on the VPS: sysctl -w net.mptcp.enabled=1; if it is, change the port",
                     "MPTCP gets to %s by no uplink: nothing can be bonded", at);
    else
        findings_add(f, FINDING_OK, entry->name, NULL, "%s accepts our key, by %u of %zu uplinks",
                     at, welcomed, n);
    note_clock(f, best);
}

void checks_uplinks(struct findings *f, const struct gateway_config *config)
{
    struct checkup_result results[UPLINKS_MAX];

    for (size_t c = 0; c < config->n_concentrators; c++) {
        const struct concentrator_entry *entry = &config->concentrators[c];
        int err = checkup_run(config, c, results);
        if (err) {
            findings_add(f, FINDING_BAD, entry->name, "run this as root",
                         "cannot look at the uplinks: %s", strerror(-err));
            return;
        }
        for (size_t i = 0; i < config->n_uplinks; i++)
            note_result(f, &results[i], entry);
        note_concentrator(f, results, config->n_uplinks, entry);
    }
}
