#include "core/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/document.h"
#include "core/events_limit.h"
#include "core/list.h"

#define SOURCES_MAX 64
#define SOURCE_NAME 80
#define LINE_LONGEST 2048
#define TIME_TEXT 64

/* What the limit is for: a kind and a name. */
struct source {
    char name[SOURCE_NAME]; /* "": not in use */
    struct events_limit limit;
    struct json_object *held; /* the newest event that was held back; NULL: none */
};

struct follower {
    struct list node;
    struct control_client *client;
};

struct events {
    struct event *release;
    uint64_t newest;
    char *lines[EVENTS_KEPT]; /* seq modulo EVENTS_KEPT; NULL: none */
    struct source sources[SOURCES_MAX];
    struct list followers;
};

/* ---- an event ---- */

static const char *format_wall(uint64_t wall_ms, char out[TIME_TEXT])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    char date[TIME_TEXT / 2];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, TIME_TEXT, "%s.%03uZ", date, (unsigned)(wall_ms % 1000));
    return out;
}

static void add_text(struct document *d, const char *key, const char *text)
{
    document_add_text(d, key, text ? text : "");
}

/* With room for what is known when it is heard: its number, and how many were held back. Takes the
 * figures. NULL: out of memory. */
static struct json_object *describe(const struct event_note *note)
{
    struct document d = {.depth = 0};
    char time_text[TIME_TEXT];

    document_open_object(&d, NULL);
    document_add_number(&d, "seq", 0);
    add_text(&d, "time", format_wall(clock_wall_ms(), time_text));
    document_add_decimal(&d, "boot_s", (double)clock_boot_ms() / 1000, 3);
    add_text(&d, "kind", note->kind);
    add_text(&d, "name", note->name);
    add_text(&d, "what", note->what);
    add_text(&d, "before", note->before);
    add_text(&d, "reason", note->reason);
    if (note->figures && json_object_object_length(note->figures) > 0)
        document_add_document(&d, "figures", note->figures);
    else
        json_object_put(note->figures);
    document_add_number(&d, "held", 0);
    return document_finish(&d);
}

/* Its line, so short that the ring is bounded. NULL: out of memory. */
static char *write_line(struct json_object *event)
{
    static const char *const dispensable[] = {"figures", "reason"};
    char *text = document_write(event);

    for (size_t i = 0; i < 2 && text && strlen(text) > LINE_LONGEST; i++) {
        free(text);
        json_object_object_del(event, dispensable[i]);
        text = document_write(event);
    }
    return text;
}

/* Takes event. left_out: how many before it were not heard. */
static void publish(struct events *events, struct json_object *event, uint32_t left_out)
{
    uint64_t seq = events->newest + 1;

    json_object_set_int64(json_object_object_get(event, "seq"), (int64_t)seq);
    json_object_set_int64(json_object_object_get(event, "held"), left_out);
    if (left_out == 0)
        json_object_object_del(event, "held");
    char *line = write_line(event);
    json_object_put(event);
    if (!line)
        return;
    free(events->lines[seq % EVENTS_KEPT]);
    events->lines[seq % EVENTS_KEPT] = line;
    events->newest = seq;
    list_each(node, &events->followers)
        control_write(list_entry(node, struct follower, node)->client, line, strlen(line));
}

/* ---- the limit ---- */

/* Lets out the one that is held, which counts as held itself. */
static void publish_held(struct events *events, struct source *source, uint32_t held)
{
    struct json_object *event = source->held;

    source->held = NULL;
    publish(events, event, held > 0 ? held - 1 : 0);
}

/* The timer goes off when the first of those that are held may be heard. */
static void schedule_release(struct events *events, uint64_t now_ms)
{
    uint64_t first_ms = UINT64_MAX;

    for (size_t i = 0; i < SOURCES_MAX; i++) {
        const struct source *source = &events->sources[i];
        if (source->held && events_limit_opens_ms(&source->limit) < first_ms)
            first_ms = events_limit_opens_ms(&source->limit);
    }
    if (first_ms == UINT64_MAX) {
        evtimer_del(events->release);
        return;
    }
    uint64_t ms = first_ms > now_ms ? first_ms - now_ms : 0;
    struct timeval in = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    evtimer_add(events->release, &in);
}

