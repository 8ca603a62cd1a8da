/* Compression beyond 8 bits a weight, summed over matrices. */
#include "analyze/report_build.h"

#include <math.h>
#include <string.h>

void qn_extra_sum_add(struct qn_extra_sum *s, const struct qn_extra_table *t, double elements,
                      double signal)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct qn_extra_row *r = &t->rows[i];
        size_t k = 0;
        while (k < s->count && strcmp(s->rows[k].method, r->method) != 0)
            k++;
        if (k == QN_EXTRA_ROWS)
            continue;
        if (k == s->count)
            s->rows[s->count++] = *r;
        s->bytes[k] += r->bits * elements / 8.0;
        s->baseline[k] += r->bits * r->extra * elements / 8.0;
        s->error[k] += isinf(r->sqnr_db) ? 0.0 : signal * pow(10.0, -r->sqnr_db / 10.0);
        s->signal[k] += signal;
        s->elements[k] += elements;
    }
}

static double decibels(const struct qn_extra_sum *s, size_t i)
{
    return s->error[i] > 0.0 ? 10.0 * log10(s->signal[i] / s->error[i]) : (double)INFINITY;
}

/* The smallest row that loses little to the baseline; s->count where there is no baseline. */
static size_t find_honest(const struct qn_extra_sum *s, double all_elements)
{
    size_t baseline = 0, best = s->count;
    while (baseline < s->count && strcmp(s->rows[baseline].family, "baseline") != 0)
        baseline++;
    for (size_t i = 0; i < s->count && baseline < s->count; i++)
        if (s->elements[i] == all_elements &&
            decibels(s, i) >= decibels(s, baseline) - QN_EXTRA_LOSS_DB &&
            (best == s->count || s->bytes[i] < s->bytes[best]))
            best = i;
    return best;
}

json_t *qn_extra_sum_to_json(const struct qn_extra_sum *s, double all_elements)
{
    const size_t honest = find_honest(s, all_elements);
    json_t *j = json_array();
    for (size_t i = 0; i < s->count; i++) {
        const struct qn_extra_row *r = &s->rows[i];
        const bool claim = r->claimed_high > 0.0;
        /* What some tensors have no row of cannot be compared with the rest. */
        if (s->elements[i] != all_elements)
            continue;
        json_t *row = json_object();
        qn_json_put(&row, "method", json_string(r->method));
        qn_json_put(&row, "family", json_string(r->family));
        qn_json_put(&row, "bits_per_weight", qn_json_real(8.0 * s->bytes[i] / s->elements[i]));
        qn_json_put(&row, "ratio",
                    qn_json_real(s->elements[i] * (double)sizeof(float) / s->bytes[i]));
        qn_json_put(&row, "extra_ratio", qn_json_real(s->baseline[i] / s->bytes[i]));
        qn_json_put(&row, "sqnr_db", qn_json_real(decibels(s, i)));
        qn_json_put(&row, "claimed_low", claim ? qn_json_real(r->claimed_low) : json_null());
        qn_json_put(&row, "claimed_high", claim ? qn_json_real(r->claimed_high) : json_null());
        qn_json_put(&row, "honest", json_boolean(i == honest));
        if (json_array_append_new(j, row) != 0) {
            json_decref(j);
            return NULL;
        }
    }
    return j;
}
