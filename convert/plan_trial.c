#include "convert/plan_trial.h"

#include "core/bytes.h"
#include "formats/codec/quant.h"

#include <math.h>
#include <stdlib.h>

enum {
    MOST_TRIED = 1 << 23, /* elements of an item that are encoded */
    MOST_CANDIDATES = 24, /* of an item of at most FEW_ELEMENTS */
    LEAST_CANDIDATES = 8, /* of larger ones */
    FEW_ELEMENTS = 1 << 20,
    PROBED_CANDIDATES = 3,
    REPEATED_ROWS = 32,      /* one row of so many is a repetition, or zero */
    REPEATED_NEIGHBOURS = 8, /* the same of neighbours */
    ZEROS = 4,               /* and of zeros */
};

/* Of codes below it Huffman's whole bits are so far from the entropy that runs may pay. */
#define FEW_BITS 1.5
/* A sample's size may be off: of what repeats, not evenly. */
#define SAMPLE_MARGIN 1.01
/* Multiplications of an item's feedback: a row of n takes n²/2. */
#define MOST_FEEDBACK 0x1p31

static const enum qn_codec_id coders[] = {QN_CODEC_RLE_HUFFMAN, QN_CODEC_ZSTD, QN_CODEC_TANS};
enum { N_CODERS = sizeof coders / sizeof *coders };

struct trial {
    const struct qn_plan_work *w;
    const struct qn_planned *item;
    const struct qn_layout *layout;
    const struct qn_feedback *feedback; /* or NULL: to nearest */
    uint64_t most;                      /* elements to encode */
    struct qn_coding *codings;          /* each candidate under each coder */
    size_t n;
    struct qn_buf raw, floats, payload;
    struct qn_source_work source;
    struct qn_chunk_work chunk;
};

static bool repeats(const struct qn_statistics *s)
{
    return s->duplicate_rows > s->compared_rows / REPEATED_ROWS ||
           s->zero_rows > s->rows / REPEATED_ROWS ||
           s->equal_neighbours > s->n / REPEATED_NEIGHBOURS || s->zeros > s->n / ZEROS;
}

/* At most MOST candidates of the item's hull, evenly: those that are worth a trial. */
static enum qins_status choose_candidates(struct trial *t, bool all, size_t most,
                                          struct qins_error *err)
{
    const struct qn_planned *item = t->item;
    const size_t n = item->n_codings;
    size_t *hull = calloc(n + 1, sizeof *hull);
    double *x = calloc(n + 1, sizeof *x), *y = calloc(n + 1, sizeof *y);
    struct qn_coding *codings = calloc(most * N_CODERS, sizeof *codings);
    enum qins_status st = QINS_OK;
    if (!hull || !x || !y || !codings) {
        st = qn_fail_memory(err);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        bool worth = all || item->codings[i].candidate.entropy_bits < FEW_BITS;
        x[i] = worth ? item->codings[i].bytes : INFINITY;
        y[i] = item->codings[i].cost;
    }
    const size_t corners = qn_convex_hull(x, y, n, hull);
    const size_t tried = corners < most ? corners : most;
    for (size_t i = 0; i < tried; i++)
        for (size_t k = 0; k < N_CODERS; k++)
            codings[t->n++] =
                (struct qn_coding){.candidate = item->codings[hull[i * corners / tried]].candidate,
                                   .codec = coders[k]};
done:
    t->codings = codings;
    free(x);
    free(y);
    free(hull);
    return st;
}

static struct qn_chunk_params params_of(const struct trial *t, const struct qn_coding *c)
{
    const struct qn_candidate *candidate = &c->candidate;
    const uint64_t row = t->layout->row_length;
    const bool whole = candidate->granularity == QN_PER_TENSOR;
    const float scale = candidate->clip * (float)t->item->abs_max;
    return (struct qn_chunk_params){
        .content = QN_CONTENT_QINS,
        .dtype = QINS_F32,
        .codec = c->codec,
        .levels = candidate->levels,
        .kappa = candidate->kappa,
        .clip = candidate->clip,
        .tensor_scale = !whole         ? 0.0F
                        : scale > 0.0F ? scale
                                       : 1.0F,
        .row_length = row,
        .group = whole ? row : qn_granularity_group(candidate->granularity, row),
        .rounding = t->feedback ? QN_ROUND_FEEDBACK : QN_ROUND_NEAREST,
        .feedback = t->feedback,
    };
}

/* Elements FIRST ... FIRST + COUNT - 1, a chunk or what a block of rows has of it. */
static enum qins_status try_piece(struct trial *t, uint64_t first, uint64_t count,
                                  struct qins_error *err)
{
    const size_t index = t->w->indices[t->item->tensor], n = (size_t)count;
    const enum qins_dtype dtype = qn_source_read_type(t->w->source, index);
    enum qins_status st = qn_buf_reserve(&t->raw, n * qins_dtype_size(dtype), err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&t->floats, n * sizeof(float), err);
    if (st == QINS_OK)
        st = qn_source_read(t->w->source, index, first, count, &t->source, t->raw.data, err);
    if (st != QINS_OK)
        return st;
    float *x = (float *)(void *)t->floats.data;
    qn_to_f32(dtype, t->raw.data, x, n);
    for (size_t i = 0; i < t->n && st == QINS_OK; i++) {
        const struct qn_chunk_params params = params_of(t, &t->codings[i]);
        t->payload.size = 0;
        st = qn_chunk_encode(&params, x, n, &t->chunk, &t->payload, err);
        t->codings[i].bytes += (double)t->payload.size;
    }
    return st;
}

