/* bondway status, of a concentrator. */
#include <inttypes.h>

#include "cli/status.h"
#include "cli/units.h"

static void add_last_seen(struct table *table, struct json_object *gateway)
{
    char ago[UNITS_TEXT], text[UNITS_TEXT + 8];

    snprintf(text, sizeof(text), "%s ago", units_time(view_number(gateway, "last_seen_s"), ago));
    if (view_has(gateway, "last_seen_s"))
        table_add(table, PAINT_NONE, text);
    else
        table_add(table, PAINT_FAINT, "never");
}

static void print_gateways(const struct screen *screen, struct json_object *gateways)
{
    static const struct column columns[] = {
        {"NAME", false, 3, SHORTENS}, {"FLOWS", true, 0, LEAVES},      {"WARM", true, 1, LEAVES},
        {"TOTAL", true, 2, LEAVES},   {"RECEIVED", true, 0, LEAVES},   {"SENT", true, 0, LEAVES},
        {"REFUSED", true, 4, LEAVES}, {"LAST SEEN", false, 0, LEAVES},
    };
    struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; table && i < view_length(gateways); i++) {
        struct json_object *gateway = json_object_array_get_idx(gateways, i);
        view_add_text(table, gateway, "name");
        view_add_count(table, gateway, "flows");
        view_add_count(table, gateway, "warm");
        view_add_count(table, gateway, "total");
        view_add_bytes(table, gateway, "rx_bytes");
        view_add_bytes(table, gateway, "tx_bytes");
        view_add_count(table, gateway, "refused");
        add_last_seen(table, gateway);
    }
    status_print_heading(screen, "gateways");
    if (view_length(gateways) == 0)
        fprintf(screen->out, "  none is configured\n");
    else if (table)
        table_print(table, screen);
    table_free(table);
}

/* Of gateways that have two: when the old one may go. */
static void print_keys(const struct screen *screen, struct json_object *gateways)
{
    static const struct column columns[] = {
        {"GATEWAY", false, 2, SHORTENS}, {"KEY", false, 0, LEAVES},
        {"FLOWS", true, 0, LEAVES},      {"WARM", true, 1, LEAVES},
        {"LAST SEEN", false, 0, LEAVES},
    };
    struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
    bool any = false;

    for (size_t i = 0; table && i < view_length(gateways); i++) {
        struct json_object *gateway = json_object_array_get_idx(gateways, i);
        struct json_object *keys = view_list(gateway, "keys");
        for (size_t j = 0; view_length(keys) > 1 && j < view_length(keys); j++) {
            struct json_object *key = json_object_array_get_idx(keys, j);
            any = true;
            view_add_text(table, gateway, "name");
            view_add_text(table, key, "id");
            view_add_count(table, key, "flows");
            view_add_count(table, key, "warm");
            add_last_seen(table, key);
        }
    }
    if (any) {
        status_print_heading(screen, "keys, the old one first");
        table_print(table, screen);
    }
    table_free(table);
}

static void print_refusals(const struct screen *screen, struct json_object *answer)
{
    struct json_object *refused = NULL;
    char line[STATUS_LINE];

    json_object_object_get_ex(answer, "refused", &refused);
    status_print_heading(screen, "refused");
    snprintf(line, sizeof(line),
             "%" PRIu64 " unknown or forged, %" PRIu64 " replayed, %" PRIu64
             " forbidden destinations, %" PRIu64 " beyond a limit",
             view_count(refused, "hello"), view_count(refused, "replay"),
             view_count(refused, "policy"), view_count(refused, "limit"));
    screen_print_words(screen, STATUS_INDENT, line);
}

enum exit_code status_show_concentrator(struct json_object *answer, const struct screen *screen)
{
    uint64_t workers = view_count(answer, "workers");
    char state[80];

    if (!screen->out)
        return EXIT_WELL;
    snprintf(state, sizeof(state), "up, %" PRIu64 " worker%s", workers, workers == 1 ? "" : "s");
    status_print_headline(screen, answer, PAINT_GOOD, state);
    print_gateways(screen, view_list(answer, "gateways"));
    print_keys(screen, view_list(answer, "gateways"));
    print_refusals(screen, answer);
    return EXIT_WELL;
}
