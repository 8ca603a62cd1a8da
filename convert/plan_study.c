/* The ways to code one tensor. */
#include "convert/plan_work.h"

#include "convert/plan_size.h"
#include "convert/plan_trial.h"
#include "core/bytes.h"
#include "formats/codec/quant.h"
#include "policy/defaults.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_STUDIED = 1 << 23, /* elements of a block of rows; of a larger one a sample of its rows */
    MOST_BLOCKS = 64,       /* of a tensor */
    BLOCK_BYTES = 300, /* what a block of rows takes: headers, tables, its part of the manifest */
    PIECE_BYTES = QN_CHUNK_HEADER_SIZE + 64, /* of a payload more, its tables too */
};

static struct qn_plan_tensor *last_line(struct qn_plan_work *w)
{
    return &w->plan->tensors[w->plan->count - 1];
}

/* Why T stays lossless, or NULL. */
static const char *lossless_reason(const struct qn_plan_work *w, const struct qn_tensor *t,
                                   const struct qn_policy_rule *rule)
{
    if (!qn_dtype_is_float(t->dtype))
        return "not a float type: carried unchanged";
    if (t->dtype == QINS_F64)
        return "64-bit floats are always lossless";
    if (t->n_elements == 0)
        return "empty";
    if (t->rank < 2)
        return "a vector or a scalar: lossless";
    if (rule && rule->treatment == QN_TREAT_LOSSLESS)
        return "lossless, says the policy";
    if (t->n_elements < w->policy.min_elements)
        return "too small for the policy to quantise: lossless";
    return NULL;
}

static enum qins_status stay_lossless(struct qn_plan_work *w, size_t index, const char *why,
                                      const struct qn_policy_rule *rule, struct qins_error *err)
{
    const struct qn_tensor *t = &w->source->checkpoint->tensors.items[index];
    struct qn_plan_tensor *p = last_line(w);
    struct qn_tensor_access access;
    double bytes;
    qn_plan_access(w, t, &access);
    p->line = (struct qn_plan_line){
        .content = QN_CONTENT_LOSSLESS,
        .codec = QN_CODEC_HUFFMAN,
        .group_kind = QN_GROUP_TENSOR,
        .access_class =
            qn_classify(&w->policy, rule ? rule->treatment : QN_TREAT_AUTO, access.touches),
        .access_frequency = access.touches,
    };
    snprintf(p->line.reason, sizeof p->line.reason, "%s%s%s%s", why, rule ? " (" : "",
             rule ? rule->name : "", rule ? ")" : "");
    enum qins_status st = qn_lossless_bytes(w->source, index, p->line.codec, &bytes, err);
    p->predicted_bytes = bytes;
    p->predicted_error = 0.0;
    w->lossless_bytes += bytes;
    return st;
}

