#include "cli/findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct finding {
    enum finding_level level;
    char *subject, *text, *remedy;
    struct json_object *figures; /* NULL: none */
};

struct findings {
    struct finding *list;
    size_t n;
};

struct findings *findings_new(void)
{
    return calloc(1, sizeof(struct findings));
}

void findings_free(struct findings *all)
{
    for (size_t i = 0; all && i < all->n; i++) {
        free(all->list[i].subject);
        free(all->list[i].text);
        free(all->list[i].remedy);
        json_object_put(all->list[i].figures);
    }
    if (all)
        free(all->list);
    free(all);
}

void findings_add(struct findings *all, enum finding_level level, const char *subject,
                  const char *remedy, const char *fmt, ...)
{
    struct finding *list = reallocarray(all->list, all->n + 1, sizeof(*list));
    char *text;
    va_list args;

    if (!list)
        return;
    all->list = list;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) == -1)
        text = NULL;
    va_end(args);
    struct finding *finding = &list[all->n++];
    *finding = (struct finding){.level = level, .subject = strdup(subject), .text = text};
    finding->remedy = strdup(remedy ? remedy : "");
}

void findings_add_line(struct findings *all, enum finding_level level, const char *subject,
                       const char *line)
{
    const char *end = strstr(line, "; ");

    if (end)
        findings_add(all, level, subject, end + 2, "%.*s", (int)(end - line), line);
    else
        findings_add(all, level, subject, NULL, "%s", line);
}

void findings_add_figures(struct findings *all, struct json_object *figures)
{
    if (all->n == 0 || all->list[all->n - 1].figures)
        json_object_put(figures);
    else
        all->list[all->n - 1].figures = figures;
}

static const struct {
    const char *name;
    enum paint paint;
} levels[] = {
    [FINDING_OK] = {"ok", PAINT_GOOD},
    [FINDING_NOTE] = {"note", PAINT_NONE},
    [FINDING_WARN] = {"warn", PAINT_WARN},
    [FINDING_BAD] = {"bad", PAINT_BAD},
};

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

void findings_print(const struct findings *all, const struct screen *screen)
{
    int width = 0;

    for (size_t i = 0; i < all->n; i++) {
        int len = (int)strlen(or_empty(all->list[i].subject));
        width = len > width ? len : width;
    }
    for (size_t i = 0; i < all->n; i++) {
        const struct finding *f = &all->list[i];
        screen_print(screen, levels[f->level].paint, "%-4s", levels[f->level].name);
        fprintf(screen->out, "  %-*s  %s\n", width, or_empty(f->subject), or_empty(f->text));
        if (f->remedy && *f->remedy)
            fprintf(screen->out, "%*s-> %s\n", width + 8, "", f->remedy);
    }
}

struct json_object *findings_describe(const struct findings *all)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; list && i < all->n; i++) {
        const struct finding *f = &all->list[i];
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "level", json_object_new_string(levels[f->level].name));
        json_object_object_add(o, "subject", json_object_new_string(or_empty(f->subject)));
        json_object_object_add(o, "text", json_object_new_string(or_empty(f->text)));
        json_object_object_add(o, "remedy", json_object_new_string(or_empty(f->remedy)));
        if (f->figures)
            json_object_object_add(o, "figures", json_object_get(f->figures));
        json_object_array_add(list, o);
    }
    return list;
}

static enum finding_level find_worst(const struct findings *all)
{
    enum finding_level worst = FINDING_OK;

    for (size_t i = 0; i < all->n; i++)
        worst = all->list[i].level > worst ? all->list[i].level : worst;
    return worst;
}

enum exit_code findings_code(const struct findings *all)
{
    enum finding_level worst = find_worst(all);

    return worst == FINDING_BAD ? EXIT_FAILED : worst == FINDING_WARN ? EXIT_DEGRADED : EXIT_WELL;
}
