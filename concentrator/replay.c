#include "concentrator/replay.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES (KEY_ID + HELLO_SALT)
#define KEY_WORDS (KEY_BYTES / 4)
#define BUCKETS_AT_FIRST 1024

struct entry {
    struct entry *next_in_bucket, *next_by_age;
    struct holder *holder;
    uint64_t until_ms;
    uint8_t key[KEY_BYTES]; /* id || salt */
};

/* One gateway's share. There are as many as gateways, so a plain list would do; it moves the last
 * one used to the front. */
struct holder {
    struct holder *next;
    uint8_t id[KEY_ID];
    size_t count;
};

struct replay {
    pthread_mutex_t lock;
    size_t count, n_buckets; /* n_buckets: a power of two */
    struct entry **buckets;
    struct entry *oldest, *newest;
    struct holder *holders;
    uint64_t multipliers[KEY_WORDS + 1];
};

struct replay *replay_new(void)
{
    struct replay *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    pthread_mutex_init(&r->lock, NULL);
    r->n_buckets = BUCKETS_AT_FIRST;
    r->buckets = calloc(r->n_buckets, sizeof(r->buckets[0]));
    if (!r->buckets || crypto_random(r->multipliers, sizeof(r->multipliers)) < 0) {
        replay_free(r);
        return NULL;
    }
    return r;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    while (r->oldest) {
        struct entry *e = r->oldest;
        r->oldest = e->next_by_age;
        free(e);
    }
    while (r->holders) {
        struct holder *h = r->holders;
        r->holders = h->next;
        free(h);
    }
    free(r->buckets);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Salts are chosen by gateways, and one of them might be hostile: multiply-shift with secret random
 * factors is strongly universal (Dietzfelbinger), so nobody can aim at one bucket. */
static struct entry **bucket_of(const struct replay *r, const uint8_t key[KEY_BYTES])
{
    uint64_t sum = r->multipliers[KEY_WORDS];
    uint32_t word;

    for (size_t i = 0; i < KEY_WORDS; i++) {
        memcpy(&word, key + 4 * i, sizeof(word));
        sum += r->multipliers[i] * word;
    }
    return &r->buckets[(sum >> 32) & (r->n_buckets - 1)];
}

static void unlink_from_bucket(struct replay *r, struct entry *e)
{
    struct entry **at = bucket_of(r, e->key);

    while (*at != e)
        at = &(*at)->next_in_bucket;
    *at = e->next_in_bucket;
}

static void drop_expired(struct replay *r, uint64_t now_ms)
{
    while (r->oldest && r->oldest->until_ms <= now_ms) {
        struct entry *e = r->oldest;
        unlink_from_bucket(r, e);
        r->oldest = e->next_by_age;
        if (!r->oldest)
            r->newest = NULL;
        e->holder->count--;
        r->count--;
        free(e);
    }
}

static bool find(const struct replay *r, const uint8_t key[KEY_BYTES])
{
    for (const struct entry *e = *bucket_of(r, key); e; e = e->next_in_bucket) {
        if (memcmp(e->key, key, KEY_BYTES) == 0)
            return true;
    }
    return false;
}

static struct holder *holder_of(struct replay *r, const uint8_t id[KEY_ID])
{
    struct holder **at = &r->holders;

