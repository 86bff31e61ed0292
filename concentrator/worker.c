#include "concentrator/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "concentrator/echo.h"
#include "core/listener.h"
#include "core/loop.h"
#include "core/sandbox.h"

enum order {
    ORDER_RELOAD = 1,
    ORDER_DRAIN = 2,
    ORDER_REPORT = 4,
    ORDER_FLOWS = 8,
    ORDER_STOP = 16,
    ORDER_PAUSE = 32,
    ORDER_RESUME = 64,
    ORDER_RETIRE = 128
};

struct worker {
    struct event_base *base;
    struct session_group *sessions;
    struct echo *echo; /* NULL: its port was not to be had */
    struct listener **listeners;
    size_t n_listeners;
    int drained_fd;
    pthread_t thread;
    bool runs;

    int bell; /* an eventfd: rings when there are orders */
    struct event *on_bell;
    /* Under the lock: */
    pthread_mutex_t lock;
    pthread_cond_t obeyed, goes;
    bool may_go;
    unsigned orders, obeying; /* enum order, or-ed: waiting, and under way */
    struct peers *next_peers; /* with ORDER_RELOAD among those that wait */
    struct document *flows;   /* of the one who waits for them */
};

static void on_accepted(void *arg, int fd, const struct addr *peer)
{
    struct worker *w = arg;

    session_group_accept(w->sessions, fd, peer);
}

static void ring(int bell)
{
    const uint64_t one = 1;

    /* An eventfd's write fails only when its count is full, and then it rings already. */
    if (write(bell, &one, sizeof(one)) == -1)
        return;
}

static void on_drained(void *arg)
{
    struct worker *w = arg;

    ring(w->drained_fd);
}

/* Takes peers. */
static void obey_reload(struct worker *w, struct peers *peers)
{
    session_group_reload(w->sessions, peers);
    if (w->echo)
        echo_reload(w->echo, peers);
    peers_unref(peers);
}

static void close_doors(struct worker *w)
{
    while (w->n_listeners > 0)
        listener_free(w->listeners[--w->n_listeners]);
    echo_free(w->echo);
    w->echo = NULL;
}

static void obey_doors(struct worker *w, unsigned orders)
{
    for (size_t i = 0; i < w->n_listeners; i++) {
        if (orders & ORDER_PAUSE)
            listener_pause(w->listeners[i]);
        if (orders & ORDER_RESUME)
            listener_resume(w->listeners[i]);
    }
    if (orders & ORDER_RETIRE) {
        close_doors(w);
        session_group_retire(w->sessions);
    }
}

/* Takes peers, which come with ORDER_RELOAD. */
static void obey(struct worker *w, unsigned orders, struct peers *peers)
{
    if (orders & ORDER_RELOAD)
        obey_reload(w, peers);
    if (orders & ORDER_DRAIN)
        session_group_drain(w->sessions);
    if (orders & ORDER_REPORT)
        session_group_report(w->sessions);
    if (orders & ORDER_FLOWS)
        session_group_flows(w->sessions, w->flows);
    obey_doors(w, orders);
    if (orders & ORDER_STOP)
        event_base_loopbreak(w->base);
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    uint64_t rings;

    if (read(w->bell, &rings, sizeof(rings)) == -1)
        return;
    pthread_mutex_lock(&w->lock);
    unsigned orders = w->obeying = w->orders;
    struct peers *peers = w->next_peers;
    w->orders = 0;
    w->next_peers = NULL;
    pthread_mutex_unlock(&w->lock);
    obey(w, orders, peers);
    pthread_mutex_lock(&w->lock);
    w->obeying = 0;
    pthread_cond_broadcast(&w->obeyed);
    pthread_mutex_unlock(&w->lock);
}

static int adopt(struct worker *w, int inherited)
{
    int fd = fcntl(inherited, F_DUPFD_CLOEXEC, 0);

    if (fd == -1)
        return -errno;
    int err = listener_adopt(&w->listeners[w->n_listeners], w->base, fd, on_accepted, w);
    if (err < 0)
        close(fd);
    else
        w->n_listeners++;
    return err;
}

/* Of those inherited, worker i of n takes number i, i + n, i + 2n; where that is none, it shares
 * one. Returns 0, or -errno: -ENOENT when none was inherited. */
static int adopt_part(struct worker *w, const struct handover *inherited, const struct addr *at,
                      size_t index, size_t workers)
{
    size_t there = 0, taken = 0;
    int fd, err = 0;

    while (handover_find(inherited, at, there) != -1)
        there++;
    if (there == 0)
        return -ENOENT;
    for (size_t i = index; i < there && err == 0; i += workers, taken++) {
        fd = handover_find(inherited, at, i);
        err = adopt(w, fd);
    }
    return err == 0 && taken == 0 ? adopt(w, handover_find(inherited, at, index % there)) : err;
}

