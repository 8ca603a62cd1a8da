/* Runs in the child only: elements of one dataset. */
#include "core/bytes.h"
#include "formats/hdf5_serve.h"
#include "formats/limits.h"

/* Chunks that stay decoded between requests, unless a single one is larger. Above this, a band of
 * chunks across a wide dataset is decoded once for each request; docs/formats.md says what memory
 * it makes. */
enum { MAX_CACHE = 64 << 20 }; /* bytes */

static bool extents(hid_t space, unsigned *rank, hsize_t *dims)
{
    int n = H5Sget_simple_extent_ndims(space);
    if (n < 0 || n > QINS_MAX_RANK || (n > 0 && H5Sget_simple_extent_dims(space, dims, NULL) < 0))
        return false;
    *rank = (unsigned)n;
    return true;
}

static bool product(unsigned rank, const hsize_t *dims, uint64_t factor, uint64_t *out)
{
    bool zero = false, good = true;
    *out = factor;
    for (unsigned i = 0; i < rank; i++)
        zero = zero || dims[i] == 0;
    for (unsigned i = 0; i < rank && good && !zero; i++)
        good = qn_mul_u64(*out, dims[i], out);
    if (zero)
        *out = 0;
    return good;
}

static enum qins_status check_chunks(hid_t plist, size_t element, struct qins_error *err)
{
    hsize_t chunk[H5S_MAX_RANK];
    uint64_t bytes = 0;
    int rank = H5Pget_chunk(plist, H5S_MAX_RANK, chunk);
    if (rank < 1 || rank > QINS_MAX_RANK || !product((unsigned)rank, chunk, element, &bytes) ||
        bytes == 0)
        return qn_fail(err, QINS_ERR_FORMAT, "its chunks have an impossible shape");
    if (bytes > QN_HDF5_MAX_CHUNK)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "its chunks of %llu bytes are above the %d MiB that qins reads",
                       (unsigned long long)bytes, QN_HDF5_MAX_CHUNK >> 20);
    return QINS_OK;
}

/* Contiguous and compact data have a byte in the file for every byte, if they have any. */
static enum qins_status check_contiguous(hid_t dataset, H5D_layout_t layout, hid_t space,
                                         size_t element, uint64_t file_size, struct qins_error *err)
{
    hsize_t dims[QINS_MAX_RANK];
    unsigned rank = 0;
    uint64_t bytes = 0;
    bool stored = layout == H5D_COMPACT || H5Dget_offset(dataset) != HADDR_UNDEF;
    if (!extents(space, &rank, dims) || !product(rank, dims, element, &bytes) ||
        (stored && bytes > file_size))
        return qn_fail(err, QINS_ERR_FORMAT, "its shape needs more bytes than the file has");
    return QINS_OK;
}

enum qins_status qn_hdf5_check_layout(hid_t dataset, hid_t type, hid_t space, uint64_t file_size,
                                      struct qins_error *err)
{
    hid_t plist = H5Dget_create_plist(dataset);
    size_t element = type < 0 ? 0 : H5Tget_size(type);
    enum qins_status st = QINS_OK;
    if (plist < 0 || element == 0)
        st = qn_hdf5_fail(err, QINS_ERR_FORMAT, "its description is damaged");
    H5D_layout_t layout = st == QINS_OK ? H5Pget_layout(plist) : H5D_LAYOUT_ERROR;
    if (st == QINS_OK && layout == H5D_VIRTUAL)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED,
                     "it is a virtual dataset, whose data are in other files");
    else if (st == QINS_OK && layout == H5D_CHUNKED)
        st = check_chunks(plist, element, err);
    else if (st == QINS_OK && H5Pget_external_count(plist) != 0)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "its data are in another file");
    else if (st == QINS_OK && space >= 0)
        st = check_contiguous(dataset, layout, space, element, file_size, err);
    if (plist >= 0)
        H5Pclose(plist);
    return st;
}

/* Row-major reading wants the chunks of one band in memory: those that share a position on the
 * first axis along which chunks are longer than one. */
static uint64_t cache_size(unsigned rank, const hsize_t *dims, const hsize_t *chunk, size_t element)
{
    uint64_t bytes = element, one = element;
    unsigned axis = 0;
    while (axis + 1 < rank && chunk[axis] <= 1)
        axis++;
    for (unsigned i = axis; i < rank; i++) {
        uint64_t extent = i == axis ? chunk[i] : qn_div_up(dims[i], chunk[i]) * chunk[i];
        one *= chunk[i]; /* at most QN_HDF5_MAX_CHUNK */
        if (!qn_mul_u64(bytes, extent, &bytes))
            bytes = UINT64_MAX;
    }
    uint64_t most = one > MAX_CACHE ? one : MAX_CACHE;
    return qn_min_u64(bytes < (1u << 20) ? 1u << 20 : bytes, most);
}

