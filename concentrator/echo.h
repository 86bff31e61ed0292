/* Answers the gateways' UDP probes (protocol.md, Probes) on the ports it listens on: stateless, and
 * silent towards everybody else. One for each worker; the kernel spreads the probes over them. */
#ifndef CONCENTRATOR_ECHO_H
#define CONCENTRATOR_ECHO_H

#include <event2/event.h>

#include "concentrator/admission.h"
#include "concentrator/peers.h"

struct echo;

/* On every address that the configuration of peers listens on. Takes a reference to peers.
 * Returns 0, or -errno. */
int echo_new(struct echo **out, struct event_base *base, struct peers *peers,
             const struct admission *admission);
void echo_free(struct echo *echo); /* NULL is fine */
void echo_reload(struct echo *echo, struct peers *peers);

#endif
