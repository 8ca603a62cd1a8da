#include "convert/transport.h"

#include "convert/sources.h"
#include "convert/transport_job.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/linalg.h"
#include "formats/codec/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    LEAST_BITS = 6,
    MOST_BITS = 8,         /* of a coded input */
    MAX_REPORT = 64 << 20, /* bytes of an earlier one; theirs are some KB a layer */
};
#define LEAST_CLIP    0.01F /* as of convert */
#define USELESS       0.5   /* mean |dy| over mean |y| */
#define REPORT_SCHEMA "qins/transport/1"

static enum qins_status check_options(struct qn_transport_job *j, struct qins_error *err)
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
    if (!(o->kappa <= QN_MAX_KAPPA))
        return qn_fail(err, QINS_ERR_USAGE,
                       "'--kappa %g': 'auto' or a number from 0 to %g is needed", (double)o->kappa,
                       (double)QN_MAX_KAPPA);
    if (!(o->clip <= 1.0F) || (o->clip >= 0.0F && o->clip < LEAST_CLIP))
        return qn_fail(err, QINS_ERR_USAGE,
                       "'--clip %g': 'auto' or a number from %g to 1 is needed", (double)o->clip,
                       (double)LEAST_CLIP);
    if (o->sign_plane && !splits)
        return qn_fail(err, QINS_ERR_USAGE, "only the method 'split' has a sign plane");
    if (o->sign_plane && o->max_order == 1)
        return qn_fail(
            err, QINS_ERR_USAGE,
            "'--sign-plane' takes a plane of its own: '--planes' of 2 or more is needed");
    if ((o->order || o->max_order) && !splits && o->method != QN_RIDGE)
        return qn_fail(err, QINS_ERR_USAGE, "the method '%s' has no order",
                       qn_transport_method_name(o->method));
    if (o->kappa == 0.0F && qn_transport_is_jacobian(o->method))
        return qn_fail(err, QINS_ERR_USAGE, "the method '%s' needs a kappa above 0",
                       qn_transport_method_name(o->method));
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
static enum qins_status store_layers(struct qn_transport_job *j, const struct qn_transport_group *g,
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

static enum qins_status store(struct qn_transport_job *j, const struct qn_transport_group *g,
                              struct qn_point_work *p, struct qins_error *err)
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

static enum qins_status report_point(struct qn_transport_job *j, const struct qn_transport_group *g,
                                     const struct qn_point_work *p, struct qins_error *err)
{
    const size_t input = (size_t)(g - j->groups);
    enum qins_status st = qn_transport_append(
        j->inputs,
        qn_transport_report_input(p, &j->t.inputs[input], &j->file.c.points[g->point], g->first),
        err);
    for (size_t i = 0; i < p->n_layers && st == QINS_OK; i++)
        st = qn_transport_append(
            j->reports, qn_transport_report_layer(p, i, input, j->m->config.n_experts > 0), err);
    return st;
}

static void tick(void *ctx, size_t trials)
{
    struct qn_transport_job *j = ctx;
    j->trials_done += trials;
    qn_progress_of(j->monitor, "fit", "trials", j->trials_done, j->trials);
}

/* What is of no use is made all the same, but not without a word. */
static void warn(const struct qn_transport_job *j, const struct qn_point_work *p)
{
    const bool searched = j->o.kappa < 0.0F && j->o.clip < 0.0F &&
                          !qn_transport_is_jacobian(p->chosen->choice.method);
    for (size_t i = 0; i < p->n_layers; i++) {
        const double error = p->chosen->errors[i].select.relative;
        if (error >= USELESS)
            qn_notice(j->monitor, "%s: its error on select rows is %.3g %%%s",
                      p->layers[i].part.matrix->name, 100.0 * error,
                      searched ? ": its inputs have outliers that no shape or scale fits" : "");
    }
}

static enum qins_status fit_group(struct qn_transport_job *j, const struct qn_transport_group *g,
                                  struct qins_error *err)
{
    const struct qn_search_progress progress = {.tick = tick, .ctx = j, .monitor = j->monitor};
    struct qn_point_work p = {
        .o = &j->o, .levels = j->levels, .layers = j->layers.items + g->first, .n_layers = g->n};
    enum qins_status st = qn_transport_read_group(j, g, &p, err);
    if (st == QINS_OK)
        st = qn_search_point(&p, &progress, err);
    if (st == QINS_OK)
        warn(j, &p);
    if (st == QINS_OK)
        st = store(j, g, &p, err);
    if (st == QINS_OK)
        st = report_point(j, g, &p, err);
    qn_point_work_finish(&p);
    return st;
}

static enum qins_status fit_all(struct qn_transport_job *j, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    j->t.inputs = calloc(j->n_groups, sizeof *j->t.inputs);
    j->t.layers = calloc(j->layers.n, sizeof *j->t.layers);
    j->t.n_inputs = j->t.inputs ? j->n_groups : 0;
    j->t.n_layers = j->t.layers ? j->layers.n : 0;
    j->inputs = json_array();
    j->reports = json_array();
    if (!j->t.inputs || !j->t.layers || !j->inputs || !j->reports)
        return qn_fail_memory(err);
    j->trials = qn_search_trials(&j->o) * j->n_groups;
    for (size_t i = 0; i < j->n_groups && st == QINS_OK; i++)
        st = fit_group(j, &j->groups[i], err);
    return st;
}

static json_t *make_study(struct qn_transport_job *j)
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

static enum qins_status open_inputs(struct qn_transport_job *j, const char *model,
                                    struct qins_error *err)
{
    enum qins_status st = qn_linalg_init(err);
    if (st == QINS_OK) /* before threads: libhdf5 runs in a process of its own */
        st = qn_calibration_open(&j->file, j->calibration, QN_CALIBRATION_WHOLE, j->monitor, err);
    if (st == QINS_OK)
        st = qn_hash_file(j->calibration, &j->t.calibration, err);
    if (st == QINS_OK)
        st = qn_model_open_plain(&j->m, model, j->o.threads, j->monitor, err);
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
    return st == QINS_OK ? qn_transport_group_layers(j, err) : st;
}

static void finish(struct qn_transport_job *j)
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
static enum qins_status tell(const struct qn_transport_job *j, const char *out, double seconds,
                             json_t **report, struct qins_error *err)
{
    struct stat info;
    json_t *r = qn_json_copy(j->t.study);
    qn_json_put(&r, "output", qn_json_text(out));
    qn_json_put(&r, "output_bytes",
                stat(out, &info) == 0 ? json_integer((json_int_t)info.st_size) : json_null());
    qn_json_put(&r, "seconds", qn_json_real(seconds));
    qn_json_put(&r, "threads", json_integer(j->o.threads));
    *report = r;
    return r ? QINS_OK : qn_fail_memory(err);
}

/* That a report can be put at PATH, and that what stands there is an earlier one. */
static enum qins_status check_report(const char *path, struct qins_error *err)
{
    struct qn_output o;
    struct stat info;
    enum qins_status st = qn_output_create(&o, path, err);
    if (st != QINS_OK)
        return st;
    qn_output_abandon(&o);
    if (stat(path, &info) != 0)
        return QINS_OK;
    struct qins_error unread = {.status = QINS_OK};
    json_t *there = qn_json_load(path, MAX_REPORT, &unread);
    if (unread.status == QINS_ERR_MEMORY || unread.status == QINS_ERR_IO) {
        *err = unread;
        return unread.status;
    }
    const char *schema = json_string_value(json_object_get(there, "schema"));
    if (!schema || strcmp(schema, REPORT_SCHEMA) != 0)
        st = qn_fail_at(err, QINS_ERR_USAGE, path, NULL, QN_NO_OFFSET,
                        "the report goes there, and what is there is no transport's report; "
                        "choose another name by '-o'");
    json_decref(there);
    return st;
}

/* Both are written under other names before either is put in place. Their writers
 * replace the empty temporary files. */
static enum qins_status write_result(struct qn_transport_job *j, const char *out, const char *path,
                                     struct qins_error *err)
{
    struct qn_output transport = {.fd = -1}, report = {.fd = -1};
    enum qins_status st = QINS_OK;
    j->t.study = make_study(j);
    if (!j->t.study)
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_transport_check(&j->t, err);
    if (st == QINS_OK)
        st = qn_output_create(&report, path, err);
    if (st == QINS_OK)
        st = qn_json_save(report.temp_path, j->t.study, err);
    if (st == QINS_OK)
        st = qn_output_create(&transport, out, err);
    if (st == QINS_OK)
        st = qn_transport_write(&j->t, transport.temp_path, j->monitor, err);
    if (st == QINS_OK)
        st = qn_output_commit(&report, err);
    if (st == QINS_OK)
        st = qn_output_commit(&transport, err);
    qn_output_abandon(&report);
    qn_output_abandon(&transport);
    return st;
}

enum qins_status qn_transport_make(const char *model, const char *calibration, const char *out,
                                   const struct qn_transport_options *options,
                                   const struct qn_monitor *monitor, json_t **report,
                                   struct qins_error *err)
{
    struct qn_transport_job j = {.calibration = calibration, .o = *options, .monitor = monitor};
    const double begun = qn_seconds();
    char *path = report_path(out, err);
    enum qins_status st = path ? check_options(&j, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_refuse_model_input(model, &calibration, 1, out, err);
    if (st == QINS_OK)
        st = qn_refuse_model_input(model, &calibration, 1, path, err);
    if (st == QINS_OK)
        st = check_report(path, err);
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
