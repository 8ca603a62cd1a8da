#include "convert/verify.h"

#include "analyze/quality.h"
#include "convert/match.h"
#include "convert/report.h"
#include "convert/shape.h"
#include "convert/work.h"
#include "core/bytes.h"
#include "formats/transport_archive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is found out about one tensor. */
struct verdict {
    struct qn_match match;
    uint64_t mismatches, first_mismatch; /* elements */
    uint64_t stored_chunks;
    struct qn_quality_figures figures;
};

/* What one slot of the ordered pipeline holds. */
struct verify_slot {
    struct qn_quality quality;
    struct qn_digest leaf;
    uint64_t mismatches, first_mismatch;
    bool stored;
};

struct verification {
    struct qn_archive *archive;
    struct qn_checkpoint *source; /* NULL: alone */
    const struct qn_monitor *monitor;
    struct qn_chunk_map map;
    struct qn_workspace_pool pool;
    struct verify_slot *slots;
    struct qn_quality *quality; /* of the tensor whose chunks come by */
    struct qn_fingerprint fingerprint;
    struct verdict *verdicts;
    size_t extra; /* in the source alone */
    uint64_t done, total;
};

static uint64_t count_chunks(const void *ctx, size_t i)
{
    const struct qn_manifest *m = ctx;
    return m->tensors[i].layout.n_chunks;
}

static bool comparable(const struct verification *v, size_t tensor)
{
    const struct qn_match *m = &v->verdicts[tensor].match;
    return v->source && m->source != QN_NO_TENSOR && m->problem[0] == '\0';
}

