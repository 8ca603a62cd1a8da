/* A calibration from rows that were captured elsewhere. */
#include "convert/calibrate_job.h"
#include "convert/sources.h"
#include "core/buf.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/linalg.h"

#include <stdlib.h>

struct capture {
    struct qn_checkpoint *ck;
    const struct qn_calibrate_options *o;
    const struct qn_monitor *monitor;
    struct qn_model *m; /* or NULL */
    struct qn_tap_list taps;
    struct qn_calibration c;
    size_t *arrays; /* [n_points]: tensors of ck */
    struct qn_windows windows;
    struct qn_pool *pool;
    struct qn_gram gram; /* of the point that is written */
    struct qn_gram_scratch scratch;
    struct qn_buf raw, rows; /* a window as stored, and as float32 */
    uint64_t done, total;    /* bytes */
};

static const char input_suffix[] = ":input", output_suffix[] = ":output";

static enum qins_status check_array(const struct qn_tensor *t, struct qins_error *err)
{
    const char *problem = NULL;
    if (t->rank != 2 || t->n_elements == 0)
        problem = "rows of activations have the shape [rows, channels], both at least 1";
    else if (t->dtype != QINS_F64 && !qn_dtype_is_quantisable(t->dtype))
        problem = "activations are floats";
    else if (t->shape[1] > 1 << 24)
        problem = "it has more than 2^24 channels";
    return problem ? qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, QN_NO_OFFSET, "%s", problem)
                   : QINS_OK;
}

/* NAME is the point's, or that of a tensor that sees it, with or without ".weight". */
static bool means(const struct qn_tap_point *tap, const char *name)
{
    if (strcmp(tap->name, name) == 0)
        return true;
    for (int i = 0; i < 3 && tap->tensors[i] && tap->kind != QN_TAP_VALUE; i++) {
        const size_t n = strlen(name);
        const char *tensor = tap->tensors[i];
        if (strncmp(tensor, name, n) == 0 && (!tensor[n] || strcmp(tensor + n, ".weight") == 0))
            return true;
    }
    return false;
}

static enum qins_status add_known(struct capture *a, size_t tensor, struct qins_error *err)
{
    const struct qn_tensor *t = &a->ck->tensors.items[tensor];
    const struct qn_tap_point *tap = NULL;
    struct qn_calibration_point *p = NULL;
    size_t n = 0;
    for (size_t i = 0; i < a->taps.n && !tap; i++)
        if (means(&a->taps.points[i], t->name))
            tap = &a->taps.points[i];
    if (!tap)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, QN_NO_OFFSET,
                          "no linear layer of the model has that name");
    if (t->shape[1] != tap->channels)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, QN_NO_OFFSET,
                          "it has %llu channels, the model %u", (unsigned long long)t->shape[1],
                          (unsigned)tap->channels);
    while (n < QN_POINT_TENSORS && tap->tensors[n])
        n++;
    enum qins_status st = qn_calibration_add_point(&a->c, tap->name, (enum qn_point_kind)tap->kind,
                                                   tap->channels, tap->tensors, n, &p, err);
    if (st == QINS_OK) {
        p->layer = tap->layer;
        p->expert = tap->expert;
    }
    return st;
}

static enum qins_status add_unknown(struct capture *a, size_t tensor, struct qins_error *err)
{
    const struct qn_tensor *t = &a->ck->tensors.items[tensor];
    const bool in = qn_has_suffix(t->name, input_suffix);
    const bool out = qn_has_suffix(t->name, output_suffix);
    const size_t suffix = in ? sizeof input_suffix - 1 : out ? sizeof output_suffix - 1 : 0;
    char *of = qn_strndup(t->name, strlen(t->name) - suffix, err);
    char *name = qn_format(err, "%s%s", t->name, suffix ? "" : input_suffix);
    const char *tensors[] = {of};
    enum qins_status st =
        of && name ? qn_calibration_add_point(&a->c, name, QN_POINT_KIND_CAPTURED,
                                              (uint32_t)t->shape[1], tensors, 1, NULL, err)
                   : QINS_ERR_MEMORY;
    free(of);
    free(name);
    return st;
}

