/* Which subflow is held for one whose other end is gone. That it is ended is in
 * tests/net/test_healing.py. */
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "concentrator/relics.h"

static const struct mptcp_subflow well = {.tcp_state = TCP_ESTABLISHED, .unheard_ms = 60000};
static const struct mptcp_subflow relic = {
    .tcp_state = TCP_ESTABLISHED, .unacked = 1, .timeouts = 4, .unheard_ms = 10000};

static int which(struct mptcp_subflow a, struct mptcp_subflow b)
{
    const struct mptcp_subflow both[] = {a, b};

    return relics_find(both, 2);
}

static void one_that_is_long_unheard_beside_one_that_is_well(void **state)
{
    assert_int_equal(which(well, relic), 1);
    assert_int_equal(which(relic, well), 0);
}

static void each_sign_is_needed(void **state)
{
    struct mptcp_subflow s = relic;

    s.unacked = 0; /* nothing waits there: keepalive's */
    assert_int_equal(which(well, s), -1);
    s = relic;
    s.timeouts = 3;
    assert_int_equal(which(well, s), -1);
    s = relic;
    s.unheard_ms = 9999; /* a very short round trip times out often */
    assert_int_equal(which(well, s), -1);
    s = relic;
    s.tcp_state = TCP_FIN_WAIT1; /* it goes as it is */
    assert_int_equal(which(well, s), -1);
}

/* All uplinks are in a tunnel: each of them may come back, and the connection lives by them. */
static void without_one_that_is_well_none_is_ended(void **state)
{
    struct mptcp_subflow out = relic, joining = well;

    out.timeouts = 1;
    joining.tcp_state = TCP_SYN_RECV;
    assert_int_equal(relics_find(&relic, 1), -1);
    assert_int_equal(which(relic, relic), -1);
    assert_int_equal(which(relic, out), -1);
    assert_int_equal(which(relic, joining), -1);
    assert_int_equal(relics_find(NULL, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_long_unheard_beside_one_that_is_well),
        cmocka_unit_test(each_sign_is_needed),
        cmocka_unit_test(without_one_that_is_well_none_is_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
