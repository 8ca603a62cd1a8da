#include "analyze/study.h"

#include "analyze/group_scan.h"
#include "analyze/value_scan.h"
#include "core/bytes.h"
#include "core/hash.h"

#include <math.h>
#include <stdlib.h>

enum {
    ITEMS = 16,      /* of a tensor, at least, where it has as many chunks */
    ITEM_CHUNKS = 8, /* at most: what one item costs to merge is little against them */
    F32_SIZE = (int)sizeof(float),
};

/* What one worker makes of one item, and the buffers that it needs for it. */
struct slot {
    struct qn_source_work work;
    struct qn_buf raw, floats;
    struct qn_value_scan values;
    struct qn_group_scan groups;
    struct qn_buf rows; /* struct row_mark, of each row, or of each chunk where rows have several */
    uint64_t more_rows, more_zero_rows; /* behind those that are compared */
};

struct row_mark {
    struct qn_digest digest;
    bool zero;
};

/* The study of one tensor. */
struct study {
    const struct qn_source *source; /* or */
    const float *memory;
    size_t index; /* in the source */
    const struct qn_monitor *monitor;
    struct qn_tensor_study *out;
    enum qins_dtype dtype; /* as it is read */
    uint64_t n, n_chunks, chunks_per_item, n_items;
    uint64_t row_chunks; /* chunks of a row; 0: chunks have whole rows */
    bool densities;
    struct qn_weighting weighting;
    struct slot *slots;
    unsigned n_slots;
    atomic_bool many_values;
    struct slot sum;
    uint64_t *patterns; /* [QN_PATTERN_CELLS] */
    struct qn_digest_set rows;
    struct qn_digest chain[2]; /* of the row of several chunks that is being merged */
    bool chain_zero;
    uint64_t done, total; /* bytes, for the progress */
};

void qn_tensor_study_finish(struct qn_tensor_study *s)
{
    for (int g = 0; g < QN_GRANULARITIES; g++)
        qn_density_destroy(s->density[g]);
    *s = (struct qn_tensor_study){0};
}

static enum qins_status resize(struct qn_buf *b, size_t size, struct qins_error *err)
{
    enum qins_status st = qn_buf_reserve(b, size, err);
    if (st == QINS_OK)
        b->size = size;
    return st;
}

static enum qins_status init_slot(struct study *s, struct slot *slot, struct qins_error *err)
{
    enum qins_status st =
        qn_value_scan_init(&slot->values, s->dtype, s->out->for_plan, &s->many_values, err);
    if (st == QINS_OK && s->densities)
        st = qn_group_scan_init(&slot->groups, s->n, s->out->layout.row_length, &s->weighting,
                                slot != &s->sum, err);
    return st;
}

static void finish_slot(struct slot *slot)
{
    qn_source_work_finish(&slot->work);
    qn_buf_finish(&slot->raw);
    qn_buf_finish(&slot->floats);
    qn_buf_finish(&slot->rows);
    qn_value_scan_finish(&slot->values);
    qn_group_scan_finish(&slot->groups);
}

static enum qins_status init_study(struct study *s, unsigned threads, struct qins_error *err)
{
    const struct qn_tensor *t = s->out->tensor;
    const struct qn_layout *l = &s->out->layout;
    s->n = t->n_elements;
    s->n_chunks = l->n_chunks ? l->n_chunks : s->n > 0; /* a scalar is one */
    s->chunks_per_item = s->n_chunks / ITEMS;
    if (s->chunks_per_item < 1)
        s->chunks_per_item = 1;
    if (s->chunks_per_item > ITEM_CHUNKS)
        s->chunks_per_item = ITEM_CHUNKS;
    s->n_items = qn_div_up(s->n_chunks, s->chunks_per_item);
    if (l->row_length > 0 && l->n_chunks > 0 && l->step * l->inner < l->row_length)
        s->row_chunks = l->n_chunks / (s->n / l->row_length);
    s->densities = qn_dtype_is_float(s->dtype) && t->rank > 0 && s->n > 0;
    s->n_slots = threads > 1 ? (unsigned)qn_min_u64(threads, s->n_items) + 1 : 1;
    s->slots = calloc(s->n_slots, sizeof *s->slots);
    s->patterns = calloc(QN_PATTERN_CELLS, sizeof *s->patterns);
    enum qins_status st = s->slots && s->patterns ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = init_slot(s, &s->sum, err);
    for (unsigned i = 0; i < s->n_slots && st == QINS_OK; i++)
        st = init_slot(s, &s->slots[i], err);
    return st;
}

