/* A session group over socket pairs: what a gateway may do to it in any order, and that nothing is
 * left behind. The behaviour over real connections is in tests/net/test_concentrator.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "concentrator/relics.h"
#include "concentrator/session.h"
#include "tests/unit/concentrator_fixture.h"
#include "core/clock.h"
#include "core/record.h"

struct fixture {
    struct event_base *base;
    struct peers *peers;
    struct session_services services;
    struct session_group *group;
    struct addr source;
    int drained;
};

static void on_drained(void *arg)
{
    struct fixture *f = arg;

    f->drained++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uint64_t boot = clock_boot_ms();

    f->base = event_base_new();
    assert_int_equal(peers_new(&f->peers, fixture_config(1), NULL), 0);
    /* Long since started: a good clock is enough. */
    f->services.admission = admission_new(clock_wall_ms(), boot > 61000 ? boot - 61000 : 0);
    f->services.lobby = lobby_new();
    f->services.max_unauthenticated = 100;
    f->services.room.max = 100;
    assert_int_equal(addr_parse(&f->source, "192.0.2.1:1234"), 0);
    *state = f;
    return session_group_new(&f->group, f->base, f->peers, &f->services, on_drained, f);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    session_group_free(f->group);
    assert_int_equal(lobby_count(f->services.lobby), 0);
    assert_int_equal(f->services.room.sessions, 0);
    lobby_free(f->services.lobby);
    admission_free(f->services.admission);
    peers_unref(f->peers);
    event_base_free(f->base);
    free(f);
    return 0;
}

/* The gateway's end of one connection. */
struct gateway {
    int fd;
    struct record_cipher *seal, *open;
};

static int dial(struct fixture *f)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    session_group_accept(f->group, pair[1], &f->source);
    return pair[0];
}

