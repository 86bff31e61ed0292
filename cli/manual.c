#include "cli/manual.h"

#include <ctype.h>
#include <string.h>

#include "cli/command.h"
#include "config/value.h"

#define LABEL_TEXT 64
#define VALUE_TEXT 256

/* ---- roff ---- */

/* Characters that roff would make something else of. */
static const struct {
    char c;
    const char *escape;
} escapes[] = {
    {'\\', "\\e"}, {'-', "\\-"}, {'\'', "\\(aq"}, {'`', "\\(ga"}, {'~', "\\(ti"}, {'^', "\\(ha"},
};

static void put_char(char c, FILE *out)
{
    for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
        if (escapes[i].c == c) {
            fputs(escapes[i].escape, out);
            return;
        }
    }
    fputc(c, out);
}

/* A part of a line: nothing in it is a request. */
static void put(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputc(' ', out);
        else
            put_char(*text, out);
    }
}

static void put_bold(const char *text, FILE *out)
{
    fputs("\\fB", out);
    put(text, out);
    fputs("\\fR", out);
}

/* One line of a text: a request would begin it with a dot or a quote. */
static void put_line(const char *text, size_t len, FILE *out)
{
    if (len > 0 && text[0] == '.')
        fputs("\\&", out);
    for (size_t i = 0; i < len; i++)
        put_char(text[i], out);
    fputc('\n', out);
}

/* A text as for a terminal: an empty line between paragraphs, what is indented is an example. */
static void put_text(const char *text, FILE *out)
{
    bool example = false;

    while (*text) {
        size_t len = strcspn(text, "\n");
        bool indented = strncmp(text, "  ", 2) == 0;
        if (indented && !example)
            fputs(".RS 4\n.nf\n", out);
        if (!indented && example)
            fputs(".fi\n.RE\n", out);
        example = indented;
        if (len == 0)
            fputs(".PP\n", out);
        else if (indented)
            put_line(text + 2, len - 2, out);
        else
            put_line(text, len, out);
        text += len + (text[len] == '\n');
    }
    if (example)
        fputs(".fi\n.RE\n", out);
}

static void begin_page(const char *name, int section, const char *what, FILE *out)
{
    fputs(".\\\" Written by bondway-manual from the program's own tables: change those.\n.TH \"",
          out);
    for (const char *c = name; *c; c++)
        fputc(toupper((unsigned char)*c), out);
    fprintf(out,
            "\" %d \"" BONDWAY_DATE "\" \"bondway " BONDWAY_VERSION "\"\n"
            ".SH NAME\n%s \\- %s\n",
            section, name, what);
}

/* ---- bondway(1) ---- */

static void write_option(const struct command_option *option, FILE *out)
{
    char label[LABEL_TEXT];

    fputs(".TP\n", out);
    put_bold(command_show_option(option, label, sizeof(label)), out);
    fputc('\n', out);
    put_text(option->help, out);
}

static void write_command(const struct command *command, FILE *out)
{
    fprintf(out, ".SS bondway %s%s%s%s\n", command->name, command->options ? " [OPTIONS]" : "",
            command->operands ? " " : "", command->operands ? command->operands : "");
    put_text(command->text, out);
    for (const struct command_option *o = command->options; o && o->name[0]; o++)
        write_option(o, out);
    fputs(".PP\n", out);
    if (command->notes) {
        put_text(command->notes, out);
        fputs(".PP\n", out);
    }
    fputs("Exit status: ", out);
    put(command->exit_status, out);
    fputs(".\n", out);
}

static void write_synopsis(FILE *out)
{
    fputs(".SH SYNOPSIS\n.nf\n", out);
    for (const struct command *const *c = commands; *c; c++)
        fprintf(out, "\\fBbondway %s\\fR%s%s%s\n", (*c)->name, (*c)->options ? " [OPTIONS]" : "",
                (*c)->operands ? " " : "", (*c)->operands ? (*c)->operands : "");
    fputs("\\fBbondway\\fR\n.fi\n", out);
}

