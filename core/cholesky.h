/* Factors of symmetric positive definite matrices in a fixed order of + - * / and sqrt, so that
 * what is decided with them is the same on every machine. No BLAS. */
#ifndef QINS_CORE_CHOLESKY_H
#define QINS_CORE_CHOLESKY_H

#include <stdbool.h>
#include <stddef.h>

/* Overwrites the lower triangle of A[n][n] (row-major, symmetric; the upper triangle is neither
 * read nor written) with L, A = L L^T. False where A is not positive definite or not finite. */
bool qn_cholesky(double *a, size_t n);

/* Overwrites A[n][n], whose lower triangle is L, with the lower triangle of the inverse
 * of L. */
void qn_cholesky_invert(double *a, size_t n);

#endif
