/* Pre-tokenizers: text into words. */
#ifndef QINS_MODEL_PRETOKENIZE_H
#define QINS_MODEL_PRETOKENIZE_H

#include "model/tokenizer_parts.h"

struct qn_pretokenizer {
    struct qn_step_list steps;
    bool byte_level; /* the words are bytes under their stand-ins (model/byte_level.h) */
};

/* PART: "pre_tokenizer" of a tokenizer.json, null or NULL for none. What is not implemented is
 * QINS_ERR_UNSUPPORTED. On failure *p may be finished. */
enum qins_status qn_pretokenizer_init(struct qn_pretokenizer *p, const json_t *part,
                                      struct qins_error *err);
void qn_pretokenizer_finish(struct qn_pretokenizer *p);

/* Takes a word; SIZE > 0. */
typedef enum qins_status (*qn_word_fn)(void *ctx, const uint8_t *word, size_t size,
                                       struct qins_error *err);

/* Hands the words of TEXT, valid UTF-8, to TAKE in order, never an empty one. AT_START: the text
 * begins where the whole text begins. */
enum qins_status qn_pretokenize(const struct qn_pretokenizer *p, struct qn_matcher *matcher,
                                const uint8_t *text, size_t size, bool at_start, qn_word_fn take,
                                void *ctx, struct qins_error *err);

#endif
