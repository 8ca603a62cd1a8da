/* One choice for an input: how far its layers' outputs are from what they should be. */
#include "convert/transport_work.h"
#include "core/linalg.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_ROWS = 256,       /* that are in work at a time */
    LEAST_SEARCH_ROWS = 64, /* where a search takes a sample of the select rows */
};
/* Multiplications of a trial in a search, above which it takes a sample. */
static const size_t search_products = (size_t)1 << 26;

enum qins_status qn_trial_scratch_init(struct qn_trial_scratch *s, const struct qn_point_work *p,
                                       struct qins_error *err)
{
    const size_t most = p->n_out > p->rows.channels ? p->n_out : p->rows.channels;
    s->values = malloc(BLOCK_ROWS * most * sizeof *s->values);
    s->differences = malloc(BLOCK_ROWS * p->rows.channels * sizeof *s->differences);
    s->outputs = malloc(BLOCK_ROWS * most * sizeof *s->outputs);
    return s->values && s->differences && s->outputs ? QINS_OK : qn_fail_memory(err);
}

void qn_trial_scratch_finish(struct qn_trial_scratch *s)
{
    free(s->values);
    free(s->differences);
    free(s->outputs);
    *s = (struct qn_trial_scratch){0};
}

static size_t block_rows(size_t rows, size_t first)
{
    return rows - first < BLOCK_ROWS ? rows - first : BLOCK_ROWS;
}

/* OUT[rows][n_out] = X W^T */
static void multiply(const float *x, size_t rows, size_t channels, const float *w, size_t n_out,
                     float *out)
{
    qn_sgemm(false, true, rows, n_out, channels, 1.0F, x, channels, w, channels, 0.0F, out, n_out);
}

static void add_values(struct qn_output_sums *sums, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double v = y[i];
        sums->abs += fabs(v);
        sums->squares += v * v;
    }
}

/* Sums over the outputs of each layer on ROWS rows. */
static void sum_outputs(const struct qn_point_work *p, const float *x, size_t rows,
                        struct qn_output_sums *sums, size_t step, float *outputs)
{
    const size_t channels = p->rows.channels;
    for (size_t first = 0; first < rows; first += BLOCK_ROWS) {
        const size_t n = block_rows(rows, first);
        const float *w = p->w;
        for (size_t i = 0; i < p->n_layers; i++) {
            const size_t out = p->layers[i].part.out;
            multiply(x + first * channels, n, channels, w, out, outputs);
            add_values(&sums[i * step], outputs, n * out);
            w += out * channels;
        }
    }
}

enum qins_status qn_trials_prepare(struct qn_point_work *p, struct qins_error *err)
{
    const size_t channels = p->rows.channels;
    const size_t width = p->n_out < channels ? p->n_out : channels;
    struct qn_trial_scratch s = {0};
    enum qins_status st = qn_trial_scratch_init(&s, p, err);
    p->outputs = calloc(p->n_layers, sizeof *p->outputs);
    if (st == QINS_OK && !p->outputs)
        st = qn_fail_memory(err);
    if (st != QINS_OK)
        goto done;
    for (int part = QN_ROWS_SELECT; part <= QN_ROWS_TEST; part++)
        sum_outputs(p, p->rows.x[part], p->rows.rows[part], &p->outputs[0][part - QN_ROWS_SELECT],
                    2, s.outputs);
    p->search_rows = p->rows.rows[QN_ROWS_SELECT];
    if (p->search_rows > LEAST_SEARCH_ROWS && p->search_rows > search_products / (channels * width))
        p->search_rows = search_products / (channels * width) > LEAST_SEARCH_ROWS
                             ? search_products / (channels * width)
                             : LEAST_SEARCH_ROWS;
    if (p->n_out > channels) {
        p->gram = malloc(channels * channels * sizeof *p->gram);
        if (!p->gram) {
            st = qn_fail_memory(err);
            goto done;
        }
        qn_sgemm(true, false, channels, channels, p->n_out, 1.0F, p->w, channels, p->w, channels,
                 0.0F, p->gram, channels);
    }
done:
    qn_trial_scratch_finish(&s);
    return st;
}

