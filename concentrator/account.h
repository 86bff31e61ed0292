/* What one gateway has at this concentrator now, and had so far: the counts its limits are held
 * against, and the figures for its status. Safe from every thread; lives through reloads. */
#ifndef CONCENTRATOR_ACCOUNT_H
#define CONCENTRATOR_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#define ACCOUNT_CHALLENGES_PER_SECOND 10

/* Where a session of the gateway stands. OUTSIDE: not (or no longer) counted for it. */
enum account_place {
    ACCOUNT_OUTSIDE,
    ACCOUNT_GREETED, /* welcomed just now, OPEN is expected */
    ACCOUNT_WARM,    /* made in advance, waits */
    ACCOUNT_DIALING,
    ACCOUNT_ENDING, /* not connected; its last record is on the way */
    ACCOUNT_RELAYING,
    ACCOUNT_PLACES
};

struct account_limits {
    uint32_t max_flows, max_warm, max_dialing, max_dials_per_second;
};

struct account_figures {
    uint32_t flows; /* dialing and relaying */
    uint32_t warm;  /* greeted and warm */
    uint64_t total; /* flows so far */
    uint64_t rx_bytes, tx_bytes;
    uint64_t refused;
    bool seen;
    uint64_t last_seen_ms; /* clock_now_ms() */
};

struct account;

struct account *account_new(void); /* one reference; NULL: out of memory */
struct account *account_ref(struct account *account);
void account_unref(struct account *account); /* NULL is fine */

/* Moves one session. False, and nothing moved, when a limit forbids it; moves to OUTSIDE, ENDING
 * and RELAYING always succeed. */
bool account_move(struct account *account, enum account_place from, enum account_place to,
                  const struct account_limits *limits, uint64_t now_ms);
void account_add_bytes(struct account *account, uint64_t rx, uint64_t tx, uint64_t now_ms);
void account_note_refused(struct account *account);
/* Counts one CHALLENGE; false when there were enough of them in this second. */
bool account_may_challenge(struct account *account, uint64_t now_ms);
void account_read(struct account *account, struct account_figures *out);

#endif