static void run_until_readable(struct fixture *f, int fd)
{
    uint64_t end = clock_now_ms() + 5000;
    uint8_t byte;

    while (recv(fd, &byte, 1, MSG_PEEK) == -1 && errno == EAGAIN) {
        assert_true(clock_now_ms() < end);
        event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
}

static void run_until_count(struct fixture *f, size_t sessions)
{
    uint64_t end = clock_now_ms() + 5000;

    while (session_group_count(f->group) != sessions) {
        assert_true(clock_now_ms() < end);
        event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    event_base_loop(f->base, EVLOOP_NONBLOCK); /* the reaper's turn */
}

static size_t write_hello(uint8_t flight[HELLO_MAX], uint8_t salt[HELLO_SALT],
                          struct hello_keys *keys, uint64_t time_ms)
{
    struct key key = fixture_key(0);

    crypto_random(salt, HELLO_SALT);
    assert_int_equal(hello_derive(&key, salt, keys), 0);
    int len = hello_write(&key, keys, salt, SUITE_CHACHA20_POLY1305, time_ms, NULL, flight);
    assert_true(len > 0);
    return (size_t)len;
}

/* HELLO and its answer. */
static struct reply greet(struct fixture *f, struct gateway *g)
{
    struct key key = fixture_key(0);
    uint64_t time_ms = admission_time_ms(f->services.admission, clock_boot_ms());
    uint8_t flight[HELLO_MAX], salt[HELLO_SALT], fixed[REPLY_MAX];
    struct hello_keys keys;
    struct reply_keys reply_keys;
    struct reply reply;

    g->fd = dial(f);
    size_t len = write_hello(flight, salt, &keys, time_ms);
    assert_int_equal(send(g->fd, flight, len, 0), len);
    run_until_readable(f, g->fd);
    assert_true(recv(g->fd, fixed, REPLY_FIXED, 0) == REPLY_FIXED);
    assert_int_equal(reply_derive(&key, keys.prk, fixed, &reply_keys), 0);
    assert_int_equal(reply_open(&reply_keys, salt, fixed, &reply), HELLO_OK);
    g->seal = record_sealer_new(SUITE_CHACHA20_POLY1305, keys.c2s);
    g->open = record_opener_new(SUITE_CHACHA20_POLY1305, reply_keys.s2c);
    return reply;
}

static void hang_up(struct gateway *g)
{
    close(g->fd);
    record_cipher_free(g->seal);
    record_cipher_free(g->open);
}

static void send_record(struct gateway *g, enum record_type type, const void *payload, size_t len)
{
    uint8_t frame[256];

    memcpy(frame + RECORD_HEAD, payload, len);
    int n = record_seal(g->seal, type, frame, len);
    assert_int_equal(send(g->fd, frame, (size_t)n, MSG_NOSIGNAL), n);
}

static void expect_record(struct fixture *f, struct gateway *g, enum record_type type,
                          const void *payload, size_t len)
{
    uint8_t bytes[256];
    struct record record;

    run_until_readable(f, g->fd);
    ssize_t n = recv(g->fd, bytes, len + RECORD_OVERHEAD, 0);
    assert_int_equal(n, len + RECORD_OVERHEAD);
    assert_int_equal(record_open(g->open, bytes, (size_t)n, &record), RECORD_OK);
    assert_int_equal(record.type, type);
    assert_int_equal(record.len, len);
    assert_memory_equal(record.payload, payload, len);
}

static void expect_end(struct fixture *f, int fd)
{
    uint8_t byte;

    run_until_readable(f, fd);
    ssize_t n = recv(fd, &byte, 1, 0);
    assert_true(n == 0 || (n == -1 && errno == ECONNRESET));
}

static void ping_pong_then_hang_up(void **state)
{
    struct fixture *f = *state;
    struct gateway g;

    assert_int_equal(greet(f, &g).type, REPLY_WELCOME);
    assert_int_equal(lobby_count(f->services.lobby), 0);
    for (int i = 0; i < 3; i++)
        send_record(&g, RECORD_PING, "12345678", 8);
    for (int i = 0; i < 3; i++)
        expect_record(f, &g, RECORD_PONG, "12345678", 8);
    hang_up(&g);
    run_until_count(f, 0);
}

static void hang_up_at_every_byte_of_hello(void **state)
{
    struct fixture *f = *state;
    uint8_t flight[HELLO_MAX], salt[HELLO_SALT];
    struct hello_keys keys;
    size_t len = write_hello(flight, salt, &keys, 0);

    for (size_t n = 0; n < len; n++) {
        int fd = dial(f);
        assert_int_equal(send(fd, flight, n, MSG_NOSIGNAL), n);
        close(fd);
        event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        /* All but the silent one stay until the deadline, in the lobby. */
        assert_int_equal(lobby_count(f->services.lobby), n);
    }
    assert_int_equal(session_group_count(f->group), len - 1);
}

static void a_bad_record_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    struct gateway g;

    assert_int_equal(greet(f, &g).type, REPLY_WELCOME);
    assert_int_equal(send(g.fd, "\0\1 not a record at all", 22, 0), 22);
    expect_end(f, g.fd);
    hang_up(&g);
    run_until_count(f, 0);
}

/* One after another, PING and a denied OPEN, in pieces of every size. */
static void records_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct addr to;
    uint8_t bytes[256], denied = OPENED_DENIED;

    assert_int_equal(addr_parse(&to, "10.1.2.3:80"), 0);
    for (size_t piece = 1; piece < 30; piece++) {
        struct gateway g;
        assert_int_equal(greet(f, &g).type, REPLY_WELCOME);
        memcpy(bytes + RECORD_HEAD, "12345678", 8);
        size_t len = (size_t)record_seal(g.seal, RECORD_PING, bytes, 8);
        size_t payload = open_write(OPEN_SEALED, &to, bytes + len + RECORD_HEAD);
        len += (size_t)record_seal(g.seal, RECORD_OPEN, bytes + len, payload);
        for (size_t at = 0; at < len; at += piece) {
            size_t n = len - at < piece ? len - at : piece;
            assert_int_equal(send(g.fd, bytes + at, n, MSG_NOSIGNAL), n);
            event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        }
        expect_record(f, &g, RECORD_PONG, "12345678", 8);
        expect_record(f, &g, RECORD_OPENED, &denied, 1);
        expect_end(f, g.fd);
        hang_up(&g);
        run_until_count(f, 0);
    }
    assert_int_equal(f->services.refusals.policy, 29);
}

