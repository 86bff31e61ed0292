/* The sandbox: which system calls this process may still make, held by a seccomp filter
 * (seccomp(2)), so that somebody who has taken it over gets little by it. What is not allowed fails
 * with ENOSYS, as if this kernel did not have it. Where the processor is not known here, or the
 * kernel has no seccomp, there is none. */
#ifndef CORE_SANDBOX_H
#define CORE_SANDBOX_H

enum sandbox {
    /* For a process that from now on only serves sockets it has or makes: it reads files; opens
     * none to write, starts no program, makes no memory executable, binds no address. Of sockets it
     * makes Unix, IPv4 and IPv6 ones only, and sets such options as relays do: CAP_NET_ADMIN is
     * then good for no more than SO_SNDBUFFORCE, and for what was opened before with it. */
    SANDBOX_RELAY,
    /* For one that goes on changing the network, and starts nft: a house is offline when a call is
     * denied that nobody has thought of, so all is allowed but what none of them ever does. Others'
     * memory, the kernel's code, BPF, io_uring, keys, mounts, namespaces, the clock, and sockets of
     * other families than these and netlink (packets in the raw, say) are out of reach. */
    SANDBOX_ROUTER
};

/* Holds for threads and processes begun later; needs privilege_drop() before. Returns 0, or -errno:
 * -EOPNOTSUPP where there is no sandbox. */
int sandbox_enter(enum sandbox sandbox);

#endif
