#include "gateway/flow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/mptcp.h"
#include "core/saved_syn.h"

/* How long a flow waits for the client's first bytes, which decide whether it is sealed and travel
 * with OPEN. A client that speaks first does so at once; one that waits for the server's greeting
 * loses no more than this. */
static const struct timeval first_bytes_patience = {.tv_usec = 30 * 1000};

/* A flow carries much from so many bytes on, until it has been quiet for so long: more than an
 * initial window of ten segments, which leaves in one burst anyway. */
#define MUCH_BYTES (16 * 1024)
#define QUIET_MS 1000

#define TLS_HEADER 5

struct flow {
    const struct flow_context *context;
    struct list node;
    uint64_t id, started_ms;
    uint32_t mark;
    char label[24];
    enum flow_state state;
    int client_fd;        /* -1: the relay's, or closed */
    struct hangup hangup; /* of the client, until the relay watches it */
    struct flow_key key;
    struct policy policy;
    struct trunk *trunk;
    struct relay *relay;
    struct event *first_bytes; /* of the client, or their patience */
    bool decided, carries_much;
    enum open_mode mode;
    size_t early_len; /* bytes that went with OPEN, and are still in the client's socket too */
};

static struct hangup_watch *hangups(const struct flow *f)
{
    return relay_group_hangups(f->context->relays);
}

static void reset_client(struct flow *f)
{
    if (f->client_fd == -1)
        return;
    hangup_remove(hangups(f), f->client_fd);
    mptcp_reset(f->client_fd);
    f->client_fd = -1;
}

static void flow_close(struct flow *f, const char *why, bool failed)
{
    char client[ADDR_TEXT], destination[ADDR_TEXT];

    if (f->state == FLOW_CLOSED)
        return;
    f->state = FLOW_CLOSED;
    event_del(f->first_bytes);
    reset_client(f);
    log_info(f->label,
             "closed why=%s client=%s destination=%s mode=%s rx_bytes=%llu tx_bytes=%llu "
             "duration_ms=%llu",
             why, addr_format(&f->key.client, client),
             addr_format(&f->key.destination, destination),
             f->mode == OPEN_PLAIN ? "plain" : "sealed",
             (unsigned long long)(f->relay ? relay_bytes_in(f->relay) : 0),
             (unsigned long long)(f->relay ? relay_bytes_out(f->relay) + f->early_len : 0),
             (unsigned long long)(clock_now_ms() - f->started_ms));
    f->context->closed(f->context->arg, f, failed);
}

/* Nobody reads from a client while its destination is dialled. */
static void on_client_hangup(struct hangup *hangup)
{
    flow_close(list_entry(hangup, struct flow, hangup), "client-reset", false);
}

/* A TLS handshake record: type 22, version 3.x, a ClientHello inside (RFC 8446, 5.1 and 4). */
static bool is_tls(const uint8_t *bytes, size_t n)
{
    return n >= 6 && bytes[0] == 22 && bytes[1] == 3 && bytes[2] <= 4 && bytes[5] == 1;
}

/* May be said twice to a destination: nothing, or a ClientHello, whole or in part, and nothing
 * after it, which might be early data (RFC 8446, 2.3). */
static bool is_harmless(const uint8_t *bytes, size_t n)
{
    return n == 0 || (is_tls(bytes, n) && n <= TLS_HEADER + (size_t)(bytes[3] << 8 | bytes[4]));
}

static enum open_mode decide_mode(const struct flow *f, const uint8_t *first, size_t n)
{
    switch (f->policy.encryption) {
    case ENCRYPTION_ALWAYS:
        return OPEN_SEALED;
    case ENCRYPTION_NEVER:
        return OPEN_PLAIN;
    default:
        return is_tls(first, n) ? OPEN_PLAIN : OPEN_SEALED;
    }
}

/* What travelled with OPEN has arrived for good (nothing can ask for it again): out of the client's
 * socket with it. False: the client is gone. */
static bool consume_early(struct flow *f)
{
    /* MSG_TRUNC writes nothing here, but the address sanitizer cannot know. */
    uint8_t unused[GREETING_EARLY_MAX];

    if (f->early_len == 0 || recv(f->client_fd, unused, f->early_len, MSG_TRUNC) > 0)
        return true;
    flow_close(f, "client-reset", false);
    return false;
}

static void open_trunk(struct flow *f)
{
    uint8_t early[GREETING_EARLY_MAX];
    ssize_t n = recv(f->client_fd, early, sizeof(early), MSG_PEEK | MSG_DONTWAIT);

    if (n == -1 && errno != EAGAIN && errno != EINTR) {
        flow_close(f, "client-reset", false);
        return;
    }
    f->early_len = n > 0 ? (size_t)n : 0;
    f->mode = decide_mode(f, early, f->early_len);
    /* What must not be said twice waits, then, until the destination is reached. */
    if (trunk_is_unsteady(f->trunk) && !is_harmless(early, f->early_len))
        f->early_len = 0;
    f->state = FLOW_GREETING;
    if (trunk_open(f->trunk, f->mode, &f->key.destination, early, f->early_len,
                   is_harmless(early, f->early_len)) < 0)
        flow_close(f, "no-memory", true);
}

