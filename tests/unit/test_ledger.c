/* The ledger over a run of the program and the next: what it counts, tells and decides, when it
 * saves, and what becomes of a file that is torn or cannot be written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/log.h"
#include "core/state_file.h"
#include "gateway/budget_file.h"
#include "gateway/ledger.h"

#define MB UINT64_C(1000000)
#define MINUTE_MS UINT64_C(60000)
/* 2026-11-28, noon. */
#define NOW_MS UINT64_C(1795867200000)

/* ---- the clock and the uplinks, played by the test ---- */

static uint64_t now_ms = 1000;
static struct gateway_config config;
static struct uplink uplink;
static struct uplink_counters counters;
static int counters_error;

uint64_t __wrap_clock_now_ms(void);
size_t __wrap_uplinks_count(const struct uplinks *uplinks);
const struct uplink *__wrap_uplinks_get(const struct uplinks *uplinks, size_t index);
int __wrap_uplinks_read_counters(const struct uplinks *uplinks, const struct uplink *of,
                                 struct uplink_counters *out);

uint64_t __wrap_clock_now_ms(void)
{
    return now_ms;
}

size_t __wrap_uplinks_count(const struct uplinks *uplinks)
{
    return 1;
}

const struct uplink *__wrap_uplinks_get(const struct uplinks *uplinks, size_t index)
{
    return &uplink;
}

int __wrap_uplinks_read_counters(const struct uplinks *uplinks, const struct uplink *of,
                                 struct uplink_counters *out)
{
    *out = counters;
    return counters_error;
}

/* ---- the file ---- */

static unsigned saves, attempts;

int __real_state_writer_save(struct state_writer *writer, const char *text, size_t len);
int __wrap_state_writer_save(struct state_writer *writer, const char *text, size_t len);

int __wrap_state_writer_save(struct state_writer *writer, const char *text, size_t len)
{
    int err = __real_state_writer_save(writer, text, len);

    attempts++;
    saves += err == 0;
    return err;
}

/* ---- one run of the program ---- */

static struct house {
    char dir[64];
    struct event_base *base;
    struct events *events;
    struct gauges gauges;
    struct clock_told time;
    struct ledger *ledger;
    unsigned changes;
    bool off;
} house;

static void on_changed(void *arg, uint32_t index, bool off)
{
    house.changes++;
    house.off = off;
}

static void start(bool time_known)
{
    struct ledger_setup setup = {.base = house.base = event_base_new(),
                                 .config = &config,
                                 .gauges = &house.gauges,
                                 .time = &house.time,
                                 .events = house.events = events_new(house.base),
                                 .changed = on_changed};

    house.gauges = (struct gauges){0};
    house.time = (struct clock_told){0};
    house.changes = 0;
    house.off = false;
    if (time_known)
        clock_tell(&house.time, NOW_MS);
    assert_int_equal(ledger_new(&house.ledger, &setup), 0);
}

static void let_go(void)
{
    events_free(house.events);
    event_base_free(house.base);
}

static void stop(void)
{
    ledger_free(house.ledger);
    let_go();
}

/* The machine loses its power: what is in the file is all that is left. */
static void cut_power(void)
{
    char text[STATE_FILE_MAX + 1];
    struct budget_book book;
    int len = state_file_read(house.dir, "budgets", text);

    stop();
    assert_true(len > 0);
    assert_int_equal(budget_book_read(&book, text, (size_t)len), 0);
    strcpy(book.boot, "00000000-0000-0000-0000-000000000000");
    len = budget_book_write(&book, text, sizeof(text));
    assert_int_equal(state_file_write(house.dir, "budgets", text, (size_t)len), 0);
    counters = (struct uplink_counters){0};
}

/* Its next look, and what that sets in motion. */
static void look(void)
{
    ledger_time_told(house.ledger);
    event_base_loop(house.base, EVLOOP_NONBLOCK);
}

static void carry(uint64_t bytes)
{
    counters.rx_bytes += bytes / 2;
    counters.tx_bytes += bytes - bytes / 2;
    now_ms += 1000;
    look();
}

static struct budget_status status(void)
{
    struct budget_status s;

