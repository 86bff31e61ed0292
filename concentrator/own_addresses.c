#include "concentrator/own_addresses.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM_AT_FIRST 16

static int add(struct own_addresses *own, const struct addr *a)
{
    if (own->n == own->room) {
        size_t room = own->room ? 2 * own->room : ROOM_AT_FIRST;
        struct addr *more = realloc(own->list, room * sizeof(more[0]));
        if (!more)
            return -ENOMEM;
        own->list = more;
        own->room = room;
    }
    own->list[own->n++] = *a;
    return 0;
}

/* All of them, secondary ones, too, when there is room for more than there are (netdevice(7)).
 * Returns how many bytes of answer, or -errno; -EAGAIN: there are more. */
static int read_answer4(int fd, char *answer, int room)
{
    struct ifconf conf = {.ifc_len = room, .ifc_buf = answer};

    if (ioctl(fd, SIOCGIFCONF, &conf) == -1)
        return -errno;
    return conf.ifc_len > room - (int)sizeof(struct ifreq) ? -EAGAIN : conf.ifc_len;
}

static int take4(struct own_addresses *own, const char *answer, int len)
{
    struct ifreq entry;
    struct addr a;
    int err = 0;

    for (int at = 0; at < len && err == 0; at += (int)sizeof(entry)) {
        memcpy(&entry, answer + at, sizeof(entry));
        if (addr_from_sockaddr(&a, &entry.ifr_addr) == 0)
            err = add(own, &a);
    }
    return err;
}

static int read4(struct own_addresses *own, int fd)
{
    char *answer = NULL;
    int len = -EAGAIN;

    for (int room = ROOM_AT_FIRST * (int)sizeof(struct ifreq); len == -EAGAIN; room *= 2) {
        char *more = realloc(answer, (size_t)room);
        if (!more) {
            free(answer);
            return -ENOMEM;
        }
        answer = more;
        len = read_answer4(fd, answer, room);
    }
    int err = len < 0 ? len : take4(own, answer, len);
    free(answer);
    return err;
}

/* Each line begins with 32 hexadecimal digits. Without the file there is no IPv6. */
static int read6(struct own_addresses *own)
{
    FILE *file = fopen("/proc/net/if_inet6", "re");
    char line[128];
    int err = 0;

    if (!file)
        return errno == ENOENT ? 0 : -errno;
    while (err == 0 && fgets(line, sizeof(line), file)) {
        struct addr a = {.family = 6};
        unsigned byte, n = 0;
        while (n < 16 && sscanf(line + 2 * n, "%2x", &byte) == 1)
            a.ip[n++] = (uint8_t)byte;
        err = n == 16 ? add(own, &a) : -EPROTO;
    }
    if (err == 0 && ferror(file))
        err = -EIO;
    fclose(file);
    return err;
}

static int read_all(struct own_addresses *own)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -errno;
    int err = read4(own, fd);
    close(fd);
    return err < 0 ? err : read6(own);
}

int own_addresses_renew(struct own_addresses *own, uint64_t now_ms)
{
    struct own_addresses fresh = {.read_ms = now_ms};

    if (own->list && now_ms - own->read_ms < OWN_ADDRESSES_RENEW_MS)
        return 0;
    int err = read_all(&fresh);
    if (err < 0) {
        free(fresh.list);
        return err;
    }
    free(own->list);
    *own = fresh;
    return 0;
}

void own_addresses_clear(struct own_addresses *own)
{
    free(own->list);
    *own = (struct own_addresses){0};
}
