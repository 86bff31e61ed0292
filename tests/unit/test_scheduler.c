/* bond, and what all schedulers have in common: what must hold for every set of uplinks, tried on
 * all sets of four. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/scheduler.h"

#define N 4

/* For a new connection, by schedulers that remember nothing. */
static void decide(enum scheduler_kind kind, const struct uplink_view *u, size_t n,
                   uint32_t allowed, struct schedule *out)
{
    struct demand demand = {kind, allowed};
    struct placement newborn = {.home = UPLINK_NONE};
    struct scheduler_memory memory = {0};

    scheduler_decide(&demand, &newborn, &memory, u, n, out);
}

static bool may_be_used(const struct uplink_view *u, uint32_t allowed, size_t i)
{
    return u[i].usable && (allowed >> i & 1);
}

/* Eight flows that begin at the same time weigh as much as the round trip. */
static uint64_t wait_us(const struct uplink_view *u)
{
    return u->rtt_us + (uint64_t)u->rtt_us * u->starting / 8;
}

static uint32_t sharers(const struct uplink_view *u)
{
    return u->starting + u->plain;
}

/* Best first: MPTCP survives, not doubtful, not slow, not crowded, where it does not survive shared
 * by fewer, measured, sooner, then as configured. */
static bool starts_before(const struct uplink_view *u, size_t a, size_t b)
{
    if (u[a].stripped != u[b].stripped)
        return !u[a].stripped;
    if (u[a].doubtful != u[b].doubtful)
        return !u[a].doubtful;
    if (u[a].slow != u[b].slow)
        return !u[a].slow;
    if (u[a].crowded != u[b].crowded)
        return !u[a].crowded;
    if (u[a].stripped && sharers(&u[a]) != sharers(&u[b]))
        return sharers(&u[a]) < sharers(&u[b]);
    if ((u[a].rtt_us == 0) != (u[b].rtt_us == 0))
        return u[a].rtt_us != 0;
    if (wait_us(&u[a]) != wait_us(&u[b]))
        return wait_us(&u[a]) < wait_us(&u[b]);
    return a < b;
}

/* Stripped ones only where all are, those without a budget when no other lives, dead ones as the
 * last resort. */
static unsigned rank(const struct uplink_view *u)
{
    if (u->dead)
        return u->spent ? 5 : 4;
    if (u->spent)
        return u->stripped ? 3 : 2;
    return u->stripped ? 1 : 0;
}

static bool stands_by(const struct uplink_view *u)
{
    return u->doubtful || u->slow;
}

static enum role role_of(const struct uplink_view *u, size_t n, uint32_t allowed, size_t i)
{
    unsigned best = 6;
    bool sure = false;

    for (size_t j = 0; j < n; j++) {
        if (may_be_used(u, allowed, j) && rank(&u[j]) < best)
            best = rank(&u[j]);
    }
    if (i >= n || !may_be_used(u, allowed, i) || rank(&u[i]) != best)
        return ROLE_OFF;
    for (size_t j = 0; j < n; j++)
        sure = sure || (may_be_used(u, allowed, j) && rank(&u[j]) == best && !stands_by(&u[j]));
    return stands_by(&u[i]) && sure ? ROLE_STANDBY : ROLE_ACTIVE;
}

static void check_bond(const struct uplink_view *u, size_t n, uint32_t allowed)
{
    struct schedule s;
    size_t used = 0, active = 0;

    memset(&s, 0xa5, sizeof(s)); /* what was there before does not matter */
    decide(SCHEDULER_BOND, u, n, allowed, &s);
    for (size_t i = 0; i < UPLINKS_MAX; i++) {
        assert_int_equal(s.roles[i], role_of(u, n, allowed, i));
        used += s.roles[i] != ROLE_OFF;
        active += s.roles[i] == ROLE_ACTIVE;
    }
    assert_true(s.narrows);
    assert_int_equal(s.n_order, used);
    assert_true(active > 0 || used == 0);
    for (size_t i = 0; i < s.n_order; i++) {
        assert_int_not_equal(s.roles[s.order[i]], ROLE_OFF);
        if (i > 0) /* strictly: so each comes once */
            assert_true(starts_before(u, s.order[i - 1], s.order[i]));
    }
}