/* What stands for X in the products, less X. */
static enum qins_status input_differences(const struct qn_fit *f, const float *x, size_t rows,
                                          struct qn_trial_scratch *s, struct qins_error *err)
{
    const size_t n = rows * f->channels;
    enum qins_status st = qn_fit_apply(f, x, rows, s->values, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        s->differences[i] = (float)(s->values[i] - (double)x[i]);
    return st;
}

/* The squared error of all layers' outputs on ROWS rows. */
static enum qins_status add_search_block(const struct qn_point_work *p, const struct qn_fit *f,
                                         const float *x, size_t rows, struct qn_trial_scratch *s,
                                         double *error, struct qins_error *err)
{
    const size_t channels = p->rows.channels;
    struct qn_output_sums sums = {0};
    enum qins_status st = input_differences(f, x, rows, s, err);
    if (st != QINS_OK)
        return st;
    if (!p->gram) {
        multiply(s->differences, rows, channels, p->w, p->n_out, s->outputs);
        add_values(&sums, s->outputs, rows * p->n_out);
        *error += sums.squares;
        return QINS_OK;
    }
    /* |W d|^2 = d^T (W^T W) d */
    multiply(s->differences, rows, channels, p->gram, channels, s->outputs);
    for (size_t i = 0; i < rows * channels; i++)
        *error += (double)s->differences[i] * (double)s->outputs[i];
    return QINS_OK;
}

enum qins_status qn_trial_search(const struct qn_point_work *p, struct qn_trial *t, size_t n,
                                 size_t step, struct qn_trial_scratch *s, struct qins_error *err)
{
    const float *x = p->rows.x[QN_ROWS_SELECT];
    const struct qn_fit_choice *most = &t[(n - 1) * step].choice;
    struct qn_fit fits[QN_TRANSPORT_ORDER] = {{.channels = 0}};
    enum qins_status st = most->method == QN_SPLIT ? qn_fit_make_orders(&p->rows, most, fits, err)
                                                   : qn_fit_make(&p->rows, most, fits, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        double error = 0.0;
        for (size_t first = 0; first < p->search_rows && st == QINS_OK; first += BLOCK_ROWS)
            st = add_search_block(p, &fits[i], x + first * p->rows.channels,
                                  block_rows(p->search_rows, first), s, &error, err);
        t[i * step].search = isfinite(error) ? error : INFINITY;
    }
    for (size_t i = 0; i < QN_TRANSPORT_ORDER; i++)
        qn_fit_finish(&fits[i]);
    return st;
}

/* A trial that is measured: its fit, and sums of each layer's errors. */
struct measurement {
    const struct qn_point_work *p;
    const struct qn_trial *t;
    struct qn_trial_scratch *s;
    const struct qn_fit *fit;
    struct qn_fit_output *ends;         /* [n_layers], of Jacobians */
    struct qn_output_sums (*errors)[2]; /* [n_layers] */
};

static enum qins_status add_linear(struct measurement *m, const float *x, size_t rows, int part,
                                   struct qins_error *err)
{
    const struct qn_point_work *p = m->p;
    const float *w = p->w;
    enum qins_status st = input_differences(m->fit, x, rows, m->s, err);
    for (size_t i = 0; i < p->n_layers && st == QINS_OK; i++) {
        const size_t out = p->layers[i].part.out;
        multiply(m->s->differences, rows, p->rows.channels, w, out, m->s->outputs);
        add_values(&m->errors[i][part], m->s->outputs, rows * out);
        w += out * p->rows.channels;
    }
    return st;
}

static enum qins_status add_jacobian(struct measurement *m, const float *x, size_t rows, int part,
                                     struct qins_error *err)
{
    const struct qn_point_work *p = m->p;
    const float *w = p->w;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < p->n_layers && st == QINS_OK; i++) {
        const size_t out = p->layers[i].part.out;
        multiply(x, rows, p->rows.channels, w, out, m->s->outputs);
        st = qn_fit_outputs(m->fit, &m->ends[i], w, out, x, rows, m->s->values, err);
        for (size_t k = 0; k < rows * out && st == QINS_OK; k++) {
            const double d = m->s->values[k] - (double)m->s->outputs[k];
            m->errors[i][part].abs += fabs(d);
            m->errors[i][part].squares += d * d;
        }
        w += out * p->rows.channels;
    }
    return st;
}