static void finish_study(struct study *s)
{
    for (unsigned i = 0; s->slots && i < s->n_slots; i++)
        finish_slot(&s->slots[i]);
    finish_slot(&s->sum);
    free(s->slots);
    free(s->patterns);
    qn_digest_set_finish(&s->rows);
}

static void chunk_range(const struct study *s, uint64_t chunk, uint64_t *first, uint64_t *count)
{
    if (s->out->layout.n_chunks > 0) {
        qn_layout_chunk(&s->out->layout, chunk, first, count);
    } else {
        *first = 0;
        *count = s->n;
    }
}

/* The chunk's bytes, and where its float32 values are to be. */
static enum qins_status read_chunk(const struct study *s, struct slot *slot, uint64_t first,
                                   size_t n, const void **raw, float **x, struct qins_error *err)
{
    size_t size = qins_dtype_size(s->dtype);
    enum qins_status st = QINS_OK;
    if (s->memory) {
        /* never written, being float32 already */
        *raw = s->memory + first;
        *x = (float *)(uintptr_t)(s->memory + first);
        return QINS_OK;
    }
    st = resize(&slot->raw, n * size, err);
    if (st == QINS_OK && s->dtype != QINS_F32)
        st = resize(&slot->floats, n * F32_SIZE, err);
    if (st == QINS_OK)
        st = qn_source_read(s->source, s->index, first, n, &slot->work, slot->raw.data, err);
    *raw = slot->raw.data;
    *x = (float *)(void *)(s->dtype == QINS_F32 ? slot->raw.data : slot->floats.data);
    return st;
}

static bool all_zero(const float *x, size_t n)
{
    size_t i = 0;
    while (i < n && fabsf(x[i]) <= 0.0F)
        i++;
    return i == n;
}

/* Marks the rows of a chunk, or the part of a row that it is. */
static enum qins_status mark_rows(const struct study *s, struct slot *slot, const uint8_t *raw,
                                  const float *x, size_t n, uint64_t first, struct qins_error *err)
{
    size_t size = qins_dtype_size(s->dtype);
    size_t length = (size_t)qn_min_u64(s->out->layout.row_length, n);
    uint64_t row = first / s->out->layout.row_length;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i + length <= n && st == QINS_OK; i += length, row++) {
        struct row_mark mark = {.zero = all_zero(x + i, length)};
        if (row >= QN_DIGESTS_MOST && s->row_chunks == 0) {
            slot->more_rows++;
            slot->more_zero_rows += mark.zero;
            continue;
        }
        mark.digest = qn_hash128(raw + i * size, length * size);
        st = qn_buf_append(&slot->rows, &mark, sizeof mark, err);
    }
    return st;
}

static void add_rows(const struct study *s, struct slot *slot, const float *x, size_t n,
                     uint64_t first)
{
    size_t length = (size_t)qn_min_u64(s->out->layout.row_length, n);
    if (!s->densities || slot->values.n_nan + slot->values.n_infinite > 0) {
        slot->groups.finite = false;
        return;
    }
    for (size_t i = 0; i + length <= n; i += length)
        qn_group_scan_add(&slot->groups, x + i, length, first + i);
}