/* What an uplink may be like; the first one is not usable, the second not allowed. */
static const struct uplink_view likes[] = {
    {.rtt_us = 5000},
    {.usable = true, .rtt_us = 5000},
    {.usable = true},
    {.usable = true, .rtt_us = 20000},
    {.usable = true, .rtt_us = 60000},
    {.usable = true, .rtt_us = 20000, .starting = 16},
    {.usable = true, .rtt_us = 20000, .starting = 17},
    {.usable = true, .rtt_us = 1, .crowded = true, .starting = 16},
    {.usable = true, .rtt_us = 1, .stripped = true},
    {.usable = true, .rtt_us = 1, .stripped = true, .crowded = true},
    {.usable = true, .rtt_us = 1, .stripped = true, .plain = 9},
    {.usable = true, .rtt_us = 9, .stripped = true, .plain = 5, .starting = 3},
    {.usable = true, .rtt_us = 1, .slow = true},
    {.usable = true, .rtt_us = 1, .doubtful = true},
    {.usable = true, .rtt_us = 1, .spent = true},
    {.usable = true, .rtt_us = 1, .spent = true, .stripped = true},
    {.usable = true, .rtt_us = 1, .dead = true},
    {.usable = true, .rtt_us = 1, .dead = true, .spent = true},
    {.usable = true, .rtt_us = 1, .dead = true, .doubtful = true},
};
#define LIKES (sizeof(likes) / sizeof(likes[0]))
#define NOT_ALLOWED 1

/* Not that of the places, which a reload leaves as they are. */
static void the_configurations_order_decides_between_equals(void **state)
{
    struct uplink_view u[3] = {
        {.usable = true, .rank = 2}, {.usable = true, .rank = 0}, {.usable = true, .rank = 1}};

    for (int kind = 0; kind < 2; kind++) {
        struct schedule s;
        decide(kind ? SCHEDULER_FAILOVER : SCHEDULER_BOND, u, 3, UINT32_MAX, &s);
        assert_int_equal(s.n_order, 3);
        assert_int_equal(s.order[0], 1);
        assert_int_equal(s.order[1], 2);
        assert_int_equal(s.order[2], 0);
    }
}

static void bond_uses_every_usable_uplink(void **state)
{
    size_t sets = LIKES * LIKES * LIKES * LIKES;

    for (size_t set = 0; set < sets; set++) {
        struct uplink_view u[N];
        uint32_t allowed = ~0xfu; /* bits beyond the uplinks mean nothing */
        size_t digits = set;
        for (size_t i = 0; i < N; i++, digits /= LIKES) {
            u[i] = likes[digits % LIKES];
            if (digits % LIKES != NOT_ALLOWED)
                allowed |= 1u << i;
        }
        check_bond(u, N, allowed);
    }
}

static void any_number_of_uplinks(void **state)
{
    struct uplink_view u[UPLINKS_MAX] = {{0}};

    for (size_t n = 0; n <= UPLINKS_MAX; n++) {
        for (size_t i = 0; i < n; i++)
            u[i] = (struct uplink_view){.usable = true, .rtt_us = (uint32_t)(100 - 10 * i)};
        check_bond(u, n, UINT32_MAX);
        check_bond(u, n, 0xaaaaaaaa);
        check_bond(u, n, 0);
    }
}

/* The extremes do not overflow. */
static void the_slowest_comes_last(void **state)
{
    struct uplink_view u[3] = {{.usable = true, .rtt_us = UINT32_MAX},
                               {.usable = true, .rtt_us = 1},
                               {.usable = true, .rtt_us = UINT32_MAX - 1}};

    check_bond(u, 3, 7);
}

static void roles_have_names(void **state)
{
    assert_string_equal(role_name(ROLE_OFF), "off");
    assert_string_equal(role_name(ROLE_STANDBY), "standby");
    assert_string_equal(role_name(ROLE_ACTIVE), "active");
}

/* Eight flows that begin at once on the nearer uplink make it as far as one of twice its RTT. */
static void starts_spread_by_what_begins_already(void **state)
{
    struct uplink_view u[2] = {{.usable = true, .rtt_us = 20000},
                               {.usable = true, .rtt_us = 60000}};
    unsigned on[2] = {0, 0};
    struct schedule s;

    for (int i = 0; i < 80; i++) {
        decide(SCHEDULER_BOND, u, 2, UINT32_MAX, &s);
        u[s.order[0]].starting++;
        on[s.order[0]]++;
    }
    /* About 3 to 1, as the round trips, after a start on the nearer. */
    assert_in_range(on[0], 58, 66);
    assert_int_equal(on[0] + on[1], 80);
}

static void a_crowded_uplink_comes_last(void **state)
{
    struct uplink_view u[2] = {{.usable = true, .rtt_us = 20000, .crowded = true},
                               {.usable = true, .rtt_us = 60000}};
    struct schedule s;

    decide(SCHEDULER_BOND, u, 2, UINT32_MAX, &s);
    assert_int_equal(s.order[0], 1);
    u[1].stripped = true; /* better a wait than a flow on one path */
    decide(SCHEDULER_BOND, u, 2, UINT32_MAX, &s);
    assert_int_equal(s.order[0], 0);
}

