#include "analyze/validate_report.h"

#include "model/fused.h"
#include "model/kv_report.h"

#include <math.h>
#include <string.h>

const char *const qn_validation_keys[QN_PREDICTORS] = {"model", "candidate"};

json_t *qn_compute_figures(const struct qn_compute_counts *c)
{
    const struct {
        const char *name;
        uint64_t count;
        bool per_forward;
    } counts[] = {
        {"forwards", c->forwards, false},
        {"products", c->products, true},
        {"encodes", c->encodes, true},
        {"decodes", c->decodes, true},
        {"plane_products", c->plane_products, true},
        {"coded_values", c->values, false},
        {"clipped_values", c->clipped, false},
        {"clamped_outputs", c->clamped, false},
    };
    json_t *j = json_object(), *each = json_object();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        qn_json_put(&j, counts[i].name, json_integer((json_int_t)counts[i].count));
        if (counts[i].per_forward)
            qn_json_put(&each, counts[i].name,
                        qn_json_real((double)counts[i].count / (double)c->forwards));
    }
    qn_json_put(&j, "per_forward", each);
    return j;
}

static json_t *describe_model(const struct qn_model *m)
{
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(m->path));
    qn_json_put(&j, "fingerprint", qn_json_digest(&m->fingerprint));
    qn_json_put(&j, "model_type", json_string(m->config.arch->model_type));
    qn_json_put(&j, "layers", json_integer((json_int_t)m->config.n_layers));
    qn_json_put(&j, "parameters", json_integer((json_int_t)m->n_parameters));
    if (m->archive.bytes > 0) {
        qn_json_put(&j, "archive_hash", qn_json_digest(&m->archive.hash));
        qn_json_put(&j, "archive_bytes", json_integer((json_int_t)m->archive.bytes));
        qn_json_put(&j, "bits_per_weight", qn_json_real(m->archive.bits_per_weight));
    }
    if (m->native)
        qn_json_put(&j, "native", json_true());
    qn_fused_report(&j, m);
    return j;
}

static json_t *describe_text(const struct qn_validation *v)
{
    const struct qn_validate_options *o = v->options;
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(o->ids ? o->ids : o->text));
    qn_json_put(&j, "fingerprint", qn_json_digest(&v->corpus.text_digest));
    qn_json_put(&j, "tokenizer_fingerprint",
                o->ids ? json_null() : qn_json_digest(&v->corpus.tokenizer_digest));
    qn_json_put(&j, "tokens", json_integer((json_int_t)v->corpus.ids.count));
    return j;
}

void qn_count_name(json_t **counts, const char *name)
{
    qn_json_put(counts, name, json_integer(json_integer_value(json_object_get(*counts, name)) + 1));
}

static json_t *describe_transport(const struct qn_validation *v)
{
    const struct qn_transport *t = &v->transport;
    json_t *j = json_object(), *projections = json_object(), *methods = json_object();
    for (size_t i = 0; i < t->n_layers; i++) {
        qn_count_name(&projections, qn_projection_name(t->layers[i].projection));
        qn_count_name(&methods, qn_transport_method_name(t->inputs[t->layers[i].input].method));
    }
    qn_json_put(&j, "path", qn_json_text(v->options->transport));
    qn_json_put(&j, "calibration_fingerprint", qn_json_digest(&t->calibration));
    qn_json_put(&j, "layers", json_integer((json_int_t)t->n_layers));
    qn_json_put(&j, "projections", projections);
    qn_json_put(&j, "methods", methods);
    return j;
}

static json_t *describe_dump(const struct qn_validation *v)
{
    json_t *j = json_object();
    qn_json_put(&j, "path", qn_json_text(v->options->dump_kv));
    qn_json_put(&j, "windows", json_integer((json_int_t)v->dumped.windows));
    qn_json_put(&j, "pages", json_integer((json_int_t)v->dumped.pages));
    qn_json_put(&j, "old_pages", json_integer((json_int_t)v->dumped.old_pages));
    qn_json_put(&j, "bytes", json_integer((json_int_t)v->dumped.bytes));
    return j;
}

json_t *qn_validation_kv(const struct qn_model_config *config, const struct qn_kv_options *kv,
                         const struct qn_kv_counts *counts, const char *note, bool partial)
{
    json_t *j = qn_kv_report(config, kv, counts);
    if (note[0])
        qn_json_put(&j, "note", qn_json_text(note));
    if (partial)
        qn_json_put(&j, "partial", json_true());
    return j;
}

/* The candidate's V cache as it was counted while tests ran. */
static json_t *describe_kv(const struct qn_validation *v)
{
    enum { LAST = QN_PREDICTORS - 1 };
    json_t *j = qn_validation_kv(&v->models[LAST]->config, &v->kv[LAST], &v->kv_counts, v->kv_note,
                                 v->resumed > 0);
    if (v->options->dump_kv)
        qn_json_put(&j, "dump", describe_dump(v));
    return j;
}

json_t *qn_validation_describe(const struct qn_validation *v)
{
    json_t *j = qn_report_begin("qins/validation/1");
    for (int i = 0; i < QN_PREDICTORS; i++)
        if (v->models[i])
            qn_json_put(&j, qn_validation_keys[i], describe_model(v->models[i]));
    if (v->options->transport)
        qn_json_put(&j, "transport", describe_transport(v));
    if (v->kv[QN_PREDICTORS - 1].bits)
        qn_json_put(&j, "kv_cache", describe_kv(v));
    qn_json_put(&j, "text", describe_text(v));
    return j;
}

bool qn_validation_bar(json_t **thresholds, const char *name, double value, const char *comparison,
                       double bar, const char *source)
{
    bool passed = false;
    if (strcmp(comparison, "<=") == 0)
        passed = value <= bar;
    else if (strcmp(comparison, "<") == 0)
        passed = value < bar;
    else if (strcmp(comparison, ">=") == 0)
        passed = value >= bar;
    else if (strcmp(comparison, ">") == 0)
        passed = value > bar;
    passed = passed && isfinite(value);
    json_t *j = json_object();
    qn_json_put(&j, "value", qn_json_real(value));
    qn_json_put(&j, "bar", qn_json_real(bar));
    qn_json_put(&j, "comparison", json_string(comparison));
    qn_json_put(&j, "passed", json_boolean(passed));
    qn_json_put(&j, "source", json_string(source));
    qn_json_put(thresholds, name, j);
    return passed;
}

enum qins_status qn_validation_end(enum qins_status st, json_t *j, json_t **result,
                                   struct qins_error *err)
{
    if (st == QINS_OK && !j)
        st = qn_fail_memory(err);
    if (st != QINS_OK) {
        json_decref(j);
        j = NULL;
    }
    *result = j;
    return st;
}
