/* Decoders: the texts of tokens to bytes. */
#ifndef QINS_MODEL_DETOKENIZE_H
#define QINS_MODEL_DETOKENIZE_H

#include "model/tokenizer_parts.h"

struct qn_decoder {
    struct qn_step_list steps;
    bool joins_by_space; /* no decoder at all: the tokens with spaces between them */
};

/* Texts in a row. */
struct qn_pieces {
    struct qn_buf text;
    struct qn_buf ends; /* size_t each: where the pieces end */
    size_t count;
};

/* PART: "decoder" of a tokenizer.json, null or NULL for none. What is not implemented is
 * QINS_ERR_UNSUPPORTED. On failure *d may be finished. */
enum qins_status qn_decoder_init(struct qn_decoder *d, const json_t *part, struct qins_error *err);
/* Bytes like <0x0A>, and nothing else: llama2.c's. */
enum qins_status qn_decoder_init_bytes(struct qn_decoder *d, struct qins_error *err);
void qn_decoder_finish(struct qn_decoder *d);

enum qins_status qn_pieces_add(struct qn_pieces *p, const void *text, size_t size,
                               struct qins_error *err);
void qn_pieces_finish(struct qn_pieces *p);

/* Appends what the decoder makes of PIECES, which it uses up. Bytes stay as they are, also where
 * Hugging Face would put U+FFFD. */
enum qins_status qn_decoder_apply(const struct qn_decoder *d, struct qn_pieces *pieces,
                                  struct qn_buf *out, struct qins_error *err);

/* The byte that "<0xHH>" stands for, or -1. */
int qn_byte_token(const uint8_t *text, size_t size);

#endif
