/* Fits of transports: their outputs against those of tests/e2e/transport_reference.py, and what
 * must stay finite. */
#include "convert/transport_fit.h"
#include "core/linalg.h"
#include "formats/codec/quant.h"
#include "tests/unit/testing.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 8, TEST_ROWS = 40, MOST_ROWS = 300, MOST_OUT = 8, SEED = 20251 };

struct expected_case {
    const char *name;
    size_t fit_rows, n_out;
    struct qn_fit_choice choice;
    bool outlier, plain_output;
    struct qn_fit_error error; /* on test rows */
    double corner[6];          /* outputs 0 … 2 of test rows 0 and 1 */
};

#include "tests/unit/transport_expected.h"

struct data {
    float fit[MOST_ROWS][CHANNELS], test[TEST_ROWS][CHANNELS], w[MOST_OUT][CHANNELS];
    struct qn_fit_rows rows;
};

static double half(uint64_t *state)
{
    return (double)(test_random(state) >> 40) * 0x1p-24 - 0.5;
}

/* As test_rows() of the reference. */
static void fill_rows(uint64_t *state, size_t n, bool outlier, float (*x)[CHANNELS])
{
    for (size_t i = 0; i < n; i++) {
        double g[CHANNELS];
        for (size_t j = 0; j < CHANNELS; j++) {
            g[j] = half(state);
            g[j] += half(state);
            g[j] += half(state);
        }
        const double row[CHANNELS] = {
            g[0],       0.375, 0.0, g[3] / 64, fabs(g[4]), g[0] / 2 + g[5] / 16, g[6] * g[6] * g[6],
            g[7] / 1024};
        for (size_t j = 0; j < CHANNELS; j++)
            x[i][j] = (float)row[j];
    }
    if (outlier)
        x[5][3] = 40.0F;
}

static void set_rows(struct data *d, size_t fit_rows)
{
    bool finite = true;
    const float a = qn_abs_max(d->fit[0], fit_rows * CHANNELS, &finite);
    const float b = qn_abs_max(d->test[0], sizeof d->test / sizeof(float), &finite);
    assert_true(finite);
    d->rows = (struct qn_fit_rows){.x = {d->fit[0], d->test[0], d->test[0]},
                                   .rows = {fit_rows, TEST_ROWS, TEST_ROWS},
                                   .channels = CHANNELS,
                                   .abs_max = fmaxf(a, b)};
}

static void fill(struct data *d, size_t fit_rows, bool outlier, size_t n_out)
{
    uint64_t state = SEED;
    fill_rows(&state, fit_rows, outlier, d->fit);
    fill_rows(&state, TEST_ROWS, false, d->test);
    for (size_t i = 0; i < n_out; i++)
        for (size_t j = 0; j < CHANNELS; j++)
            d->w[i][j] = (float)half(&state);
    set_rows(d, fit_rows);
}

static void plain_outputs(const struct data *d, size_t n_out, double *y)
{
    for (size_t i = 0; i < TEST_ROWS; i++)
        for (size_t o = 0; o < n_out; o++) {
            double sum = 0;
            for (size_t j = 0; j < CHANNELS; j++)
                sum += (double)d->test[i][j] * (double)d->w[o][j];
            y[i * n_out + o] = sum;
        }
}

static void assert_near(double a, double b, double relative)
{
    if (!(fabs(a - b) <= relative * fmax(fabs(a), fabs(b)) + DBL_MIN))
        fail_msg("%.17g is not %.17g", a, b);
}

