/* Archives whose hashes are all right: open, list, decode a chunk of each tensor, read files and
 * the transport.
 * Input is an archive, or, so that the fuzzer need not learn zlib, what to make one of: 4 bytes
 * (size of the manifest's JSON, number of chunks), the JSON, and payloads of equal size. */
#include "formats/archive/chunk_map.h"
#include "formats/transport_archive.h"
#include "tests/unit/archive_reseal.h"

#include <math.h>
#include <stdlib.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TENSORS = 64, MAX_ELEMENTS = 1 << 20 };

static void decode_some(const struct qn_archive *a)
{
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    uint8_t *decoded = malloc((size_t)QN_CHUNK_MAX * 8);
    for (size_t i = 0; i < a->manifest.n_tensors && i < MAX_TENSORS && decoded; i++) {
        const struct qn_archive_tensor *t = &a->manifest.tensors[i];
        uint64_t first = 0, count = t->tensor.n_elements ? 1 : 0;
        if (t->layout.n_chunks)
            qn_layout_chunk(&t->layout, t->layout.n_chunks / 2, &first, &count);
        qn_archive_decode(a, i, first, count, i % 2 == 0, &work, &payload, decoded, NULL);
    }
    free(decoded);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
}

/* Elements from the middle of a chunk to that of the next, to a place that is not aligned, and one
 * more than there are. */
static void decode_across(const struct qn_archive *a)
{
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    uint8_t *decoded = malloc((size_t)QN_CHUNK_MAX * 8 + 1);
    for (size_t i = 0; i < a->manifest.n_tensors && i < 4 && decoded; i++) {
        const struct qn_archive_tensor *t = &a->manifest.tensors[i];
        const uint64_t n = t->tensor.n_elements, first = n / 3;
        const uint64_t count = qn_min_u64(n - first, QN_CHUNK_MAX) / 2;
        qn_archive_decode(a, i, first, count, false, &work, &payload, decoded + 1, NULL);
        if (qn_archive_decode(a, i, n, 1, false, &work, &payload, decoded, NULL) == QINS_OK)
            abort();
    }
    free(decoded);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
}

static void read_files(const struct qn_archive *a)
{
    struct qn_attachment_list files = {0};
    const double bits = qn_archive_bits_per_weight(a);
    if (qn_archive_float_elements(a) > 0 ? !(bits > 0) : !isnan(bits))
        abort();
    qn_archive_read_files(a, &files, NULL);
    qn_attachment_list_finish(&files);
}

/* Chunks by their number in the file. */
static uint64_t chunks_of(const void *ctx, size_t tensor)
{
    return ((const struct qn_archive *)ctx)->manifest.tensors[tensor].layout.n_chunks;
}

static void find_chunks(const struct qn_archive *a)
{
    struct qn_chunk_map map = {0};
    const uint64_t n = qn_manifest_chunks(&a->manifest);
    if (qn_chunk_map_init(&map, a->manifest.n_tensors, chunks_of, a, NULL) != QINS_OK)
        abort();
    for (uint64_t i = 0; i < n; i += n / 16 + 1) {
        size_t tensor;
        uint64_t chunk;
        qn_chunk_map_find(&map, i, &tensor, &chunk);
        if (a->manifest.tensors[tensor].first_chunk + chunk != i)
            abort();
    }
    qn_chunk_map_finish(&map);
}

/* Few bytes in a file may be many tensors that repeat a value; only small ones are tried. */
static void read_transport(const struct qn_archive *a)
{
    struct qn_transport t;
    uint64_t elements = 0;
    for (size_t i = qn_manifest_own_tensors(&a->manifest); i < a->manifest.n_tensors; i++)
        if (!qn_add_u64(elements, a->manifest.tensors[i].tensor.n_elements, &elements))
            return;
    if (!qn_archive_has_transport(a) || elements > MAX_ELEMENTS)
        return;
    qn_transport_from_archive(&t, a, NULL);
    qn_transport_finish(&t);
}

/* [user block][payloads][chunk table][manifest]; NULL if DATA is too short. */
static uint8_t *assemble(const uint8_t *data, size_t size, size_t *image_size)
{
    if (size < 4)
        return NULL;
    size_t json_size = qn_load16(data), n_chunks = qn_load16(data + 2) % 64;
    if (json_size > size - 4)
        return NULL;
    size_t payloads = size - 4 - json_size, at = QN_USERBLOCK_SIZE + payloads;
    uLongf packed = compressBound((uLong)json_size);
    uint8_t *image = calloc(1, at + n_chunks * QN_CHUNK_ENTRY_SIZE + packed);
    if (!image)
        abort();
    memcpy(image + QN_USERBLOCK_SIZE, data + 4 + json_size, payloads);
    struct qn_userblock u = {.chunks_offset = at, .n_chunks = n_chunks};
    for (size_t i = 0; i < n_chunks; i++, at += QN_CHUNK_ENTRY_SIZE) {
        qn_store64(image + at, QN_USERBLOCK_SIZE + i * (payloads / n_chunks));
        qn_store64(image + at + 8, payloads / n_chunks);
    }
    if (compress2(image + at, &packed, data + 4, (uLong)json_size, 0) != Z_OK)
        abort();
    u.manifest_offset = at;
    u.manifest_size = packed;
    u.file_size = *image_size = at + packed;
    qn_userblock_pack(&u, image);
    return image;
}

static uint8_t *copy(const uint8_t *data, size_t size, size_t *image_size)
{
    uint8_t *image = malloc(size + 1);
    if (!image)
        abort();
    if (size)
        memcpy(image, data, size);
    if (size >= QN_USERBLOCK_SIZE)
        qn_store64(image + 16, size);
    *image_size = size;
    return image;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct test_memory_file file = {.fd = -1};
    struct qn_archive *a = NULL;
    size_t image_size = 0;
    if (file.fd < 0 && !test_memory_file_open(&file))
        abort();
    uint8_t *image = qn_is_archive(data, size) ? copy(data, size, &image_size)
                                               : assemble(data, size, &image_size);
    if (!image)
        return 0;
    test_reseal(image, image_size, SEAL_ALL);
    if (!test_memory_file_set(&file, image, image_size))
        abort();
    if (qn_archive_open(&a, file.path, NULL) == QINS_OK) {
        if (qn_archive_check_hash(a, 1, NULL, NULL) != QINS_OK)
            abort();
        bool yes = false;
        if (qn_path_is_archive(file.path, &yes, NULL) != QINS_OK || !yes)
            abort();
        decode_some(a);
        decode_across(a);
        read_files(a);
        find_chunks(a);
        read_transport(a);
    }
    qn_archive_destroy(a);
    free(image);
    return 0;
}
