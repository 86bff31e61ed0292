/* Orders to a worker, where one comes while it takes up another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "concentrator/worker.h"
#include "core/clock.h"
#include "core/listener.h"
#include "tests/unit/concentrator_fixture.h"

struct fixture {
    struct peers *first, *second;
    struct session_services services;
    struct worker *worker;
};

/* ---- what the worker meets ---- */

static pthread_t main_thread;
static struct worker *interrupted;    /* gets... */
static struct peers *next;            /* ...these after the order that it is given now, ... */
static struct peers *_Atomic between; /* ...as soon as it has taken that up */
static struct peers *_Atomic reloaded;
static atomic_bool reloaded_with_none, listens;
static sem_t is_busy, may_go_on;

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    bool is_main = pthread_equal(pthread_self(), main_thread);

    if (is_main && next) {
        between = next;
        next = NULL;
    }
    int err = __real_pthread_mutex_unlock(mutex);
    struct peers *peers = is_main ? NULL : atomic_exchange(&between, NULL);
    if (peers)
        worker_reload(interrupted, peers);
    return err;
}

/* The main thread has given an order, and waits. */
int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    if (pthread_equal(pthread_self(), main_thread))
        sem_post(&may_go_on);
    return __real_pthread_cond_wait(condition, mutex);
}

void __wrap_session_group_reload(struct session_group *group, struct peers *peers);
void __wrap_session_group_reload(struct session_group *group, struct peers *peers)
{
    if (!peers)
        reloaded_with_none = true;
    else
        reloaded = peers;
}

void __wrap_session_group_drain(struct session_group *group);
void __wrap_session_group_drain(struct session_group *group)
{
    sem_post(&is_busy);
    sem_wait(&may_go_on);
}

void __wrap_listener_pause(struct listener *listener);
void __wrap_listener_pause(struct listener *listener)
{
    listens = false;
}

void __wrap_listener_resume(struct listener *listener);
void __wrap_listener_resume(struct listener *listener)
{
    listens = true;
}

/* ---- */

static struct concentrator_config *configuration(void)
{
    struct concentrator_config *config = fixture_config(1);

    config->listen = calloc(1, sizeof(config->listen[0]));
    config->n_listen = 1;
    assert_int_equal(addr_parse(&config->listen[0], "127.0.0.1:1"), 0);
    config->listen[0].port = 0; /* any */
    return config;
}

static int setup(void **state)
{
    static const struct handover none;
    struct fixture *f = calloc(1, sizeof(*f));
    struct addr failed;

    main_thread = pthread_self();
    sem_init(&is_busy, 0, 0);
    sem_init(&may_go_on, 0, 0);
    assert_int_equal(peers_new(&f->first, configuration(), NULL), 0);
    assert_int_equal(peers_new(&f->second, configuration(), f->first), 0);
    f->services.admission = admission_new(clock_wall_ms(), clock_boot_ms());
    f->services.lobby = lobby_new();
    assert_int_equal(worker_new(&f->worker, f->first, &f->services, &none, 0, -1, &failed), 0);
    assert_int_equal(worker_start(f->worker), 0);
    *state = f;
    return 0;
}

static int setup_running(void **state)
{
    setup(state);
    struct fixture *f = *state;
    worker_go(f->worker);
    worker_report(f->worker);
    sem_trywait(&may_go_on); /* for the report, perhaps */
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    worker_free(f->worker);
    lobby_free(f->services.lobby);
    admission_free(f->services.admission);
    peers_unref(f->first);
    peers_unref(f->second);
    free(f);
    return 0;
}

static void the_last_of_two_reloads_counts(void **state)
{
    struct fixture *f = *state;
    uint64_t end = clock_now_ms() + 5000;

    interrupted = f->worker;
    next = f->second;
    worker_reload(f->worker, f->first);
    while (reloaded != f->second) {
        assert_true(clock_now_ms() < end);
        sched_yield();
    }
    worker_report(f->worker); /* obeyed after what else waited */
    worker_report(f->worker);
    assert_false(reloaded_with_none);
}

/* Both wait while it is busy. */
static void a_pause_after_a_resume_is_a_pause(void **state)
{
    struct fixture *f = *state;

    listens = true;
    worker_drain(f->worker);
    sem_wait(&is_busy);
    worker_resume(f->worker);
    worker_pause(f->worker);
    assert_false(listens);
}

/* As that of an heir that comes to nothing. */
static void one_that_was_never_let_go_ends(void **state)
{
    struct fixture *f = *state;

    worker_free(f->worker);
    f->worker = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_of_two_reloads_counts, setup_running, teardown),
        cmocka_unit_test_setup_teardown(a_pause_after_a_resume_is_a_pause, setup_running, teardown),
        cmocka_unit_test_setup_teardown(one_that_was_never_let_go_ends, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
