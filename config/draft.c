#include "config/draft.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <libconfig.h>

#include "config/source.h"
#include "core/file.h"

#define WHY_MAX 256

/* By the directory, since the file itself is replaced. Where that is not there yet, whoever makes
 * it first is alone. */
static int lock_directory(const char *path)
{
    char copy[PATH_MAX];

    if (strlen(path) >= sizeof(copy))
        return -1;
    memcpy(copy, path, strlen(path) + 1);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd != -1)
        flock(fd, LOCK_EX);
    return fd;
}

int draft_open(struct draft *draft, const char *path, FILE *complaints)
{
    char why[WHY_MAX];

    *draft = (struct draft){.path = path, .lock = lock_directory(path)};
    int err = source_read(path, &draft->text, why, sizeof(why));
    if (!err)
        return 0;
    draft->text = NULL;
    if (err == -ENOENT)
        return 0;
    fprintf(complaints, "%s: %s\n", path, why);
    draft_close(draft);
    return err;
}

void draft_change(struct draft *draft, char *text)
{
    free(draft->text);
    draft->text = text;
}

/* A text that is none of libconfig's has no settings. */
static void parse(const struct draft *draft, config_t *parsed)
{
    struct source_mistake mistake;

    config_init(parsed);
    if (draft->text && source_check(draft->text, &mistake))
        config_read_string(parsed, draft->text);
}

static int find_name(config_setting_t *elements, const char *name, char **key_file)
{
    for (int i = 0; elements && i < config_setting_length(elements); i++) {
        config_setting_t *each = config_setting_get_elem(elements, (unsigned)i);
        const char *its_name, *path;
        if (!config_setting_lookup_string(each, "name", &its_name) || strcmp(its_name, name) != 0)
            continue;
        if (config_setting_lookup_string(each, "key_file", &path))
            *key_file = strdup(path);
        return i;
    }
    return -ENOENT;
}

int draft_find(const struct draft *draft, const char *list, const char *name, char **key_file)
{
    config_t parsed;

    *key_file = NULL;
    parse(draft, &parsed);
    int index = find_name(config_lookup(&parsed, list), name, key_file);
    config_destroy(&parsed);
    return index;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;

    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

char *draft_key_user(const struct draft *draft, const char *list, const char *key_file, int but)
{
    char *user = NULL;
    config_t parsed;

    parse(draft, &parsed);
    config_setting_t *elements = config_lookup(&parsed, list);
    for (int i = 0; elements && !user && i < config_setting_length(elements); i++) {
        config_setting_t *each = config_setting_get_elem(elements, (unsigned)i);
        const char *name, *path;
        if (i != but && config_setting_lookup_string(each, "name", &name) &&
            config_setting_lookup_string(each, "key_file", &path) && is_same_file(path, key_file))
            user = strdup(name);
    }
    config_destroy(&parsed);
    return user;
}

int draft_count(const struct draft *draft, const char *list)
{
    config_t parsed;

    parse(draft, &parsed);
    config_setting_t *elements = config_lookup(&parsed, list);
    int n = elements ? config_setting_length(elements) : 0;
    config_destroy(&parsed);
    return n;
}

char *draft_text(const struct draft *draft, const char *setting, const char *otherwise)
{
    const char *text = otherwise;
    config_t parsed;

    parse(draft, &parsed);
    config_lookup_string(&parsed, setting, &text);
    char *copy = strdup(text);
    config_destroy(&parsed);
    return copy;
}

char *draft_text_of(const struct draft *draft, const char *list, unsigned i)
{
    config_t parsed;

    parse(draft, &parsed);
    config_setting_t *texts = config_lookup(&parsed, list);
    const char *text = texts ? config_setting_get_string_elem(texts, (int)i) : NULL;
    char *copy = text ? strdup(text) : NULL;
    config_destroy(&parsed);
    return copy;
}

/* The loader names the draft's file; a person knows only the one that it becomes. */
static void pass_on(const char *said, const struct file_draft *file, const struct draft *draft,
                    FILE *complaints)
{
    size_t len = strlen(file->draft);

    while (*said) {
        size_t line = strcspn(said, "\n");
        bool names_it = strncmp(said, file->draft, len) == 0;
        fprintf(complaints, "%s%.*s\n", names_it ? draft->path : "",
                (int)(line - (names_it ? len : 0)), said + (names_it ? len : 0));
        said += line + (said[line] == '\n');
    }
}

static bool is_good(const struct draft *draft, const struct file_draft *file,
                    bool (*check)(const char *path, FILE *complaints), FILE *complaints)
{
    char *said = NULL;
    size_t len;
    FILE *out = open_memstream(&said, &len);
    bool good = false;

    if (out) {
        good = check(file->draft, out);
        fclose(out);
    }
    if (!good)
        pass_on(said ? said : "out of memory", file, draft, complaints);
    free(said);
    return good;
}

int draft_write(struct draft *draft, bool (*check)(const char *path, FILE *complaints),
                FILE *complaints)
{
    static const struct file_owner owner = {.mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct file_draft file;

    int err = file_draft(&file, draft->path, draft->text, strlen(draft->text), &owner);
    if (!err && !is_good(draft, &file, check, complaints)) {
        file_discard(&file);
        return -EINVAL;
    }
    if (!err)
        err = file_publish(&file);
    if (err)
        fprintf(complaints, "%s: cannot be written: %s%s\n", draft->path, strerror(-err),
                err == -EACCES ? "; run this as root" : "");
    return err;
}

void draft_close(struct draft *draft)
{
    free(draft->text);
    draft->text = NULL;
    if (draft->lock != -1)
        close(draft->lock);
    draft->lock = -1;
}
