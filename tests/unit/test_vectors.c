/* Every vector of protocol-vectors.json, which an independent implementation made, comes out of
 * our code byte for byte, and goes back in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <json-c/json.h>

#include "core/hello.h"
#include "core/key.h"
#include "core/probe_packet.h"
#include "core/record.h"

struct bytes {
    uint8_t at[HELLO_MAX];
    size_t len;
};

/* What one case works with. */
struct scene {
    struct json_object *json;
    struct key key;
    struct hello_keys keys;
    struct reply_keys reply_keys;
    enum crypto_suite suite;
};

static struct json_object *field(struct json_object *json, const char *name)
{
    struct json_object *value;

    assert_true(json_object_object_get_ex(json, name, &value));
    return value;
}

static uint64_t number(struct json_object *json, const char *name)
{
    return (uint64_t)json_object_get_int64(field(json, name));
}

static unsigned hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

    assert_non_null(at);
    return (unsigned)(at - digits);
}

static struct bytes hex(struct json_object *json, const char *name)
{
    const char *text = json_object_get_string(field(json, name));
    struct bytes out = {.len = strlen(text) / 2};

    assert_true(out.len > 0 && out.len <= sizeof(out.at));
    for (size_t i = 0; i < out.len; i++)
        out.at[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return out;
}

static void expect_bytes(struct json_object *json, const char *name, const uint8_t *got, size_t len)
{
    struct bytes expected = hex(json, name);

    assert_int_equal(len, expected.len);
    assert_memory_equal(got, expected.at, len);
}

static void load_key(struct json_object *vectors, struct key *key)
{
    struct json_object *json = field(vectors, "key");

    memcpy(key->id, hex(json, "id").at, KEY_ID);
    memcpy(key->secret, hex(json, "secret").at, KEY_SECRET);
}

static void test_key_text(void **state)
{
    struct json_object *json = field(*state, "key");
    const char *text = json_object_get_string(field(json, "text"));
    struct key key, parsed;
    char out[KEY_TEXT];

    load_key(*state, &key);
    key_format(&key, out);
    assert_string_equal(out, text);
    assert_int_equal(key_parse(&parsed, text), 0);
    assert_memory_equal(&parsed, &key, sizeof(key));
}

static void derive(struct scene *scene)
{
    struct json_object *json = scene->json;

    assert_int_equal(hello_derive(&scene->key, hex(json, "salt_c").at, &scene->keys), 0);
    expect_bytes(json, "prk", scene->keys.prk, 32);
    expect_bytes(json, "k_hello", scene->keys.hello, 32);
    expect_bytes(json, "k_c2s", scene->keys.c2s, 32);
    assert_int_equal(
        reply_derive(&scene->key, scene->keys.prk, hex(json, "salt_s").at, &scene->reply_keys), 0);
    expect_bytes(json, "k_reply", scene->reply_keys.reply, 32);
    expect_bytes(json, "k_s2c", scene->reply_keys.s2c, 32);
}

static void check_hello(struct scene *scene)
{
    bool with_token = field(scene->json, "token") != NULL;
    struct bytes token = {.len = 0}, flight = hex(scene->json, "hello_flight");
    uint64_t time_ms = number(scene->json, "time_ms");
    uint8_t out[HELLO_MAX];
    struct hello hello;
    int n;

    if (with_token)
        token = hex(scene->json, "token");
    n = hello_write(&scene->key, &scene->keys, hex(scene->json, "salt_c").at, scene->suite, time_ms,
                    with_token ? token.at : NULL, out);
    assert_true(n > 0);
    expect_bytes(scene->json, "hello_flight", out, (size_t)n);
    assert_int_equal(hello_open(&scene->keys, flight.at, &hello), HELLO_OK);
    assert_int_equal(hello.version, PROTOCOL_VERSION);
    assert_int_equal(hello.suite, scene->suite);
    assert_true(hello.time_ms == time_ms);
    assert_int_equal(hello.ext_len > 0, with_token);
    assert_false(hello.has_token);
    if (!with_token)
        return;
    assert_int_equal(flight.len, HELLO_FIXED + hello.ext_len + CRYPTO_TAG);
    assert_int_equal(hello_open_ext(&scene->keys, flight.at, flight.at + HELLO_FIXED, &hello),
                     HELLO_OK);
    assert_true(hello.has_token);
    assert_memory_equal(hello.token, token.at, HELLO_TOKEN);
}

static void check_reply(struct scene *scene)
{
    struct bytes salt_c = hex(scene->json, "salt_c"), flight = hex(scene->json, "welcome_flight");
    struct reply reply = {.type = REPLY_WELCOME,
                          .time_ms = number(scene->json, "reply_time_ms"),
                          .probe_port = (uint16_t)number(scene->json, "probe_port")};
    struct reply got;
    uint8_t out[REPLY_MAX];
    int n = reply_write(&scene->reply_keys, salt_c.at, hex(scene->json, "salt_s").at, &reply, out);

    assert_true(n > 0);
    expect_bytes(scene->json, "welcome_flight", out, (size_t)n);
    assert_int_equal(reply_open(&scene->reply_keys, salt_c.at, flight.at, &got), HELLO_OK);
    assert_int_equal(got.type, REPLY_WELCOME);
    assert_true(got.time_ms == reply.time_ms);
    assert_int_equal(got.probe_port, reply.probe_port);
    assert_int_equal(got.ext_len, 0);
}

static struct addr address(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, text), 0);
    return a;
}

