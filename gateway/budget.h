/* One uplink's data budget: what its interface has carried in this month, both ways, and what is
 * to be done about it. Pure: readings and time in, verdict out; plain data, owned by the ledger
 * (gateway/ledger.h).
 *
 * A month begins at midnight of budget_day, in the local time zone (TZ, or /etc/localtime); in a
 * month that is too short for the day, on its last day. It is turned only by a time that is known
 * to be right: a router's own clock may start in 1970. Each month has a count of its own, and the
 * last two are kept, so that a clock that errs and is set right again leaves the count as it was. A
 * clock that is not known yet counts on in the month that was last known. */
#ifndef GATEWAY_BUDGET_H
#define GATEWAY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum budget_state {
    BUDGET_OK,
    BUDGET_LOW,  /* four fifths are used */
    BUDGET_SPENT /* all of it, with what is under way */
};
const char *budget_state_name(enum budget_state state);

struct budget_month {
    int64_t start_s; /* Unix time; 0: not known */
    uint64_t used;   /* bytes */
};

/* What an interface says that it has carried since it exists. */
struct budget_reading {
    uint32_t ifindex; /* 0: none */
    uint64_t rx_bytes, tx_bytes;
};

/* What outlives the program (gateway/budget_file.h). */
struct budget_count {
    uint32_t day; /* on which a month begins, 1 to 31 */
    struct budget_month now, other;
    /* The limit that was reached; 0: none. Spent it stays, until the month turns or there is more:
     * what counted as under way may not have come. */
    uint64_t reached;
    /* The last reading. An interface of another index, or of another life of the machine, has
     * counted from zero since, and all of it counts; where there was no reading yet (!begun), none
     * of what it carried before does. */
    bool begun;
    struct budget_reading last;
};

struct budget {
    uint64_t limit; /* bytes; not 0 */
    struct budget_count count;
    /* Of this life. */
    bool sampled;
    uint64_t sampled_ms;
    uint64_t rate,
        rx_rate;   /* bytes/s, both ways and received: smoothed over a quarter of a second */
    uint64_t peak; /* the highest rate */
};

/* count: as it was kept; NULL: nothing was. One that was kept for another day belongs to the month
 * that is found first. */
void budget_init(struct budget *budget, uint64_t limit, uint32_t day,
                 const struct budget_count *count);

/* Adds what came since the last reading. Returns the bytes added. */
uint64_t budget_add(struct budget *budget, const struct budget_reading *now, uint64_t now_ms);
/* now_s: Unix time, known to be right. True when another month counts from now on. */
bool budget_turn(struct budget *budget, int64_t now_s);
/* rtt_us: how long a word to the far end takes to have an effect here; 0: not known. */
enum budget_state budget_judge(struct budget *budget, uint32_t rtt_us);
/* In how many ms to read again: soon enough that the limit is not overrun by much. */
uint32_t budget_next_ms(const struct budget *budget);

/* Of the month that holds now_s: its first second, and the next one's. */
int64_t budget_month_start(int64_t now_s, uint32_t day);
int64_t budget_month_end(int64_t now_s, uint32_t day);
/* Until the next month begins; a begun day is one. */
uint32_t budget_days_left(const struct budget *budget, int64_t now_s);

#endif
