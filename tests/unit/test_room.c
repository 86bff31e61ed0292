/* How many connections there is room for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concentrator/room.h"

#define GB (1ull << 30)

static struct room_shares share_out(size_t descriptors, size_t used, uint64_t memory)
{
    const struct room_facts facts = {.descriptors = descriptors,
                                     .descriptors_used = used,
                                     .memory = memory,
                                     .unauthenticated = 1024};
    struct room_shares shares;

    assert_int_equal(room_share_out(&shares, &facts), 0);
    return shares;
}

static void descriptors_are_shared_out(void **state)
{
    struct room_shares many = share_out(500000, 40, 64 * GB), few = share_out(1024, 40, 64 * GB);

    assert_int_equal(many.unauthenticated, 1024);
    assert_int_equal(many.sessions, (500000 - 40 - ROOM_SPARE_DESCRIPTORS - 1024) / 2);
    /* Strangers get a quarter of what there is. */
    assert_int_equal(few.unauthenticated, (1024 - 40 - ROOM_SPARE_DESCRIPTORS) / 4);
    assert_int_equal(few.sessions, (1024 - 40 - ROOM_SPARE_DESCRIPTORS - few.unauthenticated) / 2);
    assert_false(few.by_memory);
}

/* Whatever the limit: all that may be there together fits. */
static void it_always_fits(void **state)
{
    for (size_t descriptors = 60; descriptors < 3000; descriptors++) {
        struct room_shares shares = share_out(descriptors, 40, 64 * GB);
        assert_true(40 + ROOM_SPARE_DESCRIPTORS + shares.unauthenticated +
                        ROOM_SESSION_DESCRIPTORS * shares.sessions <=
                    descriptors);
    }
}

static void half_of_the_memory_is_for_sessions(void **state)
{
    struct room_shares shares = share_out(500000, 40, GB / 2);

    assert_true(shares.by_memory);
    assert_int_equal(shares.sessions, 4096);
}

static void too_few_are_an_error(void **state)
{
    const struct room_facts facts[] = {
        {.descriptors = 40, .descriptors_used = 40, .memory = GB, .unauthenticated = 1024},
        {.descriptors = 51, .descriptors_used = 40, .memory = GB, .unauthenticated = 1024},
        {.descriptors = 1024, .descriptors_used = 40, .memory = 65536, .unauthenticated = 1024},
    };
    struct room_shares shares;

    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        assert_int_equal(room_share_out(&shares, &facts[i]), -ENOSPC);
}

static void own_descriptors_are_counted(void **state)
{
    struct room_facts before, after;

    assert_int_equal(room_look(&before), 0);
    int fd = open("/dev/null", O_RDONLY);
    assert_int_equal(room_look(&after), 0);
    close(fd);
    assert_int_equal(after.descriptors_used, before.descriptors_used + 1);
    assert_true(before.descriptors_used >= 3 && before.descriptors > before.descriptors_used);
    assert_true(before.memory > (16 << 20));
}

static void set_limit(const char *root, const char *group, const char *limit)
{
    char path[256];

    snprintf(path, sizeof(path), "%s%s", root, group);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s%s/memory.max", root, group);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "%s\n", limit) > 0);
    assert_int_equal(fclose(file), 0);
}

static void unset_limit(const char *root, const char *group)
{
    char path[256];

    snprintf(path, sizeof(path), "%s%s/memory.max", root, group);
    unlink(path);
    snprintf(path, sizeof(path), "%s%s", root, group);
    rmdir(path);
}

/* As in /sys/fs/cgroup: the root has no limit, a group's may be any, and the one above it counts.
 */
static void control_groups_leave_less(void **state)
{
    char root[] = "/tmp/bondway-room-XXXXXX";

    assert_non_null(mkdtemp(root));
    assert_true(room_cgroup_memory(root, "/") == UINT64_MAX);
    set_limit(root, "/slice", "max");
    set_limit(root, "/slice/unit", "268435456");
    assert_true(room_cgroup_memory(root, "/slice") == UINT64_MAX);
    assert_true(room_cgroup_memory(root, "/slice/unit") == 256 << 20);
    assert_true(room_cgroup_memory(root, "/slice/unit/below") == 256 << 20);
    set_limit(root, "/slice", "134217728");
    assert_true(room_cgroup_memory(root, "/slice/unit") == 128 << 20);
    set_limit(root, "", "67108864"); /* in a container its own group is the root */
    assert_true(room_cgroup_memory(root, "/") == 64 << 20);
    unset_limit(root, "/slice/unit");
    unset_limit(root, "/slice");
    unset_limit(root, "");
}

static void who_takes_must_leave(void **state)
{
    struct room room = {.max = 2};

    assert_true(room_take(&room) && room_take(&room));
    assert_false(room_take(&room));
    assert_false(room_take(&room));
    room_leave(&room);
    assert_true(room_take(&room));
    assert_false(room_take(&room));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_shared_out),
        cmocka_unit_test(it_always_fits),
        cmocka_unit_test(half_of_the_memory_is_for_sessions),
        cmocka_unit_test(too_few_are_an_error),
        cmocka_unit_test(own_descriptors_are_counted),
        cmocka_unit_test(control_groups_leave_less),
        cmocka_unit_test(who_takes_must_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
