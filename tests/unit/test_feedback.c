/* Rounding with feedback against plain loops, and factors against the matrices that they are made
 * of. tests/e2e/test_feedback.py compares both with numpy. */
#include "tests/unit/testing.h"

#include "convert/feedback.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static double draw(uint64_t *seed) /* -1 ... 1 */
{
    return (double)(int64_t)test_random(seed) * 0x1p-63;
}

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert_non_null(p);
    return p;
}

/* Rows to be rounded, their scales, and a factor of made-up numbers. */
struct problem {
    uint32_t n, group;
    size_t rows, groups;
    float *x, *scales, *factor, *work;
    uint32_t *order;
    uint16_t *codes, *expected;
};

static void problem_init(struct problem *p, uint32_t n, size_t rows, uint32_t group, bool ordered)
{
    uint64_t seed = n + 1;
    *p = (struct problem){.n = n, .rows = rows, .group = group, .groups = (n + group - 1) / group};
    p->x = allocate(rows * n, sizeof *p->x);
    p->scales = allocate(rows * p->groups, sizeof *p->scales);
    p->factor = allocate((size_t)n * n, sizeof *p->factor);
    p->work = allocate(qn_feedback_work(n), sizeof *p->work);
    p->order = ordered ? allocate(n, sizeof *p->order) : NULL;
    p->codes = allocate(rows * n, sizeof *p->codes);
    p->expected = allocate(rows * n, sizeof *p->expected);
    for (size_t i = 0; i < rows * n; i++)
        p->x[i] = (float)draw(&seed);
    for (size_t i = 0; i < rows * p->groups; i++)
        p->scales[i] = i % 7 == 3 ? 0.0F : (float)(0.4 + 0.4 * fabs(draw(&seed)));
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t k = 0; k < n; k++)
            p->factor[(size_t)j * n + k] = k > j ? (float)(0.3 * draw(&seed)) : NAN;
    for (uint32_t j = 0; j < n && ordered; j++)
        p->order[j] = j;
    for (uint32_t j = n; j-- > 1 && ordered;) {
        uint32_t k = (uint32_t)(test_random(&seed) % (j + 1)), kept = p->order[j];
        p->order[j] = p->order[k];
        p->order[k] = kept;
    }
}

static void problem_finish(struct problem *p)
{
    free(p->x);
    free(p->scales);
    free(p->factor);
    free(p->work);
    free(p->order);
    free(p->codes);
    free(p->expected);
}

/* As feedback.h says it. */
static float round_plainly(const struct qn_grid *g, const struct problem *p, size_t row)
{
    float *v = p->work, most = 0;
    const float *x = p->x + row * p->n;
    for (uint32_t j = 0; j < p->n; j++)
        v[j] = x[p->order ? p->order[j] : j];
    for (uint32_t j = 0; j < p->n; j++) {
        uint32_t c = p->order ? p->order[j] : j;
        float scale = p->scales[row * p->groups + c / p->group], value;
        uint16_t *code = &p->expected[row * p->n + c];
        qn_quantise(g, scale, &v[j], 1, code);
        qn_dequantise(g, scale, code, 1, &value);
        float e = v[j] - value;
        for (uint32_t k = j + 1; k < p->n; k++)
            v[k] = v[k] - e * p->factor[(size_t)j * p->n + k];
        most = fmaxf(most, fabsf(x[c] - value));
    }
    return most;
}

static void check_problem(const struct qn_grid *g, const struct problem *p)
{
    struct qn_feedback f = {p->factor, p->order, p->n};
    float most = 0;
    for (size_t row = 0; row < p->rows; row++)
        most = fmaxf(most, round_plainly(g, p, row));
    float largest =
        qn_quantise_feedback(g, &f, p->x, p->rows, p->scales, p->group, p->codes, p->work);
    assert_memory_equal(p->codes, p->expected, p->rows * p->n * sizeof *p->codes);
    assert_true(largest == most);
}

static void test_same_as_plain_loops(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {1, 2, 5, 63, 64, 65, 67, 130, 200};
    static const struct {
        enum qn_grid_kind kind;
        unsigned levels;
        float kappa;
    } grids[] = {{QN_GRID_QINS, 7, 0},
                 {QN_GRID_QINS, 1, 0},
                 {QN_GRID_QINS, 31, 3},
                 {QN_GRID_QINS, QN_MAX_LEVELS, 1.5F},
                 {QN_GRID_SEED, 127, 1}};
    struct qn_grid *g = allocate(1, sizeof *g);
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        assert_true(qn_grid_init(g, grids[i].kind, grids[i].levels, grids[i].kappa));
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            const uint32_t n = lengths[k], groups[] = {n, 1, 32, n + 9};
            for (size_t m = 0; m < sizeof groups / sizeof *groups; m++) {
                struct problem p;
                problem_init(&p, n, 1 + 11 * m, groups[m], m % 2 == 1);
                check_problem(g, &p);
                problem_finish(&p);
            }
        }
    }
    free(g);
}

