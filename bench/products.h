/* The matrix products of a forward pass and nothing else, through qn_sgemm: what a forward pass
 * is measured against. Attention is left out. */
#ifndef QINS_BENCH_PRODUCTS_H
#define QINS_BENCH_PRODUCTS_H

#include "core/pool.h"
#include "model/weights.h"

struct qn_products;

/* For batches of at most BATCH rows. The model must outlive it.
 * F32 weights are used in place; other types are stood in for by one F32 matrix, which is kinder
 * to caches. */
enum qins_status qn_products_create(struct qn_products **out, const struct qn_model *m,
                                    size_t batch, struct qins_error *err);
void qn_products_destroy(struct qn_products *p); /* accepts NULL */

/* All layers over ROWS rows, and the head over HEAD_ROWS of them. Each product is cut into as
 * many pieces as the pool has threads: by rows of the batch, or of the weight where the batch
 * has fewer. */
void qn_products_run(struct qn_products *p, struct qn_pool *pool, size_t rows, size_t head_rows);

#endif