/* Bulk flows that each have one uplink, by plain TCP: how many begin on the first of two. */
static unsigned plain_on_first(unsigned flows, uint64_t first_bps, uint64_t second_bps)
{
    struct uplink_view u[2] = {
        {.usable = true, .stripped = true, .rtt_us = 20000, .down_capacity_bps = first_bps},
        {.usable = true, .stripped = true, .rtt_us = 60000, .down_capacity_bps = second_bps}};
    struct schedule s;

    for (unsigned i = 0; i < flows; i++) {
        decide(SCHEDULER_BOND, u, 2, UINT32_MAX, &s);
        u[s.order[0]].plain++;
    }
    return u[0].plain;
}

static void plain_flows_share_by_capacity(void **state)
{
    assert_int_equal(plain_on_first(8, 0, 0), 4); /* unknown: evenly, however near the first is */
    assert_int_equal(plain_on_first(8, 50000000, 0), 4);
    assert_int_equal(plain_on_first(1, 0, 0), 1); /* alone: the nearer */
    assert_int_equal(plain_on_first(1, 50000000, 60000000), 0);
    assert_int_equal(plain_on_first(8, 30000000, 10000000), 6);
    assert_int_equal(plain_on_first(80, 5000000, 95000000), 4);
    assert_in_range(plain_on_first(1000, 1000000000000, 1), 999, 1000);
}

static enum role role_beside(struct uplink_view one, struct uplink_view other)
{
    struct uplink_view u[2] = {one, other};
    struct schedule s;

    decide(SCHEDULER_BOND, u, 2, UINT32_MAX, &s);
    return s.roles[0];
}

static void the_dead_are_the_last_resort(void **state)
{
    struct uplink_view alive = {.usable = true, .rtt_us = 60000}, dead = alive, doubtful = alive;
    struct uplink_view none = {0};

    dead.dead = true;
    doubtful.doubtful = true;
    assert_int_equal(role_beside(dead, alive), ROLE_OFF);
    assert_int_equal(role_beside(dead, doubtful), ROLE_OFF); /* which may be alive */
    assert_int_equal(role_beside(dead, dead), ROLE_ACTIVE);
    assert_int_equal(role_beside(dead, none), ROLE_ACTIVE);
    none.dead = true; /* without a way out, and dead beside: no resort */
    assert_int_equal(role_beside(none, dead), ROLE_OFF);
    assert_int_equal(role_beside(none, none), ROLE_OFF);
}

static void the_doubtful_stand_by(void **state)
{
    struct uplink_view sure = {.usable = true, .rtt_us = 60000}, doubtful = sure, dead = sure;
    struct uplink_view stripped = sure;

    doubtful.doubtful = true;
    dead.dead = true;
    stripped.stripped = true;
    assert_int_equal(role_beside(doubtful, sure), ROLE_STANDBY);
    assert_int_equal(role_beside(sure, doubtful), ROLE_ACTIVE);
    assert_int_equal(role_beside(doubtful, doubtful), ROLE_ACTIVE);
    assert_int_equal(role_beside(doubtful, dead), ROLE_ACTIVE);     /* the best there is */
    assert_int_equal(role_beside(doubtful, stripped), ROLE_ACTIVE); /* no subflow can join there */
    assert_int_equal(role_beside(stripped, doubtful), ROLE_OFF);
}

/* A doubtful one that is allowed alone does all, whatever others might do. */
static void who_is_not_allowed_helps_nobody(void **state)
{
    struct uplink_view u[2] = {{.usable = true, .doubtful = true}, {.usable = true}};
    struct schedule s;

    decide(SCHEDULER_BOND, u, 2, 1, &s);
    assert_int_equal(s.roles[0], ROLE_ACTIVE);
    u[0] = (struct uplink_view){.usable = true, .dead = true};
    decide(SCHEDULER_BOND, u, 2, 1, &s);
    assert_int_equal(s.roles[0], ROLE_ACTIVE);
    assert_int_equal(s.roles[1], ROLE_OFF);
}

static void the_doubtful_start_last(void **state)
{
    struct uplink_view u[2] = {{.usable = true, .rtt_us = 1000, .doubtful = true},
                               {.usable = true, .rtt_us = 900000, .crowded = true}};
    struct schedule s;

    decide(SCHEDULER_BOND, u, 2, UINT32_MAX, &s);
    assert_int_equal(s.order[0], 1);
    assert_int_equal(s.order[1], 0); /* yet it may, when the other does not answer */
    assert_int_equal(s.n_order, 2);
    u[1].doubtful = true;
    u[1].crowded = false;
    decide(SCHEDULER_BOND, u, 2, UINT32_MAX, &s);
    assert_int_equal(s.order[0], 0);
}

/* ---- overflow ---- */

/* What overflow does with uplinks, each given by its cost. Roles: a for active, s for standby, -
 * for off; then the order of starts. */
