#include "gateway/checkup.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <event2/event.h>

#include "core/clock.h"
#include "core/mptcp.h"
#include "core/timers.h"
#include "gateway/probe.h"

/* Where a box drops SYNs with MPTCP in them, the kernel tries without after up to seven seconds. */
#define DIAL_MS 8000
#define PROBE_EVERY_MS 50
#define ANSWER_PATIENCE_MS 1000
#define SIZE_PATIENCE_MIN_MS 100
#define SIZE_TRIES 3 /* of each size */
#define SIZE_SEQ CHECKUP_PROBES
/* Of the examination, of its trunk, and of what waits for a change. */
#define TIMERS_PER_UPLINK 4

/* Of Ethernet; PPPoE, with VLAN or not; LTE's tunnels; DS-Lite and other tunnels; the least of
 * IPv6; and what always passes. */
static const unsigned sizes[] = {1500, 1492, 1488, 1480, 1472, 1460, 1450, 1440, 1428,
                                 1420, 1400, 1380, 1358, 1320, 1280, 1200, 1000, 576};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

enum stage { STAGE_DIALING, STAGE_PROBING, STAGE_WAITING, STAGE_SIZING, STAGE_DONE };

/* Of one uplink. */
struct examination {
    struct checkup *all;
    struct checkup_result *result;
    enum stage stage;
    struct station *station;
    struct trunk *trunk;
    struct prober *prober;
    struct event *timer;
    unsigned sent, size_tries;
    size_t size; /* index of the one that is tried now */
    uint64_t sent_us[CHECKUP_PROBES];
    double rtts_ms[CHECKUP_PROBES];
};

struct checkup {
    const struct gateway_config *config;
    const struct concentrator_entry *entry;
    struct event_base *base;
    struct buffer_pool *pool;
    struct uplinks *uplinks;
    struct gauges gauges;
    struct trunk_context context;
    struct examination of[UPLINKS_MAX];
    size_t pending;
};

static void set_timer(const struct examination *x, unsigned ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    event_add(x->timer, &tv);
}

static void finish(struct examination *x)
{
    if (x->stage == STAGE_DONE)
        return;
    x->stage = STAGE_DONE;
    event_del(x->timer);
    if (--x->all->pending == 0)
        event_base_loopbreak(x->all->base);
}

/* ---- the size of packets ---- */

static unsigned interface_mtu(const char *interface)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(request.ifr_name, interface, strlen(interface));
    int err = fd == -1 ? -1 : ioctl(fd, SIOCGIFMTU, &request);
    if (fd != -1)
        close(fd);
    return err == -1 ? 0 : (unsigned)request.ifr_mtu;
}

/* Longer than an answer takes, so that the first size that gets one is the largest. */
static unsigned size_patience_ms(const struct examination *x)
{
    unsigned ms = (unsigned)(2 * x->result->rtt_ms);

    return ms > SIZE_PATIENCE_MIN_MS ? ms : SIZE_PATIENCE_MIN_MS;
}

static void try_size(struct examination *x)
{
    if (x->size == N_SIZES) {
        finish(x);
        return;
    }
    prober_send_sized(x->prober, SIZE_SEQ + x->size, sizes[x->size]);
    if (++x->size_tries % SIZE_TRIES == 0)
        x->size++;
    set_timer(x, size_patience_ms(x));
}

static void start_sizing(struct examination *x)
{
    unsigned mtu = interface_mtu(x->result->uplink.config->interface);

    x->stage = STAGE_SIZING;
    while (x->size < N_SIZES && sizes[x->size] > mtu)
        x->size++;
    try_size(x);
}

/* ---- probes ---- */

static int by_value(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return one < other ? -1 : one > other;
}

static void end_probing(struct examination *x)
{
    struct checkup_result *r = x->result;

    if (r->answered == 0) {
        finish(x);
        return;
    }
    qsort(x->rtts_ms, r->answered, sizeof(x->rtts_ms[0]), by_value);
    r->rtt_ms = x->rtts_ms[r->answered / 2];
    start_sizing(x);
}

static void on_answered(void *arg, uint64_t seq, uint64_t age_us)
{
    struct examination *x = arg;
    struct checkup_result *r = x->result;

    if (seq >= SIZE_SEQ && seq - SIZE_SEQ < N_SIZES && x->stage == STAGE_SIZING) {
        r->mtu = sizes[seq - SIZE_SEQ];
        finish(x);
    } else if (seq < x->sent && x->sent_us[seq] && x->stage < STAGE_SIZING) {
        x->rtts_ms[r->answered++] = (double)(clock_now_us() - age_us - x->sent_us[seq]) / 1000;
        x->sent_us[seq] = 0; /* a copy counts for nothing */
        if (r->answered == CHECKUP_PROBES)
            end_probing(x);
    }
}

static const struct prober_events prober_events = {.answered = on_answered};

static void probe(struct examination *x)
{
    if (x->sent == CHECKUP_PROBES) {
        x->stage = STAGE_WAITING;
        set_timer(x, ANSWER_PATIENCE_MS);
        return;
    }
    x->sent_us[x->sent] = clock_now_us();
    prober_send(x->prober, x->sent++);
    set_timer(x, PROBE_EVERY_MS);
}

