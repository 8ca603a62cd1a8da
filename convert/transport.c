#include "convert/transport.h"

#include "convert/sources.h"
#include "convert/transport_work.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/linalg.h"
#include "formats/codec/quant.h"
#include "model/taps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    LEAST_BITS = 6,
    MOST_BITS = 8, /* of a coded input */
    READ_ROWS = 256,
};
#define REPORT_SCHEMA "qins/transport/1"

/* Layers that share an input, and the calibration's point for it. */
struct group {
    size_t first, n; /* layers */
    size_t tap, point;
    size_t rows[3]; /* by enum qn_row_part */
};

struct job {
    const char *calibration;
    struct qn_transport_options o;
    unsigned levels;
    const struct qn_monitor *monitor;
    struct qn_calibration_file file;
    struct qn_model *m;
    struct qn_tap_list taps;
    struct qn_fitted_layers layers;
    struct group *groups;
    size_t n_groups;
    uint64_t trials, trials_done;
    struct qn_transport t;
    json_t *inputs, *reports, *skipped;
};

static enum qins_status check_options(struct job *j, struct qins_error *err)
{
    struct qn_transport_options *o = &j->o;
    const bool splits = o->method == QN_SPLIT || o->method == QN_TRANSPORT_METHODS;
    if (o->bits == 0)
        o->bits = MOST_BITS;
    if (o->threads == 0)
        o->threads = 1;
    j->levels = (1U << (o->bits - 1)) - 1;
    if (o->bits < LEAST_BITS || o->bits > MOST_BITS)
        return qn_fail(err, QINS_ERR_USAGE, "inputs are coded in 6 to 8 bits, not %u", o->bits);
    if (o->order > QN_TRANSPORT_ORDER || o->max_order > QN_TRANSPORT_ORDER)
        return qn_fail(err, QINS_ERR_USAGE, "the order is %d at most", (int)QN_TRANSPORT_ORDER);
    if (!(o->kappa <= QN_MAX_KAPPA) || !(o->clip <= 1.0F) || o->clip == 0.0F)
        return qn_fail(err, QINS_ERR_USAGE, "kappa or clip is out of range");
    if (o->sign_plane && !splits)
        return qn_fail(err, QINS_ERR_USAGE, "only the method 'split' has a sign plane");
    if (o->order && !splits && o->method != QN_RIDGE)
        return qn_fail(err, QINS_ERR_USAGE, "the method '%s' has no order",
                       qn_transport_method_name(o->method));
    if (o->kappa == 0.0F && qn_transport_is_jacobian(o->method))
        return qn_fail(err, QINS_ERR_USAGE, "the method '%s' needs a kappa above 0",
                       qn_transport_method_name(o->method));
    return QINS_OK;
}

static enum qins_status no_rows(const struct job *j, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, j->calibration, NULL, QN_NO_OFFSET,
                      "it keeps no rows of activations; 'qins calibrate MODEL --text FILE "
                      "--keep-rows 2048 -o OUT.h5' makes one that does");
}

/* The calibration's point of the input of layer L. */
static const struct qn_calibration_point *find_point(const struct job *j,
                                                     const struct qn_fitted_layer *l)
{
    const struct qn_tap_point *tap = &j->taps.points[l->part.point];
    const struct qn_calibration_point *p = qn_calibration_find(&j->file.c, tap->name);
    if (!p)
        p = qn_calibration_find(&j->file.c, l->part.matrix->name);
    return p && p->kind != QN_TAP_VALUE ? p : NULL;
}

static void count_rows(const struct job *j, const struct qn_calibration_point *p, size_t rows[3])
{
    rows[QN_ROWS_FIT] = rows[QN_ROWS_SELECT] = rows[QN_ROWS_TEST] = 0;
    for (uint32_t i = 0; i < p->n_kept; i++)
        rows[j->file.c.kept[p->kept[i]].part]++;
}

static bool has_rows(const size_t rows[3])
{
    return rows[QN_ROWS_FIT] >= QN_LEAST_ROWS && rows[QN_ROWS_SELECT] >= QN_LEAST_ROWS &&
           rows[QN_ROWS_TEST] >= QN_LEAST_ROWS;
}