static enum qins_status add_points(struct capture *a, struct qins_error *err)
{
    const size_t n = a->ck->tensors.count;
    enum qins_status st = n ? QINS_OK : qn_fail(err, QINS_ERR_FORMAT, "it holds no arrays");
    a->arrays = calloc(n + 1, sizeof *a->arrays);
    if (!a->arrays)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        st = check_array(&a->ck->tensors.items[i], err);
        if (st == QINS_OK)
            st = a->m ? add_known(a, i, err) : add_unknown(a, i, err);
        const struct qn_calibration_point *p = &a->c.points[i];
        for (size_t k = 0; k < i && st == QINS_OK; k++)
            if (strcmp(a->c.points[k].name, p->name) == 0)
                st = qn_fail_at(err, QINS_ERR_FORMAT, NULL, a->ck->tensors.items[i].name,
                                QN_NO_OFFSET, "the file has rows of %s twice", p->name);
        a->arrays[i] = i;
        a->total += a->ck->tensors.items[i].n_bytes;
    }
    return st;
}

/* COUNT rows of POINT from row FIRST as float32 into DST. */
static enum qins_status fetch(struct capture *a, size_t point, uint64_t first, size_t count,
                              float *dst, struct qins_error *err)
{
    const size_t tensor = a->arrays[point];
    const struct qn_tensor *t = &a->ck->tensors.items[tensor];
    const size_t element = qins_dtype_size(t->dtype), n = count * (size_t)t->shape[1];
    enum qins_status st = qn_buf_reserve(&a->raw, n * element, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(a->ck, tensor, first * t->shape[1] * element, a->raw.data,
                                n * element, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < n && t->dtype == QINS_F64; i++) {
        double x;
        memcpy(&x, a->raw.data + i * sizeof x, sizeof x);
        dst[i] = (float)x;
    }
    if (t->dtype != QINS_F64)
        qn_to_f32(t->dtype, a->raw.data, dst, n);
    return QINS_OK;
}

/* Rows of one window at a time: WINDOW gets FIRST, its number of rows and the float32 values. */
static enum qins_status sweep(struct capture *a, size_t point,
                              enum qins_status (*window)(void *ctx, const float *x, size_t rows,
                                                         struct qins_error *err),
                              void *ctx, struct qins_error *err)
{
    const struct qn_tensor *t = &a->ck->tensors.items[a->arrays[point]];
    const size_t step = a->c.options.context, channels = (size_t)t->shape[1];
    const size_t room = (size_t)qn_min_u64(step, t->shape[0]) * channels * sizeof(float);
    enum qins_status st = qn_buf_reserve(&a->rows, room, err);
    for (uint64_t i = 0; i < t->shape[0] && st == QINS_OK; i += step) {
        const size_t n = (size_t)qn_min_u64(step, t->shape[0] - i);
        float *x = (float *)(void *)a->rows.data;
        st = qn_check_stop(a->monitor, err);
        if (st == QINS_OK)
            st = fetch(a, point, i, n, x, err);
        if (st == QINS_OK)
            st = window(ctx, x, n, err);
    }
    return st;
}

struct measuring {
    struct qn_calibration_point *p;
    struct qn_partial partial;
    struct qn_hasher *hasher;
};

static enum qins_status measure_window(void *ctx, const float *x, size_t rows,
                                       struct qins_error *err)
{
    struct measuring *m = ctx;
    qn_hasher_add(m->hasher, x, rows * m->p->channels * sizeof *x);
    qn_kernels()->moments(&m->partial.sums, x, rows, m->p->channels, m->p->channels);
    m->partial.rows = rows;
    return qn_partial_emit(m->p, &m->partial, err);
}

static enum qins_status measure_point(struct capture *a, size_t i, struct qn_hasher *hasher,
                                      struct qins_error *err)
{
    struct measuring m = {.p = &a->c.points[i], .hasher = hasher};
    const size_t n = m.p->channels;
    double *sums = calloc(n, 3 * sizeof *sums);
    float *extremes = calloc(n, 2 * sizeof *extremes);
    uint64_t *histogram = calloc(QN_PARTIAL_CELLS, sizeof *histogram);
    enum qins_status st = sums && extremes && histogram ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK) {
        qn_partial_place(&m.partial, n, sums, extremes, histogram);
        qn_hasher_add(hasher, m.p->name, strlen(m.p->name) + 1);
        qn_hasher_add(hasher, &m.p->channels, sizeof m.p->channels);
        st = sweep(a, i, measure_window, &m, err);
    }
    free(sums);
    free(extremes);
    free(histogram);
    a->done += a->ck->tensors.items[a->arrays[i]].n_bytes;
    qn_progress(a->monitor, "calibrate", a->done, a->total);
    return st;
}