    while (*at && memcmp((*at)->id, id, KEY_ID) != 0)
        at = &(*at)->next;
    struct holder *h = *at;
    if (h)
        *at = h->next;
    else if (!(h = calloc(1, sizeof(*h))))
        return NULL;
    memcpy(h->id, id, KEY_ID);
    h->next = r->holders;
    r->holders = h;
    return h;
}

/* Keeps chains short. Without memory they get longer: slower, not wrong. */
static void grow(struct replay *r)
{
    if (r->count < r->n_buckets)
        return;
    struct entry **bigger = calloc(2 * r->n_buckets, sizeof(bigger[0]));
    if (!bigger)
        return;
    free(r->buckets);
    r->buckets = bigger;
    r->n_buckets *= 2;
    for (struct entry *e = r->oldest; e; e = e->next_by_age) {
        struct entry **at = bucket_of(r, e->key);
        e->next_in_bucket = *at;
        *at = e;
    }
}

/* It becomes the youngest. */
static int append(struct replay *r, struct holder *holder, const uint8_t key[KEY_BYTES],
                  uint64_t until_ms)
{
    struct entry *e = malloc(sizeof(*e));

    if (!e)
        return -ENOMEM;
    grow(r);
    struct entry **at = bucket_of(r, key);
    *e = (struct entry){.next_in_bucket = *at, .holder = holder, .until_ms = until_ms};
    memcpy(e->key, key, KEY_BYTES);
    *at = e;
    if (r->newest)
        r->newest->next_by_age = e;
    else
        r->oldest = e;
    r->newest = e;
    holder->count++;
    r->count++;
    return 0;
}

static enum replay_verdict insert(struct replay *r, const uint8_t key[KEY_BYTES], size_t quota,
                                  uint64_t now_ms)
{
    if (find(r, key))
        return REPLAY_SEEN;
    struct holder *holder = holder_of(r, key);
    if (!holder || holder->count >= quota)
        return REPLAY_FULL;
    return append(r, holder, key, now_ms + REPLAY_KEPT_MS) == 0 ? REPLAY_NEW : REPLAY_FULL;
}

static void join_key(uint8_t key[KEY_BYTES], const uint8_t *id, const uint8_t *salt)
{
    memcpy(key, id, KEY_ID);
    memcpy(key + KEY_ID, salt, HELLO_SALT);
}

enum replay_verdict replay_insert(struct replay *r, const uint8_t id[KEY_ID],
                                  const uint8_t salt[HELLO_SALT], size_t quota, uint64_t now_ms)
{
    uint8_t key[KEY_BYTES];

    join_key(key, id, salt);
    pthread_mutex_lock(&r->lock);
    drop_expired(r, now_ms);
    enum replay_verdict verdict = insert(r, key, quota, now_ms);
    pthread_mutex_unlock(&r->lock);
    return verdict;
}

bool replay_contains(struct replay *r, const uint8_t id[KEY_ID], const uint8_t salt[HELLO_SALT],
                     uint64_t now_ms)
{
    uint8_t key[KEY_BYTES];

    join_key(key, id, salt);
    pthread_mutex_lock(&r->lock);
    drop_expired(r, now_ms);
    bool found = find(r, key);
    pthread_mutex_unlock(&r->lock);
    return found;
}

int replay_list(struct replay *r, struct replay_entry **out, size_t *n)
{
    pthread_mutex_lock(&r->lock);
    struct replay_entry *list = r->count ? calloc(r->count, sizeof(list[0])) : NULL;
    int err = list || r->count == 0 ? 0 : -ENOMEM;
    *n = 0;
    for (const struct entry *e = list ? r->oldest : NULL; e; e = e->next_by_age) {
        struct replay_entry *entry = &list[(*n)++];
        memcpy(entry->id, e->key, KEY_ID);
        memcpy(entry->salt, e->key + KEY_ID, HELLO_SALT);
        entry->until_ms = e->until_ms;
    }
    pthread_mutex_unlock(&r->lock);
    *out = list;
    return err;
}

int replay_restore(struct replay *r, const struct replay_entry *list, size_t n)
{
    uint8_t key[KEY_BYTES];
    int err = 0;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n && err == 0; i++) {
        join_key(key, list[i].id, list[i].salt);
        struct holder *holder = holder_of(r, key);
        err = holder ? append(r, holder, key, list[i].until_ms) : -ENOMEM;
    }
    pthread_mutex_unlock(&r->lock);
    return err;
}

size_t replay_count(struct replay *r)
{
    pthread_mutex_lock(&r->lock);
    size_t count = r->count;
    pthread_mutex_unlock(&r->lock);
    return count;
}
