#include "analyze/report_figures.h"

#include "core/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static json_t *integer(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

/* Appends ITEM, taking it over; *array is NULL after a failure. */
json_t *qn_report_statistics(const struct qn_statistics *s)
{
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {{"nan", s->n_nan},
                  {"infinite", s->n_infinite},
                  {"zeros", s->zeros},
                  {"negative_zeros", s->negative_zeros},
                  {"near_zeros", s->near_zeros},
                  {"zero_runs", s->zero_runs},
                  {"longest_zero_run", s->longest_zero_run},
                  {"equal_neighbours", s->equal_neighbours},
                  {"rows", s->rows},
                  {"duplicate_rows", s->duplicate_rows},
                  {"zero_rows", s->zero_rows},
                  {"distinct_values", s->distinct_values}};
    const struct {
        const char *key;
        double value;
    } reals[] = {{"min", s->min},           {"max", s->max},
                 {"abs_max", s->abs_max},   {"mean", s->mean},
                 {"mean_abs", s->mean_abs}, {"rms", s->rms},
                 {"variance", s->variance}, {"skewness", s->skewness},
                 {"kurtosis", s->kurtosis}, {"exponent_entropy_bits", s->exponent_entropy_bits}};
    json_t *j = json_object(), *bytes = json_array();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        qn_json_put(&j, counts[i].key, integer(counts[i].value));
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        qn_json_put(&j, reals[i].key, qn_json_real(reals[i].value));
    for (unsigned i = 0; i < s->element_bytes && i < 8; i++)
        qn_json_append(&bytes, qn_json_real(s->byte_entropy_bits[i]));
    qn_json_put(&j, "byte_entropy_bits", bytes);
    const char *fits = qins_dtype_name(s->fits_dtype);
    qn_json_put(&j, "fits_dtype", fits ? json_string(fits) : json_null());
    return j;
}

json_t *qn_report_remarks(const struct qn_tensor_study *s)
{
    const struct qn_statistics *t = &s->statistics;
    char text[256];
    json_t *j = json_array();
    if (*qn_statistics_remark(t, s->tensor->dtype, text, sizeof text))
        qn_json_append(&j, json_string(text));
    const uint64_t bad = t->n_nan + t->n_infinite;
    if (bad > 0) {
        snprintf(text, sizeof text,
                 "%llu values are no finite numbers, the first at %.0f: it cannot be quantised",
                 (unsigned long long)bad, s->first_bad);
        qn_json_append(&j, json_string(text));
    }
    if (t->n > 0 && t->zeros == t->n) {
        qn_json_append(&j, json_string("all values are zero"));
    } else if (t->n > 1 && t->distinct_values == 1) {
        qn_json_append(&j, json_string("all values are equal"));
    } else if (t->zeros * 10 > t->n) {
        snprintf(text, sizeof text, "%.1f %% of the values are exactly zero",
                 100.0 * (double)t->zeros / (double)t->n);
        qn_json_append(&j, json_string(text));
    }
    if (t->rows > 1 && t->duplicate_rows > 0 && t->zeros != t->n) {
        snprintf(text, sizeof text, "%llu of %llu rows repeat an earlier one",
                 (unsigned long long)t->duplicate_rows, (unsigned long long)t->rows);
        qn_json_append(&j, json_string(text));
    }
    /* Of a million Gaussian values the largest is 5 times the RMS; beyond 30 times, one scale for a
     * whole tensor leaves 8-bit codes of most weights below 4. */
    if (t->rms > 0.0 && t->abs_max / t->rms > 30.0) {
        snprintf(text, sizeof text, "an outlier: the largest magnitude is %.3g times the RMS",
                 t->abs_max / t->rms);
        qn_json_append(&j, json_string(text));
    }
    return j;
}

enum qn_granularity qn_report_granularity(const struct qn_tensor_study *s)
{
    return s->density[QN_PER_ROW] ? QN_PER_ROW : QN_PER_TENSOR;
}

const struct qn_fixed_comparison *qn_report_fixed(const struct qn_comparison *c,
                                                  enum qn_granularity g, unsigned bits)
{
    for (size_t i = 0; i < c->n_fixed; i++)
        if (c->fixed[i].granularity == g && c->fixed[i].bits == bits)
            return &c->fixed[i];
    return NULL;
}

