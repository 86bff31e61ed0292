#include "cli/view.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/units.h"
#include "core/control.h"

#define WHY_MAX 512

static const char gateway_socket[] = "/run/bondway/gateway.sock";
static const char concentrator_socket[] = "/run/bondway/concentrator.sock";

struct request {
    bool json;
    const char *socket; /* NULL: where a daemon listens by default */
};

void view_print_common_help(void)
{
    printf("      --socket PATH  ask there; default %s,\n"
           "                     then %s\n"
           "  -h, --help         this text\n"
           "  -V, --version      the version\n\n",
           gateway_socket, concentrator_socket);
}

static int help(const struct view *view)
{
    printf("Usage: bondway %s [--json] [--socket PATH]\n\n%s\n\n"
           "      --json         the daemon's answer as one JSON document\n",
           view->command, view->summary);
    view_print_common_help();
    printf("Exit status: 0 well, 1 nothing answers, 2 wrong usage%s.\n",
           view->show == view_status ? ", 3 running but degraded" : "");
    return command_finish(EXIT_WELL);
}

enum { LONG_JSON = 256, LONG_SOCKET };

static const struct option options[] = {
    {"json", no_argument, NULL, LONG_JSON},
    {"socket", required_argument, NULL, LONG_SOCKET},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* False when all is said already; then *code is the exit code. */
static bool parse_options(const struct view *view, int argc, char **argv, struct request *request,
                          int *code)
{
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":hV", options, NULL)) != -1;) {
        if (c == LONG_JSON) {
            request->json = true;
        } else if (c == LONG_SOCKET) {
            request->socket = optarg;
        } else {
            *code = c == 'h'   ? help(view)
                    : c == 'V' ? command_version()
                               : command_bad_option(argv, c);
            return false;
        }
    }
    if (optind == argc)
        return true;
    *code = command_unexpected(view->command, argv[optind]);
    return false;
}

/* A router runs a gateway, a VPS a concentrator: whichever is there answers. */
int view_ask(const char *socket, view_asker *ask, void *arg, char *why, size_t why_len)
{
    int err = ask(arg, socket ? socket : gateway_socket, why, why_len);

    if (socket || (err != -ENOENT && err != -ECONNREFUSED))
        return err;
    err = ask(arg, concentrator_socket, why, why_len);
    if (err == -ENOENT || err == -ECONNREFUSED)
        snprintf(why, why_len,
                 "no bondway runs here (nothing answers at %s or %s): start one with `bondway "
                 "gateway` or `bondway concentrator`, or name its --socket",
                 gateway_socket, concentrator_socket);
    return err;
}

struct question {
    const char *command;
    struct json_object *answer;
};

static int ask_document(void *arg, const char *socket, char *why, size_t why_len)
{
    struct question *question = arg;

    return control_ask(socket, question->command, &question->answer, why, why_len);
}

int view_run(const struct view *view, int argc, char **argv)
{
    struct screen screen = screen_stdout(), nowhere = {.out = NULL};
    struct request request = {0};
    struct question question = {.command = view->command};
    char why[WHY_MAX];
    int code;

    if (!parse_options(view, argc, argv, &request, &code))
        return code;
    if (view_ask(request.socket, ask_document, &question, why, sizeof(why))) {
        fprintf(stderr, "bondway %s: %s\n", view->command, why);
        return EXIT_FAILED;
    }
    struct json_object *answer = question.answer;
    if (request.json)
        puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY |
                                                        JSON_C_TO_STRING_SPACED |
                                                        JSON_C_TO_STRING_NOSLASHESCAPE));
    code = (int)view->show(answer, request.json ? &nowhere : &screen);
    json_object_put(answer);
    return command_finish(code);
}

enum paint view_paint_state(const char *state)
{
    if (strcmp(state, "up") == 0 || strcmp(state, "active") == 0)
        return PAINT_GOOD;
    return strcmp(state, "down") == 0 || strcmp(state, "dead") == 0 ? PAINT_BAD : PAINT_WARN;
}

/* ---- fields ---- */

static struct json_object *field(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    if (json_object_is_type(object, json_type_object))
        json_object_object_get_ex(object, key, &value);
    return value;
}

bool view_has(struct json_object *object, const char *key)
{
    return field(object, key) != NULL;
}

const char *view_text(struct json_object *object, const char *key)
{
    struct json_object *value = field(object, key);

    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

double view_number(struct json_object *object, const char *key)
{
    return json_object_get_double(field(object, key));
}

uint64_t view_count(struct json_object *object, const char *key)
{
    int64_t value = json_object_get_int64(field(object, key));

    return value > 0 ? (uint64_t)value : 0;
}

struct json_object *view_list(struct json_object *object, const char *key)
{
    struct json_object *value = field(object, key);

    return json_object_is_type(value, json_type_array) ? value : NULL;
}

size_t view_length(struct json_object *list)
{
    return list ? json_object_array_length(list) : 0;
}

/* ---- cells ---- */

void view_add_text(struct table *table, struct json_object *object, const char *key)
{
    table_add(table, PAINT_NONE, view_text(object, key));
}

void view_add_count(struct table *table, struct json_object *object, const char *key)
{
    char text[UNITS_TEXT];

    snprintf(text, sizeof(text), "%" PRIu64, view_count(object, key));
    table_add(table, PAINT_NONE, view_has(object, key) ? text : NULL);
}

void view_add_bytes(struct table *table, struct json_object *object, const char *key)
{
    char text[UNITS_TEXT];

    units_bytes(view_count(object, key), text);
    table_add(table, PAINT_NONE, view_has(object, key) ? text : NULL);
}

void view_add_rate(struct table *table, struct json_object *object, const char *key)
{
    char text[UNITS_TEXT];

    units_rate(view_count(object, key), text);
    table_add(table, PAINT_NONE, view_has(object, key) ? text : NULL);
}

void view_add_delay(struct table *table, struct json_object *object, const char *key)
{
    char text[UNITS_TEXT];

    units_delay(view_number(object, key), text);
    table_add(table, PAINT_NONE, view_has(object, key) ? text : NULL);
}
