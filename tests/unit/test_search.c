#include "tests/unit/codec_samples.h"

#include "formats/codec/quant.h"
#include "formats/codec/search.h"

#include <stdio.h>
#include <stdlib.h>

enum { WHOLE = 1 << 20, PART = 1 << 18, ROW = 4096, SMALL = 256 };

static struct qn_hist hist;
static float x[WHOLE], y[WHOLE];
static uint16_t codes[WHOLE];

static void fill_histogram(size_t n, size_t group)
{
    hist = (struct qn_hist){0};
    for (size_t i = 0; i < n; i += group) {
        bool finite = true;
        qn_hist_add(&hist, qn_abs_max(x + i, group, &finite), x + i, group);
    }
}

/* Squared error of really quantising. */
static double direct_error(size_t n, size_t group, unsigned levels, float kappa, float clip)
{
    struct qn_grid g;
    double error = 0.0;
    assert_true(qn_grid_init(&g, QN_GRID_QINS, levels, kappa));
    for (size_t i = 0; i < n; i += group) {
        bool finite = true;
        float scale = clip * qn_abs_max(x + i, group, &finite);
        qn_quantise(&g, scale, x + i, group, codes + i);
        qn_dequantise(&g, scale, codes + i, group, y + i);
    }
    for (size_t i = 0; i < n; i++)
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return error;
}

/* The histograms predict SQNR to 0.003 dB; the small groups and 12 bits are allowed more. */
static void prediction(void **state)
{
    (void)state;
    static const size_t groups[] = {PART, ROW, SMALL};
    static const unsigned levels[] = {1, 7, 31, 127, 2047};
    static const float candidates[][2] = {{0.0f, 1.0f}, {1.5f, 1.0f}, {4.0f, 0.8f}, {64.0f, 0.3f}};
    double worst = 0.0;
    for (int law = SAMPLE_GAUSSIAN; law <= SAMPLE_STUDENT_T5; law++) {
        sample_fill((enum sample_law)law, 0.02f, x, PART);
        for (size_t g = 0; g < 3; g++) {
            fill_histogram(PART, groups[g]);
            for (size_t l = 0; l < 5; l++)
                for (size_t c = 0; c < 4; c++) {
                    float kappa = candidates[c][0], clip = candidates[c][1];
                    double predicted = qn_predict_error(&hist, levels[l], kappa, clip);
                    double direct = direct_error(PART, groups[g], levels[l], kappa, clip);
                    double off = fabs(10.0 * log10(predicted / direct));
                    worst = off > worst ? off : worst;
                    assert_true(off < 0.05);
                }
        }
    }
    printf("prediction: at most %.4f dB off\n", worst);
}

/* The formula of search.h, cell by cell, without prefix sums. */
static double plain_prediction(unsigned levels, double kappa, double clip)
{
    const double width = 1.0 / QN_HIST_CELLS;
    double error = 0.0;
    for (size_t i = 0; i < QN_HIST_CELLS; i++) {
        double at = (double)i * width, end = at + width;
        while (at < end) {
            double u = at / clip, t = (1.0 + kappa) * u / (1.0 + kappa * u);
            double l = floor(t * levels + 0.5 + 1e-9);
            l = l < levels ? l : levels;
            double edge = (l + 0.5) / levels, d = l / levels;
            d = clip * d / (1.0 + kappa * (1.0 - d));
            double until = l < levels ? clip * edge / (1.0 + kappa * (1.0 - edge)) : end;
            until = until < end && until > at ? until : end;
            double m = 0.5 * (at + until), len = until - at;
            error += hist.weight[i] * (len / width) * ((m - d) * (m - d) + len * len / 12.0);
            at = until;
        }
    }
    return error;
}

static void prediction_formula(void **state)
{
    (void)state;
    sample_fill(SAMPLE_LAPLACE, 1.0f, x, PART);
    fill_histogram(PART, ROW);
    static const float kappas[] = {0.0f, 0.7f, 3.0f, 40.0f}, clips[] = {1.0f, 0.63f, 0.3f};
    static const unsigned levels[] = {1, 7, 127, 1000, 2047};
    for (size_t k = 0; k < 4; k++)
        for (size_t c = 0; c < 3; c++)
            for (size_t l = 0; l < 5; l++) {
                double fast = qn_predict_error(&hist, levels[l], kappas[k], clips[c]);
                double plain = plain_prediction(levels[l], (double)kappas[k], (double)clips[c]);
                assert_true(fabs(fast - plain) < 1e-6 * plain);
            }
}

struct figure {
    enum sample_law law;
    size_t group;
    double best, uniform; /* dB, 8 bits: best kappa and clip; kappa = 0, clip = 1 */
    double tolerance;     /* of `uniform`, which hangs on the sample's one largest value */
};

