#include "concentrator/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/packet_scheduler.h"
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
    kernel->found = kernel->before;
    kernel->raised = true;
    kernel->path_manager = pm; /* also when it fails: the answer may be what was lost */
    return path_manager_set_limits(pm, &wanted);
}

/* Returns 0, or -errno: then it is as it was. */
static int hold_sysctl(struct held_sysctl *held, const char *name, const char *value)
{
    int err = sysctl_read(name, held->before, sizeof(held->before));

    if (err < 0 || strcmp(held->before, value) == 0)
        return err;
    int fd = sysctl_open(name, O_WRONLY);
    if (fd < 0)
        return fd;
    if (pwrite(fd, value, strlen(value), 0) == -1) {
        err = -errno;
        close(fd);
        return err;
    }
    held->fd = fd;
    held->changed = true;
    memcpy(held->found, held->before, sizeof(held->found));
    return 0;
}

/* before: as another process found it, or "". */
static void inherit_sysctl(struct held_sysctl *held, const char *name, const char *before)
{
    if (!before[0])
        return;
    if (!held->changed) {
        held->fd = sysctl_open(name, O_WRONLY);
        held->changed = held->fd >= 0;
    }
    snprintf(held->before, sizeof(held->before), "%s", before);
}

static void put_back(const struct held_sysctl *held, const char *name, const char *value)
{
    if (held->changed && pwrite(held->fd, value, strlen(value), 0) == -1)
        log_warning("kernel", "cannot put %s back to %s: %s", name, value, strerror(errno));
}

static void put_back_found(const struct held_sysctl *held, const char *name)
{
    if (held->found[0])
        put_back(held, name, held->found);
}

static void let_go(struct held_sysctl *held)
{
    if (held->changed)
        close(held->fd);
    held->changed = false;
}

static int set_packet_scheduler(struct kernel *kernel, const char *name)
{
    char why[512];

    if (name[0] == '\0')
        return 0;
    int err = packet_scheduler_find(name, why, sizeof(why));
    if (err < 0) {
        log_error("kernel", "%s", why);
        return err;
    }
    err = hold_sysctl(&kernel->scheduler, PACKET_SCHEDULER_SYSCTL, name);
    if (err < 0)
        log_error("kernel", "cannot set packet_scheduler \"%s\": %s", name, strerror(-err));
    return err;
}

int kernel_prepare(struct kernel *kernel, const char *packet_scheduler)
{
    struct path_manager *pm;

    *kernel = (struct kernel){0};
    check_enabled();
    check_path_manager();
    hold_sysctl(&kernel->stale, STALE_SYSCTL, STALE_LOSSES);
    int err = path_manager_new(&pm, NULL, NULL, NULL);
    if (err == 0)
        err = raise_limits(kernel, pm);
    if (err < 0)
        warn_of_limits(err);
    return set_packet_scheduler(kernel, packet_scheduler);
}

int kernel_inherit(struct kernel *kernel, const struct kernel_legacy *legacy,
                   const char *packet_scheduler)
{
    int err = kernel_prepare(kernel, packet_scheduler);

    if (legacy->limits_changed && !kernel->path_manager &&
        path_manager_new(&kernel->path_manager, NULL, NULL, NULL) < 0)
        kernel->path_manager = NULL;
    if (legacy->limits_changed)
        kernel->before = legacy->limits;
    inherit_sysctl(&kernel->stale, STALE_SYSCTL, legacy->stale);
    inherit_sysctl(&kernel->scheduler, PACKET_SCHEDULER_SYSCTL, legacy->scheduler);
    return err;
}

void kernel_bequeath(const struct kernel *kernel, struct kernel_legacy *out)
{
    *out = (struct kernel_legacy){.limits_changed = kernel->path_manager != NULL,
                                  .limits = kernel->before};
    if (kernel->stale.changed)
        memcpy(out->stale, kernel->stale.before, sizeof(out->stale));
    if (kernel->scheduler.changed)
        memcpy(out->scheduler, kernel->scheduler.before, sizeof(out->scheduler));
}

void kernel_forget(struct kernel *kernel)
{
    path_manager_free(kernel->path_manager);
    kernel->path_manager = NULL;
    let_go(&kernel->stale);
    let_go(&kernel->scheduler);
}

/* Somebody else may have changed them in the meantime: then they are his. */
static void restore_limits(struct kernel *kernel, const struct path_limits *to)
{
    struct path_limits now;

    if (kernel->path_manager && path_manager_get_limits(kernel->path_manager, &now) == 0 &&
        now.subflows == SUBFLOWS_WANTED && now.add_addr_accepted == to->add_addr_accepted)
        path_manager_set_limits(kernel->path_manager, to);
}

void kernel_restore(struct kernel *kernel)
{
    put_back(&kernel->stale, STALE_SYSCTL, kernel->stale.before);
    put_back(&kernel->scheduler, PACKET_SCHEDULER_SYSCTL, kernel->scheduler.before);
    restore_limits(kernel, &kernel->before);
    kernel_forget(kernel);
}

void kernel_withdraw(struct kernel *kernel)
{
    put_back_found(&kernel->stale, STALE_SYSCTL);
    put_back_found(&kernel->scheduler, PACKET_SCHEDULER_SYSCTL);
    if (kernel->raised)
        restore_limits(kernel, &kernel->found);
    kernel_forget(kernel);
}
