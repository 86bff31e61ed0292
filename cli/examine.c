#include "cli/examine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/control.h"

#define WHY_MAX 512

/* Each line of what the loader has said is a finding: "file:line: what; what to do". */
static void note_complaints(struct findings *findings, char *said)
{
    for (char *line; (line = strsep(&said, "\n"));) {
        if (*line)
            findings_add_line(findings, FINDING_BAD, "config", line);
    }
}

void *examine_config(struct findings *findings, const char *path,
                     void *(*load)(const char *path, FILE *complaints))
{
    char *said = NULL;
    size_t len;
    FILE *out = open_memstream(&said, &len);
    void *config = out ? load(path, out) : NULL;

    if (out)
        fclose(out);
    if (config)
        findings_add(findings, FINDING_OK, "config", NULL, "%s, and the keys it names", path);
    else
        note_complaints(findings, said);
    free(said);
    return config;
}

struct json_object *examine_daemon(struct findings *findings, const struct role *role,
                                   const char *socket)
{
    struct json_object *status = NULL;
    char why[WHY_MAX];
    int err = control_ask(socket, "status", &status, why, sizeof(why));

    if (err == -ENOENT || err == -ECONNREFUSED)
        findings_add(findings, FINDING_NOTE, role->daemon, NULL,
                     "none runs now: `bondway %s` starts one", role->daemon);
    else if (err)
        findings_add(findings, FINDING_WARN, role->daemon, NULL, "%s", why);
    return status;
}