/* An access list with a chunk cache to measure. 12421 is a prime, so that chunks at regular
 * distances do not share slots. 0.75 is libhdf5's default weight; with 1, H5D__chunk_cache_prune
 * (HDF5 1.10) never drops a chunk that was not read to its end, whatever the cache's size. */
static hid_t access_list(hid_t plist, const struct qn_hdf5_dataset *d)
{
    hsize_t chunk[H5S_MAX_RANK];
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    if (access >= 0 && H5Pget_chunk(plist, H5S_MAX_RANK, chunk) == (int)d->rank && d->rank > 0)
        H5Pset_chunk_cache(access, 12421,
                           (size_t)cache_size(d->rank, d->dims, chunk, H5Tget_size(d->memory_type)),
                           0.75);
    return access;
}

static enum qins_status open_again(struct qn_hdf5_dataset *d, hid_t file, hid_t access,
                                   const struct qn_hdf5_place *place, struct qins_error *err)
{
    H5O_info_t info;
    hid_t group = H5Oopen_by_addr(file, place->group);
    H5Dclose(d->id);
    d->id = H5Dopen2(group, place->name, access);
    bool same =
        d->id >= 0 && H5Oget_info2(d->id, &info, H5O_INFO_BASIC) >= 0 && info.addr == place->object;
    enum qins_status st =
        same ? QINS_OK : qn_hdf5_fail(err, QINS_ERR_FORMAT, "the dataset cannot be opened again");
    if (group >= 0)
        H5Oclose(group);
    return st;
}

/* Gives a chunked one its cache. The list that tells its size comes from the dataset itself, which
 * is opened twice so: by address, then by name within its group, and must be the same object. */
static enum qins_status give_cache(struct qn_hdf5_dataset *d, hid_t file,
                                   const struct qn_hdf5_place *place, struct qins_error *err)
{
    hid_t plist = H5Dget_create_plist(d->id);
    enum qins_status st = QINS_OK;
    d->chunked = plist >= 0 && H5Pget_layout(plist) == H5D_CHUNKED;
    if (d->chunked) {
        hid_t access = access_list(plist, d);
        st = open_again(d, file, access, place, err);
        if (access >= 0)
            H5Pclose(access);
    }
    if (plist >= 0)
        H5Pclose(plist);
    return st;
}

enum qins_status qn_hdf5_dataset_open(struct qn_hdf5_dataset *d, hid_t file, uint64_t file_size,
                                      const struct qn_hdf5_place *place, struct qins_error *err)
{
    *d = (struct qn_hdf5_dataset){.id = -1, .space = -1, .memory_type = -1};
    enum qins_status st = QINS_OK;
    d->id = H5Oopen_by_addr(file, place->object);
    if (d->id < 0 || H5Iget_type(d->id) != H5I_DATASET)
        st = qn_hdf5_fail(err, QINS_ERR_FORMAT, "the dataset cannot be opened");
    if (st == QINS_OK) {
        d->memory_type = H5Dget_type(d->id);
        d->space = H5Dget_space(d->id);
        st = qn_hdf5_check_layout(d->id, d->memory_type, d->space, file_size, err);
    }
    if (st == QINS_OK && !extents(d->space, &d->rank, d->dims))
        st = qn_hdf5_fail(err, QINS_ERR_FORMAT, "the shape cannot be read");
    if (st == QINS_OK)
        st = give_cache(d, file, place, err);
    if (st == QINS_OK)
        qn_hdf5_classify(d->memory_type, &d->type);
    if (st == QINS_OK && d->type.convert_to >= 0) {
        H5Tclose(d->memory_type);
        d->memory_type = H5Tcopy(d->type.convert_to);
    }
    if (st == QINS_OK && H5Tget_size(d->memory_type) != qins_dtype_size(d->type.dtype))
        st = qn_fail(err, QINS_ERR_FORMAT, "its type cannot be converted");
    if (st != QINS_OK)
        qn_hdf5_dataset_close(d);
    return st;
}

void qn_hdf5_dataset_close(struct qn_hdf5_dataset *d)
{
    if (d->memory_type >= 0)
        H5Tclose(d->memory_type);
    if (d->space >= 0)
        H5Sclose(d->space);
    if (d->id >= 0)
        H5Oclose(d->id);
    *d = (struct qn_hdf5_dataset){.id = -1, .space = -1, .memory_type = -1};
}

