#include "core/buffer.h"

#include <assert.h>
#include <stdlib.h>

struct buffer_pool {
    size_t used, free, keep;
    struct buffer *kept[];
};

struct buffer_pool *buffer_pool_new(size_t keep)
{
    struct buffer_pool *pool = calloc(1, sizeof(*pool) + keep * sizeof(pool->kept[0]));

    if (pool)
        pool->keep = keep;
    return pool;
}

void buffer_pool_trim(struct buffer_pool *pool)
{
    while (pool->free > 0)
        free(pool->kept[--pool->free]);
}

void buffer_pool_free(struct buffer_pool *pool)
{
    if (!pool)
        return;
    assert(pool->used == 0);
    buffer_pool_trim(pool);
    free(pool);
}

struct buffer *buffer_get(struct buffer_pool *pool)
{
    struct buffer *buffer =
        pool->free > 0 ? pool->kept[--pool->free] : malloc(sizeof(struct buffer));

    if (!buffer)
        return NULL;
    buffer->start = buffer->end = 0;
    pool->used++;
    return buffer;
}

void buffer_put(struct buffer_pool *pool, struct buffer *buffer)
{
    if (!buffer)
        return;
    pool->used--;
    if (pool->free < pool->keep)
        pool->kept[pool->free++] = buffer;
    else
        free(buffer);
}

size_t buffer_pool_used(const struct buffer_pool *pool)
{
    return pool->used;
}
