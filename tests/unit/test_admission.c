/* Who may come in: freshness, token, replay, policy, with the time as the test wants it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "concentrator/admission.h"
#include "concentrator/replay.h"
#include "tests/unit/concentrator_fixture.h"

#define WALL 1700000000000ULL /* when the concentrator started, by the wall */
#define BOOT 5000000ULL       /* and since boot */
#define LATER (BOOT + 61000)  /* when a clock alone is enough */

struct fixture {
    struct peers *peers;
    struct admission *admission;
    struct greeting greeting;
    uint8_t salt[HELLO_SALT];
    uint8_t token[HELLO_TOKEN];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(peers_new(&f->peers, fixture_config(2), NULL), 0);
    f->admission = admission_new(WALL, BOOT);
    *state = f;
    return f->admission ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    admission_free(f->admission);
    peers_unref(f->peers);
    free(f);
    return 0;
}

/* A gateway's flight, fed as a session feeds it. */
static enum admission_verdict feed(struct fixture *f, const uint8_t *flight, size_t len,
                                   uint64_t boot_ms)
{
    struct greeting *g = &f->greeting;
    enum admission_verdict verdict = ADMISSION_MORE;
    size_t at = 0;

    greeting_begin(g);
    while (verdict == ADMISSION_MORE) {
        assert_true(at < g->want && g->want <= len);
        memcpy(g->flight + at, flight + at, g->want - at);
        at = g->have = g->want;
        verdict = admission_judge(f->admission, f->peers, g, boot_ms);
    }
    return verdict;
}

static enum admission_verdict say_hello(struct fixture *f, const struct key *key,
                                        enum crypto_suite suite, uint64_t time_ms,
                                        const uint8_t *token, uint64_t boot_ms)
{
    struct hello_keys keys;
    uint8_t flight[HELLO_MAX];

    assert_int_equal(hello_derive(key, f->salt, &keys), 0);
    int len = hello_write(key, &keys, f->salt, suite, time_ms, token, flight);
    assert_true(len > 0);
    return feed(f, flight, (size_t)len, boot_ms);
}

/* From gateway number n, with a new salt. */
static enum admission_verdict hello(struct fixture *f, unsigned n, uint64_t time_ms,
                                    const uint8_t *token, uint64_t boot_ms)
{
    struct key key = fixture_key(n);

    crypto_random(f->salt, sizeof(f->salt));
    return say_hello(f, &key, SUITE_CHACHA20_POLY1305, time_ms, token, boot_ms);
}

/* What the concentrator answered, as the gateway reads it; keeps the token. */
static struct reply read_reply(struct fixture *f, enum reply_type type, uint8_t code,
                               uint64_t boot_ms)
{
    struct reply_keys sent, keys;
    struct reply reply;
    uint8_t out[REPLY_MAX];
    const struct key *key = f->greeting.peer->key;

    int len = admission_reply(f->admission, &f->greeting, type, code, 7171, boot_ms, &sent, out);
    assert_true(len >= REPLY_FIXED);
    assert_int_equal(reply_derive(key, f->greeting.keys.prk, out, &keys), 0);
    assert_memory_equal(&keys, &sent, sizeof(keys));
    assert_int_equal(reply_open(&keys, f->salt, out, &reply), HELLO_OK);
    if (reply.ext_len)
        assert_int_equal(reply_open_ext(&keys, out, out + REPLY_FIXED, &reply), HELLO_OK);
    memcpy(f->token, reply.token, HELLO_TOKEN);
    return reply;
}

static void the_clock_runs_with_boot_time(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(admission_time_ms(f->admission, BOOT + 1234), WALL + 1234);
}

static void at_first_everybody_shows_a_token(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(hello(f, 0, WALL, NULL, BOOT), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 0, WALL + 60000, NULL, BOOT + 60000), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 0, WALL + 60001, NULL, BOOT + 60001), ADMISSION_WELCOME);
}

