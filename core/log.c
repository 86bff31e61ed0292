#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static atomic_int threshold = LOG_LEVEL_INFO;
static atomic_bool to_syslog;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, level);
}

void log_use_syslog(const char *ident)
{
    openlog(ident, LOG_PID, LOG_DAEMON);
    atomic_store(&to_syslog, true);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load(&threshold);
}

/* A session that systemd started inherits the variable, too: it names the stream it is meant for.
 */
static bool journal_reads_stderr(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* The journal stamps lines itself; elsewhere a person wants to know when. */
static size_t write_prefix(char *line, size_t size, enum log_level level)
{
    static const char names[][8] = {"error", "warning", "info", "debug"};
    char stamp[32] = "";

    if (!journal_reads_stderr()) {
        time_t now = time(NULL);
        struct tm tm;
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ ", gmtime_r(&now, &tm));
    }
    return (size_t)snprintf(line, size, "%s%s ", stamp, names[level]);
}

/* A peer may have chosen part of the text: no control character reaches the terminal. */
static void replace_controls(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

static void write_stderr(enum log_level level, const char *text)
{
    char line[LINE_MAX_BYTES + 64];
    size_t n = write_prefix(line, sizeof(line), level);

    n += (size_t)snprintf(line + n, sizeof(line) - n, "%s\n", text);
    if (n >= sizeof(line))
        n = sizeof(line) - 1;
    /* One write: lines of several threads do not mix. Nowhere to report a failure to. */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}

void log_line(enum log_level level, const char *label, const char *fmt, ...)
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    char text[LINE_MAX_BYTES];
    int error = errno;
    va_list args;

    if (!log_enabled(level))
        return;
    size_t n = (size_t)snprintf(text, sizeof(text), "%s: ", label);
    va_start(args, fmt);
    if (n < sizeof(text))
        vsnprintf(text + n, sizeof(text) - n, fmt, args);
    va_end(args);
    replace_controls(text);
    if (atomic_load(&to_syslog))
        syslog(priorities[level], "%s", text);
    else
        write_stderr(level, text);
    errno = error;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *held)
{
    if (now_ms - limit->window_start_ms >= limit->interval_ms) {
        limit->window_start_ms = now_ms;
        limit->passed = 0;
    }
    if (limit->passed >= limit->burst) {
        limit->held++;
        return false;
    }
    limit->passed++;
    *held = limit->held;
    limit->held = 0;
    return true;
}
