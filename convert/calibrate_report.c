#include "convert/calibrate_job.h"

#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>

static json_t *count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *point_report(const struct qn_calibration_point *p)
{
    const double values = (double)p->rows * p->channels;
    double sum_abs = 0.0, squares = 0.0, low = INFINITY, high = -INFINITY;
    json_t *j = json_object();
    for (uint32_t i = 0; i < p->channels; i++) {
        sum_abs += qn_point_sum(p, QN_SUM_ABS)[i];
        squares += qn_point_sum(p, QN_SUM_SQUARES)[i];
        low = fmin(low, (double)p->min[i]);
        high = fmax(high, (double)p->max[i]);
    }
    qn_json_put(&j, "name", qn_json_text(p->name));
    qn_json_put(&j, "kind", json_string(qn_tap_kind_name(p->kind)));
    qn_json_put(&j, "layer", p->layer == QN_POINT_NONE ? json_null() : count(p->layer));
    qn_json_put(&j, "expert", p->expert == QN_POINT_NONE ? json_null() : count(p->expert));
    qn_json_put(&j, "channels", count(p->channels));
    qn_json_put(&j, "rows", count(p->rows));
    qn_json_put(&j, "mean_abs", qn_json_real(sum_abs / values));
    qn_json_put(&j, "rms", qn_json_real(sqrt(squares / values)));
    qn_json_put(&j, "min", qn_json_real(p->rows ? low : NAN));
    qn_json_put(&j, "max", qn_json_real(p->rows ? high : NAN));
    qn_json_put(&j, "zeros", count(p->signs[1]));
    qn_json_put(&j, "kept_rows", count(p->n_kept));
    qn_json_put(&j, "gram", json_boolean(p->gram));
    return j;
}

static json_t *sensitivity_report(const struct qn_calibration *c)
{
    json_t *j = json_object(), *tensors = json_array();
    for (size_t i = 0; i < c->n_sensitivities && tensors; i++) {
        const struct qn_sensitivity *s = &c->sensitivities[i];
        json_t *t = json_object();
        qn_json_put(&t, "name", qn_json_text(s->tensor));
        qn_json_put(&t, "levels", count(s->levels));
        qn_json_put(&t, "squared_error", qn_json_real(s->error));
        qn_json_put(&t, "kl", qn_json_real(s->kl));
        qn_json_put(&t, "standard_error", qn_json_real(s->standard_error));
        qn_json_put(&t, "sensitivity", qn_json_real(s->error > 0.0 ? s->kl / s->error : NAN));
        if (json_array_append_new(tensors, t) != 0) {
            json_decref(tensors);
            tensors = NULL;
        }
    }
    qn_json_put(&j, "tokens", count(c->sensitivity_tokens));
    qn_json_put(&j, "tensors", tensors);
    return j;
}

static const char *const part_names[] = {
    [QN_ROWS_FIT] = "fit", [QN_ROWS_SELECT] = "select", [QN_ROWS_TEST] = "test"};
enum { N_PARTS = sizeof part_names / sizeof *part_names };

static json_t *part_report(const struct qn_calibration *c, const struct qn_monitor *monitor)
{
    uint64_t rows[N_PARTS] = {0};
    json_t *j = json_object();
    for (uint32_t i = 0; i < c->n_kept; i++)
        rows[c->kept[i].part]++;
    for (size_t i = 0; i < N_PARTS; i++) {
        if (rows[i] == 0 && c->n_kept > 0 && c->part.shard.count == 0)
            qn_notice(monitor,
                      "no kept row belongs to the %s part: whole windows are dealt out, and there "
                      "are %llu",
                      part_names[i], (unsigned long long)c->windows);
        qn_json_put(&j, part_names[i], count(rows[i]));
    }
    return j;
}

/* Which part of a calibration it is. */
static json_t *part_of_report(const struct qn_calibration_part *p)
{
    json_t *j = json_object();
    qn_json_put(&j, "index", count(p->shard.index));
    qn_json_put(&j, "count", count(p->shard.count));
    qn_json_put(&j, "windows", count(p->windows));
    return j;
}

json_t *qn_calibrate_report(const struct qn_calibration *c, const char *out, unsigned threads,
                            double seconds, uint64_t tokens, const struct qn_monitor *monitor)
{
    struct stat info;
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, c->options.seed);
    json_t *j = qn_report_begin("qins/calibrate/1"), *texts = json_array(), *points = json_array();
    bool good = texts && points;
    for (size_t i = 0; i < c->n_texts && good; i++)
        good = json_array_append_new(texts, qn_json_digest(&c->texts[i])) == 0;
    for (size_t i = 0; i < c->n_points && good; i++)
        good = json_array_append_new(points, point_report(&c->points[i])) == 0;
    qn_json_put(&j, "output", qn_json_text(out));
    qn_json_put(&j, "output_bytes",
                stat(out, &info) == 0 ? count((uint64_t)info.st_size) : json_null());
    qn_json_put(&j, "model", c->model_name ? qn_json_text(c->model_name) : json_null());
    qn_json_put(&j, "model_fingerprint", c->model_name ? qn_json_digest(&c->model) : json_null());
    qn_json_put(&j, "archive_hash", c->has_archive ? qn_json_digest(&c->archive) : json_null());
    qn_json_put(&j, "tokenizer_fingerprint",
                c->has_tokenizer ? qn_json_digest(&c->tokenizer) : json_null());
    qn_json_put(&j, "text_fingerprints", texts);
    qn_json_put(&j, "context", count(c->options.context));
    qn_json_put(&j, "seed", json_string(seed));
    qn_json_put(&j, "keep_rows", count(c->options.keep_rows));
    qn_json_put(&j, "gram", json_boolean(c->options.gram));
    qn_json_put(&j, "tokens", count(c->tokens));
    qn_json_put(&j, "windows", count(c->windows));
    qn_json_put(&j, "kept_rows", count(c->n_kept));
    qn_json_put(&j, "kept_rows_by_part", part_report(c, monitor));
    if (c->part.shard.count > 0)
        qn_json_put(&j, "part", part_of_report(&c->part));
    qn_json_put(&j, "threads", count(threads));
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    qn_json_put(&j, "tokens_per_s", tokens ? qn_json_real((double)tokens / seconds) : json_null());
    qn_json_put(&j, "points", points);
    qn_json_put(&j, "sensitivity", c->n_sensitivities ? sensitivity_report(c) : json_null());
    if (!good) {
        json_decref(j);
        j = NULL;
    }
    return j;
}
