/* The attention and moments kernels of every CPU level against plain loops in float64. */
#include "tests/unit/kernel_testing.h"

#include "core/bytes.h"
#include "model/kernels.h"

enum { MAX_LEVELS = QN_CPU_AVX512 + 1 };

static uint64_t seed = 3;

/* One head; keys are kept in rows here too. */
struct head {
    struct guarded q, k, v, out, scratch;
    float *key_rows;
    struct qn_attend a;
};

static void make_head(struct head *h, size_t head_dim, size_t position, size_t n_q, size_t window)
{
    size_t end = position + n_q, blocks = (end + QN_KEY_BLOCK - 1) / QN_KEY_BLOCK;
    size_t stride = head_dim + 5, first = window && window <= position ? position + 1 - window : 0;
    size_t rows = (n_q - 1) * stride + head_dim;
    h->q = guarded_create(rows * sizeof(float));
    h->out = guarded_create(rows * sizeof(float));
    h->k = guarded_create(blocks * QN_KEY_BLOCK * head_dim * sizeof(float));
    h->v = guarded_create(((end - 1) * stride + head_dim) * sizeof(float));
    size_t scratch = qn_attend_scratch(end) * sizeof(float);
    h->scratch = guarded_create((scratch + 63) / 64 * 64);
    h->key_rows = malloc(end * head_dim * sizeof(float));
    assert_non_null(h->key_rows);
    test_fill(h->q.data, rows, &seed, 2);
    float *k = h->k.data, *v = h->v.data;
    for (size_t i = 0; i < blocks * QN_KEY_BLOCK * head_dim; i++)
        k[i] = NAN; /* where nobody looks */
    for (size_t i = 0; i < (end - 1) * stride + head_dim; i++)
        v[i] = NAN;
    for (size_t j = first; j < end; j++) {
        test_fill(h->key_rows + j * head_dim, head_dim, &seed, 2);
        test_fill(v + j * stride, head_dim, &seed, 1);
        for (size_t d = 0; d < head_dim; d++)
            k[(j / QN_KEY_BLOCK * head_dim + d) * QN_KEY_BLOCK + j % QN_KEY_BLOCK] =
                h->key_rows[j * head_dim + d];
    }
    h->a = (struct qn_attend){.q = h->q.data,
                              .k = k,
                              .v = v,
                              .out = h->out.data,
                              .q_stride = stride,
                              .v_stride = stride,
                              .out_stride = stride,
                              .n_q = n_q,
                              .head_dim = head_dim,
                              .position = position,
                              .window = window,
                              .scale = 1.5F / sqrtf((float)head_dim),
                              .scratch = h->scratch.data};
}

static void free_head(struct head *h)
{
    guarded_destroy(&h->q);
    guarded_destroy(&h->k);
    guarded_destroy(&h->v);
    guarded_destroy(&h->out);
    guarded_destroy(&h->scratch);
    free(h->key_rows);
}

static void check_query(const struct head *h, size_t query)
{
    const struct qn_attend *a = &h->a;
    size_t last = a->position + query, d_n = a->head_dim;
    size_t first = a->window && a->window <= last ? last + 1 - a->window : 0;
    double max = -HUGE_VAL, sum = 0;
    double *p = calloc(last + 1, sizeof *p);
    assert_non_null(p);
    for (size_t j = first; j <= last; j++) {
        for (size_t d = 0; d < d_n; d++)
            p[j] += (double)a->q[query * a->q_stride + d] * (double)h->key_rows[j * d_n + d];
        p[j] *= (double)a->scale;
        max = fmax(max, p[j]);
    }
    for (size_t j = first; j <= last; j++)
        sum += exp(p[j] - max);
    for (size_t d = 0; d < d_n; d++) {
        double out = 0;
        for (size_t j = first; j <= last; j++)
            out += exp(p[j] - max) / sum * (double)a->v[j * a->v_stride + d];
        double got = (double)a->out[query * a->out_stride + d];
        if (!test_close(got, out, 1e-5, 1))
            fail_msg("head %zu, position %zu, query %zu of %zu, window %zu: %g for %g", d_n,
                     a->position, query, a->n_q, a->window, got, out);
    }
    free(p);
}

static void check_attend(size_t head_dim, size_t position, size_t n_q, size_t window)
{
    struct head h;
    make_head(&h, head_dim, position, n_q, window);
    for (int level = QN_CPU_C; level < MAX_LEVELS; level++) {
        const struct qn_kernels *k = qn_kernels_of((enum qn_cpu_level)level);
        if (!k)
            continue;
        for (size_t i = 0; i < (n_q - 1) * h.a.out_stride + head_dim; i++)
            h.a.out[i] = 1234.0F;
        k->attend(&h.a);
        for (size_t query = 0; query < n_q; query++)
            check_query(&h, query);
        for (size_t query = 0; query + 1 < n_q; query++)
            for (size_t d = head_dim; d < h.a.out_stride; d++)
                assert_true(h.a.out[query * h.a.out_stride + d] == 1234.0F);
    }
    free_head(&h);
}

static void test_attend(void **state)
{
    (void)state;
    static const size_t heads[] = {1, 4, 7, 8, 20, 64, 72, 128, 264};
    static const size_t counts[] = {1, 2, 3, 4, 5, 15, 16, 17, 31, 32};
    static const size_t positions[] = {0, 1, 33, 62, 64, 100, 191};
    static const size_t windows[] = {0, 1, 7, 64, 65, 130};
    for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (size_t i = 0; i < 42; i++)
                if (heads[h] == 8 || (h + c + i) % 5 == 0)
                    check_attend(heads[h], positions[i / 6], counts[c], windows[i % 6]);
}

