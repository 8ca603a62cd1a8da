/* BLAS behind our names. OpenBLAS is loaded at run time, after its core type was chosen by our
 * CPU detection: 0.3.21 takes processors that it does not know for older ones at half the speed.
 * It runs serially; callers bring their own threads, and every function here may be called from
 * several threads at once. Matrices are row-major; leading dimensions count elements. Extents
 * are at most INT32_MAX. */
#ifndef QINS_CORE_LINALG_H
#define QINS_CORE_LINALG_H

#include "core/error.h"

/* Loads the library, once; QINS_ERR_UNSUPPORTED if it is not there. Must have succeeded before
 * any other function is called. Sets OPENBLAS_CORETYPE and OPENBLAS_NUM_THREADS in the
 * environment where the user has not, so call it before threads are started. */
enum qins_status qn_linalg_init(struct qins_error *err);
/* "OpenBLAS 0.3.21, SkylakeX", for reports; static storage. */
const char *qn_linalg_description(void);

/* C[m][n] = alpha op(A)[m][k] op(B)[k][n] + beta C, op transposes where TA or TB is set. */
void qn_sgemm(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a,
              size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);
void qn_dgemm(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a,
              size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc);
/* Upper triangle of C[n][n] += A[rows][n]^T A. */
void qn_dsyrk_upper(size_t n, size_t rows, const double *a, size_t lda, double *c, size_t ldc);
/* The same with A A^T of A[n][columns]. */
void qn_dsyrk_rows_upper(size_t n, size_t columns, const double *a, size_t lda, double *c,
                         size_t ldc);
/* Solves A X = B by Cholesky's factor of a symmetric A[n][n], whose upper triangle is read and
 * overwritten. The right sides are the rows of B[n_rhs][n], overwritten by the solutions unless
 * *DEFINITE is cleared: A is not positive definite. QINS_ERR_UNSUPPORTED where the library was
 * built without LAPACK. */
enum qins_status qn_dposv(size_t n, size_t n_rhs, double *a, size_t lda, double *b, size_t ldb,
                          bool *definite, struct qins_error *err);

#endif
