/* The control socket: who gets an answer, who is cut off, and what is left on disk. The server is a
 * child process, so that the blocking client is tested as it is used. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/control.h"
#include "core/document.h"

#define BIG_ENTRIES 20000
#define WHY 256
#define STATUS "{\"role\":\"gateway\",\"uptime_s\":0.147,\"rtt_ms\":20.0}\n"

/* Of the server: what events of a descriptor cannot be waited for, as there is no memory. The
 * linker sends event_add() here. */
static bool no_accepting, no_answering;
int __real_event_add(struct event *event, const struct timeval *in);
int __wrap_event_add(struct event *event, const struct timeval *in);

static bool is_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof(listening);

    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
    return listening != 0;
}

int __wrap_event_add(struct event *event, const struct timeval *in)
{
    bool *fails = is_listening(event_get_fd(event)) ? &no_accepting : &no_answering;

    if (!in && event_get_fd(event) != -1 && *fails) {
        *fails = false;
        return -1;
    }
    return __real_event_add(event, in);
}

struct lab {
    char directory[64], path[107];
    pid_t server;
};

static struct json_object *answer_status(void *arg)
{
    struct document d = {.depth = 0};

    document_open_object(&d, NULL);
    document_add_text(&d, "role", arg);
    document_add_decimal(&d, "uptime_s", 0.147, 3);
    document_add_decimal(&d, "rtt_ms", 20, 1);
    return document_finish(&d);
}

static struct json_object *answer_big(void *arg)
{
    struct json_object *answer = json_object_new_array();

    for (int i = 0; i < BIG_ENTRIES; i++)
        json_object_array_add(answer, json_object_new_string("a/hundred/bytes/of/nothing/new"));
    return answer;
}

static struct json_object *answer_nothing(void *arg)
{
    return NULL;
}

/* The server's followers: what a daemon would do with them. */
static struct control_client *kept[32];
static int n_kept;

static void on_ended(void *arg)
{
    struct control_client **slot = arg;

    *slot = NULL;
    n_kept--;
}

static int begin_lines(void *arg, struct control_client *client, bool follow)
{
    struct control_client **slot = kept;

    while (follow && *slot)
        slot++;
    int err = follow ? control_keep(client, on_ended, slot) : 0;
    if (err)
        return err;
    if (follow) {
        *slot = client;
        n_kept++;
    }
    control_write(client, "{\"n\":1}", 7);
    control_write(client, "{\"n\":2}", 7);
    return 0;
}

static int begin_none(void *arg, struct control_client *client, bool follow)
{
    return 0;
}

static int begin_failed(void *arg, struct control_client *client, bool follow)
{
    return -ENOMEM;
}

static struct json_object *answer_kept(void *arg)
{
    struct json_object *answer = json_object_new_object();

    json_object_object_add(answer, "kept", json_object_new_int(n_kept));
    return answer;
}

static void tell_all(const char *line)
{
    for (size_t i = 0; i < 32; i++) {
        if (kept[i])
            control_write(kept[i], line, strlen(line));
    }
}

static struct json_object *answer_tell(void *arg)
{
    tell_all("{\"n\":3}");
    return answer_kept(arg);
}

/* About a megabyte. */
static struct json_object *answer_flood(void *arg)
{
    char line[1024];

    memset(line, ' ', sizeof(line));
    line[0] = '{';
    strcpy(line + sizeof(line) - 2, "}");
    for (int i = 0; i < 1024; i++)
        tell_all(line);
    return answer_kept(arg);
}

static struct json_object *answer_no_accepting(void *arg)
{
    no_accepting = true;
    return json_object_new_object();
}

static struct json_object *answer_no_answering(void *arg)
{
    no_answering = true;
    return json_object_new_object();
}

static const struct control_command commands[] = {
    {.name = "status", .answer = answer_status},
    {.name = "big", .answer = answer_big},
    {.name = "nothing", .answer = answer_nothing},
    {.name = "lines", .begin = begin_lines},
    {.name = "none", .begin = begin_none},
    {.name = "failed", .begin = begin_failed},
    {.name = "kept", .answer = answer_kept},
    {.name = "tell", .answer = answer_tell},
    {.name = "flood", .answer = answer_flood},
    {.name = "no accepting", .answer = answer_no_accepting},
    {.name = "no answering", .answer = answer_no_answering},
    {.name = NULL},
};

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    event_base_loopbreak(arg);
}

