/* The word to the service manager: it arrives where $NOTIFY_SOCKET says, and only there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/readiness.h"

/* The service manager's end. name: a path, or "@" and an abstract name. */
static int listen_at(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    memcpy(at.sun_path, name, strlen(name));
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void expect_word(int fd)
{
    char text[64] = "", expected[64];

    snprintf(expected, sizeof(expected), "READY=1\nMAINPID=%d", (int)getpid());
    assert_int_equal(recv(fd, text, sizeof(text) - 1, 0), (int)strlen(expected));
    assert_string_equal(text, expected);
    assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
}

static void at_a_path(void **state)
{
    char directory[] = "/tmp/readiness-XXXXXX", path[64];

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/socket", directory);
    int fd = listen_at(path);
    assert_int_equal(readiness_tell(), 0);
    expect_word(fd);
    close(fd);
    assert_int_equal(readiness_tell(), -ECONNREFUSED);
    unlink(path);
    rmdir(directory);
}

static void at_an_abstract_name(void **state)
{
    char name[64];

    snprintf(name, sizeof(name), "@readiness-%d", (int)getpid());
    int fd = listen_at(name);
    assert_int_equal(readiness_tell(), 0);
    expect_word(fd);
    close(fd);
}

static void nobody_asked(void **state)
{
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(readiness_tell(), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(readiness_tell(), 0);
}

static void a_name_that_is_too_long(void **state)
{
    char name[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(readiness_tell(), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_a_path),
        cmocka_unit_test(at_an_abstract_name),
        cmocka_unit_test(nobody_asked),
        cmocka_unit_test(a_name_that_is_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
