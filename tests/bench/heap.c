/* Preloaded into the daemons that a soak looks at: how many bytes they have from malloc(), in the
 * file $BENCH_HEAP/PID, as a number of eight bytes. Resident memory says less, and late: it grows
 * for many minutes as what is free lies scattered. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The C library's own: dlsym() would need memory first. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static _Atomic long before, *bytes = &before;

static void *had(void *block)
{
    *bytes += (long)malloc_usable_size(block);
    return block;
}

void *malloc(size_t size)
{
    return had(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return had(__libc_calloc(n, size));
}

void *realloc(void *block, size_t size)
{
    long old = (long)malloc_usable_size(block);
    void *other = __libc_realloc(block, size);

    if (other || size == 0)
        *bytes -= old;
    return had(other);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return had(__libc_memalign(alignment, size));
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = had(__libc_memalign(alignment, size));
    return *block ? 0 : ENOMEM;
}

void free(void *block)
{
    *bytes -= (long)malloc_usable_size(block);
    __libc_free(block);
}

/* Before there are threads, and before the sandbox. */
__attribute__((constructor)) static void show(void)
{
    const char *directory = getenv("BENCH_HEAP");
    char path[256];

    if (!directory)
        return;
    snprintf(path, sizeof(path), "%s/%d", directory, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *file = MAP_FAILED;
    if (fd != -1 && ftruncate(fd, sizeof(*bytes)) == 0)
        file = mmap(NULL, sizeof(*bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd != -1)
        close(fd);
    if (file == MAP_FAILED)
        return;
    _Atomic long *shown = file;
    *shown = before;
    bytes = shown;
}