/* Seals the payload, compares, and opens what the vector holds. */
static void check_record(struct record_cipher *seal, struct record_cipher *open,
                         struct json_object *json, const char *name, enum record_type type,
                         const void *payload, size_t len)
{
    struct bytes expected = hex(json, name);
    uint8_t frame[RECORD_OVERHEAD + 64];
    struct record record;
    int n;

    assert_true(len <= 64);
    memcpy(frame + RECORD_HEAD, payload, len);
    n = record_seal(seal, type, frame, len);
    assert_true(n > 0);
    expect_bytes(json, name, frame, (size_t)n);
    assert_int_equal(record_open(open, expected.at, expected.len, &record), RECORD_OK);
    assert_int_equal(record.type, type);
    assert_int_equal(record.consumed, expected.len);
    assert_int_equal(record.len, len);
    assert_memory_equal(record.payload, payload, len);
}

static void check_c2s_records(struct scene *scene)
{
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    struct record_cipher *seal = record_sealer_new(scene->suite, scene->keys.c2s);
    struct record_cipher *open = record_opener_new(scene->suite, scene->keys.c2s);
    struct json_object *records = field(scene->json, "c2s_records");
    struct addr destination = address("192.0.2.1:443");
    uint8_t payload[OPEN_MAX];
    size_t len = open_write(OPEN_SEALED, &destination, payload);

    assert_int_equal(json_object_array_length(records), 4);
    check_record(seal, open, json_object_array_get_idx(records, 0), "bytes", RECORD_OPEN, payload,
                 len);
    check_record(seal, open, json_object_array_get_idx(records, 1), "bytes", RECORD_DATA, request,
                 strlen(request));
    check_record(seal, open, json_object_array_get_idx(records, 2), "bytes", RECORD_PING,
                 "\1\2\3\4\5\6\7\10", 8);
    check_record(seal, open, json_object_array_get_idx(records, 3), "bytes", RECORD_FIN, "", 0);
    record_cipher_free(seal);
    record_cipher_free(open);
}

/* Records that the file gives as the first of their direction. */
static void check_first_record(struct scene *scene, const uint8_t key[CRYPTO_KEY], const char *name,
                               enum record_type type, const void *payload, size_t len)
{
    struct record_cipher *seal = record_sealer_new(scene->suite, key);
    struct record_cipher *open = record_opener_new(scene->suite, key);

    check_record(seal, open, scene->json, name, type, payload, len);
    record_cipher_free(seal);
    record_cipher_free(open);
}