static enum qins_status work(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    const struct study *s = ctx;
    struct slot *slot = &s->slots[slot_index];
    uint64_t begin = item * s->chunks_per_item;
    uint64_t end = qn_min_u64(begin + s->chunks_per_item, s->n_chunks);
    enum qins_status st = QINS_OK;
    slot->rows.size = 0;
    slot->more_rows = slot->more_zero_rows = 0;
    for (uint64_t chunk = begin; chunk < end && st == QINS_OK; chunk++) {
        uint64_t first, count;
        const void *raw = NULL;
        float *x = NULL;
        chunk_range(s, chunk, &first, &count);
        st = read_chunk(s, slot, first, (size_t)count, &raw, &x, err);
        if (st == QINS_OK)
            st = qn_value_scan_add(&slot->values, raw, x, (size_t)count, first, err);
        if (st == QINS_OK)
            st = mark_rows(s, slot, raw, x, (size_t)count, first, err);
        if (st == QINS_OK)
            add_rows(s, slot, x, (size_t)count, first);
    }
    return qn_error_in_tensor(err, st, s->out->tensor->name);
}

static enum qins_status add_row(struct study *s, const struct row_mark *mark,
                                struct qins_error *err)
{
    struct qn_statistics *out = &s->out->statistics;
    bool known = false;
    enum qins_status st = QINS_OK;
    out->rows++;
    out->zero_rows += mark->zero;
    if (out->compared_rows < QN_DIGESTS_MOST) {
        st = qn_digest_set_add(&s->rows, &mark->digest, &known, err);
        out->compared_rows++;
        out->duplicate_rows += known;
    }
    return st;
}

/* A row of several chunks has the digest of the chain of theirs. */
static enum qins_status add_row_part(struct study *s, const struct row_mark *mark, uint64_t chunk,
                                     struct qins_error *err)
{
    bool begins = chunk % s->row_chunks == 0;
    s->chain_zero = mark->zero && (begins || s->chain_zero);
    s->chain[1] = mark->digest;
    s->chain[0] = begins ? mark->digest : qn_hash128(s->chain, sizeof s->chain);
    struct row_mark row = {s->chain[0], s->chain_zero};
    return (chunk + 1) % s->row_chunks == 0 ? add_row(s, &row, err) : QINS_OK;
}

static enum qins_status merge_rows(struct study *s, const struct slot *slot, uint64_t item,
                                   struct qins_error *err)
{
    size_t n = slot->rows.size / sizeof(struct row_mark);
    enum qins_status st = QINS_OK;
    s->out->statistics.rows += slot->more_rows;
    s->out->statistics.zero_rows += slot->more_zero_rows;
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        struct row_mark mark;
        memcpy(&mark, slot->rows.data + i * sizeof mark, sizeof mark);
        st = s->row_chunks ? add_row_part(s, &mark, item * s->chunks_per_item + i, err)
                           : add_row(s, &mark, err);
    }
    return st;
}

static enum qins_status emit(void *ctx, unsigned slot_index, uint64_t item, struct qins_error *err)
{
    struct study *s = ctx;
    struct slot *slot = &s->slots[slot_index];
    s->done += slot->values.n * qins_dtype_size(s->out->tensor->dtype);
    enum qins_status st = qn_value_scan_merge(&s->sum.values, s->patterns, &slot->values, err);
    if (s->densities)
        qn_group_scan_merge(&s->sum.groups, &slot->groups);
    if (st == QINS_OK)
        st = merge_rows(s, slot, item, err);
    if (s->total > 0)
        qn_progress(s->monitor, "analysing", s->done, s->total);
    return st;
}

static void make_statistics(struct study *s)
{
    struct qn_statistics *out = &s->out->statistics, rows = *out;
    qn_value_scan_figures(&s->sum.values, s->patterns, out);
    out->rows = rows.rows;
    out->compared_rows = rows.compared_rows;
    out->duplicate_rows = rows.duplicate_rows;
    out->zero_rows = rows.zero_rows;
    uint64_t bad = s->sum.values.first_bad;
    s->out->first_bad = bad == UINT64_MAX ? -1.0 : (double)bad;
}

static enum qins_status run_study(struct study *s, unsigned threads, struct qins_error *err)
{
    enum qins_status st = init_study(s, threads, err);
    struct qn_ordered job = {.work = work,
                             .emit = emit,
                             .ctx = s,
                             .threads = (unsigned)qn_min_u64(threads, s->n_slots),
                             .slots = s->n_slots,
                             .end = s->n_items,
                             .monitor = s->monitor};
    if (st == QINS_OK)
        st = qn_run_ordered(&job, err);
    if (st == QINS_OK)
        make_statistics(s);
    if (st == QINS_OK && s->densities && s->sum.values.first_bad == UINT64_MAX) {
        bool exact = s->sum.values.or_bits % (1u << QN_PATTERN_SHIFT) == 0;
        st =
            qn_group_scan_densities(&s->sum.groups, s->n, s->patterns, exact, s->out->density, err);
    }
    if (st != QINS_OK)
        qn_tensor_study_finish(s->out);
    finish_study(s);
    return st;
}

