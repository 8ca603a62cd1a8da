/* What a session does with a coded V cache; the session gives the buffer for decoded values. */
#ifndef QINS_MODEL_KV_CACHE_H
#define QINS_MODEL_KV_CACHE_H

#include "core/pool.h"
#include "model/kv.h"

struct qn_kv_cache;

/* For a model's layers, heads and values of a head, and sequences of POSITIONS tokens at most. */
struct qn_kv_shape {
    uint32_t layers, heads, head_dim;
    size_t positions;
    struct qn_pool *pool; /* or NULL; pages are decoded on it */
};

enum qins_status qn_kv_cache_create(struct qn_kv_cache **out, const struct qn_kv_shape *shape,
                                    const struct qn_kv_options *options, struct qins_error *err);
void qn_kv_cache_destroy(struct qn_kv_cache *c); /* accepts NULL */

/* The sequence, of POSITION tokens, is over. */
void qn_kv_cache_reset(struct qn_kv_cache *c, size_t position);
/* The sequence shrinks from POSITION tokens to LEFT. Tokens of a coded page stay as they were
 * coded; their page is coded anew when it is full again. */
void qn_kv_cache_truncate(struct qn_kv_cache *c, size_t position, size_t left);

/* The sequence, of POSITION tokens, grows by N; then one layer after the other:
 * load() makes values of the tokens FROM … POSITION - 1, and perhaps of some before, in V, where
 * token i of head h is at v + h * head_stride + i * head_dim;
 * store() keeps tokens BEGIN … END - 1, which do not go past BEGIN's page. Of a page that ends with
 * END values as they were coded take the place of those in V, if MORE tokens are to see them;
 * done() ends the batch when all layers have done so; then there are POSITION tokens. */
enum qins_status qn_kv_cache_load(struct qn_kv_cache *c, uint32_t layer, size_t from,
                                  size_t position, float *v, size_t head_stride,
                                  struct qins_error *err);
enum qins_status qn_kv_cache_store(struct qn_kv_cache *c, uint32_t layer, size_t begin, size_t end,
                                   bool more, float *v, size_t head_stride, struct qins_error *err);
void qn_kv_cache_done(struct qn_kv_cache *c, size_t position);
/* Where POSITION's page ends. */
size_t qn_kv_cache_page_end(const struct qn_kv_cache *c, size_t position);

/* What was counted, the running sequence of POSITION tokens included. */
void qn_kv_cache_counts(const struct qn_kv_cache *c, size_t position, struct qn_kv_counts *out);

#endif