/* A payload that decodes but is not what the manifest says was put together by hand. */
static enum qins_status compare_with_source(struct verification *v, size_t tensor, uint64_t first,
                                            size_t n, struct qn_workspace *w,
                                            struct verify_slot *slot, struct qins_error *err)
{
    const struct qn_archive_tensor *t = &v->archive->manifest.tensors[tensor];
    size_t size = qins_dtype_size(t->tensor.dtype), bytes = n * size;
    enum qins_status st = qn_buf_resize(&w->source, bytes, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(v->source, v->verdicts[tensor].match.source, first * size,
                                w->source.data, bytes, err);
    if (st == QINS_OK) {
        slot->leaf = qn_hash128(w->source.data, bytes);
        st = qn_chunk_compare(w->payload.data, w->payload.size, t->tensor.dtype, w->source.data, n,
                              &w->chunk, &slot->mismatches, &slot->first_mismatch, err);
    }
    if (st != QINS_OK || !qn_dtype_is_quantisable(t->tensor.dtype))
        return st;
    const float *x = (const float *)(const void *)w->source.data;
    if (t->tensor.dtype != QINS_F32) {
        /* w->decoded holds the n decoded values in front, the widened source behind. */
        float *wide = (float *)(void *)w->decoded.data + n;
        qn_to_f32(t->tensor.dtype, w->source.data, wide, n);
        x = wide;
    }
    slot->quality = (struct qn_quality){0};
    qn_quality_add(&slot->quality, x, (const float *)(const void *)w->decoded.data, n);
    return QINS_OK;
}

static enum qins_status check_chunk(struct verification *v, size_t tensor, uint64_t chunk,
                                    struct qn_workspace *w, struct verify_slot *slot,
                                    struct qins_error *err)
{
    const struct qn_archive_tensor *t = &v->archive->manifest.tensors[tensor];
    struct qn_chunk_info info;
    uint64_t first, count;
    qn_layout_chunk(&t->layout, chunk, &first, &count);
    size_t n = (size_t)count, room = n * sizeof(double); /* or two float32 */
    enum qins_status st = qn_archive_payload(v->archive, tensor, chunk, &w->payload, err);
    if (st == QINS_OK)
        st = qn_chunk_inspect(w->payload.data, w->payload.size, &info, err);
    if (st == QINS_OK)
        st = qn_shape_runs(t, first, count, NULL, &w->runs, err);
    if (st == QINS_OK)
        st = qn_chunk_check_runs(w->payload.data, w->payload.size,
                                 (const struct qn_chunk_run *)(const void *)w->runs.data,
                                 w->runs.size / sizeof(struct qn_chunk_run), err);
    if (st == QINS_OK)
        st = qn_buf_resize(&w->decoded, room, err);
    if (st == QINS_OK)
        st = qn_chunk_decode(w->payload.data, w->payload.size, t->tensor.dtype, n, true, &w->chunk,
                             w->decoded.data, err);
    if (st == QINS_OK)
        slot->stored = info.codec == QN_CODEC_STORE && info.content != QN_CONTENT_BLOCKS;
    if (st == QINS_OK && comparable(v, tensor))
        st = compare_with_source(v, tensor, first, n, w, slot, err);
    return st;
}

static enum qins_status work(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    struct verification *v = ctx;
    size_t tensor;
    uint64_t chunk;
    qn_chunk_map_find(&v->map, item, &tensor, &chunk);
    struct verify_slot *slot = &v->slots[slot_index];
    struct qn_workspace *w = qn_workspace_take(&v->pool);
    enum qins_status st = check_chunk(v, tensor, chunk, w, slot, err);
    qn_workspace_give(&v->pool, w);
    qn_error_in_file(err, st, v->archive->file.path);
    return qn_error_in_tensor(err, st, v->archive->manifest.tensors[tensor].tensor.name);
}

/* The last word on a tensor whose chunks were all seen. */
static void conclude(struct verification *v, size_t tensor)
{
    const struct qn_archive_tensor *t = &v->archive->manifest.tensors[tensor];
    struct verdict *r = &v->verdicts[tensor];
    struct qn_digest d = qn_fingerprint_finish(&v->fingerprint);
    char *problem = r->match.problem;
    if (r->mismatches > 0)
        snprintf(problem, sizeof r->match.problem,
                 "%llu of %llu elements differ, the first is %llu",
                 (unsigned long long)r->mismatches, (unsigned long long)t->tensor.n_elements,
                 (unsigned long long)r->first_mismatch);
    else if (memcmp(d.bytes, t->fingerprint.bytes, sizeof d.bytes) != 0)
        snprintf(problem, sizeof r->match.problem,
                 "the source is not the one that was converted (fingerprint)");
    if (!qn_dtype_is_quantisable(t->tensor.dtype) && r->mismatches == 0)
        qn_quality_add_exact(v->quality, t->tensor.n_elements);
    else if (r->mismatches > 0 && !qn_dtype_is_quantisable(t->tensor.dtype))
        v->quality->undefined = v->quality->n = t->tensor.n_elements;
    qn_quality_figures(v->quality, &r->figures);
}

static enum qins_status emit(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    struct verification *v = ctx;
    size_t tensor;
    uint64_t chunk, first, count;
    qn_chunk_map_find(&v->map, item, &tensor, &chunk);
    const struct qn_archive_tensor *t = &v->archive->manifest.tensors[tensor];
    struct verify_slot *slot = &v->slots[slot_index];
    struct verdict *r = &v->verdicts[tensor];
    enum qins_status st = QINS_OK;
    qn_layout_chunk(&t->layout, chunk, &first, &count);
    r->stored_chunks += slot->stored;
    if (comparable(v, tensor)) {
        if (chunk == 0)
            *v->quality = (struct qn_quality){0};
        if (r->mismatches == 0 && slot->mismatches > 0)
            r->first_mismatch = first + slot->first_mismatch;
        r->mismatches += slot->mismatches;
        if (qn_dtype_is_quantisable(t->tensor.dtype))
            qn_quality_merge(v->quality, &slot->quality);
        st = qn_fingerprint_add(&v->fingerprint, &slot->leaf, err);
        if (st == QINS_OK && chunk + 1 == t->layout.n_chunks)
            conclude(v, tensor);
    }
    v->done += count * qins_dtype_size(t->tensor.dtype);
    qn_progress(v->monitor, "verifying", v->done, v->total);
    return st;
}

/* Tensors without chunks: scalars, which the manifest holds, and empty ones. */
static enum qins_status check_inline(struct verification *v, size_t tensor, struct qins_error *err)
{
    const struct qn_archive_tensor *t = &v->archive->manifest.tensors[tensor];
    struct verdict *r = &v->verdicts[tensor];
    uint8_t data[sizeof t->inline_data];
    if (t->layout.n_chunks > 0 || !comparable(v, tensor))
        return QINS_OK;
    *v->quality = (struct qn_quality){0};
    if (t->tensor.rank == 0) {
        size_t n = (size_t)t->tensor.n_bytes;
        enum qins_status st = qn_checkpoint_read(v->source, r->match.source, 0, data, n, err);
        if (st != QINS_OK)
            return st;
        r->mismatches = memcmp(data, t->inline_data, n) != 0;
        struct qn_digest leaf = qn_hash128(data, n);
        st = qn_fingerprint_add(&v->fingerprint, &leaf, err);
        if (st != QINS_OK)
            return st;
        if (qn_dtype_is_quantisable(t->tensor.dtype) && r->mismatches == 0)
            qn_quality_add_exact(v->quality, 1);
        else if (qn_dtype_is_quantisable(t->tensor.dtype))
            v->quality->undefined = v->quality->n = 1;
    }
    conclude(v, tensor);
    return QINS_OK;
}

static enum qins_status sweep(struct verification *v, unsigned threads, struct qins_error *err)
{
    const struct qn_manifest *m = &v->archive->manifest;
    struct qn_ordered job = {.work = work,
                             .emit = emit,
                             .ctx = v,
                             .threads = threads,
                             .slots = threads > 1 ? 2 * threads : 1,
                             .monitor = v->monitor};
    v->slots = calloc(job.slots, sizeof *v->slots);
    v->quality = calloc(1, sizeof *v->quality);
    if (!v->slots || !v->quality)
        return qn_fail_memory(err);
    enum qins_status st = qn_chunk_map_init(&v->map, m->n_tensors, count_chunks, m, err);
    if (st == QINS_OK)
        st = qn_workspace_pool_init(&v->pool, threads, err);
    if (st == QINS_OK) {
        job.end = qn_chunk_map_total(&v->map);
        st = qn_run_ordered(&job, err);
    }
    for (size_t i = 0; i < m->n_tensors && st == QINS_OK; i++)
        st = check_inline(v, i, err);
    return st;
}

/* null where nothing is quantised; feedback where any of it has that. */
static json_t *rounding_report(const struct qn_archive_tensor *t)
{
    if (!qn_archive_tensor_is_quantised(t))
        return json_null();
    return json_string(qn_plan_feeds_back(&t->plan, t->blocks, t->n_blocks) ? "feedback"
                                                                            : "nearest");
}

/* Its arrays have been decoded one by one; now what they are together. */
static enum qins_status check_transport(const struct verification *v, struct qins_error *err)
{
    struct qn_transport t = {0};
    enum qins_status st = qn_archive_has_transport(v->archive)
                              ? qn_transport_from_archive(&t, v->archive, err)
                              : QINS_OK;
    qn_transport_finish(&t);
    return st;
}

static json_t *tensor_report(const struct verification *v, size_t i)
{
    const struct qn_archive_tensor *t = &v->archive->manifest.tensors[i];
    const struct verdict *r = &v->verdicts[i];
    bool figures = v->source && r->match.source != QN_NO_TENSOR && r->figures.n > 0;
    const struct qn_quality_figures *q = &r->figures;
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(t->tensor.name));
    qn_json_put(&j, "dtype", json_string(qins_dtype_name(t->tensor.dtype)));
    if (qn_is_transport_tensor(t->tensor.name))
        qn_json_put(&j, "transport", json_true());
    qn_json_put(&j, "ok", json_boolean(r->match.problem[0] == '\0'));
    qn_json_put(&j, "problem", r->match.problem[0] ? qn_json_text(r->match.problem) : json_null());
    qn_json_put(&j, "content",
                json_string(qn_archive_tensor_is_quantised(t) ? "quantised" : "lossless"));
    qn_json_put(&j, "rounding", rounding_report(t));
    qn_json_put(&j, "blocks", json_integer((json_int_t)t->n_blocks));
    qn_json_put(&j, "exact",
                figures ? json_boolean(q->changed == 0 && r->mismatches == 0) : json_null());
    qn_json_put(&j, "chunks", json_integer((json_int_t)t->layout.n_chunks));
    qn_json_put(&j, "stored_chunks", json_integer((json_int_t)r->stored_chunks));
    qn_json_put(&j, "max_abs_error", figures ? qn_json_real(q->max_abs_error) : json_null());
    qn_json_put(&j, "p50_rel_error", figures ? qn_json_real(q->p50_rel_error) : json_null());
    qn_json_put(&j, "p99_rel_error", figures ? qn_json_real(q->p99_rel_error) : json_null());
    qn_json_put(&j, "max_rel_error", figures ? qn_json_real(q->max_rel_error) : json_null());
    qn_json_put(&j, "mse", figures ? qn_json_real(q->mse) : json_null());
    qn_json_put(&j, "cosine", figures ? qn_json_real(q->cosine) : json_null());
    qn_json_put(&j, "sqnr_db", figures ? qn_json_real(q->sqnr_db) : json_null());
    return j;
}

