/* A calibration from rows that were captured elsewhere. */
#include "convert/calibrate_job.h"
#include "convert/sources.h"
#include "core/buf.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/linalg.h"

#include <stdlib.h>

/* What an array may be called: the first N bytes of TEXT mean point TAP. */
struct name {
    const char *text;
    size_t n, tap;
};

struct name_index {
    struct name *items; /* sorted */
    size_t n;
};

struct capture {
    struct qn_checkpoint *ck;
    const struct qn_calibrate_options *o;
    const struct qn_monitor *monitor;
    struct qn_model *m; /* or NULL */
    struct qn_tap_list taps;
    struct name_index index;
    struct qn_calibration c; /* a point for each tensor of ck, in their order */
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
    if (strcmp(t->name, input_suffix) == 0 || strcmp(t->name, output_suffix) == 0)
        problem = "its name says of no tensor what it is the input or output of";
    else if (t->rank != 2 || t->n_elements == 0)
        problem = "rows of activations have the shape [rows, channels], both at least 1";
    else if (t->dtype != QINS_F64 && !qn_dtype_is_quantisable(t->dtype))
        problem = "activations are floats";
    else if (t->shape[1] > 1 << 24)
        problem = "it has more than 2^24 channels";
    return problem ? qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, QN_NO_OFFSET, "%s", problem)
                   : QINS_OK;
}

static int compare_names(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    return order ? order : x->n < y->n ? -1 : x->n > y->n;
}

/* The points' names, and those of the tensors that see them, with and without ".weight". */
static enum qins_status index_names(struct capture *a, struct qins_error *err)
{
    static const char suffix[] = ".weight";
    enum { MOST = 1 + 2 * QN_POINT_TENSORS }; /* of one point */
    struct name_index *x = &a->index;
    x->items = calloc(a->taps.n + 1, MOST * sizeof *x->items);
    if (!x->items)
        return qn_fail_memory(err);
    for (size_t i = 0; i < a->taps.n; i++) {
        const struct qn_tap_point *tap = &a->taps.points[i];
        x->items[x->n++] = (struct name){tap->name, strlen(tap->name), i};
        for (int k = 0; k < QN_POINT_TENSORS && tap->tensors[k] && tap->kind != QN_TAP_VALUE; k++) {
            struct name item = {tap->tensors[k], strlen(tap->tensors[k]), i};
            x->items[x->n++] = item;
            if (qn_has_suffix(item.text, suffix)) {
                item.n -= sizeof suffix - 1;
                x->items[x->n++] = item;
            }
        }
    }
    qsort(x->items, x->n, sizeof *x->items, compare_names);
    return QINS_OK;
}

static enum qins_status add_known(struct capture *a, size_t tensor, struct qins_error *err)
{
    const struct qn_tensor *t = &a->ck->tensors.items[tensor];
    const struct name key = {t->name, strlen(t->name), 0};
    const struct name *found = bsearch(&key, a->index.items, a->index.n, sizeof key, compare_names);
    if (!found)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, QN_NO_OFFSET,
                          "no linear layer of the model has that name");
    const struct qn_tap_point *tap = &a->taps.points[found->tap];
    if (t->shape[1] != tap->channels)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->name, QN_NO_OFFSET,
                          "it has %llu channels, the model %u", (unsigned long long)t->shape[1],
                          (unsigned)tap->channels);
    return qn_calibrate_add_tap(&a->c, a->m, tap, err);
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
        of && name ? qn_calibration_add_point(&a->c, name, QN_TAP_CAPTURED, (uint32_t)t->shape[1],
                                              tensors, 1, NULL, err)
                   : QINS_ERR_MEMORY;
    free(of);
    free(name);
    return st;
}

/* Shapes, and what the figures of all arrays will take. */
static enum qins_status check_arrays(struct capture *a, struct qins_error *err)
{
    const struct qn_tensor_list *list = &a->ck->tensors;
    uint64_t figures = 0;
    enum qins_status st =
        list->count ? QINS_OK : qn_fail(err, QINS_ERR_FORMAT, "it holds no arrays");
    for (size_t i = 0; i < list->count && st == QINS_OK; i++) {
        const struct qn_tensor *t = &list->items[i];
        st = check_array(t, err);
        if (st == QINS_OK && a->c.options.gram)
            st = qn_gram_check(t->name, (uint32_t)t->shape[1], err);
        if (st == QINS_OK)
            figures += qn_point_bytes(t->shape[1]);
        a->total += t->n_bytes;
    }
    if (st != QINS_OK)
        return st;
    if (list->count > QN_ACTIVATIONS_MOST)
        return qn_fail(err, QINS_ERR_FORMAT, "it holds %zu arrays, more than %u", list->count,
                       (unsigned)QN_ACTIVATIONS_MOST);
    if (figures > QN_ACTIVATIONS_FREE && figures / QN_ACTIVATIONS_GROWTH > a->total)
        return qn_fail(
            err, QINS_ERR_FORMAT,
            "the figures of its %zu arrays would take %llu bytes, more than %u times the "
            "%llu of the arrays themselves: too few rows for so many arrays or channels",
            list->count, (unsigned long long)figures, (unsigned)QN_ACTIVATIONS_GROWTH,
            (unsigned long long)a->total);
    return QINS_OK;
}

