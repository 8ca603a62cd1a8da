#include "core/linalg.h"

#include "core/cpu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* CBLAS's values, as in the reference cblas.h; plain int in OpenBLAS's 32-bit interface. */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112, UPPER = 121 };

/* What openblas_get_parallel() says. */
enum { PARALLEL_NONE };

static struct {
    pthread_once_t once;
    enum qins_status status;
    struct qins_error error;
    char description[128];
    /* A serial build may lack locks around its buffers (USE_LOCKING), and there is no way to
     * ask: its calls take turns. */
    bool take_turns;
    pthread_mutex_t turn;
    void (*sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int,
                  float, float *, int);
    void (*dgemm)(int, int, int, int, int, int, double, const double *, int, const double *, int,
                  double, double *, int);
    void (*dsyrk)(int, int, int, int, int, double, const double *, int, double, double *, int);
    /* LAPACK, or NULL: Fortran, with the length of the first argument last. */
    void (*dpotrf)(const char *, const int *, double *, const int *, int *, size_t);
    void (*dpotrs)(const char *, const int *, const int *, const double *, const int *, double *,
                   const int *, int *, size_t);
} blas = {.once = PTHREAD_ONCE_INIT, .turn = PTHREAD_MUTEX_INITIALIZER};

/* Copies the address of NAME into *FUNCTION, a pointer to a pointer to function: C has no cast
 * for it. */
static bool find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    *(void **)function = address;
    return address != NULL;
}

/* Another core type would compute other last digits. */
static bool choose_core_type(void)
{
    bool set = setenv("OPENBLAS_NUM_THREADS", "1", 0) == 0 &&
               setenv("OMP_NUM_THREADS", "1", 0) == 0; /* the OpenMP build */
#if defined(__x86_64__)
    static const char *const core_types[] = {"Prescott", "Haswell", "SkylakeX"};
    set = set && setenv("OPENBLAS_CORETYPE", core_types[qn_cpu_level()], 0) == 0;
#endif
    return set;
}

static void describe(void *library)
{
    char *(*config)(void) = NULL;
    char *(*core_name)(void) = NULL;
    char version[64] = "OpenBLAS";
    if (find(library, "openblas_get_config", &config)) {
        const char *words = config(); /* "OpenBLAS 0.3.21 DYNAMIC_ARCH …" */
        if (sscanf(words, "%*63s %53s", version + 9) == 1)
            version[8] = ' ';
    }
    find(library, "openblas_get_corename", &core_name);
    snprintf(blas.description, sizeof blas.description, "%s, %s", version,
             core_name ? core_name() : "?");
}

static void load(void)
{
    if (!choose_core_type()) {
        blas.status = qn_fail_memory(&blas.error);
        return;
    }
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        blas.status = qn_fail(&blas.error, QINS_ERR_UNSUPPORTED, "cannot load OpenBLAS: %s",
                              why ? why : "unknown reason");
        return;
    }
    if (!find(library, "cblas_sgemm", &blas.sgemm) || !find(library, "cblas_dgemm", &blas.dgemm) ||
        !find(library, "cblas_dsyrk", &blas.dsyrk)) {
        blas.status = qn_fail(&blas.error, QINS_ERR_UNSUPPORTED,
                              "libopenblas.so.0 lacks the CBLAS interface");
        dlclose(library);
        return;
    }
    find(library, "dpotrf_", &blas.dpotrf);
    find(library, "dpotrs_", &blas.dpotrs);
    void (*set_threads)(int) = NULL;
    if (find(library, "openblas_set_num_threads", &set_threads))
        set_threads(1);
    int (*parallel)(void) = NULL;
    if (find(library, "openblas_get_parallel", &parallel))
        blas.take_turns = parallel() == PARALLEL_NONE;
    describe(library);
}

enum qins_status qn_linalg_init(struct qins_error *err)
{
    pthread_once(&blas.once, load);
    if (blas.status != QINS_OK && err)
        *err = blas.error;
    return blas.status;
}

const char *qn_linalg_description(void)
{
    return blas.description;
}

static void begin(void)
{
    if (blas.take_turns)
        pthread_mutex_lock(&blas.turn);
}

static void end(void)
{
    if (blas.take_turns)
        pthread_mutex_unlock(&blas.turn);
}

static int op(bool transposed)
{
    return transposed ? TRANS : NO_TRANS;
}

void qn_sgemm(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a,
              size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    begin();
    blas.sgemm(ROW_MAJOR, op(ta), op(tb), (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb,
               beta, c, (int)ldc);
    end();
}

void qn_dgemm(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a,
              size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc)
{
    begin();
    blas.dgemm(ROW_MAJOR, op(ta), op(tb), (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb,
               beta, c, (int)ldc);
    end();
}

void qn_dsyrk_upper(size_t n, size_t rows, const double *a, size_t lda, double *c, size_t ldc)
{
    begin();
    blas.dsyrk(ROW_MAJOR, UPPER, TRANS, (int)n, (int)rows, 1.0, a, (int)lda, 1.0, c, (int)ldc);
    end();
}

void qn_dsyrk_rows_upper(size_t n, size_t columns, const double *a, size_t lda, double *c,
                         size_t ldc)
{
    begin();
    blas.dsyrk(ROW_MAJOR, UPPER, NO_TRANS, (int)n, (int)columns, 1.0, a, (int)lda, 1.0, c,
               (int)ldc);
    end();
}

enum qins_status qn_dposv(size_t n, size_t n_rhs, double *a, size_t lda, double *b, size_t ldb,
                          bool *definite, struct qins_error *err)
{
    static const char lower[] = "L"; /* of the column-major matrix, whose rows are our columns */
    const int order = (int)n, sides = (int)n_rhs, stride_a = (int)lda, stride_b = (int)ldb;
    int info = 0;
    if (!blas.dpotrf || !blas.dpotrs)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "libopenblas.so.0 lacks LAPACK (dpotrf, dpotrs), which ridge needs");
    begin();
    blas.dpotrf(lower, &order, a, &stride_a, &info, 1);
    *definite = info == 0;
    if (info == 0)
        blas.dpotrs(lower, &order, &sides, a, &stride_a, b, &stride_b, &info, 1);
    end();
    return QINS_OK;
}
