/* The control socket: lines of text in, one line of answer for each. */
#ifndef NETLAB_CONTROL_H
#define NETLAB_CONTROL_H

#include <stddef.h>

#include "tests/netlab/link.h"

#define CONTROL_LINE_MAX 512
#define CONTROL_ANSWER_MAX 2048

/* Obeys one line, which it cuts to pieces, and writes the answer, newline and all:
 *   set up|down|both KEY=VALUE...   rate=50M delay=10ms jitter=2ms loss=0.5 (percent)
 *                                   queue=100ms | queue=64000 (bytes) | queue=0 (no limit)
 *                                   drop=on|off mptcp=pass|strip
 *   carrier on|off
 *   seed NUMBER                     what is drawn from here on follows from it
 *   stats                           one JSON object
 * A line either takes effect as a whole or, answered by "error: ...", not at all. */
void control_obey(struct link *link, char *line, char answer[CONTROL_ANSWER_MAX]);

#endif
