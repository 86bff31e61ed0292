/* How many connections nftables has let go direct, or refused, by rules (gateway/steering.h): what
 * the counters in our table say, summed up over the tables there have been. Each first packet
 * counts, so a client that asks twice counts twice. */
#ifndef GATEWAY_TALLY_H
#define GATEWAY_TALLY_H

#include <stdint.h>

/* Chains of our table that begin with a counter. */
#define TALLY_DIRECT "went_direct"
#define TALLY_REFUSED "refused"

struct tally_counts {
    uint64_t direct, refused;
};

struct tally;

/* Returns 0, or -errno. */
int tally_new(struct tally **out);
void tally_free(struct tally *tally); /* NULL is fine */

/* Since tally_new(); some microseconds. What cannot be read now stays as it was last. */
struct tally_counts tally_read(struct tally *tally);
/* Our table has been made anew, or removed, since it was read: its counters begin at 0. */
void tally_begin_anew(struct tally *tally);

#endif
