#include "concentrator/admission.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FRESH_MS 30000
#define TOKEN_LIFE_MS 10000
/* A HELLO that an earlier life of this program has accepted could still be fresh for so long; its
 * salts are forgotten, so until then every gateway must show a token of this life. */
#define START_UP_MS 60000

struct admission {
    struct replay *replay;
    uint64_t started_wall_ms, started_boot_ms;
    uint8_t k_boot[32];
    atomic_bool closed;
    struct key dummy; /* whom a HELLO of an unknown id is tried against */
};

struct admission *admission_new(uint64_t wall_ms, uint64_t boot_ms)
{
    struct admission *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->started_wall_ms = wall_ms;
    a->started_boot_ms = boot_ms;
    a->replay = replay_new();
    if (!a->replay || crypto_random(a->k_boot, sizeof(a->k_boot)) < 0 ||
        crypto_random(&a->dummy, sizeof(a->dummy)) < 0) {
        admission_free(a);
        return NULL;
    }
    return a;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    replay_free(a->replay);
    crypto_wipe(a, sizeof(*a));
    free(a);
}

uint64_t admission_time_ms(const struct admission *a, uint64_t boot_ms)
{
    return a->started_wall_ms + (boot_ms - a->started_boot_ms);
}

void admission_close(struct admission *a)
{
    atomic_store(&a->closed, true);
}

void admission_reopen(struct admission *a)
{
    atomic_store(&a->closed, false);
}

int admission_bequeath(struct admission *a, struct admission_legacy *out)
{
    *out = (struct admission_legacy){.started_wall_ms = a->started_wall_ms,
                                     .started_boot_ms = a->started_boot_ms};
    memcpy(out->k_boot, a->k_boot, sizeof(out->k_boot));
    return replay_list(a->replay, &out->salts, &out->n_salts);
}

int admission_inherit(struct admission *a, const struct admission_legacy *legacy)
{
    a->started_wall_ms = legacy->started_wall_ms;
    a->started_boot_ms = legacy->started_boot_ms;
    memcpy(a->k_boot, legacy->k_boot, sizeof(a->k_boot));
    return replay_restore(a->replay, legacy->salts, legacy->n_salts);
}

void admission_legacy_clear(struct admission_legacy *legacy)
{
    free(legacy->salts);
    crypto_wipe(legacy, sizeof(*legacy));
}

void greeting_begin(struct greeting *g)
{
    memset(g, 0, sizeof(*g));
    g->want = HELLO_FIXED;
}

void greeting_wipe(struct greeting *g)
{
    crypto_wipe(g, sizeof(*g));
}

/* The id lies open behind the salt. An unknown one costs as much time as a known one. */
static enum hello_verdict open_fixed(struct admission *a, const struct peers *peers,
                                     struct greeting *g)
{
    const struct peer *peer = peers_find(peers, g->flight + HELLO_SALT);
    const struct key *key = peer ? peer->key : &a->dummy;

    if (hello_derive(key, g->flight, &g->keys) < 0)
        return HELLO_FAILED;
    enum hello_verdict verdict = hello_open(&g->keys, g->flight, &g->hello);
    if (verdict != HELLO_OK)
        return verdict;
    if (!peer || g->hello.flags != 0)
        return HELLO_BAD;
    g->peer = peer;
    return HELLO_OK;
}

static bool is_fresh(const struct admission *a, const struct greeting *g, uint64_t boot_ms)
{
    uint64_t now_ms = admission_time_ms(a, boot_ms);
    uint64_t apart =
        now_ms > g->hello.time_ms ? now_ms - g->hello.time_ms : g->hello.time_ms - now_ms;

    if (g->hello.has_token && token_valid(a->k_boot, g->peer->key->id, now_ms, g->hello.token))
        return true;
    return boot_ms - a->started_boot_ms > START_UP_MS && apart <= FRESH_MS;
}

