/* Runs in the child only: the conversation with the parent. */
#include "formats/hdf5_serve.h"

#include "core/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Sums of squares, say, are read in turn with what they leave over. */
enum { OPEN = 2 };

struct server {
    hid_t file;
    uint64_t file_size;
    struct qn_hdf5_sender out;
    struct qn_hdf5_places places;
    struct qn_hdf5_dataset open[OPEN]; /* the one last read and another; one chunked at most */
    size_t tensor[OPEN];               /* their numbers */
    size_t last;                       /* which was read last */
    uint8_t *data;                     /* QN_HDF5_MAX_READ bytes */
};

static bool receive_request(int fd, uint8_t *p, size_t size)
{
    while (size > 0) {
        ssize_t n = recv(fd, p, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

/* The dataset of TENSOR is s->open[s->last] then. */
static enum qins_status open_tensor(struct server *s, uint32_t tensor, struct qins_error *err)
{
    for (size_t i = 0; i < OPEN; i++)
        if (s->open[i].id >= 0 && s->tensor[i] == tensor) {
            s->last = i;
            return QINS_OK;
        }
    if (!s->open[s->last].chunked) /* two caches might be too much */
        s->last = (s->last + 1) % OPEN;
    qn_hdf5_dataset_close(&s->open[s->last]);
    s->tensor[s->last] = tensor;
    return qn_hdf5_dataset_open(&s->open[s->last], s->file, s->file_size, &s->places.items[tensor],
                                err);
}

static enum qins_status read_tensor(struct server *s, uint32_t tensor, uint64_t offset,
                                    uint32_t size, struct qins_error *err)
{
    if (tensor >= s->places.count || size > QN_HDF5_MAX_READ)
        return qn_fail(err, QINS_ERR_FORMAT, "a range outside the file was asked for");
    enum qins_status st = open_tensor(s, tensor, err);
    if (st != QINS_OK)
        return st;
    const struct qn_hdf5_dataset *d = &s->open[s->last];
    size_t element = qins_dtype_size(d->type.dtype);
    if (offset % element != 0 || size % element != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "a part of an element was asked for");
    return qn_hdf5_dataset_read(d, offset / element, size / element, s->data, err);
}

static enum qins_status answer(struct server *s, const uint8_t request[QN_HDF5_REQUEST_SIZE])
{
    struct qins_error err = {0}, ignored;
    uint32_t tensor = qn_load32(request), size = qn_load32(request + 4);
    if (read_tensor(s, tensor, qn_load64(request + 8), size, &err) != QINS_OK)
        return qn_hdf5_send_fail(&s->out, &err, &ignored);
    enum qins_status st = qn_hdf5_send(&s->out, QN_HDF5_DATA, s->data, size, NULL, 0, &ignored);
    return st == QINS_OK ? qn_hdf5_send_flush(&s->out, &ignored) : st;
}

static enum qins_status open_file(struct server *s, const char *path, struct qins_error *err)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    enum qins_status st = QINS_OK;
    s->data = malloc(QN_HDF5_MAX_READ);
    if (!s->data)
        st = qn_fail_memory(err);
    /* Members of a family and drivers named by the file are other files: only plain ones. */
    if (st == QINS_OK && (access < 0 || H5Pset_fapl_sec2(access) < 0))
        st = qn_hdf5_fail(err, QINS_ERR_FORMAT, "libhdf5 cannot be set up");
    if (st == QINS_OK && (s->file = H5Fopen(path, H5F_ACC_RDONLY, access)) < 0)
        st = qn_hdf5_fail(err, QINS_ERR_FORMAT, "it is no readable HDF5 file");
    if (access >= 0)
        H5Pclose(access);
    return st;
}

/* Nothing is closed at the end: the process ends, and libhdf5 has no writes to save. */
void qn_hdf5_serve(int fd, const char *path, uint64_t file_size,
                   const struct qn_hdf5_stages *stages)
{
    struct server s = {.file = -1, .file_size = file_size, .out = {.fd = fd}};
    uint8_t request[QN_HDF5_REQUEST_SIZE];
    struct qins_error err = {0}, ignored;
    for (size_t i = 0; i < OPEN; i++)
        s.open[i] = (struct qn_hdf5_dataset){.id = -1, .space = -1, .memory_type = -1};
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    enum qins_status st = open_file(&s, path, &err);
    if (st == QINS_OK) {
        stages->before_listing(stages->ctx);
        st = qn_hdf5_list(s.file, file_size, &s.out, &s.places, &err);
    }
    if (st != QINS_OK)
        st = qn_hdf5_send_fail(&s.out, &err, &ignored);
    else
        st = qn_hdf5_send_flush(&s.out, &ignored);
    while (st == QINS_OK && receive_request(fd, request, sizeof request)) {
        stages->before_request(stages->ctx);
        st = answer(&s, request);
    }
    for (size_t i = 0; i < OPEN; i++)
        qn_hdf5_dataset_close(&s.open[i]);
    qn_hdf5_places_finish(&s.places);
    qn_hdf5_sender_finish(&s.out);
    free(s.data);
}
