#include "formats/archive/hdf5_out.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "formats/archive/filter.h"
#include "formats/archive/hdf5_driver.h"
#include "formats/archive/userblock.h"
#include "formats/hdf5_common.h"

#include <errno.h>
#include <stdlib.h>

struct qn_hdf5_out {
    struct qn_hdf5_channel channel;
    const char *path; /* the caller's */
    hid_t driver, file, tensors, links;
    H5E_auto2_t old_report; /* libhdf5 must not print; what it did before is put back */
    void *old_report_data;
    hid_t dataset; /* of the tensor in progress */
    struct qn_layout layout;
    unsigned rank;
    uint64_t shape[QINS_MAX_RANK];
    uint64_t next_chunk;
};

/* The failure of a libhdf5 call, or an error of the file under it that libhdf5 never saw. */
static enum qins_status fail(const struct qn_hdf5_out *h, const char *what, struct qins_error *err)
{
    if (h->channel.error) {
        errno = h->channel.error;
        return qn_fail_errno(err, h->path, "write");
    }
    return qn_fail_at(err, QINS_ERR_IO, h->path, NULL, QN_NO_OFFSET, "libhdf5 cannot %s", what);
}

static enum qins_status check(const struct qn_hdf5_out *h, bool ok, const char *what,
                              struct qins_error *err)
{
    return ok && h->channel.error == 0 ? QINS_OK : fail(h, what, err);
}

static void close_id(hid_t *id, herr_t (*close)(hid_t))
{
    if (*id >= 0)
        close(*id);
    *id = H5I_INVALID_HID;
}

/* Before the first H5Dcreate: a decode-only plugin on libhdf5's path must not get the chance to
 * refuse. Payloads come already encoded, so qn_filter is never asked to encode. */
static bool register_filter(void)
{
    static const H5Z_class2_t filter = {
        .version = H5Z_CLASS_T_VERS,
        .id = QN_FILTER_ID,
        .encoder_present = 1,
        .decoder_present = 1,
        .name = QN_FILTER_NAME,
        .filter = qn_filter,
    };
    return H5Zregister(&filter) >= 0;
}

/* The file format of HDF5 1.10 whatever the library: smaller objects than 1.8, the same bytes
 * from later libraries. */
static hid_t create_file(struct qn_hdf5_out *h)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), fcpl = H5Pcreate(H5P_FILE_CREATE);
    hid_t file = H5I_INVALID_HID;
    if (fapl < 0 || fcpl < 0)
        goto done;
    h->driver = qn_hdf5_driver_select(fapl, &h->channel);
    if (h->driver >= 0 && H5Pset_libver_bounds(fapl, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
        H5Pset_meta_block_size(fapl, 0) >= 0 && H5Pset_small_data_block_size(fapl, 0) >= 0 &&
        H5Pset_userblock(fcpl, QN_USERBLOCK_SIZE) >= 0 && H5Pset_obj_track_times(fcpl, 0) >= 0)
        file = H5Fcreate(h->path, H5F_ACC_TRUNC, fcpl, fapl);
done:
    close_id(&fcpl, H5Pclose);
    close_id(&fapl, H5Pclose);
    return file;
}

static hid_t create_group(const struct qn_hdf5_out *h, const char *path)
{
    hid_t gcpl = H5Pcreate(H5P_GROUP_CREATE), group = H5I_INVALID_HID;
    if (gcpl >= 0 && H5Pset_obj_track_times(gcpl, 0) >= 0)
        group = H5Gcreate2(h->file, path, H5P_DEFAULT, gcpl, H5P_DEFAULT);
    close_id(&gcpl, H5Pclose);
    return group;
}

static bool create_groups(struct qn_hdf5_out *h)
{
    hid_t qins, files = H5I_INVALID_HID;
    h->tensors = create_group(h, "/tensors");
    qins = create_group(h, "/qins");
    if (qins >= 0)
        files = create_group(h, "/qins/files");
    bool ok = h->tensors >= 0 && files >= 0;
    close_id(&files, H5Gclose);
    close_id(&qins, H5Gclose);
    return ok;
}

