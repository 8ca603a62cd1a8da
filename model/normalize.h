/* Normalizers: text rewritten before it is cut into words. */
#ifndef QINS_MODEL_NORMALIZE_H
#define QINS_MODEL_NORMALIZE_H

#include "model/tokenizer_parts.h"

struct qn_normalizer {
    struct qn_step_list steps;
};

/* PART: "normalizer" of a tokenizer.json, null or NULL for none. What is not implemented is
 * QINS_ERR_UNSUPPORTED. On failure *n may be finished. */
enum qins_status qn_normalizer_init(struct qn_normalizer *n, const json_t *part,
                                    struct qins_error *err);
/* One that puts PREFIX before the text. */
enum qins_status qn_normalizer_init_prepend(struct qn_normalizer *n, const char *prefix,
                                            struct qins_error *err);
void qn_normalizer_finish(struct qn_normalizer *n);

/* Appends the normal form of TEXT, valid UTF-8. An empty text stays empty. A form out of all
 * proportion to the text is QINS_ERR_UNSUPPORTED. */
enum qins_status qn_normalize(const struct qn_normalizer *n, struct qn_matcher *matcher,
                              const uint8_t *text, size_t size, struct qn_buf *out,
                              struct qins_error *err);

#endif
