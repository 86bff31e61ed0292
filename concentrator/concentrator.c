#include "concentrator/concentrator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "concentrator/elders.h"
#include "concentrator/handover.h"
#include "concentrator/kernel.h"
#include "concentrator/metrics.h"
#include "concentrator/rights.h"
#include "concentrator/status.h"
#include "concentrator/worker.h"
#include "core/clock.h"
#include "core/control.h"
#include "core/daemon.h"
#include "core/document.h"
#include "core/events.h"
#include "core/log.h"
#include "core/mptcp.h"
#include "core/readiness.h"
#include "core/timers.h"
#include "core/web.h"

/* After SIGTERM: how long flows may go on. */
static const struct timeval drain_limit = {.tv_sec = 10};
/* That run at once, at most: of the clients of the control socket and of metrics_listen, and a few
 * more. */
#define TIMERS 128

struct concentrator {
    const char *config_path;
    struct event_base *base;
    struct daemon *daemon;
    struct events *events;
    struct control *control;
    struct web *web;
    struct kernel kernel;
    struct session_services services;
    struct peers *peers;
    struct worker **workers;
    size_t n_workers;
    uint64_t started_ms;
    int drained_fd; /* workers count themselves here when they have drained */
    struct event *on_drained, *drain_deadline;
    uint64_t n_drained;
    struct handover inherited;
    int elder_fd;          /* the process that we take over from; -1: none, or it has let go */
    struct elders *elders; /* those that have */
    struct event *on_heir; /* who takes over from us, or has; NULL: nobody, or it has ended */
    bool retired;          /* another has taken over */
};

/* ---- control socket ---- */

static struct json_object *answer_status(void *arg)
{
    struct concentrator *c = arg;

    for (size_t i = 0; i < c->n_workers; i++)
        worker_report(c->workers[i]);
    const struct status_source source = {.peers = c->peers,
                                         .refusals = &c->services.refusals,
                                         .started_ms = c->started_ms,
                                         .now_ms = clock_now_ms()};
    return status_describe(&source);
}

static struct json_object *answer_flows(void *arg)
{
    struct concentrator *c = arg;
    struct document d = {.depth = 0};

    document_open_list(&d, NULL);
    for (size_t i = 0; i < c->n_workers; i++)
        worker_flows(c->workers[i], &d);
    return document_finish(&d);
}

static int begin_events(void *arg, struct control_client *client, bool follow)
{
    struct concentrator *c = arg;

    return events_stream(c->events, client, follow);
}

static void on_hand_over(void *arg, int fd);

static const struct control_command commands[] = {
    {.name = "status", .answer = answer_status},
    {.name = "flows", .answer = answer_flows},
    {.name = "events", .begin = begin_events},
    {.name = HANDOVER_COMMAND, .take = on_hand_over},
    {.name = NULL},
};

static int write_metrics(void *arg, struct evbuffer *out)
{
    return metrics_write(out, concentrator_metrics, answer_status(arg));
}

static int write_status(void *arg, struct evbuffer *out)
{
    return web_add_json(out, answer_status(arg));
}

static const struct web_page pages[] = {
    {.path = "/metrics", .type = METRICS_TYPE, .write = write_metrics},
    {.path = "/status.json", .type = "application/json", .write = write_status},
    {.path = NULL},
};

/* What becomes of the concentrator itself. */
static void tell(struct concentrator *c, const char *what, const char *reason)
{
    struct event_note note = {.kind = "concentrator", .name = "", .what = what, .reason = reason};
    struct document figures = {.depth = 0};

    document_open_object(&figures, NULL);
    document_add_number(&figures, "gateways", peers_count(c->peers));
    note.figures = document_finish(&figures);
    events_add(c->events, &note);
}

/* ---- reload ---- */