enum qins_status qn_hdf5_out_create(struct qn_hdf5_out **out, int fd, const char *path,
                                    struct qins_error *err)
{
    struct qn_hdf5_out *h = calloc(1, sizeof *h);
    *out = NULL;
    if (!h)
        return qn_fail_memory(err);
    h->channel.fd = fd;
    h->path = path;
    h->driver = h->file = h->tensors = h->links = h->dataset = H5I_INVALID_HID;
    if (H5open() < 0 || H5Eget_auto2(H5E_DEFAULT, &h->old_report, &h->old_report_data) < 0) {
        free(h);
        return qn_fail(err, QINS_ERR_IO, "libhdf5 cannot start");
    }
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    bool ok = register_filter();
    h->file = ok ? create_file(h) : H5I_INVALID_HID;
    h->links = H5Pcreate(H5P_LINK_CREATE);
    ok = h->file >= 0 && h->links >= 0 && H5Pset_char_encoding(h->links, H5T_CSET_UTF8) >= 0 &&
         create_groups(h);
    enum qins_status st = check(h, ok, "create the file", err);
    if (st == QINS_OK)
        *out = h;
    else
        qn_hdf5_out_destroy(h);
    return st;
}

/* Properties common to all datasets: nothing that varies by run, no room for attributes, no
 * fill values written. */
static hid_t dataset_properties(H5D_layout_t layout)
{
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    if (p >= 0 && (H5Pset_obj_track_times(p, 0) < 0 || H5Pset_dset_no_attrs_hint(p, 1) < 0 ||
                   H5Pset_fill_time(p, H5D_FILL_TIME_NEVER) < 0 || H5Pset_layout(p, layout) < 0))
        close_id(&p, H5Pclose);
    return p;
}

static hid_t chunked_properties(const struct qn_tensor *t, const struct qn_layout *layout)
{
    uint64_t dims[QINS_MAX_RANK];
    hsize_t chunk[QINS_MAX_RANK];
    const struct qn_dtype_info *type = qn_dtype(t->dtype);
    hid_t p = dataset_properties(H5D_CHUNKED);
    if (p < 0)
        return p;
    qn_layout_dims(layout, t->rank, t->shape, dims);
    for (unsigned i = 0; i < t->rank; i++)
        chunk[i] = dims[i];
    const unsigned values[QN_FILTER_VALUES] = {
        [QN_FILTER_VERSION] = QN_ARCHIVE_VERSION,
        [QN_FILTER_ELEMENT_SIZE] = (unsigned)qins_dtype_size(type->view),
        [QN_FILTER_CHUNK_ELEMENTS] = (unsigned)(layout->step * layout->inner),
    };
    if (H5Pset_chunk(p, (int)t->rank, chunk) < 0 || H5Pset_alloc_time(p, H5D_ALLOC_TIME_INCR) < 0 ||
        H5Pset_filter(p, QN_FILTER_ID, H5Z_FLAG_MANDATORY, QN_FILTER_VALUES, values) < 0)
        close_id(&p, H5Pclose);
    return p;
}

static hid_t tensor_space(const struct qn_tensor *t)
{
    hsize_t dims[QINS_MAX_RANK];
    for (unsigned i = 0; i < t->rank; i++)
        dims[i] = t->shape[i];
    return t->rank ? H5Screate_simple((int)t->rank, dims, NULL) : H5Screate(H5S_SCALAR);
}

static hid_t create_dataset(const struct qn_hdf5_out *h, hid_t parent, const char *name, hid_t type,
                            hid_t space, hid_t properties)
{
    if (parent < 0 || type < 0 || space < 0 || properties < 0)
        return H5I_INVALID_HID;
    return H5Dcreate2(parent, name, type, space, h->links, properties, H5P_DEFAULT);
}