/* Scores so far apart that all but one weight vanish, in either order. */
static void test_attend_extremes(void **state)
{
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2) {
        struct head h;
        make_head(&h, 8, 100, 32, 0);
        float *q = h.q.data;
        for (size_t i = 0; i < 31 * h.a.q_stride + 8; i++)
            q[i] *= 1e4F * (float)sign;
        for (int level = QN_CPU_C; level < MAX_LEVELS; level++) {
            const struct qn_kernels *k = qn_kernels_of((enum qn_cpu_level)level);
            if (!k)
                continue;
            k->attend(&h.a);
            for (size_t i = 0; i < 32; i++)
                for (size_t d = 0; d < 8; d++)
                    assert_true(fabsf(h.a.out[i * h.a.out_stride + d]) <= 1.0F);
        }
        free_head(&h);
    }
}

struct figures {
    double *sums[3];
    float *bounds[2];
    uint64_t *histogram;
    struct qn_moment_sums m;
};

static void figures_init(struct figures *f, size_t channels)
{
    for (size_t i = 0; i < 3; i++)
        assert_non_null(f->sums[i] = calloc(channels, sizeof(double)));
    for (size_t i = 0; i < 2; i++)
        assert_non_null(f->bounds[i] = calloc(channels, sizeof(float)));
    for (size_t c = 0; c < channels; c++) {
        f->bounds[0][c] = INFINITY;
        f->bounds[1][c] = -INFINITY;
    }
    assert_non_null(f->histogram = calloc(QN_ABS_CELLS, sizeof(uint64_t)));
    f->m = (struct qn_moment_sums){.sum = f->sums[0],
                                   .sum_abs = f->sums[1],
                                   .sum_squares = f->sums[2],
                                   .min = f->bounds[0],
                                   .max = f->bounds[1],
                                   .histogram = f->histogram};
}

static void figures_finish(struct figures *f)
{
    for (size_t i = 0; i < 3; i++)
        free(f->sums[i]);
    for (size_t i = 0; i < 2; i++)
        free(f->bounds[i]);
    free(f->histogram);
}

static void plain_moments(struct qn_moment_sums *m, const float *x, size_t rows, size_t channels,
                          size_t stride)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < channels; c++) {
            float v = x[r * stride + c];
            m->sum[c] += (double)v;
            m->sum_abs[c] += fabs((double)v);
            m->sum_squares[c] += (double)v * (double)v;
            m->min[c] = v < m->min[c] ? v : m->min[c];
            m->max[c] = v > m->max[c] ? v : m->max[c];
            if (!isfinite(v))
                continue;
            m->counts[v < 0 ? 0 : v == 0 ? 1 : 2]++;
            if (v != 0)
                m->histogram[qn_float_bits(fabsf(v)) >> QN_ABS_SHIFT]++;
        }
}

static void check_figures(const struct figures *f, const struct figures *expected, size_t channels)
{
    for (size_t i = 0; i < 3; i++)
        for (size_t c = 0; c < channels; c++)
            assert_true(f->sums[i][c] == expected->sums[i][c] ||
                        (isnan(f->sums[i][c]) && isnan(expected->sums[i][c])));
    for (size_t i = 0; i < 2; i++)
        assert_memory_equal(f->bounds[i], expected->bounds[i], channels * sizeof(float));
    assert_memory_equal(f->histogram, expected->histogram, QN_ABS_CELLS * sizeof(uint64_t));
    assert_memory_equal(f->m.counts, expected->m.counts, sizeof f->m.counts);
}

/* Values of all sizes; every seventh is zero, and what is special in some cases. */
static float special_value(size_t i, bool with_infinite)
{
    static const float special[] = {0.0F,    -0.0F, 0x1p-149F, -0x1p-130F,
                                    3.4e38F, NAN,   INFINITY,  -INFINITY};
    if (i % 7 == 0)
        return special[test_random(&seed) % (with_infinite ? 8 : 5)];
    return ldexpf(test_uniform(&seed, 1), (int)(test_random(&seed) % 40) - 30);
}

static void check_moments(size_t rows, size_t channels, bool with_infinite)
{
    size_t stride = channels + 3, count = (rows - 1) * stride + channels;
    struct guarded x = guarded_create(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        ((float *)x.data)[i] = special_value(i, with_infinite);
    struct figures expected;
    figures_init(&expected, channels);
    /* Twice: what is there is added to. */
    plain_moments(&expected.m, x.data, rows, channels, stride);
    plain_moments(&expected.m, x.data, rows, channels, stride);
    for (int level = QN_CPU_C; level < MAX_LEVELS; level++) {
        const struct qn_kernels *k = qn_kernels_of((enum qn_cpu_level)level);
        if (!k)
            continue;
        struct figures f;
        figures_init(&f, channels);
        k->moments(&f.m, x.data, rows, channels, stride);
        k->moments(&f.m, x.data, rows, channels, stride);
        check_figures(&f, &expected, channels);
        figures_finish(&f);
    }
    figures_finish(&expected);
    guarded_destroy(&x);
}

static void test_moments(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 2, 15, 16, 17, 40};
    static const size_t channels[] = {1, 3, 8, 15, 16, 17, 31, 32, 64, 65, 130, 1024};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
            for (int infinite = 0; infinite < 2; infinite++)
                check_moments(rows[r], channels[c], infinite == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attend),
        cmocka_unit_test(test_attend_extremes),
        cmocka_unit_test(test_moments),
    };
    const int failed = cmocka_run_group_tests_name("before guard pages", tests, NULL, NULL);
    guarded_at_front = true;
    return failed + cmocka_run_group_tests_name("behind guard pages", tests, NULL, NULL);
}
