/* The control socket: a Unix stream socket on which a client sends one request line and gets one
 * JSON document. Only its owner's user may connect (mode 0600). */
#ifndef CORE_CONTROL_H
#define CORE_CONTROL_H

#include <event2/event.h>
#include <json-c/json.h>

struct control;

/* Returns the answer (taken), or NULL for an internal failure. */
typedef struct json_object *control_answer(void *arg);

/* The table ends with a NULL name. */
struct control_command {
    const char *name;
    control_answer *answer;
};

/* Binds path, replacing a socket that nobody answers on; makes its directory if that is missing.
 * Returns 0, or -errno: -EADDRINUSE when a live program answers there, -EEXIST when it is no
 * socket, -ENAMETOOLONG beyond 107 bytes. */
int control_new(struct control **out, struct event_base *base, const char *path,
                const struct control_command *commands, void *arg);
void control_free(struct control *control); /* also unlinks the socket; NULL is fine */

/* The client's side, blocking for up to about 5 s, for the command line. Returns 0 and the document
 * (the caller's to put), or -errno and why[]: -ENOENT or -ECONNREFUSED when no program answers
 * there, -EPROTO when the program itself complains. */
int control_ask(const char *path, const char *command, struct json_object **answer, char *why,
                size_t why_len);

#endif