/* The child's whole life; tells the parent through the pipe that it listens. */
static void serve(const char *path, int ready)
{
    struct event_base *base = event_base_new();
    struct event *stop = evsignal_new(base, SIGTERM, on_stop, base);
    struct control *control;

    event_add(stop, NULL);
    if (control_new(&control, base, path, commands, (void *)"gateway"))
        _exit(3);
    if (write(ready, "r", 1) != 1)
        _exit(4);
    close(ready);
    event_base_dispatch(base);
    control_free(control);
    event_free(stop);
    event_base_free(base);
    exit(0);
}

static int lab_up(void **state)
{
    struct lab *lab = calloc(1, sizeof(*lab));

    strcpy(lab->directory, "/tmp/bondway-control-XXXXXX");
    assert_non_null(mkdtemp(lab->directory));
    snprintf(lab->path, sizeof(lab->path), "%s/run/test.sock", lab->directory);
    *state = lab;
    return 0;
}

static void start_server(struct lab *lab)
{
    int ready[2];
    char byte;

    assert_int_equal(pipe(ready), 0);
    lab->server = fork();
    if (lab->server == 0) {
        close(ready[0]);
        serve(lab->path, ready[1]);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

/* Fails when the sanitizers found something in the server. */
static void stop_server(struct lab *lab)
{
    int status;

    kill(lab->server, SIGTERM);
    assert_int_equal(waitpid(lab->server, &status, 0), lab->server);
    lab->server = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int lab_down(void **state)
{
    struct lab *lab = *state;
    char directory[80];

    if (lab->server) {
        kill(lab->server, SIGKILL);
        waitpid(lab->server, NULL, 0);
    }
    unlink(lab->path);
    snprintf(directory, sizeof(directory), "%s/run", lab->directory);
    rmdir(directory);
    rmdir(lab->directory);
    free(lab);
    return 0;
}

static int connect_raw(const struct lab *lab)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(un.sun_path, lab->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    return fd;
}

/* Listens there without ever answering. */
static int listen_raw(const struct lab *lab)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char directory[80];

    snprintf(directory, sizeof(directory), "%s/run", lab->directory);
    mkdir(directory, 0755);
    strcpy(un.sun_path, lab->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

/* All that comes until the server closes, which it must within 5 s. Returns its length. */
static size_t read_to_end(int fd, char *into, size_t len)
{
    size_t have = 0;

    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&poll_fd, 1, 5000), 1);
        ssize_t n = recv(fd, into + have, len - 1 - have, 0);
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    into[have] = '\0';
    close(fd);
    return have;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void answers_a_command(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer, *role;
    char why[WHY];

    start_server(lab);
    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), 0);
    assert_true(json_object_object_get_ex(answer, "role", &role));
    assert_string_equal(json_object_get_string(role), "gateway");
    json_object_put(answer);
    stop_server(lab);
}

static void a_large_answer_arrives_whole(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY];

    start_server(lab);
    assert_int_equal(control_ask(lab->path, "big", &answer, why, sizeof(why)), 0);
    assert_int_equal(json_object_array_length(answer), BIG_ENTRIES);
    assert_string_equal(json_object_get_string(json_object_array_get_idx(answer, BIG_ENTRIES - 1)),
                        "a/hundred/bytes/of/nothing/new");
    json_object_put(answer);
    stop_server(lab);
}

static void complains_of_what_it_does_not_know(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY];

    start_server(lab);
    assert_int_equal(control_ask(lab->path, "sttus", &answer, why, sizeof(why)), -EPROTO);
    assert_string_equal(why,
                        "unknown command \"sttus\"; known: status big nothing lines [follow] none "
                        "[follow] failed [follow] kept tell flood no accepting no answering");
    assert_null(answer);
    assert_int_equal(control_ask(lab->path, "nothing", &answer, why, sizeof(why)), -EPROTO);
    assert_string_equal(why, "internal failure; see the log");
    stop_server(lab);
}