/* Without feedback it is rounding to nearest; whatever the factor, codes are codes. */
static void test_edges(void **state)
{
    (void)state;
    struct qn_grid *g = allocate(1, sizeof *g);
    struct problem p;
    assert_true(qn_grid_init(g, QN_GRID_QINS, 7, 0));
    problem_init(&p, 70, 5, 70, false);
    memset(p.x + 70, 0, 70 * sizeof *p.x); /* a row of zeros */
    for (size_t i = 0; i < (size_t)70 * 70; i++)
        p.factor[i] = 0;
    check_problem(g, &p);
    for (size_t row = 0; row < p.rows; row++)
        qn_quantise(g, p.scales[row], p.x + row * 70, 70, p.expected + row * 70);
    assert_memory_equal(p.codes, p.expected, p.rows * 70 * sizeof *p.codes);
    for (size_t i = 0; i < 70; i++)
        assert_int_equal(p.codes[70 + i], 7);
    for (size_t i = 0; i < (size_t)70 * 70; i++)
        p.factor[i] = i % 2 ? -3e30F : 3e30F; /* values soon overflow */
    struct qn_feedback f = {p.factor, NULL, 70};
    float most = qn_quantise_feedback(g, &f, p.x, p.rows, p.scales, 70, p.codes, p.work);
    assert_true(most >= 0 && most < 3);
    for (size_t i = 0; i < p.rows * 70; i++)
        assert_in_range(p.codes[i], 0, 14);
    problem_finish(&p);
    free(g);
}

/* Of one point in a file. */
struct matrix {
    size_t n, rows;
    const double *x; /* [rows][n] */
    double *gram;
};

static void make_gram(struct matrix *m)
{
    m->gram = allocate(m->n * m->n, sizeof *m->gram);
    for (size_t r = 0; r < m->rows; r++)
        for (size_t i = 0; i < m->n; i++)
            for (size_t j = 0; j < m->n; j++)
                m->gram[i * m->n + j] += m->x[r * m->n + i] * m->x[r * m->n + j];
}

static enum qins_status read_large(void *ctx, size_t point, enum qn_large what, uint64_t first,
                                   uint64_t count, void *dst, struct qins_error *err)
{
    const struct matrix *m = ctx;
    (void)point;
    (void)err;
    if (what == QN_LARGE_GRAM)
        memcpy(dst, m->gram + first * m->n, count * m->n * sizeof *m->gram);
    else
        for (size_t i = first, at = 0; i < first + count; at += m->n - i, i++)
            memset((float *)dst + at, 0, (m->n - i) * sizeof(float));
    return QINS_OK;
}

/* Sums and counts of the rows, as a calibration has them. */
static void fill_point(struct qn_calibration_point *p, const struct matrix *m)
{
    enum { SOME_CELL = 4000 };
    p->rows = m->rows;
    for (size_t i = 0; i < m->rows * m->n; i++) {
        double x = m->x[i];
        size_t c = i % m->n;
        qn_point_sum(p, QN_SUM)[c] += x;
        qn_point_sum(p, QN_SUM_ABS)[c] += fabs(x);
        qn_point_sum(p, QN_SUM_SQUARES)[c] += x * x;
        p->signs[x < 0 ? 0 : x > 0 ? 2 : 1]++;
        p->histogram[SOME_CELL] += x != 0;
    }
}

static char path[64]; /* of the calibration; it stays while it is read */

static int name_calibration(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/qins-feedback-%ld.h5",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
    return 0;
}

static int remove_calibration(void **state)
{
    (void)state;
    return unlink(path);
}

/* Writes the calibration of points "a" (which "a" and "b" see; with the Gram matrix) and
 * "v:output", and opens it. */
