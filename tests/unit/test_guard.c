/* The guard with a real nft and real processes: however the daemon ends, a second later nothing of
 * it is left in the kernel, and whoever starts next finds the field clear. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "gateway/guard.h"
#include "gateway/intercept.h"
#include "gateway/routes.h"
#include "tests/unit/netns.h"

static struct gateway_config config;
static char lan[1][INTERFACE_NAME] = {"lan"};

static void configure(void)
{
    config.lan_interfaces = lan;
    config.n_lan_interfaces = 1;
    config.listen_port = 7170;
    config.routing_table = 7170;
    config.rule_priority = 1000;
    config.firewall_mark = 1;
}

static struct guard *start_guard(void)
{
    struct guard *guard;
    char why[512];

    if (guard_new(&guard, why, sizeof(why)))
        fail_msg("guard_new: %s", why);
    return guard;
}

/* Linux before 6.15 has the number only. */
static bool path_manager_has_a_name(void)
{
    char value[64];

    return sysctl_read("net/mptcp/path_manager", value, sizeof(value)) == 0;
}

/* Everything a gateway changes. */
static void change_all(struct guard *guard)
{
    char why[512], *text;
    size_t len;
    struct routes *routes;
    static const struct intercept_plan plan = {.take_new = true};
    FILE *out = open_memstream(&text, &len);

    intercept_write_table(&config, &plan, out);
    fclose(out);
    if (guard_nft(guard, text, why, sizeof(why)))
        fail_msg("guard_nft: %s", why);
    free(text);
    assert_int_equal(routes_new(&routes, &config), 0);
    assert_int_equal(routes_intercept(routes, true), 0);
    routes_free(routes);
    assert_int_equal(guard_sysctl(guard, "net/ipv4/ip_default_ttl", "77"), 0);
    assert_int_equal(guard_sysctl(guard, "net/ipv4/ip_default_ttl", "78"), 0);
    if (path_manager_has_a_name())
        assert_int_equal(guard_sysctl(guard, "net/mptcp/path_manager", "userspace"), 0);
    else
        assert_int_equal(guard_sysctl(guard, "net/mptcp/pm_type", "1"), 0);
    assert_int_equal(guard_sysctl(guard, "net/ipv4/ip_forward", "1"), 0);
}

static bool holds(const char *command)
{
    return netns_try("%s", command);
}

static bool sysctl_is(const char *name, const char *expected)
{
    char value[64];

    assert_int_equal(sysctl_read(name, value, sizeof(value)), 0);
    return strcmp(value, expected) == 0;
}

static bool path_manager_is(const char *name, const char *number)
{
    return path_manager_has_a_name() ? sysctl_is("net/mptcp/path_manager", name)
                                     : sysctl_is("net/mptcp/pm_type", number);
}

static bool all_there(void)
{
    return holds("nft list table inet bondway") && holds("ip rule | grep -q 7170") &&
           holds("ip -6 rule | grep -q 7170") &&
           holds("ip route show table 7170 | grep -q local") &&
           sysctl_is("net/ipv4/ip_default_ttl", "78") && path_manager_is("userspace", "1") &&
           sysctl_is("net/ipv4/ip_forward", "1");
}

static bool nothing_there(void)
{
    return !holds("nft list table inet bondway") && !holds("ip rule | grep -q 7170") &&
           !holds("ip -6 rule | grep -q 7170") &&
           !holds("ip route show table all | grep -q 7170") &&
           sysctl_is("net/ipv4/ip_default_ttl", "64") && path_manager_is("kernel", "0") &&
           sysctl_is("net/ipv4/ip_forward", "0");
}