/* socat, nc and a person at a terminal all send a line in their own way. */
static void takes_a_request_in_pieces_or_without_newline(void **state)
{
    struct lab *lab = *state;
    char text[256];

    start_server(lab);
    int fd = connect_raw(lab);
    send_text(fd, "sta");
    send_text(fd, "tus\nstatus\n");
    read_to_end(fd, text, sizeof(text));
    assert_string_equal(text, STATUS);
    fd = connect_raw(lab);
    send_text(fd, "status");
    shutdown(fd, SHUT_WR);
    read_to_end(fd, text, sizeof(text));
    assert_string_equal(text, STATUS);
    stop_server(lab);
}

static void refuses_an_endless_request(void **state)
{
    struct lab *lab = *state;
    char text[256], request[301];

    start_server(lab);
    memset(request, 'x', sizeof(request) - 1);
    request[sizeof(request) - 1] = '\0';
    int fd = connect_raw(lab);
    send_text(fd, request);
    read_to_end(fd, text, sizeof(text));
    assert_string_equal(text, "{\"error\":\"the request is longer than 255 bytes\"}\n");
    stop_server(lab);
}

/* A request of binary rubbish is still answered by valid JSON. */
static void survives_rubbish(void **state)
{
    struct lab *lab = *state;
    char text[1024];

    start_server(lab);
    int fd = connect_raw(lab);
    send_text(fd, "\"\\\x01\xff\xfe\"}{\n");
    assert_true(read_to_end(fd, text, sizeof(text)) > 0);
    assert_non_null(strstr(text, "{\"error\":\"unknown command "));
    fd = connect_raw(lab);
    shutdown(fd, SHUT_WR);
    assert_int_equal(read_to_end(fd, text, sizeof(text)), 0);
    stop_server(lab);
}

/* Sixteen silent clients take all places; a seventeenth is served when their time is over. */
static void silent_clients_are_cut_off(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY], byte;
    int silent[16];

    start_server(lab);
    for (size_t i = 0; i < 16; i++)
        silent[i] = connect_raw(lab);
    uint64_t start_ms = clock_now_ms();
    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), 0);
    uint64_t waited_ms = clock_now_ms() - start_ms;
    json_object_put(answer);
    assert_true(waited_ms >= 1500);
    assert_true(waited_ms < 4000);
    for (size_t i = 0; i < 16; i++)
        read_to_end(silent[i], &byte, 1);
    stop_server(lab);
}

/* The sixteenth leaves, and there is no memory to wait for the next. */
static void accepts_again_when_there_is_memory(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY], text[64];
    int silent[15];

    start_server(lab);
    for (size_t i = 0; i < 15; i++)
        silent[i] = connect_raw(lab);
    int last = connect_raw(lab);
    send_text(last, "no accepting\n");
    assert_true(read_to_end(last, text, sizeof(text)) > 0);
    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), 0);
    json_object_put(answer);
    for (size_t i = 0; i < 15; i++)
        read_to_end(silent[i], text, 1);
    stop_server(lab);
}

/* Rather than keep it waiting for what does not come. */
static void who_cannot_be_answered_is_hung_up_on(void **state)
{
    struct lab *lab = *state;
    char text[64];

    start_server(lab);
    int fd = connect_raw(lab);
    uint64_t start_ms = clock_now_ms();
    send_text(fd, "no answering\n");
    assert_int_equal(read_to_end(fd, text, sizeof(text)), 0);
    assert_in_range(clock_now_ms() - start_ms, 0, 1500);
    stop_server(lab);
}

