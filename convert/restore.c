#include "convert/restore.h"

#include "convert/report.h"
#include "convert/sources.h"
#include "convert/work.h"
#include "core/bytes.h"
#include "core/folder.h"
#include "formats/tensor_writer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char model_name[] = "model.safetensors"; /* in a folder */

struct restore_slot {
    struct qn_buf data;  /* a decoded chunk, for writers that want them in order */
    size_t size;         /* of it in bytes */
    uint64_t overflowed; /* its finite values that the target type made infinite */
};

struct restoration {
    struct qn_archive *archive;
    size_t n; /* tensors of the model; a transport's stay behind */
    const struct qn_restore_options *options;
    const struct qn_monitor *monitor;
    struct qn_tensor_list tensors; /* as they are to be written */
    struct qn_attachment_list attachments;
    struct qn_tensor_writer *writer;
    pthread_mutex_t writing;
    struct qn_chunk_map map;
    struct qn_workspace_pool pool;
    struct restore_slot *slots;
    uint64_t overflowed;          /* of all slots so far */
    const char *first_overflowed; /* tensor */
    size_t next;                  /* tensors before it are written, those without chunks included */
    uint64_t done, total;
};

static uint64_t count_chunks(const void *ctx, size_t i)
{
    const struct qn_manifest *m = ctx;
    return m->tensors[i].layout.n_chunks;
}

static enum qins_dtype target_type(const struct restoration *r, enum qins_dtype source)
{
    bool changed = r->options->dtype != QINS_DTYPE_INVALID && qn_dtype_is_float(source);
    return changed ? r->options->dtype : source;
}

/* Finite floats from which on TO rounds to infinity. */
static uint64_t count_overflow(enum qins_dtype to, const float *x, size_t n)
{
    const float limit = to == QINS_F16    ? 65520.0F        /* half a step above 65504 */
                        : to == QINS_BF16 ? 0x1.ff0000p127F /* above 0x1.fep127 */
                                          : INFINITY;
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += fabsf(x[i]) >= limit && fabsf(x[i]) < INFINITY;
    return count;
}

/* N elements of FROM to the type TO; F64 is rounded to F32 first. *OVERFLOWED counts finite
 * values that became infinite. */
static enum qins_status convert_elements(enum qins_dtype from, enum qins_dtype to, const void *src,
                                         size_t n, struct qn_buf *wide, void *dst,
                                         uint64_t *overflowed, struct qins_error *err)
{
    const float *x = src;
    if (from == QINS_F64) {
        enum qins_status st = qn_buf_resize(wide, n * sizeof(float), err);
        if (st != QINS_OK)
            return st;
        float *narrow = (float *)(void *)wide->data;
        for (size_t i = 0; i < n; i++) {
            double value;
            memcpy(&value, (const uint8_t *)src + i * sizeof value, sizeof value);
            narrow[i] = (float)value;
            *overflowed += isinf(narrow[i]) && !isinf(value);
        }
        x = narrow;
    }
    *overflowed += count_overflow(to, x, n);
    qn_from_f32(to, x, dst, n);
    return QINS_OK;
}

static enum qins_status decode_piece(struct restoration *r, size_t tensor, uint64_t first, size_t n,
                                     struct qn_workspace *w, struct qn_buf *out,
                                     uint64_t *overflowed, struct qins_error *err)
{
    *overflowed = 0;
    enum qins_dtype from = r->archive->manifest.tensors[tensor].tensor.dtype;
    enum qins_dtype to = r->tensors.items[tensor].dtype;
    enum qins_dtype view = qn_dtype(from)->view;
    enum qins_status st = qn_buf_resize(out, n * qins_dtype_size(to), err);
    bool direct = from == to || view == to;
    if (st == QINS_OK && direct)
        return qn_archive_decode(r->archive, tensor, first, n, from != to, &w->chunk, &w->payload,
                                 out->data, err);
    if (st == QINS_OK)
        st = qn_buf_resize(&w->decoded, n * qins_dtype_size(view), err);
    if (st == QINS_OK)
        st = qn_archive_decode(r->archive, tensor, first, n, true, &w->chunk, &w->payload,
                               w->decoded.data, err);
    if (st == QINS_OK)
        st = convert_elements(view, to, w->decoded.data, n, &w->source, out->data, overflowed, err);
    return st;
}