    assert_true(ledger_status(house.ledger, 0, &s));
    return s;
}

static void assert_event(const char *part)
{
    for (uint64_t seq = 1; seq <= events_newest(house.events); seq++) {
        if (strstr(events_line(house.events, seq), part))
            return;
    }
    fail_msg("no event holds %s", part);
}

static void path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", house.dir, name);
}

static int setup(void **state)
{
    setenv("TZ", "UTC0", 1);
    strcpy(house.dir, "/tmp/bondway-ledger-XXXXXX");
    if (!mkdtemp(house.dir))
        return -1;
    config = (struct gateway_config){.state_dir = house.dir, .n_uplinks = 1};
    strcpy(config.uplinks[0].name, "lte");
    config.uplinks[0].monthly_budget = 100 * MB;
    config.uplinks[0].budget_day = 1;
    uplink = (struct uplink){.config = &config.uplinks[0], .ifindex = 3};
    counters = (struct uplink_counters){.rx_bytes = 7 * MB};
    counters_error = 0;
    return 0;
}

static int clear(void **state)
{
    static const char *const names[] = {"budgets", "budgets.bad", "budgets.new"};
    char path[128];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        path_of(names[i], path);
        unlink(path);
    }
    return rmdir(house.dir);
}

/* ---- what it decides ---- */

static void from_zero_to_beyond_the_limit(void **state)
{
    start(true);
    assert_int_equal(status().used, 0);
    assert_int_equal(status().days_left, 3);
    carry(79 * MB);
    assert_int_equal(status().state, BUDGET_OK);
    carry(2 * MB);
    assert_int_equal(status().state, BUDGET_LOW);
    assert_int_equal(status().left, 19 * MB);
    assert_event("\"name\":\"lte\",\"what\":\"low\"");
    assert_int_equal(house.changes, 0);
    carry(20 * MB);
    assert_int_equal(status().state, BUDGET_SPENT);
    assert_int_equal(status().left, 0);
    assert_event("\"name\":\"lte\",\"what\":\"spent\"");
    assert_int_equal(house.changes, 1);
    assert_true(house.gauges.of[0].spent);
    assert_false(house.off);
    carry(MB);
    assert_int_equal(house.changes, 1);
    clock_tell(&house.time, NOW_MS + 4 * 24 * 60 * MINUTE_MS);
    look();
    assert_int_equal(status().state, BUDGET_OK);
    assert_event("\"before\":\"spent\",\"reason\":\"a new month\"");
    assert_int_equal(house.changes, 2);
    assert_false(house.gauges.of[0].spent);
    stop();
}

/* With a clock that nobody has set, a new month might have begun: it is the last resort until a
 * concentrator has told. */
static void off_only_when_the_time_is_known(void **state)
{
    config.uplinks[0].on_budget = ON_BUDGET_OFF;
    start(false);
    carry(101 * MB);
    assert_false(status().dated);
    assert_true(house.gauges.of[0].spent);
    assert_false(house.off);
    clock_tell(&house.time, NOW_MS);
    look();
    assert_true(house.off);
    assert_int_equal(house.changes, 2);
    assert_true(status().dated);
    look();
    assert_int_equal(house.changes, 2);
    stop();

    start(false);
    assert_true(house.gauges.of[0].spent);
    assert_int_equal(house.changes, 0);
    assert_false(house.off);
    clock_tell(&house.time, NOW_MS + 4 * 24 * 60 * MINUTE_MS);
    look();
    assert_false(house.gauges.of[0].spent);
    assert_false(house.off);
    stop();
}

static void an_interface_that_is_not_there(void **state)
{
    start(true);
    carry(5 * MB);
    counters_error = -ENODEV;
    carry(6 * MB);
    assert_int_equal(status().used, 5 * MB);
    counters_error = 0;
    uplink.ifindex = 9;
    counters = (struct uplink_counters){.rx_bytes = MB};
    look();
    assert_int_equal(status().used, 6 * MB);
    stop();
}

/* ---- what it keeps ---- */

static void a_restart_keeps_the_count(void **state)
{
    start(true);
    carry(30 * MB);
    counters.rx_bytes += 4 * MB; /* since the last look */
    stop();
    counters.tx_bytes += 3 * MB; /* while nobody looked */
    start(false);
    assert_int_equal(status().used, 37 * MB);
    stop();
}