/* Outputs of a float32 transport, as a native layer makes them. */
static void native_outputs(const struct data *d, const struct qn_transport_input *in,
                           const struct qn_transport_layer *l, size_t n_out, double *y)
{
    const unsigned planes = qn_transport_planes(in);
    const size_t step = 2 * (size_t)in->levels + 1;
    float *table = malloc((planes + 1) * step * sizeof *table);
    struct qn_grid grid;
    uint16_t codes[CHANNELS];
    assert_non_null(table);
    assert_true(qn_grid_init(&grid, QN_GRID_QINS, in->levels, in->kappa));
    assert_int_equal(qn_transport_features(in, table, NULL), QINS_OK);
    for (size_t i = 0; i < TEST_ROWS; i++) {
        qn_quantise(&grid, in->scale, d->test[i], CHANNELS, codes);
        for (size_t o = 0; o < n_out; o++) {
            double sum = 0;
            for (size_t f = 0; f < planes * (size_t)CHANNELS; f++)
                sum += (double)l->planes[o * planes * CHANNELS + f] *
                       (double)table[f / CHANNELS * step + codes[f % CHANNELS]];
            if (l->output_scale)
                sum *= (double)l->output_scale[o];
            if (l->output_offset)
                sum += (double)l->output_offset[o];
            if (l->output_alpha > 0) {
                const double m = fmin(fmax(fabs(sum), (double)l->output_floor), 1.0);
                sum = copysign((1 - m) / ((double)l->output_alpha * m), sum);
            }
            y[i * n_out + o] = sum;
        }
    }
    free(table);
}

/* What is stored computes what was fitted. */
static void check_stored(const struct data *d, const struct qn_fit *f,
                         const struct qn_fit_output *o, size_t n_out, const double *y)
{
    struct qn_transport_input in = {0};
    struct qn_transport_layer l = {0};
    double stored[TEST_ROWS * MOST_OUT];
    assert_int_equal(qn_fit_store_input(f, &in, NULL), QINS_OK);
    assert_int_equal(qn_fit_store_layer(f, o, d->w[0], n_out, true, &l, NULL), QINS_OK);
    assert_int_equal(l.out, n_out);
    if (f->planes > 0) {
        native_outputs(d, &in, &l, n_out, stored);
        assert_true(qn_fit_compare(y, stored, TEST_ROWS * n_out).relative < 1e-5);
    }
    assert_true((in.coefficients != NULL) == (f->coefficients != NULL));
    assert_true((l.planes != NULL) == (f->choice.method != QN_DECODE));
    free(in.coefficients);
    free(l.planes);
    free(l.output_scale);
    free(l.output_offset);
}

/* A clamp leaves 0 or the largest output that the floor lets through. */
static void check_clamped(const struct qn_fit_output *o, const double *native, size_t n)
{
    uint64_t clamped = 0;
    const double most = o->alpha > 0 ? (1 - o->floor) / (o->alpha * o->floor) : 0;
    for (size_t i = 0; i < n && o->alpha > 0; i++)
        clamped += native[i] == 0 || fabs(native[i]) >= most;
    assert_int_equal(o->clamped, clamped);
}

static void check_case(const struct expected_case *c)
{
    static struct data d;
    static double y[TEST_ROWS * MOST_OUT], native[TEST_ROWS * MOST_OUT];
    struct qn_fit f;
    struct qn_fit_output o;
    struct qins_error err;
    fill(&d, c->fit_rows, c->outlier, c->n_out);
    assert_int_equal(qn_fit_make(&d.rows, &c->choice, &f, &err), QINS_OK);
    assert_int_equal(qn_fit_output_make(&f, &d.rows, d.w[0], c->n_out, &o, &err), QINS_OK);
    if (c->plain_output)
        o.alpha = 0;
    assert_int_equal(qn_fit_outputs(&f, &o, d.w[0], c->n_out, d.test[0], TEST_ROWS, native, &err),
                     QINS_OK);
    plain_outputs(&d, c->n_out, y);
    const struct qn_fit_error e = qn_fit_compare(y, native, TEST_ROWS * c->n_out);
    /* Of the outputs, not of the errors that are a thousandth of them. */
    assert_near(e.relative, c->error.relative, 1e-7);
    assert_near(e.squared, c->error.squared, 1e-7);
    for (size_t i = 0; i < 6; i++)
        assert_near(native[i / 3 * c->n_out + i % 3], c->corner[i], 1e-7);
    check_stored(&d, &f, &o, c->n_out, native);
    check_clamped(&o, native, TEST_ROWS * c->n_out);
    assert_int_equal(f.clamped, 0);
    qn_fit_output_finish(&o);
    qn_fit_finish(&f);
}

