/* Relays between real sockets. Plain: client - near|relay|far - server. Sealed: two relays back to
 * back, client - near|relay|far - far|relay|near - server, or one whose far end is played by the
 * test. Whatever one end does, the other sees: every byte, the end of each direction, a reset. */
#include <errno.h>
#include <event2/event.h>
#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/mptcp.h"
#include "core/relay.h"
#include "core/sock_diag.h"
#include "tests/unit/far_end.h"
#include "tests/unit/netns.h"
#include "tests/unit/pairs.h"

#define WAIT_MS 10000
/* A reset has to be noticed at once, also where nobody reads. */
#define NOTICED_MS 100
/* But behind what has left already it is sent as a record, which may have to wait for so long, and
 * behind more than so much it is not. */
#define PATIENCE_MS 1000
#define RESET_BACKLOG 65536

enum layout { PLAIN, SEALED, HALF };
static const char *const layout_names[] = {"plain", "sealed", "half"};

/* A socket at the end of the line: sends a pattern, checks the one that comes. */
struct end {
    int fd;
    uint32_t says, hears; /* patterns */
    uint64_t goal, sent;  /* goes on sending until sent is goal */
    uint64_t received;
    size_t appetite; /* bytes it reads in one turn; 0: none */
    bool ends;       /* shuts its write side down when all is sent */
    bool shut, heard_end;
    int error; /* that it met */
    uint32_t random;
};

struct world;
struct watched {
    struct world *world;
    struct relay_group *group;
    struct relay *relay;
    int ended, grown;
    enum relay_end why;
    uint64_t ended_ms;
};

struct world {
    struct event_base *base;
    struct event *tick;
    enum layout layout;
    struct watched relays[2];
    size_t n_relays;
    struct end client, server;
    struct far_end far;
    int near_fd; /* the first relay's */
    void (*when_grown)(struct world *w);
    bool inside; /* a call of the owner is under way */
    bool busy;   /* an end moved something in the last turn */
    size_t descriptors;
};

static const struct relay_limits no_limits = {.idle_ms = 3600000, .half_closed_ms = 3600000};

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
}

static void on_ended(void *arg, enum relay_end why)
{
    struct watched *w = arg;

    assert_false(w->world->inside);
    w->ended++;
    w->why = why;
    w->ended_ms = clock_now_ms();
    assert_int_equal(w->ended, 1);
    assert_int_equal(relay_far_fd(w->relay), -1);
    assert_int_equal(buffer_pool_used(relay_group_pool(w->group)), 0);
}

static void on_grown(void *arg)
{
    struct watched *w = arg;

    assert_false(w->world->inside);
    w->grown++;
    if (w->world->when_grown)
        w->world->when_grown(w->world);
}

static struct relay_setup add_relay(struct world *w, const struct relay_limits *limits)
{
    struct watched *watched = &w->relays[w->n_relays++];

    watched->world = w;
    watched->group = relay_group_new(w->base, limits);
    assert_non_null(watched->group);
    return (struct relay_setup){.ended = on_ended, .grown = on_grown, .arg = watched};
}

static void make_relay(struct watched *watched, const struct relay_setup *setup)
{
    watched->relay = relay_new(watched->group, setup);
    assert_non_null(watched->relay);
    assert_int_equal(relay_far_fd(watched->relay), setup->far_fd);
}

static void start_relay(struct watched *watched)
{
    watched->world->inside = true;
    relay_start_outward(watched->relay);
    relay_start_inward(watched->relay, NULL);
    watched->world->inside = false;
}

static void world_new(struct world *w, enum layout layout, enum pair_kind near, enum pair_kind far,
                      const struct relay_limits *limits)
{
    static const struct timeval often = {.tv_usec = 1000};
    size_t before = descriptors_open();

    *w = (struct world){.layout = layout, .base = event_base_new(), .descriptors = before};
    w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, NULL);
    event_add(w->tick, &often);
    struct pair at_client = pair_new(near), between = pair_new(far);
    w->client = (struct end){at_client.a, .says = 1, .hears = 2, .appetite = 1 << 20, .random = 5};
    w->server = (struct end){between.b, .says = 2, .hears = 1, .appetite = 1 << 20, .random = 9};
    w->far.fd = -1;
    struct relay_setup setup = add_relay(w, limits);
    setup.near_fd = w->near_fd = at_client.b;
    setup.far_fd = between.a;
    struct record_cipher *seal = NULL, *open = NULL;
    if (layout != PLAIN) {
        far_end_new(&w->far, between.b, &seal, &open);
        w->server.fd = -1;
    }
    setup.seal = seal;
    setup.open = open;
    make_relay(&w->relays[0], &setup);
    if (layout == SEALED) {
        struct pair at_server = pair_new(near);
        setup = add_relay(w, limits);
        setup.near_fd = at_server.a;
        setup.far_fd = between.b;
        setup.seal = w->far.seal;
        setup.open = w->far.open;
        w->server.fd = at_server.b;
        w->far.fd = -1;
        w->far.seal = w->far.open = NULL;
        make_relay(&w->relays[1], &setup);
    }
}

static void world_start(struct world *w, enum layout layout, enum pair_kind near,
                        enum pair_kind far)
{
    world_new(w, layout, near, far, &no_limits);
    for (size_t i = 0; i < w->n_relays; i++)
        start_relay(&w->relays[i]);
}

static void drop(int *fd)
{
    if (*fd != -1)
        close(*fd);
    *fd = -1;
}

static void world_end(struct world *w)
{
    for (size_t i = 0; i < w->n_relays; i++) {
        w->inside = true;
        relay_free(w->relays[i].relay);
        w->inside = false;
        assert_int_equal(buffer_pool_used(relay_group_pool(w->relays[i].group)), 0);
        relay_group_free(w->relays[i].group);
    }
    drop(&w->client.fd);
    drop(&w->server.fd);
    far_end_free(&w->far);
    event_free(w->tick);
    event_base_free(w->base);
    assert_int_equal(descriptors_open(), w->descriptors);
}

static void say_some(struct end *e)
{
    uint8_t block[70000];
    size_t n = 1 + random_next(&e->random) % sizeof(block);

    if (n > e->goal - e->sent)
        n = (size_t)(e->goal - e->sent);
    pattern_fill(e->says, e->sent, block, n);
    ssize_t sent = send(e->fd, block, n, MSG_NOSIGNAL);
    if (sent > 0)
        e->sent += (uint64_t)sent;
    else if (errno != EAGAIN && !e->error)
        e->error = errno;
}

static void hear_some(struct end *e)
{
    uint8_t block[65536];

    for (size_t room = e->appetite; room > 0 && !e->heard_end && !e->error;) {
        ssize_t n = recv(e->fd, block, room < sizeof(block) ? room : sizeof(block), 0);
        if (n == -1 && errno == EAGAIN)
            return;
        if (n == -1) {
            e->error = errno;
            return;
        }
        e->heard_end = n == 0;
        pattern_check(e->hears, e->received, block, (size_t)n);
        e->received += (uint64_t)n;
        room -= (size_t)n;
    }
}

