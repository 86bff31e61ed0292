/* Log lines as they reach standard error, and the limit on those that peers provoke. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/log.h"

/* Standard error goes into a pipe while a line is written. */
static int real_stderr = -1, heard = -1;

static void listen_in(void)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    heard = ends[0];
    real_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
}

static const char *hear(void)
{
    static char text[1 << 20];
    ssize_t n = read(heard, text, sizeof(text) - 1);

    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(heard);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void expect_match(const char *text, const char *pattern)
{
    regex_t regex;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" is not like %s", text, pattern);
    regfree(&regex);
}

#define STAMP "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z "

static int quiet_again(void **state)
{
    log_set_level(LOG_LEVEL_INFO);
    unsetenv("JOURNAL_STREAM");
    return 0;
}

static void writes_a_line(void **state)
{
    listen_in();
    log_info("flow 7", "closed reason=%s bytes=%d", "done", 42);
    expect_match(hear(), "^" STAMP "info flow 7: closed reason=done bytes=42\n$");
    listen_in();
    log_error("config", "bad");
    log_warning("config", "odd");
    expect_match(hear(), "^" STAMP "error config: bad\n" STAMP "warning config: odd\n$");
}

static void drops_what_is_less_urgent(void **state)
{
    static const enum log_level levels[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO,
                                            LOG_LEVEL_DEBUG};

    for (int set = 0; set < 4; set++) {
        log_set_level(levels[set]);
        for (int level = 0; level < 4; level++) {
            assert_int_equal(log_enabled(levels[level]), level <= set);
            listen_in();
            log_line(levels[level], "test", "line");
            assert_int_equal(hear()[0] != '\0', level <= set);
        }
    }
}

static int computed;

static int compute(void)
{
    return ++computed;
}

static void debug_costs_nothing_when_off(void **state)
{
    computed = 0;
    listen_in();
    log_debug("test", "value=%d", compute());
    assert_string_equal(hear(), "");
    assert_int_equal(computed, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    listen_in();
    log_debug("test", "value=%d", compute());
    expect_match(hear(), "debug test: value=1\n$");
}

/* What a peer has chosen must not end the line, nor steer a terminal. */
static void control_characters_are_replaced(void **state)
{
    char text[40];

    for (int c = 1; c < 256; c++) {
        bool control = c < 0x20 || c == 0x7f;
        snprintf(text, sizeof(text), "<%c>", c);
        listen_in();
        log_info(text, "says %s", text);
        const char *line = hear();
        size_t len = strlen(line);
        assert_true(len > 0 && line[len - 1] == '\n');
        assert_ptr_equal(strchr(line, '\n'), line + len - 1);
        assert_int_equal(strchr(line, control ? '?' : c) != NULL, true);
        assert_int_equal(c != '\n' && control && strchr(line, c) != NULL, false);
    }
}

static void a_long_line_is_cut(void **state)
{
    static char text[5000];

    memset(text, 'x', sizeof(text) - 1);
    listen_in();
    log_info("test", "%s", text);
    const char *line = hear();
    assert_in_range(strlen(line), 1000, 1200);
    assert_int_equal(line[strlen(line) - 1], '\n');
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    listen_in();
    log_info(text, "what happened"); /* of a label, as much as there is room for */
    line = hear();
    assert_in_range(strlen(line), 1000, 1200);
    assert_int_equal(line[strlen(line) - 1], '\n');
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 300; i++)
        log_info(arg, "%s %s %s %s %s %s", (char *)arg, (char *)arg, (char *)arg, (char *)arg,
                 (char *)arg, (char *)arg);
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    int lines = 0;

    listen_in();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *rest = strdup(hear()), *save = NULL;
    for (char *line = strtok_r(rest, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        expect_match(line, "^" STAMP "info ([abcd]): \\1 \\1 \\1 \\1 \\1 \\1$");
        lines++;
    }
    assert_int_equal(lines, 4 * 300);
    free(rest);
}

/* errno is often an argument; it survives for the caller, too. */
static void keeps_errno(void **state)
{
    listen_in();
    errno = EPIPE;
    log_info("test", "%s", strerror(errno));
    int after = errno;
    hear();
    assert_int_equal(after, EPIPE);
    listen_in();
    close(STDERR_FILENO); /* nowhere to write to */
    errno = EPIPE;
    log_info("test", "line");
    after = errno;
    hear();
    assert_int_equal(after, EPIPE);
}

/* The journal has its own stamps: none for it, but one for every other standard error, also in a
 * session that systemd started and that so inherits the variable. */
static void the_journal_needs_no_stamp(void **state)
{
    struct stat st;
    char id[64];

    listen_in();
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(id, sizeof(id), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", id, 1);
    log_info("test", "line");
    assert_string_equal(hear(), "info test: line\n");
    listen_in();
    setenv("JOURNAL_STREAM", "1:2", 1);
    log_info("test", "line");
    expect_match(hear(), "^" STAMP "info test: line\n$");
}

static void limits_lines(void **state)
{
    struct log_limit limit = {.burst = 3, .interval_ms = 1000};
    uint32_t held = 99;

    /* Soon after boot, the clock has not come far. */
    for (uint64_t now = 5; now < 8; now++) {
        assert_true(log_limit_pass(&limit, now, &held));
        assert_int_equal(held, 0);
    }
    for (uint64_t now = 8; now < 500; now++)
        assert_false(log_limit_pass(&limit, now, &held));
    assert_false(log_limit_pass(&limit, 999, &held));
    assert_true(log_limit_pass(&limit, 1005, &held));
    assert_int_equal(held, 493);
    assert_true(log_limit_pass(&limit, 1006, &held));
    assert_int_equal(held, 0);
    assert_true(log_limit_pass(&limit, 1500, &held));
    assert_false(log_limit_pass(&limit, 2004, &held));
    assert_true(log_limit_pass(&limit, 1000000, &held));
    assert_int_equal(held, 1);
}

/* Never more than the burst in a window that begins with a line. */
static void limits_lines_over_time(void **state)
{
    struct log_limit limit = {.burst = 5, .interval_ms = 100};
    uint32_t held, passed = 0, total_held = 0, asked = 0;

    for (uint64_t now = 1000; now < 21000; now += 3, asked++) {
        if (log_limit_pass(&limit, now, &held)) {
            passed++;
            total_held += held;
        }
    }
    assert_in_range(passed, 5 * 190, 5 * 201);
    assert_in_range(passed + total_held, asked - 40, asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(writes_a_line, quiet_again),
        cmocka_unit_test_teardown(drops_what_is_less_urgent, quiet_again),
        cmocka_unit_test_teardown(debug_costs_nothing_when_off, quiet_again),
        cmocka_unit_test_teardown(control_characters_are_replaced, quiet_again),
        cmocka_unit_test_teardown(a_long_line_is_cut, quiet_again),
        cmocka_unit_test_teardown(threads_do_not_mix_lines, quiet_again),
        cmocka_unit_test_teardown(keeps_errno, quiet_again),
        cmocka_unit_test_teardown(the_journal_needs_no_stamp, quiet_again),
        cmocka_unit_test(limits_lines),
        cmocka_unit_test(limits_lines_over_time),
    };

    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