static void open_when_ready(struct flow *f)
{
    if (f->decided && trunk_is_connected(f->trunk))
        open_trunk(f);
}

static void on_first_bytes(evutil_socket_t fd, short what, void *arg)
{
    struct flow *f = arg;

    f->decided = true;
    if (f->state == FLOW_CHOOSING)
        open_when_ready(f);
}

static void on_connected(void *arg)
{
    open_when_ready(arg);
}

static void on_welcomed(void *arg)
{
    struct flow *f = arg;

    if (f->state == FLOW_CHOOSING)
        open_when_ready(f);
}

static void on_relay_ended(void *arg, enum relay_end why)
{
    bool by_an_end = why == RELAY_END_DONE || why == RELAY_END_NEAR_RESET ||
                     why == RELAY_END_FAR_RESET || why == RELAY_END_IDLE;

    flow_close(arg, relay_end_name(why), !by_an_end);
}

static void set_carries_much(struct flow *f, bool much)
{
    trunk_is_settled(f->trunk, !much);
    if (f->carries_much == much)
        return;
    f->carries_much = much;
    if (trunk_paths(f->trunk))
        paths_set_narrow(trunk_paths(f->trunk), !much);
    if (!much)
        relay_watch_growth(f->relay, MUCH_BYTES);
}

static void on_grown(void *arg)
{
    set_carries_much(arg, true);
}

void flow_look(struct flow *f, uint64_t now_ms)
{
    struct mptcp_subflow subflows[2 * UPLINKS_MAX];

    if (f->state != FLOW_RELAYING)
        return;
    if (now_ms - relay_last_active_ms(f->relay) >= QUIET_MS) {
        set_carries_much(f, false);
        return;
    }
    if (!f->carries_much || !trunk_paths(f->trunk))
        return;
    int n = mptcp_subflows(relay_far_fd(f->relay), subflows, 2 * UPLINKS_MAX);
    if (n > 0)
        paths_look(trunk_paths(f->trunk), subflows, (size_t)n);
}

static void on_opened(void *arg)
{
    struct flow *f = arg;
    struct relay_setup setup = {
        .near_fd = f->client_fd, .ended = on_relay_ended, .grown = on_grown, .arg = f};

    if (!consume_early(f))
        return;
    setup.far_fd = trunk_take(f->trunk, &setup.seal, &setup.open);
    if (f->mode == OPEN_PLAIN) {
        record_cipher_free(setup.seal);
        record_cipher_free(setup.open);
        setup.seal = setup.open = NULL;
    }
    hangup_remove(hangups(f), f->client_fd); /* the relay watches it now */
    f->relay = relay_new(f->context->relays, &setup);
    if (!f->relay) {
        record_cipher_free(setup.seal);
        record_cipher_free(setup.open);
        mptcp_reset(setup.far_fd);
        flow_close(f, "no-memory", true);
        return;
    }
    f->client_fd = -1;
    f->state = FLOW_RELAYING;
    log_debug(f->label, "relaying uplink=%s after_ms=%llu", trunk_first_uplink(f->trunk),
              (unsigned long long)(clock_now_ms() - f->started_ms));
    relay_watch_growth(f->relay, MUCH_BYTES);
    relay_start_outward(f->relay);
    relay_start_inward(f->relay, NULL);
}

static void on_failed(void *arg, enum trunk_failure why, int error)
{
    struct flow *f = arg;
    char text[64];

    if (why == TRUNK_OPEN_FAILED)
        snprintf(text, sizeof(text), "destination-%s", opened_name((uint8_t)error));
    else if (why == TRUNK_REFUSED)
        snprintf(text, sizeof(text), "concentrator-refused-%s", refusal_name((uint8_t)error));
    else
        snprintf(text, sizeof(text), "concentrator-%s", trunk_failure_name(why));
    if (why != TRUNK_OPEN_FAILED && why != TRUNK_REFUSED && why != TRUNK_NO_MEMORY)
        concentrators_doubt(f->context->concentrators, trunk_station(f->trunk));
    flow_close(f, text, why != TRUNK_OPEN_FAILED);
}

static const struct trunk_events flow_events = {
    .connected = on_connected, .welcomed = on_welcomed, .opened = on_opened, .failed = on_failed};

static struct demand demand_of(const struct flow *f)
{
    return (struct demand){f->policy.scheduler, f->policy.uplinks};
}

/* A warm connection has all uplinks; a rule that allows only some needs one of its own. */
static struct trunk *get_trunk(struct flow *f, struct station *station)
{
    const struct flow_context *c = f->context;
    struct demand demand = demand_of(f);
    struct schedule schedule;
    bool restricted =
        f->policy.uplinks != UINT32_MAX || f->policy.scheduler != c->config->scheduler;
    struct trunk *trunk = restricted ? NULL : concentrators_take(c->concentrators, station);

