/* The loss of our nftables table is noticed, whoever causes it; what replaces it, and what concerns
 * other tables, is not taken for a loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/intercept.h"
#include "gateway/ruleset.h"
#include "tests/unit/netns.h"

#define OURS INTERCEPT_TABLE

static struct event_base *base;
static struct ruleset *ruleset;
static int losses;

static void on_lost(void *arg)
{
    losses++;
}

static int begin(void **state)
{
    base = event_base_new();
    losses = 0;
    netns_run("nft flush ruleset");
    assert_int_equal(ruleset_new(&ruleset, base, on_lost, NULL), 0);
    return 0;
}

static int end(void **state)
{
    ruleset_free(ruleset);
    event_base_free(base);
    return 0;
}

/* The kernel has told it when the command returns. */
static void expect_losses(int expected)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(losses, expected);
}

static void a_deletion_is_a_loss(void **state)
{
    netns_run("nft add table " OURS);
    expect_losses(0);
    netns_run("nft delete table " OURS);
    expect_losses(1);
}

static void a_flush_of_everything_is_a_loss(void **state)
{
    netns_run("nft 'add table " OURS "; add table inet fw4'");
    netns_run("nft flush ruleset");
    expect_losses(1);
}

static void a_replacement_is_none(void **state)
{
    netns_run("nft add table " OURS);
    netns_run("nft 'delete table " OURS "; add table " OURS "; add chain " OURS " one'");
    expect_losses(0);
    netns_run("nft 'flush ruleset; add table " OURS "'");
    expect_losses(0);
    netns_run("nft delete table " OURS);
    expect_losses(1);
}

static void other_tables_are_not_ours(void **state)
{
    netns_run("nft 'add table " OURS "; add table ip bondway; add table inet fw4'");
    netns_run("nft 'delete table ip bondway; delete table inet fw4'");
    netns_run("nft 'add chain " OURS " one; flush table " OURS "'");
    expect_losses(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_deletion_is_a_loss, begin, end),
        cmocka_unit_test_setup_teardown(a_flush_of_everything_is_a_loss, begin, end),
        cmocka_unit_test_setup_teardown(a_replacement_is_none, begin, end),
        cmocka_unit_test_setup_teardown(other_tables_are_not_ours, begin, end),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