/* Once for each: else who has recorded one could use up the challenges that its gateway needs, and,
 * where it was made while we were new, say it again when it counts as fresh. The gateway itself
 * greets anew, with another salt. */
static enum admission_verdict challenge(struct admission *a, struct greeting *g, size_t quota,
                                        uint64_t boot_ms)
{
    if (!account_may_challenge(g->peer->account, boot_ms))
        return ADMISSION_BAD;
    replay_insert(a->replay, g->peer->key->id, g->flight, quota, boot_ms);
    return ADMISSION_CHALLENGE;
}

/* Only a fresh HELLO, seen for the first time, learns that its version or suite does not suit:
 * a recorded one gets silence, as always. */
static enum admission_verdict check_policy(struct greeting *g)
{
    if (g->hello.version != PROTOCOL_VERSION)
        g->refusal = REFUSED_VERSION;
    else if (g->hello.suite != SUITE_CHACHA20_POLY1305 && g->hello.suite != SUITE_AES_128_GCM)
        g->refusal = REFUSED_SUITE;
    else
        return ADMISSION_WELCOME;
    return ADMISSION_REFUSED;
}

static enum admission_verdict decide(struct admission *a, struct greeting *g, uint64_t boot_ms)
{
    const uint8_t *salt = g->flight;
    const uint8_t *id = g->peer->key->id;
    /* As many as its dials, and its challenges, can bring while a salt is kept. */
    size_t quota = ((size_t)g->peer->limits.max_dials_per_second + ACCOUNT_CHALLENGES_PER_SECOND) *
                   (REPLAY_KEPT_MS / 1000);

    if (replay_contains(a->replay, id, salt, boot_ms))
        return ADMISSION_REPLAY;
    if (atomic_load(&a->closed))
        return ADMISSION_CHALLENGE;
    if (!is_fresh(a, g, boot_ms))
        return challenge(a, g, quota, boot_ms);
    switch (replay_insert(a->replay, id, salt, quota, boot_ms)) {
    case REPLAY_NEW:
        return check_policy(g);
    case REPLAY_FULL:
        return challenge(a, g, quota, boot_ms);
    case REPLAY_SEEN:
        break;
    }
    return ADMISSION_REPLAY;
}

enum admission_verdict admission_judge(struct admission *a, const struct peers *peers,
                                       struct greeting *g, uint64_t boot_ms)
{
    bool first = !g->peer;
    enum hello_verdict verdict =
        first ? open_fixed(a, peers, g)
              : hello_open_ext(&g->keys, g->flight, g->flight + HELLO_FIXED, &g->hello);

    if (verdict != HELLO_OK)
        return verdict == HELLO_FAILED ? ADMISSION_FAILED : ADMISSION_BAD;
    if (first && g->hello.ext_len > 0) {
        g->want = HELLO_FIXED + g->hello.ext_len + CRYPTO_TAG;
        return ADMISSION_MORE;
    }
    return decide(a, g, boot_ms);
}

int admission_reply(struct admission *a, const struct greeting *g, enum reply_type type,
                    uint8_t code, uint16_t probe_port, uint64_t boot_ms, struct reply_keys *keys,
                    uint8_t *out)
{
    const struct key *key = g->peer->key;
    struct reply reply = {
        .type = (uint8_t)type,
        .code = code,
        .time_ms = admission_time_ms(a, boot_ms),
        .probe_port = probe_port,
        .has_token = type == REPLY_CHALLENGE,
    };
    uint8_t salt[HELLO_SALT];
    int err = crypto_random(salt, sizeof(salt));

    if (err == 0)
        err = reply_derive(key, g->keys.prk, salt, keys);
    if (err == 0 && reply.has_token)
        err = token_make(a->k_boot, key->id, reply.time_ms + TOKEN_LIFE_MS, reply.token);
    return err < 0 ? err : reply_write(keys, g->flight, salt, &reply, out);
}
