#include "formats/hdf5_protocol.h"

#include "core/bytes.h"

#include <errno.h>
#include <sys/socket.h>

enum { FLUSH_AT = 64 << 10 /* bytes */ };

void qn_hdf5_sender_finish(struct qn_hdf5_sender *s)
{
    qn_buf_finish(&s->buf);
}

static enum qins_status send_all(int fd, const uint8_t *p, size_t size, struct qins_error *err)
{
    while (size > 0 && fd >= 0) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return qn_fail_errno(err, NULL, "send");
        p += n;
        size -= (size_t)n;
    }
    return QINS_OK;
}

enum qins_status qn_hdf5_send_flush(struct qn_hdf5_sender *s, struct qins_error *err)
{
    enum qins_status st = send_all(s->fd, s->buf.data, s->buf.size, err);
    s->buf.size = 0;
    return st;
}

enum qins_status qn_hdf5_send(struct qn_hdf5_sender *s, enum qn_hdf5_kind kind, const void *head,
                              size_t head_size, const void *tail, size_t tail_size,
                              struct qins_error *err)
{
    uint8_t header[QN_HDF5_HEADER_SIZE];
    if (head_size > QN_HDF5_MAX_RECORD || tail_size > QN_HDF5_MAX_RECORD - head_size)
        return qn_fail(err, QINS_ERR_FORMAT, "an object's name or text is too long");
    qn_store32(header, (uint32_t)kind);
    qn_store32(header + 4, (uint32_t)(head_size + tail_size));
    enum qins_status st = qn_buf_append(&s->buf, header, sizeof header, err);
    if (st == QINS_OK)
        st = qn_buf_append(&s->buf, head, head_size, err);
    if (st == QINS_OK)
        st = qn_buf_append(&s->buf, tail, tail_size, err);
    if (st == QINS_OK && s->buf.size >= FLUSH_AT)
        st = qn_hdf5_send_flush(s, err);
    return st;
}

enum qins_status qn_hdf5_send_fail(struct qn_hdf5_sender *s, const struct qins_error *failure,
                                   struct qins_error *err)
{
    uint8_t head[4];
    qn_store32(head, (uint32_t)failure->status);
    enum qins_status st = qn_hdf5_send(s, QN_HDF5_FAIL, head, sizeof head, failure->message,
                                       strlen(failure->message), err);
    return st == QINS_OK ? qn_hdf5_send_flush(s, err) : st;
}

enum qins_status qn_hdf5_received_fail(const uint8_t *payload, size_t size, struct qins_error *err)
{
    struct qn_cursor c = qn_cursor_init(payload, size);
    uint32_t status = qn_cursor_u32(&c);
    size_t n = qn_cursor_left(&c);
    const char *text = (const char *)qn_cursor_take(&c, n);
    if (c.bad || n == 0 || n >= sizeof err->message || memchr(text, 0, n))
        return qn_fail(err, QINS_ERR_FORMAT, "the process that reads this file failed");
    /* The child's memory is limited because the file's word on sizes is not trusted. */
    if (status == QINS_ERR_MEMORY)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "reading this file takes more memory than libhdf5 is granted");
    bool input = status == QINS_ERR_UNSUPPORTED || status == QINS_ERR_IO;
    return qn_fail(err, input ? (enum qins_status)status : QINS_ERR_FORMAT, "%.*s", (int)n, text);
}
