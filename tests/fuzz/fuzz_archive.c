/* Archives whose hashes are all right: open, list, decode a chunk of each tensor, read files. */
#include "formats/archive/reader.h"
#include "tests/unit/archive_reseal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TENSORS = 64 };

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
    for (size_t i = 0; i < a->manifest.n_files; i++) {
        payload.size = 0;
        qn_archive_file_read(a, i, &payload, NULL);
    }
    free(decoded);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct test_memory_file file = {.fd = -1};
    struct qn_archive *a = NULL;
    uint8_t *image = malloc(size + 1);
    if (!image || (file.fd < 0 && !test_memory_file_open(&file)))
        abort();
    if (size)
        memcpy(image, data, size);
    if (size >= QN_USERBLOCK_SIZE)
        qn_store64(image + 16, size);
    test_reseal(image, size, SEAL_ALL);
    if (!test_memory_file_set(&file, image, size))
        abort();
    if (qn_archive_open(&a, file.path, NULL) == QINS_OK) {
        if (qn_archive_check_hash(a, NULL, NULL) != QINS_OK)
            abort();
        decode_some(a);
    }
    qn_archive_destroy(a);
    free(image);
    return 0;
}