    if (trunk) {
        trunk_adopt(trunk, &flow_events, f);
        trunk_reschedule(trunk, &demand); /* it may have waited for minutes */
        return trunk;
    }
    gauges_place(c->trunks->gauges, c->trunks->uplinks, station->entry->address.family, &demand,
                 &schedule);
    return trunk_new(c->trunks, station, &schedule, &flow_events, f);
}

static const char *start(struct flow *f)
{
    struct station *station = concentrators_choose(f->context->concentrators);

    if (f->policy.action == RULE_REFUSE)
        return "refused-by-rule";
    if (!station)
        return "no-concentrator";
    f->trunk = get_trunk(f, station);
    if (!f->trunk || event_add(f->first_bytes, &first_bytes_patience) == -1 ||
        hangup_add(hangups(f), f->client_fd, &f->hangup) < 0)
        return "no-memory";
    return NULL;
}

/* What only the client's own packet tells. */
static void read_syn(struct flow_key *key, int fd)
{
    struct saved_syn syn = saved_syn_take(fd, &key->client, &key->destination);

    key->dscp = syn.dscp;
    key->mac = syn.mac;
}

struct flow *flow_new(const struct flow_context *context, uint64_t id, int fd,
                      const struct addr *client)
{
    struct flow *f = calloc(1, sizeof(*f));

    if (f)
        f->first_bytes = event_new(context->trunks->base, fd, EV_READ, on_first_bytes, f);
    if (!f || !f->first_bytes || addr_of_socket(&f->key.destination, fd) < 0) {
        mptcp_reset(fd);
        flow_free(f);
        return NULL;
    }
    f->context = context;
    f->id = id;
    f->started_ms = clock_now_ms();
    f->client_fd = fd;
    f->hangup.on_hangup = on_client_hangup;
    snprintf(f->label, sizeof(f->label), "flow %llu", (unsigned long long)id);
    f->key.client = *client;
    read_syn(&f->key, fd);
    f->policy = rules_match(context->rules, &f->key);
    mptcp_tune(fd);
    return f;
}

void flow_start(struct flow *f)
{
    const char *problem = start(f);

    if (problem)
        flow_close(f, problem, f->policy.action != RULE_REFUSE);
}

void flow_free(struct flow *f)
{
    if (!f)
        return;
    relay_free(f->relay);
    trunk_free(f->trunk);
    if (f->first_bytes)
        event_free(f->first_bytes);
    if (f->context)
        reset_client(f);
    free(f);
}

void flow_reschedule(struct flow *f)
{
    struct demand demand = demand_of(f);

    if (f->state == FLOW_CLOSED || !f->trunk)
        return;
    trunk_reschedule(f->trunk, &demand); /* may dial anew by another uplink */
    if (trunk_is_barred(f->trunk))
        flow_close(f, "uplink-off", true);
}

void flow_follow_rules(struct flow *f)
{
    struct policy next = rules_match(f->context->rules, &f->key);

    next.encryption = f->policy.encryption;
    next.action = f->policy.action;
    f->policy = next;
    flow_reschedule(f);
}

bool flow_compares(const struct flow *f, uint64_t since_ms)
{
    return f->policy.scheduler == SCHEDULER_LATENCY && flow_is_active(f, since_ms);
}

void flow_give_up(struct flow *f)
{
    bool beginning = f->state == FLOW_CHOOSING || f->state == FLOW_GREETING;

    if (beginning && f->trunk &&
        concentrators_is_down(f->context->concentrators, trunk_station(f->trunk)))
        flow_close(f, "concentrator-down", true);
}

bool flow_is_active(const struct flow *f, uint64_t since_ms)
{
    return f->state != FLOW_RELAYING || relay_last_active_ms(f->relay) >= since_ms;
}

uint32_t *flow_mark(struct flow *f)
{
    return &f->mark;
}

void flow_status(const struct flow *f, struct flow_status *out)
{
    bool relaying = f->relay != NULL;

    *out = (struct flow_status){
        .id = f->id,
        .state = f->state,
        .client = f->key.client,
        .destination = f->key.destination,
        .rule = f->policy.rule,
        .concentrator = f->trunk ? trunk_station(f->trunk)->entry->name : "",
        .scheduler = f->policy.scheduler,
        .sealed = f->mode == OPEN_SEALED,
        .is_mptcp = f->trunk && trunk_is_mptcp(f->trunk),
        .age_ms = clock_now_ms() - f->started_ms,
        .rx_bytes = relaying ? relay_bytes_in(f->relay) : 0,
        .tx_bytes = f->early_len + (relaying ? relay_bytes_out(f->relay) : 0),
        .paths = f->trunk ? trunk_paths(f->trunk) : NULL,
        .far_fd = relaying   ? relay_far_fd(f->relay)
                  : f->trunk ? trunk_fd(f->trunk)
                             : -1,
    };
    out->first_uplink = out->is_mptcp || relaying ? trunk_first_uplink(f->trunk) : "";
}

struct list *flow_node(struct flow *f)
{
    return &f->node;
}

struct flow *flow_of_node(struct list *node)
{
    return list_entry(node, struct flow, node);
}
