#include "analyze/report_sums.h"

#include <math.h>

enum { REFERENCE_BITS = 8 };

void qn_mean_add(struct qn_mean *s, double value, double weight)
{
    if (!isfinite(value) || !(weight > 0.0))
        return;
    s->min = s->weight > 0.0 ? fmin(s->min, value) : value;
    s->max = s->weight > 0.0 ? fmax(s->max, value) : value;
    s->sum += value * weight;
    s->weight += weight;
}

json_t *qn_mean_to_json(const struct qn_mean *s)
{
    const bool any = s->weight > 0.0;
    json_t *j = json_object();
    qn_json_put(&j, "mean", any ? qn_json_real(s->sum / s->weight) : json_null());
    qn_json_put(&j, "min", any ? qn_json_real(s->min) : json_null());
    qn_json_put(&j, "max", any ? qn_json_real(s->max) : json_null());
    return j;
}

bool qn_report_is_matrix(const struct qn_tensor *t)
{
    return qn_dtype_is_quantisable(t->dtype) && t->rank >= 2 &&
           t->n_elements >= QN_SUM_MIN_ELEMENTS;
}

static void add_fixed(struct qn_fixed_sum *sum, const struct qn_fixed_comparison *f, double n)
{
    double db[QN_CONTENDERS];
    for (int k = 0; k < QN_CONTENDERS; k++) {
        const struct qn_candidate *c = &f->best[k][QN_MEASURE_SQUARED];
        sum->error[k] += c->error;
        sum->packed_bytes[k] += (double)c->packed_bytes;
        qn_mean_add(&sum->p99[k], f->value[k][QN_MEASURE_RELATIVE], n);
        db[k] = f->value[k][QN_MEASURE_SQUARED];
    }
    sum->coded_bytes += (double)f->best[QN_CONTENDER_QINS][QN_MEASURE_SQUARED].huffman_bytes;
    qn_mean_add(&sum->gain_over_absmax, db[QN_CONTENDER_QINS] - db[QN_CONTENDER_INT_ABSMAX], n);
    qn_mean_add(&sum->gain_over_clip, db[QN_CONTENDER_QINS] - db[QN_CONTENDER_INT_CLIP], n);
    qn_mean_add(&sum->weighted_gain,
                f->value[QN_CONTENDER_QINS][QN_MEASURE_WEIGHTED] -
                    f->value[QN_CONTENDER_INT_CLIP][QN_MEASURE_WEIGHTED],
                n);
}

static double error_at(double signal, double db)
{
    return signal * pow(10.0, -db / 10.0);
}

static void add_rate(struct qn_rate_sum *sum, const struct qn_rate_comparison *r, double signal,
                     double n)
{
    const double qins = r->value[QN_CONTENDER_QINS][QN_MEASURE_SQUARED],
                 clip = r->value[QN_CONTENDER_INT_CLIP][QN_MEASURE_SQUARED],
                 any = r->any[QN_MEASURE_SQUARED];
    if (isfinite(any)) {
        sum->any += error_at(signal, any);
        sum->any_tensors++;
    }
    if (!isfinite(qins) || !isfinite(clip))
        return;
    sum->error[0] += error_at(signal, qins);
    sum->error[1] += error_at(signal, clip);
    sum->tensors++;
    qn_mean_add(&sum->gain, qins - clip, n);
}

/* Least bytes of uniform coded candidates with at most the error of REFERENCE. */
static double coded_int_bytes(const struct qn_candidate_list *list,
                              const struct qn_candidate *reference)
{
    double best = (double)reference->huffman_bytes;
    for (size_t i = 0; i < list->count; i++) {
        const struct qn_candidate *c = &list->items[i];
        if (c->granularity == reference->granularity && c->kappa == 0.0f &&
            c->error <= reference->error)
            best = fmin(best, (double)c->huffman_bytes);
    }
    return best;
}

