#include "core/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__ILP32__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0
#endif

#if ARCHITECTURE

/* The leak checker looks at its process from a thread that traces it. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define EVERY_BIT UINT32_MAX
#define WRITING (O_ACCMODE | O_CREAT | O_TRUNC)

/* What an argument may be: its bits under mask must be value. */
struct argument {
    unsigned index;
    uint32_t mask, value;
};

/* One way in which a call is allowed; a call may have several. */
struct allowed_call {
    int number;
    unsigned n;
    struct argument arguments[2];
};

#define IF(index, mask, value)                                                                     \
    {                                                                                              \
        index, (uint32_t)(mask), (uint32_t)(value)                                                 \
    }
#define CALL(name, a)                                                                              \
    {                                                                                              \
        SYS_##name, 1,                                                                             \
        {                                                                                          \
            a                                                                                      \
        }                                                                                          \
    }
#define SOCKET(family) CALL(socket, IF(0, EVERY_BIT, family))
#define IOCTL(request) CALL(ioctl, IF(1, EVERY_BIT, request))
#define OPTION(level, option)                                                                      \
    {                                                                                              \
        SYS_setsockopt, 2,                                                                         \
        {                                                                                          \
            IF(1, EVERY_BIT, level), IF(2, EVERY_BIT, option)                                      \
        }                                                                                          \
    }

static const struct allowed_call relay_if_so[] = {
    SOCKET(AF_UNIX),
    SOCKET(AF_INET),
    SOCKET(AF_INET6),
    IOCTL(SIOCOUTQ),
    IOCTL(SIOCGIFCONF),
    IOCTL(FIONREAD),
    IOCTL(FIONBIO),
    IOCTL(TCGETS),
    OPTION(SOL_SOCKET, SO_SNDBUF),
    OPTION(SOL_SOCKET, SO_SNDBUFFORCE),
    OPTION(SOL_SOCKET, SO_LINGER),
    OPTION(SOL_SOCKET, SO_KEEPALIVE),
    OPTION(IPPROTO_TCP, TCP_NODELAY),
    OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
    OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
    OPTION(IPPROTO_TCP, TCP_KEEPCNT),
    CALL(mmap, IF(2, PROT_EXEC, 0)),
    CALL(mprotect, IF(2, PROT_EXEC, 0)),
    CALL(openat, IF(2, WRITING, 0)),
#ifdef SYS_open
    CALL(open, IF(1, WRITING, 0)),
#endif
#if SANITIZED
    {SYS_clone, 0, {{0}}},
    {SYS_ptrace, 0, {{0}}},
    {SYS_wait4, 0, {{0}}},
    {SYS_prctl, 0, {{0}}},
#else
    CALL(clone, IF(0, CLONE_THREAD, CLONE_THREAD)),
#endif
};

static const int relay_always[] = {
    /* Bytes, and what waits for them. */
    SYS_read, SYS_readv, SYS_pread64, SYS_write, SYS_writev, SYS_pwrite64, SYS_close, SYS_lseek,
    SYS_fcntl, SYS_dup, SYS_dup3, SYS_pipe2, SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl,
    SYS_epoll_pwait, SYS_ppoll, SYS_pselect6, SYS_splice, SYS_timerfd_create, SYS_timerfd_settime,
    /* Sockets. */
    SYS_connect, SYS_accept4, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_shutdown,
    SYS_sendto, SYS_sendmsg, SYS_recvfrom, SYS_recvmsg, SYS_socketpair,
    /* Files, to read; the control socket's is removed at the end. */
    SYS_fstat, SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_readlinkat, SYS_getcwd, SYS_getdents64,
    SYS_unlinkat,
    /* Memory, threads, time. */
    SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_futex, SYS_set_robust_list, SYS_gettid,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_membarrier, SYS_exit, SYS_exit_group,
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_getrandom,
    /* Signals, and who we are. */
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_sigaltstack,
    SYS_tgkill, SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid,
    SYS_capget, SYS_prlimit64, SYS_sysinfo, SYS_uname, SYS_getrusage,
#ifdef SYS_rseq
    SYS_rseq,
#endif
#ifdef SYS_faccessat2
    SYS_faccessat2,
#endif
#ifdef SYS_epoll_wait /* older than the rest: processors that are newer do not have them */
    SYS_epoll_wait, SYS_epoll_create, SYS_eventfd, SYS_pipe, SYS_dup2, SYS_poll, SYS_select,
    SYS_accept, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_unlink, SYS_time, SYS_getdents,
    SYS_arch_prctl,
#endif
    SYS_restart_syscall};

/* A new namespace comes with all capabilities over what is in it. */
#define NEW_NAMESPACES                                                                             \
    (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |     \
     CLONE_NEWCGROUP)

