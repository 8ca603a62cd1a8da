#include "model/source.h"

#include "core/bytes.h"

#include <stdlib.h>
#include <string.h>

void qn_source_work_finish(struct qn_source_work *w)
{
    qn_buf_finish(&w->payload);
    qn_chunk_work_finish(&w->chunk);
}

/* Chunks that share their bytes could make a small file a model of any size. */
static enum qins_status check_sizes(const struct qn_archive *a, struct qins_error *err)
{
    uint64_t total = 0, n = qn_manifest_chunks(&a->manifest);
    for (uint64_t i = 0; i < n; i++)
        if (!qn_add_u64(total, a->chunks[i].size, &total) || total > a->file.size)
            return qn_fail(err, QINS_ERR_FORMAT,
                           "the chunks claim more bytes than the archive has");
    return QINS_OK;
}

static enum qins_status open_archive(struct qn_source *s, struct qins_error *err)
{
    enum qins_status st = qn_archive_open(&s->archive, s->path, err);
    if (st == QINS_OK)
        st = check_sizes(s->archive, err);
    if (st == QINS_OK)
        st = qn_archive_read_files(s->archive, &s->files, err);
    if (st == QINS_OK) {
        s->n_tensors = qn_manifest_own_tensors(&s->archive->manifest);
        s->format = s->archive->manifest.source_format;
    }
    return st;
}

static enum qins_status open_checkpoint(struct qn_source *s, const struct qn_monitor *monitor,
                                        struct qins_error *err)
{
    enum qins_status st = qn_checkpoint_open(&s->checkpoint, s->path, monitor, err);
    if (st == QINS_OK) {
        s->files = s->checkpoint->attachments;
        s->checkpoint->attachments = (struct qn_attachment_list){0};
        s->n_tensors = s->checkpoint->tensors.count;
        s->format = s->checkpoint->ops->format;
    }
    return st;
}

static int compare_tensors(const void *a, const void *b)
{
    const struct qn_source_tensor *x = a, *y = b;
    return strcmp(x->tensor->name, y->tensor->name);
}

static enum qins_status sort_tensors(struct qn_source *s, struct qins_error *err)
{
    s->tensors = calloc(s->n_tensors + 1, sizeof *s->tensors);
    if (!s->tensors)
        return qn_fail_memory(err);
    for (size_t i = 0; i < s->n_tensors; i++) {
        s->tensors[i].number = i;
        s->tensors[i].tensor =
            s->archive ? &s->archive->manifest.tensors[i].tensor : &s->checkpoint->tensors.items[i];
    }
    qsort(s->tensors, s->n_tensors, sizeof *s->tensors, compare_tensors);
    return QINS_OK;
}

enum qins_status qn_source_open(struct qn_source **out, const char *path,
                                const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_source *s = calloc(1, sizeof *s);
    if (!s)
        return qn_fail_memory(err);
    s->path = qn_strdup(path, err);
    bool is_archive = false;
    enum qins_status st = s->path ? qn_path_is_archive(path, &is_archive, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = is_archive ? open_archive(s, err) : open_checkpoint(s, monitor, err);
    if (st == QINS_OK)
        st = sort_tensors(s, err);
    if (st == QINS_OK)
        *out = s;
    else
        qn_source_destroy(s);
    return qn_error_in_file(err, st, path);
}

void qn_source_destroy(struct qn_source *s)
{
    if (!s)
        return;
    qn_checkpoint_destroy(s->checkpoint);
    qn_archive_destroy(s->archive);
    qn_attachment_list_finish(&s->files);
    free(s->tensors);
    free(s->path);
    free(s);
}

enum qins_status qn_source_check_unchanged(const struct qn_source *s, struct qins_error *err)
{
    return s->checkpoint ? qn_checkpoint_check_unchanged(s->checkpoint, NULL, err) : QINS_OK;
}

size_t qn_source_find(const struct qn_source *s, const char *name)
{
    size_t low = 0, high = s->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(s->tensors[middle].tensor->name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}

bool qn_source_is_quantised(const struct qn_source *s, size_t index)
{
    return s->archive &&
           qn_archive_tensor_is_quantised(&s->archive->manifest.tensors[s->tensors[index].number]);
}

enum qins_dtype qn_source_read_type(const struct qn_source *s, size_t index)
{
    return s->values || qn_source_is_quantised(s, index) ? QINS_F32
                                                         : s->tensors[index].tensor->dtype;
}

enum qins_status qn_source_read(const struct qn_source *s, size_t index, uint64_t first,
                                uint64_t count, struct qn_source_work *work, void *dst,
                                struct qins_error *err)
{
    if (s->values) {
        memcpy(dst, s->values[s->tensors[index].number] + first, (size_t)count * sizeof(float));
        return QINS_OK;
    }
    if (s->archive)
        return qn_archive_decode(s->archive, s->tensors[index].number, first, count,
                                 qn_source_is_quantised(s, index), &work->chunk, &work->payload,
                                 dst, err);
    size_t size = qins_dtype_size(s->tensors[index].tensor->dtype);
    return qn_checkpoint_read(s->checkpoint, s->tensors[index].number, first * size, dst,
                              (size_t)count * size, err);
}