static void add_matrix(struct qn_report_sums *s, const struct qn_sum_input *in,
                       const struct qn_fixed_comparison *reference)
{
    const enum qn_granularity g = qn_report_granularity(in->study);
    const double n = (double)in->study->tensor->n_elements;
    const struct qn_candidate *best = &reference->best[QN_CONTENDER_QINS][QN_MEASURE_SQUARED];
    const double signal = (double)(in->study->statistics.n - in->study->statistics.n_nan) *
                          in->study->statistics.rms * in->study->statistics.rms;
    s->references = (s->references || s->matrices == 0) && in->references;
    s->matrices++;
    s->matrix_elements += n;
    s->signal += signal;
    s->packed_bytes += (double)best->packed_bytes;
    s->coded_bytes += (double)best->huffman_bytes;
    s->tans_bytes += (double)best->tans_bytes;
    s->int_coded_bytes += coded_int_bytes(in->coded, best);
    for (unsigned bits = QN_SUM_MIN_BITS; bits <= QN_SUM_MAX_BITS; bits++) {
        const struct qn_fixed_comparison *f = qn_report_fixed(in->comparison, g, bits);
        if (f)
            add_fixed(&s->fixed[bits - QN_SUM_MIN_BITS], f, n);
    }
    for (size_t i = 0; i < in->comparison->n_coded; i++) {
        const struct qn_rate_comparison *r = &in->comparison->coded[i];
        if (r->granularity == g && r->bits >= 0.0 && r->bits * 4.0 < QN_SUM_RATES)
            add_rate(&s->rates[(size_t)lround(r->bits * 4.0)], r, signal, n);
    }
    for (int i = 0; i < QN_BLOCK_FORMATS && in->references; i++)
        s->reference_error[i] += in->references[i].rmse * in->references[i].rmse * n;
}

void qn_report_sums_add(struct qn_report_sums *s, const struct qn_sum_input *in)
{
    const struct qn_tensor *t = in->study->tensor;
    const bool is_float = qn_dtype_is_float(t->dtype);
    const double stored = (double)t->n_bytes,
                 fp32 = is_float ? (double)t->n_elements * (double)sizeof(float) : stored;
    const struct qn_fixed_comparison *reference =
        in->comparison && qn_report_is_matrix(t)
            ? qn_report_fixed(in->comparison, qn_report_granularity(in->study), REFERENCE_BITS)
            : NULL;
    s->tensors++;
    s->float_elements += is_float ? (double)t->n_elements : 0.0;
    s->fp32_bytes += fp32;
    s->stored_bytes += stored;
    if (reference) {
        add_matrix(s, in, reference);
        return;
    }
    s->packed_bytes += stored;
    s->coded_bytes += stored;
    s->int_coded_bytes += stored;
}

double qn_report_decibels(double signal, double error)
{
    return error > 0.0 && signal > 0.0 ? 10.0 * log10(signal / error) : (double)NAN;
}

static json_t *fixed_to_json(const struct qn_report_sums *s, unsigned bits)
{
    static const char *const keys[QN_CONTENDERS] = {"qins", "int_absmax", "int_clip"};
    static const char *const db_keys[QN_CONTENDERS] = {"qins_sqnr_db", "int_absmax_sqnr_db",
                                                       "int_clip_sqnr_db"};
    const struct qn_fixed_sum *f = &s->fixed[bits - QN_SUM_MIN_BITS];
    const double bits_a_byte = 8.0 / s->matrix_elements;
    json_t *j = json_object(), *p99 = json_object();
    qn_json_put(&j, "bits", json_integer(bits));
    for (int k = 0; k < QN_CONTENDERS; k++) {
        qn_json_put(&j, db_keys[k], qn_json_real(qn_report_decibels(s->signal, f->error[k])));
        qn_json_put(&p99, keys[k],
                    qn_json_real(f->p99[k].weight > 0.0 ? f->p99[k].sum / f->p99[k].weight : NAN));
    }
    qn_json_put(&j, "qins_packed_bits",
                qn_json_real(f->packed_bytes[QN_CONTENDER_QINS] * bits_a_byte));
    qn_json_put(&j, "int_packed_bits",
                qn_json_real(f->packed_bytes[QN_CONTENDER_INT_ABSMAX] * bits_a_byte));
    qn_json_put(&j, "qins_coded_bits", qn_json_real(f->coded_bytes * bits_a_byte));
    qn_json_put(&j, "gain_over_absmax_db", qn_mean_to_json(&f->gain_over_absmax));
    qn_json_put(&j, "gain_over_clip_db", qn_mean_to_json(&f->gain_over_clip));
    qn_json_put(&j, "weighted_gain_over_clip_db", qn_mean_to_json(&f->weighted_gain));
    qn_json_put(&j, "p99_rel_error", p99);
    return j;
}

