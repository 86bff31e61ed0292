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
    bool failed; /* to note one */
};

struct findings *findings_new(void)
{
    return calloc(1, sizeof(struct findings));
}

static void free_finding(struct finding *finding)
{
    free(finding->subject);
    free(finding->text);
    free(finding->remedy);
    json_object_put(finding->figures);
}

void findings_free(struct findings *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < all->n; i++)
        free_finding(&all->list[i]);
    free(all->list);
    free(all);
}

void findings_add(struct findings *all, enum finding_level level, const char *subject,
                  const char *remedy, const char *fmt, ...)
{
    struct finding added = {
        .level = level, .subject = strdup(subject), .remedy = strdup(remedy ? remedy : "")};
    struct finding *list = reallocarray(all->list, all->n + 1, sizeof(*list));
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&added.text, fmt, args) == -1)
        added.text = NULL;
    va_end(args);
    if (list)
        all->list = list;
    if (list && added.subject && added.text && added.remedy) {
        all->list[all->n++] = added;
    } else {
        all->failed = true;
        free_finding(&added);
    }
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
    all->failed |= !figures;
    if (all->failed || all->list[all->n - 1].figures)
        json_object_put(figures); /* the finding that they are of may be the one that is missing */
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

void findings_print(const struct findings *all, const struct screen *screen)
{
    int width = 0;

    for (size_t i = 0; i < all->n; i++) {
        int len = (int)strlen(all->list[i].subject);
        width = len > width ? len : width;
    }
    for (size_t i = 0; i < all->n; i++) {
        const struct finding *f = &all->list[i];
        screen_print(screen, levels[f->level].paint, "%-4s", levels[f->level].name);
        fprintf(screen->out, "  %-*s  %s\n", width, f->subject, f->text);
        if (*f->remedy)
            fprintf(screen->out, "%*s-> %s\n", width + 8, "", f->remedy);
    }
}

void findings_describe(const struct findings *all, struct document *d)
{
    document_open_list(d, "findings");
    for (size_t i = 0; i < all->n; i++) {
        const struct finding *f = &all->list[i];
        document_open_object(d, NULL);
        document_add_text(d, "level", levels[f->level].name);
        document_add_text(d, "subject", f->subject);
        document_add_text(d, "text", f->text);
        document_add_text(d, "remedy", f->remedy);
        if (f->figures)
            document_add_document(d, "figures", json_object_get(f->figures));
        document_close(d);
    }
    document_close(d);
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
    enum finding_level worst = all->failed ? FINDING_BAD : find_worst(all);

    return worst == FINDING_BAD ? EXIT_FAILED : worst == FINDING_WARN ? EXIT_DEGRADED : EXIT_WELL;
}