static void a_power_cut_costs_no_more_than_the_last_15_minutes(void **state)
{
    start(true);
    carry(30 * MB);
    now_ms += 15 * MINUTE_MS;
    carry(0);
    ledger_free(house.ledger); /* waits for the save */
    let_go();
    start(true);
    carry(2 * MB);
    cut_power();
    counters.rx_bytes = MB; /* since the machine is up */
    start(false);
    assert_int_equal(status().used, 31 * MB);
    stop();
}

static void wait_for_events(uint64_t n)
{
    for (int i = 0; i < 1000 && events_newest(house.events) < n; i++) {
        event_base_loop(house.base, EVLOOP_NONBLOCK);
        usleep(10000);
    }
    assert_int_equal(events_newest(house.events), n);
}

/* One under way would be in the way of the next. */
static void wait_for_saves(unsigned n)
{
    for (int i = 0; i < 1000 && saves < n; i++) {
        look();
        usleep(10000);
    }
    assert_int_equal(saves, n);
}

static void saves_every_15_minutes_at_most(void **state)
{
    saves = attempts = 0;
    start(true);
    for (int i = 0; i < 14; i++) {
        now_ms += MINUTE_MS - 1000;
        carry(MB);
    }
    assert_int_equal(attempts, 1);
    now_ms += MINUTE_MS - 1000;
    carry(MB);
    wait_for_saves(2);
    now_ms += 60 * MINUTE_MS;
    attempts = 0;
    carry(0); /* nothing to save */
    assert_int_equal(attempts, 0);
    carry(1);
    wait_for_saves(3);
    stop();
    assert_int_equal(saves, 3); /* the last one is not left to the writer */
}

static void a_torn_file_is_set_aside(void **state)
{
    char path[128];

    start(true);
    carry(30 * MB);
    stop();
    path_of("budgets", path);
    assert_int_equal(truncate(path, 100), 0);
    start(true);
    assert_int_equal(status().used, 0);
    assert_event("\"name\":\"budgets\",\"what\":\"lost\"");
    assert_event("it is torn, or was changed by hand (now budgets.bad)");
    path_of("budgets.bad", path);
    assert_int_equal(access(path, F_OK), 0);
    carry(MB);
    stop();
    start(true);
    assert_int_equal(status().used, MB);
    assert_int_equal(events_newest(house.events), 0);
    stop();
}

/* It goes on in memory, says so once, and saves when it can. */
static void where_it_cannot_be_written(void **state)
{
    char path[128];

    path_of("budgets", path);
    config.state_dir = path; /* a directory there is in the way of a file, and later none */
    assert_int_equal(state_file_write(house.dir, "budgets", "x", 1), 0);
    start(true);
    wait_for_events(2);
    assert_event("\"what\":\"unsaved\"");
    assert_event("budgets (state_dir): Not a directory; can another");
    uint64_t told = events_newest(house.events);
    now_ms += 16 * MINUTE_MS;
    saves = 0;
    carry(MB);
    now_ms += 16 * MINUTE_MS;
    carry(MB);
    wait_for_saves(2);
    assert_int_equal(events_newest(house.events), told);
    assert_int_equal(status().used, 2 * MB);
    stop();
    config.state_dir = house.dir;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_zero_to_beyond_the_limit, setup, clear),
        cmocka_unit_test_setup_teardown(off_only_when_the_time_is_known, setup, clear),
        cmocka_unit_test_setup_teardown(an_interface_that_is_not_there, setup, clear),
        cmocka_unit_test_setup_teardown(a_restart_keeps_the_count, setup, clear),
        cmocka_unit_test_setup_teardown(a_power_cut_costs_no_more_than_the_last_15_minutes, setup,
                                        clear),
        cmocka_unit_test_setup_teardown(saves_every_15_minutes_at_most, setup, clear),
        cmocka_unit_test_setup_teardown(a_torn_file_is_set_aside, setup, clear),
        cmocka_unit_test_setup_teardown(where_it_cannot_be_written, setup, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
