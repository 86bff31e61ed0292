/* The other end of a sealed connection, played by the test record by record. */
#ifndef TESTS_UNIT_FAR_END_H
#define TESTS_UNIT_FAR_END_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/record.h"

#define FAR_END_ROOM (1u << 20)

struct far_end {
    int fd;
    struct record_cipher *seal, *open;
    uint8_t *out; /* sealed, not sent yet */
    size_t out_len;
    uint8_t *in; /* read, not opened yet */
    size_t in_start, in_len;
    bool ended; /* end of stream was read */
    int error;  /* that reading failed with */
};

/* Takes fd. *seal and *open are for who is tested. */
void far_end_new(struct far_end *far, int fd, struct record_cipher **seal,
                 struct record_cipher **open);
void far_end_free(struct far_end *far);

/* Puts a record behind those that wait to be sent. */
void far_end_put(struct far_end *far, enum record_type type, const void *payload, size_t len);
/* Sends what waits, all in one write. */
void far_end_send(struct far_end *far);
/* Both. */
void far_end_say(struct far_end *far, enum record_type type, const void *payload, size_t len);
/* The next record that has come; false: none yet, or the stream has ended. */
bool far_end_hear(struct far_end *far, struct record *record);

#endif