static int compare_points(const void *a, const void *b, void *ctx)
{
    const struct qn_calibration_point *points = ctx;
    return strcmp(points[*(const size_t *)a].name, points[*(const size_t *)b].name);
}

static enum qins_status refuse_duplicates(const struct capture *a, struct qins_error *err)
{
    const size_t n = a->c.n_points;
    size_t *order = calloc(n + 1, sizeof *order);
    enum qins_status st = QINS_OK;
    if (!order)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, n, sizeof *order, compare_points, a->c.points);
    for (size_t i = 1; i < n && st == QINS_OK; i++)
        if (strcmp(a->c.points[order[i - 1]].name, a->c.points[order[i]].name) == 0)
            st = qn_fail(err, QINS_ERR_FORMAT, "it has rows of %.200s twice",
                         a->c.points[order[i]].name);
    free(order);
    return st;
}

static enum qins_status add_points(struct capture *a, struct qins_error *err)
{
    enum qins_status st = check_arrays(a, err);
    for (size_t i = 0; i < a->ck->tensors.count && st == QINS_OK; i++)
        st = a->m ? add_known(a, i, err) : add_unknown(a, i, err);
    return st == QINS_OK ? refuse_duplicates(a, err) : st;
}

/* COUNT rows of POINT from row FIRST as float32 into DST. */
static enum qins_status fetch(struct capture *a, size_t point, uint64_t first, size_t count,
                              float *dst, struct qins_error *err)
{
    const struct qn_tensor *t = &a->ck->tensors.items[point];
    const size_t element = qins_dtype_size(t->dtype), n = count * (size_t)t->shape[1];
    enum qins_status st = qn_buf_reserve(&a->raw, n * element, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(a->ck, point, first * t->shape[1] * element, a->raw.data,
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

/* What is swept at a time at most, but for a row that is larger: windows of 512 rows of 32768
 * channels. */
enum { SWEEP_BYTES = 64 << 20 };

/* Rows of one window at a time: WINDOW gets the float32 values and their number of rows. */
static enum qins_status sweep(struct capture *a, size_t point,
                              enum qins_status (*window)(void *ctx, const float *x, size_t rows,
                                                         struct qins_error *err),
                              void *ctx, struct qins_error *err)
{
    const struct qn_tensor *t = &a->ck->tensors.items[point];
    const size_t channels = (size_t)t->shape[1], most = SWEEP_BYTES / sizeof(float) / channels;
    const size_t step = qn_min_u64(a->c.options.context, most ? most : 1);
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
    a->done += a->ck->tensors.items[i].n_bytes;
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
    float *out = dst;
    if (first == 0 && what == QN_LARGE_GRAM) {
        qn_gram_finish(&a->gram);
        st = qn_gram_init(&a->gram, p->channels, err);
        if (st == QINS_OK)
            st = sweep(a, point, gram_window, a, err);
    }
    if (what != QN_LARGE_ROWS && st == QINS_OK)
        qn_gram_read(&a->gram, what, first, count, dst);
    if (what != QN_LARGE_ROWS)
        return st;
    for (uint64_t i = first; i < first + count && st == QINS_OK; i++, out += p->channels) {
        const uint32_t k = p->kept[i];
        const struct qn_window *w = &a->windows.items[a->windows.kept_window[k]];
        st = fetch(a, point, w->first + a->c.kept[k].position, 1, out, err);
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
        st = qn_model_open_plain(&a->m, model, a->o->threads, a->monitor, err);
    if (st == QINS_OK && a->m)
        st = qn_taps_init(&a->taps, a->m, err);
    if (st == QINS_OK && a->m)
        st = index_names(a, err);
    if (st == QINS_OK && a->m)
        st = qn_calibrate_identify(&a->c, a->m, err);
    return st;
}

static enum qins_status run(struct capture *a, const char *file, const char *out,
                            struct qins_error *err)
{
    const struct qn_large_source source = {read_large, a};
    a->c.options = a->o->sample;
    if (a->c.options.context == 0)
        a->c.options.context = QN_WINDOW_SIZE;
    enum qins_status st = add_points(a, err);
    if (st == QINS_OK && a->c.options.gram)
        st = qn_pool_create(&a->pool, a->o->threads, err);
    if (st == QINS_OK && a->c.options.gram)
        st = qn_gram_scratch_init(&a->scratch, a->o->threads, err);
    if (st == QINS_OK)
        st = measure(a, err);
    if (st == QINS_OK)
        st = choose_rows(a, err);
    if (st == QINS_OK)
        st = qn_checkpoint_check_unchanged(a->ck, NULL, err);
    if (st != QINS_OK)
        return st == QINS_ERR_INTERRUPTED ? st : qn_error_in_file(err, st, file);
    return qn_calibration_write(&a->c, out, &source, a->monitor, err);
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
    free(a->index.items);
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
        *report =
            qn_calibrate_report(&a.c, out, o->threads, qn_seconds() - begun, a.c.tokens, monitor);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    finish(&a);
    return st;
}