static enum qins_status append(json_t *array, json_t *value, struct qins_error *err)
{
    return value && json_array_append_new(array, value) == 0 ? QINS_OK : qn_fail_memory(err);
}

/* An expert that text seldom reaches stays as it is. */
static enum qins_status skip(struct job *j, const struct group *g, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    qn_notice(j->monitor, "%s: too few rows were kept (%zu, %zu, %zu): its layers stay as they are",
              j->taps.points[g->tap].name, g->rows[0], g->rows[1], g->rows[2]);
    for (size_t i = g->first; i < g->first + g->n && st == QINS_OK; i++) {
        const struct qn_fitted_layer *l = &j->layers.items[i];
        json_t *s = json_object();
        qn_json_put(&s, "name", qn_json_text(l->part.matrix->name));
        qn_json_put(&s, "projection", json_string(qn_projection_name(l->projection)));
        qn_json_put(&s, "layer", json_integer(l->layer));
        qn_json_put(&s, "expert", json_integer(l->expert));
        qn_json_put(&s, "reason", json_string("too few rows were kept"));
        st = append(j->skipped, s, err);
    }
    return st;
}

/* What there is for the layers of G; *USED is cleared where they are left alone. */
static enum qins_status match_group(struct job *j, struct group *g, bool *used,
                                    struct qins_error *err)
{
    const struct qn_fitted_layer *l = &j->layers.items[g->first];
    const struct qn_calibration_point *p = find_point(j, l);
    *used = true;
    if (!p || p->channels != l->part.matrix->in)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, j->calibration, l->part.matrix->name,
                          QN_NO_OFFSET, "the calibration has no inputs of it");
    g->point = (size_t)(p - j->file.c.points);
    count_rows(j, p, g->rows);
    if (has_rows(g->rows))
        return QINS_OK;
    *used = false;
    if (j->m->config.n_experts && l->projection >= QN_PROJECTION_DOWN &&
        l->projection <= QN_PROJECTION_UP)
        return skip(j, g, err);
    if (p->n_kept == 0)
        return no_rows(j, err);
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, j->calibration, l->part.matrix->name, QN_NO_OFFSET,
                      "too few rows were kept: %zu to fit, %zu to select, %zu to test, and %d of "
                      "each are needed; calibrate with more text or a larger --keep-rows",
                      g->rows[QN_ROWS_FIT], g->rows[QN_ROWS_SELECT], g->rows[QN_ROWS_TEST],
                      QN_LEAST_ROWS);
}

/* Layers that stand together and share a tap make a group; what is skipped leaves the list. */
static enum qins_status group_layers(struct job *j, struct qins_error *err)
{
    struct qn_fitted_layers *all = &j->layers;
    enum qins_status st = QINS_OK;
    size_t kept = 0;
    bool used;
    j->groups = calloc(all->n + 1, sizeof *j->groups);
    if (!j->groups)
        return qn_fail_memory(err);
    for (size_t i = 0, end; i < all->n && st == QINS_OK; i = end) {
        struct group *g = &j->groups[j->n_groups];
        for (end = i; end < all->n && all->items[end].part.point == all->items[i].part.point;)
            end++;
        *g = (struct group){.first = i, .n = end - i, .tap = all->items[i].part.point};
        st = match_group(j, g, &used, err);
        if (st != QINS_OK || !used)
            continue;
        memmove(&all->items[kept], &all->items[i], g->n * sizeof *all->items);
        g->first = kept;
        kept += g->n;
        j->n_groups++;
    }
    all->n = kept;
    if (st == QINS_OK && kept == 0)
        st = no_rows(j, err);
    return st;
}

static enum qins_status not_finite(const struct job *j, const char *tensor, const char *what,
                                   struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, j->calibration, tensor, QN_NO_OFFSET,
                      "%s are not finite", what);
}

