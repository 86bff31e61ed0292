#include "concentrator/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sysctl.h"

/* Beyond the first one, for each connection: as many as Linux before 7.2 takes. */
#define SUBFLOWS_WANTED 8
/* Retransmission time-outs of a connection without an answer on a path until what is under way
 * there is sent again on the others (4 by default): where a gateway's word of the path's death was
 * lost. */
#define STALE_LOSSES "2"
#define STALE_SYSCTL "net/mptcp/stale_loss_cnt"

static void check_enabled(void)
{
    char value[32];
    int err = sysctl_read("net/mptcp/enabled", value, sizeof(value));

    if (err == -ENOENT)
        log_warning("kernel", "this kernel has no MPTCP, so nothing will be bonded: use one built "
                              "with CONFIG_MPTCP (every Debian or Ubuntu kernel since 2021)");
    else if (err == 0 && strcmp(value, "0") == 0)
        log_warning("kernel", "MPTCP is switched off, so nothing will be bonded: run "
                              "sysctl -w net.mptcp.enabled=1, and write it to /etc/sysctl.d");
}

/* Before 6.15 the choice has a number. */
static bool path_manager_is_userspace(const char **name)
{
    char value[32];

    *name = "net.mptcp.path_manager=kernel";
    if (sysctl_read("net/mptcp/path_manager", value, sizeof(value)) == 0)
        return strcmp(value, "kernel") != 0;
    *name = "net.mptcp.pm_type=0";
    return sysctl_read("net/mptcp/pm_type", value, sizeof(value)) == 0 && strcmp(value, "0") != 0;
}

static void check_path_manager(void)
{
    const char *remedy;

    if (path_manager_is_userspace(&remedy))
        log_warning("kernel",
                    "the path manager is not the kernel's own, so further uplinks may not join: "
                    "run sysctl -w %s, and look for a gateway or mptcpd that changes it on this "
                    "host",
                    remedy);
}

static void warn_of_limits(int err)
{
    if (err == -EPERM || err == -EACCES)
        log_warning("kernel", "may not raise the MPTCP limits, so at most 3 uplinks are bonded: "
                              "give this program CAP_NET_ADMIN (or run it as root)");
    else if (err != -ENOENT)
        log_warning("kernel", "cannot raise the MPTCP limits, so at most 3 uplinks are bonded: %s",
                    strerror(-err));
}

static int raise_limits(struct kernel *kernel, struct path_manager *pm)
{
    int err = path_manager_get_limits(pm, &kernel->before);

    if (err < 0 || kernel->before.subflows >= SUBFLOWS_WANTED) {
        path_manager_free(pm);
        return err;
    }
    struct path_limits wanted = kernel->before;
    wanted.subflows = SUBFLOWS_WANTED;
    err = path_manager_set_limits(pm, &wanted);
    if (err == 0)
        kernel->path_manager = pm;
    else
        path_manager_free(pm);
    return err;
}

static void hasten_stale(struct kernel *kernel)
{
    char before[sizeof(kernel->stale_before)];

    if (sysctl_read(STALE_SYSCTL, before, sizeof(before)) < 0 || strcmp(before, STALE_LOSSES) == 0)
        return;
    int fd = sysctl_open(STALE_SYSCTL, O_WRONLY);
    if (fd < 0)
        return;
    if (pwrite(fd, STALE_LOSSES, strlen(STALE_LOSSES), 0) == -1) {
        close(fd);
        return;
    }
    kernel->stale_fd = fd;
    memcpy(kernel->stale_before, before, sizeof(before));
}

void kernel_prepare(struct kernel *kernel)
{
    struct path_manager *pm;

    *kernel = (struct kernel){.stale_fd = -1};
    check_enabled();
    check_path_manager();
    hasten_stale(kernel);
    int err = path_manager_new(&pm, NULL, NULL, NULL);
    if (err == 0)
        err = raise_limits(kernel, pm);
    if (err < 0)
        warn_of_limits(err);
}

void kernel_inherit(struct kernel *kernel, const struct kernel_legacy *legacy)
{
    kernel_prepare(kernel);
    if (legacy->limits_changed && !kernel->path_manager &&
        path_manager_new(&kernel->path_manager, NULL, NULL, NULL) < 0)
        kernel->path_manager = NULL;
    if (legacy->limits_changed)
        kernel->before = legacy->limits;
    if (legacy->stale[0] && kernel->stale_fd == -1) {
        int fd = sysctl_open(STALE_SYSCTL, O_WRONLY);
        kernel->stale_fd = fd < 0 ? -1 : fd;
    }
    if (legacy->stale[0])
        memcpy(kernel->stale_before, legacy->stale, sizeof(legacy->stale));
}

void kernel_bequeath(const struct kernel *kernel, struct kernel_legacy *out)
{
    *out = (struct kernel_legacy){.limits_changed = kernel->path_manager != NULL,
                                  .limits = kernel->before};
    if (kernel->stale_fd != -1)
        memcpy(out->stale, kernel->stale_before, sizeof(out->stale));
}

void kernel_forget(struct kernel *kernel)
{
    path_manager_free(kernel->path_manager);
    kernel->path_manager = NULL;
    if (kernel->stale_fd != -1)
        close(kernel->stale_fd);
    kernel->stale_fd = -1;
}

static void restore_stale(struct kernel *kernel)
{
    if (kernel->stale_fd != -1 &&
        pwrite(kernel->stale_fd, kernel->stale_before, strlen(kernel->stale_before), 0) == -1)
        log_warning("kernel", "cannot put net.mptcp.stale_loss_cnt back to %s: %s",
                    kernel->stale_before, strerror(errno));
}

/* Somebody else may have changed them in the meantime: then they are his. */
static void restore_limits(struct kernel *kernel)
{
    struct path_limits now;

    if (kernel->path_manager && path_manager_get_limits(kernel->path_manager, &now) == 0 &&
        now.subflows == SUBFLOWS_WANTED &&
        now.add_addr_accepted == kernel->before.add_addr_accepted)
        path_manager_set_limits(kernel->path_manager, &kernel->before);
}

void kernel_restore(struct kernel *kernel)
{
    restore_stale(kernel);
    restore_limits(kernel);
    kernel_forget(kernel);
}