static enum qins_status open_source(struct qn_feedback_source **s, struct matrix *m,
                                    struct qins_error *err)
{
    static const char *const seen_by[] = {"a", "b"}, *const values_of[] = {"v"};
    struct qn_calibration c = {.options = {.context = 8, .gram = true}, .windows = 1};
    struct qn_calibration_point *p;
    struct qn_digest text = {{0}};
    const struct qn_large_source source = {read_large, m};
    c.tokens = m->rows;
    check_ok(qn_calibration_add_text(&c, &text, &e_));
    check_ok(qn_calibration_add_point(&c, "a", QN_TAP_MLP, (uint32_t)m->n, seen_by, 2, &p, &e_));
    fill_point(p, m);
    p->gram = true;
    check_ok(qn_calibration_add_point(&c, "v:output", QN_TAP_VALUE, (uint32_t)m->n, values_of, 1,
                                      &p, &e_));
    fill_point(p, m);
    check_ok(qn_calibration_write(&c, path, &source, NULL, &e_));
    qn_calibration_finish(&c);
    return qn_feedback_open(s, path, NULL, NULL, err);
}

static struct qn_tensor tensor(const char *name, uint64_t rows, uint64_t columns)
{
    static char kept[8];
    snprintf(kept, sizeof kept, "%s", name);
    return (struct qn_tensor){.name = kept,
                              .dtype = QINS_F32,
                              .rank = 2,
                              .shape = {rows, columns},
                              .n_elements = rows * columns,
                              .n_bytes = 4 * rows * columns};
}

static void fill_rows(struct matrix *m, double *x, uint64_t seed)
{
    for (size_t i = 0; i < m->rows * m->n; i++)
        x[i] = draw(&seed) * (1 + (double)((i % m->n) * 5 % m->n));
    m->x = x;
}

/* H F^T is lower triangular with D on its diagonal, F the factor: H = F^-1 D F^-T. */
static void check_factor(const struct matrix *m, const struct qn_feedback *f, double gain,
                         double spread)
{
    const size_t n = m->n;
    double trace = 0, pivots = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        trace += m->gram[i * n + i];
    const double lambda = QN_FEEDBACK_DAMPING * trace / (double)n;
    for (size_t j = 0; j < n; j++) {
        squares += 1;
        for (size_t k = j + 1; k < n; k++)
            squares += (double)f->factor[j * n + k] * (double)f->factor[j * n + k];
        for (size_t i = j; i < n; i++) {
            double sum = 0;
            for (size_t k = j; k < n; k++) {
                double h = m->gram[f->order[i] * n + f->order[k]] + (i == k ? lambda : 0);
                sum += h * (k == j ? 1 : (double)f->factor[j * n + k]);
            }
            if (i == j)
                pivots += sum;
            else
                assert_true(fabs(sum) < 1e-5 * trace);
        }
    }
    assert_true(fabs(gain - (pivots - lambda * squares) / trace) < 1e-5);
    assert_true(fabs(spread - (squares / (double)n - 1)) < 1e-5);
}

static void test_factor(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {2, 40}, {70, 300}, {70, 20}, {133, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct matrix m = {.n = sizes[i][0], .rows = sizes[i][1]};
        struct qn_feedback_source *s;
        const struct qn_feedback *f, *again;
        double *x = allocate(m.rows * m.n, sizeof *x), gain, spread;
        fill_rows(&m, x, 3 + i);
        make_gram(&m);
        check_ok(open_source(&s, &m, &e_));
        struct qn_tensor t = tensor("a", 3, m.n), u = tensor("b", 9, m.n);
        check_ok(qn_feedback_acquire(s, &t, &f, &e_));
        check_ok(qn_feedback_gain(s, &u, &gain, &e_));
        check_ok(qn_feedback_spread(s, &u, &spread, &e_));
        assert_int_equal(f->n, m.n);
        for (size_t j = 1; j < m.n; j++)
            assert_true(m.gram[f->order[j] * (m.n + 1)] <= m.gram[f->order[j - 1] * (m.n + 1)]);
        check_factor(&m, f, gain, spread);
        assert_true(gain > 0 && gain < 1 + 1e-12);
        check_ok(qn_feedback_acquire(s, &u, &again, &e_));
        assert_ptr_equal(again, f);
        qn_feedback_release(s, again);
        qn_feedback_release(s, f);
        qn_feedback_release(s, NULL);
        qn_feedback_close(s);
        free(m.gram);
        free(x);
    }
    qn_feedback_close(NULL);
}

