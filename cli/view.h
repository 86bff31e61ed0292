/* What the commands that show something share: their options, asking the daemon, and reading its
 * answer. Fields that an answer lacks read as empty or zero, so that an older or newer daemon can
 * be looked at, too. */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <json-c/json.h>

#include "cli/command.h"
#include "cli/table.h"

struct view {
    const struct command *command; /* its options are view_options; its name is what is asked */
    /* Prints the answer for a person. Returns the exit code that it stands for. */
    enum exit_code (*show)(struct json_object *answer, const struct screen *screen);
};

/* The whole command. */
int view_run(const struct view *view, int argc, char **argv);

/* Asks one daemon: control_ask(), or control_read(). */
typedef int view_asker(void *arg, const char *socket, char *why, size_t why_len);
/* At socket or, when that is NULL, wherever a daemon is by default. Returns what ask() does. */
int view_ask(const char *socket, view_asker *ask, void *arg, char *why, size_t why_len);

#define VIEW_GATEWAY_SOCKET "/run/bondway/gateway.sock"
#define VIEW_CONCENTRATOR_SOCKET "/run/bondway/concentrator.sock"
/* The row of a command that asks. */
#define VIEW_SOCKET_OPTION(value)                                                                  \
    {                                                                                              \
        (value), "socket", "PATH",                                                                 \
            "ask there; default " VIEW_GATEWAY_SOCKET ",\nthen " VIEW_CONCENTRATOR_SOCKET          \
    }
extern const struct command_option view_options[];

/* The two views, apart from where the answer comes from. */
enum exit_code view_status(struct json_object *answer, const struct screen *screen);
enum exit_code view_flows(struct json_object *answer, const struct screen *screen);

/* How a state looks: as of uplinks, paths, concentrators. */
enum paint view_paint_state(const char *state);

/* "" when there is no such field. */
const char *view_text(struct json_object *object, const char *key);
bool view_has(struct json_object *object, const char *key); /* there, and not null */
double view_number(struct json_object *object, const char *key);
uint64_t view_count(struct json_object *object, const char *key);
/* The array `key`, or NULL; its length is 0 then. */
struct json_object *view_list(struct json_object *object, const char *key);
size_t view_length(struct json_object *list);

/* Cells of a field, empty where there is no such field. */
void view_add_text(struct table *table, struct json_object *object, const char *key);
void view_add_count(struct table *table, struct json_object *object, const char *key);
void view_add_bytes(struct table *table, struct json_object *object, const char *key);
void view_add_rate(struct table *table, struct json_object *object, const char *key);
void view_add_delay(struct table *table, struct json_object *object, const char *key);

#endif