/* Figures measured beforehand, in a study apart from this code: tensor of 2^20, 8 bits. */
static void known_figures(void **state)
{
    (void)state;
    static const struct figure figures[] = {
        {SAMPLE_GAUSSIAN, WHOLE, 42.9, 39.4, 1.5},
        {SAMPLE_LAPLACE, WHOLE, 41.5, 34.5, 3.0},
        {SAMPLE_STUDENT_T5, WHOLE, 40.2, 26.4, 6.0},
        {SAMPLE_GAUSSIAN, ROW, 43.6, 41.2, 0.1},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        const struct figure *f = &figures[i];
        sample_fill(f->law, 0.02f, x, WHOLE);
        fill_histogram(WHOLE, f->group);
        struct qn_shape_choice best = qn_search_shape(&hist, 127, -1.0f, -1.0f);
        direct_error(WHOLE, f->group, 127, best.kappa, best.clip);
        double sqnr = sample_sqnr(x, y, WHOLE);
        direct_error(WHOLE, f->group, 127, 0.0f, 1.0f);
        double uniform = sample_sqnr(x, y, WHOLE);
        printf("law %d group %zu: kappa %.3f clip %.3f %.2f dB; uniform %.2f dB\n", (int)f->law,
               f->group, (double)best.kappa, (double)best.clip, sqnr, uniform);
        assert_true(fabs(sqnr - f->best) < 0.5);
        assert_true(fabs(uniform - f->uniform) < f->tolerance);
        if (f->group == ROW)
            assert_true(fabs((double)best.kappa - 1.5) < 0.25);
    }
}

/* No candidate of a dense grid is better than the choice by more than 0.01 dB. */
static void search_finds_least(void **state)
{
    (void)state;
    static const unsigned levels[] = {1, 7, 31, 127};
    for (int law = SAMPLE_GAUSSIAN; law <= SAMPLE_STUDENT_T5; law++) {
        sample_fill((enum sample_law)law, 3.0f, x, PART);
        fill_histogram(PART, ROW);
        for (size_t l = 0; l < 4; l++) {
            struct qn_shape_choice best = qn_search_shape(&hist, levels[l], -1.0f, -1.0f);
            double least = best.squared_error;
            assert_true(best.squared_error ==
                        qn_predict_error(&hist, levels[l], best.kappa, best.clip));
            for (int k = 0; k <= 160; k++)
                for (int c = 10; c <= 100; c += 3) {
                    double e =
                        qn_predict_error(&hist, levels[l], 0.05f * (float)k, 0.01f * (float)c);
                    least = e < least ? e : least;
                }
            assert_true(10.0 * log10(best.squared_error / least) < 0.01);
        }
    }
}

static void search_fixed(void **state)
{
    (void)state;
    sample_fill(SAMPLE_STUDENT_T5, 1.0f, x, PART);
    fill_histogram(PART, PART);
    struct qn_shape_choice both = qn_search_shape(&hist, 127, 2.5f, 0.75f);
    assert_true(both.kappa == 2.5f && both.clip == 0.75f && both.squared_error > 0.0);
    struct qn_shape_choice clip = qn_search_shape(&hist, 127, 0.0f, -1.0f);
    assert_true(clip.kappa == 0.0f && clip.clip < 0.9f && clip.clip > 0.0f);
    struct qn_shape_choice kappa = qn_search_shape(&hist, 127, -1.0f, 1.0f);
    assert_true(kappa.clip == 1.0f && kappa.kappa > 3.0f);

    hist = (struct qn_hist){0};
    struct qn_shape_choice empty = qn_search_shape(&hist, 127, -1.0f, -1.0f);
    assert_true(empty.kappa == 0.0f && empty.clip == 1.0f && empty.squared_error == 0.0);
}

/* Counts are of all values, whatever the group's size, and merging is adding. */
static void counting(void **state)
{
    (void)state;
    static struct qn_hist other, sum;
    sample_fill(SAMPLE_LAPLACE, 1.0f, x, PART);
    for (size_t i = 0; i < PART; i += 3)
        x[i] = i % 2 ? 0.0f : -0.0f;
    static const size_t groups[] = {1, 32, 1024, 2048, 4096, PART};
    for (size_t g = 0; g < 6; g++) {
        fill_histogram(PART, groups[g]);
        uint64_t total = hist.zeros;
        double weight = 0.0, squares = 0.0;
        for (size_t i = 0; i < QN_HIST_CELLS; i++) {
            total += hist.count[i];
            weight += hist.weight[i];
        }
        for (size_t i = 0; i < PART; i += groups[g]) {
            bool finite = true;
            double s = (double)qn_abs_max(x + i, groups[g], &finite);
            for (size_t k = 0; k < groups[g]; k++)
                squares += x[i + k] != 0.0f ? s * s : 0.0;
        }
        assert_int_equal(total, PART);
        assert_int_equal(hist.zeros, (PART + 2) / 3);
        assert_true(fabs(weight - squares) < 1e-9 * squares);
    }
    other = hist;
    sum = hist;
    qn_hist_merge(&sum, &other);
    assert_int_equal(sum.zeros, 2 * hist.zeros);
    for (size_t i = 0; i < QN_HIST_CELLS; i++) {
        assert_int_equal(sum.count[i], 2 * hist.count[i]);
        assert_true(sum.weight[i] == 2.0 * hist.weight[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prediction),    cmocka_unit_test(prediction_formula),
        cmocka_unit_test(known_figures), cmocka_unit_test(search_finds_least),
        cmocka_unit_test(search_fixed),  cmocka_unit_test(counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