static void begin_study(struct qn_tensor_study *out, const struct qn_tensor *tensor,
                        const char *kind, unsigned threads, bool for_plan)
{
    *out = (struct qn_tensor_study){
        .tensor = tensor, .kind = kind ? kind : "weight", .threads = threads, .for_plan = for_plan};
    qn_layout_init(&out->layout, tensor->rank, tensor->shape);
}

enum qins_status qn_channel_weights(const struct qn_calibration *c, const char *name,
                                    double **weights, uint32_t *channels, struct qins_error *err)
{
    const struct qn_calibration_point *p = qn_calibration_find(c, name);
    *weights = NULL;
    *channels = 0;
    if (!p || p->rows == 0 || p->channels == 0)
        return QINS_OK;
    *weights = calloc(p->channels, sizeof **weights);
    if (!*weights)
        return qn_fail_memory(err);
    *channels = p->channels;
    const double *sum = qn_point_sum(p, QN_SUM_SQUARES), *low = qn_point_sum_low(p, QN_SUM_SQUARES);
    for (uint32_t j = 0; j < p->channels; j++)
        (*weights)[j] = (sum[j] + low[j]) / (double)p->rows;
    return QINS_OK;
}

/* How WEIGHTS of CHANNELS input channels lie on a tensor; weights NULL where they do not. */
static struct qn_weighting place_weights(const struct qn_tensor *t, const double *weights,
                                         uint64_t channels)
{
    struct qn_weighting w = {.weights = weights, .period = channels};
    if (!weights || channels == 0 || t->rank == 0 || t->n_elements == 0)
        return (struct qn_weighting){0};
    if (t->rank > 1 && t->shape[t->rank - 1] == channels)
        return w;
    if (t->rank == 2 && t->shape[0] == channels) {
        w.row_length = t->shape[1];
        return w;
    }
    return (struct qn_weighting){0};
}

enum qins_status qn_study_tensor(const struct qn_source *source, size_t index,
                                 const struct qn_study_options *options, uint64_t done,
                                 uint64_t total, const struct qn_monitor *monitor,
                                 struct qn_tensor_study *out, struct qins_error *err)
{
    const struct qn_tensor *t = source->tensors[index].tensor;
    struct study s = {.source = source,
                      .index = index,
                      .monitor = monitor,
                      .out = out,
                      .dtype = qn_source_read_type(source, index),
                      .done = done,
                      .total = total};
    double *weights = NULL;
    uint32_t channels = 0;
    enum qins_status st = QINS_OK;
    begin_study(out, t, options->kind, options->threads, options->for_plan);
    if (t->dtype == QINS_DTYPE_INVALID)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, source->path, t->name, QN_NO_OFFSET,
                          "elements of type %s cannot be read", t->foreign_type);
    if (options->calibration)
        st = qn_channel_weights(options->calibration, t->name, &weights, &channels, err);
    s.weighting = place_weights(t, weights, channels);
    out->weighted = s.weighting.weights != NULL;
    if (st == QINS_OK)
        st = run_study(&s, options->threads, err);
    free(weights);
    return qn_error_in_file(err, st, source->path);
}

enum qins_status qn_study_values(const struct qn_tensor *tensor, const float *x,
                                 const double *weights, struct qn_tensor_study *out,
                                 struct qins_error *err)
{
    struct study s = {.memory = x, .out = out, .dtype = QINS_F32};
    begin_study(out, tensor, NULL, 1, false);
    if (weights)
        s.weighting = (struct qn_weighting){weights, out->layout.row_length, 0};
    out->weighted = weights != NULL;
    return run_study(&s, 1, err);
}
