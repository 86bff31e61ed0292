#include "core/document.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECIMAL_TEXT 64
#define TEXT_FIRST 256

/* ---- building ---- */

/* Takes value; NULL: it could not be made. Says whether it is in the document now. */
static bool add(struct document *d, const char *key, struct json_object *value)
{
    struct json_object *to = d->depth > 0 ? d->open[d->depth - 1] : NULL;

    assert(d->failed || (to ? json_object_is_type(to, json_type_object) == (key != NULL) : !key));
    if (d->failed || !value)
        d->failed = true;
    else if (key)
        /* A key that is not copied cannot be lost when the object has no room. */
        d->failed = json_object_object_add_ex(to, key, value, JSON_C_OBJECT_KEY_IS_CONSTANT) != 0;
    else if (to)
        d->failed = json_object_array_add(to, value) != 0;
    if (d->failed)
        json_object_put(value);
    return !d->failed;
}

static void open_in(struct document *d, const char *key, struct json_object *value)
{
    assert(d->depth < DOCUMENT_DEPTH);
    if (add(d, key, value))
        d->open[d->depth++] = value;
}

void document_open_object(struct document *d, const char *key)
{
    open_in(d, key, json_object_new_object());
}

void document_open_list(struct document *d, const char *key)
{
    open_in(d, key, json_object_new_array());
}

/* What has failed does not keep count. */
void document_close(struct document *d)
{
    assert(d->failed || d->depth > 1);
    if (!d->failed)
        d->depth--;
}

void document_add_text(struct document *d, const char *key, const char *text)
{
    add(d, key, json_object_new_string(text));
}

void document_add_number(struct document *d, const char *key, uint64_t number)
{
    add(d, key, json_object_new_int64((int64_t)number));
}

void document_add_bool(struct document *d, const char *key, bool value)
{
    add(d, key, json_object_new_boolean(value));
}

void document_add_decimal(struct document *d, const char *key, double value, int digits)
{
    char text[DECIMAL_TEXT];

    snprintf(text, sizeof(text), "%.*f", digits, value);
    for (size_t n = strlen(text); digits > 1 && text[n - 1] == '0'; digits--)
        text[--n] = '\0';
    add(d, key, json_object_new_double_s(value, text));
}

void document_add_null(struct document *d, const char *key)
{
    struct json_object *to = d->failed ? NULL : d->open[d->depth - 1];

    if (to && json_object_object_add_ex(to, key, NULL, JSON_C_OBJECT_KEY_IS_CONSTANT) != 0)
        d->failed = true;
}

void document_add_document(struct document *d, const char *key, struct json_object *document)
{
    add(d, key, document);
}

struct json_object *document_finish(struct document *d)
{
    struct json_object *document = d->open[0];

    assert(d->failed || d->depth == 1);
    if (!d->failed)
        return document;
    json_object_put(document);
    return NULL;
}

/* ---- writing: json-c's own leaves out what it has no memory for, and does not tell ---- */

struct writer {
    char *text;
    size_t len, size;
    bool failed;
};

static void put(struct writer *w, const char *bytes, size_t n)
{
    if (w->failed)
        return;
    if (w->size - w->len <= n) {
        size_t size = 2 * (w->len + n) + TEXT_FIRST;
        char *text = realloc(w->text, size);
        if (!text) {
            w->failed = true;
            return;
        }
        w->text = text;
        w->size = size;
    }
    memcpy(w->text + w->len, bytes, n);
    w->len += n;
    w->text[w->len] = '\0';
}

static void put_text(struct writer *w, const char *text)
{
    if (text)
        put(w, text, strlen(text));
    else
        w->failed = true;
}

static void put_quoted(struct writer *w, const char *text, size_t len)
{
    char escape[8];

    put_text(w, "\"");
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            put_text(w, "\\");
        if ((unsigned char)text[i] >= 0x20) {
            put(w, &text[i], 1);
            continue;
        }
        snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)text[i]);
        put_text(w, escape);
    }
    put_text(w, "\"");
}

static void put_value(struct writer *w, struct json_object *value);

static void put_object(struct writer *w, struct json_object *object)
{
    const char *before = "{";

    json_object_object_foreach(object, key, value)
    {
        put_text(w, before);
        put_quoted(w, key, strlen(key));
        put_text(w, ":");
        put_value(w, value);
        before = ",";
    }
    put_text(w, *before == '{' ? "{}" : "}");
}

static void put_list(struct writer *w, struct json_object *list)
{
    put_text(w, "[");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        put_text(w, i > 0 ? "," : "");
        put_value(w, json_object_array_get_idx(list, i));
    }
    put_text(w, "]");
}

static void put_value(struct writer *w, struct json_object *value)
{
    char number[24];

    switch (json_object_get_type(value)) {
    case json_type_object:
        put_object(w, value);
        break;
    case json_type_array:
        put_list(w, value);
        break;
    case json_type_string:
        put_quoted(w, json_object_get_string(value), (size_t)json_object_get_string_len(value));
        break;
    case json_type_int:
        snprintf(number, sizeof(number), "%" PRId64, json_object_get_int64(value));
        put_text(w, number);
        break;
    case json_type_boolean:
        put_text(w, json_object_get_boolean(value) ? "true" : "false");
        break;
    case json_type_double:
        put_text(w, json_object_get_string(value)); /* as it was added, or read */
        break;
    case json_type_null:
        put_text(w, "null");
        break;
    }
}

char *document_write(struct json_object *document)
{
    struct writer w = {.failed = !document};

    if (document)
        put_value(&w, document);
    if (!w.failed)
        return w.text;
    free(w.text);
    return NULL;
}
