/* One sequence running through a model: its KV cache and its activations. */
#ifndef QINS_MODEL_SESSION_H
#define QINS_MODEL_SESSION_H

#include "core/pool.h"
#include "model/kv.h"
#include "model/native.h"
#include "model/taps.h"

struct qn_session_options {
    /* Positions of the whole sequence, the KV cache's size. Where it exceeds the original
     * context of a longrope model, the long factors hold for the whole sequence. */
    size_t positions;
    size_t batch;         /* tokens computed at a time, 1 … positions; 0: min(positions, 512) */
    struct qn_pool *pool; /* or NULL; one session at a time may run on a pool */
    const struct qn_listener *listener; /* or NULL; must outlive the session */
    const struct qn_kv_options *kv;     /* or NULL: a plain cache; copied */
};

struct qn_session;

/* QINS_ERR_UNSUPPORTED where POSITIONS exceeds learned positions; a longer context than the
 * model was made for is otherwise the caller's affair. One session, one thread at a time;
 * sessions of one model run in parallel. */
enum qins_status qn_session_create(struct qn_session **out, const struct qn_model *m,
                                   const struct qn_session_options *options,
                                   struct qins_error *err);
void qn_session_destroy(struct qn_session *s); /* accepts NULL */

/* Forgets the sequence: the next token stands at position 0. */
void qn_session_reset(struct qn_session *s);
/* Forgets all but the first POSITION tokens. Where a coded V cache has coded the page that POSITION
 * is in, its tokens keep the values that were coded: what follows sees them so, and the page is
 * coded anew when it is full again. */
void qn_session_truncate(struct qn_session *s, size_t position);
size_t qn_session_position(const struct qn_session *s); /* tokens in the cache */

/* Runs N >= 1 tokens, in batches; they are appended to the sequence. What the head would need
 * is kept for the last min(n, batch) of them. QINS_ERR_FORMAT for an id outside the vocabulary
 * (naming it and its index), QINS_ERR_USAGE where the cache cannot hold them. MONITOR, or NULL,
 * may stop it between batches. A coded V cache may run out of memory, or meet values that are not
 * finite (QINS_ERR_FORMAT); then the sequence is forgotten. */
enum qins_status qn_session_forward(struct qn_session *s, const uint32_t *ids, size_t n,
                                    const struct qn_monitor *monitor, struct qins_error *err);

/* Logits of COUNT of the tokens of the last batch, from its token FIRST on, into
 * OUT[count][vocab]. */
void qn_session_logits(struct qn_session *s, size_t first, size_t count, float *out);
size_t qn_session_last_batch(const struct qn_session *s); /* tokens of the last batch */

/* What all forward passes of the session did so far. */
void qn_session_counts(const struct qn_session *s, struct qn_compute_counts *out);
/* The same of its coded V cache; all 0 with a plain one. */
void qn_session_kv_counts(const struct qn_session *s, struct qn_kv_counts *out);

#endif
