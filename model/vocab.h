/* The tokens of a tokenizer: text to id and id to text. */
#ifndef QINS_MODEL_VOCAB_H
#define QINS_MODEL_VOCAB_H

#include "core/buf.h"

#define QN_NO_TOKEN UINT32_MAX

struct qn_token {
    uint32_t offset, size; /* of its text in qn_vocab.text; offset is QN_NO_TOKEN where no token
                              has this id */
    bool special;
};

struct qn_vocab {
    struct qn_buf text;
    struct qn_token *tokens; /* by id */
    uint32_t *slots;   /* hash table of ids: those of the model, added tokens not among them */
    uint32_t n_tokens; /* highest id + 1 */
    uint32_t n_slots;  /* a power of two, or 0 */
    uint32_t longest;  /* bytes of the longest text in the hash table */
};

/* For ids below N, and texts of TEXT_BYTES in all. */
enum qins_status qn_vocab_init(struct qn_vocab *v, uint32_t n, size_t text_bytes,
                               struct qins_error *err);
void qn_vocab_finish(struct qn_vocab *v);

/* ID < n_tokens, not yet given. FINDABLE: qn_vocab_find() sees it; where two tokens have one
 * text, the first given. */
enum qins_status qn_vocab_add(struct qn_vocab *v, const void *text, size_t size, uint32_t id,
                              bool findable, struct qins_error *err);
static inline bool qn_vocab_has(const struct qn_vocab *v, uint32_t id)
{
    return id < v->n_tokens && v->tokens[id].offset != QN_NO_TOKEN;
}
static inline const uint8_t *qn_vocab_text(const struct qn_vocab *v, uint32_t id, size_t *size)
{
    *size = v->tokens[id].size;
    return v->text.data + v->tokens[id].offset;
}

/* The id of that text, or of A followed by B, or QN_NO_TOKEN. */
uint32_t qn_vocab_find(const struct qn_vocab *v, const void *text, size_t size);
uint32_t qn_vocab_find_joined(const struct qn_vocab *v, const void *a, size_t a_size, const void *b,
                              size_t b_size);

#endif
