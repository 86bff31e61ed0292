/* A join link: what is taken is written again, and taken again; each refusal has its reason. */
#include "tests/fuzz/scene.h"

#include "core/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct join_link wiped;
    char *text = malloc(size + 1), again[LINK_TEXT];
    struct join_link link, back;

    must(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    enum link_verdict verdict = link_parse(&link, text);
    must(strlen(link_why(verdict)) > 0);
    if (verdict != LINK_OK) {
        must(memcmp(&link, &wiped, sizeof(link)) == 0);
    } else {
        must(key_is_whole(&link.key) && link_is_name(link.name));
        link_format(&link, again);
        must(link_parse(&back, again) == LINK_OK && memcmp(&link, &back, sizeof(link)) == 0);
    }
    free(text);
    return 0;
}