/* Once the end of stream is read, only the socket's error tells of a reset. */
static void ask_error(struct end *e)
{
    int error = 0;
    socklen_t len = sizeof(error);

    getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        e->error = error;
}

static void act(struct world *w, struct end *e)
{
    uint64_t before = e->sent + e->received;

    if (e->fd == -1 || e->error)
        return;
    if (e->sent < e->goal)
        say_some(e);
    if (e->ends && !e->shut && e->sent == e->goal && !e->error) {
        shutdown(e->fd, SHUT_WR);
        e->shut = true;
    }
    hear_some(e);
    if (e->heard_end && !e->error)
        ask_error(e);
    w->busy = w->busy || e->sent + e->received != before;
}

static void turn(struct world *w)
{
    event_base_loop(w->base, w->busy ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
    w->busy = false;
    act(w, &w->client);
    act(w, &w->server);
}

static void turn_before(struct world *w, uint64_t deadline_ms, const char *what, int line)
{
    turn(w);
    if (clock_now_ms() <= deadline_ms)
        return;
    fprintf(stderr,
            "%s: client sent %llu received %llu end %d error %d; "
            "server sent %llu received %llu end %d error %d; relays ended %d (%s) %d (%s)\n",
            layout_names[w->layout], (unsigned long long)w->client.sent,
            (unsigned long long)w->client.received, w->client.heard_end, w->client.error,
            (unsigned long long)w->server.sent, (unsigned long long)w->server.received,
            w->server.heard_end, w->server.error, w->relays[0].ended,
            relay_end_name(w->relays[0].why), w->relays[1].ended, relay_end_name(w->relays[1].why));
    fail_msg("line %d: waited in vain for: %s", line, what);
}

#define UNTIL(w, condition)                                                                        \
    for (uint64_t deadline_ = clock_now_ms() + WAIT_MS; !(condition);)                             \
    turn_before(w, deadline_, #condition, __LINE__)

static bool all_ended(struct world *w)
{
    return w->relays[0].ended && (w->n_relays == 1 || w->relays[1].ended);
}

static size_t buffers_used(struct world *w, size_t i)
{
    return buffer_pool_used(relay_group_pool(w->relays[i].group));
}

/* Nothing has moved for a while. */
static void until_still(struct world *w)
{
    uint64_t before = 0, moved;
    int still = 0;

    for (uint64_t deadline = clock_now_ms() + WAIT_MS; still < 10;) {
        turn_before(w, deadline, "stillness", __LINE__);
        moved = w->client.sent + w->client.received + w->server.sent + w->server.received;
        for (size_t i = 0; i < w->n_relays; i++)
            moved += relay_bytes_in(w->relays[i].relay) + relay_bytes_out(w->relays[i].relay);
        still = moved == before ? still + 1 : 0;
        before = moved;
    }
}

/* ---- bytes, and the end of each direction ---- */

static void expect_done(struct world *w)
{
    UNTIL(w, all_ended(w));
    for (size_t i = 0; i < w->n_relays; i++)
        assert_int_equal(w->relays[i].why, RELAY_END_DONE);
    UNTIL(w, w->client.heard_end && w->server.heard_end);
    assert_int_equal(w->client.error, 0);
    assert_int_equal(w->server.error, 0);
    assert_true(w->client.received == w->server.sent && w->server.received == w->client.sent);
    struct relay *first = w->relays[0].relay;
    assert_true(relay_bytes_out(first) == w->client.sent);
    assert_true(relay_bytes_in(first) == w->server.sent);
}

static void carry(enum layout layout, enum pair_kind kind, uint64_t up, uint64_t down)
{
    struct world w;

    world_start(&w, layout, kind == PAIR_UNIX ? PAIR_UNIX : PAIR_TCP, kind);
    w.client.goal = up;
    w.server.goal = down;
    w.client.ends = w.server.ends = true;
    expect_done(&w);
    world_end(&w);
}

static void carries(void **state)
{
    static const uint64_t sizes[][2] = {{0, 0},         {1, 0},         {0, 1},
                                        {1, 1},         {16383, 16384}, {65536, 65460},
                                        {65461, 65537}, {700001, 3},    {3 << 20, 2 << 20}};

    for (enum layout layout = PLAIN; layout <= SEALED; layout++) {
        for (enum pair_kind kind = PAIR_UNIX; kind <= PAIR_MPTCP; kind++) {
            for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
                carry(layout, kind, sizes[i][0], sizes[i][1]);
        }
    }
}

static void swap_ends(struct world *w, struct end **a, struct end **b, bool swapped)
{
    *a = swapped ? &w->server : &w->client;
    *b = swapped ? &w->client : &w->server;
}

/* One side ends, and the other goes on, for as long as it likes. */
static void half_closes(void **state)
{
    for (enum layout layout = PLAIN; layout <= SEALED; layout++) {
        for (enum pair_kind kind = PAIR_UNIX; kind <= PAIR_MPTCP; kind++) {
            for (int swapped = 0; swapped < 2; swapped++) {
                struct world w;
                struct end *first, *second;
                world_start(&w, layout, kind == PAIR_UNIX ? PAIR_UNIX : PAIR_TCP, kind);
                swap_ends(&w, &first, &second, swapped);
                first->goal = 1000;
                first->ends = true;
                UNTIL(&w, second->heard_end);
                assert_int_equal(second->received, 1000);
                assert_false(w.relays[0].ended || first->heard_end);
                for (int i = 0; i < 3; i++) {
                    second->goal += 100000;
                    UNTIL(&w, first->received == second->goal);
                    assert_false(w.relays[0].ended || first->heard_end);
                }
                second->ends = true;
                expect_done(&w);
                world_end(&w);
            }
        }
    }
}

static void slow_readers_get_everything(void **state)
{
    for (enum layout layout = PLAIN; layout <= SEALED; layout++) {
        struct world w;
        world_start(&w, layout, PAIR_UNIX, PAIR_UNIX);
        w.client.goal = 500000;
        w.server.goal = 400000;
        w.client.appetite = 900;
        w.server.appetite = 1100;
        w.client.ends = w.server.ends = true;
        while (!all_ended(&w)) {
            turn(&w);
            for (size_t i = 0; i < w.n_relays; i++)
                assert_in_range(buffers_used(&w, i), 0, 2);
        }
        expect_done(&w);
        world_end(&w);
    }
}

static void a_blocked_direction_holds_one_buffer(void **state)
{
    for (enum layout layout = PLAIN; layout <= SEALED; layout++) {
        for (int swapped = 0; swapped < 2; swapped++) {
            struct world w;
            struct end *sender, *stopped;
            world_start(&w, layout, PAIR_UNIX, PAIR_UNIX);
            swap_ends(&w, &sender, &stopped, swapped);
            stopped->appetite = 0;
            sender->goal = 100 << 20;
            until_still(&w);
            for (size_t i = 0; i < w.n_relays; i++)
                assert_int_equal(buffers_used(&w, i), 1);
            stopped->goal = 50000; /* the other direction goes on */
            UNTIL(&w, sender->received == stopped->goal);
            sender->goal = sender->sent;
            stopped->appetite = 1 << 20;
            UNTIL(&w, stopped->received == sender->goal);
            until_still(&w);
            for (size_t i = 0; i < w.n_relays; i++)
                assert_int_equal(buffers_used(&w, i), 0);
            world_end(&w);
        }
    }
}

/* ---- resets ---- */

static void do_nothing(struct world *w, struct end *self, struct end *other)
{
}

static void send_data(struct world *w, struct end *self, struct end *other)
{
    self->goal = 30000;
    other->appetite = 0; /* it finds the data and the reset together */
    while (self->sent < self->goal)
        say_some(self);
}

static void be_in_conversation(struct world *w, struct end *self, struct end *other)
{
    self->goal = other->goal = 5000;
    UNTIL(w, self->received == 5000 && other->received == 5000);
}

static int unsent(struct world *w, const struct end *self)
{
    int n = 0;

    ioctl(relay_far_fd(w->relays[self == &w->server].relay), SIOCOUTQ, &n);
    return n;
}

/* Where windows grow slowly, as on Linux 6.1, nothing moves for a while long before all is full. */
static void until_blocked(struct world *w, const struct end *self)
{
    until_still(w);
    if (w->layout == SEALED)
        UNTIL(w, unsent(w, self) > RESET_BACKLOG);
}

static void be_blocked(struct world *w, struct end *self, struct end *other)
{
    other->appetite = 0;
    self->goal = 100 << 20;
    until_blocked(w, self);
    self->goal = self->sent;
}

static void block_the_other(struct world *w, struct end *self, struct end *other)
{
    be_blocked(w, other, self);
}

static void be_blocked_both_ways(struct world *w, struct end *self, struct end *other)
{
    self->appetite = other->appetite = 0;
    self->goal = other->goal = 100 << 20;
    until_blocked(w, self);
    self->goal = self->sent;
    other->goal = other->sent;
}

static void have_ended(struct world *w, struct end *self, struct end *other)
{
    self->goal = 1000;
    self->ends = true;
    UNTIL(w, other->heard_end && other->received == 1000);
}

/* All at once: whoever reads finds data, and behind it an end that looks like one in order. */
static void end_just_now(struct world *w, struct end *self, struct end *other)
{
    send_data(w, self, other);
    shutdown(self->fd, SHUT_WR);
}

static void have_heard_the_end(struct world *w, struct end *self, struct end *other)
{
    have_ended(w, other, self);
}

/* Half-closed, and the direction that is left is blocked. */
static void have_ended_and_block(struct world *w, struct end *self, struct end *other)
{
    have_ended(w, self, other);
    be_blocked(w, other, self);
}

static void have_heard_the_end_and_be_blocked(struct world *w, struct end *self, struct end *other)
{
    have_ended(w, other, self);
    be_blocked(w, self, other);
}

static const struct {
    const char *name;
    void (*prepare)(struct world *w, struct end *self, struct end *other);
} situations[] = {
    {"idle", do_nothing},
    {"data on its way", send_data},
    {"in conversation", be_in_conversation},
    {"sending, blocked", be_blocked},
    {"receiving, blocked", block_the_other},
    {"blocked both ways", be_blocked_both_ways},
    {"has ended", have_ended},
    {"ends just now", end_just_now},
    {"has heard the end", have_heard_the_end},
    {"has ended, receiving, blocked", have_ended_and_block},
    {"has heard the end, sending, blocked", have_heard_the_end_and_be_blocked},
};

static void reset_once(enum layout layout, enum pair_kind kind, bool swapped, size_t i)
{
    struct world w;
    struct end *self, *other;

    world_start(&w, layout, PAIR_TCP, kind);
    swap_ends(&w, &self, &other, swapped);
    situations[i].prepare(&w, self, other);
    assert_false(w.relays[0].ended || w.relays[1].ended);
    bool had_ended = other->heard_end || situations[i].prepare == end_just_now;
    uint64_t sent = self->sent, at_ms = clock_now_ms();
    mptcp_reset(self->fd);
    self->fd = -1;
    UNTIL(&w, all_ended(&w));
    struct watched *first = &w.relays[layout == SEALED && swapped];
    struct watched *last = &w.relays[layout == SEALED && !swapped];
    if (last->ended_ms - at_ms > NOTICED_MS)
        fail_msg("%s %s %s: noticed after %d ms", layout_names[layout], pair_kind_name(kind),
                 situations[i].name, (int)(last->ended_ms - at_ms));
    if (layout == SEALED)
        assert_int_equal(last->why, RELAY_END_FAR_RESET);
    assert_int_equal(first->why,
                     layout == PLAIN && swapped ? RELAY_END_FAR_RESET : RELAY_END_NEAR_RESET);
    other->appetite = 1 << 20;
    UNTIL(&w, other->error || (other->heard_end && !had_ended));
    /* A socket that has read the end of its stream says EPIPE. */
    if (other->error != ECONNRESET && !(had_ended && other->error == EPIPE))
        fail_msg("%s %s %s: error %d, not a reset", layout_names[layout], pair_kind_name(kind),
                 situations[i].name, other->error);
    if (situations[i].prepare == send_data)
        assert_true(other->received == sent);
    world_end(&w);
}

static void resets_travel(void **state)
{
    for (enum layout layout = PLAIN; layout <= SEALED; layout++) {
        for (enum pair_kind kind = PAIR_TCP; kind <= PAIR_MPTCP; kind++) {
            for (int swapped = 0; swapped < 2; swapped++) {
                for (size_t i = 0; i < sizeof(situations) / sizeof(situations[0]); i++)
                    reset_once(layout, kind, swapped, i);
            }
        }
    }
}

/* All that the client sent has left; the server does not take it, and so the reset behind it. */
static void a_reset_waits_for_what_is_ahead_of_it(void **state)
{
    struct world w;

    world_start(&w, SEALED, PAIR_TCP, PAIR_MPTCP);
    w.server.appetite = 0;
    w.client.goal = 600000;
    UNTIL(&w, relay_bytes_out(w.relays[0].relay) == w.client.goal && unsent(&w, &w.client) == 0);
    uint64_t at_ms = clock_now_ms();
    mptcp_reset(w.client.fd);
    w.client.fd = -1;
    UNTIL(&w, all_ended(&w));
    assert_in_range(w.relays[1].ended_ms - at_ms, 0, PATIENCE_MS + NOTICED_MS);
    assert_int_equal(w.relays[0].why, RELAY_END_NEAR_RESET);
    assert_int_equal(w.relays[1].why, RELAY_END_FAR_RESET);
    w.server.appetite = 1 << 20;
    UNTIL(&w, w.server.error);
    assert_int_equal(w.server.error, ECONNRESET);
    world_end(&w);
}

/* ---- a sealed relay, whose far end the test plays ---- */

static void half_start(struct world *w)
{
    world_start(w, HALF, PAIR_TCP, PAIR_TCP);
}

static void half_hear(struct world *w, enum record_type type, struct record *record)
{
    UNTIL(w, far_end_hear(&w->far, record));
    assert_int_equal(record->type, type);
}

/* Hears DATA up to another record, or up to the end of the stream or an error; returns false then.
 * Counts the bytes. */
static bool half_hear_past_data(struct world *w, uint64_t *bytes, struct record *record)
{
    for (;;) {
        UNTIL(w, far_end_hear(&w->far, record) || w->far.ended || w->far.error);
        if (w->far.ended || w->far.error)
            return false;
        if (record->type != RECORD_DATA)
            return true;
        pattern_check(1, *bytes, record->payload, record->len);
        *bytes += record->len;
    }
}

static void half_say_data(struct world *w, size_t len)
{
    static uint8_t payload[RECORD_PAYLOAD_MAX];

    pattern_fill(2, w->server.sent, payload, len);
    far_end_say(&w->far, RECORD_DATA, payload, len);
    w->server.sent += len;
}

static void expect_both_reset(struct world *w, enum relay_end why)
{
    struct record record;
    uint64_t bytes = 0;

    UNTIL(w, all_ended(w));
    assert_int_equal(w->relays[0].why, why);
    w->client.appetite = 1 << 20;
    UNTIL(w, w->client.error || w->client.heard_end);
    assert_int_equal(w->client.error, ECONNRESET);
    while (half_hear_past_data(w, &bytes, &record))
        assert_int_equal(record.type, RECORD_PONG);
    assert_int_equal(w->far.error, ECONNRESET);
}

static void reset_record_comes_behind_the_data(void **state)
{
    struct world w;

    half_start(&w);
    for (int i = 0; i < 4; i++)
        half_say_data(&w, 15000);
    far_end_say(&w.far, RECORD_RESET, "\0", 1);
    expect_both_reset(&w, RELAY_END_FAR_RESET);
    assert_int_equal(w.client.received, 60000);
    world_end(&w);
}

static void truncation_is_a_reset(void **state)
{
    for (int cut = 0; cut < 2; cut++) {
        struct world w;
        half_start(&w);
        half_say_data(&w, 1000);
        far_end_put(&w.far, RECORD_DATA, "more", 4);
        if (cut)
            assert_int_equal(send(w.far.fd, w.far.out, 10, 0), 10);
        shutdown(w.far.fd, SHUT_WR);
        UNTIL(&w, all_ended(&w));
        assert_int_equal(w.relays[0].why, RELAY_END_TRUNCATED);
        UNTIL(&w, w.client.error || w.client.heard_end);
        assert_int_equal(w.client.error, ECONNRESET);
        assert_int_equal(w.client.received, 1000);
        world_end(&w);
    }
}

static void put_open(struct far_end *far)
{
    far_end_put(far, RECORD_OPEN, "\0\4\0\120\1\2\3\4", 8);
}

static void put_opened(struct far_end *far)
{
    far_end_put(far, RECORD_OPENED, "\0", 1);
}

static void put_data_behind_fin(struct far_end *far)
{
    far_end_put(far, RECORD_FIN, NULL, 0);
    far_end_put(far, RECORD_DATA, "late", 4);
}

static void put_empty_data(struct far_end *far)
{
    far_end_put(far, RECORD_DATA, NULL, 0);
}

static void put_oversized(struct far_end *far)
{
    memset(far->out + far->out_len, 0xff, 30);
    far->out_len += 30;
}

static void put_forged(struct far_end *far)
{
    far_end_put(far, RECORD_DATA, "forged", 6);
    far->out[far->out_len - 1] ^= 1;
}

static void refuses_what_may_not_come(void **state)
{
    static void (*const puts[])(struct far_end * far) = {
        put_open, put_opened, put_data_behind_fin, put_empty_data, put_oversized, put_forged};

    for (size_t i = 0; i < sizeof(puts) / sizeof(puts[0]); i++) {
        struct world w;
        half_start(&w);
        half_say_data(&w, 1000);
        UNTIL(&w, w.client.received == 1000);
        puts[i](&w.far);
        far_end_send(&w.far);
        expect_both_reset(&w, RELAY_END_PROTOCOL);
        assert_int_equal(w.client.received, 1000);
        world_end(&w);
    }
}

static void reset_client(struct world *w)
{
    mptcp_reset(w->client.fd);
    w->client.fd = -1;
}

/* The client's reset, as the far end hears it: behind the data, then an end of stream; and what far
 * still sends in the meantime does no harm. */
static void near_reset_is_a_record(void **state)
{
    struct world w;
    struct record record;
    uint64_t bytes = 0;

    half_start(&w);
    w.client.goal = 20000;
    while (w.client.sent < w.client.goal)
        say_some(&w.client);
    reset_client(&w);
    assert_true(half_hear_past_data(&w, &bytes, &record));
    assert_int_equal(record.type, RECORD_RESET);
    assert_int_equal(record.len, 1);
    assert_int_equal(bytes, 20000);
    assert_false(half_hear_past_data(&w, &bytes, &record));
    assert_true(w.far.ended);
    for (int i = 0; i < 20; i++) {
        half_say_data(&w, 2000);
        turn(&w);
    }
    assert_false(w.relays[0].ended);
    assert_int_equal(buffers_used(&w, 0), 0);
    drop(&w.far.fd);
    uint64_t at_ms = clock_now_ms();
    UNTIL(&w, all_ended(&w));
    assert_in_range(w.relays[0].ended_ms - at_ms, 0, NOTICED_MS);
    assert_int_equal(w.relays[0].why, RELAY_END_NEAR_RESET);
    world_end(&w);
}

/* Nothing is held any longer for a client that is gone. */
static void near_reset_gives_back_the_buffers(void **state)
{
    struct world w;
    struct record record;
    uint64_t bytes = 0;

    half_start(&w);
    w.client.appetite = 0;
    while (buffers_used(&w, 0) == 0) {
        half_say_data(&w, RECORD_PAYLOAD_MAX);
        turn(&w);
    }
    reset_client(&w);
    assert_true(half_hear_past_data(&w, &bytes, &record));
    assert_int_equal(record.type, RECORD_RESET);
    assert_int_equal(buffers_used(&w, 0), 0);
    assert_false(w.relays[0].ended);
    world_end(&w);
}

/* The far end hears RESET and does nothing, or cannot even be told: it is reset. */
static void near_reset_does_not_wait_for_ever(void **state)
{
    for (int deaf = 0; deaf < 2; deaf++) {
        struct world w;
        struct record record;
        uint64_t bytes = 0;
        world_new(&w, HALF, PAIR_TCP, deaf ? PAIR_UNIX : PAIR_TCP, &no_limits);
        start_relay(&w.relays[0]);
        w.client.goal = 100 << 20;
        if (deaf)
            until_still(&w);
        reset_client(&w);
        UNTIL(&w, all_ended(&w));
        assert_int_equal(w.relays[0].why, RELAY_END_NEAR_RESET);
        if (!deaf)
            assert_true(half_hear_past_data(&w, &bytes, &record) && record.type == RECORD_RESET);
        world_end(&w);
    }
}

static void ping_is_answered(void **state)
{
    struct world w;
    struct record record;

    half_start(&w);
    far_end_say(&w.far, RECORD_PING, "abcdefgh", 8);
    half_hear(&w, RECORD_PONG, &record);
    assert_memory_equal(record.payload, "abcdefgh", 8);
    until_still(&w);
    assert_int_equal(buffers_used(&w, 0), 0);
    assert_int_equal(relay_bytes_in(w.relays[0].relay) + relay_bytes_out(w.relays[0].relay), 0);
    world_end(&w);
}

static void ping_is_answered_behind_a_queue(void **state)
{
    struct world w;
    struct record record;
    uint64_t bytes = 0;

    half_start(&w);
    w.client.goal = 100 << 20;
    until_still(&w);
    far_end_say(&w.far, RECORD_PING, "11111111", 8);
    far_end_say(&w.far, RECORD_PING, "abcdefgh", 8);
    half_say_data(&w, 100);
    UNTIL(&w, w.client.received == 100);
    assert_int_equal(buffers_used(&w, 0), 1);
    w.client.goal = w.client.sent;
    w.client.ends = true;
    assert_true(half_hear_past_data(&w, &bytes, &record));
    assert_int_equal(record.type, RECORD_PONG);
    assert_memory_equal(record.payload, "abcdefgh", 8);
    assert_true(half_hear_past_data(&w, &bytes, &record));
    assert_int_equal(record.type, RECORD_FIN);
    assert_true(bytes == w.client.goal);
    world_end(&w);
}

static void ping_behind_our_fin_does_no_harm(void **state)
{
    struct world w;
    struct record record;
    uint64_t bytes = 0;

    half_start(&w);
    w.client.ends = true;
    half_hear(&w, RECORD_FIN, &record);
    far_end_say(&w.far, RECORD_PING, "abcdefgh", 8);
    half_say_data(&w, 100);
    UNTIL(&w, w.client.received == 100);
    until_still(&w);
    assert_false(far_end_hear(&w.far, &record) || w.far.ended);
    far_end_say(&w.far, RECORD_FIN, NULL, 0);
    UNTIL(&w, all_ended(&w) && w.client.heard_end);
    assert_int_equal(w.relays[0].why, RELAY_END_DONE);
    assert_false(half_hear_past_data(&w, &bytes, &record));
    assert_true(w.far.ended && bytes == 0);
    world_end(&w);
}

static void rekey_in_mid_stream(void **state)
{
    struct world w;

    half_start(&w);
    for (int i = 0; i < 8; i++) {
        half_say_data(&w, 9000);
        far_end_say(&w.far, RECORD_REKEY, NULL, 0);
        if (i % 3 == 0)
            UNTIL(&w, w.client.received == w.server.sent);
    }
    far_end_say(&w.far, RECORD_FIN, NULL, 0);
    UNTIL(&w, w.client.heard_end);
    assert_true(w.client.received == w.server.sent);
    world_end(&w);
}

/* What the handshake has read too much of, cut inside a record. */
static void takes_over_what_was_read_before(void **state)
{
    struct world w;
    uint8_t payload[3000];

    world_new(&w, HALF, PAIR_TCP, PAIR_TCP, &no_limits);
    struct buffer *first = buffer_get(relay_group_pool(w.relays[0].group));
    pattern_fill(2, 0, payload, sizeof(payload));
    far_end_put(&w.far, RECORD_DATA, payload, 2000);
    far_end_put(&w.far, RECORD_DATA, payload + 2000, 1000);
    memcpy(first->data + 9, w.far.out, 2500);
    first->start = 9;
    first->end = 2509;
    assert_int_equal(send(w.far.fd, w.far.out + 2500, w.far.out_len - 2500, 0),
                     w.far.out_len - 2500);
    relay_start_inward(w.relays[0].relay, first);
    UNTIL(&w, w.client.received == 3000);
    relay_start_outward(w.relays[0].relay);
    until_still(&w);
    assert_int_equal(buffers_used(&w, 0), 0);
    world_end(&w);
}

/* ---- limits ---- */

static void pass_time(struct world *w, uint32_t ms)
{
    for (uint64_t until = clock_now_ms() + ms; clock_now_ms() < until;)
        turn(w);
}

static void idle_relays_end(void **state)
{
    static const struct relay_limits limits = {.idle_ms = 200, .half_closed_ms = 3600000};
    struct world w;

    world_new(&w, HALF, PAIR_TCP, PAIR_TCP, &limits);
    start_relay(&w.relays[0]);
    for (int i = 0; i < 12; i++) { /* a PING counts, and a byte in either direction */
        if (i % 3 == 0)
            far_end_say(&w.far, RECORD_PING, "abcdefgh", 8);
        else if (i % 3 == 1)
            half_say_data(&w, 1);
        else
            w.client.goal++;
        pass_time(&w, 40);
        assert_false(w.relays[0].ended);
    }
    uint64_t at_ms = clock_now_ms();
    expect_both_reset(&w, RELAY_END_IDLE);
    assert_in_range(w.relays[0].ended_ms - at_ms, 100, 2000);
    assert_in_range(w.relays[0].ended_ms - relay_last_active_ms(w.relays[0].relay), 200, 2000);
    world_end(&w);
}

static void half_closed_relays_end_sooner(void **state)
{
    static const struct relay_limits limits = {.idle_ms = 3600000, .half_closed_ms = 100};

    for (int swapped = 0; swapped < 2; swapped++) {
        struct world w;
        struct end *first, *second;
        world_new(&w, PLAIN, PAIR_TCP, PAIR_TCP, &limits);
        start_relay(&w.relays[0]);
        swap_ends(&w, &first, &second, swapped);
        pass_time(&w, 200);
        assert_false(w.relays[0].ended);
        first->ends = true;
        UNTIL(&w, all_ended(&w));
        assert_int_equal(w.relays[0].why, RELAY_END_IDLE);
        UNTIL(&w, first->error);
        assert_int_equal(first->error, ECONNRESET);
        world_end(&w);
    }
}

/* The relay has nothing left to do, but the kernel has: its queue drains into a slow client. */
static void a_draining_queue_is_not_idle(void **state)
{
    static const struct relay_limits limits = {.idle_ms = 240, .half_closed_ms = 240};
    struct world w;

    world_new(&w, PLAIN, PAIR_UNIX, PAIR_UNIX, &limits);
    start_relay(&w.relays[0]);
    w.client.appetite = 0;
    w.server.goal = 150000;
    UNTIL(&w, relay_bytes_in(w.relays[0].relay) == 150000 && buffers_used(&w, 0) == 0);
    uint64_t last_ms = relay_last_active_ms(w.relays[0].relay);
    while (w.client.received < 150000) {
        w.client.appetite = 3000;
        act(&w, &w.client);
        w.client.appetite = 0;
        pass_time(&w, 10);
        assert_false(w.relays[0].ended);
    }
    assert_true(clock_now_ms() - last_ms > limits.idle_ms);
    UNTIL(&w, all_ended(&w));
    assert_int_equal(w.relays[0].why, RELAY_END_IDLE);
    world_end(&w);
}

/* ---- the last bytes ---- */

/* Both directions have ended, but the client reads nothing: its kernel takes some, and the rest
 * waits in the queue of the relay's. */
static void be_lingering(struct world *w, const struct relay_limits *limits)
{
    int queue = 1 << 20;

    world_new(w, PLAIN, PAIR_TCP, PAIR_TCP, limits);
    assert_int_equal(setsockopt(w->near_fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof(queue)), 0);
    start_relay(&w->relays[0]);
    w->client.appetite = 0;
    w->client.ends = w->server.ends = true;
    w->server.goal = 400000;
    UNTIL(w, relay_bytes_in(w->relays[0].relay) == w->server.goal && w->server.heard_end);
    for (int i = 0; i < 20; i++)
        turn(w);
    assert_false(w->relays[0].ended);
    assert_int_equal(buffers_used(w, 0), 0);
}

static void ends_when_the_last_byte_has_arrived(void **state)
{
    struct world w;

    be_lingering(&w, &no_limits);
    w.client.appetite = 1 << 20;
    expect_done(&w);
    world_end(&w);
}

static void a_reset_is_noticed_before_the_last_byte(void **state)
{
    struct world w;

    be_lingering(&w, &no_limits);
    reset_client(&w);
    UNTIL(&w, all_ended(&w));
    assert_int_equal(w.relays[0].why, RELAY_END_NEAR_RESET);
    world_end(&w);
}

/* The server has sent its end and has heard the client's: what it does then changes nothing. */
static void the_last_byte_arrives_without_its_sender(void **state)
{
    struct world w;

    be_lingering(&w, &no_limits);
    mptcp_reset(w.server.fd);
    w.server.fd = -1;
    w.client.appetite = 1 << 20;
    UNTIL(&w, all_ended(&w) && w.client.heard_end);
    assert_int_equal(w.relays[0].why, RELAY_END_DONE);
    assert_true(w.client.received == w.server.sent);
    world_end(&w);
}

static void the_last_byte_has_a_limit(void **state)
{
    static const struct relay_limits limits = {.idle_ms = 3600000, .half_closed_ms = 200};
    struct world w;

    be_lingering(&w, &limits);
    UNTIL(&w, all_ended(&w));
    assert_int_equal(w.relays[0].why, RELAY_END_IDLE);
    w.client.appetite = 1 << 20;
    UNTIL(&w, w.client.error || w.client.heard_end);
    assert_int_equal(w.client.error, ECONNRESET);
    world_end(&w);
}

/* Sealed; the client ends, and reads nothing. */
static void be_half_unread(struct world *w, const struct relay_limits *limits)
{
    world_new(w, HALF, PAIR_TCP, PAIR_TCP, limits);
    start_relay(&w->relays[0]);
    w->client.appetite = 0;
    w->client.ends = true;
}

/* Sealed, and far has all: it is left, and its end does not touch what waits for the client. */
static void the_last_byte_does_not_wait_with_far(void **state)
{
    struct world w;
    struct record record;
    int queue = 1 << 20;

    be_half_unread(&w, &no_limits);
    assert_int_equal(setsockopt(w.near_fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof(queue)), 0);
    for (int i = 0; i < 40; i++) {
        half_say_data(&w, 10000);
        turn(&w);
    }
    far_end_say(&w.far, RECORD_FIN, NULL, 0);
    half_hear(&w, RECORD_FIN, &record);
    UNTIL(&w, !far_end_hear(&w.far, &record) && w.far.ended);
    mptcp_reset(w.far.fd);
    w.far.fd = -1;
    until_still(&w);
    assert_false(w.relays[0].ended);
    w.client.appetite = 1 << 20;
    UNTIL(&w, all_ended(&w) && w.client.heard_end);
    assert_int_equal(w.relays[0].why, RELAY_END_DONE);
    assert_true(w.client.received == w.server.sent);
    world_end(&w);
}

/* Far has had our FIN, has said all, and closes: its kernel hears our end, too, although the client
 * is slow and much still waits to be read. */
static void far_is_answered_before_the_last_byte(void **state)
{
    static const struct relay_limits limits = {.idle_ms = 3600000, .half_closed_ms = 4000};
    struct world w;
    struct record record;

    be_half_unread(&w, &limits);
    half_hear(&w, RECORD_FIN, &record);
    while (buffers_used(&w, 0) == 0) {
        half_say_data(&w, RECORD_PAYLOAD_MAX);
        turn(&w);
    }
    half_say_data(&w, 1000);
    far_end_say(&w.far, RECORD_FIN, NULL, 0);
    until_still(&w);
    assert_false(far_end_hear(&w.far, &record) || w.far.ended);
    shutdown(w.far.fd, SHUT_WR);
    UNTIL(&w, !far_end_hear(&w.far, &record) && w.far.ended);
    assert_int_equal(buffers_used(&w, 0), 1);
    w.client.appetite = 1 << 20;
    UNTIL(&w, all_ended(&w) && w.client.heard_end);
    assert_int_equal(w.relays[0].why, RELAY_END_DONE);
    assert_true(w.client.received == w.server.sent);
    world_end(&w);
}

static void freed_while_lingering(void **state)
{
    struct world w;

    be_lingering(&w, &no_limits);
    world_end(&w);
}

/* ---- a connection that is no more ---- */

/* Its only subflow is lost. One that had begun to end is closed then, and no error tells. */
static void lose_far_connection(struct world *w)
{
    struct netlink *diag;
    struct addr local, remote;
    int far = relay_far_fd(w->relays[0].relay);

    assert_int_equal(netlink_new(&diag, NETLINK_SOCK_DIAG), 0);
    assert_int_equal(addr_of_socket(&local, far), 0);
    assert_int_equal(addr_of_peer(&remote, far), 0);
    assert_int_equal(sock_diag_reset(diag, &local, &remote, 0), 0);
    netlink_free(diag);
}

static void have_served(struct world *w, struct end *client, struct end *server)
{
    have_ended(w, server, client);
}

static void have_served_and_be_blocked(struct world *w, struct end *client, struct end *server)
{
    have_ended(w, server, client);
    be_blocked(w, client, server);
}

static void a_half_closed_connection_is_lost(void **state)
{
    static void (*const prepare[])(struct world *, struct end *, struct end *) = {
        have_ended, have_served, have_served_and_be_blocked};

    for (size_t i = 0; i < sizeof(prepare) / sizeof(prepare[0]); i++) {
        struct world w;

        world_start(&w, PLAIN, PAIR_TCP, PAIR_MPTCP);
        prepare[i](&w, &w.client, &w.server);
        lose_far_connection(&w);
        UNTIL(&w, all_ended(&w));
        assert_int_equal(w.relays[0].why, RELAY_END_FAR_RESET);
        UNTIL(&w, w.client.error);
        world_end(&w);
    }
}

/* Sealed, FIN tells the end of a direction, and the connection has not begun to end: it waits for
 * another path. */
static void a_sealed_connection_outlives_its_last_path(void **state)
{
    struct world w;

    world_start(&w, SEALED, PAIR_TCP, PAIR_MPTCP);
    have_ended(&w, &w.client, &w.server);
    lose_far_connection(&w);
    until_still(&w);
    assert_false(w.relays[0].ended || w.relays[1].ended);
    world_end(&w);
}

/* Both directions have ended, but some of what was sent will never be acknowledged. */
static void the_rest_has_no_connection(void **state)
{
    int queue = 1 << 20, little = 1 << 16;
    struct world w;

    world_new(&w, PLAIN, PAIR_TCP, PAIR_MPTCP, &no_limits);
    int far = relay_far_fd(w.relays[0].relay);
    assert_int_equal(setsockopt(far, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof(queue)), 0);
    assert_int_equal(setsockopt(w.server.fd, SOL_SOCKET, SO_RCVBUFFORCE, &little, sizeof(little)),
                     0);
    start_relay(&w.relays[0]);
    w.server.appetite = 0;
    w.client.ends = true;
    w.client.goal = 600000;
    UNTIL(&w, relay_bytes_out(w.relays[0].relay) == w.client.goal);
    shutdown(w.server.fd, SHUT_WR);
    UNTIL(&w, w.client.heard_end);
    assert_true(unsent(&w, &w.client) > 1000);
    lose_far_connection(&w);
    UNTIL(&w, all_ended(&w));
    assert_int_equal(w.relays[0].why, RELAY_END_FAR_RESET);
    world_end(&w);
}

/* It may well have come, and its acknowledgement was lost: the client, which reads nothing for a
 * while, gets all that was sent to it. */
static void the_last_word_has_no_connection(void **state)
{
    int queue = 1 << 20;
    struct world w;
    struct addr far;

    world_new(&w, HALF, PAIR_TCP, PAIR_MPTCP, &no_limits);
    assert_int_equal(setsockopt(w.near_fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof(queue)), 0);
    assert_int_equal(addr_of_socket(&far, relay_far_fd(w.relays[0].relay)), 0);
    start_relay(&w.relays[0]);
    w.client.appetite = 0;
    for (int i = 0; i < 40; i++)
        half_say_data(&w, 10000);
    far_end_say(&w.far, RECORD_FIN, NULL, 0);
    shutdown(w.far.fd, SHUT_WR);
    UNTIL(&w, relay_bytes_in(w.relays[0].relay) == w.server.sent);
    until_still(&w);
    netns_run("nft 'table ip t { chain out { type filter hook output priority 0;"
              " tcp sport %u drop; }; }'",
              far.port);
    shutdown(w.client.fd, SHUT_WR);
    UNTIL(&w, unsent(&w, &w.client) > 1);
    lose_far_connection(&w);
    netns_run("nft delete table ip t");
    until_still(&w);
    assert_false(w.relays[0].ended);
    w.client.appetite = 1 << 20;
    UNTIL(&w, all_ended(&w) && w.client.heard_end);
    assert_int_equal(w.relays[0].why, RELAY_END_DONE);
    assert_true(w.client.received == w.server.sent);
    world_end(&w);
}

/* ---- growth ---- */

static void tells_of_growth(void **state)
{
    struct world w;

    world_start(&w, PLAIN, PAIR_UNIX, PAIR_UNIX);
    w.client.goal = 5000;
    UNTIL(&w, w.server.received == 5000);
    assert_int_equal(w.relays[0].grown, 0);
    relay_watch_growth(w.relays[0].relay, 3000);
    w.client.goal += 1500;
    UNTIL(&w, w.server.received == w.client.goal);
    assert_int_equal(w.relays[0].grown, 0);
    w.server.goal += 1500;
    UNTIL(&w, w.client.received == w.server.goal);
    assert_int_equal(w.relays[0].grown, 1);
    w.server.goal += 100000;
    UNTIL(&w, w.client.received == w.server.goal);
    assert_int_equal(w.relays[0].grown, 1);
    relay_watch_growth(w.relays[0].relay, 1);
    w.server.goal++;
    UNTIL(&w, w.client.received == w.server.goal);
    assert_int_equal(w.relays[0].grown, 2);
    world_end(&w);
}

struct activity {
    int calls;
    uint64_t last_ms;
    bool too_often;
};

static void on_active(void *arg)
{
    struct activity *a = arg;
    uint64_t now_ms = clock_now_ms();

    a->too_often = a->too_often || (a->calls && now_ms - a->last_ms < 45);
    a->calls++;
    a->last_ms = now_ms;
}

/* While bytes move, either way; not while nothing does. */
static void tells_of_activity(void **state)
{
    struct world w;
    struct activity a = {0};

    world_start(&w, PLAIN, PAIR_TCP, PAIR_TCP);
    relay_group_watch_activity(w.relays[0].group, on_active, &a);
    until_still(&w);
    assert_int_equal(a.calls, 0);
    w.client.goal = 1;
    UNTIL(&w, w.server.received == 1);
    assert_int_equal(a.calls, 1);
    for (uint64_t end_ms = clock_now_ms() + 300; clock_now_ms() < end_ms; turn(&w)) {
        if (w.server.sent == w.server.goal)
            w.server.goal += 100;
    }
    assert_in_range(a.calls, 3, 8);
    assert_false(a.too_often);
    until_still(&w);
    int calls = a.calls;
    for (uint64_t end_ms = clock_now_ms() + 120; clock_now_ms() < end_ms;)
        turn(&w);
    assert_int_equal(a.calls, calls);
    relay_group_watch_activity(w.relays[0].group, NULL, NULL); /* no longer wanted */
    w.client.goal++;
    UNTIL(&w, w.server.received == w.client.goal);
    assert_int_equal(a.calls, calls);
    world_end(&w);
}

/* Called in the relay's first turn, which ends with waiting for the client: more comes than far
 * takes, and a reset. The watch tells of that before the relay reads and finds itself blocked. */
static void reset_in_mid_turn(struct world *w)
{
    static uint8_t block[60000];

    assert_int_equal(send(w->client.fd, block, sizeof(block), 0), sizeof(block));
    reset_client(w);
}

static void a_reset_in_mid_turn_is_not_lost(void **state)
{
    struct world w;
    int least = 1;

    world_new(&w, PLAIN, PAIR_TCP, PAIR_UNIX, &no_limits);
    setsockopt(relay_far_fd(w.relays[0].relay), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
    w.server.appetite = 0;
    w.client.goal = 10;
    say_some(&w.client);
    relay_watch_growth(w.relays[0].relay, w.client.sent);
    w.when_grown = reset_in_mid_turn;
    relay_start_outward(w.relays[0].relay);
    UNTIL(&w, all_ended(&w));
    assert_int_equal(w.relays[0].why, RELAY_END_NEAR_RESET);
    world_end(&w);
}

/* ---- lifetime ---- */

static void freed_in_every_state(void **state)
{
    static const struct relay_limits limits = {.idle_ms = 60000, .half_closed_ms = 60000};

    for (enum layout layout = PLAIN; layout <= HALF; layout++) {
        for (int when = 0; when < 7; when++) {
            struct world w;
            world_new(&w, layout, PAIR_TCP, PAIR_TCP, &limits);
            if (when == 1)
                relay_start_inward(w.relays[0].relay,
                                   buffer_get(relay_group_pool(w.relays[0].group)));
            if (when >= 2)
                start_relay(&w.relays[0]);
            if (when >= 3 && layout == SEALED)
                start_relay(&w.relays[1]);
            if (when == 3)
                until_still(&w);
            if (when >= 4) {
                w.client.goal = 100 << 20;
                w.client.appetite = w.server.appetite = 0;
            }
            if (when == 4 || when == 5)
                until_still(&w); /* blocked */
            if (when == 5) {
                relay_abort(w.relays[0].relay);
                relay_abort(w.relays[0].relay);
            }
            if (when == 6) {
                turn(&w);
                reset_client(&w); /* sealed: RESET is on its way */
                turn(&w);
            }
            world_end(&w);
        }
    }
    relay_free(NULL);
    relay_group_free(NULL);
}

static void aborting_resets_both(void **state)
{
    struct world w;

    world_start(&w, PLAIN, PAIR_TCP, PAIR_MPTCP);
    be_in_conversation(&w, &w.client, &w.server);
    w.inside = true;
    relay_abort(w.relays[0].relay);
    w.inside = false;
    assert_int_equal(relay_far_fd(w.relays[0].relay), -1);
    UNTIL(&w, w.client.error && w.server.error);
    assert_int_equal(w.client.error, ECONNRESET);
    assert_int_equal(w.server.error, ECONNRESET);
    assert_int_equal(w.relays[0].ended, 0);
    world_end(&w);
}

/* Both sockets are dead already: the owner hears of it from the event loop, once. */
static void ends_only_from_the_event_loop(void **state)
{
    for (int dead = 1; dead < 4; dead++) {
        struct world w;
        world_new(&w, PLAIN, PAIR_TCP, PAIR_TCP, &no_limits);
        if (dead & 1)
            reset_client(&w);
        if (dead & 2) {
            mptcp_reset(w.server.fd);
            w.server.fd = -1;
        }
        start_relay(&w.relays[0]);
        assert_int_equal(w.relays[0].ended, 0);
        UNTIL(&w, all_ended(&w));
        for (int i = 0; i < 10; i++)
            turn(&w);
        world_end(&w);
    }
}

static void a_relay_not_made_takes_nothing(void **state)
{
    struct world w;
    FILE *file = tmpfile(); /* epoll takes none */

    assert_non_null(file);
    world_start(&w, PLAIN, PAIR_UNIX, PAIR_UNIX);
    struct pair pair = pair_new(PAIR_UNIX);
    struct relay_setup setup = {
        .near_fd = pair.a, .far_fd = fileno(file), .ended = on_ended, .arg = &w.relays[0]};
    assert_null(relay_new(w.relays[0].group, &setup));
    setup.near_fd = fileno(file);
    setup.far_fd = pair.a;
    assert_null(relay_new(w.relays[0].group, &setup));
    assert_int_equal(send(pair.a, "still mine", 10, 0), 10);
    close(pair.a);
    close(pair.b);
    world_end(&w);
    fclose(file);
}

/* A process that was just forked holds the sockets for a moment longer than we do: what happens to
 * them then must reach no relay that is gone. */
static void outlived_by_its_sockets(void **state)
{
    for (int order = 0; order < 2; order++) {
        struct world w;
        world_start(&w, PLAIN, PAIR_TCP, PAIR_TCP);
        struct pair near = pair_new(PAIR_TCP), far = pair_new(PAIR_TCP);
        int near_copy = dup(near.b), far_copy = dup(far.a);
        struct watched *other = &w.relays[1];
        other->world = &w;
        other->group = w.relays[0].group;
        struct relay_setup setup = {
            .near_fd = near.b, .far_fd = far.a, .ended = on_ended, .arg = other};
        make_relay(other, &setup);
        start_relay(other);
        if (order) { /* ends in order */
            shutdown(near.a, SHUT_WR);
            shutdown(far.b, SHUT_WR);
            UNTIL(&w, other->ended);
        }
        relay_free(other->relay);
        mptcp_reset(near.a);
        mptcp_reset(far.b);
        for (int i = 0; i < 10; i++)
            turn(&w);
        close(near_copy);
        close(far_copy);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries),
        cmocka_unit_test(half_closes),
        cmocka_unit_test(slow_readers_get_everything),
        cmocka_unit_test(a_blocked_direction_holds_one_buffer),
        cmocka_unit_test(resets_travel),
        cmocka_unit_test(a_reset_waits_for_what_is_ahead_of_it),
        cmocka_unit_test(reset_record_comes_behind_the_data),
        cmocka_unit_test(truncation_is_a_reset),
        cmocka_unit_test(refuses_what_may_not_come),
        cmocka_unit_test(near_reset_is_a_record),
        cmocka_unit_test(near_reset_gives_back_the_buffers),
        cmocka_unit_test(near_reset_does_not_wait_for_ever),
        cmocka_unit_test(ping_is_answered),
        cmocka_unit_test(ping_is_answered_behind_a_queue),
        cmocka_unit_test(ping_behind_our_fin_does_no_harm),
        cmocka_unit_test(rekey_in_mid_stream),
        cmocka_unit_test(takes_over_what_was_read_before),
        cmocka_unit_test(idle_relays_end),
        cmocka_unit_test(half_closed_relays_end_sooner),
        cmocka_unit_test(a_draining_queue_is_not_idle),
        cmocka_unit_test(ends_when_the_last_byte_has_arrived),
        cmocka_unit_test(a_reset_is_noticed_before_the_last_byte),
        cmocka_unit_test(the_last_byte_arrives_without_its_sender),
        cmocka_unit_test(the_last_byte_has_a_limit),
        cmocka_unit_test(the_last_byte_does_not_wait_with_far),
        cmocka_unit_test(far_is_answered_before_the_last_byte),
        cmocka_unit_test(freed_while_lingering),
        cmocka_unit_test(a_half_closed_connection_is_lost),
        cmocka_unit_test(a_sealed_connection_outlives_its_last_path),
        cmocka_unit_test(the_rest_has_no_connection),
        cmocka_unit_test(the_last_word_has_no_connection),
        cmocka_unit_test(tells_of_growth),
        cmocka_unit_test(tells_of_activity),
        cmocka_unit_test(a_reset_in_mid_turn_is_not_lost),
        cmocka_unit_test(freed_in_every_state),
        cmocka_unit_test(aborting_resets_both),
        cmocka_unit_test(ends_only_from_the_event_loop),
        cmocka_unit_test(a_relay_not_made_takes_nothing),
        cmocka_unit_test(outlived_by_its_sockets),
    };

    netns_enter();
    /* Full sooner. */
    netns_run("echo 4096 65536 131072 > /proc/sys/net/ipv4/tcp_rmem");
    netns_run("echo 4096 65536 131072 > /proc/sys/net/ipv4/tcp_wmem");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
