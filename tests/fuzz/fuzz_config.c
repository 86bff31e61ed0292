/* A whole configuration, as the daemons load it: the first byte's lowest bit: the concentrator's,
 * or the gateway's. Every key file is the same good one, at KEY_FILE. What is not taken is
 * complained of. */
#include "tests/fuzz/scene.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <sanitizer/lsan_interface.h>

#include "config/concentrator_config.h"
#include "config/gateway_config.h"

#define CONFIG_FD 100
#define CONFIG_FILE "/proc/self/fd/100"
#define KEY_FD 101 /* as the seeds name it */

static void make_file(int number)
{
    int fd = memfd_create("fuzz", 0);

    must(fd != -1 && fchmod(fd, 0600) == 0 && dup2(fd, number) == number);
    close(fd);
}

static void make_files(void)
{
    struct key key;
    char text[KEY_TEXT];

    make_file(CONFIG_FD);
    make_file(KEY_FD);
    must(key_generate(&key) == 0);
    key_format(&key, text);
    must(pwrite(KEY_FD, text, strlen(text), 0) == (ssize_t)strlen(text));
}

static bool load(bool concentrator, FILE *complaints)
{
    if (concentrator) {
        struct concentrator_config *config = concentrator_config_load(CONFIG_FILE, complaints);
        concentrator_config_free(config);
        return config != NULL;
    }
    struct gateway_config *config = gateway_config_load(CONFIG_FILE, complaints);
    gateway_config_free(config);
    return config != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    char *complaints = NULL;
    size_t len = 0;

    if (size == 0)
        return 0;
    if (!ready)
        make_files();
    ready = true;
    must(ftruncate(CONFIG_FD, 0) == 0);
    must(pwrite(CONFIG_FD, data + 1, size - 1, 0) == (ssize_t)(size - 1));
    FILE *out = open_memstream(&complaints, &len);
    must(out);
    __lsan_disable(); /* libconfig forgets the string at which it gives up */
    bool good = load(data[0] & 1, out);
    __lsan_enable();
    must(fclose(out) == 0);
    must(good || len > 0);
    free(complaints);
    return 0;
}
