/* Pages of V caches in a report, one line a layer: what their codes' entropies are, and what coders
 * really make of them. */
#include "analyze/kv_study.h"
#include "analyze/report_build.h"
#include "analyze/report_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "V cache"

struct qn_report_kv {
    struct qn_kv_file file;
    struct qn_kv_figures *layers;
};

enum qins_status qn_report_open_kv(struct qn_report_builder *b, struct qins_error *err)
{
    if (!b->options->kv)
        return QINS_OK;
    b->kv = calloc(1, sizeof *b->kv);
    if (!b->kv)
        return qn_fail_memory(err);
    enum qins_status st = qn_kv_file_read(&b->kv->file, b->options->kv, b->monitor, err);
    if (st == QINS_OK && memcmp(&b->fingerprint, &b->kv->file.model, sizeof b->fingerprint) != 0)
        st = qn_fail_at(err, QINS_ERR_FORMAT, b->options->kv, NULL, QN_NO_OFFSET,
                        "the pages are of another model: fingerprints differ");
    return st;
}

void qn_report_close_kv(struct qn_report_builder *b)
{
    if (!b->kv)
        return;
    qn_kv_file_finish(&b->kv->file);
    free(b->kv->layers);
    free(b->kv);
    b->kv = NULL;
}

static json_t *integer(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static double per_value(double bytes, const struct qn_kv_figures *s)
{
    return 8.0 * bytes / (double)s->values;
}

/* With headers and scales. */
static json_t *rate(uint64_t bytes, const struct qn_kv_figures *s)
{
    const double bits = per_value((double)bytes, s);
    json_t *j = json_object();
    qn_json_put(&j, "bytes", integer(bytes));
    qn_json_put(&j, "bits_per_value", qn_json_real(bits));
    qn_json_put(&j, "ratio_f16", qn_json_real(16.0 / bits));
    qn_json_put(&j, "ratio_f32", qn_json_real(32.0 / bits));
    return j;
}

static json_t *by_coder(const struct qn_kv_figures *s)
{
    json_t *j = json_object();
    for (int id = 0; id < QN_CODEC_COUNT; id++)
        qn_json_put(&j, qn_codec_name((enum qn_codec_id)id),
                    qn_json_real(per_value((double)s->coded[id], s)));
    return j;
}

static void put_pages(json_t **j, const struct qn_kv_figures *s)
{
    qn_json_put(j, "pages", integer(s->pages));
    qn_json_put(j, "old_pages", integer(s->old_pages));
    qn_json_put(j, "header_bytes", integer(s->header_bytes));
    qn_json_put(j, "scale_bytes", integer(s->scale_bytes));
    qn_json_put(j, "order1_time_bits", qn_json_real(s->order1_time_bits));
    qn_json_put(j, "packed", rate(s->coded[QN_CODEC_BITPACK], s));
    qn_json_put(j, "recoded", rate(s->recoded, s));
    qn_json_put(j, "held", rate(s->held, s));
}

static json_t *statistics(const struct qn_kv_figures *s)
{
    const double n = (double)s->values;
    json_t *j = json_object();
    qn_json_put(&j, "zeros", qn_json_real(s->zeros));
    qn_json_put(&j, "min", qn_json_real(s->min));
    qn_json_put(&j, "max", qn_json_real(s->max));
    qn_json_put(&j, "abs_max", qn_json_real(fmax(s->max, -s->min)));
    qn_json_put(&j, "mean", qn_json_real(s->sum / n));
    qn_json_put(&j, "mean_abs", qn_json_real(s->magnitudes / n));
    qn_json_put(&j, "rms", qn_json_real(sqrt(s->squares / n)));
    return j;
}

static json_t *encoded(const struct qn_kv_figures *s)
{
    json_t *j = json_object();
    qn_json_put(&j, "elements", integer(s->values));
    qn_json_put(&j, "bits_by_coder", by_coder(s));
    qn_json_put(&j, "entropy_bits", qn_json_real(s->across.entropy_bits));
    qn_json_put(&j, "order1_bits", qn_json_real(s->across.order1_bits));
    qn_json_put(&j, "run_bits", qn_json_real(s->across.run_bits));
    qn_json_put(&j, "zero_share", qn_json_real(s->across.zero_share));
    return j;
}

static json_t *chosen(const struct qn_kv_layout *l, const struct qn_kv_figures *s)
{
    json_t *j = json_object();
    qn_json_put(&j, "from", json_string("pages"));
    qn_json_put(&j, "levels", json_integer(qn_kv_levels(l)));
    qn_json_put(&j, "kappa", qn_json_real((double)l->kappa));
    qn_json_put(&j, "bits", json_integer(l->bits));
    qn_json_put(&j, "codec", json_string(s->old_pages ? "packed, old ones coded" : "bitpack"));
    qn_json_put(&j, "sqnr_db", json_null());
    qn_json_put(&j, "bits_per_weight", qn_json_real(per_value((double)s->held, s)));
    return j;
}

/* The matrix that makes the layer's values: its name and the entropy of its codes. */
static json_t *weight_of(const json_t *tensors, uint32_t layer, const char *bits)
{
    static const char *const names[] = {"v_proj",          "wv",     "attn_v", "qkv_proj",
                                        "query_key_value", "c_attn", "qkv"};
    const json_t *t;
    size_t i;
    json_array_foreach(tensors, i, t)
    {
        const double entropy = qn_report_number(json_object_get(t, "entropy_bits"), bits);
        if (qn_report_number(t, "layer") != (double)layer || isnan(entropy) ||
            strcmp(qn_report_text(t, "kind"), "weight") != 0)
            continue;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (strcmp(qn_report_text(t, "component"), names[k]) == 0) {
                json_t *j = json_object();
                qn_json_put(&j, "name", json_string(qn_report_text(t, "name")));
                qn_json_put(&j, "component", json_string(names[k]));
                qn_json_put(&j, "entropy_bits", qn_json_real(entropy));
                return j;
            }
    }
    return json_null();
}

static json_t *describe(const struct qn_report_builder *b, uint32_t number)
{
    const struct qn_kv_layout *l = &b->kv->file.layout;
    const struct qn_kv_figures *s = &b->kv->layers[number];
    char name[32], bits[16];
    json_t *j = json_object(), *kv = json_object(), *shape = json_array(), *rates = json_object(),
           *coders = json_object();
    snprintf(name, sizeof name, "layer %u: V pages", number);
    snprintf(bits, sizeof bits, "%u", l->bits);
    qn_json_append(&shape, integer(s->pages * l->tokens));
    qn_json_append(&shape, integer((uint64_t)l->heads * l->head_dim));
    qn_json_put(&rates, bits, qn_json_real(s->across.entropy_bits));
    qn_json_put(&coders, bits, by_coder(s));
    put_pages(&kv, s);
    qn_json_put(&kv, "weight", weight_of(b->tensors, number, bits));
    qn_json_put(&j, "name", json_string(name));
    qn_json_put(&j, "kind", json_string("kv page"));
    qn_json_put(&j, "component", json_string(COMPONENT));
    qn_json_put(&j, "layer", json_integer(number));
    qn_json_put(&j, "dtype", json_string("F32"));
    qn_json_put(&j, "shape", shape);
    qn_json_put(&j, "numel", integer(s->values));
    qn_json_put(&j, "source_bytes", integer(s->values * sizeof(float)));
    qn_json_put(&j, "access_frequency", json_null());
    qn_json_put(&j, "class", json_string(qn_class_name(QN_CLASS_UNKNOWN)));
    qn_json_put(&j, "granularity", json_null());
    qn_json_put(&j, "statistics", statistics(s));
    qn_json_put(&j, "remarks", json_array());
    qn_json_put(&j, "entropy_bits", rates);
    qn_json_put(&j, "coded_bits", coders);
    qn_json_put(&j, "encoded", encoded(s));
    qn_json_put(&j, "chosen", chosen(l, s));
    qn_json_put(&j, "kv", kv);
    return j;
}

enum qins_status qn_report_add_kv(struct qn_report_builder *b, struct qins_error *err)
{
    if (!b->kv)
        return QINS_OK;
    struct qn_report_kv *k = b->kv;
    k->layers = calloc(k->file.n_layers, sizeof *k->layers);
    if (!k->layers) {
        qn_fail_memory(err);
        return QINS_ERR_MEMORY;
    }
    enum qins_status st = qn_kv_study(&k->file, b->options->threads, b->monitor, k->layers, err);
    if (st != QINS_OK && st != QINS_ERR_INTERRUPTED)
        qn_error_in_file(err, st, b->options->kv);
    for (uint32_t i = 0; i < k->file.n_layers && st == QINS_OK; i++)
        if (json_array_append_new(b->tensors, describe(b, i)) != 0)
            st = qn_fail_memory(err);
    return st;
}

static uint64_t sequences(const struct qn_kv_layer *l)
{
    uint64_t n = 0;
    for (size_t i = 0; i < l->n_places; i++)
        n += i == 0 || l->places[i].sequence != l->places[i - 1].sequence;
    return n;
}

json_t *qn_report_kv_section(const struct qn_report_builder *b)
{
    if (!b->kv)
        return json_null();
    const struct qn_kv_file *f = &b->kv->file;
    const struct qn_kv_layout *l = &f->layout;
    struct qn_kv_figures all;
    json_t *j = json_object();
    qn_kv_figures_sum_up(b->kv->layers, f->n_layers, &all);
    qn_json_put(&j, "path", qn_json_text(b->options->kv));
    qn_json_put(&j, "text_fingerprint", qn_json_digest(&f->text));
    qn_json_put(&j, "bits", json_integer(l->bits));
    qn_json_put(&j, "levels", json_integer(qn_kv_levels(l)));
    qn_json_put(&j, "kappa", qn_json_real((double)l->kappa));
    qn_json_put(&j, "heads", json_integer(l->heads));
    qn_json_put(&j, "head_dim", json_integer(l->head_dim));
    qn_json_put(&j, "page_tokens", json_integer(l->tokens));
    qn_json_put(&j, "page_scales", integer((uint64_t)l->tokens * qn_kv_groups(l)));
    qn_json_put(&j, "layers", json_integer(f->n_layers));
    qn_json_put(&j, "sequences", integer(sequences(&f->layers[0])));
    qn_json_put(&j, "values", integer(all.values));
    put_pages(&j, &all);
    qn_json_put(&j, "encoded", encoded(&all));
    return j;
}
