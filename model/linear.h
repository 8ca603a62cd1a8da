/* y = x W^T + bias, from any storage type, on the threads of a pool. */
#ifndef QINS_MODEL_LINEAR_H
#define QINS_MODEL_LINEAR_H

#include "core/pool.h"
#include "model/weights.h"

/* 1 MiB: the second-level cache of one core. */
enum { QN_LINEAR_PANEL = 256 * 1024 };

/* X[rows][x_stride] holds rows of w->in, Y[rows][y_stride] of w->out; strides count elements.
 * Many rows go through OpenBLAS, a block of W's rows at a time (narrow types are widened to a
 * panel of at most QN_LINEAR_PANEL floats a thread), few through our own dot products. The
 * Packed matrices are multiplied as model/packed.h says. The
 * result of a row depends on neither the pool nor the number of threads. SCRATCH holds
 * qn_linear_scratch() floats for each thread of the pool. */
void qn_linear(struct qn_pool *pool, const struct qn_matrix *w, const float *x, size_t rows,
               size_t x_stride, float *y, size_t y_stride, float *scratch);
size_t qn_linear_scratch(void); /* floats a thread */

/* Row ROW of a matrix (not transposed; looked up, if it is packed), widened, into DST[w->in]. */
void qn_matrix_row(const struct qn_matrix *w, size_t row, float *dst);

#endif
