/* The installed API of include/qins/qins.h, on top of the archive reader. */
#include "core/bytes.h"
#include "formats/archive/reader.h"

#include <stdlib.h>

struct qins_archive {
    struct qn_archive *reader;
    size_t *by_name; /* tensor indices in the order of their names */
};

struct named {
    const char *name;
    size_t index;
};

static int compare_names(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum qins_status sort_names(struct qins_archive *archive, struct qins_error *err)
{
    const struct qn_manifest *m = &archive->reader->manifest;
    struct named *order = calloc(m->n_tensors + 1, sizeof *order);
    archive->by_name = calloc(m->n_tensors + 1, sizeof *archive->by_name);
    if (!order || !archive->by_name) {
        free(order);
        return qn_fail_memory(err);
    }
    for (size_t i = 0; i < m->n_tensors; i++)
        order[i] = (struct named){m->tensors[i].tensor.name, i};
    qsort(order, m->n_tensors, sizeof *order, compare_names);
    for (size_t i = 0; i < m->n_tensors; i++)
        archive->by_name[i] = order[i].index;
    free(order);
    return QINS_OK;
}

enum qins_status qins_open(qins_archive **out, const char *path, struct qins_error *err)
{
    struct qins_archive *archive = calloc(1, sizeof *archive);
    *out = NULL;
    if (!archive)
        return qn_fail_memory(err);
    enum qins_status st = qn_archive_open(&archive->reader, path, err);
    if (st == QINS_OK)
        st = sort_names(archive, err);
    if (st == QINS_OK)
        *out = archive;
    else
        qins_close(archive);
    return st;
}

void qins_close(qins_archive *archive)
{
    if (!archive)
        return;
    qn_archive_destroy(archive->reader);
    free(archive->by_name);
    free(archive);
}

size_t qins_tensor_count(const qins_archive *archive)
{
    return archive->reader->manifest.n_tensors;
}

static const struct qn_archive_tensor *tensor_at(const qins_archive *archive, size_t index,
                                                 struct qins_error *err)
{
    const struct qn_manifest *m = &archive->reader->manifest;
    if (index < m->n_tensors)
        return &m->tensors[index];
    qn_fail_at(err, QINS_ERR_USAGE, archive->reader->file.path, NULL, QN_NO_OFFSET,
               "there is no tensor %zu: the archive has %zu", index, m->n_tensors);
    return NULL;
}

enum qins_status qins_tensor(const qins_archive *archive, size_t index,
                             struct qins_tensor_info *info, struct qins_error *err)
{
    const struct qn_archive_tensor *t = tensor_at(archive, index, err);
    if (!t)
        return QINS_ERR_USAGE;
    *info = (struct qins_tensor_info){
        .name = t->tensor.name,
        .source_dtype = t->tensor.dtype,
        .dtype = qn_dtype(t->tensor.dtype)->view,
        .rank = t->tensor.rank,
        .n_elements = t->tensor.n_elements,
        .archived_bytes = t->tensor.rank ? 0 : t->tensor.n_bytes,
        .codec = qn_codec_name(t->plan.codec),
    };
    memcpy(info->shape, t->tensor.shape, sizeof info->shape);
    for (uint64_t i = 0; i < t->layout.n_chunks; i++)
        info->archived_bytes += archive->reader->chunks[t->first_chunk + i].size;
    return QINS_OK;
}

size_t qins_find(const qins_archive *archive, const char *name)
{
    const struct qn_manifest *m = &archive->reader->manifest;
    size_t low = 0, high = m->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, m->tensors[archive->by_name[middle]].tensor.name);
        if (order == 0)
            return archive->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return SIZE_MAX;
}

enum qins_status qins_read(const qins_archive *archive, size_t index, uint64_t first,
                           uint64_t count, void *dst, size_t dst_bytes, struct qins_error *err)
{
    const struct qn_archive_tensor *t = tensor_at(archive, index, err);
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    if (!t)
        return QINS_ERR_USAGE;
    if (count > dst_bytes / qins_dtype_size(qn_dtype(t->tensor.dtype)->view))
        return qn_fail_at(err, QINS_ERR_USAGE, archive->reader->file.path, t->tensor.name,
                          QN_NO_OFFSET, "%llu elements do not fit in a buffer of %zu bytes",
                          (unsigned long long)count, dst_bytes);
    enum qins_status st =
        qn_archive_decode(archive->reader, index, first, count, true, &work, &payload, dst, err);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
    return st;
}

enum qins_status qins_read_rows(const qins_archive *archive, size_t index, uint64_t row_begin,
                                uint64_t row_count, void *dst, size_t dst_bytes,
                                struct qins_error *err)
{
    const struct qn_archive_tensor *t = tensor_at(archive, index, err);
    if (!t)
        return QINS_ERR_USAGE;
    uint64_t rows = t->tensor.rank ? t->tensor.shape[0] : 1;
    if (row_begin > rows || row_count > rows - row_begin)
        return qn_fail_at(err, QINS_ERR_USAGE, archive->reader->file.path, t->tensor.name,
                          QN_NO_OFFSET, "%llu rows from %llu on are asked for, it has %llu",
                          (unsigned long long)row_count, (unsigned long long)row_begin,
                          (unsigned long long)rows);
    uint64_t row = rows ? t->tensor.n_elements / rows : 0; /* elements */
    return qins_read(archive, index, row_begin * row, row_count * row, dst, dst_bytes, err);
}
