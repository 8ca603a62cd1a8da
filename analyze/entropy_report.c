#include "analyze/entropy_report.h"
#include "analyze/page.h"
#include "analyze/plot_model.h"
#include "analyze/report_build.h"
#include "analyze/report_json.h"

#include "core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_JSON   "entropy_analysis.json"
#define REPORT_CURVES "entropy_analysis.h5"
#define REPORT_PAGE   "index.html"

static enum qins_status open_inputs(struct qn_report_builder *b, const char *path,
                                    struct qins_error *err)
{
    const struct qn_analyze_options *o = b->options;
    enum qins_status st = qn_source_open(&b->source, path, b->monitor, err);
    if (st == QINS_OK)
        st = qn_source_run(b->source, NULL, o->threads, b->monitor, &b->fingerprint, err);
    if (st == QINS_OK && o->calibration) {
        st = qn_calibration_open(&b->calibration, o->calibration, QN_CALIBRATION_WHOLE, b->monitor,
                                 err);
        b->has_calibration = st == QINS_OK;
    }
    if (st == QINS_OK && o->plan) {
        st = qn_plan_load(o->plan, &b->plan, err);
        b->has_plan = st == QINS_OK;
    }
    if (st == QINS_OK && o->archive)
        st = qn_archive_open(&b->archive, o->archive, err);
    if (st == QINS_OK)
        st = qn_report_open_transport(b, path, err);
    if (st == QINS_OK)
        st = qn_report_open_kv(b, err);
    if (st == QINS_OK)
        st = qn_curves_init(&b->curves, err);
    b->extra = st == QINS_OK ? calloc(1, sizeof *b->extra) : NULL;
    b->tensors = json_array();
    if (st == QINS_OK && (!b->extra || !b->tensors))
        st = qn_fail_memory(err);
    for (size_t i = 0; st == QINS_OK && i < b->source->n_tensors; i++)
        b->source_bytes += b->source->tensors[i].tensor->n_bytes;
    b->total += b->source_bytes;
    return st;
}

static void finish(struct qn_report_builder *b)
{
    json_decref(b->tensors);
    free(b->extra);
    qn_curves_finish(&b->curves);
    qn_archive_destroy(b->archive);
    qn_plan_finish(&b->plan);
    qn_report_close_transport(b);
    qn_report_close_kv(b);
    if (b->has_calibration)
        qn_calibration_close(&b->calibration);
    qn_source_destroy(b->source);
}

/* Whether the source has a tensor of this name and shape. */
static bool has_tensor(const struct qn_report_builder *b, const char *name, unsigned rank,
                       const uint64_t *shape)
{
    const size_t index = qn_source_find(b->source, name);
    const struct qn_tensor *t = index != SIZE_MAX ? b->source->tensors[index].tensor : NULL;
    return t && t->rank == rank && memcmp(t->shape, shape, rank * sizeof *shape) == 0;
}

/* Figures of another model's plan or archive would stand beside this one's. */
static enum qins_status check_same_model(const struct qn_report_builder *b, struct qins_error *err)
{
    const struct qn_analyze_options *o = b->options;
    for (size_t i = 0; b->has_plan && i < b->plan.count; i++) {
        const struct qn_plan_tensor *t = &b->plan.tensors[i];
        if (!has_tensor(b, t->name, t->rank, t->shape))
            return qn_fail_at(err, QINS_ERR_FORMAT, o->plan, t->name, QN_NO_OFFSET,
                              "the plan is of another model: no such tensor of this shape");
    }
    const size_t archived = b->archive ? qn_manifest_own_tensors(&b->archive->manifest) : 0;
    for (size_t i = 0; i < archived; i++) {
        const struct qn_tensor *t = &b->archive->manifest.tensors[i].tensor;
        if (!has_tensor(b, t->name, t->rank, t->shape))
            return qn_fail_at(err, QINS_ERR_FORMAT, o->archive, t->name, QN_NO_OFFSET,
                              "the archive is of another model: no such tensor of this shape");
    }
    return QINS_OK;
}