static void fresh_is_within_30_seconds(void **state)
{
    struct fixture *f = *state;
    uint64_t now = WALL + (LATER - BOOT);

    assert_int_equal(hello(f, 0, now - 30000, NULL, LATER), ADMISSION_WELCOME);
    assert_int_equal(hello(f, 0, now + 30000, NULL, LATER), ADMISSION_WELCOME);
    assert_int_equal(hello(f, 0, now - 30001, NULL, LATER), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 0, now + 30001, NULL, LATER), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 0, 0, NULL, LATER), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 0, UINT64_MAX, NULL, LATER), ADMISSION_CHALLENGE);
}

/* The salts of a gateway that says HELLO without end take bounded room: one dial in a second, what
 * is challenged, and each salt is kept for 90 s. Another gateway does not notice. */
static void salts_are_bounded_by_the_rate_of_dials(void **state)
{
    struct fixture *f = *state;
    struct concentrator_config *config = fixture_config(2);
    uint64_t now = WALL + (LATER - BOOT);

    config->max_dials_per_second = 1;
    peers_unref(f->peers);
    assert_int_equal(peers_new(&f->peers, config, NULL), 0);
    for (int i = 0; i < 90 * (1 + ACCOUNT_CHALLENGES_PER_SECOND); i++)
        assert_int_equal(hello(f, 0, now, NULL, LATER), ADMISSION_WELCOME);
    assert_int_equal(hello(f, 0, now, NULL, LATER), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 1, now, NULL, LATER), ADMISSION_WELCOME);
}

static void a_token_makes_fresh_for_10_seconds(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(hello(f, 0, 0, NULL, BOOT), ADMISSION_CHALLENGE);
    struct reply reply = read_reply(f, REPLY_CHALLENGE, 0, BOOT);
    assert_int_equal(reply.type, REPLY_CHALLENGE);
    assert_int_equal(reply.time_ms, WALL);
    assert_int_equal(reply.probe_port, 7171);
    assert_true(reply.has_token);
    assert_int_equal(hello(f, 0, 0, f->token, BOOT + 9999), ADMISSION_WELCOME);
    assert_int_equal(hello(f, 0, 0, f->token, BOOT + 10001), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 1, 0, f->token, BOOT + 9999), ADMISSION_CHALLENGE);
    f->token[HELLO_TOKEN - 1] ^= 1;
    assert_int_equal(hello(f, 0, 0, f->token, BOOT + 9999), ADMISSION_CHALLENGE);
}

static void a_token_of_an_earlier_life_is_worthless(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(hello(f, 0, WALL, NULL, BOOT), ADMISSION_CHALLENGE);
    read_reply(f, REPLY_CHALLENGE, 0, BOOT);
    admission_free(f->admission);
    f->admission = admission_new(WALL, BOOT);
    assert_int_equal(hello(f, 0, WALL, f->token, BOOT), ADMISSION_CHALLENGE);
}

static void a_flight_is_good_once(void **state)
{
    struct fixture *f = *state;
    struct key key = fixture_key(0);
    uint64_t now = WALL + (LATER - BOOT);

    assert_int_equal(hello(f, 0, now, NULL, LATER), ADMISSION_WELCOME);
    for (uint64_t t = LATER; t < LATER + REPLAY_KEPT_MS; t += 1000)
        assert_int_equal(say_hello(f, &key, SUITE_CHACHA20_POLY1305, now, NULL, t),
                         ADMISSION_REPLAY);
    /* Forgotten, but no longer fresh either. */
    assert_int_equal(say_hello(f, &key, SUITE_CHACHA20_POLY1305, now, NULL, LATER + REPLAY_KEPT_MS),
                     ADMISSION_CHALLENGE);
}

