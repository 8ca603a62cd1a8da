/* What a tokenizer is made of; for the files that make one. */
#ifndef QINS_MODEL_TOKENIZER_IMPL_H
#define QINS_MODEL_TOKENIZER_IMPL_H

#include "core/json.h"
#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/detokenize.h"
#include "model/normalize.h"
#include "model/pretokenize.h"
#include "model/tokenizer.h"

struct qn_tokenizer {
    struct qn_digest digest;
    struct qn_vocab vocab;
    struct qn_bpe bpe;
    /* Found in the text as it is, and in normalized text between those; [1]: without the special
     * ones, for texts that are plain. */
    struct qn_added_tokens raw[2], normalized[2];
    struct qn_normalizer normalizer;
    struct qn_pretokenizer pretokenizer;
    struct qn_decoder decoder;
    struct qn_ids prefix, suffix; /* of the post-processor's template */
    bool lossless;                /* bytes that are no UTF-8 have tokens */
    bool strips_after_bos;        /* decoding: a space that begins a token after BOS is dropped */
};

/* Both fill a zeroed *t; what they leave on failure may be destroyed. */
enum qins_status qn_tokenizer_read_json(struct qn_tokenizer *t, const void *data, size_t size,
                                        struct qins_error *err);
enum qins_status qn_tokenizer_read_bin(struct qn_tokenizer *t, const void *data, size_t size,
                                       uint32_t vocab, struct qins_error *err);

/* "model" of tokenizer.json, without the part that makes t->vocab. */
enum qins_status qn_tokenizer_read_bpe(struct qn_tokenizer *t, const json_t *model,
                                       struct qins_error *err);
/* "vocab" and "added_tokens" into t->vocab. */
enum qins_status qn_tokenizer_read_vocab(struct qn_tokenizer *t, const json_t *vocab,
                                         const json_t *added, struct qins_error *err);
/* "post_processor". */
enum qins_status qn_tokenizer_read_template(struct qn_tokenizer *t, const json_t *part,
                                            struct qins_error *err);

#endif
