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
    SAMPLED_FROM = 2 * FEW_ELEMENTS, /* elements of an item of which a sample is taken first */
    PROBED_CANDIDATES = 3,
    REPEATED_ROWS = 32,      /* one row of so many is a repetition, or zero */
    REPEATED_NEIGHBOURS = 8, /* the same of neighbours */
    ZEROS = 4,               /* and of zeros */
};

/* Of codes below it Huffman's whole bits are so far from the entropy that runs may pay. */
#define FEW_BITS 1.5
/* A sample's size may be off: of what repeats, not evenly. */
#define SAMPLE_MARGIN 1.01
/* And where values do not repeat, what is larger than this by a sample is not encoded as a whole:
 * the fewer values are not 0, the more chunks differ, by 8 % at 0.05 bits a weight [measured]. */
#define MOST_BY_SAMPLE 1.2
/* Multiplications of an item's feedback: a row of n takes n²/2. */
#define MOST_FEEDBACK 0x1p31

static const enum qn_codec_id coders[] = {QN_CODEC_RLE_HUFFMAN, QN_CODEC_ZSTD, QN_CODEC_TANS};
enum { N_CODERS = sizeof coders / sizeof *coders, BATCH = N_CODERS };

/* Elements that are encoded together: a chunk, or what a block of rows has of it. */
struct piece {
    uint64_t first, count;
};

/* What one thread encodes with. The piece that was read last is still there. */
struct slot {
    const struct piece *read;
    struct qn_buf raw, floats, payload;
    struct qn_source_work source;
    struct qn_chunk_work chunk;
    uint64_t sizes[BATCH]; /* of the codings that were encoded last */
};

struct trial {
    const struct qn_plan_work *w;
    const struct qn_planned *item;
    const struct qn_layout *layout;
    const struct qn_feedback *feedback; /* or NULL: to nearest */
    uint64_t most;                      /* elements to encode */
    struct qn_coding *codings;          /* each candidate under each coder */
    size_t n;
    struct piece *pieces;
    size_t n_pieces, batches; /* of codings, for each piece */
    double tried;             /* elements of all pieces */
    struct slot *slots;
    unsigned n_slots;
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

static enum qins_status read_piece(const struct trial *t, struct slot *slot,
                                   const struct piece *piece, struct qins_error *err)
{
    const size_t index = t->w->indices[t->item->tensor], n = (size_t)piece->count;
    const enum qins_dtype dtype = qn_source_read_type(t->w->source, index);
    if (slot->read == piece)
        return QINS_OK;
    slot->read = NULL;
    enum qins_status st = qn_buf_reserve(&slot->raw, n * qins_dtype_size(dtype), err);
    if (st == QINS_OK)
        st = qn_buf_reserve(&slot->floats, n * sizeof(float), err);
    if (st == QINS_OK)
        st = qn_source_read(t->w->source, index, piece->first, n, &slot->source, slot->raw.data,
                            err);
    if (st != QINS_OK)
        return st;
    qn_to_f32(dtype, slot->raw.data, (float *)(void *)slot->floats.data, n);
    slot->read = piece;
    return QINS_OK;
}

/* One piece by BATCH codings. */
static enum qins_status encode_batch(void *ctx, unsigned slot_index, uint64_t item,
                                     struct qins_error *err)
{
    const struct trial *t = ctx;
    struct slot *slot = &t->slots[slot_index];
    const struct piece *piece = &t->pieces[item / t->batches];
    const size_t begin = BATCH * (size_t)(item % t->batches);
    enum qins_status st = read_piece(t, slot, piece, err);
    for (size_t i = begin; i < t->n && i < begin + BATCH && st == QINS_OK; i++) {
        const struct qn_chunk_params params = params_of(t, &t->codings[i]);
        slot->payload.size = 0;
        st = qn_chunk_encode(&params, slot->floats.data, (size_t)piece->count, &slot->chunk,
                             &slot->payload, err);
        slot->sizes[i - begin] = slot->payload.size;
    }
    return st;
}

static enum qins_status add_sizes(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct trial *t = ctx;
    const size_t begin = BATCH * (size_t)(item % t->batches);
    (void)err;
    for (size_t i = begin; i < t->n && i < begin + BATCH; i++)
        t->codings[i].bytes += (double)t->slots[slot].sizes[i - begin];
    return QINS_OK;
}

/* The item by the chunks of the tensor; where there are more elements than are to be encoded, by
 * chunks at even distances. */
static enum qins_status list_pieces(struct trial *t, struct qins_error *err)
{
    const struct qn_layout *l = t->layout;
    const uint64_t begin = t->item->row_begin * l->row_length;
    const uint64_t end = begin + t->item->elements;
    const uint64_t stride = qn_div_up(t->item->elements, t->most);
    uint64_t found = 0;
    free(t->pieces);
    t->n_pieces = 0;
    t->tried = 0.0;
    t->pieces = calloc((size_t)l->n_chunks + 1, sizeof *t->pieces);
    if (!t->pieces)
        return qn_fail_memory(err);
    for (uint64_t i = 0; i < l->n_chunks; i++) {
        uint64_t first, count;
        qn_layout_chunk(l, i, &first, &count);
        const uint64_t last = first + count < end ? first + count : end;
        first = first > begin ? first : begin;
        if (first >= last || found++ % stride != 0)
            continue;
        t->pieces[t->n_pieces++] = (struct piece){first, last - first};
        t->tried += (double)(last - first);
    }
    return QINS_OK;
}

static enum qins_status make_slots(struct trial *t, unsigned n, struct qins_error *err)
{
    if (t->slots)
        return QINS_OK;
    t->slots = calloc(n, sizeof *t->slots);
    if (!t->slots)
        return qn_fail_memory(err);
    t->n_slots = n;
    return QINS_OK;
}

/* What all codings take of the item. */
static enum qins_status try_pieces(struct trial *t, struct qins_error *err)
{
    const unsigned threads = t->w->options->threads > 1 ? t->w->options->threads : 1;
    enum qins_status st = list_pieces(t, err);
    if (st == QINS_OK)
        st = make_slots(t, threads > 1 ? threads + 1 : 1, err);
    if (st != QINS_OK)
        return st;
    for (unsigned i = 0; i < t->n_slots; i++)
        t->slots[i].read = NULL;
    t->batches = (t->n + BATCH - 1) / BATCH;
    const struct qn_ordered job = {.work = encode_batch,
                                   .emit = add_sizes,
                                   .ctx = t,
                                   .threads = threads,
                                   .slots = t->n_slots,
                                   .end = t->n_pieces * t->batches,
                                   .monitor = t->w->monitor};
    st = qn_run_ordered(&job, err);
    const double all = (double)t->item->elements;
    for (size_t i = 0; t->tried < all && t->tried > 0.0 && i < t->n; i++)
        t->codings[i].bytes *= all / t->tried;
    return st;
}

/* What it takes at the same error by the sizes that were counted. */
static double counted_bytes(const struct qn_candidate *c)
{
    return (double)qn_min_u64(c->packed_bytes, qn_min_u64(c->huffman_bytes, c->tans_bytes));
}

/* What beats all that was counted at the same error, or may, with SLACK above 1. */
static void keep_smaller(struct trial *t, double slack)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->codings[i].bytes < slack * counted_bytes(&t->codings[i].candidate))
            t->codings[kept++] = t->codings[i];
    t->n = kept;
}