/* The figures, and the digest that stands for the text. */
static enum qins_status measure(struct capture *a, struct qins_error *err)
{
    struct qn_hasher *hasher = qn_hasher_create();
    enum qins_status st = hasher ? QINS_OK : qn_fail_memory(err);
    for (size_t i = 0; i < a->c.n_points && st == QINS_OK; i++)
        st = measure_point(a, i, hasher, err);
    if (st == QINS_OK) {
        const struct qn_digest digest = qn_hasher_digest(hasher);
        st = qn_calibration_add_text(&a->c, &digest, err);
    }
    qn_hasher_destroy(hasher);
    return st;
}

/* Points of fewer rows have those of the kept ones that they have. */
static enum qins_status choose_rows(struct capture *a, struct qins_error *err)
{
    size_t begin[2] = {0, 0};
    for (size_t i = 0; i < a->c.n_points; i++)
        if (a->c.points[i].rows > begin[1])
            begin[1] = (size_t)a->c.points[i].rows;
    const struct qn_window_source source = {.begin = begin, .n_parts = 1, .digest = a->c.texts[0]};
    enum qins_status st = qn_windows_init(&a->windows, &source, &a->c.options, err);
    if (st != QINS_OK)
        return st;
    a->c.tokens = begin[1];
    a->c.windows = a->windows.n;
    a->c.n_kept = a->windows.n_kept;
    a->c.kept = a->windows.kept;
    a->windows.kept = NULL;
    for (size_t i = 0; i < a->c.n_points; i++) {
        struct qn_calibration_point *p = &a->c.points[i];
        p->gram = a->c.options.gram;
        p->kept = calloc((size_t)a->c.n_kept + 1, sizeof *p->kept);
        if (!p->kept)
            return qn_fail_memory(err);
        for (uint32_t k = 0; k < a->c.n_kept; k++)
            if (a->windows.items[a->windows.kept_window[k]].first + a->c.kept[k].position < p->rows)
                p->kept[p->n_kept++] = k;
    }
    return QINS_OK;
}

static enum qins_status gram_window(void *ctx, const float *x, size_t rows, struct qins_error *err)
{
    struct capture *a = ctx;
    return qn_gram_add(&a->gram, a->pool, &a->scratch, x, rows, a->gram.n) ? QINS_OK
                                                                           : qn_fail_memory(err);
}

