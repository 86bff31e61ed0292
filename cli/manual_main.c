/* bondway-manual: writes the manual pages and the shells' completions, at the build.
 *
 * usage: bondway-manual OUTPUT_DIRECTORY EXAMPLES_DIRECTORY */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "cli/manual.h"
#include "config/concentrator_config.h"
#include "config/gateway_config.h"

static FILE *open_in(const char *directory, const char *name, const char *suffix, const char *mode)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s%s", directory, name, suffix);
    FILE *file = fopen(path, mode);
    if (!file)
        fprintf(stderr, "bondway-manual: %s: %s\n", path, strerror(errno));
    return file;
}

static bool finish(FILE *out)
{
    bool written = !ferror(out);

    written = fclose(out) == 0 && written;
    if (!written)
        fprintf(stderr, "bondway-manual: cannot write: %s\n", strerror(errno));
    return written;
}

static bool write_file(const char *directory, const char *name, void (*write)(FILE *out))
{
    FILE *out = open_in(directory, name, "", "w");

    if (!out)
        return false;
    write(out);
    return finish(out);
}

static bool write_config(const char *directory, const char *examples,
                         const struct manual_file *file)
{
    FILE *example = open_in(examples, file->name, "", "r");
    FILE *out = example ? open_in(directory, file->name, ".5", "w") : NULL;

    if (out)
        manual_config(file, example, out);
    if (example)
        fclose(example);
    return out && finish(out);
}

int main(int argc, char **argv)
{
    const struct manual_file gateway = {"gateway.conf", "gateway", gateway_config_rows()};
    const struct manual_file concentrator = {"concentrator.conf", "concentrator",
                                             concentrator_config_rows()};

    if (argc != 3) {
        fprintf(stderr, "usage: bondway-manual OUTPUT_DIRECTORY EXAMPLES_DIRECTORY\n");
        return 2;
    }
    bool written = write_file(argv[1], "bondway.1", manual_program) &&
                   write_config(argv[1], argv[2], &gateway) &&
                   write_config(argv[1], argv[2], &concentrator) &&
                   write_file(argv[1], "bondway.bash", completion_bash) &&
                   write_file(argv[1], "_bondway", completion_zsh);
    return written ? 0 : 1;
}
