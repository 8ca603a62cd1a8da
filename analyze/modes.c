#include "analyze/modes.h"

#include "analyze/divergence.h"
#include "analyze/quality.h"
#include "formats/codec/chunk.h"
#include "formats/codec/quant.h"
#include "formats/codec/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEW = QN_MODE_ELEMENTS / 16, /* elements that kappa is tried on */
    SHAPES = 27,                 /* of qn_search_kappa(): 0 … 724 */
    ITEMS = QN_MODE_KAPPAS * QN_MODE_BITS,
};

/* Whole rows of a weight, one behind the other. */
struct rows {
    size_t count, length;
    float *x;      /* [count][length] */
    float *scales; /* [count]: largest magnitudes */
};

/* One thread's. */
struct slot {
    struct qn_grid grid;
    struct qn_quality quality;
    uint16_t *codes; /* [length] */
    float *decoded;  /* [count][length] */
};

struct study {
    struct rows all, few;
    struct qn_hist *histogram;
    struct slot *slots;
    unsigned threads;
    struct qn_modes *out;
};

static struct qn_mode_figures figures_of(const struct qn_quality *quality, double kappa)
{
    struct qn_quality_figures f;
    qn_quality_figures(quality, &f);
    return (struct qn_mode_figures){f.cosine, f.p99_rel_error, kappa};
}

/* KAPPA is in range. */
static struct qn_mode_figures measure(struct slot *s, const struct rows *r, unsigned levels,
                                      float kappa)
{
    qn_grid_init(&s->grid, QN_GRID_QINS, levels, kappa);
    memset(&s->quality, 0, sizeof s->quality);
    for (size_t i = 0; i < r->count; i++) {
        const size_t at = i * r->length;
        qn_quantise(&s->grid, r->scales[i], r->x + at, r->length, s->codes);
        qn_dequantise(&s->grid, r->scales[i], s->codes, r->length, s->decoded + at);
    }
    qn_quality_add(&s->quality, r->x, s->decoded, r->count * r->length);
    return figures_of(&s->quality, (double)kappa);
}

static float best_for_relative(struct slot *s, const struct rows *few, unsigned levels)
{
    float best = 0.0f;
    double least = INFINITY;
    for (unsigned i = 0; i < SHAPES; i++) {
        const float kappa = (float)qn_search_kappa(i);
        const double error = measure(s, few, levels, kappa).p99_rel_error;
        if (error < least) {
            least = error;
            best = kappa;
        }
    }
    return best;
}

static enum qins_status work(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct study *study = ctx;
    struct slot *s = &study->slots[slot];
    const unsigned choice = (unsigned)(item / QN_MODE_BITS), bits = (unsigned)(item % QN_MODE_BITS),
                   levels = (1U << (QN_MODE_LEAST_BITS + bits - 1)) - 1;
    (void)err;
    const float kappa = choice == QN_MODE_SQUARED_ERROR
                            ? qn_search_shape(study->histogram, levels, -1.0f, 1.0f).kappa
                            : best_for_relative(s, &study->few, levels);
    study->out->quantised[choice][bits] = measure(s, &study->all, levels, kappa);
    return QINS_OK;
}

