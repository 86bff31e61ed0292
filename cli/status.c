/* bondway status: what runs, how well, over what. */
#include "cli/status.h"

#include <string.h>

#include "cli/role.h"
#include "cli/units.h"

void status_print_heading(const struct screen *screen, const char *text)
{
    fputc('\n', screen->out);
    screen_print(screen, PAINT_BOLD, "%s", text);
    fputc('\n', screen->out);
}

void status_print_headline(const struct screen *screen, struct json_object *answer,
                           enum paint paint, const char *state)
{
    char running[UNITS_TEXT];

    screen_print(screen, PAINT_BOLD, "%s", view_text(answer, "role"));
    fprintf(screen->out, ": ");
    screen_print(screen, paint, "%s", state);
    fprintf(screen->out, "\n  running %s, version %s",
            units_time(view_number(answer, "uptime_s"), running), view_text(answer, "version"));
    if (view_has(answer, "scheduler"))
        fprintf(screen->out, ", scheduler %s", view_text(answer, "scheduler"));
    fputc('\n', screen->out);
}

/* A build may know one role alone. */
enum exit_code view_status(struct json_object *answer, const struct screen *screen)
{
    const char *daemon = view_text(answer, "role");

    for (size_t i = 0; roles[i]; i++) {
        if (strcmp(roles[i]->daemon, daemon) == 0)
            return roles[i]->show(answer, screen);
    }
    if (screen->out)
        command_complain(&status_command, "what answers is nothing that this build can show; see "
                                          "--json");
    return EXIT_FAILED;
}

static int run(int argc, char **argv)
{
    static const struct view view = {&status_command, view_status};

    return view_run(&view, argc, argv);
}

const struct command status_command = {
    .name = "status",
    .summary = "show what runs here",
    .text = "Shows what runs here, how well, and over what.",
    .options = view_options,
    .exit_status = "0 well, 1 nothing answers, 2 wrong usage, 3 running but degraded",
    .run = run,
};