static void log_lines(const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        log_error("reload", "%.*s", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

/* The mistakes go to the log, which may be syslog. */
static struct concentrator_config *load_again(const char *path)
{
    struct concentrator_config *config = NULL;
    char *text = NULL;
    size_t len;
    FILE *complaints = open_memstream(&text, &len);

    if (complaints) {
        config = concentrator_config_load(path, complaints);
        fclose(complaints);
    }
    if (!config)
        log_lines(text ? text : "out of memory");
    free(text);
    return config;
}

static bool same_listen(const struct concentrator_config *a, const struct concentrator_config *b)
{
    if (a->n_listen != b->n_listen)
        return false;
    for (size_t i = 0; i < a->n_listen; i++) {
        if (!addr_equal(&a->listen[i], &b->listen[i]))
            return false;
    }
    return true;
}

static void warn_of_restart(const struct concentrator_config *old,
                            const struct concentrator_config *now)
{
    const struct {
        const char *option;
        bool same;
    } fixed[] = {
        {"listen", same_listen(old, now)},
        {"user", strcmp(old->user, now->user) == 0},
        {"workers", old->workers == now->workers},
        {"control_socket", strcmp(old->control_socket, now->control_socket) == 0},
        {"metrics_listen", addr_equal(&old->metrics_listen, &now->metrics_listen)},
        {"max_unauthenticated", old->max_unauthenticated == now->max_unauthenticated},
        {"packet_scheduler", strcmp(old->packet_scheduler, now->packet_scheduler) == 0},
    };

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (!fixed[i].same)
            log_warning("reload", "%s has changed: that takes effect after a restart",
                        fixed[i].option);
    }
}

static void report_reload(struct concentrator *c)
{
    size_t gateways = peers_count(c->peers);

    tell(c, "reloaded", "");
    if (c->retired)
        log_info("handover", "running flows follow the configuration as it is now gateways=%zu",
                 gateways);
    else
        log_info("reload", "done gateways=%zu", gateways);
}

/* Returns 0, or -errno after having said why: then nothing has changed. */
static int reload(struct concentrator *c)
{
    struct concentrator_config *config = load_again(c->config_path);
    struct peers *peers;

    if (!config) {
        log_error("reload", "nothing has changed; correct %s and send SIGHUP again",
                  c->config_path);
        tell(c, "not reloaded", "the configuration has mistakes: see the log");
        return -EINVAL;
    }
    int err = peers_new(&peers, config, c->peers);
    if (err < 0) {
        log_error("reload", "nothing has changed: %s", strerror(-err));
        concentrator_config_free(config);
        return err;
    }
    if (!c->retired)
        warn_of_restart(peers_config(c->peers), config);
    for (size_t i = 0; i < c->n_workers; i++)
        worker_reload(c->workers[i], peers);
    peers_unref(c->peers);
    c->peers = peers;
    report_reload(c);
    return 0;
}

static void on_reload(void *arg)
{
    struct concentrator *c = arg;

    if (reload(c) == 0)
        elders_tell(c->elders);
}

/* ---- handing over ---- */

/* How long an heir may take from what it is told to its start. */
static const struct timeval heir_patience = {.tv_sec = 30};

static void forget_heir(struct concentrator *c)
{
    int fd = event_get_fd(c->on_heir);

    event_free(c->on_heir);
    c->on_heir = NULL;
    close(fd);
}

/* The descriptors stay the workers' own. */
static int list_listeners(struct concentrator *c, struct handover *out)
{
    out->listeners = calloc(HANDOVER_LISTENERS_MAX, sizeof(out->listeners[0]));
    if (!out->listeners)
        return -ENOMEM;
    for (size_t i = 0; i < c->n_workers; i++)
        out->n_listeners += worker_listeners(c->workers[i], out->listeners + out->n_listeners,
                                             HANDOVER_LISTENERS_MAX - out->n_listeners);
    return 0;
}

/* From here until admission is open again, or the other has taken over, nobody is let in: whoever
 * connects waits. */
static int tell_heir(struct concentrator *c, int fd)
{
    struct handover all = {0};

    admission_close(c->services.admission);
    for (size_t i = 0; i < c->n_workers; i++)
        worker_pause(c->workers[i]);
    kernel_bequeath(&c->kernel, &all.kernel);
    int err = admission_bequeath(c->services.admission, &all.admission);
    if (err == 0)
        err = list_listeners(c, &all);
    if (err == 0)
        err = handover_send(fd, &all);
    all.n_listeners = 0;
    handover_clear(&all);
    return err;
}

static void go_on(struct concentrator *c, int err)
{
    log_warning("handover", "the other did not take over (%s): going on as before", strerror(-err));
    forget_heir(c);
    admission_reopen(c->services.admission);
    for (size_t i = 0; i < c->n_workers; i++)
        worker_resume(c->workers[i]);
}

static void lose_heir(struct concentrator *c)
{
    log_info("handover",
             "nobody tells this process of a changed configuration any more: send SIGHUP to %d, "
             "too, for its flows",
             (int)getpid());
    forget_heir(c);
}

static void on_heir_tells(evutil_socket_t fd, short what, void *arg)
{
    struct concentrator *c = arg;
    int told = handover_is_told_reload(fd);

    if (told == 1)
        reload(c);
    else if (told < 0)
        lose_heir(c);
}

/* SIGHUP comes to who has taken over, not to us. */
static void listen_to_heir(struct concentrator *c)
{
    event_del(c->on_heir);
    if (event_assign(c->on_heir, c->base, event_get_fd(c->on_heir), EV_READ | EV_PERSIST,
                     on_heir_tells, c) == -1 ||
        event_add(c->on_heir, NULL) == -1)
        lose_heir(c);
}

static void retire(struct concentrator *c)
{
    c->retired = true;
    tell(c, "handed over", "");
    log_info("handover", "another process has taken over; running flows go on here to their end");
    for (size_t i = 0; i < c->n_workers; i++)
        worker_retire(c->workers[i]);
    kernel_forget(&c->kernel);
    web_free(c->web);
    c->web = NULL;
    control_free(c->control);
    c->control = NULL;
    handover_let_go(event_get_fd(c->on_heir));
    elders_bequeath(c->elders, event_get_fd(c->on_heir));
    listen_to_heir(c);
}

static void on_heir_speaks(evutil_socket_t fd, short what, void *arg)
{
    struct concentrator *c = arg;
    int taken = what & EV_TIMEOUT ? -ETIMEDOUT : handover_is_taken(fd);

    if (taken == 1)
        retire(c);
    else if (taken < 0)
        go_on(c, taken);
}

static void on_hand_over(void *arg, int fd)
{
    struct concentrator *c = arg;

    if (c->on_heir) { /* one at a time */
        close(fd);
        return;
    }
    c->on_heir = event_new(c->base, fd, EV_READ | EV_PERSIST, on_heir_speaks, c);
    if (!c->on_heir) {
        close(fd);
        return;
    }
    int err = tell_heir(c, fd);
    if (err == 0 && event_add(c->on_heir, &heir_patience) == -1)
        err = -ENOMEM;
    if (err < 0)
        go_on(c, err);
}

/* Returns 0, also when there is nobody to take over from; or -errno after having said why. */
static int take_over(struct concentrator *c)
{
    const char *path = peers_config(c->peers)->control_socket;
    int err = handover_ask(path, &c->inherited, &c->elder_fd);

    if (err == -ENOENT || err == -ECONNREFUSED) {
        log_info("handover", "no concentrator answers on %s: starting without one before", path);
        return 0;
    }
    if (err == 0)
        err = admission_inherit(c->services.admission, &c->inherited.admission);
    if (err == -EPROTO)
        log_error("handover", "the concentrator on %s cannot hand over to this version: restart it",
                  path);
    else if (err < 0)
        log_error("handover", "cannot take over from the concentrator on %s: %s", path,
                  strerror(-err));
    return err;
}

/* From here on, nothing may end this process: nobody else listens any more. */
static int finish_take_over(struct concentrator *c)
{
    int err = handover_take(c->elder_fd);
    if (err < 0) {
        log_error("handover", "the other process did not let go: %s", strerror(-err));
        return err;
    }
    elders_add(c->elders, c->elder_fd);
    c->elder_fd = -1;
    log_info("handover", "taken over listeners=%zu salts=%zu", c->inherited.n_listeners,
             c->inherited.admission.n_salts);
    return 0;
}

/* ---- the end ---- */

static void on_stop(void *arg)
{
    struct concentrator *c = arg;

    tell(c, "stopping", "");
    log_info("concentrator", "stopping: running flows have %d s to end, or a second signal",
             (int)drain_limit.tv_sec);
    event_add(c->drain_deadline, &drain_limit);
    for (size_t i = 0; i < c->n_workers; i++)
        worker_drain(c->workers[i]);
}

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
    struct concentrator *c = arg;
    uint64_t n;

    if (read(fd, &n, sizeof(n)) == -1)
        return;
    c->n_drained += n;
    if (c->n_drained >= c->n_workers)
        event_base_loopbreak(c->base);
}

