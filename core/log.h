/* The log: one line an event, "label: event key=value ...", to stderr or syslog.
 * Safe from every thread. Never pass a key, a nonce or a token. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines less urgent than level are dropped; default INFO on stderr. */
void log_set_level(enum log_level level);
void log_use_syslog(const char *ident);
bool log_enabled(enum log_level level);

/* A line too long is cut. errno stays as it is. */
void log_line(enum log_level level, const char *label, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(label, ...) log_line(LOG_LEVEL_ERROR, label, __VA_ARGS__)
#define log_warning(label, ...) log_line(LOG_LEVEL_WARNING, label, __VA_ARGS__)
#define log_info(label, ...) log_line(LOG_LEVEL_INFO, label, __VA_ARGS__)
#define log_debug(label, ...)                                                                      \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                          \
            log_line(LOG_LEVEL_DEBUG, label, __VA_ARGS__);                                         \
    } while (0)

/* For lines that a peer can provoke: at most `burst` lines in `interval_ms`; says, with the next
 * line it lets through, how many were held back. Zero-initialise `passed` and friends; one owner
 * (thread) per limit. */
struct log_limit {
    uint32_t burst;
    uint32_t interval_ms;
    uint64_t window_start_ms;
    uint32_t passed;
    uint32_t held;
};
/* True when a line may be written now; *held is the number suppressed since the last one. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *held);

#endif
