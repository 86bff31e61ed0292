/* The control socket, as a daemon serves it: what a client sends, in two pieces (the first byte
 * says where it breaks), and ends. It is answered by whole lines of JSON, or not at all. */
#include "tests/fuzz/scene.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/control.h"
#include "core/control_internal.h"

#define ANSWER_MAX 65536
#define TURNS_MAX 100

static struct event_base *base;
static struct control *control;
static struct sockaddr_un at;
static char directory[] = "/tmp/fuzz-control-XXXXXX";

static struct json_object *answer_status(void *arg)
{
    return json_object_new_object();
}

static int begin_events(void *arg, struct control_client *client, bool follow)
{
    control_write(client, "{}", 2);
    return 0;
}

static void take(void *arg, int fd)
{
    close(fd);
}

static void clean_up(void)
{
    control_free(control);
    event_base_free(base);
    rmdir(directory);
}

static void serve(void)
{
    static const struct control_command commands[] = {{.name = "status", .answer = answer_status},
                                                      {.name = "events", .begin = begin_events},
                                                      {.name = "hand over", .take = take},
                                                      {0}};
    char path[64];

    must(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/socket", directory);
    base = event_base_new();
    must(base && control_new(&control, base, path, commands, NULL) == 0);
    must(control_address(&at, path) == 0);
    atexit(clean_up);
}

static void expect_lines(const char *text, size_t len)
{
    for (const char *line = text, *end; line < text + len; line = end + 1) {
        struct json_tokener *reader = json_tokener_new();
        end = memchr(line, '\n', (size_t)(text + len - line));
        must(end && reader);
        json_object_put(json_tokener_parse_ex(reader, line, (int)(end - line) + 1));
        must(json_tokener_get_error(reader) == json_tokener_success);
        json_tokener_free(reader);
    }
}

static void send_piece(int fd, const uint8_t *data, size_t size)
{
    /* It may have been answered, and closed, already. */
    if (size > 0)
        send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    must(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

static void expect_answer(int fd)
{
    static char answer[ANSWER_MAX];
    size_t len = 0;
    ssize_t n = 1;

    for (int turns = 0; n != 0 && turns < TURNS_MAX; turns++) {
        must(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
        n = recv(fd, answer + len, sizeof(answer) - len, MSG_DONTWAIT);
        len += n > 0 ? (size_t)n : 0;
        if (n == -1 && errno == ECONNRESET) /* more was sent than is read */
            n = 0;
    }
    must(n == 0);
    expect_lines(answer, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (!control)
        serve();
    size_t first = data[0] < size ? data[0] : size - 1;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    must(fd != -1 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    send_piece(fd, data + 1, first);
    send_piece(fd, data + 1 + first, size - 1 - first);
    shutdown(fd, SHUT_WR);
    expect_answer(fd);
    close(fd);
    return 0;
}