static void on_drain_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct concentrator *c = arg;

    log_warning("concentrator", "ending the flows that are left");
    event_base_loopbreak(c->base);
}

/* ---- the start ---- */

/* SO_REUSEPORT lets a second concentrator of the same user share the port in silence. */
static int check_port_free(const struct addr *at)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(at, &ss);
    int one = 1, err = 0;
    int fd = mptcp_tcp_socket(at->family);

    if (fd < 0)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (at->family == 6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&ss, len) == -1 || listen(fd, 1) == -1)
        err = -errno;
    close(fd);
    return err;
}

static const char *remedy_of_listen(int err)
{
    switch (err) {
    case -EADDRINUSE:
        return "another program has this port: stop it, or change listen";
    case -EADDRNOTAVAIL:
        return "this host has no such address: correct listen";
    case -EACCES:
        return "ports below 1024 need CAP_NET_BIND_SERVICE: choose another, or run as root";
    case -EAFNOSUPPORT:
        return "this host has no IPv6: take that address out of listen";
    default:
        return "correct listen";
    }
}

static void complain_of_listen(const struct addr *at, int err)
{
    char text[ADDR_TEXT];

    log_error("concentrator", "cannot listen on %s: %s; %s", addr_format(at, text), strerror(-err),
              remedy_of_listen(err));
}

