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

static const char gateway_socket[] = VIEW_GATEWAY_SOCKET;
static const char concentrator_socket[] = VIEW_CONCENTRATOR_SOCKET;

struct request {
    bool json;
    const char *socket; /* NULL: where a daemon listens by default */
};

enum { LONG_JSON = 256, LONG_SOCKET };

const struct command_option view_options[] = {
    {LONG_JSON, "json", NULL, "the daemon's answer as one JSON document"},
    VIEW_SOCKET_OPTION(LONG_SOCKET),
    {0, "", NULL, NULL},
};

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
    struct question question = {.command = view->command->name};
    char why[WHY_MAX];
    int option, code;

    while ((option = command_next_option(view->command, argc, argv, &code)) > 0) {
        if (option == LONG_JSON)
            request.json = true;
        else
            request.socket = optarg;
    }
    if (option < 0)
        return code;
    if (view_ask(request.socket, ask_document, &question, why, sizeof(why))) {
        fprintf(stderr, "bondway %s: %s\n", view->command->name, why);
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
