/* bondway top: what every uplink and every flow carries, as it happens. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/terminal.h"
#include "cli/top_view.h"
#include "cli/view.h"
#include "core/clock.h"
#include "core/control.h"

#define INTERVAL_MS 1000
#define PLAIN_COLUMNS 100 /* where there is no terminal to say how wide it is */
#define SCREEN_BYTES 65536
#define WHY_MAX 512

struct top {
    const char *socket;
    struct top_memory *memory;
    struct json_object *status, *flows;
    char why[WHY_MAX]; /* what went wrong at last; "": nothing */
    struct top_page page;
    uint64_t next_ms; /* when to ask again */
};

static int ask_both(void *arg, const char *socket, char *why, size_t why_len)
{
    struct top *top = arg;
    struct json_object *status, *flows;

    int err = control_ask(socket, "status", &status, why, why_len);
    if (err)
        return err;
    err = control_ask(socket, "flows", &flows, why, why_len);
    if (err) {
        json_object_put(status);
        return err;
    }
    json_object_put(top->status);
    json_object_put(top->flows);
    top->status = status;
    top->flows = flows;
    return 0;
}

static int refresh(struct top *top)
{
    int err = view_ask(top->socket, ask_both, top, top->why, sizeof(top->why));

    top->next_ms = clock_now_ms() + INTERVAL_MS;
    if (err)
        return err;
    top->why[0] = '\0';
    top_update(top->memory, top->status, top->flows, clock_now_ms());
    return 0;
}

/* All at once: a screen that is half drawn flickers. */
static void draw(struct top *top)
{
    terminal_size(&top->page.width, &top->page.height);
    fputs("\033[H", stdout);
    top_render(top->memory, top->status, top->flows, top->why, &top->page);
    fflush(stdout);
}

static int wait_ms(const struct top *top)
{
    uint64_t now_ms = clock_now_ms();

    return top->next_ms > now_ms ? (int)(top->next_ms - now_ms) : 0;
}

static int run_on_terminal(struct top *top)
{
    int err = terminal_take();

    if (err) {
        command_complain(&top_command, "cannot use this terminal: %s", strerror(-err));
        return EXIT_FAILED;
    }
    setvbuf(stdout, NULL, _IOFBF, SCREEN_BYTES);
    draw(top);
    for (;;) {
        char key = 0;
        enum terminal_event event = terminal_wait(wait_ms(top), &key);
        if (event == TERMINAL_END || (event == TERMINAL_KEY && (key == 'q' || key == 'Q')))
            break;
        if (event == TERMINAL_TIMEOUT && wait_ms(top) == 0)
            refresh(top);
        draw(top);
    }
    terminal_give_back();
    return EXIT_WELL;
}

/* Two looks, since flows are known by what they have carried, and rates take a while. */
static int run_once(struct top *top)
{
    int lines; /* as many as it takes */

    if (isatty(STDOUT_FILENO))
        terminal_size(&top->page.width, &lines);
    else
        top->page.width = PLAIN_COLUMNS;
    usleep(INTERVAL_MS * 1000);
    if (refresh(top)) {
        command_complain(&top_command, "%s", top->why);
        return EXIT_FAILED;
    }
    top_render(top->memory, top->status, top->flows, "", &top->page);
    return EXIT_WELL;
}

static int show(struct top *top)
{
    const char *term = getenv("TERM");

    top->page.screen = screen_stdout();
    top->page.utf8 = terminal_has_utf8();
    top->page.terminal = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
    top->memory = top_memory_new();
    if (!top->memory || refresh(top)) {
        command_complain(&top_command, "%s", top->memory ? top->why : "out of memory");
        return EXIT_FAILED;
    }
    return top->page.terminal ? run_on_terminal(top) : run_once(top);
}

enum { LONG_SOCKET = 256 };

static const struct command_option options[] = {
    VIEW_SOCKET_OPTION(LONG_SOCKET),
    {0, "", NULL, NULL},
};

static int run(int argc, char **argv)
{
    struct top top = {0};
    int code;

    for (int option; (option = command_next_option(&top_command, argc, argv, &code));) {
        if (option < 0)
            return code;
        top.socket = optarg;
    }
    code = show(&top);
    json_object_put(top.status);
    json_object_put(top.flows);
    top_memory_free(top.memory);
    return command_finish(code);
}

const struct command top_command = {
    .name = "top",
    .summary = "watch what every uplink and every flow carries",
    .text = "Shows a bar for each uplink and each flow, and redraws them every second, until q or\n"
            "Ctrl-C. Where standard output is no terminal, or TERM is dumb: once, after a second.",
    .options = options,
    .notes =
        "NO_COLOR in the environment: without colours. In a locale without UTF-8 it draws with\n"
        "ASCII.\n",
    .exit_status = "0 well, 1 nothing answers, 2 wrong usage",
    .run = run,
};