/* The kept rows, by part. */
static enum qins_status read_rows(struct job *j, const struct group *g, struct qn_point_work *p,
                                  struct qins_error *err)
{
    const struct qn_calibration_point *point = &j->file.c.points[g->point];
    const size_t channels = point->channels;
    size_t filled[3] = {0};
    float *parts[3] = {NULL}, *block = malloc(READ_ROWS * channels * sizeof *block);
    enum qins_status st = block ? QINS_OK : qn_fail_memory(err);
    bool finite = true;
    for (int i = 0; i <= QN_ROWS_TEST; i++) {
        p->rows.x[i] = parts[i] = malloc(g->rows[i] * channels * sizeof *parts[i]);
        p->rows.rows[i] = g->rows[i];
        if (!parts[i] && st == QINS_OK)
            st = qn_fail_memory(err);
    }
    for (uint32_t first = 0, n; first < point->n_kept && st == QINS_OK; first += n) {
        n = point->n_kept - first < READ_ROWS ? point->n_kept - first : READ_ROWS;
        st = qn_calibration_read(&j->file, g->point, QN_LARGE_ROWS, first, n, block, err);
        for (uint32_t i = 0; i < n && st == QINS_OK; i++) {
            const int part = j->file.c.kept[point->kept[first + i]].part;
            memcpy(parts[part] + filled[part]++ * channels, block + i * channels,
                   channels * sizeof *block);
        }
        if (st == QINS_OK)
            qn_abs_max(block, n * channels, &finite);
        if (st == QINS_OK && !finite)
            st = not_finite(j, point->name, "kept rows", err);
    }
    free(block);
    return st;
}

static enum qins_status read_range(const struct job *j, const struct group *g,
                                   struct qn_point_work *p, struct qins_error *err)
{
    const struct qn_calibration_point *point = &j->file.c.points[g->point];
    float most = 0.0F;
    for (uint32_t i = 0; i < point->channels; i++)
        most = fmaxf(most, fmaxf(-point->min[i], point->max[i]));
    p->rows.channels = point->channels;
    p->rows.abs_max = most;
    return isfinite(most) ? QINS_OK : not_finite(j, point->name, "ranges", err);
}

static enum qins_status read_weights(const struct job *j, struct qn_point_work *p,
                                     struct qins_error *err)
{
    const size_t channels = p->rows.channels;
    bool finite = true;
    size_t at = 0;
    for (size_t i = 0; i < p->n_layers; i++)
        p->n_out += p->layers[i].part.out;
    p->w = malloc(p->n_out * channels * sizeof *p->w);
    if (!p->w)
        return qn_fail_memory(err);
    for (size_t i = 0; i < p->n_layers; i++) {
        const struct qn_linear_part *part = &p->layers[i].part;
        qn_part_weights(part, p->w + at * channels);
        qn_abs_max(p->w + at * channels, part->out * channels, &finite);
        if (!finite)
            return qn_fail_at(err, QINS_ERR_FORMAT, j->m->path, part->matrix->name, QN_NO_OFFSET,
                              "weights are not finite");
        at += part->out;
    }
    return QINS_OK;
}

static enum qins_status count_clipped(struct qn_point_work *p, const struct qn_fit *fit,
                                      struct qins_error *err)
{
    const size_t channels = p->rows.channels;
    uint16_t *codes = malloc(channels * sizeof *codes);
    if (!codes)
        return qn_fail_memory(err);
    for (int part = QN_ROWS_SELECT; part <= QN_ROWS_TEST; part++)
        for (size_t i = 0; i < p->rows.rows[part]; i++)
            p->clipped[part - QN_ROWS_SELECT] +=
                qn_fit_encode(fit, p->rows.x[part] + i * channels, channels, codes);
    free(codes);
    return QINS_OK;
}

/* What was chosen for the layers of G, into the transport. */
static enum qins_status store_layers(struct job *j, const struct group *g,
                                     const struct qn_point_work *p, const struct qn_fit *fit,
                                     struct qins_error *err)
{
    const float *w = p->w;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < p->n_layers && st == QINS_OK; i++) {
        const struct qn_fitted_layer *from = &p->layers[i];
        struct qn_transport_layer *to = &j->t.layers[g->first + i];
        struct qn_fit_output end = {0};
        const size_t out = from->part.out;
        if (qn_transport_is_jacobian(fit->choice.method))
            st = qn_fit_output_make(fit, &p->rows, w, out, &end, err);
        if (p->chosen->plain_output)
            end.alpha = 0.0;
        if (st == QINS_OK)
            st = qn_fit_store_layer(fit, &end, w, out, j->o.materialize, to, err);
        qn_fit_output_finish(&end);
        to->projection = from->projection;
        to->layer = from->layer;
        to->expert = from->expert;
        to->input = (uint32_t)(g - j->groups);
        to->out = (uint32_t)out;
        to->tensor = st == QINS_OK ? qn_strdup(from->part.matrix->name, err) : NULL;
        if (st == QINS_OK && !to->tensor)
            st = QINS_ERR_MEMORY;
        w += out * p->rows.channels;
    }
    return st;
}