static int listen_everywhere(struct worker *w, const struct concentrator_config *config,
                             const struct handover *inherited, size_t index, struct addr *failed)
{
    w->listeners = calloc(config->n_listen + inherited->n_listeners, sizeof(w->listeners[0]));
    if (!w->listeners)
        return -ENOMEM;
    for (size_t i = 0; i < config->n_listen; i++) {
        const struct addr *at = &config->listen[i];
        int err = adopt_part(w, inherited, at, index, config->workers);
        if (err == -ENOENT)
            err = listener_new(&w->listeners[w->n_listeners], w->base, LISTENER_MPTCP, at,
                               on_accepted, w);
        else if (err == 0)
            continue;
        if (err < 0) {
            *failed = *at;
            return err;
        }
        w->n_listeners++;
    }
    return 0;
}

static int make_bell(struct worker *w)
{
    w->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->bell == -1)
        return -errno;
    w->on_bell = event_new(w->base, w->bell, EV_READ | EV_PERSIST, on_bell, w);
    if (!w->on_bell)
        return -ENOMEM;
    loop_goes_first(w->on_bell);
    return event_add(w->on_bell, NULL) == 0 ? 0 : -ENOMEM;
}

int worker_new(struct worker **out, struct peers *peers, struct session_services *services,
               const struct handover *inherited, size_t index, int drained_fd, struct addr *failed)
{
    struct worker *w = calloc(1, sizeof(*w));

    *failed = (struct addr){0};
    if (!w)
        return -ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->obeyed, NULL);
    pthread_cond_init(&w->goes, NULL);
    w->drained_fd = drained_fd;
    w->bell = -1;
    w->base = loop_new();
    int err = w->base ? make_bell(w) : -ENOMEM;
    if (err == 0)
        err = session_group_new(&w->sessions, w->base, peers, services, on_drained, w);
    if (err == 0)
        err = listen_everywhere(w, peers_config(peers), inherited, index, failed);
    if (err < 0) {
        worker_free(w);
        return err;
    }
    if (echo_new(&w->echo, w->base, peers, services->admission) < 0)
        w->echo = NULL;
    *out = w;
    return 0;
}

bool worker_answers_probes(const struct worker *w)
{
    return w->echo != NULL;
}

static void *run(void *arg)
{
    struct worker *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->may_go)
        pthread_cond_wait(&w->goes, &w->lock);
    pthread_mutex_unlock(&w->lock);
    /* Where there is none, the main thread has said so. */
    sandbox_enter(SANDBOX_RELAY);
    event_base_dispatch(w->base);
    return NULL;
}

int worker_start(struct worker *w)
{
    sigset_t all, before;

    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->runs = err == 0;
    return -err;
}

void worker_go(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->may_go = true;
    pthread_cond_signal(&w->goes);
    pthread_mutex_unlock(&w->lock);
}

/* Those that wait are obeyed together: what an order undoes must not wait beside it. */
static unsigned undone_by(enum order order)
{
    return order == ORDER_PAUSE ? ORDER_RESUME : order == ORDER_RESUME ? ORDER_PAUSE : 0;
}

static void give_order(struct worker *w, enum order order)
{
    pthread_mutex_lock(&w->lock);
    w->orders = (w->orders & ~undone_by(order)) | order;
    pthread_mutex_unlock(&w->lock);
    ring(w->bell);
}

static void wait_until_obeyed(struct worker *w, enum order order)
{
    pthread_mutex_lock(&w->lock);
    while ((w->orders | w->obeying) & order)
        pthread_cond_wait(&w->obeyed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void worker_reload(struct worker *w, struct peers *peers)
{
    pthread_mutex_lock(&w->lock);
    peers_unref(w->next_peers);
    w->next_peers = peers_ref(peers);
    w->orders |= ORDER_RELOAD;
    pthread_mutex_unlock(&w->lock);
    ring(w->bell);
}

void worker_drain(struct worker *w)
{
    give_order(w, ORDER_DRAIN);
}

void worker_resume(struct worker *w)
{
    give_order(w, ORDER_RESUME);
}

void worker_retire(struct worker *w)
{
    give_order(w, ORDER_RETIRE);
}

void worker_pause(struct worker *w)
{
    give_order(w, ORDER_PAUSE);
    wait_until_obeyed(w, ORDER_PAUSE);
}

size_t worker_listeners(const struct worker *w, int *out, size_t max)
{
    size_t n = w->n_listeners < max ? w->n_listeners : max;

    for (size_t i = 0; i < n; i++)
        out[i] = listener_fd(w->listeners[i]);
    return n;
}

void worker_report(struct worker *w)
{
    give_order(w, ORDER_REPORT);
    wait_until_obeyed(w, ORDER_REPORT);
}

void worker_flows(struct worker *w, struct document *list)
{
    w->flows = list;
    give_order(w, ORDER_FLOWS);
    wait_until_obeyed(w, ORDER_FLOWS);
    w->flows = NULL;
}

static void stop(struct worker *w)
{
    if (!w->runs)
        return;
    give_order(w, ORDER_STOP);
    worker_go(w); /* where it had not begun, to that order */
    pthread_join(w->thread, NULL);
    w->runs = false;
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    stop(w);
    session_group_free(w->sessions);
    close_doors(w);
    free(w->listeners);
    if (w->on_bell)
        event_free(w->on_bell);
    if (w->bell >= 0)
        close(w->bell);
    if (w->base)
        event_base_free(w->base);
    peers_unref(w->next_peers);
    pthread_cond_destroy(&w->obeyed);
    pthread_cond_destroy(&w->goes);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