/* After REKEY both ends go on as fresh ciphers under the vector's key would. */
static void check_rekey(struct scene *scene)
{
    struct record_cipher *seal = record_sealer_new(scene->suite, scene->keys.c2s);
    struct record_cipher *open = record_opener_new(scene->suite, scene->keys.c2s);
    struct record_cipher *fresh =
        record_opener_new(scene->suite, hex(scene->json, "k_c2s_after_rekey").at);
    uint8_t frame[RECORD_OVERHEAD + 1], same[RECORD_OVERHEAD + 1];
    struct record record;
    int n = record_seal(seal, RECORD_REKEY, frame, 0);

    assert_int_equal(record_open(open, frame, (size_t)n, &record), RECORD_OK);
    assert_int_equal(record.type, RECORD_REKEY);
    frame[RECORD_HEAD] = 'x';
    n = record_seal(seal, RECORD_DATA, frame, 1);
    memcpy(same, frame, sizeof(same));
    assert_int_equal(record_open(open, frame, (size_t)n, &record), RECORD_OK);
    assert_int_equal(record_open(fresh, same, (size_t)n, &record), RECORD_OK);
    assert_int_equal(record.payload[0], 'x');
    record_cipher_free(seal);
    record_cipher_free(open);
    record_cipher_free(fresh);
}

static void test_cases(void **state)
{
    struct json_object *cases = field(*state, "cases");
    struct addr v6 = address("[2001:db8::1]:443");
    uint8_t payload[OPEN_MAX], connected = OPENED_CONNECTED;
    size_t len = open_write(OPEN_PLAIN, &v6, payload);

    assert_true(json_object_array_length(cases) > 0);
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct scene scene = {.json = json_object_array_get_idx(cases, i)};

        scene.suite = (enum crypto_suite)number(scene.json, "suite");
        load_key(*state, &scene.key);
        derive(&scene);
        check_hello(&scene);
        check_reply(&scene);
        check_c2s_records(&scene);
        check_first_record(&scene, scene.keys.c2s,
                           "c2s_first_record_open_plain_ipv6_2001_db8__1_443", RECORD_OPEN, payload,
                           len);
        check_first_record(&scene, scene.reply_keys.s2c, "s2c_first_record_opened_0", RECORD_OPENED,
                           &connected, 1);
        check_rekey(&scene);
    }
}

static void expect_probe(const struct probe *got, const struct probe *expected)
{
    assert_true(got->seq == expected->seq);
    assert_true(got->time_us == expected->time_us);
    assert_int_equal(got->uplink, expected->uplink);
    assert_true(got->server_ms == expected->server_ms);
}

static void test_probe(void **state)
{
    struct json_object *json = field(*state, "probe");
    struct probe request = {.seq = number(json, "seq"),
                            .time_us = number(json, "time_us"),
                            .uplink = (uint8_t)number(json, "uplink")};
    struct probe answer = request, got;
    struct probe_keys keys;
    struct key key;
    uint8_t packet[PROBE_SIZE], reply[PROBE_SIZE];

    load_key(*state, &key);
    answer.server_ms = number(json, "server_time_ms");
    assert_int_equal(probe_derive(&key, &keys), 0);
    assert_int_equal(probe_write_request(&key, &keys, hex(json, "nonce").at, &request, packet), 0);
    expect_bytes(json, "request", packet, PROBE_SIZE);
    assert_int_equal(probe_read_request(&keys, packet, &got), 0);
    expect_probe(&got, &request);
    assert_int_equal(probe_write_answer(&keys, packet, &answer, reply), 0);
    expect_bytes(json, "answer", reply, PROBE_SIZE);
    assert_int_equal(probe_read_answer(&keys, reply, &got), 0);
    expect_probe(&got, &answer);
}

static void test_token(void **state)
{
    struct json_object *json = field(*state, "token");
    uint64_t expiry_ms = number(json, "expiry_ms");
    struct bytes k_boot = hex(json, "k_boot");
    uint8_t token[HELLO_TOKEN];
    struct key key;

    load_key(*state, &key);
    assert_int_equal(token_make(k_boot.at, key.id, expiry_ms, token), 0);
    expect_bytes(json, "token", token, HELLO_TOKEN);
    assert_true(token_valid(k_boot.at, key.id, expiry_ms - 1, hex(json, "token").at));
}

static int read_vectors(void **state)
{
    *state = json_object_from_file(VECTORS_FILE);
    return *state ? 0 : -1;
}

static int free_vectors(void **state)
{
    json_object_put(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_text),
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_token),
    };

    return cmocka_run_group_tests(tests, read_vectors, free_vectors);
}
