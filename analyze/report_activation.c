/* Activations on their QINS grid, from the histograms of |x| that a calibration keeps: one scale
 * for a point, which is what a layer that takes codes can have. A cell of the histogram counts as
 * evenly filled, as in densities. */
#include "analyze/report_build.h"
#include "formats/codec/level_error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double kappas[] = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0, 24.0};
/* Scales of a layer as shares of its largest magnitude. */
static const double clips[] = {1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2};
enum { MIN_BITS = 2, MAX_BITS = 12, COMPONENT_SIZE = 48 };

/* Counts, sums and sums of squares of all values below each cell's lower bound. */
struct cells {
    double bound[QN_CALIBRATION_CELLS + 1];
    double count[QN_CALIBRATION_CELLS + 1], sum[QN_CALIBRATION_CELLS + 1],
        square[QN_CALIBRATION_CELLS + 1];
    double zeros, negative, positive, largest;
    size_t first, last; /* cells that are not empty: [first, last) */
};

struct grid_figures {
    double kappa, clip, error, entropy;
};

static double cell_bound(uint32_t cell)
{
    const uint32_t bits = cell << 18; /* see QN_CALIBRATION_CELLS */
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static void fill(struct cells *c, const struct qn_calibration_point *p)
{
    *c = (struct cells){.negative = (double)p->signs[0],
                        .zeros = (double)p->signs[1],
                        .positive = (double)p->signs[2],
                        .first = QN_CALIBRATION_CELLS};
    for (uint32_t i = 0; i < p->channels; i++)
        c->largest = fmax(c->largest, fmax(fabs((double)p->min[i]), fabs((double)p->max[i])));
    for (uint32_t i = 0; i < QN_CALIBRATION_CELLS; i++) {
        const double low = cell_bound(i), high = fmin(cell_bound(i + 1), c->largest),
                     n = (double)p->histogram[i];
        const double top = high > low ? high : low;
        c->bound[i] = low;
        c->count[i + 1] = c->count[i] + n;
        c->sum[i + 1] = c->sum[i] + n * (low + top) / 2.0;
        c->square[i + 1] = c->square[i] + n * (low * low + low * top + top * top) / 3.0;
        if (p->histogram[i] > 0) {
            c->first = c->first < i ? c->first : i;
            c->last = i + 1;
        }
    }
    c->bound[QN_CALIBRATION_CELLS] = cell_bound(QN_CALIBRATION_CELLS);
}

/* Of all values below X. */
static struct qn_level_moments below(const struct cells *c, double x)
{
    const float narrow = (float)x;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    uint32_t cell = bits >> 18;
    if (!(x > 0.0))
        return (struct qn_level_moments){0.0, 0.0, 0.0};
    if (x >= c->largest || cell >= QN_CALIBRATION_CELLS)
        cell = QN_CALIBRATION_CELLS;
    struct qn_level_moments m = {c->count[cell], c->sum[cell], c->square[cell]};
    if (cell == QN_CALIBRATION_CELLS)
        return m;
    const double low = c->bound[cell], high = fmin(c->bound[cell + 1], c->largest),
                 n = c->count[cell + 1] - c->count[cell];
    if (high > low && x > low && n > 0.0) {
        const double part = n * fmin((x - low) / (high - low), 1.0);
        m.m0 += part;
        m.m1 += part * (low + x) / 2.0;
        m.m2 += part * (low * low + low * x + x * x) / 3.0;
    }
    return m;
}

static double plogp(double n, double all)
{
    return n > 0.0 ? -n / all * log2(n / all) : 0.0;
}

/* docs/analysis.md. */
static void predict(const struct cells *c, unsigned levels, struct grid_figures *f)
{
    const double s = c->largest * f->clip, n = levels, signed_values = c->negative + c->positive,
                 all = signed_values + c->zeros;
    const double negative = signed_values > 0.0 ? c->negative / signed_values : 0.0;
    struct qn_level_moments at = {0.0, 0.0, 0.0};
    f->error = f->entropy = 0.0;
    for (unsigned l = 0; l <= levels; l++) {
        const struct qn_level_moments to =
            below(c, l == levels ? (double)INFINITY : qn_level_bound(l, n, f->kappa, s));
        const double count = to.m0 - at.m0;
        f->error += qn_level_error(&at, &to, qn_level_value(l, n, f->kappa, s));
        if (l == 0)
            f->entropy += plogp(count + c->zeros, all);
        else
            f->entropy += plogp(count * negative, all) + plogp(count * (1.0 - negative), all);
        at = to;
    }
    f->error = fmax(f->error, 0.0);
}

/* Least error over scales, and over kappa unless UNIFORM. */
static struct grid_figures search(const struct cells *c, unsigned levels, bool uniform)
{
    struct grid_figures best = {.error = INFINITY};
    for (size_t k = 0; k < (uniform ? 1 : sizeof kappas / sizeof *kappas); k++)
        for (size_t i = 0; i < sizeof clips / sizeof *clips; i++) {
            struct grid_figures f = {.kappa = kappas[k], .clip = clips[i]};
            predict(c, levels, &f);
            if (f.error < best.error)
                best = f;
        }
    return best;
}

static void put_rates(const struct cells *c, json_t **j)
{
    const double signal = c->square[QN_CALIBRATION_CELLS];
    json_t *entropy = json_object(), *coded = json_object(), *rates = json_array(),
           *chosen = signal > 0.0 ? NULL : json_null();
    for (unsigned bits = MIN_BITS; bits <= MAX_BITS && signal > 0.0; bits++) {
        const unsigned levels = (1U << (bits - 1)) - 1;
        struct grid_figures qins = search(c, levels, false), clip = search(c, levels, true),
                            absmax = {.clip = 1.0};
        char key[16];
        predict(c, levels, &absmax);
        snprintf(key, sizeof key, "%u", bits);
        json_t *row = json_object(), *best = json_object(), *coders = json_object();
        qn_json_put(&best, "granularity", json_string("tensor"));
        qn_json_put(&best, "levels", json_integer(levels));
        qn_json_put(&best, "kappa", qn_json_real(qins.kappa));
        qn_json_put(&best, "clip", qn_json_real(qins.clip));
        qn_json_put(&best, "sqnr_db", qn_json_real(qn_report_decibels(signal, qins.error)));
        qn_json_put(&best, "entropy_bits", qn_json_real(qins.entropy));
        qn_json_put(&row, "bits", json_integer(bits));
        qn_json_put(&row, "qins", json_incref(best));
        json_t *uniform = json_object();
        qn_json_put(&uniform, "sqnr_db", qn_json_real(qn_report_decibels(signal, absmax.error)));
        qn_json_put(&uniform, "entropy_bits", qn_json_real(absmax.entropy));
        qn_json_put(&row, "int_absmax", uniform);
        uniform = json_object();
        qn_json_put(&uniform, "clip", qn_json_real(clip.clip));
        qn_json_put(&uniform, "sqnr_db", qn_json_real(qn_report_decibels(signal, clip.error)));
        qn_json_put(&uniform, "entropy_bits", qn_json_real(clip.entropy));
        qn_json_put(&row, "int_clip", uniform);
        qn_json_put(&coders, "bitpack", qn_json_real((double)bits));
        qn_json_put(&entropy, key, qn_json_real(qins.entropy));
        qn_json_put(&coded, key, coders);
        if (bits == 8)
            chosen = qn_json_copy(best);
        json_decref(best);
        qn_json_append(&rates, row);
    }
    if (signal > 0.0) {
        qn_json_put(&chosen, "from", json_string("8 bits"));
        qn_json_put(&chosen, "bits_per_weight", qn_json_real(8.0));
    }
    qn_json_put(j, "entropy_bits", entropy);
    qn_json_put(j, "coded_bits", coded);
    qn_json_put(j, "fixed_rates", rates);
    qn_json_put(j, "chosen", chosen);
}

/* On the grid on which layers take them as codes, where a transport says so. */
static json_t *on_transport(const struct qn_report_builder *b, const char *name,
                            const struct cells *c)
{
    const struct qn_transport *t = &b->transport;
    const double all = c->zeros + c->negative + c->positive;
    size_t i = 0;
    while (i < t->n_inputs && strcmp(t->inputs[i].name, name) != 0)
        i++;
    if (i == t->n_inputs || !(c->largest > 0.0) || !(t->inputs[i].scale > 0.0F))
        return json_null();
    const double scale = (double)t->inputs[i].scale;
    const unsigned levels = t->inputs[i].levels;
    struct grid_figures f = {.kappa = (double)t->inputs[i].kappa, .clip = scale / c->largest};
    const struct qn_level_moments inside = below(c, scale);
    predict(c, levels, &f);
    json_t *j = json_object();
    qn_json_put(&j, "input", json_integer((json_int_t)i));
    qn_json_put(&j, "levels", json_integer(levels));
    qn_json_put(&j, "kappa", qn_json_real(f.kappa));
    qn_json_put(&j, "scale", qn_json_real(scale));
    qn_json_put(&j, "clip", qn_json_real(f.clip));
    qn_json_put(&j, "sqnr_db",
                qn_json_real(qn_report_decibels(c->square[QN_CALIBRATION_CELLS], f.error)));
    qn_json_put(&j, "entropy_bits", qn_json_real(f.entropy));
    qn_json_put(&j, "clipped_share",
                qn_json_real((c->count[QN_CALIBRATION_CELLS] - inside.m0) / all));
    return j;
}

static json_t *statistics(const struct cells *c, const struct qn_calibration_point *p)
{
    const double all = c->negative + c->zeros + c->positive;
    double sum = 0.0, magnitudes = 0.0, squares = 0.0, least = 0.0, most = 0.0;
    json_t *j = json_object();
    for (uint32_t i = 0; i < p->channels; i++) {
        sum += qn_point_sum(p, QN_SUM)[i];
        magnitudes += qn_point_sum(p, QN_SUM_ABS)[i];
        squares += qn_point_sum(p, QN_SUM_SQUARES)[i];
        least = i ? fmin(least, (double)p->min[i]) : (double)p->min[i];
        most = i ? fmax(most, (double)p->max[i]) : (double)p->max[i];
    }
    qn_json_put(&j, "zeros", qn_json_real(c->zeros));
    qn_json_put(&j, "min", qn_json_real(least));
    qn_json_put(&j, "max", qn_json_real(most));
    qn_json_put(&j, "abs_max", qn_json_real(c->largest));
    qn_json_put(&j, "mean", qn_json_real(sum / all));
    qn_json_put(&j, "mean_abs", qn_json_real(magnitudes / all));
    qn_json_put(&j, "rms", qn_json_real(sqrt(squares / all)));
    return j;
}

static json_t *describe(const struct qn_report_builder *b, const struct qn_calibration_point *p,
                        const struct cells *c)
{
    const double tokens = (double)b->calibration.c.tokens;
    char component[COMPONENT_SIZE];
    json_t *j = json_object(), *shape = json_array(), *remarks = json_array();
    snprintf(component, sizeof component, "input of %s", qn_tap_kind_name(p->kind));
    if (p->kind == QN_TAP_VALUE || p->kind == QN_TAP_CAPTURED)
        snprintf(component, sizeof component, "%s", qn_tap_kind_name(p->kind));
    qn_json_append(&shape, json_integer((json_int_t)p->rows));
    qn_json_append(&shape, json_integer(p->channels));
    qn_json_put(&j, "name", qn_json_text(p->name));
    qn_json_put(&j, "kind", json_string("activation"));
    qn_json_put(&j, "component", json_string(component));
    qn_json_put(&j, "layer", p->layer != QN_POINT_NONE ? json_integer(p->layer) : json_null());
    qn_json_put(&j, "dtype", json_string("F32"));
    qn_json_put(&j, "shape", shape);
    qn_json_put(&j, "numel", json_integer((json_int_t)p->rows * (json_int_t)p->channels));
    qn_json_put(&j, "source_bytes", json_null());
    qn_json_put(&j, "access_frequency",
                qn_json_real(tokens > 0.0 ? (double)p->rows / tokens : (double)NAN));
    qn_json_put(&j, "class", json_string(qn_class_name(QN_CLASS_UNKNOWN)));
    qn_json_put(&j, "granularity", json_string("tensor"));
    qn_json_put(&j, "statistics", p->rows ? statistics(c, p) : json_null());
    qn_json_put(&j, "remarks", remarks);
    put_rates(c, &j);
    qn_json_put(&j, "transport", on_transport(b, p->name, c));
    return j;
}

enum qins_status qn_report_add_activations(struct qn_report_builder *b, struct qins_error *err)
{
    const struct qn_calibration *calibration = &b->calibration.c;
    struct cells *c = b->has_calibration ? malloc(sizeof *c) : NULL;
    enum qins_status st = QINS_OK;
    if (!b->has_calibration)
        return QINS_OK;
    if (!c)
        return qn_fail_memory(err);
    for (size_t i = 0; i < calibration->n_points && st == QINS_OK; i++) {
        const struct qn_calibration_point *p = &calibration->points[i];
        st = qn_check_stop(b->monitor, err);
        if (st != QINS_OK)
            break;
        fill(c, p);
        if (json_array_append_new(b->tensors, describe(b, p, c)) != 0)
            st = qn_fail_memory(err);
    }
    free(c);
    return st;
}
