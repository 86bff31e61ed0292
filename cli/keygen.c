/* bondway keygen: a new key line on standard output. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "core/crypto.h"
#include "core/key.h"

/* Past stdio, whose buffer would keep a copy. */
static int print_key(const struct key *key)
{
    char line[KEY_TEXT + 1];

    key_format(key, line);
    size_t len = strlen(line);
    line[len++] = '\n';
    ssize_t n = write(STDOUT_FILENO, line, len);
    crypto_wipe(line, sizeof(line));
    if (n == (ssize_t)len)
        return EXIT_WELL;
    fprintf(stderr, "bondway keygen: cannot write the key: %s\n",
            n == -1 ? strerror(errno) : "cut short");
    return EXIT_FAILED;
}

static int generate(void)
{
    struct key key;
    int err = key_generate(&key);

    if (err) {
        fprintf(stderr, "bondway keygen: no randomness: %s\n", strerror(-err));
        return EXIT_FAILED;
    }
    int code = print_key(&key);
    key_wipe(&key);
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
