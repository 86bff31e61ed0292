/* OPEN's payload: what is accepted says exactly what it was read as. */
#include "tests/fuzz/scene.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *payload = scene_exact(data, size), again[OPEN_MAX];
    struct addr destination, inner;
    enum open_mode mode;

    if (open_read(payload, size, &mode, &destination) == HELLO_OK) {
        size_t len = open_write(mode, &destination, again);

        must(destination.port != 0);
        must(len <= size && memcmp(again, payload, len) == 0);
        if (addr_unwrap(&destination, &inner))
            must(inner.family == 4 && inner.port == destination.port);
    }
    free(payload);
    return 0;
}
