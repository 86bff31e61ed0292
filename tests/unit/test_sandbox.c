/* The sandbox: in a child each time, since there is no way out of it. What a relay does goes on;
 * what somebody would do who has taken it over does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sandbox.h"

#define NOT_HERE 77

/* What act() returns inside. */
static int inside(enum sandbox sandbox, int (*act)(void))
{
    int status;
    pid_t pid = fork();

    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int err = sandbox_enter(sandbox);
        _exit(err == -EOPNOTSUPP ? NOT_HERE : err ? 99 : act());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_HERE)
        skip();
    return WEXITSTATUS(status);
}

static bool is_denied(long result)
{
    return result == -1 && errno == ENOSYS;
}

static int set_option(int level, int option)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    return fd == -1 ? -1 : setsockopt(fd, level, option, &one, sizeof(one));
}

/* ---- what fails ---- */

static int start_program(void)
{
    static char path[] = "/bin/true", *const arguments[] = {path, NULL}, *const environment[1];

    return is_denied(execve(path, arguments, environment)) &&
           is_denied(syscall(SYS_execveat, AT_FDCWD, path, arguments, environment, 0));
}

static int write_files(void)
{
    return is_denied(open("/dev/null", O_WRONLY)) && is_denied(open("/dev/null", O_RDWR)) &&
           is_denied(open("/tmp/bondway-sandbox", O_CREAT | O_RDONLY, 0600)) &&
           is_denied(mkdirat(AT_FDCWD, "/tmp/bondway-sandbox", 0700)) &&
           is_denied(fchmodat(AT_FDCWD, "/dev/null", 0666, 0));
}

static int change_network(void)
{
    return is_denied(socket(AF_NETLINK, SOCK_RAW, 0)) &&
           is_denied(socket(AF_PACKET, SOCK_RAW, 0)) &&
           is_denied(set_option(SOL_SOCKET, SO_MARK)) &&
           is_denied(set_option(IPPROTO_IP, IP_TRANSPARENT)) &&
           is_denied(set_option(IPPROTO_TCP, TCP_REPAIR));
}

static int open_a_door(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    return is_denied(bind(fd, (struct sockaddr *)&at, sizeof(at))) && is_denied(listen(fd, 1));
}

static int make_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page != MAP_FAILED && is_denied(mprotect(page, 4096, PROT_READ | PROT_EXEC)) &&
           mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
               MAP_FAILED;
}

static int reach_for_the_rest(void)
{
    return is_denied(syscall(SYS_unshare, 0)) && is_denied(syscall(SYS_setns, -1, 0)) &&
           is_denied(syscall(SYS_bpf, 0, 0, 0)) && is_denied(syscall(SYS_mount, 0, 0, 0, 0, 0)) &&
           is_denied(syscall(SYS_kill, 1, 0)) && is_denied(syscall(SYS_setuid, 0)) &&
           is_denied(syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0));
}

static void what_an_intruder_would_do(void **state)
{
    assert_int_equal(inside(SANDBOX_RELAY, start_program), true);
    assert_int_equal(inside(SANDBOX_RELAY, write_files), true);
    assert_int_equal(inside(SANDBOX_RELAY, change_network), true);
    assert_int_equal(inside(SANDBOX_RELAY, open_a_door), true);
    assert_int_equal(inside(SANDBOX_RELAY, make_code), true);
    assert_int_equal(inside(SANDBOX_RELAY, reach_for_the_rest), true);
}

/* ---- what goes on ---- */

static void *run(void *arg)
{
    *(int *)arg = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return arg;
}

static int have_threads_and_files(void)
{
    pthread_t thread;
    int fd = -1;

    return pthread_create(&thread, NULL, run, &fd) == 0 && pthread_join(thread, NULL) == 0 &&
           fd != -1;
}

static int relay(void)
{
    return set_option(SOL_SOCKET, SO_SNDBUF) == 0 && set_option(SOL_SOCKET, SO_KEEPALIVE) == 0 &&
           set_option(IPPROTO_TCP, TCP_NODELAY) == 0 && socket(AF_INET6, SOCK_STREAM, 0) != -1 &&
           socket(AF_UNIX, SOCK_DGRAM, 0) != -1;
}

static void what_a_relay_does(void **state)
{
    assert_int_equal(inside(SANDBOX_RELAY, have_threads_and_files), true);
    assert_int_equal(inside(SANDBOX_RELAY, relay), true);
}

/* ---- the router's ---- */

static int reach_for_the_kernel(void)
{
    return is_denied(syscall(SYS_unshare, 0)) && is_denied(syscall(SYS_setns, -1, 0)) &&
           is_denied(syscall(SYS_bpf, 0, 0, 0)) && is_denied(syscall(SYS_mount, 0, 0, 0, 0, 0)) &&
           is_denied(syscall(SYS_keyctl, 0, 0, 0, 0, 0)) &&
           is_denied(syscall(SYS_finit_module, -1, "", 0)) &&
           is_denied(syscall(SYS_userfaultfd, 0)) &&
           is_denied(syscall(SYS_clock_settime, 0, NULL)) &&
           is_denied(syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0));
}

static int look_at_packets(void)
{
    return is_denied(socket(AF_PACKET, SOCK_RAW, 0)) && is_denied(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static int make_a_namespace(void)
{
    return is_denied(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

static void what_an_intruder_of_the_router_would_do(void **state)
{
    assert_int_equal(inside(SANDBOX_ROUTER, reach_for_the_kernel), true);
    assert_int_equal(inside(SANDBOX_ROUTER, look_at_packets), true);
    assert_int_equal(inside(SANDBOX_ROUTER, make_a_namespace), true);
}

/* As the guard does with nft. */
static int run_programs(void)
{
    static char path[] = "/bin/true", *const arguments[] = {path, NULL}, *const environment[1];
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execve(path, arguments, environment);
        _exit(1);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static int change_the_network(void)
{
    return socket(AF_NETLINK, SOCK_RAW, 0) != -1 && set_option(SOL_SOCKET, SO_REUSEADDR) == 0 &&
           open("/dev/null", O_RDWR) != -1;
}

static void what_a_router_does(void **state)
{
    assert_int_equal(inside(SANDBOX_ROUTER, have_threads_and_files), true);
    assert_int_equal(inside(SANDBOX_ROUTER, relay), true);
    assert_int_equal(inside(SANDBOX_ROUTER, run_programs), true);
    assert_int_equal(inside(SANDBOX_ROUTER, change_the_network), true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_intruder_would_do),
        cmocka_unit_test(what_a_relay_does),
        cmocka_unit_test(what_an_intruder_of_the_router_would_do),
        cmocka_unit_test(what_a_router_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
