#include "concentrator/lobby.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/crypto.h"

#define BUCKETS 1024 /* a power of two */
#define SOURCE_BYTES 8

struct source {
    struct source *next;
    uint8_t family;
    uint8_t prefix[SOURCE_BYTES];
    uint32_t count;
    uint64_t vouched_until_ms; /* 0: nobody vouched for it */
};

struct lobby {
    pthread_mutex_t lock;
    size_t count, n_vouched; /* n_vouched: sources, some of them perhaps no longer */
    uint64_t factors[3];
    struct source *buckets[BUCKETS];
};

struct lobby *lobby_new(void)
{
    struct lobby *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    if (crypto_random(l->factors, sizeof(l->factors)) < 0) {
        free(l);
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

void lobby_free(struct lobby *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (l->buckets[i]) {
            struct source *s = l->buckets[i];
            l->buckets[i] = s->next;
            free(s);
        }
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* Where the source is, or where it would be appended. Secret factors: nobody can choose his
 * addresses so that they share one bucket. */
static struct source **place_of(struct lobby *l, const struct addr *a)
{
    uint8_t prefix[SOURCE_BYTES] = {0};
    uint32_t words[2];

    memcpy(prefix, a->ip, a->family == 4 ? 4 : SOURCE_BYTES);
    memcpy(words, prefix, sizeof(words));
    uint64_t sum = l->factors[0] * words[0] + l->factors[1] * words[1] + l->factors[2];
    struct source **at = &l->buckets[(sum >> 32) & (BUCKETS - 1)];
    while (*at && ((*at)->family != a->family || memcmp((*at)->prefix, prefix, SOURCE_BYTES) != 0))
        at = &(*at)->next;
    return at;
}

/* NULL: out of memory. */
static struct source *find_or_make(struct lobby *l, const struct addr *a)
{
    struct source **at = place_of(l, a);

    if (!*at && (*at = calloc(1, sizeof(**at)))) {
        (*at)->family = a->family;
        memcpy((*at)->prefix, a->ip, a->family == 4 ? 4 : SOURCE_BYTES);
    }
    return *at;
}

static void drop_unused(struct source **at)
{
    struct source *s = *at;

    if (s->count > 0 || s->vouched_until_ms > 0)
        return;
    *at = s->next;
    free(s);
}

static bool enter(struct lobby *l, const struct addr *a, uint32_t max_per_source, uint64_t now_ms)
{
    struct source *s = find_or_make(l, a);

    if (!s || (s->count >= max_per_source && s->vouched_until_ms <= now_ms))
        return false;
    s->count++;
    l->count++;
    return true;
}

bool lobby_enter(struct lobby *l, const struct addr *source, uint32_t max_per_source,
                 uint64_t now_ms)
{
    pthread_mutex_lock(&l->lock);
    bool entered = enter(l, source, max_per_source, now_ms);
    pthread_mutex_unlock(&l->lock);
    return entered;
}

void lobby_leave(struct lobby *l, const struct addr *source)
{
    pthread_mutex_lock(&l->lock);
    struct source **at = place_of(l, source);
    assert(*at && (*at)->count > 0);
    l->count--;
    (*at)->count--;
    drop_unused(at);
    pthread_mutex_unlock(&l->lock);
}

static void forget_expired(struct lobby *l, uint64_t now_ms)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct source **at = &l->buckets[i];
        while (*at) {
            struct source *s = *at;
            if (s->vouched_until_ms > 0 && s->vouched_until_ms <= now_ms) {
                s->vouched_until_ms = 0;
                l->n_vouched--;
                drop_unused(at);
            }
            if (*at == s)
                at = &s->next;
        }
    }
}

void lobby_vouch(struct lobby *l, const struct addr *source, uint64_t now_ms)
{
    pthread_mutex_lock(&l->lock);
    struct source *s = find_or_make(l, source);
    if (s && s->vouched_until_ms == 0 && l->n_vouched >= LOBBY_VOUCHED_MAX)
        forget_expired(l, now_ms);
    if (s && (s->vouched_until_ms > 0 || l->n_vouched < LOBBY_VOUCHED_MAX)) {
        l->n_vouched += s->vouched_until_ms == 0;
        s->vouched_until_ms = now_ms + LOBBY_VOUCHED_MS;
    }
    if (s)
        drop_unused(place_of(l, source));
    pthread_mutex_unlock(&l->lock);
}

size_t lobby_count(struct lobby *l)
{
    pthread_mutex_lock(&l->lock);
    size_t count = l->count;
    pthread_mutex_unlock(&l->lock);
    return count;
}
