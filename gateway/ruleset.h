/* The kernel's nftables ruleset, watched for the loss of our table: a firewall that is restarted
 * empties the ruleset, and what is others' with it. */
#ifndef GATEWAY_RULESET_H
#define GATEWAY_RULESET_H

#include <event2/event.h>

struct ruleset;

/* lost: a transaction has removed our table and not put it back, whoever's it was; or nobody knows,
 * because the kernel has dropped messages. It must not free the ruleset. Returns 0, or -errno. */
typedef void ruleset_lost(void *arg);
int ruleset_new(struct ruleset **out, struct event_base *base, ruleset_lost *lost, void *arg);
void ruleset_free(struct ruleset *ruleset); /* NULL is fine */

#endif