static void a_removed_gateway_takes_its_sessions_along(void **state)
{
    struct fixture *f = *state;
    struct peers *now;
    struct gateway g;

    assert_int_equal(greet(f, &g).type, REPLY_WELCOME);
    assert_int_equal(peers_new(&now, fixture_config(0), f->peers), 0);
    session_group_reload(f->group, now);
    peers_unref(now);
    expect_end(f, g.fd);
    hang_up(&g);
    run_until_count(f, 0);
}

static void draining_ends_what_waits_and_refuses_what_comes(void **state)
{
    struct fixture *f = *state;
    struct gateway waits, comes;

    assert_int_equal(greet(f, &waits).type, REPLY_WELCOME);
    session_group_drain(f->group);
    expect_end(f, waits.fd);
    struct reply reply = greet(f, &comes);
    assert_int_equal(reply.type, REPLY_REFUSED);
    assert_int_equal(reply.code, REFUSED_SHUTDOWN);
    hang_up(&waits);
    hang_up(&comes);
    run_until_count(f, 0);
    assert_int_equal(f->drained, 1);
}

static void the_group_may_go_at_any_time(void **state)
{
    struct fixture *f = *state;
    struct gateway g;
    int silent = dial(f);

    assert_int_equal(greet(f, &g).type, REPLY_WELCOME);
    session_group_free(f->group);
    f->group = NULL;
    expect_end(f, silent);
    expect_end(f, g.fd);
    close(silent);
    hang_up(&g);
}

/* In place of concentrator/relics.c. */
static unsigned n_looks;

void relics_clear(struct netlink *diag, int fd)
{
    n_looks++;
}

int __wrap_netlink_new(struct netlink **out, int protocol);

/* Whoever emulates another machine has no NETLINK_SOCK_DIAG, and nothing is asked of it here. */
int __wrap_netlink_new(struct netlink **out, int protocol)
{
    *out = NULL;
    return 0;
}

#define FLOWS 70u

static struct concentrator_config *roomy_config(void)
{
    struct concentrator_config *config = fixture_config(1);

    config->peers[0].max_flows = config->max_pending_dials = config->max_warm = FLOWS;
    config->n_allow_destinations = 1;
    config->allow_destinations = calloc(1, sizeof(struct cidr));
    assert_int_equal(cidr_parse(config->allow_destinations, "127.0.0.1"), 0);
    return config;
}

static void open_flow(struct fixture *f, struct gateway *g, const struct addr *to)
{
    uint8_t payload[OPEN_MAX], connected = OPENED_CONNECTED;

    assert_int_equal(greet(f, g).type, REPLY_WELCOME);
    send_record(g, RECORD_OPEN, payload, open_write(OPEN_SEALED, to, payload));
    expect_record(f, g, RECORD_OPENED, &connected, 1);
}

/* Each flow is looked at, but others do not wait until all have been. */
static void relics_are_looked_for_in_many_turns(void **state)
{
    struct fixture *f = *state;
    struct gateway gateways[FLOWS];
    struct peers *now;
    struct addr to;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    unsigned turns = 0;

    assert_int_equal(peers_new(&now, roomy_config(), f->peers), 0);
    session_group_reload(f->group, now);
    peers_unref(now);
    assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(listen(listener, FLOWS), 0);
    assert_int_equal(addr_of_socket(&to, listener), 0);
    n_looks = 0;
    for (size_t i = 0; i < FLOWS; i++)
        open_flow(f, &gateways[i], &to);
    for (uint64_t end = clock_now_ms() + 20000; n_looks < FLOWS; turns++) {
        unsigned before = n_looks;
        assert_true(clock_now_ms() < end);
        event_base_loop(f->base, EVLOOP_ONCE);
        assert_in_range(n_looks - before, 0, 32);
    }
    assert_true(turns >= 3);
    assert_int_equal(n_looks, FLOWS);
    for (size_t i = 0; i < FLOWS; i++)
        hang_up(&gateways[i]);
    run_until_count(f, 0);
    close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ping_pong_then_hang_up),
        TEST(hang_up_at_every_byte_of_hello),
        TEST(a_bad_record_ends_the_connection),
        TEST(records_in_pieces),
        TEST(a_removed_gateway_takes_its_sessions_along),
        TEST(draining_ends_what_waits_and_refuses_what_comes),
        TEST(the_group_may_go_at_any_time),
        TEST(relics_are_looked_for_in_many_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
