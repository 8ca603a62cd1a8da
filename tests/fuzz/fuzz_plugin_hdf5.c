/* The filter plugin as libhdf5 calls it, on a sound file in memory whose chunks are hostile. The
 * first byte: type of the dataset, bit 7 leaves the payload's hash as it is; two bytes: elements of
 * a chunk; then the payload, which stands in both chunks of the dataset, the second cut short by
 * the edge. What is read must be what the decoder yields, with zeros behind it. */
#include "core/bytes.h"
#include "core/hash.h"
#include "formats/archive/filter.h"
#include "formats/archive/userblock.h"
#include "formats/codec/chunk.h"

#include <H5PLextern.h>
#include <hdf5.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRONT = 3, AT_HASHED = 8, MAX_PAYLOAD = 1 << 16 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void register_once(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    require(H5PLget_plugin_type() == H5PL_TYPE_FILTER);
    require(H5Eset_auto2(H5E_DEFAULT, NULL, NULL) >= 0);
    /* libhdf5 creates datasets of filters only that say they can code */
    H5Z_class2_t filter = *(const H5Z_class2_t *)H5PLget_plugin_info();
    filter.encoder_present = 1;
    require(H5Zregister(&filter) >= 0);
}

static hid_t create_file(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    require(H5Pset_fapl_core(access, 1 << 16, false) >= 0);
    hid_t file = H5Fcreate("fuzz", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    require(file >= 0);
    H5Pclose(access);
    return file;
}

/* A dataset of two chunks of N elements, the second of which is half outside. */
static hid_t create_dataset(hid_t file, hid_t type, unsigned n)
{
    const hsize_t chunk = n, extent = n + (n + 1) / 2;
    const unsigned values[QN_FILTER_VALUES] = {QN_ARCHIVE_VERSION, (unsigned)H5Tget_size(type), n};
    hid_t space = H5Screate_simple(1, &extent, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    require(H5Pset_chunk(plist, 1, &chunk) >= 0);
    require(H5Pset_filter(plist, QN_FILTER_ID, H5Z_FLAG_MANDATORY, QN_FILTER_VALUES, values) >= 0);
    hid_t dataset = H5Dcreate2(file, "w", type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    require(dataset >= 0);
    H5Pclose(plist);
    H5Sclose(space);
    return dataset;
}

/* OUT holds what libhdf5 read into a dataset of chunks of N elements of WIDTH bytes. */
static void check(const uint8_t *payload, size_t size, const uint8_t *out, size_t n, size_t width)
{
    struct qn_chunk_info info;
    struct qn_chunk_work work = {0};
    struct qins_error err;
    require(qn_chunk_inspect(payload, size, &info, &err) == QINS_OK && info.n_elements <= n);
    const size_t used = (size_t)info.n_elements * width;
    uint8_t *whole = calloc(n, width);
    require(whole != NULL && qn_chunk_decode(payload, size, info.dtype, info.n_elements, true,
                                             &work, whole, &err) == QINS_OK);
    require(memcmp(out, whole, n * width) == 0);
    require(memcmp(out + n * width, whole, (n + 1) / 2 * width) == 0);
    for (size_t i = used; i < n * width; i++)
        require(out[i] == 0);
    qn_chunk_work_finish(&work);
    free(whole);
}

static void read_back(hid_t type, unsigned n, const uint8_t *payload, size_t size)
{
    const hsize_t places[] = {0, n};
    const size_t width = H5Tget_size(type);
    hid_t file = create_file(), dataset = create_dataset(file, type, n);
    uint8_t *out = calloc(n + (n + 1) / 2, width);
    require(out != NULL);
    for (size_t i = 0; i < 2; i++)
        require(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, &places[i], size, payload) >= 0);
    if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0)
        check(payload, size, out, n, width);
    free(out);
    H5Dclose(dataset);
    H5Fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < FRONT + QN_CHUNK_HEADER_SIZE || size > MAX_PAYLOAD)
        return -1;
    register_once();
    const hid_t types[] = {H5T_NATIVE_FLOAT,  H5T_NATIVE_DOUBLE, H5T_NATIVE_INT8,
                           H5T_NATIVE_UINT16, H5T_NATIVE_INT32,  H5T_NATIVE_INT64};
    const hid_t type = types[data[0] % 16 % (sizeof types / sizeof *types)];
    const unsigned n = qn_load16(data + 1) + 1U;
    const size_t payload_size = size - FRONT;
    uint8_t *payload = malloc(payload_size);
    require(payload != NULL);
    memcpy(payload, data + FRONT, payload_size);
    if (!(data[0] & 0x80))
        qn_store64(payload, qn_hash64(payload + AT_HASHED, payload_size - AT_HASHED));
    read_back(type, n, payload, payload_size);
    free(payload);
    return 0;
}
