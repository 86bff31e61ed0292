/* bondway flows: the connections that are carried now. */
#include <stdio.h>
#include <string.h>

#include "cli/units.h"
#include "cli/view.h"

#define SUBFLOWS_TEXT 512

/* "dsl 8.1 MB": name and share; a subflow that does not carry its part says why. */
static size_t write_subflow(struct json_object *subflow, char *out, size_t len)
{
    const char *role = view_text(subflow, "role"), *state = view_text(subflow, "state");
    uint64_t bytes = view_count(subflow, "rx_bytes") + view_count(subflow, "tx_bytes");
    char text[UNITS_TEXT];
    size_t n =
        (size_t)snprintf(out, len, "%s %s", view_text(subflow, "uplink"), units_bytes(bytes, text));

    if (*state && strcmp(state, "established") != 0 && n < len)
        n += (size_t)snprintf(out + n, len - n, " (%s)", state);
    else if (*role && strcmp(role, "active") != 0 && n < len)
        n += (size_t)snprintf(out + n, len - n, " (%s)", role);
    return n;
}

static void add_subflows(struct table *table, struct json_object *flow)
{
    struct json_object *subflows = view_list(flow, "subflows");
    char text[SUBFLOWS_TEXT] = "";
    size_t n = 0;

    for (size_t i = 0; i < view_length(subflows) && n + 2 < sizeof(text); i++) {
        if (i > 0)
            n += (size_t)snprintf(text + n, sizeof(text) - n, ", ");
        n += write_subflow(json_object_array_get_idx(subflows, i), text + n, sizeof(text) - n);
    }
    table_add(table, PAINT_NONE, text);
}

static void add_sealed(struct table *table, struct json_object *flow)
{
    bool sealed = view_count(flow, "sealed") != 0;

    table_add(table, PAINT_NONE, !view_has(flow, "sealed") ? NULL : sealed ? "yes" : "no");
}

static void add_age(struct table *table, struct json_object *flow)
{
    char text[UNITS_TEXT];

    units_time(view_number(flow, "age_s"), text);
    table_add(table, PAINT_NONE, view_has(flow, "age_s") ? text : NULL);
}

/* A gateway's flows have a client and subflows, a concentrator's a gateway and a source: the table
 * leaves out what is not there. */
static void add_flow(struct table *table, struct json_object *flow)
{
    view_add_count(table, flow, "id");
    view_add_text(table, flow, "gateway");
    view_add_text(table, flow, "client");
    view_add_text(table, flow, "source");
    view_add_text(table, flow, "destination");
    view_add_text(table, flow, "state");
    view_add_text(table, flow, "rule");
    view_add_text(table, flow, "scheduler");
    add_sealed(table, flow);
    add_age(table, flow);
    view_add_bytes(table, flow, "rx_bytes");
    view_add_bytes(table, flow, "tx_bytes");
    add_subflows(table, flow);
}

enum exit_code view_flows(struct json_object *answer, const struct screen *screen)
{
    static const struct column columns[] = {
        {"ID", true, 8, LEAVES},
        {"GATEWAY", false, 11, SHORTENS},
        {"CLIENT", false, 6, SHORTENS},
        {"SOURCE", false, 6, SHORTENS},
        {"DESTINATION", false, 7, SHORTENS},
        {"STATE", false, 5, LEAVES},
        {"RULE", false, 4, LEAVES},
        {"SCHEDULER", false, 1, LEAVES},
        {"SEALED", false, 2, LEAVES},
        {"AGE", true, 9, LEAVES},
        {"RECEIVED", true, 0, LEAVES},
        {"SENT", true, 10, LEAVES},
        {"UPLINKS", false, 3, GOES_BENEATH},
    };
    size_t n = json_object_is_type(answer, json_type_array) ? json_object_array_length(answer) : 0;

    if (!screen->out)
        return EXIT_WELL;
    struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; table && i < n; i++)
        add_flow(table, json_object_array_get_idx(answer, i));
    if (n == 0)
        fprintf(screen->out, "no flows now\n");
    else if (table)
        table_print(table, screen);
    table_free(table);
    return EXIT_WELL;
}

static int run(int argc, char **argv)
{
    static const struct view view = {&flows_command, view_flows};

    return view_run(&view, argc, argv);
}

const struct command flows_command = {
    .name = "flows",
    .summary = "show the connections that are carried now",
    .text = "Shows the connections that are carried now, and over which uplinks.",
    .options = view_options,
    .exit_status = "0 well, 1 nothing answers, 2 wrong usage",
    .run = run,
};