static void cleans_up_in_order(void **state)
{
    netns_enter();
    struct guard *guard = start_guard();
    change_all(guard);
    assert_true(all_there());
    assert_false(guard_died(guard));
    assert_int_equal(guard_free(guard), 0);
    assert_true(nothing_there());
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* A daemon in a session of its own, as at a terminal. It tells its guard's pid, and waits. */
static pid_t start_daemon(pid_t *guard_pid)
{
    int ready[2];
    char children[128];

    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        change_all(start_guard());
        if (write(ready[1], "", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], children, 1), 1);
    close(ready[0]);
    snprintf(children, sizeof(children), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *in = fopen(children, "re");
    assert_non_null(in);
    int child = 0;
    assert_int_equal(fscanf(in, "%d", &child), 1);
    fclose(in);
    *guard_pid = (pid_t)child;
    return pid;
}

static void killed_daemon_leaves_nothing(void **state)
{
    pid_t guard;

    netns_enter();
    for (int round = 0; round < 3; round++) {
        pid_t daemon = start_daemon(&guard);
        assert_true(all_there());
        assert_int_equal(kill(daemon, SIGKILL), 0);
        uint64_t begin = clock_now_ms();
        assert_int_equal(waitpid(daemon, NULL, 0), daemon);
        struct netns_wait wait = {0};
        while (!nothing_there())
            netns_wait(&wait);
        uint64_t took = clock_now_ms() - begin;
        assert_in_range(took, 0, 1000);
        print_message("all gone %d ms after SIGKILL\n", (int)took);
    }
}

/* Ctrl-C and service managers signal the whole group; then they may well kill the daemon. */
static void signals_do_not_end_the_guard(void **state)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    pid_t guard;

    netns_enter();
    pid_t daemon = start_daemon(&guard);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(kill(guard, signals[i]), 0);
    assert_true(holds("cat /proc/*/comm | grep -qx bondway-guard"));
    assert_int_not_equal(getpgid(guard), getpgid(daemon));
    assert_int_equal(kill(-getpgid(daemon), SIGKILL), 0);
    waitpid(daemon, NULL, 0);
    struct netns_wait wait = {0};
    while (!nothing_there())
        netns_wait(&wait);
}

/* A supervisor restarts at once: the new one waits for the old one's guard, then owns the field. */
static void restarts_at_once(void **state)
{
    pid_t guard_pid;

    netns_enter();
    for (int round = 0; round < 3; round++) {
        pid_t daemon = start_daemon(&guard_pid);
        assert_int_equal(kill(daemon, SIGKILL), 0);
        struct guard *guard = start_guard();
        change_all(guard);
        waitpid(daemon, NULL, 0);
        assert_true(all_there());
        assert_int_equal(guard_free(guard), 0);
        assert_true(nothing_there());
    }
}

static void only_one_runs_in_a_namespace(void **state)
{
    struct guard *second;
    char why[512];

    netns_enter();
    struct guard *first = start_guard();
    uint64_t begin = clock_now_ms();
    assert_int_equal(guard_new(&second, why, sizeof(why)), -EBUSY);
    assert_in_range(clock_now_ms() - begin, 2900, 4000);
    assert_non_null(strstr(why, "another"));
    int other = netns_new(), before = netns_switch(other);
    second = start_guard();
    assert_int_equal(guard_free(second), 0);
    netns_back(before);
    close(other);
    assert_int_equal(guard_free(first), 0);
}

/* Both killed at once: only the next start can clean up. */
static void removes_leftovers(void **state)
{
    pid_t guard_pid;

    netns_enter();
    pid_t daemon = start_daemon(&guard_pid);
    kill(guard_pid, SIGKILL);
    kill(daemon, SIGKILL);
    waitpid(daemon, NULL, 0);
    assert_true(holds("nft list table inet bondway"));
    struct guard *guard = start_guard();
    assert_false(holds("nft list table inet bondway"));
    assert_false(holds("ip rule | grep -q 7170"));
    assert_int_equal(guard_free(guard), 0);
}

static pid_t child_of_ours(void)
{
    FILE *in = fopen("/proc/thread-self/children", "re");
    int pid = 0;

    assert_non_null(in);
    assert_int_equal(fscanf(in, "%d", &pid), 1);
    fclose(in);
    return (pid_t)pid;
}

