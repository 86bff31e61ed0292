/* A key line, and a key file: one text for each key, a reason for each refusal. */
#include "tests/fuzz/scene.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void load(const uint8_t *data, size_t size)
{
    char path[64], why[200] = "";
    struct key key;
    struct key_ring ring;
    int fd = memfd_create("key", MFD_CLOEXEC);

    must(fd != -1 && fchmod(fd, 0600) == 0);
    must(write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int err = key_load(&key, path, why, sizeof(why));
    must((err == 0) == (why[0] == '\0'));
    why[0] = '\0';
    must((key_ring_load(&ring, path, why, sizeof(why)) == 0) == (why[0] == '\0'));
    must(err < 0 || (ring.n == 1 && memcmp(&ring.keys[0], &key, sizeof(key)) == 0));
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), again[KEY_TEXT];
    struct key key;

    must(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (key_parse(&key, text) == 0) {
        key_format(&key, again);
        must(strcmp(again, text) == 0);
    }
    load(data, size);
    free(text);
    return 0;
}