static enum qins_status store(struct job *j, const struct group *g, struct qn_point_work *p,
                              struct qins_error *err)
{
    struct qn_transport_input *in = &j->t.inputs[g - j->groups];
    struct qn_fit fit = {0};
    enum qins_status st = qn_fit_make(&p->rows, &p->chosen->choice, &fit, err);
    if (st == QINS_OK)
        st = qn_fit_store_input(&fit, in, err);
    if (st == QINS_OK) {
        in->name = qn_strdup(j->taps.points[g->tap].name, err);
        st = in->name ? count_clipped(p, &fit, err) : QINS_ERR_MEMORY;
    }
    if (st == QINS_OK)
        st = store_layers(j, g, p, &fit, err);
    qn_fit_finish(&fit);
    return st;
}

static enum qins_status report_point(struct job *j, const struct group *g,
                                     const struct qn_point_work *p, struct qins_error *err)
{
    const size_t input = (size_t)(g - j->groups);
    enum qins_status st = append(
        j->inputs,
        qn_transport_report_input(p, &j->t.inputs[input], &j->file.c.points[g->point], g->first),
        err);
    for (size_t i = 0; i < p->n_layers && st == QINS_OK; i++)
        st = append(j->reports, qn_transport_report_layer(p, i, input, j->m->config.n_experts > 0),
                    err);
    return st;
}

static void tick(void *ctx, size_t trials)
{
    struct job *j = ctx;
    j->trials_done += trials;
    qn_progress_of(j->monitor, "fit", "trials", j->trials_done, j->trials);
}

static enum qins_status fit_group(struct job *j, const struct group *g, struct qins_error *err)
{
    const struct qn_search_progress progress = {.tick = tick, .ctx = j, .monitor = j->monitor};
    struct qn_point_work p = {
        .o = &j->o, .levels = j->levels, .layers = j->layers.items + g->first, .n_layers = g->n};
    enum qins_status st = read_range(j, g, &p, err);
    if (st == QINS_OK)
        st = read_rows(j, g, &p, err);
    if (st == QINS_OK)
        st = read_weights(j, &p, err);
    if (st == QINS_OK)
        st = qn_search_point(&p, &progress, err);
    if (st == QINS_OK)
        st = store(j, g, &p, err);
    if (st == QINS_OK)
        st = report_point(j, g, &p, err);
    qn_point_work_finish(&p);
    return st;
}

static enum qins_status fit_all(struct job *j, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    j->t.n_inputs = j->n_groups;
    j->t.n_layers = j->layers.n;
    j->t.inputs = calloc(j->n_groups, sizeof *j->t.inputs);
    j->t.layers = calloc(j->layers.n, sizeof *j->t.layers);
    j->inputs = json_array();
    j->reports = json_array();
    if (!j->t.inputs || !j->t.layers || !j->inputs || !j->reports)
        return qn_fail_memory(err);
    j->trials = qn_search_trials(&j->o) * j->n_groups;
    for (size_t i = 0; i < j->n_groups && st == QINS_OK; i++)
        st = fit_group(j, &j->groups[i], err);
    return st;
}

static json_t *make_study(struct job *j)
{
    json_t *s = qn_report_begin(REPORT_SCHEMA);
    qn_json_put(&s, "model", qn_json_text(qn_path_base(j->m->path)));
    qn_json_put(&s, "model_fingerprint", qn_json_digest(&j->t.model));
    qn_json_put(&s, "calibration", qn_json_text(qn_path_base(j->calibration)));
    qn_json_put(&s, "calibration_fingerprint", qn_json_digest(&j->t.calibration));
    qn_json_put(&s, "settings", qn_transport_report_settings(&j->o, j->levels));
    qn_json_put(&s, "inputs", json_incref(j->inputs));
    qn_json_put(&s, "layers", json_incref(j->reports));
    qn_json_put(&s, "skipped", json_incref(j->skipped));
    return s;
}