static int check_ports_free(const struct concentrator_config *config,
                            const struct handover *inherited)
{
    for (size_t i = 0; i < config->n_listen; i++) {
        if (handover_find(inherited, &config->listen[i], 0) != -1)
            continue;
        int err = check_port_free(&config->listen[i]);
        if (err < 0) {
            complain_of_listen(&config->listen[i], err);
            return err;
        }
    }
    return 0;
}

static int make_workers(struct concentrator *c)
{
    const struct concentrator_config *config = peers_config(c->peers);
    struct addr failed;

    int err = check_ports_free(config, &c->inherited);
    if (err < 0)
        return err;
    c->workers = calloc(config->workers, sizeof(c->workers[0]));
    if (!c->workers) {
        log_error("concentrator", "cannot make workers: %s", strerror(ENOMEM));
        return -ENOMEM;
    }
    while (c->n_workers < config->workers) {
        err = worker_new(&c->workers[c->n_workers], c->peers, &c->services, &c->inherited,
                         c->n_workers, c->drained_fd, &failed);
        if (err < 0) {
            if (failed.family)
                complain_of_listen(&failed, err);
            else
                log_error("concentrator", "cannot make a worker: %s", strerror(-err));
            return err;
        }
        c->n_workers++;
    }
    return 0;
}

static void check_probes(struct concentrator *c)
{
    c->services.answers_probes = true;
    for (size_t i = 0; i < c->n_workers; i++)
        c->services.answers_probes &= worker_answers_probes(c->workers[i]);
    if (!c->services.answers_probes)
        log_warning("concentrator", "cannot answer probes, so gateways notice dead uplinks later: "
                                    "another program has the UDP port of a listen address");
}

static int start_workers(struct concentrator *c)
{
    for (size_t i = 0; i < c->n_workers; i++) {
        int err = worker_start(c->workers[i]);
        if (err < 0) {
            log_error("concentrator", "cannot start a thread: %s", strerror(-err));
            return err;
        }
    }
    return 0;
}

static int open_control(struct concentrator *c)
{
    const char *path = peers_config(c->peers)->control_socket;
    int err = control_new(&c->control, c->base, path, commands, c);

    if (err == -EADDRINUSE)
        log_error("concentrator",
                  "another concentrator answers on %s: stop it, or change control_socket", path);
    else if (err < 0)
        log_error("concentrator",
                  "cannot open the control socket %s: %s; change control_socket, "
                  "or run as a user who may write there",
                  path, strerror(-err));
    return err;
}

static int open_web(struct concentrator *c)
{
    const struct concentrator_config *config = peers_config(c->peers);
    char at[ADDR_TEXT];

    if (!config->metrics_listen.family)
        return 0;
    int err = web_new(&c->web, c->base, &config->metrics_listen, pages, c);
    if (err == -EADDRINUSE && c->elder_fd != -1) /* by the elder, as it seems */
        return 0;
    if (err < 0)
        log_error("concentrator", "cannot serve metrics_listen %s: %s; write another, or remove it",
                  addr_format(&config->metrics_listen, at), strerror(-err));
    return err;
}

