/* Preloaded into a daemon: lets single calls of the C library fail, on order, with an error that
 * the manual names. $FAILING_CONTROL is the file that gives the orders and takes the notes; several
 * processes may have it in turn. failing.py reads it, and knows its layout.
 *
 * A place is where a call is made: the innermost return addresses of its stack. An order is for a
 * call at a place where one of its errors has not been seen yet, whichever comes: so a daemon that
 * does everything over and over fails everywhere in the end. Only the process that was started
 * fails, not what it forks; and for addresses to be the same in the next one, it is started without
 * address space randomization. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#define PLACES 32768 /* a power of 2; a table that is less than half full */
#define HITS 8192
#define PLACE_DEPTH                                                                                \
    4 /* return addresses that tell a place from another, beside the call itself                   \
       */
#define TRACE_DEPTH 24
#define ERRORS_MAX 3

struct hit {
    char call[16];
    int32_t error;
    uint32_t depth;
    uint64_t trace[TRACE_DEPTH];
};

struct place {
    uint64_t key; /* 0: not taken */
    uint32_t reached, failed;
};

enum { LEAKS_UNASKED, LEAKS_ASKED, LEAKS_NONE, LEAKS_FOUND };

struct control {
    atomic_uint armed; /* n: the n-th call from now on at a new place fails; 0: none */
    atomic_uint n_hits, n_places;
    atomic_uint busy;
    atomic_uint leaks; /* LEAKS_ASKED: the process shall look, and answer here */
    uint32_t unused;
    struct hit hits[HITS];
    struct place places[PLACES];
};

struct trace {
    uint64_t at[TRACE_DEPTH];
    uint32_t depth;
};

static struct control *control;
static pid_t own_pid;
/* What is called from in here, or by a signal meanwhile, is not looked at. */
static __thread bool inside __attribute__((tls_model("initial-exec")));

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *arg)
{
    struct trace *trace = arg;

    trace->at[trace->depth++] = _Unwind_GetIP(context);
    return trace->depth < TRACE_DEPTH ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Where a library's code is. */
struct code {
    const char *name; /* NULL: the program itself */
    uint64_t begin, end;
};
static struct code config_library = {.name = "/libconfig.so"}, crypto = {.name = "/libcrypto.so"},
                   sanitizer = {.name = "/libasan.so"}, program = {.name = NULL};

static bool has(const struct code *code, uint64_t address)
{
    return address >= code->begin && address < code->end;
}

static int find_code(struct dl_phdr_info *object, size_t size, void *arg)
{
    struct code *code = arg;

    if (code->name ? !strstr(object->dlpi_name, code->name) : object->dlpi_name[0] != '\0')
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        code->begin = object->dlpi_addr + part->p_vaddr;
        code->end = code->begin + part->p_memsz;
    }
    return 0;
}

/* The sanitizer, as it prepares a thread, and nobody who has called it. */
static bool is_by_itself(const struct code *code, const struct trace *trace)
{
    bool seen = false;

    for (size_t i = 0; i < trace->depth; i++) {
        if (has(&program, trace->at[i]))
            return false;
        seen = seen || has(code, trace->at[i]);
    }
    return seen;
}

/* What libraries do not survive, and no one who calls them can help: up to 1.7 libconfig does not
 * look at what malloc() returns; nor does libcrypto everywhere while it sets itself up, which it
 * has pthread_once() call, in libc. */
static bool is_spared(const struct trace *trace)
{
    if (is_by_itself(&sanitizer, trace))
        return true;
    for (size_t i = 0; i < trace->depth; i++) {
        if (has(&config_library, trace->at[i]))
            return true;
        if (i >= 2 && has(&crypto, trace->at[i - 2]) && !has(&crypto, trace->at[i - 1]) &&
            has(&crypto, trace->at[i]))
            return true;
    }
    return false;
}

static uint64_t hash(const uint64_t *words, size_t n)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < n; i++)
        h = (h ^ words[i]) * UINT64_C(1099511628211);
    h ^= h >> 29;
    return h ? h : 1;
}

static struct place *find_place(uint64_t key)
{
    for (size_t i = key % PLACES;; i = (i + 1) % PLACES) {
        struct place *place = &control->places[i];
        if (place->key == key)
            return place;
        if (!place->key && control->n_places < PLACES / 2) {
            place->key = key;
            control->n_places++;
            return place;
        }
        if (!place->key)
            abort();
    }
}

