/* The kernel's MPTCP interface (include/uapi/linux/mptcp.h, mptcp_pm.h, tcp.h of Linux 6.18), under
 * names of our own: the headers of the build host may be older, or define the same ones. */
#ifndef CORE_MPTCP_UAPI_H
#define CORE_MPTCP_UAPI_H

#include <stdint.h>
#include <sys/socket.h>

#define UAPI_SOL_MPTCP 284
#define UAPI_TCP_IS_MPTCP 43

/* Options of SOL_MPTCP. */
enum { UAPI_MPTCP_INFO = 1, UAPI_MPTCP_TCPINFO, UAPI_MPTCP_SUBFLOW_ADDRS, UAPI_MPTCP_FULL_INFO };

#define UAPI_MPTCP_INFO_FLAG_FALLBACK 1u

/* The part that every kernel since 5.9 fills; later ones add to the end. */
struct uapi_mptcp_info {
    uint8_t counters[6];
    uint32_t flags;
    uint32_t token;
};

/* struct tcp_info up to min_rtt (since 4.6). */
struct uapi_tcp_info {
    uint8_t state, ca_state, retransmits;
    uint8_t bytes[5];
    uint32_t rto, ato, snd_mss, rcv_mss;
    uint32_t unacked, sacked, lost, retrans, fackets;
    uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
    uint32_t pmtu, rcv_ssthresh;
    uint32_t rtt, rttvar;
    uint32_t snd_ssthresh, snd_cwnd, advmss, reordering;
    uint32_t rcv_rtt, rcv_space;
    uint32_t total_retrans;
    uint64_t pacing_rate, max_pacing_rate;
    uint64_t bytes_acked, bytes_received;
    uint32_t segs_out, segs_in;
    uint32_t notsent_bytes, min_rtt;
};

struct uapi_mptcp_subflow_data {
    uint32_t size_subflow_data; /* of this struct */
    uint32_t num_subflows;      /* the kernel's answers: 0 in a request */
    uint32_t size_kernel;
    uint32_t size_user; /* of one element behind it */
} __attribute__((aligned(8)));

struct uapi_mptcp_subflow_addrs {
    struct sockaddr_storage local, remote;
};

struct uapi_mptcp_subflow_info {
    uint32_t id;
    struct uapi_mptcp_subflow_addrs addrs;
};

struct uapi_mptcp_full_info {
    uint32_t size_tcpinfo_kernel; /* the kernel's answers: 0 in a request */
    uint32_t size_tcpinfo_user;
    uint32_t size_sfinfo_kernel;
    uint32_t size_sfinfo_user;
    uint32_t num_subflows;
    uint32_t size_arrays_user;                         /* elements in each array */
    uint64_t subflow_info __attribute__((aligned(8))); /* pointers */
    uint64_t tcp_info __attribute__((aligned(8)));
    struct uapi_mptcp_info mptcp_info;
};

/* Generic netlink family. */
#define UAPI_MPTCP_PM_NAME "mptcp_pm"
#define UAPI_MPTCP_PM_EVENTS "mptcp_pm_events"
#define UAPI_MPTCP_PM_VERSION 1

enum uapi_mptcp_pm_command {
    UAPI_MPTCP_PM_CMD_SET_LIMITS = 5,
    UAPI_MPTCP_PM_CMD_GET_LIMITS,
    UAPI_MPTCP_PM_CMD_SET_FLAGS,
    UAPI_MPTCP_PM_CMD_ANNOUNCE,
    UAPI_MPTCP_PM_CMD_REMOVE,
    UAPI_MPTCP_PM_CMD_SUBFLOW_CREATE,
    UAPI_MPTCP_PM_CMD_SUBFLOW_DESTROY
};

enum uapi_mptcp_pm_attr {
    UAPI_MPTCP_PM_ATTR_ADDR = 1,      /* nested */
    UAPI_MPTCP_PM_ATTR_RCV_ADD_ADDRS, /* u32 */
    UAPI_MPTCP_PM_ATTR_SUBFLOWS,      /* u32 */
    UAPI_MPTCP_PM_ATTR_TOKEN,         /* u32 */
    UAPI_MPTCP_PM_ATTR_LOC_ID,        /* u8 */
    UAPI_MPTCP_PM_ATTR_ADDR_REMOTE    /* nested */
};

enum uapi_mptcp_pm_addr_attr {
    UAPI_MPTCP_PM_ADDR_ATTR_FAMILY = 1, /* u16 */
    UAPI_MPTCP_PM_ADDR_ATTR_ID,         /* u8 */
    UAPI_MPTCP_PM_ADDR_ATTR_ADDR4,
    UAPI_MPTCP_PM_ADDR_ATTR_ADDR6,
    UAPI_MPTCP_PM_ADDR_ATTR_PORT,  /* u16, host order */
    UAPI_MPTCP_PM_ADDR_ATTR_FLAGS, /* u32 */
    UAPI_MPTCP_PM_ADDR_ATTR_IF_IDX /* s32 */
};

#define UAPI_MPTCP_PM_ADDR_FLAG_SUBFLOW 2u
#define UAPI_MPTCP_PM_ADDR_FLAG_BACKUP 4u

enum uapi_mptcp_attr {
    UAPI_MPTCP_ATTR_TOKEN = 1, /* u32 */
    UAPI_MPTCP_ATTR_FAMILY,    /* u16 */
    UAPI_MPTCP_ATTR_LOC_ID,    /* u8 */
    UAPI_MPTCP_ATTR_REM_ID,    /* u8 */
    UAPI_MPTCP_ATTR_SADDR4,
    UAPI_MPTCP_ATTR_SADDR6,
    UAPI_MPTCP_ATTR_DADDR4,
    UAPI_MPTCP_ATTR_DADDR6,
    UAPI_MPTCP_ATTR_SPORT, /* u16, network order, as the next */
    UAPI_MPTCP_ATTR_DPORT,
    UAPI_MPTCP_ATTR_BACKUP, /* u8 */
    UAPI_MPTCP_ATTR_ERROR,  /* u8 */
    UAPI_MPTCP_ATTR_FLAGS,
    UAPI_MPTCP_ATTR_TIMEOUT,
    UAPI_MPTCP_ATTR_IF_IDX, /* s32 */
    UAPI_MPTCP_ATTR_COUNT   /* later ones are not read */
};

#endif