enum qins_status qn_hdf5_out_begin(struct qn_hdf5_out *h, const struct qn_tensor *t,
                                   const struct qn_layout *layout, const void *data,
                                   struct qins_error *err)
{
    hid_t type = qn_hdf5_type(qn_dtype(t->dtype)->view), space = tensor_space(t);
    hid_t properties = data ? dataset_properties(H5D_COMPACT) : chunked_properties(t, layout);
    char *name = qn_hdf5_encode_name(t->name, err);
    enum qins_status st = name ? QINS_OK : QINS_ERR_MEMORY;
    if (st != QINS_OK)
        goto done;
    h->dataset = create_dataset(h, h->tensors, name, type, space, properties);
    bool ok = h->dataset >= 0;
    if (ok && data && t->n_elements)
        ok = H5Dwrite(h->dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    h->layout = *layout;
    h->rank = t->rank;
    memcpy(h->shape, t->shape, sizeof h->shape);
    h->next_chunk = 0;
    st = check(h, ok, "create a dataset", err);
    if (data)
        close_id(&h->dataset, H5Dclose);
done:
    qn_error_in_tensor(err, st, t->name);
    close_id(&properties, H5Pclose);
    close_id(&space, H5Sclose);
    close_id(&type, H5Tclose);
    free(name);
    return st;
}

/* Offset of the SIZE raw bytes that the last call wrote. */
static bool raw_offset(const struct qn_hdf5_out *h, size_t size, uint64_t *offset)
{
    *offset = h->channel.raw_offset;
    return h->channel.raw_size == size && !h->channel.raw_gap;
}

static void expect_raw(struct qn_hdf5_out *h)
{
    h->channel.raw_size = 0;
    h->channel.raw_gap = 0;
}

/* HDF5 coordinates of the first element of the next chunk. */
static void chunk_coordinates(const struct qn_hdf5_out *h, hsize_t *at)
{
    const struct qn_layout *l = &h->layout;
    uint64_t outer = h->next_chunk / l->chunks_per_outer;
    for (unsigned i = l->split_axis + 1; i < h->rank; i++)
        at[i] = 0;
    at[l->split_axis] = h->next_chunk % l->chunks_per_outer * l->step;
    for (unsigned i = l->split_axis; i-- > 0; outer /= h->shape[i])
        at[i] = outer % h->shape[i];
}

enum qins_status qn_hdf5_out_chunk(struct qn_hdf5_out *h, const void *payload, size_t size,
                                   uint64_t *offset, struct qins_error *err)
{
    hsize_t at[QINS_MAX_RANK];
    chunk_coordinates(h, at);
    h->next_chunk++;
    expect_raw(h);
    bool ok = H5Dwrite_chunk(h->dataset, H5P_DEFAULT, 0, at, size, payload) >= 0;
    return check(h, ok && raw_offset(h, size, offset), "write a chunk", err);
}

enum qins_status qn_hdf5_out_end(struct qn_hdf5_out *h, struct qins_error *err)
{
    herr_t rc = H5Dclose(h->dataset);
    h->dataset = H5I_INVALID_HID;
    return check(h, rc >= 0, "close a dataset", err);
}

enum qins_status qn_hdf5_out_blob(struct qn_hdf5_out *h, const char *group, const char *name,
                                  unsigned columns, const void *data, size_t size, uint64_t *offset,
                                  struct qins_error *err)
{
    *offset = QN_USERBLOCK_SIZE;
    if (size == 0) /* h5repack 1.10 stops at a dataset without elements */
        return QINS_OK;
    hid_t type = H5Tcopy(columns ? H5T_STD_U64LE : H5T_STD_U8LE), dataset = H5I_INVALID_HID;
    hsize_t dims[2] = {columns ? size / (8 * (size_t)columns) : size, columns};
    hid_t space = H5Screate_simple(columns ? 2 : 1, dims, NULL);
    hid_t properties = dataset_properties(H5D_CONTIGUOUS);
    hid_t parent = H5Gopen2(h->file, group, H5P_DEFAULT);
    char *encoded = qn_hdf5_encode_name(name, err);
    enum qins_status st = encoded ? QINS_OK : QINS_ERR_MEMORY;
    if (st != QINS_OK)
        goto done;
    dataset = create_dataset(h, parent, encoded, type, space, properties);
    bool ok = dataset >= 0;
    expect_raw(h);
    if (ok)
        ok = H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    st = check(h, ok && raw_offset(h, size, offset), "write a dataset", err);
done:
    close_id(&dataset, H5Dclose);
    close_id(&parent, H5Gclose);
    close_id(&properties, H5Pclose);
    close_id(&space, H5Sclose);
    close_id(&type, H5Tclose);
    free(encoded);
    return st;
}

static bool close_file(struct qn_hdf5_out *h)
{
    close_id(&h->dataset, H5Dclose);
    close_id(&h->links, H5Pclose);
    close_id(&h->tensors, H5Gclose);
    bool ok = h->file < 0 || H5Fclose(h->file) >= 0;
    h->file = H5I_INVALID_HID;
    close_id(&h->driver, H5FDunregister);
    return ok;
}

enum qins_status qn_hdf5_out_close(struct qn_hdf5_out *h, struct qins_error *err)
{
    bool ok = close_file(h);
    return check(h, ok, "close the file", err);
}

void qn_hdf5_out_destroy(struct qn_hdf5_out *h)
{
    if (!h)
        return;
    if (h->file >= 0 && h->channel.error == 0)
        h->channel.error = ECANCELED; /* nobody will want what a flush would still write */
    close_file(h);
    H5Eset_auto2(H5E_DEFAULT, h->old_report, h->old_report_data);
    free(h);
}