/* The guard itself is killed: a new one takes over, and still knows how the sysctls were. */
static void is_revived(void **state)
{
    char why[512];

    netns_enter();
    struct guard *guard = start_guard();
    change_all(guard);
    assert_int_equal(kill(child_of_ours(), SIGKILL), 0);
    struct netns_wait wait = {0};
    while (!guard_died(guard))
        netns_wait(&wait);
    assert_true(guard_nft(guard, "", why, sizeof(why)) < 0);
    assert_string_equal(why, "the guard process is gone");
    assert_int_equal(guard_revive(guard, why, sizeof(why)), 0);
    assert_false(guard_died(guard));
    assert_true(all_there());
    assert_int_equal(guard_nft(guard, "list ruleset\n", why, sizeof(why)), 0);
    assert_int_equal(guard_free(guard), 0);
    assert_true(nothing_there());
}

/* A connection of the daemon's must end with it, though a guard was forked meanwhile. */
static void holds_no_connection(void **state)
{
    const struct timeval deadline = {.tv_sec = 5};
    char why[512], byte;
    int pair[2];

    netns_enter();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct guard *guard = start_guard();
    close(pair[0]);
    assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)), 0);
    assert_int_equal(read(pair[1], &byte, 1), 0);
    close(pair[1]);
    assert_int_equal(guard_nft(guard, "list ruleset\n", why, sizeof(why)), 0);
    assert_int_equal(guard_free(guard), 0);
}

static void tells_what_goes_wrong(void **state)
{
    char why[512];
    struct guard *guard;

    netns_enter();
    guard = start_guard();
    assert_int_equal(guard_nft(guard, "add rule inet bondway no such", why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "Error"));
    assert_int_equal(guard_sysctl(guard, "net/ipv4/no_such", "1"), -ENOENT);
    assert_int_equal(guard_sysctl(guard, "net/ipv4/ip_default_ttl", "many"), -EINVAL);
    assert_int_equal(guard_free(guard), 0);
}

/* A long list of networks to bypass is more than one socket buffer. */
static void takes_a_large_ruleset(void **state)
{
    char why[512], *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    netns_enter();
    struct guard *guard = start_guard();
    fprintf(out, "table inet bondway {\nset s {\ntype ipv4_addr\nflags interval\nelements = {");
    for (int i = 0; i < 40000; i++)
        fprintf(out, " 11.%d.%d.0/24,\n", i / 200, i % 200);
    fprintf(out, " 9.0.0.0/8 }\n}\n}\n");
    fclose(out);
    assert_true(len > 500000);
    int err = guard_nft(guard, text, why, sizeof(why));
    if (err)
        fail_msg("%s", why);
    free(text);
    assert_true(holds("nft get element inet bondway s '{ 11.199.199.7 }'"));
    assert_int_equal(guard_free(guard), 0);
}

/* Without the right, or without nft, a person is told; nothing is started. */
static void refuses(void **state)
{
    char why[512];
    struct guard *guard;

    netns_enter();
    pid_t pid = fork();
    if (pid == 0) {
        _exit(setuid(65534) == 0 && guard_new(&guard, why, sizeof(why)) == -EPERM &&
                      strstr(why, "root")
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cleans_up_in_order),
        cmocka_unit_test(killed_daemon_leaves_nothing),
        cmocka_unit_test(signals_do_not_end_the_guard),
        cmocka_unit_test(restarts_at_once),
        cmocka_unit_test(only_one_runs_in_a_namespace),
        cmocka_unit_test(removes_leftovers),
        cmocka_unit_test(is_revived),
        cmocka_unit_test(holds_no_connection),
        cmocka_unit_test(tells_what_goes_wrong),
        cmocka_unit_test(takes_a_large_ruleset),
        cmocka_unit_test(refuses),
    };

    configure();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