static void test_expected(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("%s\n", cases[i].name);
        check_case(&cases[i]);
    }
}

static void check_finite(const double *x, size_t n)
{
    for (size_t i = 0; i < n && x; i++)
        assert_true(isfinite(x[i]));
}

/* Whatever the rows and the choice. */
static void check_all_finite(const struct data *d, const struct qn_fit_choice *c)
{
    static double y[TEST_ROWS * MOST_OUT];
    struct qn_fit f;
    struct qn_fit_output o;
    struct qins_error err;
    struct qn_transport_input in = {0};
    struct qn_transport_layer l = {0};
    bool finite = true;
    assert_int_equal(qn_fit_make(&d->rows, c, &f, &err), QINS_OK);
    assert_int_equal(qn_fit_output_make(&f, &d->rows, d->w[0], MOST_OUT, &o, &err), QINS_OK);
    assert_int_equal(qn_fit_outputs(&f, &o, d->w[0], MOST_OUT, d->test[0], TEST_ROWS, y, &err),
                     QINS_OK);
    check_finite(y, (size_t)TEST_ROWS * MOST_OUT);
    check_finite(f.coefficients, (size_t)f.planes * CHANNELS);
    check_finite(f.map, (size_t)f.planes * CHANNELS * CHANNELS);
    check_finite(o.scale, MOST_OUT);
    check_finite(o.offset, MOST_OUT);
    assert_int_equal(qn_fit_store_input(&f, &in, NULL), QINS_OK);
    assert_int_equal(qn_fit_store_layer(&f, &o, d->w[0], MOST_OUT, true, &l, NULL), QINS_OK);
    if (in.coefficients)
        qn_abs_max(in.coefficients, (size_t)f.planes * CHANNELS, &finite);
    if (l.planes)
        qn_abs_max(l.planes, (size_t)f.planes * CHANNELS * MOST_OUT, &finite);
    if (l.output_scale)
        qn_abs_max(l.output_scale, MOST_OUT, &finite);
    if (l.output_offset)
        qn_abs_max(l.output_offset, MOST_OUT, &finite);
    assert_true(finite && isfinite(l.output_alpha) && isfinite(l.output_floor));
    free(in.coefficients);
    free(l.planes);
    free(l.output_scale);
    free(l.output_offset);
    qn_fit_output_finish(&o);
    qn_fit_finish(&f);
}

static void check_every_choice(const struct data *d)
{
    static const unsigned levels[] = {1, 31, 63, 127};
    static const float kappas[] = {0.0F, 1.0F, 16.0F, QN_MAX_KAPPA};
    static const float clips[] = {1.0F, 0.2F, 0.0F};
    static const double ridges[] = {0.0, 1e-6, INFINITY};
    for (unsigned m = 0; m < QN_TRANSPORT_METHODS; m++)
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
            for (size_t k = 0; k < sizeof kappas / sizeof *kappas; k++)
                for (size_t c = 0; c < 2 * sizeof clips / sizeof *clips; c++) {
                    const struct qn_fit_choice choice = {.method = (enum qn_transport_method)m,
                                                         .order = 4,
                                                         .sign_plane = c % 2,
                                                         .square = c % 2,
                                                         .levels = levels[i],
                                                         .kappa = kappas[k],
                                                         .clip = clips[c / 2],
                                                         .ridge = ridges[c / 2]};
                    if (kappas[k] > 0 || !qn_transport_is_jacobian(choice.method))
                        check_all_finite(d, &choice);
                }
}

/* Zeros; one value in all; huge and tiny ones; a row; none. */
static void test_finite(void **state)
{
    (void)state;
    static struct data d;
    fill(&d, 20, false, MOST_OUT);
    set_rows(&d, 0);
    check_every_choice(&d);
    set_rows(&d, 1);
    check_every_choice(&d);
    set_rows(&d, 20);
    check_every_choice(&d);
    memset(d.fit, 0, sizeof d.fit);
    memset(d.test, 0, sizeof d.test);
    set_rows(&d, 20);
    check_every_choice(&d);
    d.fit[3][2] = 40.0F;
    set_rows(&d, 20);
    check_every_choice(&d);
    d.fit[3][2] = 1e-42F;
    set_rows(&d, 20);
    check_every_choice(&d);
    for (size_t i = 0; i < (size_t)20 * CHANNELS; i++)
        d.fit[i / CHANNELS][i % CHANNELS] = i % 3 ? -3e38F : 1e-40F;
    memset(d.w, 0, sizeof d.w);
    d.w[1][1] = 0.5F;
    set_rows(&d, 20);
    check_every_choice(&d);
}