static const struct allowed_call router_if_so[] = {
    SOCKET(AF_UNIX),
    SOCKET(AF_INET),
    SOCKET(AF_INET6),
    SOCKET(AF_NETLINK),
    CALL(clone, IF(0, NEW_NAMESPACES, 0)),
};

static const int router_never[] = {
    /* Unless it is as above. A library that knows clone3() does without it, too. */
    SYS_socket,
    SYS_clone,
#ifdef SYS_clone3
    SYS_clone3,
#endif
    /* Other processes. */
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
#if !SANITIZED
    SYS_ptrace,
#endif
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
    /* The kernel: its code, its memory, its keys, and what runs in it. */
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_syslog,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_io_uring_setup
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
#endif
    /* What others see: files by number, mounts, namespaces, swap, the clock. */
    SYS_open_by_handle_at,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_mknodat,
    SYS_unshare,
    SYS_setns,
    SYS_fanotify_init,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
#ifdef SYS_fsopen
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsmount,
#endif
#ifdef SYS_mknod
    SYS_mknod,
#endif
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct policy {
    const struct allowed_call *if_so; /* allowed, if it is as it says */
    size_t n_if_so;
    const int *listed; /* after that */
    size_t n_listed;
    uint32_t for_listed, for_others;
};

#define DENY (SECCOMP_RET_ERRNO | ENOSYS)
static const struct policy policies[] = {
    [SANDBOX_RELAY] = {relay_if_so, COUNT(relay_if_so), relay_always, COUNT(relay_always),
                       SECCOMP_RET_ALLOW, DENY},
    [SANDBOX_ROUTER] = {router_if_so, COUNT(router_if_so), router_never, COUNT(router_never), DENY,
                        SECCOMP_RET_ALLOW},
};

/* The beginning and the end; 2 for a call, 3 with arguments, and 3 for each of these, at most 2. */
#define PROGRAM_MAX (8 + 2 * COUNT(relay_always) + 9 * COUNT(relay_if_so))
_Static_assert(COUNT(router_never) <= COUNT(relay_always) &&
                   COUNT(router_if_so) <= COUNT(relay_if_so),
               "one size is enough for both");

struct program {
    struct sock_filter code[PROGRAM_MAX];
    unsigned short n;
};

static void statement(struct program *p, uint16_t code, uint32_t k)
{
    p->code[p->n++] = (struct sock_filter)BPF_STMT(code, k);
}

/* Passes over so many where what was loaded is not k. */
static void unless_equal(struct program *p, uint32_t k, uint8_t pass_over)
{
    p->code[p->n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, pass_over);
}

static void load(struct program *p, size_t offset)
{
    statement(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset);
}

/* These processors are little-endian; the kernel looks at the lower half of such arguments, too. */
static void load_argument(struct program *p, unsigned index)
{
    load(p, offsetof(struct seccomp_data, args) + index * sizeof(uint64_t));
}

static void allow_if_so(struct program *p, const struct allowed_call *call)
{
    uint8_t rest = (uint8_t)(3 * call->n + 1);

    load(p, offsetof(struct seccomp_data, nr));
    unless_equal(p, (uint32_t)call->number, rest);
    for (unsigned i = 0; i < call->n; i++) {
        rest = (uint8_t)(rest - 3);
        load_argument(p, call->arguments[i].index);
        statement(p, BPF_ALU | BPF_AND | BPF_K, call->arguments[i].mask);
        unless_equal(p, call->arguments[i].value, rest);
    }
    statement(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
}

static void write_program(struct program *p, const struct policy *policy)
{
    load(p, offsetof(struct seccomp_data, arch));
    p->code[p->n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    statement(p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
#ifdef __X32_SYSCALL_BIT
    /* The same calls by other numbers. */
    p->code[p->n++] =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, __X32_SYSCALL_BIT, 0, 1);
    statement(p, BPF_RET | BPF_K, DENY);
#endif
    for (size_t i = 0; i < policy->n_if_so; i++)
        allow_if_so(p, &policy->if_so[i]);
    /* The kernel remembers which calls need no look at their arguments, and does not ask again. */
    load(p, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < policy->n_listed; i++) {
        unless_equal(p, (uint32_t)policy->listed[i], 1);
        statement(p, BPF_RET | BPF_K, policy->for_listed);
    }
    statement(p, BPF_RET | BPF_K, policy->for_others);
}

int sandbox_enter(enum sandbox sandbox)
{
    struct program p = {.n = 0};

    write_program(&p, &policies[sandbox]);
    const struct sock_fprog filter = {.len = p.n, .filter = p.code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == -1)
        return errno == EINVAL ? -EOPNOTSUPP : -errno;
    return 0;
}

#else

int sandbox_enter(enum sandbox sandbox)
{
    return -EOPNOTSUPP;
}

#endif
