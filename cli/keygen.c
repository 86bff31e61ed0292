/* bondway keygen: a new key line on standard output. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "core/key.h"

static int generate(void)
{
    char line[KEY_TEXT];
    struct key key;
    int err = key_generate(&key);

    if (err) {
        fprintf(stderr, "bondway keygen: no randomness: %s\n", strerror(-err));
        return EXIT_FAILED;
    }
    key_format(&key, line);
    key_wipe(&key);
    int code = command_print_secret(&keygen_command, line, "the key");
    if (code == EXIT_WELL && isatty(STDOUT_FILENO))
        fprintf(stderr, "This is a secret. To store one where only root can read it:\n"
                        "  umask 077; bondway keygen > /etc/bondway/home.key\n");
    return code;
}

static int run(int argc, char **argv)
{
    int code;

    /* It has no option of its own. */
    return command_next_option(&keygen_command, argc, argv, &code) < 0 ? code : generate();
}

const struct command keygen_command = {
    .name = "keygen",
    .summary = "make a key for a gateway and its concentrator",
    .text =
        "Prints a new key, one line. A gateway and its concentrator share it: store it on both,\n"
        "readable by root only:\n\n"
        "  umask 077; bondway keygen > /etc/bondway/home.key",
    .exit_status = "0 well, 1 failed, 2 wrong usage",
    .run = run,
};
