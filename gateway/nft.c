#include "gateway/nft.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/clock.h"

#define NFT_TIMEOUT_MS 10000

int nft_find(char *out, size_t len)
{
    const char *path = getenv("PATH");
    char places[1024];

    snprintf(places, sizeof(places), "%s:/usr/sbin:/sbin:/usr/bin", path ? path : "");
    char *rest = NULL;
    for (char *dir = strtok_r(places, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
        int n = snprintf(out, len, "%s/nft", dir);
        if (dir[0] == '/' && n > 0 && (size_t)n < len && access(out, X_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

static int open_ruleset(const char *ruleset)
{
    int fd = memfd_create("bondway-ruleset", MFD_CLOEXEC);

    if (fd == -1)
        return -errno;
    for (size_t len = strlen(ruleset); len > 0;) {
        ssize_t n = write(fd, ruleset, len);
        if (n == -1) {
            int err = -errno;
            close(fd);
            return err;
        }
        ruleset += n;
        len -= (size_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static _Noreturn void exec_nft(const char *nft, const char *option, int in, int out)
{
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execl(nft, nft, option, "-", (char *)NULL);
    dprintf(out, "%s: %s", nft, strerror(errno));
    _exit(127);
}

/* Reads nft's words until it closes its end. false: it hangs. */
static bool read_words(int fd, char *why, size_t why_len)
{
    uint64_t deadline = clock_now_ms() + NFT_TIMEOUT_MS;
    size_t have = 0;
    char rest[256];

    for (;;) {
        uint64_t now = clock_now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (now >= deadline)
            return false;
        if (poll(&p, 1, (int)(deadline - now)) <= 0)
            continue;
        bool full = have + 1 >= why_len;
        ssize_t n = read(fd, full ? rest : why + have, full ? sizeof(rest) : why_len - 1 - have);
        if (n <= 0)
            return true;
        if (!full)
            have += (size_t)n;
        why[have] = '\0';
    }
}

/* One line is enough for a log: the first of what nft says, without where in our own text. */
static void tidy_words(char *why)
{
    char *error = strstr(why, "Error: ");

    if (error)
        memmove(why, error, strlen(error) + 1);
    why[strcspn(why, "\n")] = '\0';
}

static int reap_nft(pid_t pid, bool hangs, char *why, size_t why_len)
{
    int status = 0;

    if (hangs)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
        ;
    if (hangs) {
        snprintf(why, why_len, "nft did not finish in %d s", NFT_TIMEOUT_MS / 1000);
        return -ETIMEDOUT;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (why[0] == '\0')
        snprintf(why, why_len, "nft ended with status 0x%x", (unsigned)status);
    return -EINVAL;
}

static int run(const char *nft, const char *option, const char *ruleset, char *why, size_t why_len)
{
    int words[2], in = open_ruleset(ruleset);

    why[0] = '\0';
    if (in < 0)
        return in;
    if (pipe2(words, O_CLOEXEC) == -1) {
        int err = -errno;
        close(in);
        return err;
    }
    pid_t pid = fork();
    if (pid == 0)
        exec_nft(nft, option, in, words[1]);
    int err = pid == -1 ? -errno : 0;
    close(in);
    close(words[1]);
    if (!err) {
        bool hangs = !read_words(words[0], why, why_len);
        err = reap_nft(pid, hangs, why, why_len);
        tidy_words(why);
    }
    close(words[0]);
    return err;
}

int nft_run(const char *nft, const char *ruleset, char *why, size_t why_len)
{
    return run(nft, "-f", ruleset, why, why_len);
}

int nft_check(const char *nft, const char *ruleset, char *why, size_t why_len)
{
    return run(nft, "-cf", ruleset, why, why_len);
}
