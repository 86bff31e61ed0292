/* Completions for the shells: what may follow `bondway` on a command line. */
#include <string.h>

#include "cli/command.h"
#include "cli/manual.h"

static bool names_file(const struct command_option *option)
{
    return option->argument &&
           (strcmp(option->argument, "FILE") == 0 || strcmp(option->argument, "PATH") == 0);
}

/* ---- bash ---- */

static void bash_words(const struct command_option *option, FILE *out)
{
    for (; option && option->name[0]; option++) {
        if (option->value < 256)
            fprintf(out, " -%c", option->value);
        fprintf(out, " --%s", option->name);
    }
}

static void bash_case(const struct command *command, FILE *out)
{
    fprintf(out, "    %s)\n        words=\"", command->name);
    bash_words(command->options, out);
    bash_words(command_common_options, out);
    fprintf(out, "\"\n        files=\"");
    for (const struct command_option *o = command->options; o && o->name[0]; o++) {
        if (names_file(o) && o->value < 256)
            fprintf(out, " -%c", o->value);
        if (names_file(o))
            fprintf(out, " --%s", o->name);
    }
    fprintf(out, " \"\n        ;;\n");
}

void completion_bash(FILE *out)
{
    fputs("# shellcheck shell=bash\n"
          "# Written by bondway-manual from the program's own tables: change those.\n"
          "_bondway()\n{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
          "    local words=\"\" files=\"\" command=\"\"\n\n"
          "    [ \"$COMP_CWORD\" = 1 ] || command=${COMP_WORDS[1]}\n"
          "    case $command in\n"
          "    \"\")\n        words=\"",
          out);
    for (const struct command *const *c = commands; *c; c++)
        fprintf(out, " %s", (*c)->name);
    bash_words(command_common_options, out);
    fputs("\"\n        ;;\n", out);
    for (const struct command *const *c = commands; *c; c++)
        bash_case(*c, out);
    fputs("    esac\n"
          "    case \"$files\" in\n"
          "    *\" $before \"*) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n"
          "    *) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\") ;;\n"
          "    esac\n"
          "}\n"
          "complete -o filenames -F _bondway bondway\n",
          out);
}

/* ---- zsh ---- */

/* In single quotes; first line only; ':', '[' and ']' mean something to _arguments. */
static void zsh_text(const char *text, FILE *out)
{
    for (; *text && *text != '\n'; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr(":[]\\", *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static void zsh_option(const struct command_option *option, FILE *out)
{
    fputs(" \\\n            ", out);
    if (option->value < 256)
        fprintf(out, "'(-%c --%s)'{-%c,--%s}'[", option->value, option->name, option->value,
                option->name);
    else
        fprintf(out, "'--%s[", option->name);
    zsh_text(option->help, out);
    fputc(']', out);
    if (option->argument) {
        fputc(':', out);
        zsh_text(option->argument, out);
        fputs(names_file(option) ? ":_files" : ":", out);
    }
    fputc('\'', out);
}

static void zsh_case(const struct command *command, FILE *out)
{
    fprintf(out, "    %s)\n        _arguments", command->name);
    for (const struct command_option *o = command->options; o && o->name[0]; o++)
        zsh_option(o, out);
    for (const struct command_option *o = command_common_options; o->name[0]; o++)
        zsh_option(o, out);
    fputs("\n        ;;\n", out);
}

void completion_zsh(FILE *out)
{
    fputs("#compdef bondway\n"
          "# Written by bondway-manual from the program's own tables: change those.\n"
          "_bondway_commands() {\n"
          "    local -a all=(",
          out);
    for (const struct command *const *c = commands; *c; c++) {
        fprintf(out, "\n        '%s:", (*c)->name);
        zsh_text((*c)->summary, out);
        fputc('\'', out);
    }
    fputs("\n    )\n"
          "    _describe command all\n"
          "}\n\n"
          "_bondway() {\n"
          "    if ((CURRENT == 2)); then\n"
          "        _bondway_commands\n"
          "        return\n"
          "    fi\n"
          "    shift words\n"
          "    ((CURRENT--))\n"
          "    case $words[1] in\n",
          out);
    for (const struct command *const *c = commands; *c; c++)
        zsh_case(*c, out);
    fputs("    esac\n}\n\n_bondway \"$@\"\n", out);
}
