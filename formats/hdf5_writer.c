/* Restores to HDF5. libhdf5 makes the whole file but for the tensors' bytes when the writer is
 * created: every dataset is contiguous with its place reserved, so the bytes then go straight
 * to their offsets. The oldest file format is used, which every reader knows. */
#include "formats/hdf5_write.h"

#include "core/bytes.h"
#include "formats/archive/hdf5_driver.h"
#include "formats/hdf5_common.h"
#include "formats/placed_writer.h"

#include <errno.h>
#include <stdlib.h>

struct session {
    hid_t driver, access, creation, dataset_creation, file;
    struct qn_hdf5_channel channel;
    const struct qn_attachment_list *attachments;
    json_t *paths;
};

/* What a tensor is stored as. HDF5 has no float format without infinities, so E4M3, whose values
 * are all values of F16, is widened. */
static enum qins_dtype stored_dtype(enum qins_dtype dtype)
{
    return dtype == QINS_F8_E4M3 ? QINS_F16 : dtype;
}

static enum qins_status make_dataset(struct qn_placed_writer *w, struct session *s, size_t index,
                                     struct qins_error *err)
{
    const struct qn_tensor *t = &w->progress.tensors->items[index];
    hsize_t dims[QINS_MAX_RANK] = {0};
    hid_t type = qn_hdf5_type(stored_dtype(t->dtype)), space = -1, dataset = -1;
    char *path = qn_hdf5_path_for(s->paths, t->name, err);
    enum qins_status st = path ? QINS_OK : err ? err->status : QINS_ERR_FORMAT;
    for (unsigned i = 0; i < t->rank; i++)
        dims[i] = t->shape[i];
    if (st == QINS_OK)
        space = t->rank ? H5Screate_simple((int)t->rank, dims, NULL) : H5Screate(H5S_SCALAR);
    if (st == QINS_OK && space >= 0 && type >= 0)
        dataset =
            H5Dcreate2(s->file, path, type, space, s->creation, s->dataset_creation, H5P_DEFAULT);
    if (st == QINS_OK && dataset < 0)
        st = qn_hdf5_fail(err, QINS_ERR_UNSUPPORTED, "it cannot be written to HDF5");
    if (st == QINS_OK && t->n_bytes > 0) {
        haddr_t offset = H5Dget_offset(dataset);
        if (offset == HADDR_UNDEF)
            st = qn_hdf5_fail(err, QINS_ERR_UNSUPPORTED, "libhdf5 gives it no place");
        else
            w->offsets[index] = offset;
    }
    if (dataset >= 0)
        H5Dclose(dataset);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    free(path);
    return qn_error_in_tensor(err, st, t->name);
}

/* No times, no fill values, every byte's place known at once. */
static enum qins_status session_open(struct session *s, int fd, struct qins_error *err)
{
    s->channel.fd = fd;
    s->access = H5Pcreate(H5P_FILE_ACCESS);
    s->creation = H5Pcreate(H5P_LINK_CREATE);
    s->dataset_creation = H5Pcreate(H5P_DATASET_CREATE);
    s->driver = s->access >= 0 ? qn_hdf5_driver_select(s->access, &s->channel) : -1;
    bool good = s->driver >= 0 && s->creation >= 0 && s->dataset_creation >= 0 &&
                H5Pset_create_intermediate_group(s->creation, 1) >= 0 &&
                H5Pset_char_encoding(s->creation, H5T_CSET_UTF8) >= 0 &&
                H5Pset_layout(s->dataset_creation, H5D_CONTIGUOUS) >= 0 &&
                H5Pset_alloc_time(s->dataset_creation, H5D_ALLOC_TIME_EARLY) >= 0 &&
                H5Pset_fill_time(s->dataset_creation, H5D_FILL_TIME_NEVER) >= 0 &&
                H5Pset_obj_track_times(s->dataset_creation, 0) >= 0;
    if (good)
        s->file = H5Fcreate("qins", H5F_ACC_TRUNC, H5P_DEFAULT, s->access);
    return good && s->file >= 0 ? QINS_OK
                                : qn_hdf5_fail(err, QINS_ERR_IO, "libhdf5 cannot begin the file");
}

/* The driver never fails a call, so that closing always works; its error shows here. */
static enum qins_status session_close(struct session *s, const char *path, enum qins_status st,
                                      struct qins_error *err)
{
    if (s->file >= 0 && H5Fclose(s->file) < 0 && st == QINS_OK)
        st = qn_hdf5_fail(err, QINS_ERR_IO, "libhdf5 cannot finish the file");
    if (s->dataset_creation >= 0)
        H5Pclose(s->dataset_creation);
    if (s->creation >= 0)
        H5Pclose(s->creation);
    if (s->access >= 0)
        H5Pclose(s->access);
    if (s->driver >= 0)
        H5FDunregister(s->driver);
    if (s->channel.error != 0) {
        errno = s->channel.error;
        st = qn_fail_errno(err, path, "write");
    }
    json_decref(s->paths);
    return st;
}