static double per_weight(uint64_t bytes, uint64_t n)
{
    return n ? 8.0 * (double)bytes / (double)n : (double)NAN;
}

json_t *qn_report_candidate(const struct qn_candidate *c, uint64_t n)
{
    json_t *j = json_object();
    qn_json_put(&j, "granularity", json_string(qn_granularity_name(c->granularity)));
    qn_json_put(&j, "levels", json_integer(c->levels));
    qn_json_put(&j, "kappa", qn_json_real((double)c->kappa));
    qn_json_put(&j, "clip", qn_json_real((double)c->clip));
    qn_json_put(&j, "sqnr_db", qn_json_real(c->sqnr_db));
    qn_json_put(&j, "p50_rel_error", qn_json_real(c->p50_rel_error));
    qn_json_put(&j, "p90_rel_error", qn_json_real(c->p90_rel_error));
    qn_json_put(&j, "p99_rel_error", qn_json_real(c->p99_rel_error));
    qn_json_put(&j, "entropy_bits", qn_json_real(c->entropy_bits));
    qn_json_put(&j, "packed_bits", qn_json_real(per_weight(c->packed_bytes, n)));
    qn_json_put(&j, "huffman_bits", qn_json_real(per_weight(c->huffman_bytes, n)));
    qn_json_put(&j, "tans_bits", qn_json_real(per_weight(c->tans_bytes, n)));
    return j;
}

static const struct qn_candidate *winner(const struct qn_fixed_comparison *f)
{
    return &f->best[QN_CONTENDER_QINS][QN_MEASURE_SQUARED];
}

json_t *qn_report_entropy_bits(const struct qn_comparison *c, enum qn_granularity g)
{
    json_t *j = json_object();
    char key[16];
    for (size_t i = 0; i < c->n_fixed; i++) {
        if (c->fixed[i].granularity != g)
            continue;
        snprintf(key, sizeof key, "%u", c->fixed[i].bits);
        qn_json_put(&j, key, qn_json_real(winner(&c->fixed[i])->entropy_bits));
    }
    return j;
}

json_t *qn_report_coded_bits(const struct qn_comparison *c, enum qn_granularity g, uint64_t n,
                             const struct qn_true_sizes *true_sizes)
{
    json_t *j = json_object();
    char key[16];
    for (size_t i = 0; i < c->n_fixed; i++) {
        const struct qn_fixed_comparison *f = &c->fixed[i];
        if (f->granularity != g)
            continue;
        json_t *coders = json_object();
        qn_json_put(&coders, "bitpack", qn_json_real(per_weight(winner(f)->packed_bytes, n)));
        qn_json_put(&coders, "huffman", qn_json_real(per_weight(winner(f)->huffman_bytes, n)));
        qn_json_put(&coders, "tans", qn_json_real(per_weight(winner(f)->tans_bytes, n)));
        for (int k = QN_CODEC_HUFFMAN + 1; f->bits == 8 && true_sizes && k < QN_CODEC_COUNT; k++)
            if (k != QN_CODEC_TANS)
                qn_json_put(&coders, qn_codec_name((enum qn_codec_id)k),
                            qn_json_real(true_sizes->bits[k]));
        snprintf(key, sizeof key, "%u", f->bits);
        qn_json_put(&j, key, coders);
    }
    return j;
}