static void keep_better(struct trial *t)
{
    for (size_t i = 0; t->item->elements > MOST_TRIED && i < t->n; i++)
        t->codings[i].bytes *= SAMPLE_MARGIN;
    keep_smaller(t, 1.0);
}

static void finish(struct trial *t)
{
    for (unsigned i = 0; i < t->n_slots; i++) {
        struct slot *slot = &t->slots[i];
        qn_buf_finish(&slot->raw);
        qn_buf_finish(&slot->floats);
        qn_buf_finish(&slot->payload);
        qn_source_work_finish(&slot->source);
        qn_chunk_work_finish(&slot->chunk);
    }
    free(t->slots);
    free(t->pieces);
    free(t->codings);
}

/* By a few of the item's pieces. */
static enum qins_status try_sample(struct trial *t, struct qins_error *err)
{
    const uint64_t most = t->most;
    t->most = FEW_ELEMENTS;
    enum qins_status st = t->n > 0 ? try_pieces(t, err) : QINS_OK;
    t->most = most;
    return st;
}

/* Whether codes repeat though values do not, as in rows of tokens that training never saw: a few
 * candidates tell. */
static enum qins_status probe(struct trial *t, bool *pays, struct qins_error *err)
{
    enum qins_status st = choose_candidates(t, true, PROBED_CANDIDATES, err);
    if (st == QINS_OK)
        st = try_sample(t, err);
    keep_better(t);
    *pays = st == QINS_OK && t->n > 0;
    free(t->codings);
    t->codings = NULL;
    t->n = 0;
    return st;
}

/* Leaves those that may pay. */
static enum qins_status sort_out(struct trial *t, struct qins_error *err)
{
    if (t->item->elements <= SAMPLED_FROM)
        return QINS_OK;
    enum qins_status st = try_sample(t, err);
    keep_smaller(t, MOST_BY_SAMPLE);
    for (size_t i = 0; i < t->n; i++)
        t->codings[i].bytes = 0.0;
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
    if (st == QINS_OK && !all)
        st = sort_out(&t, err);
    if (st == QINS_OK && t.n > 0)
        st = try_pieces(&t, err);
    if (st == QINS_OK)
        keep_better(&t);
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