static enum qins_status make_file(struct qn_placed_writer *w,
                                  const struct qn_attachment_list *attachments,
                                  struct qins_error *err)
{
    struct session s = {-1, -1, -1, -1, -1, {0}, attachments, NULL};
    H5E_auto2_t shown = NULL;
    void *shown_data = NULL;
    H5Eget_auto2(H5E_DEFAULT, &shown, &shown_data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    enum qins_status st = qn_hdf5_load_json(attachments, "hdf5.paths", &s.paths, err);
    if (st == QINS_OK)
        st = session_open(&s, w->out.fd, err);
    for (size_t i = 0; i < w->progress.tensors->count && st == QINS_OK; i++)
        st = make_dataset(w, &s, i, err);
    if (st == QINS_OK)
        st = qn_hdf5_write_attributes(s.file, s.creation, attachments, err);
    st = session_close(&s, w->out.final_path, st, err);
    H5Eset_auto2(H5E_DEFAULT, shown, shown_data);
    return st;
}

static enum qins_status create(struct qn_tensor_writer **out, const char *path,
                               const struct qn_tensor_list *tensors,
                               const struct qn_attachment_list *attachments, struct qins_error *err)
{
    struct qins_error detail = {0};
    struct qn_placed_writer *w = qn_placed_writer_new(&qn_hdf5_writer_ops, tensors, err);
    enum qins_status st = QINS_OK;
    if (!w)
        return QINS_ERR_MEMORY;
    for (size_t i = 0; i < tensors->count && st == QINS_OK; i++)
        if (tensors->items[i].dtype == QINS_DTYPE_INVALID)
            st = qn_fail_at(&detail, QINS_ERR_UNSUPPORTED, NULL, tensors->items[i].name,
                            QN_NO_OFFSET, "type %s cannot be written to HDF5",
                            tensors->items[i].foreign_type);
    if (st == QINS_OK)
        st = qn_output_create(&w->out, path, &detail);
    if (st == QINS_OK)
        st = make_file(w, attachments, &detail);
    if (st != QINS_OK) {
        qn_placed_writer_destroy(&w->base);
        qn_error_in_file(&detail, st, path);
        if (err)
            *err = detail;
        return st;
    }
    *out = &w->base;
    return QINS_OK;
}

static enum qins_status write_widened(struct qn_placed_writer *w, uint64_t at, const uint8_t *src,
                                      size_t n, struct qins_error *err)
{
    float wide[1024];
    uint8_t narrow[2 * 1024];
    enum qins_status st = QINS_OK;
    for (size_t i = 0, step; i < n && st == QINS_OK; i += step) {
        step = n - i < 1024 ? n - i : 1024;
        qn_to_f32(QINS_F8_E4M3, src + i, wide, step);
        qn_from_f32(QINS_F16, wide, narrow, step);
        st = qn_output_write_at(&w->out, at + 2 * i, narrow, 2 * step, err);
    }
    return st;
}

static enum qins_status write_at(struct qn_placed_writer *w, size_t tensor, uint64_t offset,
                                 const void *data, size_t size, struct qins_error *err)
{
    if (w->progress.tensors->items[tensor].dtype == QINS_F8_E4M3)
        return write_widened(w, w->offsets[tensor] + 2 * offset, data, size, err);
    return qn_output_write_at(&w->out, w->offsets[tensor] + offset, data, size, err);
}

static enum qins_status write_piece(struct qn_tensor_writer *base, size_t tensor, const void *data,
                                    size_t size, struct qins_error *err)
{
    struct qn_placed_writer *w = (struct qn_placed_writer *)base;
    uint64_t offset = 0;
    enum qins_status st = qn_write_progress_step(&w->progress, tensor, size, &offset, err);
    return st == QINS_OK ? write_at(w, tensor, offset, data, size, err) : st;
}

static enum qins_status put_piece(struct qn_tensor_writer *base, size_t tensor, uint64_t offset,
                                  const void *data, size_t size, struct qins_error *err)
{
    struct qn_placed_writer *w = (struct qn_placed_writer *)base;
    enum qins_status st = qn_placed_writer_note(w, tensor, offset, size, err);
    return st == QINS_OK ? write_at(w, tensor, offset, data, size, err) : st;
}

const struct qn_tensor_writer_ops qn_hdf5_writer_ops = {
    .format = "hdf5",
    .suffix = ".h5",
    .create = create,
    .write = write_piece,
    .put = put_piece,
    .commit = qn_placed_writer_commit,
    .destroy = qn_placed_writer_destroy,
};
