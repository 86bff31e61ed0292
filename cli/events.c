/* bondway events: what has changed, and why; and, followed, what changes. */
#include "cli/events.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/units.h"
#include "cli/view.h"
#include "core/control.h"

#define WHY_MAX 512
#define LINE_TEXT 4096
#define SUBJECT_TEXT 128
#define SUBJECT_WIDTH 16 /* "concentrator vps" */
#define LABEL_TEXT 64

/* ---- a line ---- */

/* Local day and time; as it is written, when it is none. */
static void split_time(const char *text, char day[EVENTS_DAY_TEXT], char clock[EVENTS_DAY_TEXT])
{
    struct tm tm = {0};
    const char *fraction = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    day[0] = '\0';
    snprintf(clock, EVENTS_DAY_TEXT, "%s", text);
    if (!fraction)
        return;
    time_t seconds = timegm(&tm);
    localtime_r(&seconds, &tm);
    strftime(day, EVENTS_DAY_TEXT, "%Y-%m-%d", &tm);
    size_t n = strftime(clock, EVENTS_DAY_TEXT, "%H:%M:%S", &tm);
    snprintf(clock + n, EVENTS_DAY_TEXT - n, "%.4s", fraction);
}

/* Events of today need no day. */
static void begin_today(struct events_page *page)
{
    time_t now = time(NULL);
    struct tm tm;

    localtime_r(&now, &tm);
    strftime(page->day, sizeof(page->day), "%Y-%m-%d", &tm);
}

static void print_day(struct events_page *page, const char *day, const struct screen *screen)
{
    if (*day && strcmp(day, page->day) != 0) {
        screen_print(screen, PAINT_FAINT, "%s", day);
        fputc('\n', screen->out);
        snprintf(page->day, sizeof(page->day), "%s", day);
    }
}

/* "rtt_ms" is "rtt", in milliseconds: returns the unit, and cuts it off. */
static const char *cut_unit(char *label)
{
    static const char *const units[] = {"_ms", "_percent", "_bytes", "_bps"};
    size_t len = strlen(label);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t unit = strlen(units[i]);
        if (len > unit && strcmp(label + len - unit, units[i]) == 0) {
            label[len - unit] = '\0';
            return units[i];
        }
    }
    return "";
}

static const char *figure_text(struct json_object *figures, const char *key, const char *unit,
                               char out[UNITS_TEXT])
{
    if (strcmp(unit, "_ms") == 0)
        return units_delay(view_number(figures, key), out);
    if (strcmp(unit, "_percent") == 0)
        return units_percent(view_number(figures, key), out);
    if (strcmp(unit, "_bytes") == 0)
        return units_bytes(view_count(figures, key), out);
    if (strcmp(unit, "_bps") == 0)
        return units_rate(view_count(figures, key), out);
    return json_object_get_string(json_object_object_get(figures, key));
}

/* " (rtt 20 ms, loss 3 %)"; returns the length. */
static size_t write_figures(struct json_object *figures, char *out, size_t len)
{
    size_t n = 0;

    if (!json_object_is_type(figures, json_type_object))
        return 0;
    json_object_object_foreach(figures, key, value)
    {
        char label[LABEL_TEXT], text[UNITS_TEXT];

        if (n >= len || !value)
            continue;
        snprintf(label, sizeof(label), "%s", key);
        const char *unit = cut_unit(label);
        for (char *c = label; *c; c++)
            *c = *c == '_' ? ' ' : *c;
        n += (size_t)snprintf(out + n, len - n, "%s%s %s", n ? ", " : " (", label,
                              figure_text(figures, key, unit, text));
    }
    if (n > 0 && n < len)
        n += (size_t)snprintf(out + n, len - n, ")");
    return n;
}

/* Behind the state: reason, figures, and how many were left out. */
static void write_rest(struct json_object *event, char *out, size_t len)
{
    const char *reason = view_text(event, "reason");
    struct json_object *figures = NULL;
    uint64_t held = view_count(event, "held");
    size_t n = (size_t)snprintf(out, len, "%s%s", *reason ? ": " : "", reason);

    if (json_object_is_type(event, json_type_object))
        json_object_object_get_ex(event, "figures", &figures);
    if (n < len)
        n += write_figures(figures, out + n, len - n);
    if (held > 0 && n < len)
        snprintf(out + n, len - n, "; %" PRIu64 " before it left out", held);
    screen_clean(out);
}

