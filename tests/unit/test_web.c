/* The HTTP server: whom it cannot answer, for want of memory, it hangs up on at once. */
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/addr.h"
#include "core/clock.h"
#include "core/web.h"
#include "tests/unit/netns.h"

#define AT "127.0.0.1:7171"
#define WAIT_MS 5000 /* shorter than a client's time */

/* Which call of the next ones fails; 0: none. The linker sends them here. */
static unsigned no_enable, no_printf;
int __real_bufferevent_enable(struct bufferevent *stream, short what);
int __wrap_bufferevent_enable(struct bufferevent *stream, short what);
int __wrap_evbuffer_add_printf(struct evbuffer *buffer, const char *format, ...);

int __wrap_bufferevent_enable(struct bufferevent *stream, short what)
{
    return no_enable && --no_enable == 0 ? -1 : __real_bufferevent_enable(stream, what);
}

int __wrap_evbuffer_add_printf(struct evbuffer *buffer, const char *format, ...)
{
    va_list values;

    if (no_printf && --no_printf == 0)
        return -1;
    va_start(values, format);
    int n = evbuffer_add_vprintf(buffer, format, values);
    va_end(values);
    return n;
}

static int write_page(void *arg, struct evbuffer *out)
{
    return evbuffer_add(out, "all is well", 11);
}

static const struct web_page pages[] = {
    {.path = "/", .type = "text/plain", .write = write_page},
    {.path = "/private", .type = "text/plain", .is_private = true, .write = write_page},
    {.path = NULL},
};

static int connect_to(const struct addr *at)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(at, &ss);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

/* What the server sends until it hangs up. */
static void read_answer(struct event_base *base, int fd, char *into, size_t len)
{
    uint64_t deadline = clock_now_ms() + WAIT_MS;
    size_t have = 0;
    ssize_t n = 1;

    while (n > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_true(clock_now_ms() < deadline);
        event_base_loop(base, EVLOOP_NONBLOCK);
        if (poll(&p, 1, 10) == 0)
            continue;
        n = recv(fd, into + have, len - 1 - have, 0);
        have += n > 0 ? (size_t)n : 0;
    }
    into[have] = '\0';
}

static void ask_for(const char *request, char *answer, size_t len)
{
    struct event_base *base = event_base_new();
    struct addr at;
    struct web *web;

    assert_int_equal(addr_parse(&at, AT), 0);
    assert_int_equal(web_new(&web, base, &at, pages, NULL), 0);
    int fd = connect_to(&at);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    read_answer(base, fd, answer, len);
    close(fd);
    web_free(web);
    event_base_free(base);
}

static void ask(char *answer, size_t len)
{
    ask_for("GET / HTTP/1.1\r\n\r\n", answer, len);
}

static void answers(void **state)
{
    char answer[1024];

    ask(answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    assert_non_null(strstr(answer, "\r\n\r\nall is well"));
}

static void hangs_up_on_whom_it_cannot_hear(void **state)
{
    char answer[1024];

    no_enable = 1;
    ask(answer, sizeof(answer));
    assert_string_equal(answer, "");
}

static void hangs_up_on_whom_it_cannot_answer(void **state)
{
    char answer[1024];

    no_enable = 2;
    ask(answer, sizeof(answer));
    assert_int_equal(no_enable, 0);
    no_printf = 1;
    ask(answer, sizeof(answer));
    assert_int_equal(no_printf, 0);
    assert_string_equal(answer, "");
}

static void knows_local_names(void **state)
{
    static const char *const local[] = {
        "192.168.1.1", "192.168.1.1:9171", "[fe80::1]:9171", "[::1]",           "localhost",
        "router",      "router:9171",      "Router.LAN",     "openwrt.lan.:80", "gw.home.arpa",
        "gw.local",    "gw.internal:9171", "me.example.net", "ME.example.net."};
    static const char *const others[] = {
        "evil.example",   "192.168.1.1.evil.example", "lan.example",        "evil.example:9171",
        "x.in-addr.arpa", "evillan.example",          "not-me.example.net", "1.2.3.4.5"};

    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        assert_true(web_is_local_name(local[i], "me.example.net"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(web_is_local_name(others[i], "me.example.net"));
}

/* By a name of theirs, others could make a browser of ours read it to them. */
static void private_pages_are_shown_under_local_names(void **state)
{
    char answer[1024];

    ask_for("GET /private HTTP/1.1\r\nAccept: */*\r\nhost:\tevil.example\r\n\r\n", answer,
            sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 421 Misdirected Request\r\n", 34);
    assert_null(strstr(answer, "all is well"));
    ask_for("GET /private HTTP/1.1\r\nHost: 127.0.0.1:7171\r\n\r\n", answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    ask_for("GET /private HTTP/1.0\r\n\r\n", answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    ask_for("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(knows_local_names),
        cmocka_unit_test(private_pages_are_shown_under_local_names),
        cmocka_unit_test(hangs_up_on_whom_it_cannot_hear),
        cmocka_unit_test(hangs_up_on_whom_it_cannot_answer),
    };

    netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