static enum qins_status allocate_rows(struct rows *r, size_t rows, size_t length, size_t most,
                                      struct qins_error *err)
{
    r->length = length < most ? length : most;
    r->count = most / r->length < rows ? most / r->length : rows;
    r->x = calloc(r->count * r->length, sizeof *r->x);
    r->scales = calloc(r->count, sizeof *r->scales);
    return r->x && r->scales ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status allocate(struct study *s, const struct qn_weight *w, struct qins_error *err)
{
    enum qins_status st = allocate_rows(&s->all, w->rows, w->row_length, QN_MODE_ELEMENTS, err);
    if (st == QINS_OK)
        st = allocate_rows(&s->few, s->all.count, s->all.length, FEW, err);
    bool good = (s->histogram = calloc(1, sizeof *s->histogram)) != NULL;
    good = (s->slots = calloc(s->threads, sizeof *s->slots)) != NULL && good;
    for (unsigned i = 0; i < s->threads && good && st == QINS_OK; i++) {
        struct slot *slot = &s->slots[i];
        good = (slot->codes = calloc(s->all.length, sizeof *slot->codes)) != NULL;
        slot->decoded = calloc(s->all.count * s->all.length, sizeof *slot->decoded);
        good = good && slot->decoded;
    }
    return st == QINS_OK && !good ? qn_fail_memory(err) : st;
}

static void finish(struct study *s)
{
    for (unsigned i = 0; s->slots && i < s->threads; i++) {
        free(s->slots[i].codes);
        free(s->slots[i].decoded);
    }
    free(s->slots);
    free(s->histogram);
    free(s->all.x);
    free(s->all.scales);
    free(s->few.x);
    free(s->few.scales);
}

/* Elements of W from row ROW on. */
static const uint8_t *row_of(const struct qn_weight *w, size_t row)
{
    return (const uint8_t *)w->data + row * w->row_length * qins_dtype_size(w->dtype);
}

/* False where a value is not finite. */
static bool read_rows(struct study *s, const struct qn_weight *w)
{
    struct rows *a = &s->all, *f = &s->few;
    bool finite = true;
    for (size_t i = 0; i < a->count; i++) {
        float *x = a->x + i * a->length;
        qn_to_f32(w->dtype, row_of(w, (size_t)qn_spread_evenly(i, a->count, w->rows)), x,
                  a->length);
        a->scales[i] = qn_abs_max(x, a->length, &finite);
        if (finite)
            qn_hist_add(s->histogram, a->scales[i], x, a->length);
    }
    for (size_t i = 0; i < f->count; i++) {
        const size_t from = (size_t)qn_spread_evenly(i, f->count, a->count);
        memcpy(f->x + i * f->length, a->x + from * a->length, f->length * sizeof *f->x);
        f->scales[i] = a->scales[from];
    }
    return finite;
}

/* The rows through the codec's lossless content, as it codes a chunk; it keeps every bit of them,
 * or it does not. */
static enum qins_status code_losslessly(struct study *s, const struct qn_weight *w,
                                        struct qins_error *err)
{
    const struct rows *a = &s->all;
    const size_t n = a->count * a->length, size = qins_dtype_size(w->dtype);
    const struct qn_chunk_params params = {.content = QN_CONTENT_LOSSLESS,
                                           .dtype = w->dtype,
                                           .codec = QN_CODEC_HUFFMAN,
                                           .row_length = a->length,
                                           .group = a->length};
    struct qn_chunk_work chunk = {0};
    struct qn_buf raw = {0}, payload = {0};
    enum qins_status st = qn_buf_reserve(&raw, n * size, err);
    for (size_t i = 0; i < a->count && st == QINS_OK; i++)
        memcpy(raw.data + i * a->length * size,
               row_of(w, (size_t)qn_spread_evenly(i, a->count, w->rows)), a->length * size);
    if (st == QINS_OK)
        st = qn_chunk_encode(&params, raw.data, n, &chunk, &payload, err);
    if (st == QINS_OK)
        st = qn_chunk_decode(payload.data, payload.size, w->dtype, n, false, &chunk, raw.data, err);
    if (st == QINS_OK) {
        struct slot *slot = &s->slots[0];
        qn_to_f32(w->dtype, raw.data, slot->decoded, n);
        memset(&slot->quality, 0, sizeof slot->quality);
        qn_quality_add(&slot->quality, a->x, slot->decoded, n);
        s->out->lossless = figures_of(&slot->quality, 0.0);
    }
    qn_buf_finish(&raw);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&chunk);
    return st;
}

enum qins_status qn_modes_measure(const struct qn_weight *w, unsigned threads,
                                  const struct qn_monitor *monitor, struct qn_modes *out,
                                  struct qins_error *err)
{
    struct study s = {.threads = threads < ITEMS ? threads : ITEMS, .out = out};
    const struct qn_ordered job = {.work = work,
                                   .ctx = &s,
                                   .threads = s.threads,
                                   .slots = s.threads,
                                   .end = ITEMS,
                                   .monitor = monitor};
    const struct qn_mode_figures none = {NAN, NAN, NAN};
    for (int i = 0; i < ITEMS; i++)
        out->quantised[i / QN_MODE_BITS][i % QN_MODE_BITS] = none;
    enum qins_status st = allocate(&s, w, err);
    if (st == QINS_OK) {
        const bool finite = read_rows(&s, w);
        st = code_losslessly(&s, w, err);
        if (st == QINS_OK && finite)
            st = qn_run_ordered(&job, err);
    }
    finish(&s);
    return st;
}