/* The largest box that begins at element FIRST, is contiguous in row-major order and has at most
 * LIMIT elements; returns how many it has. Rank and extents are not 0. */
static uint64_t next_box(const struct qn_hdf5_dataset *d, uint64_t first, uint64_t limit,
                         hsize_t *start, hsize_t *count)
{
    uint64_t strides[QINS_MAX_RANK], stride = 1, n;
    unsigned axis = d->rank - 1;
    for (unsigned i = d->rank; i-- > 0; stride *= d->dims[i]) {
        strides[i] = stride;
        start[i] = first / stride % d->dims[i];
        count[i] = d->dims[i];
    }
    while (axis > 0 && start[axis] == 0 && limit / strides[axis - 1] > 0)
        axis--;
    n = qn_min_u64(d->dims[axis] - start[axis], limit / strides[axis]);
    count[axis] = n;
    for (unsigned i = 0; i < axis; i++)
        count[i] = 1;
    return n * strides[axis];
}

/* libhdf5's complaint about a filter that is missing does not say which or what to do. */
static enum qins_status explain(const struct qn_hdf5_dataset *d, struct qins_error *err)
{
    struct qins_error failure;
    qn_hdf5_fail(&failure, QINS_ERR_FORMAT, "the data cannot be read");
    hid_t plist = H5Dget_create_plist(d->id);
    int n = plist >= 0 ? H5Pget_nfilters(plist) : 0;
    enum qins_status st = qn_fail(err, QINS_ERR_FORMAT, "%s", failure.message);
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t elements = 0;
        char name[64] = "";
        H5Z_filter_t id = H5Pget_filter2(plist, (unsigned)i, &flags, &elements, NULL,
                                         sizeof name - 1, name, &config);
        if (id >= 0 && H5Zfilter_avail(id) <= 0)
            st = qn_fail(err, QINS_ERR_UNSUPPORTED,
                         "its filter %d (%s) is not installed; HDF5_PLUGIN_PATH says where "
                         "libhdf5 looks for filters",
                         (int)id, name);
    }
    if (plist >= 0)
        H5Pclose(plist);
    return st;
}

/* The space in memory has the box's own shape, though it is contiguous: with shapes that differ
 * libhdf5 maps chunks element by element, at a fiftieth of the speed. */
static enum qins_status read_box(const struct qn_hdf5_dataset *d, const hsize_t *start,
                                 const hsize_t *count, void *dst, struct qins_error *err)
{
    bool scalar = d->rank == 0;
    hid_t memory = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple((int)d->rank, count, NULL);
    bool good = memory >= 0;
    if (good && !scalar)
        good = H5Sselect_hyperslab(d->space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0;
    good = good && H5Dread(d->id, d->memory_type, memory, d->space, H5P_DEFAULT, dst) >= 0;
    enum qins_status st = good ? QINS_OK : explain(d, err);
    if (memory >= 0)
        H5Sclose(memory);
    return st;
}

static void reverse_elements(uint8_t *p, size_t n, size_t element)
{
    for (size_t i = 0; i < n; i++, p += element)
        for (size_t a = 0, b = element - 1; a < b; a++, b--) {
            uint8_t t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
}

enum qins_status qn_hdf5_dataset_read(const struct qn_hdf5_dataset *d, uint64_t first,
                                      uint64_t count, uint8_t *dst, struct qins_error *err)
{
    hsize_t start[QINS_MAX_RANK], box[QINS_MAX_RANK];
    size_t element = qins_dtype_size(d->type.dtype);
    enum qins_status st = QINS_OK;
    uint64_t total = 0, left = count;
    uint8_t *p = dst;
    if (!product(d->rank, d->dims, 1, &total) || first > total || count > total - first)
        return qn_fail(err, QINS_ERR_FORMAT, "a range outside the dataset was asked for");
    while (left > 0 && st == QINS_OK) {
        uint64_t n = d->rank ? next_box(d, first, left, start, box) : 1;
        st = read_box(d, start, box, p, err);
        p += n * element;
        first += n;
        left -= n;
    }
    if (st == QINS_OK && d->type.swap)
        reverse_elements(dst, (size_t)count, element);
    return st;
}

const struct qn_limit qn_hdf5_read_limits[] = {
    {"hdf5", "chunk", QN_HDF5_MAX_CHUNK, "bytes", "memory for a decoded chunk"},
    {"hdf5", "chunk_cache", MAX_CACHE, "bytes", "memory for decoded chunks"},
    {0},
};
