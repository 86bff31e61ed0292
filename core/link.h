/* Join links: one line with all that a gateway needs of its concentrator (protocol.md, Key). Pure.
 * It holds a secret, like a key. */
#ifndef CORE_LINK_H
#define CORE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/key.h"

#define LINK_HOST_MAX 253 /* of a DNS name */
#define LINK_NAME_MAX 31  /* as in configuration files */
#define LINK_TEXT 384     /* fits the longest, and its terminator */

struct join_link {
    char host[LINK_HOST_MAX + 1]; /* an address, without brackets, or a DNS name */
    uint16_t port;
    struct key key;
    char name[LINK_NAME_MAX + 1]; /* the gateway's, at the concentrator */
};

enum link_verdict {
    LINK_OK = 0,
    LINK_NONE,    /* something else */
    LINK_KEY,     /* a key line */
    LINK_VERSION, /* of another version of bondway */
    LINK_CUT,     /* the end is missing */
    LINK_HOST,    /* no host and port */
    LINK_DAMAGED, /* a character is wrong: the key's id and secret do not belong together */
    LINK_NAME,    /* something that is no name behind the '#' */
    LINK_LONG     /* something follows */
};

/* host, port, key and name must be good: link_parse() of the result gives them back. */
void link_format(const struct join_link *link, char out[LINK_TEXT]);
/* What stands before the link is passed over, and white space, quotes, '<', '>' and what is not
 * ASCII also within it, as mail programs and terminals put it there. Unless it is OK, *link is all
 * zeros. Wipe after use. */
enum link_verdict link_parse(struct join_link *link, const char *text);
void link_wipe(struct join_link *link);
bool link_is_name(const char *text);
/* "203.0.113.10:7171", "[2001:db8::1]:7171", "vps.example:7171". Returns LINK_OK or LINK_HOST. */
enum link_verdict link_set_host(struct join_link *link, const char *text);
/* What is wrong, and what to do. */
const char *link_why(enum link_verdict verdict);

#endif