/* A dead channel, a scale of 0 and no rows leave what decoding gives. */
static void test_fallback(void **state)
{
    (void)state;
    static struct data d;
    const struct qn_fit_choice choice = {
        .method = QN_SPLIT, .order = 4, .levels = 127, .kappa = 1.0F, .clip = 1.0F};
    struct qn_fit fits[QN_TRANSPORT_ORDER], zero, none;
    double value[CHANNELS];
    fill(&d, 300, false, MOST_OUT);
    assert_int_equal(qn_fit_make_orders(&d.rows, &choice, fits, NULL), QINS_OK);
    d.rows.rows[QN_ROWS_FIT] = 0;
    assert_int_equal(qn_fit_make(&d.rows, &choice, &none, NULL), QINS_OK);
    d.rows.abs_max = 0;
    assert_int_equal(qn_fit_make(&d.rows, &choice, &zero, NULL), QINS_OK);
    const float x[CHANNELS] = {0, 0.25F, -0.25F, 1.0F, -1.0F, 0.0F, 0.125F, 0.5F};
    assert_int_equal(qn_fit_apply(&none, x, 1, value, NULL), QINS_OK);
    for (size_t j = 0; j < CHANNELS; j++)
        assert_true(fabs(value[j] - (double)x[j]) < 0.01);
    assert_int_equal(qn_fit_apply(&zero, x, 1, value, NULL), QINS_OK);
    for (size_t j = 0; j < CHANNELS; j++)
        assert_true(value[j] == 0);
    const float dead[CHANNELS] = {0, 0, 0.5F};
    assert_int_equal(qn_fit_apply(&fits[3], dead, 1, value, NULL), QINS_OK);
    assert_true(fabs(value[2] - 0.5) < 0.01 && value[0] == 0);
    qn_fit_finish(&zero);
    qn_fit_finish(&none);
    for (unsigned i = 0; i < QN_TRANSPORT_ORDER; i++)
        qn_fit_finish(&fits[i]);
}

/* All orders at once are each alone. */
static void test_orders(void **state)
{
    (void)state;
    static struct data d;
    struct qn_fit_choice choice = {.method = QN_SPLIT,
                                   .order = QN_TRANSPORT_ORDER,
                                   .sign_plane = true,
                                   .levels = 63,
                                   .kappa = 3.0F,
                                   .clip = 0.5F};
    struct qn_fit fits[QN_TRANSPORT_ORDER], one;
    fill(&d, 100, true, MOST_OUT);
    assert_int_equal(qn_fit_make_orders(&d.rows, &choice, fits, NULL), QINS_OK);
    for (unsigned i = 0; i < QN_TRANSPORT_ORDER; i++) {
        choice.order = i + 1;
        assert_int_equal(qn_fit_make(&d.rows, &choice, &one, NULL), QINS_OK);
        assert_int_equal(fits[i].planes, i + 2);
        assert_memory_equal(one.coefficients, fits[i].coefficients,
                            (size_t)one.planes * CHANNELS * sizeof(double));
        qn_fit_finish(&one);
        qn_fit_finish(&fits[i]);
    }
}

static void test_codes(void **state)
{
    (void)state;
    const float x[5] = {0.0F, -2.0F, 0.5F, 1.5F, -1.0F};
    const struct qn_fit f = {.choice = {.levels = 127}, .scale = 1.0F};
    uint16_t codes[5];
    assert_int_equal(qn_fit_encode(&f, x, 5, codes), 2);
    assert_int_equal(codes[0], 127);
    assert_int_equal(codes[1], 0);
    assert_int_equal(codes[2], 127 + 64);
    assert_int_equal(codes[3], 254);
    assert_int_equal(codes[4], 0);
}