static enum qins_status read_large(void *ctx, size_t point, enum qn_large what, uint64_t first,
                                   uint64_t count, void *dst, struct qins_error *err)
{
    struct capture *a = ctx;
    const struct qn_calibration_point *p = &a->c.points[point];
    enum qins_status st = QINS_OK;
    uint8_t *out = dst;
    if (first == 0 && what == QN_LARGE_GRAM) {
        qn_gram_finish(&a->gram);
        st = qn_gram_init(&a->gram, p->channels, err);
        if (st == QINS_OK)
            st = sweep(a, point, gram_window, a, err);
    }
    for (uint64_t i = first; i < first + count && st == QINS_OK; i++) {
        const size_t n = (size_t)qn_large_elements(p, what, i, 1);
        if (what == QN_LARGE_ROWS) {
            const uint32_t k = p->kept[i];
            const struct qn_window *w = &a->windows.items[a->windows.kept_window[k]];
            st = fetch(a, point, w->first + a->c.kept[k].position, 1, (float *)(void *)out, err);
            out += n * sizeof(float);
        } else if (what == QN_LARGE_GRAM) {
            qn_gram_get(&a->gram, (uint32_t)i, (double *)(void *)out, NULL);
            out += n * sizeof(double);
        } else {
            qn_gram_get(&a->gram, (uint32_t)i, NULL, (float *)(void *)out);
            out += n * sizeof(float);
        }
    }
    return st;
}

static enum qins_status open_all(struct capture *a, const char *model, const char *file,
                                 const char *out, struct qins_error *err)
{
    const struct qn_inputs inputs[] = {{.file = file}, {.file = model}};
    enum qins_status st = QINS_OK;
    for (int i = 0; i < 2 && st == QINS_OK; i++)
        st = qn_refuse_input(&inputs[i], out, err);
    if (st == QINS_OK && model)
        st = qn_refuse_model_input(model, NULL, 0, out, err);
    if (st == QINS_OK)
        st = qn_linalg_init(err);
    if (st == QINS_OK)
        st = qn_checkpoint_open(&a->ck, file, a->monitor, err);
    if (st == QINS_OK && model)
        st = qn_model_open(&a->m, model, a->o->threads, a->monitor, err);
    if (st == QINS_OK && a->m)
        st = qn_taps_init(&a->taps, a->m, err);
    if (st == QINS_OK && a->m) {
        a->c.model = a->m->fingerprint;
        a->c.model_name = qn_calibrate_model_name(a->m->path, err);
        st = a->c.model_name ? QINS_OK : QINS_ERR_MEMORY;
    }
    return st;
}

static enum qins_status run(struct capture *a, const char *file, const char *out,
                            struct qins_error *err)
{
    const struct qn_large_source source = {read_large, a};
    a->c.options = a->o->sample;
    if (a->c.options.context == 0)
        a->c.options.context = QN_CALIBRATE_CONTEXT;
    enum qins_status st = add_points(a, err);
    if (st == QINS_OK && a->c.options.gram)
        st = qn_pool_create(&a->pool, a->o->threads, err);
    if (st == QINS_OK && a->c.options.gram)
        st = qn_gram_scratch_init(&a->scratch, a->o->threads, err);
    if (st == QINS_OK)
        st = measure(a, err);
    if (st == QINS_OK)
        st = choose_rows(a, err);
    if (st != QINS_OK)
        return qn_error_in_file(err, st, file);
    return qn_calibration_write(&a->c, out, &source, err);
}

static void finish(struct capture *a)
{
    qn_gram_finish(&a->gram);
    qn_gram_scratch_finish(&a->scratch);
    qn_pool_destroy(a->pool);
    qn_windows_finish(&a->windows);
    qn_calibration_finish(&a->c);
    qn_taps_finish(&a->taps);
    qn_model_destroy(a->m);
    qn_checkpoint_destroy(a->ck);
    qn_buf_finish(&a->raw);
    qn_buf_finish(&a->rows);
    free(a->arrays);
}

enum qins_status qn_calibrate_activations(const char *model, const char *file, const char *out,
                                          const struct qn_calibrate_options *o,
                                          const struct qn_monitor *monitor, json_t **report,
                                          struct qins_error *err)
{
    const double begun = qn_seconds();
    struct capture a = {.o = o, .monitor = monitor};
    enum qins_status st = open_all(&a, model, file, out, err);
    if (st == QINS_OK)
        st = run(&a, file, out, err);
    if (st == QINS_OK && report) {
        *report = qn_calibrate_report(&a.c, out, o->threads, qn_seconds() - begun, a.c.tokens);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    finish(&a);
    return st;
}