static int make_events(struct concentrator *c)
{
    const struct daemon_handlers handlers = {.reload = on_reload, .stop = on_stop, .arg = c};

    c->base = event_base_new();
    c->drained_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct timers timers = {.base = c->base};
    if (!c->base || c->drained_fd == -1 || timers_reserve(&timers, TIMERS))
        return -ENOMEM;
    c->events = events_new(c->base);
    c->elders = elders_new(c->base);
    c->daemon = daemon_new(c->base, &handlers);
    c->on_drained = event_new(c->base, c->drained_fd, EV_READ | EV_PERSIST, on_drained, c);
    c->drain_deadline = evtimer_new(c->base, on_drain_deadline, c);
    if (!c->events || !c->elders || !c->daemon || !c->drain_deadline || !c->on_drained ||
        event_add(c->on_drained, NULL) == -1)
        return -ENOMEM;
    return 0;
}

/* A flow takes two descriptors; the usual soft limit, 1024, is there for programs with select(). */
static int raise_descriptor_limit(const struct concentrator_config *config)
{
    size_t needed = room_descriptors_needed(config->workers, config->n_listen);
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        return -errno;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max >= needed)
        return 0;
    log_error("room",
              "%llu descriptors are too few for %u workers and %zu listen addresses: raise the "
              "limit (ulimit -n, or LimitNOFILE= of its unit) to %zu at least, or lower workers",
              (unsigned long long)limit.rlim_max, config->workers, config->n_listen, needed);
    return -EMFILE;
}

static int make_services(struct concentrator *c)
{
    c->services.admission = admission_new(clock_wall_ms(), clock_boot_ms());
    c->services.lobby = lobby_new();
    return c->services.admission && c->services.lobby ? 0 : -ENOMEM;
}

/* By an heir when the elder has let go: the control socket's three, and metrics_listen. What is
 * inherited is closed by then. */
#define OPENED_LATER 4

/* After everything else has been opened. */
static int measure_room(struct concentrator *c)
{
    const struct concentrator_config *config = peers_config(c->peers);
    struct room_facts facts;
    struct room_shares shares = {0};
    int err = room_look(&facts);

    facts.unauthenticated = config->max_unauthenticated;
    if (c->elder_fd != -1)
        facts.descriptors_used = facts.descriptors_used + OPENED_LATER - c->inherited.n_listeners;
    if (err == 0)
        err = room_share_out(&shares, &facts);
    if (err == -ENOSPC)
        log_error("room",
                  "there is no room for one session: %zu of %zu descriptors are in use, and there "
                  "are %llu MB of memory; raise the limit (ulimit -n), or use a larger machine",
                  facts.descriptors_used, facts.descriptors,
                  (unsigned long long)(facts.memory >> 20));
    else if (err < 0)
        log_error("room", "cannot tell how many descriptors there are: %s", strerror(-err));
    else
        log_info(
            "room", "max_sessions=%zu by=%s max_unauthenticated=%zu descriptors=%zu memory_mb=%llu",
            shares.sessions, shares.by_memory ? "memory" : "descriptors", shares.unauthenticated,
            facts.descriptors, (unsigned long long)(facts.memory >> 20));
    c->services.room.max = shares.sessions;
    c->services.max_unauthenticated = (shares.unauthenticated + c->n_workers - 1) / c->n_workers;
    return err;
}

static void log_start(const struct concentrator *c)
{
    const struct concentrator_config *config = peers_config(c->peers);
    char text[ADDR_TEXT];

    for (size_t i = 0; i < config->n_listen; i++)
        log_info("concentrator", "listening at=%s", addr_format(&config->listen[i], text));
    log_info("concentrator",
             "started version=%s workers=%zu gateways=%zu fastest_suite=%s max_warm=%u "
             "max_pending_dials=%u",
             BONDWAY_VERSION, c->n_workers, peers_count(c->peers),
             crypto_suite_name(crypto_fastest_suite()), config->max_warm,
             config->max_pending_dials);
}

