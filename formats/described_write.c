#include "formats/described_write.h"

#include <stdlib.h>
#include <string.h>

enum qins_status qn_described_describe(struct qn_described_writer *w, json_t *meta,
                                       struct qins_error *err)
{
    free(w->meta);
    w->meta = meta ? qn_json_dump(meta, JSON_INDENT(1)) : NULL;
    json_decref(meta);
    if (!w->meta)
        return qn_fail_memory(err);
    const uint64_t size = strlen(w->meta);
    if (size > QN_MAX_META)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "its description takes %llu bytes, %d at most",
                       (unsigned long long)size, (int)QN_MAX_META);
    return qn_tensor_list_add(&w->tensors, QN_META, strlen(QN_META), QINS_U8, NULL, 1, &size, NULL,
                              err);
}

enum qins_status qn_described_create(struct qn_described_writer *w, const char *path,
                                     const json_t *paths, struct qins_error *err)
{
    char *text = qn_json_dump(paths, JSON_COMPACT);
    enum qins_status st =
        text ? qn_attachment_add(&w->attachments, "hdf5.paths", text, strlen(text), err)
             : qn_fail_memory(err);
    free(text);
    if (st == QINS_OK)
        st = qn_hdf5_writer_ops.create(&w->writer, path, &w->tensors, &w->attachments, err);
    for (size_t i = 0; i < w->tensors.count; i++)
        w->total += w->tensors.items[i].n_bytes;
    return st == QINS_OK ? qn_described_put(w, 0, w->meta, strlen(w->meta), err) : st;
}

enum qins_status qn_described_put(struct qn_described_writer *w, size_t tensor, const void *data,
                                  size_t size, struct qins_error *err)
{
    enum qins_status st = qn_check_stop(w->monitor, err);
    if (st == QINS_OK && size)
        st = w->writer->ops->write(w->writer, tensor, data, size, err);
    w->done += size;
    qn_progress(w->monitor, "write", w->done, w->total);
    return st;
}

enum qins_status qn_described_close(struct qn_described_writer *w, enum qins_status st,
                                    struct qins_error *err)
{
    if (st == QINS_OK)
        st = w->writer->ops->commit(w->writer, err);
    if (w->writer)
        w->writer->ops->destroy(w->writer);
    qn_tensor_list_finish(&w->tensors);
    qn_attachment_list_finish(&w->attachments);
    free(w->meta);
    *w = (struct qn_described_writer){0};
    return st;
}
