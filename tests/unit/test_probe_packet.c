/* Probes: what is written is read; anything else is dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "core/probe_packet.h"

#define SEALED_AT (KEY_ID + CRYPTO_NONCE)
#define SEALED_LEN (PROBE_SIZE - SEALED_AT - CRYPTO_TAG)

struct scene {
    struct key key;
    struct probe_keys keys;
    uint8_t request[PROBE_SIZE], answer[PROBE_SIZE];
};

static const uint8_t nonce[CRYPTO_NONCE] = {9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 1};
static const struct probe sent = {.seq = 0x0102030405060708,
                                  .time_us = 0x1112131415161718,
                                  .uplink = 0xa5,
                                  .server_ms = 0x2122232425262728};

static int set_up(void **state)
{
    static struct scene scene;

    memset(&scene.key, 0x42, sizeof(scene.key));
    *state = &scene;
    return probe_derive(&scene.key, &scene.keys) < 0 ||
           probe_write_request(&scene.key, &scene.keys, nonce, &sent, scene.request) < 0 ||
           probe_write_answer(&scene.keys, scene.request, &sent, scene.answer) < 0;
}

static void test_round_trip(void **state)
{
    struct scene *scene = *state;
    struct probe got;

    assert_memory_equal(scene->request, scene->key.id, KEY_ID);
    assert_memory_equal(scene->request + KEY_ID, nonce, CRYPTO_NONCE);
    assert_int_equal(probe_read_request(&scene->keys, scene->request, &got), 0);
    assert_true(got.seq == sent.seq && got.time_us == sent.time_us && got.uplink == sent.uplink);
    assert_true(got.server_ms == 0);
    assert_memory_equal(scene->answer, scene->request, SEALED_AT);
    assert_int_equal(probe_read_answer(&scene->keys, scene->answer, &got), 0);
    assert_true(got.seq == sent.seq && got.time_us == sent.time_us && got.uplink == sent.uplink);
    assert_true(got.server_ms == sent.server_ms);
}

static void test_every_bit_counts(void **state)
{
    struct scene *scene = *state;
    struct probe got;

    for (size_t bit = 0; bit < PROBE_SIZE * 8; bit++) {
        uint8_t mask = (uint8_t)(1 << bit % 8);

        scene->request[bit / 8] ^= mask;
        scene->answer[bit / 8] ^= mask;
        assert_int_equal(probe_read_request(&scene->keys, scene->request, &got), -EBADMSG);
        assert_int_equal(probe_read_answer(&scene->keys, scene->answer, &got), -EBADMSG);
        scene->request[bit / 8] ^= mask;
        scene->answer[bit / 8] ^= mask;
    }
}

static void test_directions_do_not_mix(void **state)
{
    struct scene *scene = *state;
    struct probe got;

    assert_int_equal(probe_read_answer(&scene->keys, scene->request, &got), -EBADMSG);
    assert_int_equal(probe_read_request(&scene->keys, scene->answer, &got), -EBADMSG);
}

static void test_another_key(void **state)
{
    struct scene *scene = *state;
    struct key other = scene->key;
    struct probe_keys keys;
    struct probe got;

    other.secret[31] ^= 1;
    assert_int_equal(probe_derive(&other, &keys), 0);
    assert_int_equal(probe_read_request(&keys, scene->request, &got), -EBADMSG);
}

/* One who has the key writes something where zeros belong. */
static int seal_with(const uint8_t key[32], size_t at, uint8_t packet[PROBE_SIZE])
{
    struct aead *aead = aead_new(SUITE_CHACHA20_POLY1305, key, true);
    int err;

    memset(packet, 0, PROBE_SIZE);
    packet[SEALED_AT + at] = 1;
    err = aead_seal(aead, packet + KEY_ID, packet, SEALED_AT, packet + SEALED_AT, SEALED_LEN,
                    packet + SEALED_AT + SEALED_LEN);
    aead_free(aead);
    return err;
}

static void test_zeros_are_checked(void **state)
{
    struct scene *scene = *state;
    uint8_t packet[PROBE_SIZE];
    struct probe got;

    for (size_t at = 0; at < SEALED_LEN; at++) {
        assert_int_equal(seal_with(scene->keys.c2s, at, packet), 0);
        assert_int_equal(probe_read_request(&scene->keys, packet, &got), at < 17 ? 0 : -EBADMSG);
        assert_int_equal(seal_with(scene->keys.s2c, at, packet), 0);
        assert_int_equal(probe_read_answer(&scene->keys, packet, &got),
                         at < 17 || at >= 24 ? 0 : -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_round_trip, set_up),
        cmocka_unit_test_setup(test_every_bit_counts, set_up),
        cmocka_unit_test_setup(test_directions_do_not_mix, set_up),
        cmocka_unit_test_setup(test_another_key, set_up),
        cmocka_unit_test_setup(test_zeros_are_checked, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
