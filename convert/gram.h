/* Gram matrices of activations, X^T X in float64, on the threads of a pool. Sums are kept as
 * float64 and a float32 that it lacks, so that the order in which rows came matters little:
 * halves of a text add up to the whole. Memory: 12 bytes an element of the upper triangle. */
#ifndef QINS_CONVERT_GRAM_H
#define QINS_CONVERT_GRAM_H

#include "core/pool.h"
#include "formats/calibration.h"

struct qn_gram {
    uint32_t n;
    double *high; /* blocks of the upper triangle, each row-major */
    float *low;   /* as high */
};

/* What one matrix may take: up to 37 700 channels. */
#define QN_GRAM_MOST (UINT64_C(8) << 30)

/* Bytes of a matrix of N channels. */
uint64_t qn_gram_bytes(uint32_t n);
/* QINS_ERR_UNSUPPORTED, naming POINT, where one of N channels would take more than QN_GRAM_MOST. */
enum qins_status qn_gram_check(const char *point, uint32_t n, struct qins_error *err);
enum qins_status qn_gram_init(struct qn_gram *g, uint32_t n, struct qins_error *err);
void qn_gram_finish(struct qn_gram *g); /* a zeroed one is accepted */

/* What adding needs: rows widened, and a block for each thread. */
struct qn_gram_scratch {
    double *rows;
    size_t capacity; /* of rows, elements */
    double *blocks;
};
enum qins_status qn_gram_scratch_init(struct qn_gram_scratch *s, unsigned threads,
                                      struct qins_error *err);
void qn_gram_scratch_finish(struct qn_gram_scratch *s);

/* Adds ROWS rows of X, STRIDE elements apart. The result depends on how rows are dealt out to
 * calls, not on the pool. False when out of memory. */
bool qn_gram_add(struct qn_gram *g, struct qn_pool *pool, struct qn_gram_scratch *s, const float *x,
                 size_t rows, size_t stride);

/* COUNT rows from row FIRST into DST, as struct qn_large_source reads them: QN_LARGE_GRAM, the
 * whole symmetric matrix, or QN_LARGE_GRAM_LOW, what it lacks from the diagonal on. */
void qn_gram_read(const struct qn_gram *g, enum qn_large what, uint64_t first, uint64_t count,
                  void *dst);
/* Adds HIGH[n - I] and LOW[n - I], as qn_gram_read() yields them, to row I from the diagonal on. */
void qn_gram_add_row(struct qn_gram *g, uint32_t i, const double *high, const float *low);

#endif
