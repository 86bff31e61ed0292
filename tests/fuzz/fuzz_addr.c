/* Addresses and networks as text: what is accepted survives being printed and read again. */
#include "tests/fuzz/scene.h"

static void check_addr(const char *text)
{
    struct addr a, again;
    char out[ADDR_TEXT];

    if (addr_parse_ip(&a, text) == 0) {
        must(addr_parse_ip(&again, addr_format_ip(&a, out)) == 0);
        must(memcmp(&a, &again, sizeof(a)) == 0 && a.port == 0);
    }
    if (addr_parse(&a, text) == 0) {
        must(addr_parse(&again, addr_format(&a, out)) == 0);
        must(addr_equal(&a, &again) && a.port != 0);
    }
}

static void check_cidr(const char *text)
{
    struct cidr c, again;
    struct addr inner;
    char out[ADDR_TEXT];

    if (cidr_parse(&c, text) < 0)
        return;
    must(c.prefix <= addr_size(&c.base) * 8 && cidr_contains(&c, &c.base));
    must(cidr_parse(&again, cidr_format(&c, out)) == 0);
    must(again.prefix == c.prefix && addr_equal_ip(&again.base, &c.base));
    if (addr_unwrap(&c.base, &inner))
        must(c.base.family == 6 && inner.family == 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    must(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_addr(text);
    check_cidr(text);
    free(text);
    return 0;
}