/* Where what was given says little of this model. */
static void check_match(const struct qn_report_builder *b)
{
    size_t known = 0, points = 0;
    const struct qn_calibration *c = &b->calibration.c;
    for (size_t i = 0; b->has_plan && i < b->source->n_tensors; i++)
        known += qn_plan_find(&b->plan, b->source->tensors[i].tensor->name) != NULL;
    if (b->has_plan && known < b->source->n_tensors)
        qn_notice(b->monitor, "the plan %s knows %zu of the %zu tensors", b->options->plan, known,
                  b->source->n_tensors);
    for (size_t i = 0; b->has_calibration && i < c->n_points; i++)
        for (int k = 0; k < QN_POINT_TENSORS && c->points[i].tensors[k]; k++)
            points += qn_source_find(b->source, c->points[i].tensors[k]) != SIZE_MAX;
    if (b->has_calibration && points == 0)
        qn_notice(b->monitor, "no tensor of the calibration %s is in this checkpoint",
                  b->options->calibration);
}

static json_t *describe_model(const struct qn_report_builder *b, const char *path, long layers)
{
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(path));
    qn_json_put(&j, "fingerprint", qn_json_digest(&b->fingerprint));
    qn_json_put(&j, "format", json_string(b->source->format));
    qn_json_put(&j, "tensors", json_integer((json_int_t)b->source->n_tensors));
    qn_json_put(&j, "matrices", json_integer((json_int_t)b->sums.matrices));
    qn_json_put(&j, "layers", json_integer(layers));
    qn_json_put(&j, "float_elements", json_integer((json_int_t)b->sums.float_elements));
    qn_json_put(&j, "matrix_elements", json_integer((json_int_t)b->sums.matrix_elements));
    qn_json_put(&j, "source_bytes", json_integer((json_int_t)b->source_bytes));
    return j;
}

static json_t *describe_file(const char *path, uint64_t tokens)
{
    if (!path)
        return json_null();
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(path));
    if (tokens)
        qn_json_put(&j, "tokens", json_integer((json_int_t)tokens));
    return j;
}

static json_t *describe_archive(const struct qn_report_builder *b)
{
    json_t *j = describe_file(b->options->archive, 0);
    if (!b->archive)
        return j;
    qn_json_put(&j, "archive_hash", qn_json_digest(&b->archive->body_hash));
    qn_json_put(&j, "archive_bytes", json_integer((json_int_t)b->archive->file.size));
    qn_json_put(&j, "bits_per_weight", qn_json_real(qn_archive_bits_per_weight(b->archive)));
    return j;
}

/* Bits a weight that each tensor really takes in the archive: its payloads. */
static enum qins_status put_archived(const struct qn_report_builder *b, struct qins_error *err)
{
    const struct qn_archive *a = b->archive;
    for (size_t i = 0; a && i < qn_manifest_own_tensors(&a->manifest); i++) {
        const struct qn_archive_tensor *t = &a->manifest.tensors[i];
        size_t index = qn_source_find(b->source, t->tensor.name);
        double bytes = t->tensor.rank == 0 ? (double)t->tensor.n_bytes : 0.0;
        for (uint64_t k = 0; k < t->layout.n_chunks; k++)
            bytes += (double)a->chunks[t->first_chunk + k].size;
        if (index == SIZE_MAX)
            continue;
        /* weights stand in the report in the order of the source */
        if (json_object_set_new(json_array_get(b->tensors, index), "archived_bits",
                                qn_json_real(8.0 * bytes / (double)t->tensor.n_elements)) != 0)
            return qn_fail_memory(err);
    }
    return QINS_OK;
}

/* The whole archive as the plan itself predicts it, else its tensors' payloads. */
static double planned_bytes(const struct qn_report_builder *b)
{
    const json_t *whole = json_object_get(b->plan.summary, "predicted_bytes");
    if (!b->has_plan)
        return 0.0;
    return json_is_number(whole) ? json_number_value(whole) : b->plan_bytes;
}

static enum qins_status assemble(struct qn_report_builder *b, const char *path, json_t **report,
                                 struct qins_error *err)
{
    long layers;
    json_t *access = NULL, *transport = NULL, *kinds = qn_report_kinds(b->tensors, &layers);
    enum qins_status st = qn_report_access(b, &access, err);
    if (st == QINS_OK)
        st = qn_report_transport(b, &transport, err);
    if (st == QINS_OK)
        st = put_archived(b, err);
    json_t *j = qn_report_begin(QN_ENTROPY_SCHEMA);
    qn_json_put(&j, "model", describe_model(b, path, layers));
    qn_json_put(&j, "calibration", describe_file(b->options->calibration, b->calibration.c.tokens));
    qn_json_put(&j, "plan", describe_file(b->options->plan, 0));
    qn_json_put(&j, "archive", describe_archive(b));
    qn_json_put(&j, "sizes",
                qn_report_sizes(&b->sums, planned_bytes(b),
                                b->archive ? (double)b->archive->file.size : 0.0));
    qn_json_put(&j, "comparison", qn_report_comparison(&b->sums));
    qn_json_put(&j, "extra_compression", qn_extra_sum_to_json(b->extra, b->sums.matrix_elements));
    qn_json_put(&j, "access", access);
    qn_json_put(&j, "transport", transport);
    qn_json_put(&j, "kv", qn_report_kv_section(b));
    qn_json_put(&j, "kinds", kinds);
    qn_json_put(&j, "tensors", json_incref(b->tensors));
    *report = j;
    return st == QINS_OK && !j ? qn_fail_memory(err) : st;
}

