#include "tests/netlab/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <inttypes.h>

struct unit {
    const char *name;
    double factor;
};

static const struct unit rate_units[] = {{"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {NULL, 0}};
static const struct unit time_units[] = {
    {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {NULL, 0}};
static const struct unit byte_units[] = {{"", 1}, {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {NULL, 0}};
static const struct unit percent_units[] = {{"", 0.01}, {"%", 0.01}, {NULL, 0}};

/* Large enough for anything sensible, small enough that sums of times cannot overflow. */
#define NUMBER_MAX 1e15

static bool parse_number(const char *text, const struct unit *units, double *value)
{
    char *end;
    double number = strtod(text, &end);

    if (end == text || !(number >= 0 && number <= NUMBER_MAX))
        return false;
    for (; units->name; units++) {
        if (strcmp(end, units->name) == 0 && number * units->factor <= NUMBER_MAX) {
            *value = number * units->factor;
            return true;
        }
    }
    return false;
}

static bool parse_whole(const char *text, const struct unit *units, uint64_t *value)
{
    double number;

    if (!parse_number(text, units, &number))
        return false;
    *value = (uint64_t)(number + 0.5);
    return true;
}

static bool parse_choice(const char *text, const char *yes, const char *no, bool *value)
{
    *value = strcmp(text, yes) == 0;
    return *value || strcmp(text, no) == 0;
}

static bool parse_queue(const char *text, struct lane_settings *settings)
{
    settings->queue_ns = 0;
    settings->queue_bytes = 0;
    return parse_whole(text, byte_units, &settings->queue_bytes) ||
           parse_whole(text, time_units, &settings->queue_ns);
}

static bool parse_loss(const char *text, double *loss)
{
    return parse_number(text, percent_units, loss) && *loss <= 1;
}

static bool set_key(struct lane_settings *settings, const char *key, const char *value)
{
    if (strcmp(key, "rate") == 0)
        return parse_whole(value, rate_units, &settings->rate_bps);
    if (strcmp(key, "delay") == 0)
        return parse_whole(value, time_units, &settings->delay_ns);
    if (strcmp(key, "jitter") == 0)
        return parse_whole(value, time_units, &settings->jitter_ns);
    if (strcmp(key, "loss") == 0)
        return parse_loss(value, &settings->loss);
    if (strcmp(key, "queue") == 0)
        return parse_queue(value, settings);
    if (strcmp(key, "drop") == 0)
        return parse_choice(value, "on", "off", &settings->drop);
    if (strcmp(key, "mptcp") == 0)
        return parse_choice(value, "strip", "pass", &settings->strip_mptcp);
    return false;
}

static void obey_set(struct link *link, char **rest, char *answer)
{
    struct lane_settings settings[2] = {link->lane[UP].settings, link->lane[DOWN].settings};
    const char *which = strtok_r(NULL, " ", rest);
    bool both = which && strcmp(which, "both") == 0;
    bool chosen[2] = {both || (which && strcmp(which, "up") == 0),
                      both || (which && strcmp(which, "down") == 0)};

    if (!chosen[UP] && !chosen[DOWN]) {
        snprintf(answer, CONTROL_ANSWER_MAX, "error: set up, down or both\n");
        return;
    }
    for (char *key; (key = strtok_r(NULL, " ", rest));) {
        char *value = strchr(key, '=');

        if (value)
            *value++ = '\0';
        for (int i = 0; i < 2; i++) {
            if (chosen[i] && (!value || !set_key(&settings[i], key, value))) {
                snprintf(answer, CONTROL_ANSWER_MAX, "error: no such setting: %s=%s\n", key,
                         value ? value : "");
                return;
            }
        }
    }
    link->lane[UP].settings = settings[UP];
    link->lane[DOWN].settings = settings[DOWN];
    snprintf(answer, CONTROL_ANSWER_MAX, "ok\n");
}

static void obey_carrier(struct link *link, char **rest, char *answer)
{
    const char *state = strtok_r(NULL, " ", rest);
    bool on;
    int err = -EINVAL;

    if (state && parse_choice(state, "on", "off", &on))
        err = link_set_carrier(link, on);
    if (err)
        snprintf(answer, CONTROL_ANSWER_MAX, "error: carrier: %s\n", strerror(-err));
    else
        snprintf(answer, CONTROL_ANSWER_MAX, "ok\n");
}

static void obey_seed(struct link *link, char **rest, char *answer)
{
    const char *text = strtok_r(NULL, " ", rest);
    char *end = NULL;
    uint64_t seed = text ? strtoull(text, &end, 10) : 0;

    if (!text || *end || end == text) {
        snprintf(answer, CONTROL_ANSWER_MAX, "error: seed: a number\n");
        return;
    }
    lane_seed(&link->lane[UP], 2 * seed);
    lane_seed(&link->lane[DOWN], 2 * seed + 1);
    snprintf(answer, CONTROL_ANSWER_MAX, "ok\n");
}

static size_t format_lane(struct lane *lane, const char *name, char *text, size_t room)
{
    const struct lane_settings *set = &lane->settings;
    const struct lane_stats *stats = &lane->stats;
    int n =
        snprintf(text, room,
                 "\"%s\":{\"rate_bps\":%" PRIu64 ",\"delay_ms\":%.3f,\"jitter_ms\":%.3f,"
                 "\"loss_percent\":%.4f,\"queue_ms\":%.3f,\"queue_bytes\":%" PRIu64
                 ",\"drop\":%s,\"strip_mptcp\":%s,\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64
                 ",\"backlog_bytes\":%" PRIu64 ",\"dropped\":{\"queue\":%" PRIu64
                 ",\"loss\":%" PRIu64 ",\"silent\":%" PRIu64 ",\"carrier\":%" PRIu64 "}}",
                 name, set->rate_bps, (double)set->delay_ns / 1e6, (double)set->jitter_ns / 1e6,
                 set->loss * 100, (double)set->queue_ns / 1e6, set->queue_bytes,
                 set->drop ? "true" : "false", set->strip_mptcp ? "true" : "false", stats->packets,
                 stats->bytes, lane_backlog(lane, link_now_ns()), stats->dropped_queue,
                 stats->dropped_loss, stats->dropped_silent, stats->dropped_carrier);

    return n < 0 || (size_t)n >= room ? 0 : (size_t)n;
}

static void obey_stats(struct link *link, char *answer)
{
    size_t n = (size_t)snprintf(answer, CONTROL_ANSWER_MAX, "{\"carrier\":%s,",
                                link->carrier ? "true" : "false");

    n += format_lane(&link->lane[UP], "up", answer + n, CONTROL_ANSWER_MAX - n);
    answer[n++] = ',';
    n += format_lane(&link->lane[DOWN], "down", answer + n, CONTROL_ANSWER_MAX - n);
    snprintf(answer + n, CONTROL_ANSWER_MAX - n, "}\n");
}

void control_obey(struct link *link, char *line, char answer[CONTROL_ANSWER_MAX])
{
    char *rest = NULL;
    const char *command = strtok_r(line, " ", &rest);

    if (command && strcmp(command, "set") == 0)
        obey_set(link, &rest, answer);
    else if (command && strcmp(command, "carrier") == 0)
        obey_carrier(link, &rest, answer);
    else if (command && strcmp(command, "seed") == 0)
        obey_seed(link, &rest, answer);
    else if (command && strcmp(command, "stats") == 0)
        obey_stats(link, answer);
    else
        snprintf(answer, CONTROL_ANSWER_MAX, "error: commands are set, carrier, seed and stats\n");
}