/* Threads write by themselves what is still in their caches; but one at a time, since the system
 * lets only one write to a file, and those that it makes wait keep their processors busy. */
static enum qins_status put(struct restoration *r, size_t tensor, uint64_t offset,
                            const struct qn_buf *data, struct qins_error *err)
{
    pthread_mutex_lock(&r->writing);
    enum qins_status st =
        r->writer->ops->put(r->writer, tensor, offset, data->data, data->size, err);
    pthread_mutex_unlock(&r->writing);
    return st;
}

static enum qins_status work(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    struct restoration *r = ctx;
    struct restore_slot *slot = &r->slots[slot_index];
    size_t tensor;
    uint64_t chunk, first, count;
    qn_chunk_map_find(&r->map, item, &tensor, &chunk);
    qn_layout_chunk(&r->archive->manifest.tensors[tensor].layout, chunk, &first, &count);
    struct qn_workspace *w = qn_workspace_take(&r->pool);
    const bool place = r->writer->ops->put != NULL;
    struct qn_buf *out = place ? &w->result : &slot->data;
    enum qins_status st =
        decode_piece(r, tensor, first, (size_t)count, w, out, &slot->overflowed, err);
    slot->size = out->size;
    qn_error_in_file(err, st, r->archive->file.path);
    qn_error_in_tensor(err, st, r->tensors.items[tensor].name);
    if (st == QINS_OK && place)
        st = put(r, tensor, first * qins_dtype_size(r->tensors.items[tensor].dtype), out, err);
    qn_workspace_give(&r->pool, w);
    return st;
}

static void note_overflow(struct restoration *r, size_t tensor, uint64_t count)
{
    if (count > 0 && r->overflowed == 0)
        r->first_overflowed = r->tensors.items[tensor].name;
    r->overflowed += count;
}

static enum qins_status write_scalar(struct qn_tensor_writer *w, size_t tensor, const void *data,
                                     size_t size, struct qins_error *err)
{
    return w->ops->put ? w->ops->put(w, tensor, 0, data, size, err)
                       : w->ops->write(w, tensor, data, size, err);
}

/* Writes the scalars among the tensors before END; the others there are complete or empty. */
static enum qins_status write_scalars(struct restoration *r, size_t end, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (; r->next < end && st == QINS_OK; r->next++) {
        const struct qn_archive_tensor *t = &r->archive->manifest.tensors[r->next];
        enum qins_dtype from = t->tensor.dtype, to = r->tensors.items[r->next].dtype;
        uint8_t data[sizeof(double)];
        float value = 0.0F;
        uint64_t overflowed = 0;
        struct qn_buf wide = {0};
        if (t->tensor.rank != 0)
            continue;
        if (from == to) {
            memcpy(data, t->inline_data, sizeof data);
        } else if (from == QINS_F64) {
            st = convert_elements(from, to, t->inline_data, 1, &wide, data, &overflowed, err);
        } else {
            qn_to_f32(from, t->inline_data, &value, 1);
            st = convert_elements(QINS_F32, to, &value, 1, &wide, data, &overflowed, err);
        }
        note_overflow(r, r->next, overflowed);
        qn_buf_finish(&wide);
        if (st == QINS_OK)
            st = write_scalar(r->writer, r->next, data, qins_dtype_size(to), err);
    }
    return st;
}

static enum qins_status emit(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct restoration *r = ctx;
    size_t tensor;
    uint64_t chunk;
    qn_chunk_map_find(&r->map, item, &tensor, &chunk);
    const struct restore_slot *s = &r->slots[slot];
    note_overflow(r, tensor, s->overflowed);
    enum qins_status st = write_scalars(r, tensor, err);
    if (st == QINS_OK && !r->writer->ops->put)
        st = r->writer->ops->write(r->writer, tensor, s->data.data, s->size, err);
    r->done += s->size;
    qn_progress(r->monitor, "restoring", r->done, r->total);
    return st;
}