static enum qins_status study(struct qn_report_builder *b, const char *path, json_t **report,
                              struct qins_error *err)
{
    enum qins_status st = open_inputs(b, path, err);
    if (st == QINS_OK)
        st = check_same_model(b, err);
    if (st == QINS_OK)
        check_match(b);
    for (size_t i = 0; st == QINS_OK && i < b->source->n_tensors; i++) {
        st = qn_check_stop(b->monitor, err);
        if (st == QINS_OK)
            st = qn_error_in_file(err, qn_report_add_tensor(b, i, err), path);
    }
    if (st == QINS_OK)
        st = qn_report_add_planes(b, err);
    if (st == QINS_OK)
        st = qn_report_add_activations(b, err);
    if (st == QINS_OK)
        st = qn_report_add_kv(b, err);
    if (st == QINS_OK)
        st = qn_source_check_unchanged(b->source, err);
    return st == QINS_OK ? assemble(b, path, report, err) : st;
}

/* Plots and page, of what stands in DIR. */
static enum qins_status draw(const char *dir, const json_t *report,
                             const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_plotter p = {0};
    struct qn_plot_input in = {.report = report};
    char *curves = qn_path_join(dir, REPORT_CURVES, err),
         *page = qn_path_join(dir, REPORT_PAGE, err);
    enum qins_status st = curves && page ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_checkpoint_open(&in.curves, curves, NULL, err);
    if (st == QINS_OK)
        st = qn_plotter_init(&p, dir, err);
    if (st == QINS_OK)
        st = qn_plot_model(&p, &in, err);
    if (st == QINS_OK)
        st = qn_plot_access(&p, &in, err);
    if (st == QINS_OK)
        st = qn_plot_transport(&p, &in, err);
    if (st == QINS_OK)
        st = qn_plot_kv(&p, &in, err);
    if (st == QINS_OK)
        st = qn_plot_tensors(&p, &in, monitor, err);
    if (st == QINS_OK)
        st = qn_plotter_draw(&p, monitor, err);
    if (st == QINS_OK)
        st = qn_plotter_place(&p, err);
    if (st == QINS_OK)
        st = qn_page_write(page, report, &p, err);
    qn_plotter_finish(&p);
    qn_checkpoint_destroy(in.curves);
    free(curves);
    free(page);
    return st;
}

static enum qins_status save(const struct qn_report_builder *b, const char *dir,
                             const json_t *report, struct qins_error *err)
{
    char *json = qn_path_join(dir, REPORT_JSON, err),
         *curves = qn_path_join(dir, REPORT_CURVES, err);
    enum qins_status st = json && curves ? qn_make_directories(dir, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_curves_write(&b->curves, curves, b->monitor, err);
    if (st == QINS_OK)
        st = qn_json_save(json, report, err);
    free(json);
    free(curves);
    return st;
}

enum qins_status qn_analyze(const char *path, const char *dir,
                            const struct qn_analyze_options *options,
                            const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err)
{
    struct qn_report_builder b = {.options = options, .monitor = monitor, .curves.fd = -1};
    *report = NULL;
    enum qins_status st = study(&b, path, report, err);
    if (st == QINS_OK)
        st = save(&b, dir, *report, err);
    finish(&b);
    if (st == QINS_OK)
        st = draw(dir, *report, monitor, err);
    if (st != QINS_OK) {
        json_decref(*report);
        *report = NULL;
    }
    return st;
}

enum qins_status qn_replot(const char *dir, const struct qn_monitor *monitor, json_t **report,
                           struct qins_error *err)
{
    char *path = qn_path_join(dir, REPORT_JSON, err);
    *report = NULL;
    enum qins_status st = path ? qn_report_load(path, report, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = draw(dir, *report, monitor, err);
    if (st != QINS_OK) {
        json_decref(*report);
        *report = NULL;
    }
    free(path);
    return st;
}