/* Also where the dial has failed: what gets through then says more; but where nothing listens,
 * nothing will. */
static void start_probing(struct examination *x)
{
    const struct concentrator_entry *entry = x->all->entry;
    uint16_t port = x->station->probe_port ? x->station->probe_port : entry->address.port;

    x->stage = STAGE_PROBING;
    if (x->result->error == ECONNREFUSED ||
        prober_new(&x->prober, x->all->base, &x->result->uplink, entry, port, &prober_events, x))
        finish(x);
    else
        probe(x);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct examination *x = arg;

    switch (x->stage) {
    case STAGE_DIALING:
        start_probing(x);
        return;
    case STAGE_PROBING:
        probe(x);
        return;
    case STAGE_WAITING:
        end_probing(x);
        return;
    case STAGE_SIZING:
        try_size(x);
        return;
    case STAGE_DONE:
        return;
    }
}

/* ---- the dial ---- */

static void on_connected(void *arg)
{
    struct examination *x = arg;

    x->result->connected = true;
    x->result->mptcp = trunk_is_mptcp(x->trunk);
    x->result->connect_ms = trunk_connect_ms(x->trunk);
}

/* From outside of the trunk's callbacks. */
static void dialled(struct examination *x)
{
    if (x->stage == STAGE_DIALING)
        set_timer(x, 0);
}

static void on_welcomed(void *arg)
{
    struct examination *x = arg;
    int64_t theirs_ms = (int64_t)clock_boot_ms() + x->station->clock_offset_ms;

    x->result->welcomed = true;
    x->result->has_clock = true;
    x->result->ahead_ms = (int64_t)clock_wall_ms() - theirs_ms;
    dialled(x);
}

static void on_failed(void *arg, enum trunk_failure why, int error)
{
    struct examination *x = arg;

    if (x->stage != STAGE_DIALING)
        return;
    x->result->why = why;
    x->result->error = error;
    dialled(x);
}

static const struct trunk_events dial_events = {
    .connected = on_connected, .welcomed = on_welcomed, .failed = on_failed};

static int start(struct examination *x, size_t index)
{
    struct schedule only = {.order = {(uint8_t)index}, .n_order = 1};

    only.roles[index] = ROLE_ACTIVE;
    x->station = station_new(x->all->entry);
    x->timer = evtimer_new(x->all->base, on_timer, x);
    if (!x->station || !x->timer)
        return -ENOMEM;
    x->trunk = trunk_new(&x->all->context, x->station, &only, &dial_events, x);
    if (!x->trunk)
        return -ENOMEM;
    x->all->pending++;
    return 0;
}

/* ---- all of them ---- */

static void on_uplink_changed(void *arg, const struct uplink *before, const struct uplink *now)
{
}

static int open_all(struct checkup *all)
{
    all->base = event_base_new();
    all->pool = buffer_pool_new(1);
    struct timers timers = {.base = all->base};
    if (!all->base || !all->pool || timers_reserve(&timers, UPLINKS_MAX * TIMERS_PER_UPLINK))
        return -ENOMEM;
    all->context = (struct trunk_context){.base = all->base,
                                          .pool = all->pool,
                                          .gauges = &all->gauges,
                                          .suite = crypto_fastest_suite(),
                                          .dial_timeout_ms = DIAL_MS};
    int err = uplinks_new(&all->uplinks, all->base, all->config, all->entry->address.family,
                          on_uplink_changed, all);
    all->context.uplinks = all->uplinks;
    return err;
}

static void close_all(struct checkup *all)
{
    for (size_t i = 0; i < UPLINKS_MAX; i++) {
        trunk_free(all->of[i].trunk);
        station_release(all->of[i].station);
        prober_free(all->of[i].prober);
        if (all->of[i].timer)
            event_free(all->of[i].timer);
    }
    if (all->uplinks)
        uplinks_free(all->uplinks);
    if (all->pool)
        buffer_pool_free(all->pool);
    if (all->base)
        event_base_free(all->base);
    free(all);
}

int checkup_run(const struct gateway_config *config, size_t concentrator,
                struct checkup_result out[UPLINKS_MAX])
{
    struct checkup *all = calloc(1, sizeof(*all));

    memset(out, 0, UPLINKS_MAX * sizeof(*out));
    if (!all)
        return -ENOMEM;
    all->config = config;
    all->entry = &config->concentrators[concentrator];
    int err = open_all(all);
    for (size_t i = 0; i < config->n_uplinks && !err; i++) {
        out[i].uplink = *uplinks_get(all->uplinks, i);
        out[i].tried = uplink_usable(&out[i].uplink, all->entry->address.family);
        all->of[i] = (struct examination){.all = all, .result = &out[i]};
        if (out[i].tried)
            err = start(&all->of[i], i);
    }
    if (!err && all->pending > 0)
        event_base_dispatch(all->base);
    close_all(all);
    return err;
}
