/* Relay buffers, from a pool that one thread owns. An idle flow holds none. */
#ifndef CORE_BUFFER_H
#define CORE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#define BUFFER_SIZE 65536
#define WORKSPACE_SIZE (256 * 1024 + 512)

/* Bytes start..end of data are in use. */
struct buffer {
    size_t start, end, size;
    uint8_t data[];
};

struct buffer_pool;

/* keep: how many free buffers to hold back from the system. NULL: out of memory. */
struct buffer_pool *buffer_pool_new(size_t keep);
/* All buffers must have been given back. NULL is fine. */
void buffer_pool_free(struct buffer_pool *pool);

/* An empty buffer of BUFFER_SIZE, or NULL when memory is short. */
struct buffer *buffer_get(struct buffer_pool *pool);
/* Likewise, of BUFFER_SIZE or, where that is less than size, of size. */
struct buffer *buffer_get_for(struct buffer_pool *pool, size_t size);
/* NULL is fine. */
void buffer_put(struct buffer_pool *pool, struct buffer *buffer);
/* Gives the free ones back to the system. */
void buffer_pool_trim(struct buffer_pool *pool);
/* How many are out with flows now. */
size_t buffer_pool_used(const struct buffer_pool *pool);
/* WORKSPACE_SIZE bytes for whoever works right now: what is to stay must be moved to a buffer
 * before anybody else runs. */
uint8_t *buffer_pool_workspace(struct buffer_pool *pool);

static inline size_t buffer_length(const struct buffer *b)
{
    return b->end - b->start;
}

#endif
