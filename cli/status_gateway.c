/* bondway status, of a gateway. */
#include <inttypes.h>
#include <string.h>

#include "cli/status.h"
#include "cli/units.h"

static bool is_up(struct json_object *object)
{
    return strcmp(view_text(object, "state"), "up") == 0;
}

static size_t count_up(struct json_object *list)
{
    size_t up = 0;

    for (size_t i = 0; i < view_length(list); i++)
        up += is_up(json_object_array_get_idx(list, i));
    return up;
}

static void add_state(struct table *table, struct json_object *object)
{
    const char *state = view_text(object, "state");

    table_add(table, view_paint_state(state), state);
}

static void add_note(struct table *table, struct json_object *uplink)
{
    bool stripped = strcmp(view_text(uplink, "mptcp"), "stripped") == 0;
    const char *reason = view_text(uplink, "reason");

    if (*reason || !stripped)
        table_add(table, PAINT_NONE, reason);
    else
        table_add(table, PAINT_WARN, "MPTCP is stripped on the way");
}

static void add_loss(struct table *table, struct json_object *uplink)
{
    char text[UNITS_TEXT];

    units_percent(view_number(uplink, "loss_percent"), text);
    table_add(table, PAINT_NONE, view_has(uplink, "loss_percent") ? text : NULL);
}

/* "probes, while idle: dsl 1.7 MB, lte 276 kB a day" */
static void print_probe_cost(const struct screen *screen, struct json_object *uplinks)
{
    char line[STATUS_LINE] = "probes, while idle:", text[UNITS_TEXT];
    size_t n = strlen(line);

    for (size_t i = 0; i < view_length(uplinks) && n < sizeof(line); i++) {
        struct json_object *uplink = json_object_array_get_idx(uplinks, i);
        if (!view_has(uplink, "idle_probe_bytes_per_day"))
            return;
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s %s %s", i > 0 ? "," : "",
                              view_text(uplink, "name"),
                              units_bytes(view_count(uplink, "idle_probe_bytes_per_day"), text));
    }
    if (n < sizeof(line))
        snprintf(line + n, sizeof(line) - n, " a day");
    if (view_length(uplinks) > 0)
        screen_print_words(screen, STATUS_INDENT, line);
}

static void print_uplinks(const struct screen *screen, struct json_object *uplinks)
{
    static const struct column columns[] = {
        {"NAME", false, 7, SHORTENS},     {"INTERFACE", false, 1, LEAVES},
        {"ADDRESS", false, 3, LEAVES},    {"STATE", false, 0, LEAVES},
        {"ROLE", false, 9, LEAVES},       {"COST", true, 2, LEAVES},
        {"RTT", true, 10, LEAVES},        {"LOSS", true, 8, LEAVES},
        {"DOWN", true, 0, LEAVES},        {"UP", true, 0, LEAVES},
        {"RECEIVED", true, 6, LEAVES},    {"SENT", true, 5, LEAVES},
        {"NOTE", false, 4, GOES_BENEATH},
    };
    struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; table && i < view_length(uplinks); i++) {
        struct json_object *uplink = json_object_array_get_idx(uplinks, i);
        view_add_text(table, uplink, "name");
        view_add_text(table, uplink, "interface");
        view_add_text(table, uplink, "address");
        add_state(table, uplink);
        view_add_text(table, uplink, "role");
        view_add_count(table, uplink, "cost");
        view_add_delay(table, uplink, "rtt_ms");
        add_loss(table, uplink);
        view_add_rate(table, uplink, "rx_bps");
        view_add_rate(table, uplink, "tx_bps");
        view_add_bytes(table, uplink, "rx_bytes");
        view_add_bytes(table, uplink, "tx_bytes");
        add_note(table, uplink);
    }
    status_print_heading(screen, "uplinks");
    if (table)
        table_print(table, screen);
    table_free(table);
    print_probe_cost(screen, uplinks);
}

static struct json_object *budget_of(struct json_object *uplink)
{
    struct json_object *budget = NULL;

    json_object_object_get_ex(uplink, "budget", &budget);
    return budget;
}

static void add_budget_state(struct table *table, struct json_object *budget)
{
    const char *state = view_text(budget, "state");
    enum paint paint = strcmp(state, "ok") == 0    ? PAINT_GOOD
                       : strcmp(state, "low") == 0 ? PAINT_WARN
                                                   : PAINT_BAD;

    table_add(table, paint, state);
}