static void note_hit(const char *call, int error, const struct trace *trace)
{
    unsigned n = control->n_hits;
    struct hit *hit = &control->hits[n % HITS];

    strncpy(hit->call, call, sizeof(hit->call) - 1);
    hit->error = error;
    hit->depth = trace->depth;
    memcpy(hit->trace, trace->at, sizeof(hit->trace));
    control->n_hits = n + 1;
}

/* errors: ends with 0. Returns the error that this call shall have, or 0. */
static __attribute__((noinline)) int judge(const char *call, const int *errors)
{
    struct trace trace = {.depth = 0};
    int error;

    _Unwind_Backtrace(note_frame, &trace);
    if (is_spared(&trace))
        return 0;
    while (atomic_exchange(&control->busy, 1))
        ;
    /* The wrapper's frame, in which the call is known, and its callers'. */
    struct place *place = find_place(hash(&trace.at[2], 1 + PLACE_DEPTH));
    place->reached++;
    error = errors[place->failed];
    if (error && control->armed && --control->armed == 0) {
        place->failed++;
        note_hit(call, error, &trace);
    } else {
        error = 0;
    }
    atomic_store(&control->busy, 0);
    return error;
}

static __attribute__((noinline)) bool fails(const char *call, const int *errors)
{
    int saved = errno;

    if (!control || inside || getpid() != own_pid)
        return false;
    inside = true;
    int error = judge(call, errors);
    inside = false;
    errno = error ? error : saved;
    return error != 0;
}

#define REAL(name)                                                                                 \
    if (!real)                                                                                     \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

/* A call that returns failure and sets errno, each time to one of the errors. */
#define WRAP(type, failure, name, declared, passed, ...)                                           \
    type name declared;                                                                            \
    type name declared                                                                             \
    {                                                                                              \
        static type(*real) declared;                                                               \
        static const int errors[ERRORS_MAX + 1] = {__VA_ARGS__};                                   \
                                                                                                   \
        if (fails(#name, errors))                                                                  \
            return failure;                                                                        \
        REAL(name);                                                                                \
        return real passed;                                                                        \
    }

/* ---- memory ---- */

WRAP(void *, NULL, malloc, (size_t size), (size), ENOMEM)
WRAP(void *, NULL, calloc, (size_t n, size_t size), (n, size), ENOMEM)
WRAP(void *, NULL, realloc, (void *old, size_t size), (old, size), ENOMEM)
WRAP(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags), EMFILE)
WRAP(void *, MAP_FAILED, mmap,
     (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset), ENOMEM)

/* ---- sockets ---- */

WRAP(int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol), EMFILE,
     ENOBUFS)
WRAP(int, -1, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds), EMFILE)
WRAP(int, -1, accept4, (int fd, struct sockaddr *peer, socklen_t *len, int flags),
     (fd, peer, len, flags), EMFILE, ECONNABORTED, ENOBUFS)
WRAP(int, -1, connect, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len), ENOBUFS,
     EADDRNOTAVAIL)
WRAP(int, -1, bind, (int fd, const struct sockaddr *at, socklen_t len), (fd, at, len), EADDRINUSE,
     ENOMEM)
WRAP(int, -1, listen, (int fd, int backlog), (fd, backlog), EADDRINUSE)
WRAP(int, -1, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len), ENOMEM, ENOPROTOOPT)
WRAP(int, -1, getsockname, (int fd, struct sockaddr *at, socklen_t *len), (fd, at, len), ENOBUFS)
WRAP(int, -1, getpeername, (int fd, struct sockaddr *at, socklen_t *len), (fd, at, len), ENOTCONN)
WRAP(ssize_t, -1, send, (int fd, const void *bytes, size_t n, int flags), (fd, bytes, n, flags),
     ENOBUFS, EINTR)
WRAP(ssize_t, -1, sendto,
     (int fd, const void *bytes, size_t n, int flags, const struct sockaddr *to, socklen_t len),
     (fd, bytes, n, flags, to, len), ENOBUFS, ENETUNREACH)
WRAP(ssize_t, -1, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
     ENOBUFS, EINTR)
WRAP(ssize_t, -1, recv, (int fd, void *bytes, size_t n, int flags), (fd, bytes, n, flags),
     ECONNRESET, ENOMEM, EINTR)