static enum qins_status describe_tensors(struct restoration *r, struct qins_error *err)
{
    const struct qn_manifest *m = &r->archive->manifest;
    enum qins_status st = QINS_OK;
    r->n = qn_manifest_own_tensors(m);
    for (size_t i = 0; i < r->n && st == QINS_OK; i++) {
        const struct qn_tensor *t = &m->tensors[i].tensor;
        struct qn_tensor *mine;
        st = qn_tensor_list_add(&r->tensors, t->name, strlen(t->name), target_type(r, t->dtype),
                                NULL, t->rank, t->shape, &mine, err);
        if (st == QINS_OK)
            r->total += mine->n_bytes;
    }
    return st;
}

static enum qins_status write_tensors(struct restoration *r, const struct qn_tensor_writer_ops *ops,
                                      const char *path, struct qins_error *err)
{
    unsigned threads = r->options->threads;
    struct qn_ordered job = {.work = work,
                             .emit = emit,
                             .ctx = r,
                             .threads = threads,
                             .slots = threads > 1 ? 2 * threads : 1,
                             .monitor = r->monitor};
    const struct qn_manifest *m = &r->archive->manifest;
    enum qins_status st = qn_chunk_map_init(&r->map, r->n, count_chunks, m, err);
    r->slots = calloc(job.slots, sizeof *r->slots);
    if (st == QINS_OK && !r->slots)
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_workspace_pool_init(&r->pool, threads, err);
    if (st == QINS_OK)
        st = ops->create(&r->writer, path, &r->tensors, &r->attachments, err);
    if (st == QINS_OK) {
        job.end = qn_chunk_map_total(&r->map);
        st = qn_run_ordered(&job, err);
    }
    if (st == QINS_OK)
        st = write_scalars(r, r->n, err);
    if (st == QINS_OK)
        st = qn_check_stop(r->monitor, err);
    if (st == QINS_OK)
        st = ops->commit(r->writer, err);
    if (st == QINS_OK && r->overflowed > 0)
        qn_notice(r->monitor,
                  "%" PRIu64 " finite values are too large for %s and became infinite, "
                  "the first in tensor '%s'",
                  r->overflowed, qins_dtype_name(r->options->dtype), r->first_overflowed);
    if (r->writer)
        ops->destroy(r->writer);
    for (unsigned i = 0; r->slots && i < job.slots; i++)
        qn_buf_finish(&r->slots[i].data);
    return st;
}

/* Calls VISIT for every model file among the attachments, with its path in DIR. Other attached
 * files are pieces of a container, or names that an archive made by others may choose freely. */
static enum qins_status each_model_file(const struct restoration *r, const char *dir,
                                        enum qins_status (*visit)(const struct restoration *r,
                                                                  const struct qn_attachment *a,
                                                                  const char *path,
                                                                  struct qins_error *err),
                                        struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < r->attachments.count && st == QINS_OK; i++) {
        const struct qn_attachment *a = &r->attachments.items[i];
        if (!qn_is_model_file(a->name))
            continue;
        char *path = qn_path_join(dir, a->name, err);
        st = path ? visit(r, a, path, err) : QINS_ERR_MEMORY;
        free(path);
    }
    return st;
}

static enum qins_status refuse_archive(const struct restoration *r, const struct qn_attachment *a,
                                       const char *path, struct qins_error *err)
{
    (void)a;
    struct qn_inputs inputs = {.file = r->archive->file.path};
    return qn_refuse_input(&inputs, path, err);
}

static enum qins_status write_model_file(const struct restoration *r, const struct qn_attachment *a,
                                         const char *path, struct qins_error *err)
{
    (void)r;
    return qn_write_whole(path, a->data, a->size, err);
}

/* Weights in DIR that readers would take for part of the model, or prefer to model.safetensors:
 * an index, and any other safetensors file. */
static enum qins_status refuse_other_weights(const char *dir_path, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    DIR *dir = opendir(dir_path);
    if (!dir)
        return errno == ENOENT ? QINS_OK : qn_fail_errno(err, dir_path, "cannot open the folder");
    for (const char *name = ""; st == QINS_OK;) {
        st = qn_folder_next(dir, dir_path, &name, err);
        if (st != QINS_OK || !name)
            break;
        const bool shard =
            qn_has_suffix(name, ".safetensors") && strcmp(name, model_name) != 0 && name[0] != '.';
        if (shard || qn_has_suffix(name, ".safetensors.index.json"))
            st = qn_fail_at(err, QINS_ERR_USAGE, dir_path, NULL, QN_NO_OFFSET,
                            "the folder holds '%s', which would be taken for a part of the model: "
                            "remove it or choose another folder",
                            name);
    }
    closedir(dir);
    return st;
}