json_t *qn_report_comparison(const struct qn_report_sums *s)
{
    json_t *j = json_object(), *fixed = json_array(), *coded = json_array(), *hull = json_array(),
           *reference = json_array();
    for (unsigned bits = QN_SUM_MIN_BITS; s->matrices && bits <= QN_SUM_MAX_BITS; bits++)
        qn_json_append(&fixed, fixed_to_json(s, bits));
    for (size_t i = 0; s->matrices && i < QN_SUM_RATES; i++) {
        const struct qn_rate_sum *r = &s->rates[i];
        const double bits = (double)i / 4.0;
        if (r->tensors > 0 && 2 * r->tensors >= s->matrices) {
            const double signal = r->tensors == s->matrices ? s->signal : 0.0;
            json_t *row = json_object();
            qn_json_put(&row, "bits", qn_json_real(bits));
            qn_json_put(&row, "tensors", json_integer((json_int_t)r->tensors));
            qn_json_put(&row, "qins_sqnr_db",
                        qn_json_real(qn_report_decibels(signal, r->error[0])));
            qn_json_put(&row, "int_sqnr_db", qn_json_real(qn_report_decibels(signal, r->error[1])));
            qn_json_put(&row, "gain_db", qn_mean_to_json(&r->gain));
            qn_json_append(&coded, row);
        }
        if (r->any_tensors == s->matrices) {
            json_t *row = json_object();
            qn_json_put(&row, "bits", qn_json_real(bits));
            qn_json_put(&row, "sqnr_db", qn_json_real(qn_report_decibels(s->signal, r->any)));
            qn_json_append(&hull, row);
        }
    }
    for (int i = 0; s->references && i < QN_BLOCK_FORMATS; i++) {
        const struct qn_block_format_info *info = qn_block_format((enum qn_block_format)i);
        json_t *row = json_object();
        qn_json_put(&row, "name", json_string(info->name));
        qn_json_put(&row, "bits_per_weight", qn_json_real(8.0 * info->bytes / info->block));
        qn_json_put(&row, "sqnr_db",
                    qn_json_real(qn_report_decibels(s->signal, s->reference_error[i])));
        qn_json_append(&reference, row);
    }
    qn_json_put(&j, "granularity", json_string(qn_granularity_name(QN_PER_ROW)));
    qn_json_put(&j, "matrices", json_integer((json_int_t)s->matrices));
    qn_json_put(&j, "fixed", fixed);
    qn_json_put(&j, "coded", coded);
    qn_json_put(&j, "hull", hull);
    qn_json_put(&j, "reference", reference);
    return j;
}

json_t *qn_report_sizes(const struct qn_report_sums *s, double plan, double archive)
{
    const struct {
        const char *stage;
        double bytes;
        bool measured;
    } stages[] = {{"32-bit floats", s->fp32_bytes, false},
                  {"as stored", s->stored_bytes, true},
                  {"8-bit QINS, packed", s->packed_bytes, false},
                  {"8-bit QINS, Huffman", s->coded_bytes, false},
                  {"8-bit QINS, tans", s->tans_bytes, false},
                  {"INT of that error, Huffman", s->int_coded_bytes, false},
                  {"plan, predicted", plan, false},
                  {"archive", archive, true}};
    json_t *j = json_array();
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (!(stages[i].bytes > 0.0))
            continue;
        json_t *row = json_object();
        qn_json_put(&row, "stage", json_string(stages[i].stage));
        qn_json_put(&row, "bytes", qn_json_real(stages[i].bytes));
        qn_json_put(&row, "measured", json_boolean(stages[i].measured));
        qn_json_append(&j, row);
    }
    return j;
}
