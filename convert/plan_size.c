#include "convert/plan_size.h"

#include "core/file.h"
#include "formats/archive/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Stands for a scale that is not known before the conversion: as many digits as most have. */
#define TYPICAL_SCALE 0.123456786F

/* Bytes that sizes and offsets of a tensor take more in digits than those of an empty one [counted:
 * 5.3 of stories260K]. */
enum { LONGER_NUMBERS = 6 };

static enum qins_status add_tensor(struct qn_sink *sink, const struct qn_tensor *t,
                                   const struct qn_plan_tensor *p, uint64_t *payloads,
                                   struct qins_error *err)
{
    static const uint8_t empty[QN_CHUNK_HEADER_SIZE];
    struct qn_archive_tensor a = {.tensor = *t,
                                  .plan = p->line,
                                  .tensor_scale = TYPICAL_SCALE,
                                  .blocks = p->blocks,
                                  .n_blocks = p->n_blocks};
    struct qn_digest leaf = qn_hash128(t->name, strlen(t->name));
    qn_layout_init(&a.layout, t->rank, t->shape);
    enum qins_status st = sink->begin(sink, &a, err);
    for (uint64_t i = 0; i < a.layout.n_chunks && st == QINS_OK; i++)
        st = sink->chunk(sink, empty, sizeof empty, &leaf, err);
    *payloads += a.layout.n_chunks * sizeof empty;
    return st == QINS_OK ? sink->end(sink, err) : st;
}

static enum qins_status write_empty(const struct qn_source *source, const struct qn_plan *plan,
                                    const char *path, double *bytes, struct qins_error *err)
{
    const struct qn_checkpoint *ck = source->checkpoint;
    struct qn_archive_writer *w = NULL;
    uint64_t payloads = 0, size = 0;
    enum qins_status st = qn_archive_writer_create(&w, path, ck->ops->format, err);
    for (size_t i = 0; i < plan->count && st == QINS_OK; i++)
        st = add_tensor(qn_archive_writer_sink(w), &ck->tensors.items[i], &plan->tensors[i],
                        &payloads, err);
    if (st == QINS_OK)
        st = qn_archive_writer_commit(w, &source->files, &size, err);
    qn_archive_writer_destroy(w);
    *bytes = (double)size - (double)payloads + LONGER_NUMBERS * (double)plan->count;
    return st;
}

enum qins_status qn_plan_overhead(const struct qn_source *source, const struct qn_plan *plan,
                                  double *bytes, struct qins_error *err)
{
    const char *temporary = getenv("TMPDIR");
    char *folder =
        qn_path_join(temporary && temporary[0] ? temporary : "/tmp", "qins-plan-XXXXXX", err);
    if (!folder)
        return QINS_ERR_MEMORY;
    if (!mkdtemp(folder)) {
        enum qins_status st = qn_fail_errno(err, folder, "cannot create a temporary folder");
        free(folder);
        return st;
    }
    char *path = qn_path_join(folder, "empty.qins", err);
    enum qins_status st = path ? write_empty(source, plan, path, bytes, err) : QINS_ERR_MEMORY;
    if (path)
        (void)unlink(path);
    (void)rmdir(folder);
    free(path);
    free(folder);
    return st;
}

enum qins_status qn_lossless_bytes(const struct qn_source *source, size_t index,
                                   enum qn_codec_id codec, double *bytes, struct qins_error *err)
{
    struct qn_checkpoint *ck = source->checkpoint;
    const struct qn_tensor *t = &ck->tensors.items[index];
    struct qn_chunk_params params = {
        .content = QN_CONTENT_LOSSLESS, .dtype = t->dtype, .codec = codec};
    struct qn_layout layout;
    struct qn_chunk_work work = {0};
    struct qn_buf data = {0}, payload = {0};
    enum qins_status st = QINS_OK;
    *bytes = 0.0;
    qn_layout_init(&layout, t->rank, t->shape);
    for (uint64_t i = 0; i < layout.n_chunks && st == QINS_OK; i++) {
        uint64_t first, count, size = qins_dtype_size(t->dtype);
        qn_layout_chunk(&layout, i, &first, &count);
        params.row_length = params.group = count;
        payload.size = 0;
        st = qn_buf_reserve(&data, (size_t)(count * size), err);
        if (st == QINS_OK)
            st =
                qn_checkpoint_read(ck, index, first * size, data.data, (size_t)(count * size), err);
        if (st == QINS_OK)
            st = qn_chunk_encode(&params, data.data, (size_t)count, &work, &payload, err);
        *bytes += (double)payload.size;
    }
    qn_chunk_work_finish(&work);
    qn_buf_finish(&data);
    qn_buf_finish(&payload);
    return qn_error_in_tensor(err, st, t->name);
}