static enum qins_status make_ends(struct measurement *m, struct qins_error *err)
{
    const struct qn_point_work *p = m->p;
    const float *w = p->w;
    enum qins_status st = QINS_OK;
    m->ends = calloc(p->n_layers, sizeof *m->ends);
    if (!m->ends)
        return qn_fail_memory(err);
    for (size_t i = 0; i < p->n_layers && st == QINS_OK; i++) {
        const size_t out = p->layers[i].part.out;
        st = qn_fit_output_make(m->fit, &p->rows, w, out, &m->ends[i], err);
        if (m->t->plain_output)
            m->ends[i].alpha = 0.0;
        w += out * p->rows.channels;
    }
    return st;
}

/* As qn_fit_compare() has it; what is no number is as bad as can be. */
static double ratio(double a, double b)
{
    if (a == 0.0)
        return 0.0;
    return isfinite(a / b) ? a / b : DBL_MAX;
}

static struct qn_fit_error figures(struct qn_output_sums error, struct qn_output_sums of)
{
    return (struct qn_fit_error){ratio(error.abs, of.abs), ratio(error.squares, of.squares)};
}

static void add_sums(struct qn_output_sums *into, struct qn_output_sums from)
{
    into->abs += from.abs;
    into->squares += from.squares;
}

static void sum_up(const struct measurement *m, struct qn_trial *t)
{
    const struct qn_point_work *p = m->p;
    struct qn_output_sums errors[2] = {{0}}, outputs[2] = {{0}};
    for (size_t i = 0; i < p->n_layers; i++) {
        t->errors[i] = (struct qn_trial_errors){figures(m->errors[i][0], p->outputs[i][0]),
                                                figures(m->errors[i][1], p->outputs[i][1])};
        for (int part = 0; part < 2; part++) {
            add_sums(&errors[part], m->errors[i][part]);
            add_sums(&outputs[part], p->outputs[i][part]);
        }
    }
    t->together =
        (struct qn_trial_errors){figures(errors[0], outputs[0]), figures(errors[1], outputs[1])};
    t->clamped = m->fit->clamped;
    for (size_t i = 0; i < p->n_layers && m->ends; i++)
        t->clamped += m->ends[i].clamped;
}

static enum qins_status run_measurement(struct measurement *m, struct qins_error *err)
{
    const struct qn_point_work *p = m->p;
    const bool jacobian = qn_transport_is_jacobian(m->t->choice.method);
    enum qins_status st = jacobian ? make_ends(m, err) : QINS_OK;
    for (int part = QN_ROWS_SELECT; part <= QN_ROWS_TEST; part++)
        for (size_t first = 0; first < p->rows.rows[part] && st == QINS_OK; first += BLOCK_ROWS) {
            const float *x = p->rows.x[part] + first * p->rows.channels;
            const size_t n = block_rows(p->rows.rows[part], first);
            st = jacobian ? add_jacobian(m, x, n, part - QN_ROWS_SELECT, err)
                          : add_linear(m, x, n, part - QN_ROWS_SELECT, err);
        }
    return st;
}

enum qins_status qn_trial_measure(const struct qn_point_work *p, struct qn_trial *t,
                                  const struct qn_fit *fit, struct qn_trial_scratch *s,
                                  struct qins_error *err)
{
    struct measurement m = {.p = p, .t = t, .s = s, .fit = fit};
    m.errors = calloc(p->n_layers, sizeof *m.errors);
    t->errors = calloc(p->n_layers, sizeof *t->errors);
    if (!m.errors || !t->errors) {
        free(m.errors);
        return qn_fail_memory(err);
    }
    enum qins_status st = run_measurement(&m, err);
    if (st == QINS_OK)
        sum_up(&m, t);
    for (size_t i = 0; i < p->n_layers && m.ends; i++)
        qn_fit_output_finish(&m.ends[i]);
    free(m.ends);
    free(m.errors);
    return st;
}