static void write_files(FILE *out)
{
    static const char *const files[][2] = {
        {"/etc/bondway/gateway.conf", "the gateway's configuration, gateway.conf(5)"},
        {"/etc/bondway/concentrator.conf", "the concentrator's, concentrator.conf(5)"},
        {"/run/bondway/gateway.sock", "where the gateway answers the commands that ask"},
        {"/run/bondway/concentrator.sock", "where the concentrator does"},
    };

    fputs(".SH FILES\n", out);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        fputs(".TP\n\\fI", out);
        put(files[i][0], out);
        fputs("\\fR\n", out);
        put_line(files[i][1], strlen(files[i][1]), out);
    }
}

void manual_program(FILE *out)
{
    begin_page("bondway", 1, "join a router\\(aqs Internet uplinks into one fast connection", out);
    write_synopsis(out);
    fputs(".SH DESCRIPTION\n", out);
    put_text("On the router, bondway gateway takes every TCP connection of the LAN and carries it\n"
             "over one Multipath TCP connection, spread across all uplinks, to bondway\n"
             "concentrator on a VPS, which dials the destination. Clients need nothing, and need\n"
             "not know.\n\n"
             "Alone, bondway does what bondway status does. Every command takes these, too:\n",
             out);
    for (const struct command_option *o = command_common_options; o->name[0]; o++)
        write_option(o, out);
    fputs(".SH COMMANDS\n", out);
    for (const struct command *const *c = commands; *c; c++)
        write_command(*c, out);
    write_files(out);
    fputs(".SH SEE ALSO\n.BR gateway.conf (5),\n.BR concentrator.conf (5),\n.BR nft (8)\n", out);
}

/* ---- the configuration files ---- */

static void write_key(const struct option_row *row, FILE *out)
{
    char expected[VALUE_TEXT];

    fputs(".TP\n", out);
    put_bold(row->name, out);
    if (row->flags & OPTION_REQUIRED) {
        fputs(" = ", out);
        put(row->example, out);
        fputs(" (required)", out);
    } else if (row->def) {
        fputs(" = ", out);
        put(row->def, out);
    }
    fputc('\n', out);
    put_line(row->help, strlen(row->help), out);
    if (row->kind == OPTION_GROUP) {
        fputs("A list of groups, with the keys below.\n", out);
        return;
    }
    fputs(row->flags & OPTION_LIST ? "A list; each is " : "Write ", out);
    put(value_expected(row, expected, sizeof(expected)), out);
    fputs(".\n", out);
}

static void write_keys(const struct option_row *rows, FILE *out)
{
    for (const struct option_row *row = rows; row->name[0]; row++)
        write_key(row, out);
    for (const struct option_row *row = rows; row->name[0]; row++) {
        if (row->kind != OPTION_GROUP)
            continue;
        fprintf(out, ".SS In each group of %s\n", row->name);
        write_keys(row->rows, out);
    }
}

static void write_example(FILE *example, FILE *out)
{
    char line[512];

    fputs(".SH EXAMPLE\n.nf\n", out);
    while (fgets(line, sizeof(line), example)) {
        size_t len = strcspn(line, "\n");
        if (len > 0)
            put_line(line, len, out);
        else
            fputs(".sp\n", out);
    }
    fputs(".fi\n", out);
}

void manual_config(const struct manual_file *file, FILE *example, FILE *out)
{
    begin_page(file->name, 5, "configuration of bondway", out);
    fprintf(out,
            ".SH SYNOPSIS\n\\fI/etc/bondway/%s\\fR\n"
            ".SH DESCRIPTION\n"
            "What \\fBbondway %s\\fR reads. A setting is a key, an equals sign, a value and a\n"
            "semicolon; text stands in double quotes. [ ] holds a list of values of one kind,\n"
            "( ) any list, { } a group of settings. A comment begins with #.\n"
            ".PP\n"
            "Nothing starts with a file that has a mistake. \\fBbondway %s \\-\\-check\\fR names\n"
            "each with its line, and what to write instead.\n"
            ".SH KEYS\n"
            "A key that need not be there is shown with its default.\n",
            file->name, file->command, file->command);
    write_keys(file->rows, out);
    write_example(example, out);
    fputs(".SH SEE ALSO\n.BR bondway (1)\n", out);
}