/* Channels that are always 0 neither take nor give. */
static void test_dead_channels(void **state)
{
    (void)state;
    enum { N = 20, ROWS = 100 };
    struct qn_feedback_source *s;
    const struct qn_feedback *f;
    double x[ROWS * N], gain;
    for (int all = 0; all < 2; all++) {
        struct matrix m = {.n = N, .rows = ROWS};
        fill_rows(&m, x, 5);
        for (size_t i = 0; i < (size_t)ROWS * N; i++)
            x[i] = all || i % N % 7 == 3 ? 0 : x[i];
        make_gram(&m);
        check_ok(open_source(&s, &m, &e_));
        struct qn_tensor t = tensor("a", 3, N);
        check_ok(qn_feedback_acquire(s, &t, &f, &e_));
        check_ok(qn_feedback_gain(s, &t, &gain, &e_));
        for (size_t j = 0; j < N; j++)
            for (size_t k = j + 1; k < N; k++)
                if (all || f->order[j] % 7 == 3 || f->order[k] % 7 == 3)
                    assert_true(f->factor[j * N + k] == 0);
        assert_true(all ? gain == 1 : gain > 0 && gain < 1);
        qn_feedback_release(s, f);
        qn_feedback_close(s);
        free(m.gram);
    }
}

static void test_obstacles(void **state)
{
    (void)state;
    enum { N = 4 };
    static const double x[N] = {1, 2, 3, 4};
    struct matrix m = {.n = N, .rows = 1, .x = x};
    struct qn_feedback_source *s;
    const struct qn_feedback *f;
    struct qins_error err;
    make_gram(&m);
    check_ok(open_source(&s, &m, &e_));
    struct qn_tensor t = tensor("a", 2, N);
    assert_null(qn_feedback_obstacle(s, &t));
    t = tensor("a", N, 2);
    assert_non_null(strstr(qn_feedback_obstacle(s, &t), "not as long"));
    t = tensor("a", 2, N);
    t.rank = 3;
    assert_non_null(strstr(qn_feedback_obstacle(s, &t), "no matrix"));
    t = tensor("a", 2, N);
    t.dtype = QINS_F64;
    assert_non_null(strstr(qn_feedback_obstacle(s, &t), "type"));
    t = tensor("v", 2, N);
    assert_non_null(strstr(qn_feedback_obstacle(s, &t), "no input"));
    assert_int_equal(qn_feedback_acquire(s, &t, &f, &err), QINS_ERR_UNSUPPORTED);
    assert_null(f);
    assert_int_equal(qn_feedback_calibration(s)->n_points, 2);
    qn_feedback_close(s);
    free(m.gram);
}

static void test_broken_matrices(void **state)
{
    (void)state;
    enum { N = 4 };
    static const double x[N] = {1, 2, 3, 4}, bad[] = {-100, NAN, INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t at = 4; at < 6; at++) { /* off and on the diagonal */
            struct matrix m = {.n = N, .rows = 1, .x = x};
            struct qn_feedback_source *s;
            const struct qn_feedback *f;
            struct qins_error err;
            make_gram(&m);
            m.gram[at] = bad[i];
            m.gram[1] = m.gram[4];
            check_ok(open_source(&s, &m, &e_));
            struct qn_tensor t = tensor("a", 2, N);
            assert_int_equal(qn_feedback_acquire(s, &t, &f, &err), QINS_ERR_FORMAT);
            assert_non_null(strstr(err.message, "Gram matrix of 'a'"));
            qn_feedback_close(s);
            free(m.gram);
        }
}

struct user {
    struct qn_feedback_source *s;
    const struct qn_feedback *seen;
};

static void *use(void *ctx)
{
    struct user *u = ctx;
    struct qn_tensor t = {.name = "b", .dtype = QINS_F32, .rank = 2, .shape = {2, 64}};
    for (int i = 0; i < 50; i++) {
        check_ok(qn_feedback_acquire(u->s, &t, &u->seen, &e_));
        qn_feedback_release(u->s, u->seen);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { N = 64, ROWS = 2, THREADS = 4 };
    double x[ROWS * N];
    struct matrix m = {.n = N, .rows = ROWS};
    struct qn_feedback_source *s;
    struct user users[THREADS];
    pthread_t threads[THREADS];
    fill_rows(&m, x, 8);
    make_gram(&m);
    check_ok(open_source(&s, &m, &e_));
    for (int i = 0; i < THREADS; i++) {
        users[i] = (struct user){.s = s};
        assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 1; i < THREADS; i++)
        assert_ptr_equal(users[i].seen, users[0].seen);
    qn_feedback_close(s);
    free(m.gram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_plain_loops),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_factor),
        cmocka_unit_test(test_dead_channels),
        cmocka_unit_test(test_obstacles),
        cmocka_unit_test(test_broken_matrices),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, name_calibration, remove_calibration);
}
