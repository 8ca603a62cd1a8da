/* The bars are the seeds' (docs/validation.md). */
#include "analyze/sampling_report.h"

#include "analyze/validate_job.h"

#include <math.h>
#include <stdlib.h>

enum { MODEL, CANDIDATE };

static const double kl_bar = 0.1, overlap_bar = 0.97;
static const char source[] = "implementation-roadmap.md, Phase 1, test C";

struct sampling {
    const struct qn_positions *p;
    uint64_t n;
    double *column; /* [n] */
};

static json_t *distribution_of(const struct sampling *s, size_t offset)
{
    qn_position_column(s->p, offset, s->column);
    return qn_json_distribution(s->column, s->n, s->p->windows);
}

/* Shares of the k likeliest that are common, k = 1 … QN_TOP_K. */
static json_t *overlap_figures(const struct sampling *s, double *last)
{
    json_t *list = json_array();
    for (int k = 1; k <= QN_TOP_K; k++) {
        for (uint64_t i = 0; i < s->n; i++)
            s->column[i] = (double)qn_position_at(s->p, i)->overlap[k - 1] / (double)k;
        const struct qn_estimate e = qn_estimate_mean(s->column, s->n, s->p->windows);
        json_t *j = json_object();
        qn_json_put(&j, "k", json_integer(k));
        qn_json_put(&j, "overlap", qn_json_real(e.value));
        qn_json_put(&j, "standard_error", qn_json_real(e.standard_error));
        qn_json_append(&list, j);
        *last = e.value;
    }
    return list;
}

static void put_probability_change(const struct sampling *s, json_t **j)
{
    for (uint64_t i = 0; i < s->n; i++) {
        const double *p = qn_position_at(s->p, i)->sampled_p;
        s->column[i] = p[CANDIDATE] - p[MODEL];
    }
    qn_json_put(j, "mean_delta_p",
                qn_json_estimate(qn_estimate_mean(s->column, s->n, s->p->windows)));
    qn_json_put(j, "rms_delta_p",
                qn_json_estimate(qn_estimate_rms(s->column, s->n, s->p->windows)));
}

static json_t *figures(const struct sampling *s)
{
    const json_t *mean;
    json_t *j = json_object(), *kl = json_object(), *thresholds = json_object();
    double overlap = 0.0;
    json_t *top_k = overlap_figures(s, &overlap);
    qn_json_put(&kl, "model_candidate", distribution_of(s, offsetof(struct qn_position, kl[0])));
    qn_json_put(&kl, "candidate_model", distribution_of(s, offsetof(struct qn_position, kl[1])));
    mean = json_object_get(json_object_get(kl, "model_candidate"), "mean");
    bool passed =
        qn_validation_bar(&thresholds, "kl_mean", json_is_real(mean) ? json_real_value(mean) : NAN,
                          "<", kl_bar, source);
    passed = qn_validation_bar(&thresholds, "top10_overlap", overlap, ">=", overlap_bar, source) &&
             passed;
    qn_json_put(&j, "passed", json_boolean(passed));
    qn_json_put(&j, "thresholds", thresholds);
    qn_json_put(&j, "tokens", json_integer((json_int_t)s->n));
    qn_json_put(&j, "windows", json_integer((json_int_t)s->p->windows));
    qn_json_put(&j, "errors_by", qn_json_batches(s->p->windows));
    qn_json_put(&j, "kl", kl);
    qn_json_put(&j, "top_k", top_k);
    qn_json_put(&j, "temperature", qn_json_real(QN_SAMPLING_TEMPERATURE));
    qn_json_put(&j, "top_p", qn_json_real(QN_SAMPLING_TOP_P));
    qn_json_put(&j, "total_variation",
                distribution_of(s, offsetof(struct qn_position, sampled_tv)));
    put_probability_change(s, &j);
    return j;
}

enum qins_status qn_sampling_report(const struct qn_positions *p, json_t **out,
                                    struct qins_error *err)
{
    struct sampling s = {.p = p, .n = qn_positions_count(p)};
    *out = NULL;
    if (!(s.column = calloc((size_t)s.n, sizeof *s.column)))
        return qn_fail_memory(err);
    *out = figures(&s);
    free(s.column);
    return *out ? QINS_OK : qn_fail_memory(err);
}
