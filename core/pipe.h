/* One direction of a relay: bytes from a source socket, sealed, opened or as they are, to a sink
 * socket. Knows no events: pipe_pump() moves what can be moved and says what it waits for.
 * It works in the pool's workspace, in large strokes; what the sink does not take, or the start of
 * a record whose rest is yet to come, moves to a buffer of its own. So it holds one buffer at most,
 * and none while it waits for a source that has nothing. */
#ifndef CORE_PIPE_H
#define CORE_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/record.h"

enum pipe_kind { PIPE_PLAIN, PIPE_SEAL, PIPE_OPEN };

enum pipe_stage {
    PIPE_STREAMING, /* the source may have more */
    PIPE_FINISHING, /* the source has ended: what is held goes out, then the end itself */
    PIPE_RESETTING, /* likewise, and the end is a reset: RESET is sealed, or has come */
    PIPE_ENDED
};

enum pipe_result {
    PIPE_WANT_READ,
    PIPE_WANT_WRITE,
    PIPE_DONE,         /* ended in order: FIN is out, or the sink's write side is shut down */
    PIPE_SOURCE_RESET, /* reading failed: the source's connection is gone */
    PIPE_SINK_RESET,   /* writing failed: the sink's is */
    PIPE_PEER_RESET,   /* RESET came; what was before it is out, or the sink does not take it */
    PIPE_TRUNCATED,    /* the source ended without FIN */
    PIPE_PROTOCOL,     /* a record that does not open, or may not come now */
    PIPE_NO_MEMORY,
    PIPE_FAILED /* libcrypto */
};

/* Owned by a relay, by value. */
struct pipe {
    enum pipe_kind kind;
    enum pipe_stage stage;
    int source, sink;             /* borrowed */
    struct buffer_pool *pool;     /* borrowed */
    struct record_cipher *cipher; /* owned; NULL for PIPE_PLAIN */
    struct pipe *reverse;         /* PIPE_OPEN: the sealing direction, which owes the PONGs */
    struct buffer *held;          /* between two turns */
    size_t ready;                 /* so many bytes of it are to be written, the rest is raw */
    size_t room;                  /* that the sink had at least, when the kernel was asked */
    bool bulk;                    /* the last read brought much: it may be a larger one now */
    size_t limit;   /* no more is read in one turn, below 4 KiB nothing; 0: no limit */
    bool owes_pong; /* PIPE_SEAL: the peer's PING is to be answered with pong[] */
    uint8_t pong[8];
    uint64_t bytes;   /* payload written to the sink, or sealed for it */
    uint64_t traffic; /* grows whenever anything moves, records without payload too */
};

/* Moves bytes until the source is drained, the sink is full, the limit is reached, or others have
 * waited long enough (in both cases PIPE_WANT_READ, and the source is still readable). */
enum pipe_result pipe_pump(struct pipe *pipe);

/* Puts bytes that were read from the source already in front (taken). */
void pipe_prepend(struct pipe *pipe, struct buffer *first);

/* PIPE_SEAL: nothing more is read; RESET is the last record. */
void pipe_send_reset(struct pipe *pipe, uint8_t code);

/* Gives the buffer back and wipes the cipher. Idempotent. */
void pipe_release(struct pipe *pipe);

#endif
