/* A file that is whole, whatever happens while it is written: on a small disk of its own. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/state_file.h"

static char disk[] = "/tmp/bondway-state-XXXXXX";
static char dir[64], text[STATE_FILE_MAX + 1];
static char order[8]; /* f: a file synced, d: a directory, r: renamed */
static int sync_error;

int __real_fsync(int fd);
int __real_renameat(int from, const char *old, int to, const char *name);
int __wrap_fsync(int fd);
int __wrap_renameat(int from, const char *old, int to, const char *name);

static void note(char what)
{
    size_t n = strlen(order);

    if (n < sizeof(order) - 1)
        order[n] = what;
}

int __wrap_fsync(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    note(S_ISDIR(st.st_mode) ? 'd' : 'f');
    errno = sync_error;
    return sync_error ? -1 : __real_fsync(fd);
}

int __wrap_renameat(int from, const char *old, int to, const char *name)
{
    note('r');
    return __real_renameat(from, old, to, name);
}

static int make_disk(void **state)
{
    if (!mkdtemp(disk) || unshare(CLONE_NEWNS) == -1)
        return -1;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
        mount("none", disk, "tmpfs", 0, "size=64k") == -1)
        return -1;
    snprintf(dir, sizeof(dir), "%s/var/lib/bondway", disk);
    return 0;
}

static int remove_disk(void **state)
{
    umount2(disk, MNT_DETACH);
    return rmdir(disk);
}

static void assert_holds(const char *expected)
{
    assert_int_equal(state_file_read(dir, "it", text), (int)strlen(expected));
    assert_string_equal(text, expected);
}

static int save(const char *what)
{
    return state_file_write(dir, "it", what, strlen(what));
}

static bool exists(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static void makes_its_directory(void **state)
{
    struct stat st;
    char path[128];

    assert_int_equal(state_file_read(dir, "it", text), -ENOENT);
    assert_int_equal(save("one"), 0);
    assert_holds("one");
    assert_int_equal(save(""), 0);
    assert_holds("");
    snprintf(path, sizeof(path), "%s/it", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(exists("it.new"));
}

/* Synced before it takes the old one's place, and the place after that. */
static void in_an_order_that_survives_a_power_cut(void **state)
{
    memset(order, 0, sizeof(order));
    assert_int_equal(save("two"), 0);
    assert_string_equal(order, "frd");
    memset(order, 0, sizeof(order));
    sync_error = EIO;
    assert_int_equal(save("three"), -EIO);
    sync_error = 0;
    assert_string_equal(order, "f");
    assert_holds("two");
    assert_false(exists("it.new"));
}

static void a_full_disk_leaves_the_old_one(void **state)
{
    char path[128], block[4096] = "";

    assert_int_equal(save("before"), 0);
    snprintf(path, sizeof(path), "%s/filling", disk);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
    assert_int_equal(save("after"), -ENOSPC);
    assert_holds("before");
    assert_false(exists("it.new"));
    unlink(path);
    assert_int_equal(save("after"), 0);
    assert_holds("after");
}

static void what_is_no_file_of_ours(void **state)
{
    static char long_text[STATE_FILE_MAX + 1];
    char path[128];

    memset(long_text, 'x', sizeof(long_text));
    assert_int_equal(state_file_write(dir, "it", long_text, sizeof(long_text)), 0);
    assert_int_equal(state_file_read(dir, "it", text), -EFBIG);
    assert_int_equal(state_file_write(dir, "it", long_text, sizeof(long_text) - 1), 0);
    assert_int_equal(state_file_read(dir, "it", text), STATE_FILE_MAX);
    assert_int_equal(state_file_set_aside(dir, "it"), 0);
    assert_true(exists("it.bad"));
    assert_int_equal(state_file_read(dir, "it", text), -ENOENT);
    snprintf(path, sizeof(path), "%s/it", dir);
    assert_int_equal(symlink("it.bad", path), 0);
    assert_int_equal(state_file_read(dir, "it", text), -ELOOP);
    assert_int_equal(save("a file"), 0); /* in the link's place */
    assert_holds("a file");
    snprintf(path, sizeof(path), "%s/it/below", dir);
    assert_int_equal(state_file_write(path, "it", "x", 1), -ENOTDIR);
}

/* ---- in the background ---- */

static int results[4];
static unsigned n_results;

static void on_done(void *arg, int err)
{
    results[n_results++] = err;
    event_base_loopbreak(arg);
}

static void writes_in_the_background(void **state)
{
    struct event_base *base = event_base_new();
    struct state_writer *writer;

    assert_int_equal(state_writer_new(&writer, base, dir, "it", on_done, base), 0);
    assert_int_equal(state_writer_save(writer, "first", 5), 0);
    assert_int_equal(state_writer_save(writer, "second", 6), -EBUSY);
    event_base_dispatch(base);
    assert_int_equal(n_results, 1);
    assert_int_equal(results[0], 0);
    assert_holds("first");

    sync_error = ENOSPC;
    assert_int_equal(state_writer_save(writer, "second", 6), 0);
    event_base_dispatch(base);
    sync_error = 0;
    assert_int_equal(results[1], -ENOSPC);
    assert_holds("first");

    assert_int_equal(state_writer_save(writer, "third", 5), 0);
    state_writer_free(writer); /* waits for it */
    assert_int_equal(n_results, 2);
    assert_holds("third");
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_its_directory),
        cmocka_unit_test(in_an_order_that_survives_a_power_cut),
        cmocka_unit_test(a_full_disk_leaves_the_old_one),
        cmocka_unit_test(what_is_no_file_of_ours),
        cmocka_unit_test(writes_in_the_background),
    };

    if (geteuid() != 0)
        return 77;
    return cmocka_run_group_tests(tests, make_disk, remove_disk);
}