/* Whatever the umask, nobody else may connect, and everybody may see the directory. */
static void modes_do_not_follow_the_umask(void **state)
{
    static const mode_t masks[] = {0, 022, 077, 0777};
    struct lab *lab = *state;
    char directory[80];
    struct stat st;

    snprintf(directory, sizeof(directory), "%s/run", lab->directory);
    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        mode_t old = umask(masks[i]);
        start_server(lab);
        umask(old);
        assert_int_equal(stat(lab->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(stat(directory, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        stop_server(lab);
        assert_int_equal(rmdir(directory), 0);
    }
}

static int bind_another(const struct lab *lab, struct control **control, struct event_base **base)
{
    *base = event_base_new();
    return control_new(control, *base, lab->path, commands, NULL);
}

static void a_live_program_is_left_alone(void **state)
{
    struct lab *lab = *state;
    struct control *control;
    struct event_base *base;
    struct json_object *answer;
    char why[WHY];

    start_server(lab);
    assert_int_equal(bind_another(lab, &control, &base), -EADDRINUSE);
    event_base_free(base);
    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), 0);
    json_object_put(answer);
    stop_server(lab);
}

static void a_stale_socket_is_replaced(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY];

    start_server(lab);
    kill(lab->server, SIGKILL);
    waitpid(lab->server, NULL, 0);
    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), -ECONNREFUSED);
    start_server(lab);
    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), 0);
    json_object_put(answer);
    stop_server(lab);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct lab *lab = *state;
    struct control *control;
    struct event_base *base;
    struct stat st;

    close(listen_raw(lab));
    unlink(lab->path);
    FILE *file = fopen(lab->path, "w");
    fputs("precious", file);
    fclose(file);
    assert_int_equal(bind_another(lab, &control, &base), -EEXIST);
    event_base_free(base);
    assert_int_equal(stat(lab->path, &st), 0);
    assert_int_equal(st.st_size, 8);
}

static void removes_its_own_file_only(void **state)
{
    struct lab *lab = *state;
    struct stat st;

    start_server(lab);
    stop_server(lab);
    assert_int_equal(stat(lab->path, &st), -1);
    start_server(lab);
    unlink(lab->path);
    int successor = listen_raw(lab);
    stop_server(lab);
    assert_int_equal(stat(lab->path, &st), 0);
    close(successor);
}

static void a_path_must_fit(void **state)
{
    struct event_base *base = event_base_new();
    struct json_object *answer;
    struct control *control;
    char path[109], why[WHY];

    memset(path, 'x', sizeof(path) - 1);
    memcpy(path, "/tmp/", 5);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(control_new(&control, base, path, commands, NULL), -ENAMETOOLONG);
    assert_int_equal(control_ask(path, "status", &answer, why, sizeof(why)), -ENAMETOOLONG);
    event_base_free(base);
}

static void asking_nobody_says_so(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY], expected[WHY];

    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), -ENOENT);
    snprintf(expected, sizeof(expected),
             "no bondway answers at %s: is it running? start it with `bondway gateway` or "
             "`bondway concentrator`",
             lab->path);
    assert_string_equal(why, expected);
}

static void asking_without_the_right_says_so(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY];

    start_server(lab);
    chmod(lab->directory, 0755);
    chmod(lab->path, 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(65534), 0);
    int err = control_ask(lab->path, "status", &answer, why, sizeof(why));
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(err, -EACCES);
    assert_non_null(strstr(why, "run this as root"));
    stop_server(lab);
}

static void asking_a_mute_program_ends(void **state)
{
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY];
    int fd = listen_raw(lab);
    uint64_t start_ms = clock_now_ms();

    assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), -EAGAIN);
    assert_true(clock_now_ms() - start_ms < 8000);
    assert_non_null(strstr(why, "did not answer within 5 s"));
    close(fd);
}

/* Another program's socket, or an answer cut short. */
static void asking_a_stranger_says_so(void **state)
{
    static const char *const answers[] = {"220 smtp ready\r\n", "{\"role\":\"gate", ""};
    struct lab *lab = *state;
    struct json_object *answer;
    char why[WHY];

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        int listener = listen_raw(lab);
        pid_t stranger = fork();
        if (stranger == 0) {
            int fd = accept(listener, NULL, NULL);
            char request[64];
            if (recv(fd, request, sizeof(request), 0) > 0)
                send(fd, answers[i], strlen(answers[i]), MSG_NOSIGNAL);
            _exit(0);
        }
        close(listener);
        assert_int_equal(control_ask(lab->path, "status", &answer, why, sizeof(why)), -EBADMSG);
        assert_non_null(strstr(why, "did not answer as bondway does"));
        waitpid(stranger, NULL, 0);
        unlink(lab->path);
    }
}

/* ---- lines ---- */

#define LINES "{\"n\":1}\n{\"n\":2}\n"

static int ask_kept(const struct lab *lab, const char *command)
{
    struct json_object *answer, *n;
    char why[WHY];

    assert_int_equal(control_ask(lab->path, command, &answer, why, sizeof(why)), 0);
    assert_true(json_object_object_get_ex(answer, "kept", &n));
    int kept_now = json_object_get_int(n);
    json_object_put(answer);
    return kept_now;
}

