#include "tests/unit/testing.h"

#include "core/linalg.h"
#include "core/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ITEMS = 1000 };

struct loop {
    atomic_uint runs[MAX_ITEMS];
    atomic_uint outside; /* items or workers that are none */
    size_t n;
    unsigned threads, spin;
};

static void count_item(void *ctx, unsigned worker, size_t item)
{
    struct loop *l = ctx;
    if (item >= l->n || worker >= l->threads)
        atomic_fetch_add(&l->outside, 1);
    else
        atomic_fetch_add(&l->runs[item], 1);
    for (volatile unsigned i = 0; i < l->spin; i++)
        ;
}

static void check_loop(struct qn_pool *p, struct loop *l, size_t n)
{
    l->n = n;
    l->threads = qn_pool_threads(p);
    for (size_t i = 0; i < MAX_ITEMS; i++)
        atomic_store(&l->runs[i], 0);
    qn_pool_run(p, n, count_item, l);
    assert_int_equal(atomic_load(&l->outside), 0);
    for (size_t i = 0; i < MAX_ITEMS; i++)
        if (atomic_load(&l->runs[i]) != (i < n ? 1U : 0U))
            fail_msg("item %zu of %zu ran %u times", i, n, atomic_load(&l->runs[i]));
}

static void test_each_item_once(void **state)
{
    (void)state;
    struct loop *l = calloc(1, sizeof *l);
    assert_non_null(l);
    uint64_t seed = 9;
    for (unsigned threads = 1; threads <= 5; threads++) {
        struct qn_pool *p;
        assert_int_equal(qn_pool_create(&p, threads, NULL), QINS_OK);
        assert_int_equal(qn_pool_threads(p), threads);
        for (unsigned i = 0; i < 2000; i++) {
            l->spin = (unsigned)(test_random(&seed) % 300);
            check_loop(p, l, test_random(&seed) % (i % 50 == 0 ? MAX_ITEMS : 12));
        }
        qn_pool_destroy(p);
    }
    assert_int_equal(qn_pool_threads(NULL), 1);
    check_loop(NULL, l, 10);
    free(l);
}

/* Pools that never ran, or have just run. */
static void test_create_and_destroy(void **state)
{
    (void)state;
    struct loop *l = calloc(1, sizeof *l);
    assert_non_null(l);
    for (unsigned i = 0; i < 100; i++) {
        struct qn_pool *p;
        assert_int_equal(qn_pool_create(&p, 1 + i % 4, NULL), QINS_OK);
        if (i % 2)
            check_loop(p, l, 5);
        qn_pool_destroy(p);
    }
    qn_pool_destroy(NULL);
    free(l);
}

/* What the caller wrote before a loop is there for the items, and theirs behind it. */
struct chain {
    double values[64];
};

static void step(void *ctx, unsigned worker, size_t item)
{
    (void)worker;
    struct chain *c = ctx;
    c->values[item] = c->values[item] * 0.5 + 1;
}

static void test_memory_order(void **state)
{
    (void)state;
    struct chain parallel = {{0}}, plain = {{0}};
    struct qn_pool *p;
    assert_int_equal(qn_pool_create(&p, 3, NULL), QINS_OK);
    for (unsigned i = 0; i < 20000; i++) {
        parallel.values[i % 64] += 1;
        qn_pool_run(p, 64, step, &parallel);
        plain.values[i % 64] += 1;
        for (size_t j = 0; j < 64; j++)
            step(&plain, 0, j);
    }
    assert_memory_equal(&parallel, &plain, sizeof plain);
    qn_pool_destroy(p);
}

/* OpenBLAS from many threads at once: each must get its own answer. */
#define M ((size_t)33)
#define N ((size_t)70)
#define K ((size_t)129)
enum { CALLS = 200 };

struct product {
    float a[M * K], b[K * N], expected[M * N], c[M * N];
    unsigned wrong;
};

static void *multiply(void *arg)
{
    struct product *p = arg;
    for (unsigned i = 0; i < CALLS; i++) {
        memset(p->c, 0, sizeof p->c);
        qn_sgemm(false, false, M, N, K, 1.0F, p->a, K, p->b, N, 0.0F, p->c, N);
        for (size_t j = 0; j < M * N; j++)
            p->wrong += p->c[j] != p->expected[j];
    }
    return NULL;
}

static void test_blas_in_threads(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    struct qins_error err;
    if (qn_linalg_init(&err) != QINS_OK)
        fail_msg("%s", err.message);
    assert_true(strncmp(qn_linalg_description(), "OpenBLAS ", 9) == 0);
    struct product *p = calloc(THREADS, sizeof *p);
    assert_non_null(p);
    uint64_t seed = 17;
    for (size_t t = 0; t < THREADS; t++) {
        for (size_t i = 0; i < M * K; i++)
            p[t].a[i] = (float)(test_random(&seed) % 201) - 100;
        for (size_t i = 0; i < K * N; i++)
            p[t].b[i] = (float)(test_random(&seed) % 201) - 100;
        /* Whole numbers below 2^24: any order of additions gives the same. */
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < N; j++)
                for (size_t k = 0; k < K; k++)
                    p[t].expected[i * N + j] += p[t].a[i * K + k] * p[t].b[k * N + j];
    }
    pthread_t ids[THREADS];
    for (size_t t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&ids[t], NULL, multiply, &p[t]), 0);
    for (size_t t = 0; t < THREADS; t++) {
        pthread_join(ids[t], NULL);
        assert_int_equal(p[t].wrong, 0);
    }
    free(p);
}

/* Transposes, leading dimensions, alpha and beta as linalg.h states them. */
static void test_blas_arguments(void **state)
{
    (void)state;
    enum { R = 3, C = 4, D = 5, LD = 9 };
    double a[LD * LD], b[LD * LD], c[LD * LD], expected[LD * LD];
    assert_int_equal(qn_linalg_init(NULL), QINS_OK);
    for (unsigned form = 0; form < 4; form++) {
        bool ta = form & 1, tb = form & 2;
        for (int i = 0; i < LD * LD; i++) {
            a[i] = i % 7 - 3;
            b[i] = i % 5 - 2;
            c[i] = expected[i] = i % 3;
        }
        for (size_t i = 0; i < R; i++)
            for (size_t j = 0; j < C; j++) {
                double sum = 0;
                for (size_t k = 0; k < D; k++)
                    sum +=
                        (ta ? a[k * LD + i] : a[i * LD + k]) * (tb ? b[j * LD + k] : b[k * LD + j]);
                expected[i * LD + j] = 2 * sum + 3 * expected[i * LD + j];
            }
        qn_dgemm(ta, tb, R, C, D, 2.0, a, LD, b, LD, 3.0, c, LD);
        assert_memory_equal(c, expected, sizeof c);
    }
    for (int i = 0; i < LD * LD; i++)
        c[i] = expected[i] = i % 3;
    for (size_t i = 0; i < C; i++)
        for (size_t j = i; j < C; j++)
            for (size_t r = 0; r < D; r++)
                expected[i * LD + j] += a[r * LD + i] * a[r * LD + j];
    qn_dsyrk_upper(C, D, a, LD, c, LD);
    assert_memory_equal(c, expected, sizeof c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_item_once), cmocka_unit_test(test_create_and_destroy),
        cmocka_unit_test(test_memory_order),   cmocka_unit_test(test_blas_in_threads),
        cmocka_unit_test(test_blas_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