WRAP(ssize_t, -1, recvfrom,
     (int fd, void *bytes, size_t n, int flags, struct sockaddr *from, socklen_t *len),
     (fd, bytes, n, flags, from, len), ENOMEM, ENOBUFS, EINTR)
WRAP(ssize_t, -1, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags),
     ECONNRESET, ENOBUFS, EINTR)

static bool is_connection(int fd)
{
    int domain = AF_UNSPEC;
    socklen_t len = sizeof(domain);

    inside = true;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    inside = false;
    return domain == AF_INET || domain == AF_INET6;
}

static bool is_connected(int fd)
{
    char byte;

    inside = true;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    inside = false;
    return n >= 0 || errno != ENOTCONN;
}

/* The last connection that was broken off. A reset leaves an error behind; MPTCP (up to Linux 6.18)
 * leaves none where it is broken off on this side. */
static atomic_int broken = -1;

static void break_off(int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    inside = true;
    connect(fd, &nobody, sizeof(nobody));
    inside = false;
    broken = fd;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    static int (*real)(int, int, int, void *, socklen_t *);
    static const int errors[] = {ENOMEM, 0};

    if (fails("getsockopt", errors))
        return -1;
    REAL(getsockopt);
    int result = real(fd, level, name, value, len);
    if (level == SOL_SOCKET && name == SO_ERROR && fd == broken && !is_connected(fd)) {
        broken = -1;
        *(int *)value = ECONNRESET;
    }
    return result;
}

/* Fails where the connection is gone: so it is from then on, and others tell. */
int shutdown(int fd, int how)
{
    static int (*real)(int, int);
    static const int errors[] = {ENOTCONN, 0};

    if (control && !inside && is_connection(fd) && fails("shutdown", errors)) {
        break_off(fd);
        errno = ENOTCONN;
        return -1;
    }
    REAL(shutdown);
    return real(fd, how);
}

/* ---- reading and writing: what may happen depends on what it is ---- */

static const int *errors_of(int fd)
{
    static const int none[] = {0}, blocking[] = {EINTR, 0}, stream[] = {ECONNRESET, 0};
    static const int file[] = {EIO, ENOSPC, 0};
    struct stat what;

    if (fd == STDERR_FILENO || fstat(fd, &what) == -1)
        return none; /* the log is how a test knows what happens */
    if (S_ISSOCK(what.st_mode))
        return stream;
    if (S_ISREG(what.st_mode))
        return file;
    return fcntl(fd, F_GETFL) & O_NONBLOCK ? none : blocking;
}