void events_release(struct events *events)
{
    uint64_t now_ms = clock_now_ms();
    uint32_t held;

    for (size_t i = 0; i < SOURCES_MAX; i++) {
        struct source *source = &events->sources[i];
        if (source->held && events_limit_opens_ms(&source->limit) <= now_ms &&
            events_limit_pass(&source->limit, now_ms, &held))
            publish_held(events, source, held);
    }
    schedule_release(events, now_ms);
}

static void on_release(evutil_socket_t fd, short what, void *arg)
{
    events_release(arg);
}

/* Where all places are taken, the one that was heard longest ago leaves its own. */
static struct source *find_source(struct events *events, const char *name)
{
    struct source *oldest = &events->sources[0];

    for (size_t i = 0; i < SOURCES_MAX; i++) {
        struct source *source = &events->sources[i];
        if (strcmp(source->name, name) == 0)
            return source;
        if (events_limit_last_ms(&source->limit) < events_limit_last_ms(&oldest->limit))
            oldest = source;
    }
    if (oldest->held)
        publish_held(events, oldest, oldest->limit.held);
    *oldest = (struct source){.held = NULL};
    snprintf(oldest->name, sizeof(oldest->name), "%s", name);
    return oldest;
}

void events_add(struct events *events, const struct event_note *note)
{
    uint64_t now_ms = clock_now_ms();
    char name[SOURCE_NAME];
    uint32_t held;

    if (!events) {
        json_object_put(note->figures);
        return;
    }
    struct json_object *event = describe(note);
    if (!event)
        return;
    snprintf(name, sizeof(name), "%s %s", note->kind, note->name);
    struct source *source = find_source(events, name);
    bool passes = events_limit_pass(&source->limit, now_ms, &held);
    json_object_put(source->held);
    source->held = passes ? NULL : event;
    if (passes)
        publish(events, event, held);
    schedule_release(events, now_ms);
}

/* ---- who reads them ---- */

uint64_t events_newest(const struct events *events)
{
    return events->newest;
}

const char *events_line(const struct events *events, uint64_t seq)
{
    bool kept = seq > 0 && seq <= events->newest && events->newest - seq < EVENTS_KEPT;

    return kept ? events->lines[seq % EVENTS_KEPT] : NULL;
}

static void on_ended(void *arg)
{
    struct follower *follower = arg;

    list_remove(&follower->node);
    free(follower);
}

static int add_follower(struct events *events, struct control_client *client)
{
    struct follower *follower = calloc(1, sizeof(*follower));

    if (!follower)
        return -ENOMEM;
    int err = control_keep(client, on_ended, follower);
    if (err) {
        free(follower);
        return err;
    }
    follower->client = client;
    list_append(&events->followers, &follower->node);
    return 0;
}

int events_stream(struct events *events, struct control_client *client, bool follow)
{
    int err = follow ? add_follower(events, client) : 0;

    if (err)
        return err;
    uint64_t seq = events->newest > EVENTS_KEPT ? events->newest - EVENTS_KEPT + 1 : 1;
    for (; seq <= events->newest; seq++)
        control_write(client, events_line(events, seq), strlen(events_line(events, seq)));
    return 0;
}

struct events *events_new(struct event_base *base)
{
    struct events *events = calloc(1, sizeof(*events));

    if (!events)
        return NULL;
    list_init(&events->followers);
    events->release = evtimer_new(base, on_release, events);
    if (!events->release) {
        free(events);
        return NULL;
    }
    return events;
}

void events_free(struct events *events)
{
    if (!events)
        return;
    event_free(events->release);
    for (size_t i = 0; i < EVENTS_KEPT; i++)
        free(events->lines[i]);
    for (size_t i = 0; i < SOURCES_MAX; i++)
        json_object_put(events->sources[i].held);
    free(events);
}
