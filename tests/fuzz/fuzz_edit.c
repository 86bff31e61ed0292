/* Editing a configuration: of a text that libconfig takes, another one comes that it takes, too,
 * with one element more, or fewer. */
#include "tests/fuzz/scene.h"

#include <stdbool.h>
#include <libconfig.h>
#include <sanitizer/lsan_interface.h>

#include "config/edit.h"
#include "config/source.h"

#define LIST "gateways"

/* How many elements the list has; -1: none of libconfig's texts, or no list of groups. */
static int count(const char *text)
{
    struct source_mistake mistake;
    config_t parsed;
    int n = -1;

    config_init(&parsed);
    __lsan_disable(); /* libconfig forgets the string at which it gives up */
    bool good = source_check(text, &mistake) && config_read_string(&parsed, text) == CONFIG_TRUE;
    __lsan_enable();
    if (good) {
        config_setting_t *list = config_lookup(&parsed, LIST);
        n = !list ? 0 : config_setting_is_list(list) ? config_setting_length(list) : -1;
        for (int i = 0; i < n && n > 0; i++) {
            if (!config_setting_is_group(config_setting_get_elem(list, (unsigned)i)))
                n = -1;
        }
    }
    config_destroy(&parsed);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *more, *fewer;

    must(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    int n = strlen(text) == size ? count(text) : -1;
    if (n >= 0) {
        must(edit_append(text, LIST, "{ name = \"x\"; }", &more) == 0);
        must(count(more) == n + 1);
        must(edit_remove(more, LIST, (size_t)n / 2, &fewer) == 0);
        must(count(fewer) == n);
        free(more);
        free(fewer);
    }
    free(text);
    return 0;
}