/* Counts what is wrong and says so in one line. */
static enum qins_status judge(const struct verification *v, struct qins_error *err)
{
    const struct qn_manifest *m = &v->archive->manifest;
    const char *first = NULL, *problem = NULL;
    size_t bad = 0;
    for (size_t i = 0; v->source && i < m->n_tensors; i++)
        if (v->verdicts[i].match.problem[0] && bad++ == 0) {
            first = m->tensors[i].tensor.name;
            problem = v->verdicts[i].match.problem;
        }
    if (v->source && v->extra != QN_NO_TENSOR && bad++ == 0) {
        first = v->source->tensors.items[v->extra].name;
        problem = "missing in the archive";
    }
    if (bad == 0)
        return QINS_OK;
    if (bad == 1)
        return qn_fail_at(err, QINS_ERR_CHECK, v->archive->file.path, first, QN_NO_OFFSET, "%s",
                          problem);
    return qn_fail_at(err, QINS_ERR_CHECK, v->archive->file.path, first, QN_NO_OFFSET,
                      "%s (and %zu more tensors do not match)", problem, bad - 1);
}

static json_t *make_report(const struct verification *v, bool ok, double seconds)
{
    const struct qn_manifest *m = &v->archive->manifest;
    json_t *j = qn_report_begin("qins/verify/1"), *tensors = json_array();
    bool extra = v->source && v->extra != QN_NO_TENSOR;
    for (size_t i = 0; i < m->n_tensors && tensors; i++)
        if (json_array_append_new(tensors, tensor_report(v, i)) != 0) {
            json_decref(tensors);
            tensors = NULL;
        }
    qn_json_put(&j, "archive", qn_json_text(v->archive->file.path));
    qn_json_put(&j, "against", v->source ? qn_json_text(v->source->path) : json_null());
    qn_json_put(&j, "ok", json_boolean(ok));
    qn_json_put(&j, "first_missing_tensor",
                extra ? json_string(v->source->tensors.items[v->extra].name) : json_null());
    qn_json_put(&j, "input_bytes", json_integer((json_int_t)v->total));
    qn_json_put(&j, "archive_bytes", json_integer((json_int_t)v->archive->file.size));
    qn_put_archive_hash(&j, v->archive);
    qn_json_put(&j, "bits_per_weight", qn_json_real(qn_archive_bits_per_weight(v->archive)));
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    qn_json_put(&j, "mb_per_s", qn_json_real(1e-6 * (double)v->total / seconds));
    qn_json_put(&j, "tensors", tensors);
    return j;
}

