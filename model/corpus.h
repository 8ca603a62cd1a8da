/* What a model is run on: texts or ids, cut into windows. */
#ifndef QINS_MODEL_CORPUS_H
#define QINS_MODEL_CORPUS_H

#include "model/tokenizer.h"
#include "model/weights.h"

struct qn_corpus_options {
    const char *const *texts; /* paths */
    size_t n_texts;
    const char *tokenizer;            /* path, or NULL: beside the model */
    const char *ids;                  /* path of a .npy file in place of texts, or NULL */
    uint64_t max_tokens;              /* 0: all */
    const struct qn_monitor *monitor; /* or NULL; told of a text that is not UTF-8 */
};

struct qn_corpus {
    struct qn_ids ids; /* of all texts, one after the other */
    size_t *begin;     /* [n_parts + 1]: where each text begins in ids */
    size_t n_parts;
    struct qn_digest text_digest;      /* of the bytes of the texts, or of the ids */
    struct qn_digest tokenizer_digest; /* zero without one */
    int64_t bos; /* what the tokenizer would put before a text, -1: nothing, or no tokenizer */
};

/* Reads and encodes; texts of at most 2^32 bytes each, without a NUL (as UTF-16 has, and weights):
 * QINS_ERR_FORMAT. No BOS is added (docs/formats.md). Ids are checked against the model's
 * vocabulary. Texts behind MAX_TOKENS tokens are hashed, but not encoded. QINS_ERR_USAGE where
 * neither texts nor ids are given, or both. Errors name the file. */
enum qins_status qn_corpus_open(struct qn_corpus *c, const struct qn_model *m,
                                const struct qn_corpus_options *options, struct qins_error *err);
void qn_corpus_finish(struct qn_corpus *c);

/* Attention's cost grows with the square of the window; llama-perplexity has this default, too, so
 * that figures compare. */
#define QN_WINDOW_SIZE 512u

/* Tokens of a window: GIVEN, or where that is 0 the model's context, at most QN_WINDOW_SIZE. More
 * than the model was made for is noted; MONITOR may be NULL. */
uint32_t qn_window_size(const struct qn_model_config *config, uint32_t given,
                        const struct qn_monitor *monitor);

/* For who has other work to do first: fails as qn_corpus_open() would for what the file PATH holds.
 */
enum qins_status qn_corpus_check_text(const char *path, struct qins_error *err);

#endif