static enum qins_status open_inputs(struct job *j, const char *model, struct qins_error *err)
{
    enum qins_status st = qn_linalg_init(err);
    if (st == QINS_OK) /* before threads: libhdf5 runs in a process of its own */
        st = qn_calibration_open(&j->file, j->calibration, false, j->monitor, err);
    if (st == QINS_OK && j->file.c.n_kept == 0)
        st = no_rows(j, err);
    if (st == QINS_OK)
        st = qn_hash_file(j->calibration, &j->t.calibration, err);
    if (st == QINS_OK)
        st = qn_model_open(&j->m, model, j->o.threads, j->monitor, err);
    if (st != QINS_OK)
        return st;
    j->t.model = j->m->fingerprint;
    st = qn_calibration_check_model(&j->file.c, j->calibration, &j->t.model, model, err);
    if (st == QINS_OK)
        st = qn_fitted_layers_select(j->m, j->o.layers, &j->layers, err);
    if (st == QINS_OK)
        st = qn_taps_init(&j->taps, j->m, err);
    j->skipped = json_array();
    if (st == QINS_OK && !j->skipped)
        st = qn_fail_memory(err);
    return st == QINS_OK ? group_layers(j, err) : st;
}

static void finish(struct job *j)
{
    qn_transport_finish(&j->t);
    qn_calibration_close(&j->file);
    qn_taps_finish(&j->taps);
    free(j->layers.items);
    free(j->groups);
    json_decref(j->inputs);
    json_decref(j->reports);
    json_decref(j->skipped);
    qn_model_destroy(j->m);
}

/* OUT without its ".h5", and with ".json". */
static char *report_path(const char *out, struct qins_error *err)
{
    const size_t n = strlen(out) - (qn_has_suffix(out, ".h5") ? strlen(".h5") : 0);
    return qn_format(err, "%.*s.json", (int)n, out);
}

/* What varies from run to run is told, and not kept. */
static enum qins_status tell(const struct job *j, const char *out, double seconds, json_t **report,
                             struct qins_error *err)
{
    struct stat info;
    json_t *r = json_copy(j->t.study);
    const uint64_t bytes = stat(out, &info) == 0 ? (uint64_t)info.st_size : 0;
    qn_json_put(&r, "output", qn_json_text(out));
    qn_json_put(&r, "output_bytes", json_integer((json_int_t)bytes));
    qn_json_put(&r, "seconds", qn_json_real(seconds));
    qn_json_put(&r, "threads", json_integer(j->o.threads));
    *report = r;
    return r ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status write_result(struct job *j, const char *out, const char *path,
                                     struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    j->t.study = make_study(j);
    if (!j->t.study)
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_transport_check(&j->t, err);
    if (st == QINS_OK)
        st = qn_transport_write(&j->t, out, j->monitor, err);
    return st == QINS_OK ? qn_json_save(path, j->t.study, err) : st;
}

enum qins_status qn_transport_make(const char *model, const char *calibration, const char *out,
                                   const struct qn_transport_options *options,
                                   const struct qn_monitor *monitor, json_t **report,
                                   struct qins_error *err)
{
    struct job j = {.calibration = calibration, .o = *options, .monitor = monitor};
    const double begun = qn_seconds();
    char *path = report_path(out, err);
    enum qins_status st = path ? check_options(&j, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_refuse_model_input(model, &calibration, 1, out, err);
    if (st == QINS_OK)
        st = qn_refuse_model_input(model, &calibration, 1, path, err);
    if (st == QINS_OK)
        st = open_inputs(&j, model, err);
    if (st == QINS_OK)
        st = fit_all(&j, err);
    if (st == QINS_OK)
        st = write_result(&j, out, path, err);
    if (st == QINS_OK && report)
        st = tell(&j, out, qn_seconds() - begun, report, err);
    finish(&j);
    free(path);
    return st;
}