/* The item by the chunks of the tensor. */
static enum qins_status try_pieces(struct trial *t, struct qins_error *err)
{
    const struct qn_layout *l = t->layout;
    const uint64_t begin = t->item->row_begin * l->row_length;
    const uint64_t end = begin + t->item->elements;
    const uint64_t stride = qn_div_up(t->item->elements, t->most);
    uint64_t tried = 0, found = 0;
    enum qins_status st = QINS_OK;
    for (uint64_t i = 0; i < l->n_chunks && st == QINS_OK; i++) {
        uint64_t first, count;
        qn_layout_chunk(l, i, &first, &count);
        const uint64_t last = first + count < end ? first + count : end;
        first = first > begin ? first : begin;
        if (first >= last || found++ % stride != 0)
            continue;
        st = qn_check_stop(t->w->monitor, err);
        if (st == QINS_OK)
            st = try_piece(t, first, last - first, err);
        tried += last - first;
    }
    const double all = (double)t->item->elements;
    for (size_t i = 0; stride > 1 && i < t->n; i++)
        t->codings[i].bytes *= all / (double)tried;
    return st;
}

/* What beats all that was counted at the same error. */
static void keep_smaller(struct trial *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct qn_candidate *c = &t->codings[i].candidate;
        if (t->item->elements > MOST_TRIED)
            t->codings[i].bytes *= SAMPLE_MARGIN;
        if (t->codings[i].bytes < (double)c->packed_bytes &&
            t->codings[i].bytes < (double)c->huffman_bytes &&
            t->codings[i].bytes < (double)c->tans_bytes)
            t->codings[kept++] = t->codings[i];
    }
    t->n = kept;
}

static void finish(struct trial *t)
{
    free(t->codings);
    qn_buf_finish(&t->raw);
    qn_buf_finish(&t->floats);
    qn_buf_finish(&t->payload);
    qn_source_work_finish(&t->source);
    qn_chunk_work_finish(&t->chunk);
}

/* Whether codes repeat though values do not, as in rows of tokens that training never saw: a few
 * candidates tell. */
static enum qins_status probe(struct trial *t, bool *pays, struct qins_error *err)
{
    const uint64_t most = t->most;
    t->most = FEW_ELEMENTS;
    enum qins_status st = choose_candidates(t, true, PROBED_CANDIDATES, err);
    if (st == QINS_OK && t->n > 0)
        st = try_pieces(t, err);
    keep_smaller(t);
    *pays = st == QINS_OK && t->n > 0;
    free(t->codings);
    t->codings = NULL;
    t->n = 0;
    t->most = most;
    return st;
}

enum qins_status qn_plan_try_coders(const struct qn_plan_work *w, struct qn_planned *item,
                                    const struct qn_layout *layout, const struct qn_statistics *s,
                                    struct qins_error *err)
{
    struct trial t = {.w = w, .item = item, .layout = layout, .most = MOST_TRIED};
    const size_t most = item->elements > FEW_ELEMENTS ? LEAST_CANDIDATES : MOST_CANDIDATES;
    bool all = repeats(s);
    enum qins_status st = QINS_OK;
    if (!all && (item->looked_up || item->head))
        st = probe(&t, &all, err);
    if (st == QINS_OK)
        st = choose_candidates(&t, all, most, err);
    if (st == QINS_OK && t.n > 0)
        st = try_pieces(&t, err);
    if (st == QINS_OK)
        keep_smaller(&t);
    if (st == QINS_OK && t.n > 0)
        st = qn_planned_add(item, &w->costs, t.codings, t.n, err);
    finish(&t);
    return st;
}

enum qins_status qn_plan_measure(const struct qn_plan_work *w, const struct qn_planned *item,
                                 double *bytes, struct qins_error *err)
{
    const struct qn_tensor *tensor = &w->source->checkpoint->tensors.items[item->tensor];
    const double most = fmin(MOST_TRIED, 2.0 * MOST_FEEDBACK / (double)item->row_length);
    struct qn_layout layout;
    struct qn_coding coding = item->codings[item->chosen];
    struct trial t = {.w = w,
                      .item = item,
                      .layout = &layout,
                      .most = (uint64_t)most,
                      .codings = &coding,
                      .n = 1};
    coding.bytes = 0.0;
    qn_layout_init(&layout, tensor->rank, tensor->shape);
    enum qins_status st = qn_feedback_acquire(w->feedback, tensor, &t.feedback, err);
    if (st == QINS_OK)
        st = try_pieces(&t, err);
    *bytes = coding.bytes;
    qn_feedback_release(w->feedback, t.feedback);
    t.codings = NULL;
    finish(&t);
    return st;
}
