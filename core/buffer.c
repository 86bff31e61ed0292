#include "core/buffer.h"

#include <assert.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* After a crowd of so many, memory goes back to the system when three quarters of it have gone. */
#define CROWD 64

struct buffer_pool {
    uint8_t *workspace;
    size_t used, free, keep;
    size_t peak; /* of used, since memory was given back */
    struct buffer *kept[];
};

struct buffer_pool *buffer_pool_new(size_t keep)
{
    struct buffer_pool *pool = calloc(1, sizeof(*pool) + keep * sizeof(pool->kept[0]));

    if (!pool)
        return NULL;
    pool->keep = keep;
    pool->workspace = malloc(WORKSPACE_SIZE);
    if (!pool->workspace) {
        free(pool);
        return NULL;
    }
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
    free(pool->workspace);
    free(pool);
}

struct buffer *buffer_get_for(struct buffer_pool *pool, size_t size)
{
    struct buffer *buffer;

    if (size < BUFFER_SIZE)
        size = BUFFER_SIZE;
    if (size == BUFFER_SIZE && pool->free > 0)
        buffer = pool->kept[--pool->free];
    else
        buffer = malloc(sizeof(*buffer) + size);
    if (!buffer)
        return NULL;
    buffer->start = buffer->end = 0;
    buffer->size = size;
    if (++pool->used > pool->peak)
        pool->peak = pool->used;
    return buffer;
}

struct buffer *buffer_get(struct buffer_pool *pool)
{
    return buffer_get_for(pool, BUFFER_SIZE);
}

/* glibc gives back only what is free at the end of its heap, where one buffer in use holds all the
 * others. (musl does it by itself.) */
static void give_back_memory(struct buffer_pool *pool)
{
    if (pool->peak < CROWD || pool->used > pool->peak / 4)
        return;
    pool->peak = pool->used;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void buffer_put(struct buffer_pool *pool, struct buffer *buffer)
{
    if (!buffer)
        return;
    pool->used--;
    if (buffer->size == BUFFER_SIZE && pool->free < pool->keep)
        pool->kept[pool->free++] = buffer;
    else
        free(buffer);
    give_back_memory(pool);
}

size_t buffer_pool_used(const struct buffer_pool *pool)
{
    return pool->used;
}

uint8_t *buffer_pool_workspace(struct buffer_pool *pool)
{
    return pool->workspace;
}
