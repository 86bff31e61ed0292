/* The configured concentrators: which of them answer, and the connections that wait there, made in
 * advance (warm), so that a new flow starts without a round trip and a dead concentrator or a wrong
 * key is known before a flow needs it. */
#ifndef GATEWAY_CONCENTRATORS_H
#define GATEWAY_CONCENTRATORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/trunk.h"

struct concentrators;

enum concentrator_state { CONCENTRATOR_UNKNOWN, CONCENTRATOR_UP, CONCENTRATOR_DOWN };
const char *concentrator_state_name(enum concentrator_state state);

/* Why a dial there failed, and what to do, for a person. */
void concentrator_explain(const struct concentrator_entry *entry, enum trunk_failure why, int error,
                          char *out, size_t len);

/* One of them went up or down. From the event loop. */
typedef void concentrators_changed(void *arg);

/* Dials the first warm connections. context must outlive it; config too, up to
 * concentrators_reload(). Returns 0, or -errno. */
int concentrators_new(struct concentrators **out, const struct trunk_context *context,
                      const struct gateway_config *config, concentrators_changed *changed,
                      void *arg);
void concentrators_free(struct concentrators *cs); /* NULL is fine */
/* From now on those of config. One with the same address and key stays as it is; the connections of
 * one that is gone run to their end. When that was the one in use, and none of the others is known
 * to be up, it goes on to take new flows until one of them is, or all are down. From the event
 * loop, from outside any callback of it. Returns 0, or -ENOMEM, and nothing has changed. */
int concentrators_reload(struct concentrators *cs, const struct gateway_config *config);

/* Where a new flow goes: the first that is up, in the configuration's order, but back to one that
 * was down only when it has been well for half a minute; NULL where none is up. */
struct station *concentrators_choose(struct concentrators *cs);
/* Of one that is not configured any more nobody knows. */
bool concentrators_is_down(const struct concentrators *cs, const struct station *station);
/* Probes to the one in use are answered by no uplink, or are again. When that lasts for a second,
 * it is down: then others are asked. When it ends, it is dialled at once. */
void concentrators_set_silent(struct concentrators *cs, bool silent);
/* A warm connection there, or NULL. The caller adopts it at once; another one is dialled. */
struct trunk *concentrators_take(struct concentrators *cs, struct station *station);
/* A flow could not reach it: look again now. */
void concentrators_doubt(struct concentrators *cs, struct station *station);
/* Uplinks changed: adapt the warm connections, and dial again where none could be made. */
void concentrators_uplinks_changed(struct concentrators *cs);

struct concentrator_status {
    const struct concentrator_entry *entry;
    enum concentrator_state state;
    const char *reason; /* why it is down; "" otherwise */
    uint32_t rtt_us;    /* by the best uplink; 0: unknown, as of all but the one in use */
    unsigned warm;
};
size_t concentrators_count(const struct concentrators *cs);
struct concentrator_status concentrators_status(const struct concentrators *cs, size_t index);

#endif
