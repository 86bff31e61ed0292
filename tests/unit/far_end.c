#include "tests/unit/far_end.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

void far_end_new(struct far_end *far, int fd, struct record_cipher **seal,
                 struct record_cipher **open)
{
    static const uint8_t outward[CRYPTO_KEY] = {1}, inward[CRYPTO_KEY] = {2};

    *far = (struct far_end){.fd = fd,
                            .seal = record_sealer_new(SUITE_AES_128_GCM, inward),
                            .open = record_opener_new(SUITE_AES_128_GCM, outward),
                            .out = malloc(FAR_END_ROOM),
                            .in = malloc(FAR_END_ROOM)};
    *seal = record_sealer_new(SUITE_AES_128_GCM, outward);
    *open = record_opener_new(SUITE_AES_128_GCM, inward);
    assert_true(far->seal && far->open && far->out && far->in && *seal && *open);
}

void far_end_free(struct far_end *far)
{
    if (far->fd != -1)
        close(far->fd);
    record_cipher_free(far->seal);
    record_cipher_free(far->open);
    free(far->out);
    free(far->in);
    *far = (struct far_end){.fd = -1};
}

void far_end_put(struct far_end *far, enum record_type type, const void *payload, size_t len)
{
    uint8_t *frame = far->out + far->out_len;

    assert_true(far->out_len + len + RECORD_OVERHEAD <= FAR_END_ROOM);
    if (len > 0)
        memcpy(frame + RECORD_HEAD, payload, len);
    assert_int_equal(record_seal(far->seal, type, frame, len), len + RECORD_OVERHEAD);
    far->out_len += len + RECORD_OVERHEAD;
}

void far_end_send(struct far_end *far)
{
    assert_int_equal(send(far->fd, far->out, far->out_len, MSG_NOSIGNAL), far->out_len);
    far->out_len = 0;
}

void far_end_say(struct far_end *far, enum record_type type, const void *payload, size_t len)
{
    far_end_put(far, type, payload, len);
    far_end_send(far);
}

static void read_more(struct far_end *far)
{
    if (far->fd == -1 || far->ended || far->error)
        return;
    memmove(far->in, far->in + far->in_start, far->in_len - far->in_start);
    far->in_len -= far->in_start;
    far->in_start = 0;
    ssize_t n = recv(far->fd, far->in + far->in_len, FAR_END_ROOM - far->in_len, MSG_DONTWAIT);
    if (n > 0)
        far->in_len += (size_t)n;
    else if (n == 0)
        far->ended = true;
    else if (errno != EAGAIN)
        far->error = errno;
}

static bool open_next(struct far_end *far, struct record *record)
{
    enum record_verdict v =
        record_open(far->open, far->in + far->in_start, far->in_len - far->in_start, record);

    if (v == RECORD_BAD)
        fail_msg("a record that does not open");
    if (v == RECORD_OK)
        far->in_start += record->consumed;
    return v == RECORD_OK;
}

bool far_end_hear(struct far_end *far, struct record *record)
{
    if (open_next(far, record))
        return true;
    read_more(far);
    return open_next(far, record);
}