static const struct overflow_case {
    const char *why;
    struct uplink_view u[4];
    const char *roles;
    uint8_t order[4];
} overflows[] = {
    {"the cheapest tier",
     {{.usable = true, .cost = 10, .rtt_us = 5000},
      {.usable = true, .rtt_us = 60000},
      {.usable = true, .rtt_us = 20000},
      {.usable = true, .cost = 20}},
     "saas",
     {2, 1, 0, 3}},
    {"the next one, when all of it is full",
     {{.usable = true, .saturated = true},
      {.usable = true, .saturated = true},
      {.usable = true, .cost = 10},
      {.usable = true, .cost = 20, .saturated = true}},
     "aaas",
     {0, 1, 2, 3}},
    {"not before",
     {{.usable = true, .saturated = true},
      {.usable = true},
      {.usable = true, .cost = 10},
      {.usable = true, .cost = 20}},
     "aass",
     {0, 1, 2, 3}},
    {"and the one after that",
     {{.usable = true, .saturated = true},
      {.usable = true, .cost = 10, .saturated = true},
      {.usable = true, .cost = 20},
      {.usable = true, .cost = 30}},
     "aaas",
     {0, 1, 2, 3}},
    {"a dearer one that is full for others opens nothing",
     {{.usable = true},
      {.usable = true, .cost = 10, .saturated = true},
      {.usable = true, .cost = 20},
      {0}},
     "ass-",
     {0, 1, 2, 0}},
    {"the dead count for nothing",
     {{.usable = true, .dead = true},
      {.usable = true, .cost = 10, .saturated = true},
      {.usable = true, .cost = 20},
      {.usable = true, .cost = 30}},
     "-aas",
     {1, 2, 3, 0}},
    {"in doubt, the next tier at once",
     {{.usable = true, .doubtful = true},
      {.usable = true, .cost = 10},
      {.usable = true, .cost = 20},
      {0}},
     "sas-",
     {1, 2, 0, 0}},
    {"which is the cheapest then, though slow: no more than these two",
     {{.usable = true, .doubtful = true},
      {.usable = true, .cost = 10, .slow = true},
      {.usable = true, .cost = 20},
      {0}},
     "aas-",
     {1, 2, 0, 0}},
    {"all in doubt",
     {{.usable = true, .doubtful = true}, {.usable = true, .cost = 10, .doubtful = true}, {0}, {0}},
     "aa--",
     {0, 1, 0, 0}},
    {"slow, but the cheapest",
     {{.usable = true, .slow = true}, {.usable = true, .cost = 10}, {0}, {0}},
     "as--",
     {0, 1, 0, 0}},
    {"slow and full: it would slow the dear one",
     {{.usable = true, .slow = true, .saturated = true}, {.usable = true, .cost = 10}, {0}, {0}},
     "sa--",
     {0, 1, 0, 0}},
    {"a dear one that is slow helps nobody: the next",
     {{.usable = true, .saturated = true},
      {.usable = true, .cost = 10, .slow = true},
      {.usable = true, .cost = 20},
      {0}},
     "asa-",
     {0, 1, 2, 0}},
    {"who cannot begin there begins elsewhere",
     {{.usable = true, .crowded = true}, {.usable = true, .cost = 10}, {0}, {0}},
     "as--",
     {1, 0, 0, 0}},
    {"none", {{0}, {0}, {0}, {0}}, "----", {0, 0, 0, 0}},
};

static void overflow_opens_one_tier_after_the_other(void **state)
{
    for (size_t i = 0; i < sizeof(overflows) / sizeof(overflows[0]); i++) {
        const struct overflow_case *c = &overflows[i];
        struct schedule s;
        char roles[N + 1] = "";

        decide(SCHEDULER_OVERFLOW, c->u, N, UINT32_MAX, &s);
        for (size_t j = 0; j < N; j++)
            roles[j] = "-sa"[s.roles[j]];
        if (strcmp(roles, c->roles) != 0 || memcmp(s.order, c->order, N) != 0 || !s.narrows)
            fail_msg("%s: %s, order %u %u %u %u", c->why, roles, s.order[0], s.order[1], s.order[2],
                     s.order[3]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_spread_by_what_begins_already),
        cmocka_unit_test(a_crowded_uplink_comes_last),
        cmocka_unit_test(plain_flows_share_by_capacity),
        cmocka_unit_test(the_dead_are_the_last_resort),
        cmocka_unit_test(the_doubtful_stand_by),
        cmocka_unit_test(who_is_not_allowed_helps_nobody),
        cmocka_unit_test(the_doubtful_start_last),
        cmocka_unit_test(the_configurations_order_decides_between_equals),
        cmocka_unit_test(bond_uses_every_usable_uplink),
        cmocka_unit_test(any_number_of_uplinks),
        cmocka_unit_test(the_slowest_comes_last),
        cmocka_unit_test(roles_have_names),
        cmocka_unit_test(overflow_opens_one_tier_after_the_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