static enum qins_status new_item(struct qn_plan_work *w, struct qn_planned **out,
                                 struct qins_error *err)
{
    if (w->n_items == w->item_capacity) {
        size_t grown = w->item_capacity ? 2 * w->item_capacity : 64;
        struct qn_planned *items = realloc(w->items, grown * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        w->items = items;
        w->item_capacity = grown;
    }
    *out = &w->items[w->n_items++];
    **out = (struct qn_planned){0};
    return QINS_OK;
}

/* Of a sample of N elements: as much of the whole. */
static void stretch(struct qn_candidate_list *list, double factor)
{
    for (size_t i = 0; factor != 1.0 && i < list->count; i++) {
        struct qn_candidate *c = &list->items[i];
        c->error *= factor;
        c->packed_bytes = (uint64_t)((double)c->packed_bytes * factor);
        c->huffman_bytes = (uint64_t)((double)c->huffman_bytes * factor);
        c->tans_bytes = (uint64_t)((double)c->tans_bytes * factor);
    }
}

static enum qins_status fill_item(const struct qn_plan_work *w, struct qn_planned *item,
                                  const struct qn_layout *layout, const struct qn_tensor_study *s,
                                  double factor, struct qins_error *err)
{
    struct qn_candidate_list fixed = {0}, coded = {0};
    const struct qn_candidate_list *const lists[] = {&fixed, &coded};
    enum qins_status st = qn_candidates_fixed(s, &fixed, err);
    if (st == QINS_OK)
        st = qn_candidates_coded(s, &coded, err);
    stretch(&fixed, factor);
    stretch(&coded, factor);
    item->abs_max = s->statistics.abs_max;
    item->squares = factor * s->statistics.rms * s->statistics.rms * (double)s->statistics.n;
    if (st == QINS_OK)
        st = qn_planned_fill(item, &w->policy, &w->costs, lists, 2, err);
    if (st == QINS_OK)
        st = qn_plan_try_coders(w, item, layout, &s->statistics, err);
    qn_candidate_list_finish(&fixed);
    qn_candidate_list_finish(&coded);
    return st;
}

/* Decoded for a token. Of rows that are looked up, packed ones are read where they are; a coded one
 * costs a chunk, or a block, to get at, unless it is cold: then it has time, and what is decoded
 * with it is kept. */
static void set_work(struct qn_planned *item, const struct qn_layout *l, bool whole)
{
    bool given = item->rule && item->rule->treatment == QN_TREAT_HOT && item->touches < 0.0;
    double touches = given ? 1.0 : fmax(item->touches, 0.0), all = (double)item->elements;
    double chunk = (double)(l->step * l->inner);
    bool by_row = item->looked_up && !whole, at_once = item->access_class != QN_CLASS_COLD;
    item->packed_elements = touches * (by_row ? (double)item->row_length : all);
    item->coded_elements = item->packed_elements;
    if (by_row && at_once)
        item->coded_elements = touches * fmin(all, chunk);
}

static void describe(struct qn_planned *item, size_t index, const struct qn_policy_rule *rule,
                     const struct qn_layout *l, const struct qn_tensor_access *a,
                     const struct qn_access_block *b)
{
    *item = (struct qn_planned){
        .tensor = index,
        .row_begin = b->row_begin,
        .row_end = b->row_end,
        .row_length = l->row_length,
        .elements = (b->row_end - b->row_begin) * l->row_length,
        .rule = rule,
        .access_class = b->access_class,
        .touches = b->touches,
        .cost_per_error = b->importance,
        .head = a->head,
        .looked_up = a->looked_up,
    };
    set_work(item, l, a->head);
}

/* Bytes beside the payloads that the block's own study knows of: it may be cut by borders of
 * chunks, and share chunks with the block before it. */
static double border_bytes(const struct qn_layout *l, const struct qn_access_block *b,
                           uint64_t studied_chunks)
{
    uint64_t rows = l->step, begin = b->row_begin;
    uint64_t pieces = (b->row_end - 1) / rows - begin / rows + 1;
    double bytes = begin % rows ? QN_CHUNK_HEADER_SIZE : 0.0;
    if (pieces > studied_chunks)
        bytes += (double)(pieces - studied_chunks) * PIECE_BYTES;
    return bytes;
}

/* Rows of tensor INDEX of the source, every STRIDE-th from FIRST on, as float32. */
static enum qins_status read_rows(const struct qn_plan_work *w, size_t index, uint64_t first,
                                  uint64_t stride, uint64_t count, uint64_t row, float *x,
                                  struct qins_error *err)
{
    struct qn_source_work work = {0};
    struct qn_buf raw = {0};
    enum qins_dtype dtype = qn_source_read_type(w->source, index);
    uint64_t run = stride == 1 ? count : 1;
    size_t size = (size_t)(run * row * qins_dtype_size(dtype));
    enum qins_status st = qn_buf_reserve(&raw, size, err);
    for (uint64_t i = 0; i < count && st == QINS_OK; i += run) {
        st = qn_source_read(w->source, index, (first + i * stride) * row, run * row, &work,
                            raw.data, err);
        if (st == QINS_OK)
            qn_to_f32(dtype, raw.data, x + i * row, (size_t)(run * row));
    }
    qn_source_work_finish(&work);
    qn_buf_finish(&raw);
    return st;
}

/* A block of rows has a study of its own: its values may lie otherwise. */
static enum qins_status study_block(struct qn_plan_work *w, struct qn_planned *item,
                                    const struct qn_tensor *t, const struct qn_layout *l,
                                    const struct qn_access_block *b, struct qins_error *err)
{
    uint64_t rows = b->row_end - b->row_begin, most = MOST_STUDIED / l->row_length;
    uint64_t stride = most > 0 && rows > most ? qn_div_up(rows, most) : 1;
    uint64_t count = qn_div_up(rows, stride);
    struct qn_tensor part = *t;
    struct qn_tensor_study s = {0};
    part.dtype = QINS_F32;
    part.rank = 2;
    part.shape[0] = count;
    part.shape[1] = l->row_length;
    part.n_elements = count * l->row_length;
    part.n_bytes = part.n_elements * sizeof(float);
    float *x = malloc((size_t)part.n_bytes);
    enum qins_status st = x ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = read_rows(w, w->indices[item->tensor], b->row_begin, stride, count, l->row_length, x,
                       err);
    if (st == QINS_OK)
        st = qn_study_values(&part, x, NULL, &s, err);
    if (st == QINS_OK) {
        s.for_plan = true;
        item->extra_bytes = border_bytes(l, b, s.layout.n_chunks);
        st = fill_item(w, item, l, &s, (double)rows / (double)count, err);
    }
    qn_tensor_study_finish(&s);
    free(x);
    return st;
}

static enum qins_status add_blocks(struct qn_plan_work *w, size_t index,
                                   const struct qn_policy_rule *rule, struct qn_tensor_study *s,
                                   struct qins_error *err)
{
    const struct qn_tensor *t = &w->source->checkpoint->tensors.items[index];
    struct qn_tensor_access access;
    struct qn_access_block *blocks = NULL;
    struct qn_split_options split = {.treatment = rule ? rule->treatment : QN_TREAT_AUTO,
                                     .n_rows = t->shape[0],
                                     .row_length = s->layout.row_length,
                                     .block_bytes = BLOCK_BYTES,
                                     .most = MOST_BLOCKS};
    size_t n = 0;
    qn_plan_access(w, t, &access);
    /* Chunks that cut rows cannot hold blocks of rows. */
    if (t->rank != 2 || s->layout.split_axis != 0)
        access.counts = NULL;
    enum qins_status st = qn_split_rows(&w->policy, &split, &access, &blocks, &n, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        struct qn_planned *item = NULL;
        st = new_item(w, &item, err);
        if (st != QINS_OK || !item)
            break;
        describe(item, index, rule, &s->layout, &access, &blocks[i]);
        st = n == 1 ? fill_item(w, item, &s->layout, s, 1.0, err)
                    : study_block(w, item, t, &s->layout, &blocks[i], err);
    }
    if (st == QINS_OK && n == 1 && w->n_items <= QN_FEW_ITEMS) {
        w->kept[w->n_items - 1] = *s;
        *s = (struct qn_tensor_study){0};
    }
    free(blocks);
    return st;
}

enum qins_status qn_plan_tensor_study(struct qn_plan_work *w, size_t index,
                                      const struct qn_policy_rule *rule, uint64_t done,
                                      uint64_t total, struct qins_error *err)
{
    const struct qn_tensor *t = &w->source->checkpoint->tensors.items[index];
    const char *why = lossless_reason(w, t, rule);
    struct qn_study_options options = {
        .calibration = w->calibration, .threads = w->options->threads, .for_plan = true};
    struct qn_tensor_study s = {0};
    struct qn_plan_tensor *line;
    char text[96];
    enum qins_status st = qn_plan_add(w->plan, t, &line, err);
    if (st == QINS_OK && why)
        return stay_lossless(w, index, why, rule, err);
    if (st == QINS_OK)
        st = qn_study_tensor(w->source, w->indices[index], &options, done, total, w->monitor, &s,
                             err);
    if (st == QINS_OK && s.first_bad >= 0.0) {
        snprintf(text, sizeof text, "element %.0f is a NaN or an infinity: lossless", s.first_bad);
        st = stay_lossless(w, index, text, rule, err);
    } else if (st == QINS_OK) {
        st = add_blocks(w, index, rule, &s, err);
    }
    qn_tensor_study_finish(&s);
    return qn_error_in_tensor(err, st, t->name);
}
