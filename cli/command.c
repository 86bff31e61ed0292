#include "cli/command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "core/crypto.h"

#define LABEL_TEXT 64

const struct command_option command_common_options[] = {
    {'h', "help", NULL, "this text"},
    {'V', "version", NULL, "the version"},
    {0, "", NULL, NULL},
};

static const struct command_option no_options[] = {{0, "", NULL, NULL}};

static const struct command_option *options_of(const struct command *command)
{
    return command->options ? command->options : no_options;
}

static bool has_letter(const struct command_option *option)
{
    return option->value < 256;
}

/* ---- the help text ---- */

const char *command_show_option(const struct command_option *option, char *out, size_t len)
{
    char letter[] = {'-', (char)option->value, ',', ' ', '\0'};

    snprintf(out, len, "%s--%s%s%s", has_letter(option) ? letter : "", option->name,
             option->argument ? " " : "", option->argument ? option->argument : "");
    return out;
}

/* Those without a letter stand below the names of those with one. */
static int label_width(const struct command_option *option)
{
    char label[LABEL_TEXT];

    return (int)strlen(command_show_option(option, label, sizeof(label))) +
           (has_letter(option) ? 0 : 4);
}

static int widest(const struct command_option *option, int width)
{
    for (; option->name[0]; option++) {
        if (label_width(option) > width)
            width = label_width(option);
    }
    return width;
}

static void print_options(const struct command_option *option, int width)
{
    for (; option->name[0]; option++) {
        char label[LABEL_TEXT];
        command_show_option(option, label, sizeof(label));
        printf("  %s%-*s  ", has_letter(option) ? "" : "    ",
               has_letter(option) ? width : width - 4, label);
        for (const char *c = option->help; *c; c++) {
            putchar(*c);
            if (*c == '\n')
                printf("%*s", width + 4, "");
        }
        putchar('\n');
    }
}

static void print_usage(const struct command *command)
{
    printf("Usage: bondway %s", command->name);
    for (const struct command_option *o = options_of(command); o->name[0]; o++) {
        if (has_letter(o))
            printf(" [-%c%s%s]", o->value, o->argument ? " " : "", o->argument ? o->argument : "");
        else
            printf(" [--%s%s%s]", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    }
    printf("%s%s\n\n%s\n\n", command->operands ? " " : "",
           command->operands ? command->operands : "", command->text);
}

static int help(const struct command *command)
{
    int width = widest(command_common_options, widest(options_of(command), 0));

    print_usage(command);
    print_options(options_of(command), width);
    print_options(command_common_options, width);
    printf("\n%s%sExit status: %s.\n", command->notes ? command->notes : "",
           command->notes ? "\n" : "", command->exit_status);
    return command_finish(EXIT_WELL);
}

int command_version(void)
{
    printf("bondway " BONDWAY_VERSION "\n");
    return command_finish(EXIT_WELL);
}

/* ---- reading ---- */

/* After getopt_long() returned '?' or ':': says which option is wrong, and where help is. */
static int bad_option(char **argv, int result)
{
    const char *wrong = argv[optind - 1], short_option[] = {'-', (char)optopt, '\0'};

    if (strncmp(wrong, "--", 2) != 0)
        wrong = short_option;
    fprintf(stderr, "bondway %s: option %s %s; see bondway %s --help\n", argv[0], wrong,
            result == ':' ? "needs an argument" : "is not known", argv[0]);
    return EXIT_USAGE;
}

static int unexpected(const char *command, const char *argument)
{
    fprintf(stderr, "bondway %s: unexpected argument \"%s\"; see bondway %s --help\n", command,
            argument, command);
    return EXIT_USAGE;
}

/* What getopt_long() wants to know. */
struct tables {
    char letters[2 * COMMAND_OPTIONS_MAX + 2];
    struct option names[COMMAND_OPTIONS_MAX + 1];
    size_t n_letters, n_names;
};

static void add_options(struct tables *t, const struct command_option *option)
{
    for (; option->name[0] && t->n_names < COMMAND_OPTIONS_MAX; option++) {
        t->names[t->n_names++] = (struct option){
            option->name, option->argument ? required_argument : no_argument, NULL, option->value};
        if (has_letter(option))
            t->letters[t->n_letters++] = (char)option->value;
        if (has_letter(option) && option->argument)
            t->letters[t->n_letters++] = ':';
    }
}

int command_next_option(const struct command *command, int argc, char **argv, int *code)
{
    struct tables tables = {.letters = ":", .n_letters = 1};

    add_options(&tables, options_of(command));
    add_options(&tables, command_common_options);
    opterr = 0;
    int value = getopt_long(argc, argv, tables.letters, tables.names, NULL);
    if (value == -1 && (command->operands || optind >= argc))
        return 0;
    if (value == -1)
        *code = unexpected(command->name, argv[optind]);
    else if (value == 'h')
        *code = help(command);
    else if (value == 'V')
        *code = command_version();
    else if (value == '?' || value == ':')
        *code = bad_option(argv, value);
    else
        return value;
    return -1;
}

int command_operand(const struct command *command, int argc, char **argv, bool needed,
                    char **operand)
{
    *operand = optind < argc ? argv[optind] : NULL;
    if (optind + 1 < argc)
        return unexpected(command->name, argv[optind + 1]);
    if (*operand || !needed)
        return EXIT_WELL;
    command_complain(command, "%s is missing; see bondway %s --help", command->operands,
                     command->name);
    return EXIT_USAGE;
}

void command_complain(const struct command *command, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "bondway %s: ", command->name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

int command_print_secret(const struct command *command, char *text, const char *what)
{
    size_t len = strlen(text);

    text[len] = '\n';
    ssize_t n = write(STDOUT_FILENO, text, len + 1);
    crypto_wipe(text, len + 1);
    if (n == (ssize_t)len + 1)
        return EXIT_WELL;
    command_complain(command, "cannot write %s: %s", what, n == -1 ? strerror(errno) : "cut short");
    return EXIT_FAILED;
}

int command_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE)
        fprintf(stderr, "bondway: cannot write the output: %s\n", strerror(errno));
    return EXIT_FAILED;
}