static void wait_for_kept(const struct lab *lab, int expected)
{
    uint64_t deadline_ms = clock_now_ms() + 5000;

    while (ask_kept(lab, "kept") != expected)
        assert_true(clock_now_ms() < deadline_ms);
}

static int follow_raw(const struct lab *lab)
{
    int fd = connect_raw(lab);

    send_text(fd, "lines follow\n");
    return fd;
}

/* Exactly this comes next. */
static void expect_text(int fd, const char *text)
{
    char got[256] = "";
    size_t have = 0;

    while (have < strlen(text)) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&poll_fd, 1, 5000), 1);
        ssize_t n = recv(fd, got + have, strlen(text) - have, 0);
        assert_true(n > 0);
        have += (size_t)n;
    }
    assert_string_equal(got, text);
}

static void a_stream_ends_with_its_lines(void **state)
{
    struct lab *lab = *state;
    char text[256];

    start_server(lab);
    int fd = connect_raw(lab);
    send_text(fd, "lines\n");
    read_to_end(fd, text, sizeof(text));
    assert_string_equal(text, LINES);
    fd = connect_raw(lab);
    send_text(fd, "none\n");
    assert_int_equal(read_to_end(fd, text, sizeof(text)), 0);
    fd = connect_raw(lab);
    send_text(fd, "failed follow\n");
    read_to_end(fd, text, sizeof(text));
    assert_string_equal(text, "{\"error\":\"internal failure; see the log\"}\n");
    stop_server(lab);
}

/* The deadline for a request is long over when the second line comes. */
static void a_follower_gets_what_is_new(void **state)
{
    struct lab *lab = *state;
    char text[256];

    start_server(lab);
    int fd = follow_raw(lab);
    expect_text(fd, LINES);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 2500), 0);
    assert_int_equal(ask_kept(lab, "tell"), 1);
    expect_text(fd, "{\"n\":3}\n");
    assert_int_equal(ask_kept(lab, "tell"), 1);
    stop_server(lab);
    read_to_end(fd, text, sizeof(text));
    assert_string_equal(text, "{\"n\":3}\n");
}

static void a_follower_that_hangs_up_is_let_go(void **state)
{
    struct lab *lab = *state;

    start_server(lab);
    int first = follow_raw(lab), second = follow_raw(lab);
    expect_text(first, LINES);
    expect_text(second, LINES);
    close(first);
    wait_for_kept(lab, 1);
    assert_int_equal(shutdown(second, SHUT_WR), 0); /* as `echo events follow | nc` does */
    assert_int_equal(ask_kept(lab, "tell"), 1);
    expect_text(second, "{\"n\":3}\n");
    close(second);
    wait_for_kept(lab, 0);
    stop_server(lab);
}

/* It keeps nobody waiting, and its memory is not the server's: 64 KiB, and what the kernel holds.
 */
static void a_follower_that_does_not_read_is_cut_off(void **state)
{
    static char text[4 * 1024 * 1024];
    struct lab *lab = *state;

    start_server(lab);
    int stuck = follow_raw(lab);
    expect_text(stuck, LINES);
    assert_int_equal(ask_kept(lab, "flood"), 1);
    wait_for_kept(lab, 0);
    int other = follow_raw(lab);
    expect_text(other, LINES);
    assert_int_equal(ask_kept(lab, "tell"), 1);
    expect_text(other, "{\"n\":3}\n");
    close(other);
    assert_true(read_to_end(stuck, text, sizeof(text)) <= 64 * 1024);
    stop_server(lab);
}

/* However many follow, status is answered. */
static void followers_are_bounded_and_take_no_place(void **state)
{
    struct lab *lab = *state;
    char text[256];
    int fds[16];

    start_server(lab);
    for (size_t i = 0; i < 16; i++) {
        fds[i] = follow_raw(lab);
        expect_text(fds[i], LINES);
    }
    read_to_end(follow_raw(lab), text, sizeof(text));
    assert_string_equal(text, "{\"error\":\"too many follow already\"}\n");
    uint64_t start_ms = clock_now_ms();
    assert_int_equal(ask_kept(lab, "kept"), 16);
    assert_true(clock_now_ms() - start_ms < 1500);
    for (size_t i = 0; i < 16; i++)
        close(fds[i]);
    wait_for_kept(lab, 0);
    int fd = follow_raw(lab);
    expect_text(fd, LINES);
    stop_server(lab);
    close(fd);
}