/* Takes config. */
static int make_all(struct concentrator *c, struct concentrator_config *config)
{
    int err = peers_new(&c->peers, config, NULL);

    if (err < 0)
        concentrator_config_free(config);
    if (err == 0)
        err = make_services(c);
    if (err == 0)
        err = make_events(c);
    if (err < 0)
        log_error("concentrator", "cannot start: %s", strerror(-err));
    return err;
}

/* Ports are bound and the kernel is prepared with the rights that there are at first. */
static int open_doors(struct concentrator *c)
{
    const struct concentrator_config *config = peers_config(c->peers);
    int err = raise_descriptor_limit(config);

    if (err == 0)
        err = make_workers(c);
    if (err < 0)
        return err;
    check_probes(c);
    return c->elder_fd == -1
               ? kernel_prepare(&c->kernel, config->packet_scheduler)
               : kernel_inherit(&c->kernel, &c->inherited.kernel, config->packet_scheduler);
}

/* All that may fail while an elder, if there is one, can still go on. */
static int prepare_to_serve(struct concentrator *c)
{
    int err = c->elder_fd == -1 ? open_control(c) : 0;

    if (err == 0)
        err = open_web(c);
    if (err == 0)
        err = measure_room(c);
    return err == 0 ? start_workers(c) : err;
}

/* What the elder has had until now. Gateways do without. */
static void open_what_was_the_elders(struct concentrator *c)
{
    if (open_control(c) < 0)
        log_error("handover",
                  "going on, but nothing can be asked of process %d: when that is put "
                  "right, restart it (systemctl restart bondway-concentrator)",
                  (int)getpid());
    if (!c->web && open_web(c) < 0)
        log_error("handover",
                  "going on without metrics: when that is put right, restart process "
                  "%d (systemctl restart bondway-concentrator)",
                  (int)getpid());
}

/* Takes config. Returns 0, or -errno after having said why. */
static int concentrator_start(struct concentrator *c, struct concentrator_config *config,
                              bool takes_over)
{
    int err = make_all(c, config);

    if (err == 0 && takes_over)
        err = take_over(c);
    if (err == 0)
        err = open_doors(c);
    if (err == 0)
        err = rights_give_up(peers_config(c->peers), c->config_path);
    if (err == 0)
        err = prepare_to_serve(c);
    bool is_heir = err == 0 && c->elder_fd != -1;
    if (is_heir)
        err = finish_take_over(c);
    handover_clear(&c->inherited);
    if (err < 0)
        return err;
    if (is_heir)
        open_what_was_the_elders(c);
    rights_enclose();
    for (size_t i = 0; i < c->n_workers; i++)
        worker_go(c->workers[i]);
    return 0;
}

static void concentrator_end(struct concentrator *c)
{
    if (c->on_heir)
        forget_heir(c);
    elders_free(c->elders);
    web_free(c->web);
    control_free(c->control);
    events_free(c->events);
    for (size_t i = 0; i < c->n_workers; i++)
        worker_free(c->workers[i]);
    free(c->workers);
    /* Before the other has let go, what it has changed is still its own to put back. */
    if (c->elder_fd == -1)
        kernel_restore(&c->kernel);
    else
        kernel_withdraw(&c->kernel);
    if (c->elder_fd != -1)
        close(c->elder_fd);
    if (c->on_drained)
        event_free(c->on_drained);
    if (c->drain_deadline)
        event_free(c->drain_deadline);
    daemon_free(c->daemon);
    if (c->base)
        event_base_free(c->base);
    if (c->drained_fd >= 0)
        close(c->drained_fd);
    lobby_free(c->services.lobby);
    admission_free(c->services.admission);
    peers_unref(c->peers);
}

int concentrator_run(const char *config_path, bool takes_over)
{
    struct concentrator c = {
        .config_path = config_path, .drained_fd = -1, .elder_fd = -1, .started_ms = clock_now_ms()};
    struct concentrator_config *config = concentrator_config_load(config_path, stderr);

    if (!config)
        return 2;
    int err = concentrator_start(&c, config, takes_over);
    if (err == 0) {
        log_start(&c);
        readiness_tell();
        tell(&c, "started", "");
        event_base_dispatch(c.base);
        log_info("concentrator", "stopped");
    }
    concentrator_end(&c);
    return err == 0 ? 0 : 1;
}