static void test_errors(void **state)
{
    (void)state;
    const double y[2] = {1, -3}, z[2] = {0, 0}, native[2] = {1.5, -3};
    struct qn_fit_error e = qn_fit_compare(y, native, 2);
    assert_true(e.relative == 0.125 && e.squared == 0.025);
    e = qn_fit_compare(z, z, 2);
    assert_true(e.relative == 0 && e.squared == 0);
    e = qn_fit_compare(z, native, 2);
    assert_true(e.relative == DBL_MAX && e.squared == DBL_MAX);
}

static void refuse(const struct qn_fit_rows *r, struct qn_fit_choice c, enum qins_status st)
{
    struct qn_fit f;
    struct qins_error err;
    assert_int_equal(qn_fit_make(r, &c, &f, &err), st);
    qn_fit_finish(&f);
}

/* A fit for square layers, and one that is not. */
static void refuse_output(const struct data *d, const struct qn_fit_choice *c, size_t n_out)
{
    struct qn_fit f;
    struct qn_fit_output o;
    struct qins_error err;
    assert_int_equal(qn_fit_make(&d->rows, c, &f, &err), QINS_OK);
    assert_int_equal(qn_fit_output_make(&f, &d->rows, d->w[0], n_out, &o, &err), QINS_ERR_USAGE);
    qn_fit_output_finish(&o);
    qn_fit_finish(&f);
}

static void test_refused(void **state)
{
    (void)state;
    static struct data d;
    const struct qn_fit_choice good = {
        .method = QN_SPLIT, .order = 2, .levels = 127, .kappa = 1.0F, .clip = 1.0F};
    struct qn_fit_choice c = good;
    fill(&d, 20, false, MOST_OUT);
    c.order = QN_TRANSPORT_ORDER + 1;
    refuse(&d.rows, c, QINS_ERR_USAGE);
    c.method = QN_RIDGE;
    refuse(&d.rows, c, QINS_ERR_USAGE);
    c = good;
    c.kappa = -1.0F;
    refuse(&d.rows, c, QINS_ERR_USAGE);
    c = good;
    c.clip = NAN;
    refuse(&d.rows, c, QINS_ERR_USAGE);
    c = good;
    c.method = QN_JACOBIAN_TANGENT;
    c.kappa = 0.0F;
    refuse(&d.rows, c, QINS_ERR_UNSUPPORTED);
    c = good;
    c.method = QN_RIDGE;
    c.method = QN_JACOBIAN_LITERAL;
    c.square = true;
    refuse_output(&d, &c, MOST_OUT - 1);
    c = good;
    c.method = QN_RIDGE;
    struct qn_fit_rows wide = {.channels = QN_RIDGE_FEATURES / 2 + 1, .abs_max = 1.0F};
    refuse(&wide, c, QINS_ERR_UNSUPPORTED);
}

/* Two right sides; and a matrix that is not positive definite. */
static void test_solver(void **state)
{
    (void)state;
    double a[9] = {1, 2, 3, 0, 5, 10, 0, 0, 35}, b[6] = {1, 2, 3, 3, 9, 31};
    double bad[4] = {1, 2, 0, 1}, c[2] = {1, 1};
    const double x[6] = {1, 0, 0, 2, -1, 1};
    bool definite = false;
    assert_int_equal(qn_dposv(3, 2, a, 3, b, 3, &definite, NULL), QINS_OK);
    assert_true(definite);
    for (size_t i = 0; i < 6; i++)
        assert_true(fabs(b[i] - x[i]) < 1e-12);
    assert_int_equal(qn_dposv(2, 1, bad, 2, c, 2, &definite, NULL), QINS_OK);
    assert_false(definite);
}

static int set_up(void **state)
{
    struct qins_error err;
    (void)state;
    return qn_linalg_init(&err) != QINS_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expected), cmocka_unit_test(test_finite),
        cmocka_unit_test(test_fallback), cmocka_unit_test(test_orders),
        cmocka_unit_test(test_codes),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_solver),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
