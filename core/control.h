/* The control socket: a Unix stream socket on which a client sends one request line, the name of a
 * command, and gets one JSON document; or, of a command that streams, any number of them, a line
 * each, and with " follow" behind the name new ones until it hangs up. Only its owner's user may
 * connect (mode 0600). */
#ifndef CORE_CONTROL_H
#define CORE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <event2/event.h>
#include <json-c/json.h>

struct control;

/* Returns the answer (taken), or NULL for an internal failure. */
typedef struct json_object *control_answer(void *arg);

/* One that gets lines. Valid until the callback of control_keep(), or, when it is not kept, until
 * control_begin returns. */
struct control_client;

/* Begins an answer of lines: writes those that there are already. follow: more shall come, so it
 * keeps the client before it writes. Returns 0, or -errno when it has neither kept nor written. */
typedef int control_begin(void *arg, struct control_client *client, bool follow);

/* Takes the client's connection, non-blocking: what it says is none of ours any more. */
typedef void control_take(void *arg, int fd);

/* The table ends with a NULL name. A command has an answer, a begin or a take. */
struct control_command {
    const char *name;
    control_answer *answer;
    control_begin *begin;
    control_take *take;
};

/* Binds path, replacing a socket that nobody answers on; makes its directory if that is missing.
 * Returns 0, or -errno: -EADDRINUSE when a live program answers there, -EEXIST when it is no
 * socket, -ENAMETOOLONG beyond 107 bytes. */
int control_new(struct control **out, struct event_base *base, const char *path,
                const struct control_command *commands, void *arg);
/* Ends every client, too, and unlinks the socket; NULL is fine. */
void control_free(struct control *control);

/* Sends a line, without its newline, when the client takes it. One that has left more than 64 KiB
 * waiting, beside what control_begin wrote, is cut off, as is one for which there is no memory:
 * from the event loop, so that client stays valid. */
void control_write(struct control_client *client, const char *line, size_t len);
/* Keeps it beyond control_begin. ended() is called once, from the event loop or control_free(),
 * when it has hung up or is cut off. Returns 0, or -EBUSY when 16 are kept already, or -errno. */
int control_keep(struct control_client *client, void (*ended)(void *arg), void *arg);

/* The client's side, blocking for up to about 5 s, for the command line. Returns 0 and the document
 * (the caller's to put), or -errno and why[]: -ENOENT or -ECONNREFUSED when no program answers
 * there, -EPROTO when the program itself complains. */
int control_ask(const char *path, const char *command, struct json_object **answer, char *why,
                size_t why_len);

/* Which process answers there, and as which user: seen from our namespaces (pid 0: from another
 * one). Returns 0, or -errno and why[] as control_ask(). */
int control_peer(const char *path, struct ucred *peer, char *why, size_t why_len);

/* Who reads the answer to a command that streams. */
struct control_reader {
    /* Each line in turn, which it must not keep. Returns false when that was enough. */
    bool (*line)(void *arg, struct json_object *line);
    void *arg;
    int out_fd; /* where the lines go: reading ends when nobody reads there any more; -1: nowhere */
};

/* The client's side of a command that streams; with follow it blocks until the program ends.
 * Returns 0 at the stream's end, -ECANCELED when the reader has ended it, or as control_ask(). */
int control_read(const char *path, const char *command, bool follow,
                 const struct control_reader *reader, char *why, size_t why_len);

#endif
