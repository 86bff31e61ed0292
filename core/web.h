/* The small HTTP server of metrics_listen: a fixed set of pages, each made when it is asked for,
 * from what the daemon knows; nothing can be changed by it. For a trusted network: it asks nobody
 * who he is. GET and HEAD, one request for each connection, HTTP/1.1 (RFC 9110, 9112).
 *
 * A browser in that network may have been sent here by somebody outside of it, whose own name leads
 * to our address (DNS rebinding): a private page is shown under names that only the network can
 * give.
 *
 * Not libevent's evhttp: that takes any number of connections, and spins where descriptors run out,
 * which a neighbour could use against the flows that this process is there for. */
#ifndef CORE_WEB_H
#define CORE_WEB_H

#include <stdbool.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <json-c/json.h>

#include "core/addr.h"

#define WEB_CLIENTS_MAX 16   /* one more is hung up on */
#define WEB_REQUEST_MAX 8192 /* bytes, with its headers; who sends more is hung up on */
#define WEB_PATIENCE_S 10    /* for a request to come, and for a page to be taken */

struct web_page {
    const char *path; /* "/metrics" */
    const char *type; /* of its content */
    /* "gzip": what write() appends is compressed; NULL: it is not. Nobody is asked whether he takes
     * it so: every browser does, and who names no encoding says that he does (RFC 9110, 12.5.3). */
    const char *encoding;
    bool is_private;
    /* Appends it. Returns 0, or -errno: then the client gets a 500. */
    int (*write)(void *arg, struct evbuffer *out);
};

/* For web_page.write: the document (taken) in one line. Returns 0, or -ENOMEM, also for NULL. */
int web_add_json(struct evbuffer *out, struct json_object *document);

/* Can nobody outside have given this name, as a Host field has it? An address; a name of one label,
 * or of a domain that the Internet does not have; own: what this host is called. */
bool web_is_local_name(const char *host, const char *own);

struct web;
/* Listens. pages ends with a NULL path, and outlives it. Returns 0, or -errno. */
int web_new(struct web **out, struct event_base *base, const struct addr *at,
            const struct web_page *pages, void *arg);
void web_free(struct web *web); /* NULL is fine; hangs up on everybody */

#endif