static void only_what_streams_can_be_followed(void **state)
{
    static const char *const requests[] = {"status follow", "lines  follow", "lines followed",
                                           "lines ",        "follow",        "linesfollow"};
    struct lab *lab = *state;
    char text[512], expected[64];

    start_server(lab);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        int fd = connect_raw(lab);
        send_text(fd, requests[i]);
        send_text(fd, "\n");
        read_to_end(fd, text, sizeof(text));
        snprintf(expected, sizeof(expected), "unknown command \\\"%s\\\"; known:", requests[i]);
        assert_non_null(strstr(text, expected));
    }
    stop_server(lab);
}

static bool count_line(void *arg, struct json_object *line)
{
    int *left = arg;

    assert_true(json_object_object_get_ex(line, "n", NULL));
    return --*left > 0;
}

static int read_some(const struct lab *lab, const char *command, bool follow, int *left, char *why)
{
    const struct control_reader reader = {.line = count_line, .arg = left, .out_fd = -1};

    return control_read(lab->path, command, follow, &reader, why, WHY);
}

static void reading_lines(void **state)
{
    struct lab *lab = *state;
    char why[WHY];
    int left = 100;

    assert_int_equal(read_some(lab, "lines", false, &left, why), -ENOENT);
    assert_non_null(strstr(why, "is it running?"));
    start_server(lab);
    assert_int_equal(read_some(lab, "lines", false, &left, why), 0);
    assert_int_equal(left, 98);
    left = 2;
    assert_int_equal(read_some(lab, "lines", true, &left, why), -ECANCELED);
    assert_int_equal(left, 0);
    assert_int_equal(read_some(lab, "sttus", true, &left, why), -EPROTO);
    assert_non_null(strstr(why, "unknown command \"sttus follow\""));
    stop_server(lab);
}

/* `... | head -1`: whoever reads our output has gone, and no line comes to notice it by. */
static void reading_ends_with_its_reader(void **state)
{
    struct lab *lab = *state;
    int left = 100, out[2];
    char why[WHY];

    start_server(lab);
    assert_int_equal(pipe(out), 0);
    close(out[0]);
    const struct control_reader reader = {.line = count_line, .arg = &left, .out_fd = out[1]};
    assert_int_equal(control_read(lab->path, "lines", true, &reader, why, WHY), -ECANCELED);
    close(out[1]);
    stop_server(lab);
}

#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, lab_up, lab_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST(answers_a_command),
        LAB_TEST(a_large_answer_arrives_whole),
        LAB_TEST(complains_of_what_it_does_not_know),
        LAB_TEST(takes_a_request_in_pieces_or_without_newline),
        LAB_TEST(refuses_an_endless_request),
        LAB_TEST(survives_rubbish),
        LAB_TEST(silent_clients_are_cut_off),
        LAB_TEST(accepts_again_when_there_is_memory),
        LAB_TEST(who_cannot_be_answered_is_hung_up_on),
        LAB_TEST(modes_do_not_follow_the_umask),
        LAB_TEST(a_live_program_is_left_alone),
        LAB_TEST(a_stale_socket_is_replaced),
        LAB_TEST(a_file_that_is_no_socket_is_left_alone),
        LAB_TEST(removes_its_own_file_only),
        LAB_TEST(a_path_must_fit),
        LAB_TEST(asking_nobody_says_so),
        LAB_TEST(asking_without_the_right_says_so),
        LAB_TEST(asking_a_mute_program_ends),
        LAB_TEST(asking_a_stranger_says_so),
        LAB_TEST(a_stream_ends_with_its_lines),
        LAB_TEST(a_follower_gets_what_is_new),
        LAB_TEST(a_follower_that_hangs_up_is_let_go),
        LAB_TEST(a_follower_that_does_not_read_is_cut_off),
        LAB_TEST(followers_are_bounded_and_take_no_place),
        LAB_TEST(only_what_streams_can_be_followed),
        LAB_TEST(reading_lines),
        LAB_TEST(reading_ends_with_its_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