static void print_state(struct json_object *event, const struct screen *screen)
{
    char before[SUBJECT_TEXT], what[SUBJECT_TEXT];

    snprintf(before, sizeof(before), "%s", view_text(event, "before"));
    snprintf(what, sizeof(what), "%s", view_text(event, "what"));
    screen_clean(before);
    screen_clean(what);
    if (*before && strcmp(before, what) != 0)
        fprintf(screen->out, "%s -> ", before);
    screen_print(screen, view_paint_state(what), "%s", what);
}

void events_print(struct events_page *page, struct json_object *event, const struct screen *screen)
{
    char day[EVENTS_DAY_TEXT], clock[EVENTS_DAY_TEXT], subject[SUBJECT_TEXT], rest[LINE_TEXT];

    split_time(view_text(event, "time"), day, clock);
    screen_clean(clock);
    print_day(page, day, screen);
    int width = snprintf(subject, sizeof(subject), "%s %s", view_text(event, "kind"),
                         view_text(event, "name"));
    screen_clean(subject);
    if (page->subject_width < SUBJECT_WIDTH)
        page->subject_width = SUBJECT_WIDTH;
    if (page->subject_width < width)
        page->subject_width = width < SUBJECT_TEXT ? width : SUBJECT_TEXT - 1;
    screen_print(screen, PAINT_FAINT, "%s", clock);
    fprintf(screen->out, "  %-*s  ", page->subject_width, subject);
    print_state(event, screen);
    write_rest(event, rest, sizeof(rest));
    fprintf(screen->out, "%s\n", rest);
}

/* ---- the command ---- */

struct request {
    bool json, follow;
    const char *socket;
    struct screen screen;
    struct events_page page;
    int lost; /* errno, when output did not arrive */
};

/* Each line is out before the next is waited for: there may be none for days. */
static bool on_line(void *arg, struct json_object *event)
{
    struct request *request = arg;

    if (request->json)
        fprintf(stdout, "%s\n",
                json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE));
    else
        events_print(&request->page, event, &request->screen);
    request->lost = fflush(stdout) == 0 ? 0 : errno;
    return !request->lost;
}

static int ask_lines(void *arg, const char *socket, char *why, size_t why_len)
{
    struct request *request = arg;
    const struct control_reader reader = {
        .line = on_line, .arg = request, .out_fd = request->follow ? STDOUT_FILENO : -1};

    return control_read(socket, "events", request->follow, &reader, why, why_len);
}

/* Every line is out already: there is nothing to finish. */
static void on_interrupt(int signal_number)
{
    _exit(EXIT_WELL);
}

static void follow_until_interrupted(void)
{
    struct sigaction interrupt = {.sa_handler = on_interrupt}, ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &interrupt, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

static int show(struct request *request)
{
    char why[WHY_MAX] = "";

    if (request->follow)
        follow_until_interrupted();
    int err = view_ask(request->socket, ask_lines, request, why, sizeof(why));
    if (err == -ECANCELED && request->lost && request->lost != EPIPE) {
        errno = request->lost;
        return command_finish(EXIT_FAILED);
    }
    if (err == -ECANCELED)
        return EXIT_WELL;
    if (!err && !request->follow)
        return command_finish(EXIT_WELL);
    fprintf(stderr, "bondway events: %s\n", err ? why : "the daemon has ended");
    return EXIT_FAILED;
}

enum { LONG_JSON = 256, LONG_SOCKET };

static int run(int argc, char **argv)
{
    struct request request = {.screen = screen_stdout()};
    int option, code;

    while ((option = command_next_option(&events_command, argc, argv, &code)) > 0) {
        if (option == LONG_JSON)
            request.json = true;
        else if (option == 'f')
            request.follow = true;
        else
            request.socket = optarg;
    }
    if (option < 0)
        return code;
    begin_today(&request.page);
    return show(&request);
}

static const struct command_option options[] = {
    {LONG_JSON, "json", NULL, "one JSON object a line"},
    {'f', "follow", NULL, "and every further change, until interrupted"},
    VIEW_SOCKET_OPTION(LONG_SOCKET),
    {0, "", NULL, NULL},
};

const struct command events_command = {
    .name = "events",
    .summary = "show what has changed, and why",
    .text = "Shows what has changed of uplinks, paths and concentrators, and why: the last 256\n"
            "changes, the oldest first.",
    .options = options,
    .exit_status = "0 well, 1 nothing answers or the daemon ends, 2 wrong usage",
    .run = run,
};