/* All that can be told before the first byte is written. */
static enum qins_status check_outputs(const struct restoration *r, const char *out, bool folder,
                                      const char *path, struct qins_error *err)
{
    enum qins_status st = refuse_archive(r, NULL, path, err);
    if (st == QINS_OK && folder)
        st = each_model_file(r, out, refuse_archive, err);
    if (st == QINS_OK && folder)
        st = refuse_other_weights(out, err);
    return st;
}

static enum qins_status restore_to(struct restoration *r, const char *out, bool folder,
                                   const char *path, struct qins_error *err)
{
    const struct qn_tensor_writer_ops *ops = qn_tensor_writer_for(path);
    if (!ops)
        return qn_fail(err, QINS_ERR_USAGE,
                       "'%s' names no format: use .safetensors, .gguf, .h5 or a folder with a '/' "
                       "at its end",
                       out);
    const size_t made = folder ? qn_first_missing(out) : 0;
    enum qins_status st = check_outputs(r, out, folder, path, err);
    if (st == QINS_OK && folder)
        st = qn_make_directories(out, err);
    if (st == QINS_OK)
        st = write_tensors(r, ops, path, err);
    if (st == QINS_OK && folder)
        st = each_model_file(r, out, write_model_file, err);
    if (st != QINS_OK && made > 0)
        qn_remove_empty(out, made);
    return st;
}

static json_t *make_report(const struct restoration *r, const char *archive, const char *out,
                           double seconds)
{
    json_t *j = qn_report_begin("qins/restore/1"), *tensors = json_array();
    for (size_t i = 0; i < r->tensors.count; i++) {
        const struct qn_tensor *t = &r->tensors.items[i];
        json_t *one = json_object();
        qn_json_put(&one, "name", json_string(t->name));
        qn_json_put(&one, "dtype", json_string(qins_dtype_name(t->dtype)));
        qn_json_put(&one, "bytes", json_integer((json_int_t)t->n_bytes));
        if (json_array_append_new(tensors, one) != 0) {
            json_decref(tensors);
            tensors = NULL;
        }
    }
    qn_json_put(&j, "archive", qn_json_text(archive));
    qn_json_put(&j, "output", qn_json_text(out));
    qn_json_put(&j, "output_bytes", json_integer((json_int_t)r->total));
    qn_json_put(&j, "threads", json_integer(r->options->threads));
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    qn_json_put(&j, "mb_per_s", qn_json_real(1e-6 * (double)r->total / seconds));
    qn_json_put(&j, "tensors", tensors);
    return j;
}

enum qins_status qn_restore(const char *archive, const char *out,
                            const struct qn_restore_options *options,
                            const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err)
{
    struct restoration r = {
        .options = options, .monitor = monitor, .writing = PTHREAD_MUTEX_INITIALIZER};
    double begun = qn_seconds();
    bool folder = qn_has_suffix(out, "/") || qn_is_directory(out);
    char *path = folder ? qn_path_join(out, model_name, err) : qn_strdup(out, err);
    if (!path)
        return QINS_ERR_MEMORY;
    enum qins_status st = qn_archive_open(&r.archive, archive, err);
    if (st == QINS_OK)
        st = describe_tensors(&r, err);
    if (st == QINS_OK)
        st = qn_archive_read_files(r.archive, &r.attachments, err);
    if (st == QINS_OK)
        st = restore_to(&r, out, folder, path, err);
    if (st == QINS_OK && report) {
        *report = make_report(&r, archive, out, qn_seconds() - begun);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    qn_chunk_map_finish(&r.map);
    qn_workspace_pool_finish(&r.pool);
    pthread_mutex_destroy(&r.writing);
    free(r.slots);
    free(path);
    qn_tensor_list_finish(&r.tensors);
    qn_attachment_list_finish(&r.attachments);
    qn_archive_destroy(r.archive);
    return st;
}
