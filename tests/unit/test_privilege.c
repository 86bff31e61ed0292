/* Rights that are given up, in a child each time, as root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/privilege.h"

#define NET_ADMIN PRIVILEGE(CAP_NET_ADMIN)

static bool in_a_child(bool (*act)(void))
{
    int status;
    pid_t pid = fork();

    assert_int_not_equal(pid, -1);
    if (pid == 0)
        _exit(act() ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

static bool becomes_nobody(void)
{
    struct privilege_user nobody;
    gid_t groups[1];

    return privilege_find_user("nobody", &nobody) == 0 && privilege_drop(&nobody, NET_ADMIN) == 0 &&
           getuid() == nobody.uid && geteuid() == nobody.uid && getegid() == nobody.gid &&
           getgroups(0, groups) == 0 && privilege_has(CAP_NET_ADMIN) &&
           !privilege_has(CAP_SETUID) && !privilege_has(CAP_DAC_OVERRIDE);
}

static void a_user_without_rights(void **state)
{
    assert_true(in_a_child(becomes_nobody));
}

static bool cannot_return(void)
{
    struct privilege_user nobody;

    return privilege_find_user("nobody", &nobody) == 0 && privilege_drop(&nobody, 0) == 0 &&
           setuid(0) == -1 && prctl(PR_CAPBSET_READ, CAP_NET_ADMIN, 0, 0, 0) == 0 &&
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 &&
           !privilege_has(CAP_NET_ADMIN);
}

static void there_is_no_way_back(void **state)
{
    assert_true(in_a_child(cannot_return));
}

static bool root_keeps_one(void)
{
    return privilege_drop(NULL, NET_ADMIN) == 0 && getuid() == 0 && privilege_has(CAP_NET_ADMIN) &&
           !privilege_has(CAP_SYS_ADMIN) && !privilege_has(CAP_SETUID);
}

static void root_that_stays_root(void **state)
{
    assert_true(in_a_child(root_keeps_one));
}

static bool nobody_cannot_become_root(void)
{
    struct privilege_user nobody, root;

    return privilege_find_user("nobody", &nobody) == 0 && privilege_find_user("root", &root) == 0 &&
           privilege_drop(&nobody, 0) == 0 && privilege_drop(&nobody, 0) == 0 &&
           privilege_drop(&root, 0) == -EPERM;
}

static void the_own_user_is_no_change(void **state)
{
    assert_true(in_a_child(nobody_cannot_become_root));
}

static void an_unknown_user(void **state)
{
    struct privilege_user user;

    assert_int_equal(privilege_find_user("no-such-user-here", &user), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_without_rights), cmocka_unit_test(there_is_no_way_back),
        cmocka_unit_test(root_that_stays_root),  cmocka_unit_test(the_own_user_is_no_change),
        cmocka_unit_test(an_unknown_user),
    };

    if (geteuid() != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
