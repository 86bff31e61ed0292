#include "tests/unit/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"

#define WAIT_MS 10000

static int here(void)
{
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* Duplicate address detection would cost a second for each address. */
static void prepare(void)
{
    netns_run("ip link set lo up && echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
}

static void __attribute__((constructor)) skip_a_test(void)
{
    const char *name = getenv("SKIP_TEST");

    if (name)
        cmocka_set_skip_filter(name);
}

void netns_enter(void)
{
    if (unshare(CLONE_NEWNET) == -1) {
        perror("needs the right to make network namespaces");
        exit(77);
    }
    prepare();
}

int netns_new(void)
{
    int before = here();

    assert_int_equal(unshare(CLONE_NEWNET), 0);
    prepare();
    int ns = here();
    netns_back(before);
    return ns;
}

int netns_switch(int ns)
{
    int before = here();

    assert_int_equal(setns(ns, CLONE_NEWNET), 0);
    return before;
}

void netns_back(int before)
{
    assert_int_equal(setns(before, CLONE_NEWNET), 0);
    close(before);
}

static int run(const char *end, const char *fmt, va_list args)
{
    char command[1024];
    int n = vsnprintf(command, sizeof(command), fmt, args);

    assert_true(n > 0 && (size_t)n + 32 < sizeof(command));
    snprintf(command + n, sizeof(command) - (size_t)n, "%s", end);
    return system(command);
}

void netns_run(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int status = run("", fmt, args);
    va_end(args);
    if (status)
        fail_msg("failed: %s", fmt);
}

bool netns_try(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int status = run(" >/dev/null 2>&1", fmt, args);
    va_end(args);
    return status == 0;
}

void netns_veth(const char *near, int ns, const char *there)
{
    netns_run("ip link add %s type veth peer name %s netns /proc/%d/fd/%d && ip link set %s up",
              near, there, (int)getpid(), ns, near);
    int before = netns_switch(ns);
    netns_run("ip link set %s up", there);
    netns_back(before);
}

void netns_wait(struct netns_wait *wait)
{
    uint64_t now = clock_now_ms();

    if (wait->deadline_ms == 0)
        wait->deadline_ms = now + WAIT_MS;
    if (now > wait->deadline_ms)
        fail_msg("the state waited for did not come in %d ms", WAIT_MS);
    usleep(2000);
}
