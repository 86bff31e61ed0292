/* The nft program, run as a process of its own. */
#ifndef GATEWAY_NFT_H
#define GATEWAY_NFT_H

#include <stddef.h>

/* Looks in PATH, and where routers have it although PATH may not say so. Returns 0 and the path, or
 * -ENOENT. */
int nft_find(char *out, size_t len);

/* Runs `nft -f -` on ruleset and waits for it, 10 s at most. Returns 0, or -errno and why[]:
 * -EINVAL with nft's own words when it refuses. */
int nft_run(const char *nft, const char *ruleset, char *why, size_t why_len);
/* Likewise, but has the kernel only look at it: nothing changes. */
int nft_check(const char *nft, const char *ruleset, char *why, size_t why_len);

#endif
