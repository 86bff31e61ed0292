#include "core/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct writer {
    struct evbuffer *out;
    bool failed;
};

static void put(struct writer *w, const char *text, size_t len)
{
    if (evbuffer_add(w->out, text, len) == -1)
        w->failed = true;
}

static void put_text(struct writer *w, const char *text)
{
    put(w, text, strlen(text));
}

/* "name", with backslash, quote and newline escaped as the format has it. */
static void put_quoted(struct writer *w, const char *text)
{
    put_text(w, "\"");
    for (; *text; text++) {
        if (*text == '\n')
            put_text(w, "\\n");
        else {
            if (*text == '\\' || *text == '"')
                put_text(w, "\\");
            put(w, text, 1);
        }
    }
    put_text(w, "\"");
}

static const struct {
    char list[16], label[16]; /* which gets the object's name */
} subjects[] = {
    [METRIC_OF_UPLINK] = {"uplinks", "uplink"},
    [METRIC_OF_CONCENTRATOR] = {"concentrators", "concentrator"},
    [METRIC_OF_GATEWAY] = {"gateways", "gateway"},
};

static void put_head(struct writer *w, const struct metric *m)
{
    put_text(w, "# HELP ");
    put_text(w, m->name);
    put_text(w, " ");
    put_text(w, m->help);
    put_text(w, "\n# TYPE ");
    put_text(w, m->name);
    put_text(w, m->kind == METRIC_COUNTER ? " counter\n" : " gauge\n");
}

/* name{label="...",key="..."} and a space; the labels may be NULL. */
static void put_series(struct writer *w, const struct metric *m, const char *label_value,
                       const char *state)
{
    put_text(w, m->name);
    if (label_value || state) {
        put_text(w, "{");
        if (label_value) {
            put_text(w, subjects[m->of].label);
            put_text(w, "=");
            put_quoted(w, label_value);
        }
        if (state) {
            put_text(w, label_value ? "," : "");
            put_text(w, m->key);
            put_text(w, "=");
            put_quoted(w, state);
        }
        put_text(w, "}");
    }
    put_text(w, " ");
}

/* Whole numbers stay whole, however large. */
static void put_number(struct writer *w, const struct metric *m, struct json_object *value)
{
    int n;

    if (json_object_is_type(value, json_type_double) || m->per)
        n = evbuffer_add_printf(w->out, "%.9g\n",
                                json_object_get_double(value) / (m->per ? m->per : 1));
    else
        n = evbuffer_add_printf(w->out, "%" PRId64 "\n", json_object_get_int64(value));
    if (n < 0)
        w->failed = true;
}

static struct json_object *find(struct json_object *in, const char *key)
{
    const char *dot = strchr(key, '.');
    char first[64];

    if (!dot)
        return json_object_object_get(in, key);
    snprintf(first, sizeof(first), "%.*s", (int)(dot - key), key);
    in = json_object_object_get(in, first);
    return in ? json_object_object_get(in, dot + 1) : NULL;
}

static void write_one(struct writer *w, const struct metric *m, struct json_object *object,
                      const char *label_value)
{
    struct json_object *value = find(object, m->key);

    if (!value)
        return;
    if (m->kind != METRIC_STATE) {
        put_series(w, m, label_value, NULL);
        put_number(w, m, value);
        return;
    }
    for (const char *state = m->help; *(state += strlen(state) + 1);) {
        put_series(w, m, label_value, state);
        put_text(w, strcmp(state, json_object_get_string(value)) == 0 ? "1\n" : "0\n");
    }
}

int metrics_write(struct evbuffer *out, const struct metric *table, struct json_object *status)
{
    struct writer w = {.out = out, .failed = !status};

    for (const struct metric *m = table; m->name[0]; m++) {
        put_head(&w, m);
        if (m->of == METRIC_OF_ALL) {
            write_one(&w, m, status, NULL);
            continue;
        }
        struct json_object *list = json_object_object_get(status, subjects[m->of].list);
        for (size_t i = 0; list && i < json_object_array_length(list); i++) {
            struct json_object *entry = json_object_array_get_idx(list, i);
            write_one(&w, m, entry, json_object_get_string(json_object_object_get(entry, "name")));
        }
    }
    json_object_put(status);
    return w.failed ? -ENOMEM : 0;
}