static enum qins_status prepare(struct verification *v, const char *archive, const char *against,
                                unsigned threads, struct qins_error *err)
{
    enum qins_status st = qn_archive_open(&v->archive, archive, err);
    if (st == QINS_OK)
        st = qn_archive_check_hash(v->archive, threads, v->monitor, err);
    if (st == QINS_OK && against)
        st = qn_checkpoint_open(&v->source, against, v->monitor, err);
    if (st != QINS_OK)
        return st;
    const struct qn_manifest *m = &v->archive->manifest;
    v->extra = QN_NO_TENSOR;
    v->verdicts = calloc(m->n_tensors + 1, sizeof *v->verdicts);
    struct qn_match *matches = calloc(m->n_tensors + 1, sizeof *matches);
    if (!v->verdicts || !matches) {
        free(matches);
        return qn_fail_memory(err);
    }
    if (v->source)
        st = qn_match_tensors(m, &v->source->tensors, matches, &v->extra, err);
    for (size_t i = 0; i < m->n_tensors && st == QINS_OK; i++) {
        v->total += m->tensors[i].tensor.n_bytes;
        v->verdicts[i].match = matches[i];
    }
    free(matches);
    return st;
}

enum qins_status qn_verify(const char *archive, const char *against, unsigned threads,
                           const struct qn_monitor *monitor, json_t **report,
                           struct qins_error *err)
{
    struct verification v = {.monitor = monitor};
    double begun = qn_seconds();
    enum qins_status st = prepare(&v, archive, against, threads, err);
    if (st == QINS_OK)
        st = sweep(&v, threads, err);
    if (st == QINS_OK)
        st = check_transport(&v, err);
    if (st == QINS_OK && v.source)
        st = qn_checkpoint_check_unchanged(v.source, NULL, err);
    if (st == QINS_OK) {
        st = judge(&v, err);
        json_t *j = report ? make_report(&v, st == QINS_OK, qn_seconds() - begun) : NULL;
        if (report && !j)
            st = qn_fail_memory(err);
        else if (report)
            *report = j;
    }
    qn_fingerprint_finish(&v.fingerprint);
    qn_chunk_map_finish(&v.map);
    qn_workspace_pool_finish(&v.pool);
    free(v.slots);
    free(v.quality);
    free(v.verdicts);
    qn_checkpoint_destroy(v.source);
    qn_archive_destroy(v.archive);
    return st;
}
