/* What the gateway tells of its uplinks and concentrators, and what is no change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/changes.h"

static const struct uplink_config dsl = {.name = "dsl"};
static const struct concentrator_entry vps = {.name = "vps"};
static const struct gauge measured = {.rtt_us = 20125, .tcp_works = true};
static const struct gauge unmeasured = {.tcp_works = true};
static const struct gauge silent = {.rtt_us = 20125,
                                    .health = {.verdict = HEALTH_DEAD,
                                               .answered_us = 1,
                                               .reason = "no answer for 95 ms",
                                               .loss_permille = 30}};

static int lab_up(void **state)
{
    *state = event_base_new();
    return *state ? 0 : -1;
}

static int lab_down(void **state)
{
    event_base_free(*state);
    return 0;
}

static struct uplink uplink_in(enum uplink_state in, const char *reason, const char *address)
{
    struct uplink uplink = {.config = &dsl, .state = in};

    strcpy(uplink.reason, reason);
    if (address)
        assert_int_equal(addr_parse_ip(&uplink.v4.address, address), 0);
    return uplink;
}

/* From "kind" on: what is before it differs each time. */
static void assert_told(const struct events *events, uint64_t seq, const char *expected)
{
    assert_int_equal(events_newest(events), seq);
    assert_string_equal(strstr(events_line(events, seq), "\"kind\""), expected);
}

static void an_uplinks_states(void **state)
{
    struct events *events = events_new(*state);
    struct uplink_told told = {0};
    struct uplink up = uplink_in(UPLINK_UP, "", "192.0.2.1");
    struct uplink pulled = uplink_in(UPLINK_DOWN, "no carrier", "192.0.2.1");
    struct uplink bare = uplink_in(UPLINK_DOWN, "no IPv4 address", NULL);

    changes_uplink(events, &told, &up, 4, &unmeasured);
    assert_told(events, 1,
                "\"kind\":\"uplink\",\"name\":\"dsl\",\"what\":\"up\",\"before\":\"\",\"reason\":"
                "\"\",\"figures\":{\"address\":\"192.0.2.1\"}}");
    changes_uplink(events, &told, &up, 4, &silent);
    assert_told(events, 2,
                "\"kind\":\"uplink\",\"name\":\"dsl\",\"what\":\"dead\",\"before\":\"up\","
                "\"reason\":\"no answer for 95 ms\",\"figures\":{\"address\":\"192.0.2.1\","
                "\"rtt_ms\":20.1,\"loss_percent\":3.0}}");
    changes_uplink(events, &told, &pulled, 4, &measured);
    assert_told(events, 3,
                "\"kind\":\"uplink\",\"name\":\"dsl\",\"what\":\"down\",\"before\":\"dead\","
                "\"reason\":\"no carrier\",\"figures\":{\"address\":\"192.0.2.1\",\"rtt_ms\":20.1}"
                "}");
    changes_uplink(events, &told, &bare, 4, &unmeasured);
    assert_told(events, 4,
                "\"kind\":\"uplink\",\"name\":\"dsl\",\"what\":\"down\",\"before\":\"down\","
                "\"reason\":\"no IPv4 address\"}");
    events_free(events);
}

/* Its figures change with every look. */
static void a_reason_is_no_change_of_its_own(void **state)
{
    struct events *events = events_new(*state);
    struct uplink_told told = {0};
    struct uplink up = uplink_in(UPLINK_UP, "", "192.0.2.1");
    struct gauge later = silent;

    changes_uplink(events, &told, &up, 4, &silent);
    strcpy(later.health.reason, "no answer for 300 ms");
    changes_uplink(events, &told, &up, 4, &later);
    assert_int_equal(events_newest(events), 1);
    events_free(events);
}

static void an_address_is_a_change_while_it_is_up(void **state)
{
    struct events *events = events_new(*state);
    struct uplink_told told = {0};
    struct uplink up = uplink_in(UPLINK_UP, "", "192.0.2.1");
    struct uplink moved = uplink_in(UPLINK_UP, "", "192.0.2.77");
    struct uplink pulled = uplink_in(UPLINK_DOWN, "no carrier", "192.0.2.1");
    struct uplink bare = uplink_in(UPLINK_DOWN, "no carrier", NULL);

    changes_uplink(events, &told, &up, 4, &measured);
    changes_uplink(events, &told, &up, 4, &measured);
    assert_int_equal(events_newest(events), 1);
    changes_uplink(events, &told, &moved, 4, &unmeasured);
    assert_told(events, 2,
                "\"kind\":\"uplink\",\"name\":\"dsl\",\"what\":\"up\",\"before\":\"up\",\"reason\":"
                "\"another address\",\"figures\":{\"address\":\"192.0.2.77\"}}");
    changes_uplink(events, &told, &pulled, 4, &measured);
    changes_uplink(events, &told, &bare, 4, &measured);
    assert_int_equal(events_newest(events), 3);
    events_free(events);
}

static void a_concentrators_states(void **state)
{
    struct events *events = events_new(*state);
    struct concentrator_entry entry = vps;
    struct concentrator_status down = {
        .entry = &entry, .state = CONCENTRATOR_DOWN, .reason = "no uplink is up", .rtt_us = 20125};

    assert_int_equal(addr_parse_ip(&entry.address, "203.0.113.10"), 0);
    entry.address.port = 7171;
    changes_concentrator(events, CONCENTRATOR_UP, &down);
    assert_told(events, 1,
                "\"kind\":\"concentrator\",\"name\":\"vps\",\"what\":\"down\",\"before\":\"up\","
                "\"reason\":\"no uplink is up\",\"figures\":{\"address\":\"203.0.113.10:7171\","
                "\"rtt_ms\":20.1}}");
    changes_concentrator(NULL, CONCENTRATOR_UP, &down); /* nobody listens */
    events_free(events);
}

static void what_is_left_of_a_budget(void **state)
{
    struct events *events = events_new(*state);
    struct uplink_config config = {.name = "lte"};
    struct uplink lte = {.config = &config};
    struct budget_status now = {.limit = 1000, .used = 801, .state = BUDGET_LOW};

    changes_budget(events, &lte, BUDGET_OK, &now);
    assert_told(events, 1,
                "\"kind\":\"budget\",\"name\":\"lte\",\"what\":\"low\",\"before\":\"ok\","
                "\"reason\":\"four fifths are used\",\"figures\":{\"used_bytes\":801,"
                "\"limit_bytes\":1000}}");
    now.used = 1001;
    now.state = BUDGET_SPENT;
    config.on_budget = ON_BUDGET_OFF;
    changes_budget(events, &lte, BUDGET_LOW, &now);
    assert_told(events, 2,
                "\"kind\":\"budget\",\"name\":\"lte\",\"what\":\"spent\",\"before\":\"low\","
                "\"reason\":\"it is used up: the uplink is off\",\"figures\":{\"used_bytes\":"
                "1001,\"limit_bytes\":1000}}");
    events_free(events);
}

#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, lab_up, lab_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST(an_uplinks_states),
        LAB_TEST(a_reason_is_no_change_of_its_own),
        LAB_TEST(an_address_is_a_change_while_it_is_up),
        LAB_TEST(a_concentrators_states),
        LAB_TEST(what_is_left_of_a_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