#define WRAP_IO(name, declared, passed)                                                            \
    ssize_t name declared;                                                                         \
    ssize_t name declared                                                                          \
    {                                                                                              \
        static ssize_t(*real) declared;                                                            \
                                                                                                   \
        if (control && !inside && fails(#name, errors_of(fd)))                                     \
            return -1;                                                                             \
        REAL(name);                                                                                \
        return real passed;                                                                        \
    }

WRAP_IO(read, (int fd, void *bytes, size_t n), (fd, bytes, n))
WRAP_IO(readv, (int fd, const struct iovec *parts, int n), (fd, parts, n))
WRAP_IO(write, (int fd, const void *bytes, size_t n), (fd, bytes, n))
WRAP_IO(writev, (int fd, const struct iovec *parts, int n), (fd, parts, n))
WRAP_IO(pwrite, (int fd, const void *bytes, size_t n, off_t offset), (fd, bytes, n, offset))
WRAP(ssize_t, -1, splice,
     (int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags),
     (from, from_at, to, to_at, n, flags), ENOMEM)

/* ---- waiting ---- */

WRAP(int, -1, epoll_create1, (int flags), (flags), EMFILE, ENOMEM)
WRAP(int, -1, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms), EINTR, ENOMEM)
WRAP(int, -1, eventfd, (unsigned value, int flags), (value, flags), EMFILE)
WRAP(int, -1, timerfd_create, (int clock, int flags), (clock, flags), EMFILE)
WRAP(int, -1, timerfd_settime,
     (int fd, int flags, const struct itimerspec *new_time, struct itimerspec *old_time),
     (fd, flags, new_time, old_time), ECANCELED)
WRAP(int, -1, pipe2, (int fds[2], int flags), (fds, flags), EMFILE)
WRAP(pid_t, -1, waitpid, (pid_t pid, int *status, int options), (pid, status, options), EINTR)

/* What the leak checker has in a daemon that is built with it. It tells what it finds on stderr. */
static void look_for_leaks(void)
{
    static int (*find_leaks)(void);

    if (!find_leaks)
        *(void **)&find_leaks = dlsym(RTLD_DEFAULT, "__lsan_do_recoverable_leak_check");
    if (!find_leaks)
        abort();
    control->leaks = find_leaks() ? LEAKS_FOUND : LEAKS_NONE;
}

/* Where a daemon holds nothing half made. */
int epoll_wait(int epoll, struct epoll_event *events, int n, int ms)
{
    static int (*real)(int, struct epoll_event *, int, int);
    static const int errors[] = {EINTR, 0};

    if (control && control->leaks == LEAKS_ASKED && gettid() == own_pid)
        look_for_leaks();
    if (fails("epoll_wait", errors))
        return -1;
    REAL(epoll_wait);
    return real(epoll, events, n, ms);
}

/* Only what is added takes memory. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    static int (*real)(int, int, int, struct epoll_event *);
    static const int errors[] = {ENOMEM, ENOSPC, 0};

    if (operation == EPOLL_CTL_ADD && fails("epoll_ctl", errors))
        return -1;
    REAL(epoll_ctl);
    return real(epoll, operation, fd, event);
}

/* ---- files and processes ---- */

/* The mode is there only with O_CREAT; reading it does no harm where it is not. */
#define WRAP_OPEN(name, declared, passed, ...)                                                     \
    int name declared;                                                                             \
    int name declared                                                                              \
    {                                                                                              \
        static int(*real) declared;                                                                \
        static const int errors[ERRORS_MAX + 1] = {__VA_ARGS__};                                   \
        va_list more;                                                                              \
                                                                                                   \
        va_start(more, flags);                                                                     \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                  \
        va_end(more);                                                                              \
        if (fails(#name, errors))                                                                  \
            return -1;                                                                             \
        REAL(name);                                                                                \
        return real passed;                                                                        \
    }

WRAP_OPEN(open, (const char *path, int flags, ...), (path, flags, mode), EMFILE, EACCES)
WRAP_OPEN(openat, (int directory, const char *path, int flags, ...), (directory, path, flags, mode),
          EMFILE, EACCES)
WRAP(FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode), EMFILE, ENOMEM)
WRAP(FILE *, NULL, fmemopen, (void *bytes, size_t n, const char *mode), (bytes, n, mode), ENOMEM)
WRAP(DIR *, NULL, opendir, (const char *path), (path), EMFILE)
WRAP(int, -1, rename, (const char *from, const char *to), (from, to), ENOSPC)
WRAP(int, -1, renameat, (int from_directory, const char *from, int to_directory, const char *to),
     (from_directory, from, to_directory, to), ENOSPC)
WRAP(int, -1, fsync, (int fd), (fd), EIO)
WRAP(int, -1, fchmod, (int fd, mode_t mode), (fd, mode), EPERM)
WRAP(int, -1, mkdir, (const char *path, mode_t mode), (path, mode), ENOSPC)
WRAP(int, -1, dup2, (int fd, int as), (fd, as), EMFILE)
WRAP(pid_t, -1, fork, (void), (), EAGAIN, ENOMEM)
WRAP(ssize_t, -1, getrandom, (void *bytes, size_t n, unsigned flags), (bytes, n, flags), EINTR,
     ENOSYS)

/* Tells by what it returns. */
int pthread_create(pthread_t *thread, const pthread_attr_t *as, void *(*run)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static const int errors[] = {EAGAIN, 0};

    if (fails("pthread_create", errors))
        return EAGAIN;
    REAL(pthread_create);
    return real(thread, as, run, arg);
}

/* The unwinder is called once before it is looked at, and may take memory then. */
static __attribute__((constructor)) void begin(void)
{
    const char *path = getenv("FAILING_CONTROL");
    int fd = path && strcmp(program_invocation_short_name, "bondway") == 0
                 ? open(path, O_RDWR | O_CLOEXEC)
                 : -1;
    struct trace trace = {.depth = 0};

    if (fd == -1)
        return;
    _Unwind_Backtrace(note_frame, &trace);
    void *map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        abort();
    dl_iterate_phdr(find_code, &config_library);
    dl_iterate_phdr(find_code, &crypto);
    dl_iterate_phdr(find_code, &sanitizer);
    dl_iterate_phdr(find_code, &program);
    own_pid = getpid();
    control = map;
}