/* Who has recorded it uses up no challenges, and is not let in when it would be fresh. */
static void a_challenged_flight_is_answered_once(void **state)
{
    const uint64_t at_ms = LATER - BOOT - 15000; /* still new */
    struct fixture *f = *state;
    struct key key = fixture_key(0);

    assert_int_equal(hello(f, 0, WALL + at_ms, NULL, BOOT + at_ms), ADMISSION_CHALLENGE);
    for (int i = 0; i < 2 * ACCOUNT_CHALLENGES_PER_SECOND; i++)
        assert_int_equal(
            say_hello(f, &key, SUITE_CHACHA20_POLY1305, WALL + at_ms, NULL, BOOT + at_ms),
            ADMISSION_REPLAY);
    assert_int_equal(say_hello(f, &key, SUITE_CHACHA20_POLY1305, WALL + at_ms, NULL, LATER),
                     ADMISSION_REPLAY);
    assert_int_equal(hello(f, 0, WALL + at_ms, NULL, LATER), ADMISSION_WELCOME);
}

static void challenges_have_a_rate_then_silence(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < ACCOUNT_CHALLENGES_PER_SECOND; i++)
        assert_int_equal(hello(f, 0, WALL, NULL, BOOT), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 0, WALL, NULL, BOOT), ADMISSION_BAD);
    assert_int_equal(hello(f, 1, WALL, NULL, BOOT), ADMISSION_CHALLENGE);
    assert_int_equal(hello(f, 0, WALL, NULL, BOOT + 1000), ADMISSION_CHALLENGE);
}

static void any_changed_byte_is_bad(void **state)
{
    struct fixture *f = *state;
    struct key key = fixture_key(0);
    struct hello_keys keys;
    uint8_t flight[HELLO_MAX], changed[HELLO_MAX];
    static const uint8_t token[HELLO_TOKEN];

    crypto_random(f->salt, sizeof(f->salt));
    assert_int_equal(hello_derive(&key, f->salt, &keys), 0);
    int len = hello_write(&key, &keys, f->salt, SUITE_AES_128_GCM, 0, token, flight);
    for (int i = 0; i < len; i++) {
        memcpy(changed, flight, sizeof(changed));
        changed[i] ^= 0x80;
        assert_int_equal(feed(f, changed, (size_t)len, BOOT), ADMISSION_BAD);
    }
    assert_int_equal(feed(f, flight, (size_t)len, BOOT), ADMISSION_CHALLENGE);
}

static void a_stranger_is_bad(void **state)
{
    assert_int_equal(hello(*state, 7, WALL, NULL, BOOT), ADMISSION_BAD);
}

/* Only after it is known to be fresh and new: a recorded flight of a newer gateway must not make
 * this concentrator show itself. */
static void an_unknown_suite_is_refused_once(void **state)
{
    struct fixture *f = *state;
    struct key key = fixture_key(0);
    uint64_t now = WALL + (LATER - BOOT);
    enum crypto_suite unknown = (enum crypto_suite)9;

    crypto_random(f->salt, sizeof(f->salt));
    assert_int_equal(say_hello(f, &key, unknown, 0, NULL, LATER), ADMISSION_CHALLENGE);
    crypto_random(f->salt, sizeof(f->salt));
    assert_int_equal(say_hello(f, &key, unknown, now, NULL, LATER), ADMISSION_REFUSED);
    assert_int_equal(f->greeting.refusal, REFUSED_SUITE);
    assert_int_equal(read_reply(f, REPLY_REFUSED, REFUSED_SUITE, LATER).code, REFUSED_SUITE);
    assert_int_equal(say_hello(f, &key, unknown, now, NULL, LATER), ADMISSION_REPLAY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_clock_runs_with_boot_time),
        TEST(at_first_everybody_shows_a_token),
        TEST(fresh_is_within_30_seconds),
        TEST(salts_are_bounded_by_the_rate_of_dials),
        TEST(a_token_makes_fresh_for_10_seconds),
        TEST(a_token_of_an_earlier_life_is_worthless),
        TEST(a_flight_is_good_once),
        TEST(a_challenged_flight_is_answered_once),
        TEST(challenges_have_a_rate_then_silence),
        TEST(any_changed_byte_is_bad),
        TEST(a_stranger_is_bad),
        TEST(an_unknown_suite_is_refused_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