/* A contender's best for squared error, and what its best for the other measures reach. */
static json_t *contender(const struct qn_fixed_comparison *f, enum qn_contender who, uint64_t n)
{
    const struct qn_candidate *c = &f->best[who][QN_MEASURE_SQUARED];
    json_t *j = json_object();
    qn_json_put(&j, "kappa", qn_json_real((double)c->kappa));
    qn_json_put(&j, "clip", qn_json_real((double)c->clip));
    qn_json_put(&j, "sqnr_db", qn_json_real(c->sqnr_db));
    qn_json_put(&j, "p50_rel_error", qn_json_real(c->p50_rel_error));
    qn_json_put(&j, "p99_rel_error", qn_json_real(c->p99_rel_error));
    qn_json_put(&j, "entropy_bits", qn_json_real(c->entropy_bits));
    qn_json_put(&j, "packed_bits", qn_json_real(per_weight(c->packed_bytes, n)));
    qn_json_put(&j, "huffman_bits", qn_json_real(per_weight(c->huffman_bytes, n)));
    qn_json_put(&j, "tans_bits", qn_json_real(per_weight(c->tans_bytes, n)));
    qn_json_put(&j, "best_weighted_sqnr_db", qn_json_real(f->value[who][QN_MEASURE_WEIGHTED]));
    qn_json_put(&j, "best_p99_rel_error", qn_json_real(f->value[who][QN_MEASURE_RELATIVE]));
    return j;
}

json_t *qn_report_fixed_rates(const struct qn_comparison *c, enum qn_granularity g, uint64_t n)
{
    static const char *const keys[QN_CONTENDERS] = {"qins", "int_absmax", "int_clip"};
    json_t *j = json_array();
    for (size_t i = 0; i < c->n_fixed; i++) {
        const struct qn_fixed_comparison *f = &c->fixed[i];
        if (f->granularity != g)
            continue;
        json_t *row = json_object();
        qn_json_put(&row, "bits", json_integer(f->bits));
        for (int k = 0; k < QN_CONTENDERS; k++)
            qn_json_put(&row, keys[k], contender(f, (enum qn_contender)k, n));
        qn_json_append(&j, row);
    }
    return j;
}

json_t *qn_report_references(const struct qn_reference_line lines[QN_BLOCK_FORMATS])
{
    json_t *j = json_array();
    for (int i = 0; i < QN_BLOCK_FORMATS; i++) {
        json_t *row = json_object();
        qn_json_put(&row, "name", json_string(qn_block_format(lines[i].format)->name));
        qn_json_put(&row, "bits_per_weight", qn_json_real(lines[i].bits));
        qn_json_put(&row, "rmse", qn_json_real(lines[i].rmse));
        qn_json_put(&row, "sqnr_db", qn_json_real(lines[i].sqnr_db));
        qn_json_put(&row, "fits", json_boolean(lines[i].fits));
        qn_json_append(&j, row);
    }
    return j;
}

json_t *qn_report_extra(const struct qn_extra_table *t)
{
    json_t *j = json_array();
    for (size_t i = 0; i < t->count; i++) {
        const struct qn_extra_row *r = &t->rows[i];
        const bool claim = r->claimed_high > 0.0;
        json_t *row = json_object();
        qn_json_put(&row, "method", json_string(r->method));
        qn_json_put(&row, "family", json_string(r->family));
        qn_json_put(&row, "bits_per_weight", qn_json_real(r->bits));
        qn_json_put(&row, "ratio", qn_json_real(r->ratio));
        qn_json_put(&row, "extra_ratio", qn_json_real(r->extra));
        qn_json_put(&row, "sqnr_db", qn_json_real(r->sqnr_db));
        qn_json_put(&row, "claimed_low", claim ? qn_json_real(r->claimed_low) : json_null());
        qn_json_put(&row, "claimed_high", claim ? qn_json_real(r->claimed_high) : json_null());
        qn_json_put(&row, "honest", json_boolean(i == t->honest));
        qn_json_append(&j, row);
    }
    return j;
}

json_t *qn_report_true_sizes(const struct qn_true_sizes *s)
{
    json_t *j = json_object(), *bits = json_object();
    for (int k = 0; k < QN_CODEC_COUNT; k++)
        qn_json_put(&bits, qn_codec_name((enum qn_codec_id)k), qn_json_real(s->bits[k]));
    qn_json_put(&j, "elements", integer(s->elements));
    qn_json_put(&j, "bits_by_coder", bits);
    qn_json_put(&j, "entropy_bits", qn_json_real(s->entropy_bits));
    qn_json_put(&j, "order1_bits", qn_json_real(s->order1_bits));
    qn_json_put(&j, "run_bits", qn_json_real(s->run_bits));
    qn_json_put(&j, "zero_share", qn_json_real(s->zero_share));
    return j;
}
