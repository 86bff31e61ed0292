#include "concentrator/account.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

/* So many events in each second, counted from the first one. */
struct rate {
    uint64_t second_start_ms;
    uint32_t passed;
};

struct account {
    pthread_mutex_t lock;
    unsigned references;
    uint32_t at[ACCOUNT_PLACES];
    struct rate dials, challenges;
    uint64_t total, rx_bytes, tx_bytes, refused, last_seen_ms;
    bool seen;
};

struct account *account_new(void)
{
    struct account *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->references = 1;
    return a;
}

struct account *account_ref(struct account *a)
{
    pthread_mutex_lock(&a->lock);
    a->references++;
    pthread_mutex_unlock(&a->lock);
    return a;
}

void account_unref(struct account *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    unsigned left = --a->references;
    pthread_mutex_unlock(&a->lock);
    if (left > 0)
        return;
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static bool rate_pass(struct rate *rate, uint32_t per_second, uint64_t now_ms)
{
    if (now_ms - rate->second_start_ms >= 1000) {
        rate->second_start_ms = now_ms;
        rate->passed = 0;
    }
    if (rate->passed >= per_second)
        return false;
    rate->passed++;
    return true;
}

/* A gateway opens many connections at once when a page loads, and each is without OPEN for one
 * round trip: so max_warm binds those that stay so, and what is under way counts as a flow. */
static bool place_free(struct account *a, enum account_place to,
                       const struct account_limits *limits, uint64_t now_ms)
{
    uint64_t flows = (uint64_t)a->at[ACCOUNT_DIALING] + a->at[ACCOUNT_RELAYING];
    uint64_t all = flows + a->at[ACCOUNT_GREETED] + a->at[ACCOUNT_WARM] + a->at[ACCOUNT_ENDING];

    switch (to) {
    case ACCOUNT_GREETED:
        return flows < limits->max_flows && all < (uint64_t)limits->max_flows + limits->max_warm;
    case ACCOUNT_WARM:
        return a->at[ACCOUNT_WARM] < limits->max_warm;
    case ACCOUNT_DIALING:
        return flows < limits->max_flows && a->at[ACCOUNT_DIALING] < limits->max_dialing &&
               rate_pass(&a->dials, limits->max_dials_per_second, now_ms);
    default:
        return true;
    }
}

bool account_move(struct account *a, enum account_place from, enum account_place to,
                  const struct account_limits *limits, uint64_t now_ms)
{
    pthread_mutex_lock(&a->lock);
    bool free_place = place_free(a, to, limits, now_ms);
    if (free_place) {
        assert(from == ACCOUNT_OUTSIDE || a->at[from] > 0);
        if (from != ACCOUNT_OUTSIDE)
            a->at[from]--;
        if (to != ACCOUNT_OUTSIDE)
            a->at[to]++;
        if (to == ACCOUNT_DIALING)
            a->total++;
        a->seen = true;
        a->last_seen_ms = now_ms;
    }
    pthread_mutex_unlock(&a->lock);
    return free_place;
}

void account_add_bytes(struct account *a, uint64_t rx, uint64_t tx, uint64_t now_ms)
{
    if (rx == 0 && tx == 0)
        return;
    pthread_mutex_lock(&a->lock);
    a->rx_bytes += rx;
    a->tx_bytes += tx;
    a->last_seen_ms = now_ms;
    pthread_mutex_unlock(&a->lock);
}

void account_note_refused(struct account *a)
{
    pthread_mutex_lock(&a->lock);
    a->refused++;
    pthread_mutex_unlock(&a->lock);
}

bool account_may_challenge(struct account *a, uint64_t now_ms)
{
    pthread_mutex_lock(&a->lock);
    bool may = rate_pass(&a->challenges, ACCOUNT_CHALLENGES_PER_SECOND, now_ms);
    pthread_mutex_unlock(&a->lock);
    return may;
}

void account_read(struct account *a, struct account_figures *out)
{
    pthread_mutex_lock(&a->lock);
    *out = (struct account_figures){
        .flows = a->at[ACCOUNT_DIALING] + a->at[ACCOUNT_RELAYING],
        .warm = a->at[ACCOUNT_GREETED] + a->at[ACCOUNT_WARM],
        .total = a->total,
        .rx_bytes = a->rx_bytes,
        .tx_bytes = a->tx_bytes,
        .refused = a->refused,
        .seen = a->seen,
        .last_seen_ms = a->last_seen_ms,
    };
    pthread_mutex_unlock(&a->lock);
}