/* Only where there is one. */
static void print_budgets(const struct screen *screen, struct json_object *uplinks)
{
    static const struct column columns[] = {
        {"NAME", false, 1, SHORTENS}, {"STATE", false, 0, LEAVES}, {"USED", true, 0, LEAVES},
        {"OF", true, 0, LEAVES},      {"LEFT", true, 0, LEAVES},   {"DAYS LEFT", true, 2, LEAVES},
    };
    struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
    bool any = false;

    for (size_t i = 0; table && i < view_length(uplinks); i++) {
        struct json_object *uplink = json_object_array_get_idx(uplinks, i);
        struct json_object *budget = budget_of(uplink);
        if (!budget)
            continue;
        any = true;
        view_add_text(table, uplink, "name");
        add_budget_state(table, budget);
        view_add_bytes(table, budget, "used_bytes");
        view_add_bytes(table, budget, "limit_bytes");
        view_add_bytes(table, budget, "left_bytes");
        view_add_count(table, budget, "days_left");
    }
    if (any) {
        status_print_heading(screen, "budgets");
        table_print(table, screen);
    }
    table_free(table);
}

static void print_concentrators(const struct screen *screen, struct json_object *concentrators)
{
    static const struct column columns[] = {
        {"NAME", false, 4, SHORTENS}, {"ADDRESS", false, 3, SHORTENS},
        {"STATE", false, 0, LEAVES},  {"RTT", true, 0, LEAVES},
        {"WARM", true, 1, LEAVES},    {"NOTE", false, 2, GOES_BENEATH},
    };
    struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; table && i < view_length(concentrators); i++) {
        struct json_object *concentrator = json_object_array_get_idx(concentrators, i);
        view_add_text(table, concentrator, "name");
        view_add_text(table, concentrator, "address");
        add_state(table, concentrator);
        view_add_delay(table, concentrator, "rtt_ms");
        view_add_count(table, concentrator, "warm");
        view_add_text(table, concentrator, "reason");
    }
    status_print_heading(screen, "concentrators");
    if (table)
        table_print(table, screen);
    table_free(table);
}

/* "failed 3", only where there is something to tell. */
static void print_count(const struct screen *screen, struct json_object *object, const char *key,
                        const char *label)
{
    uint64_t n = view_count(object, key);

    if (n > 0)
        fprintf(screen->out, ", %" PRIu64 " %s", n, label);
}

static void print_flow_counts(const struct screen *screen, struct json_object *answer)
{
    struct json_object *flows = NULL;

    json_object_object_get_ex(answer, "flows", &flows);
    status_print_heading(screen, "flows");
    fprintf(screen->out, "  %" PRIu64 " now, %" PRIu64 " in all", view_count(flows, "active"),
            view_count(flows, "total"));
    print_count(screen, flows, "failed", "failed");
    print_count(screen, flows, "direct", "direct");
    print_count(screen, flows, "refused", "refused");
    print_count(screen, flows, "tcp_fallback", "without MPTCP");
    fputc('\n', screen->out);
}

/* Returns what the gateway is, in a few words. */
static enum exit_code judge_gateway(struct json_object *answer, char *state, size_t len,
                                    enum paint *paint)
{
    struct json_object *uplinks = view_list(answer, "uplinks");
    size_t n = view_length(uplinks), up = count_up(uplinks);
    bool reachable = count_up(view_list(answer, "concentrators")) > 0;

    *paint = PAINT_BAD;
    if (up == 0) {
        snprintf(state, len, "down, no uplink is up");
    } else if (!reachable) {
        snprintf(state, len, "down, no concentrator is up");
    } else if (up < n) {
        snprintf(state, len, "degraded, %zu of %zu uplinks up", up, n);
        *paint = PAINT_WARN;
    } else if (view_has(answer, "hindrance")) {
        snprintf(state, len, "degraded, it cannot intercept");
        *paint = PAINT_WARN;
    } else {
        snprintf(state, len, "up");
        *paint = PAINT_GOOD;
        return EXIT_WELL;
    }
    return EXIT_DEGRADED;
}

enum exit_code status_show_gateway(struct json_object *answer, const struct screen *screen)
{
    enum paint paint;
    char state[80];
    enum exit_code code = judge_gateway(answer, state, sizeof(state), &paint);

    if (!screen->out)
        return code;
    status_print_headline(screen, answer, paint, state);
    if (view_has(answer, "intercepting") && !view_count(answer, "intercepting"))
        fprintf(screen->out, "  not intercepting: new connections take the router's normal way\n");
    if (view_has(answer, "hindrance"))
        fprintf(screen->out, "  %s is not 0: set it to 0, by sysctl -w\n",
                view_text(answer, "hindrance"));
    print_uplinks(screen, view_list(answer, "uplinks"));
    print_budgets(screen, view_list(answer, "uplinks"));
    print_concentrators(screen, view_list(answer, "concentrators"));
    print_flow_counts(screen, answer);
    return code;
}
