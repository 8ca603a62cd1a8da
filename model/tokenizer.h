/* Text to token ids and back: Hugging Face tokenizer.json (BPE) and llama2.c's tokenizer.bin. */
#ifndef QINS_MODEL_TOKENIZER_H
#define QINS_MODEL_TOKENIZER_H

#include "core/buf.h"
#include "core/hash.h"
#include "formats/checkpoint.h"
#include "model/ids.h"

struct qn_tokenizer;

/* From the bytes of either file (found by content). Whatever the file asks for that is not
 * implemented (a normalizer, a pre-tokenizer, a model) is QINS_ERR_UNSUPPORTED, naming it;
 * truncation and padding are ignored: they say how batches are made. VOCAB:
 * for tokenizer.bin, which does not say how many tokens it holds; ignored otherwise. */
enum qins_status qn_tokenizer_parse(struct qn_tokenizer **out, const void *data, size_t size,
                                    uint32_t vocab, struct qins_error *err);
/* From PATH, or where that is NULL from the attachment "tokenizer.json" or "tokenizer.bin";
 * QINS_ERR_UNSUPPORTED where there is none ("give --tokenizer or --ids"). */
enum qins_status qn_tokenizer_open(struct qn_tokenizer **out, const char *path,
                                   const struct qn_attachment_list *files, uint32_t vocab,
                                   struct qins_error *err);
void qn_tokenizer_destroy(struct qn_tokenizer *t); /* accepts NULL */

/* Thread-safe, all of them. */
uint32_t qn_tokenizer_size(const struct qn_tokenizer *t);                  /* highest id + 1 */
const struct qn_digest *qn_tokenizer_digest(const struct qn_tokenizer *t); /* of the file */

enum {
    /* Adds what the post-processor's template adds (a BOS, usually); for tokenizer.bin the BOS. */
    QN_ENCODE_TEMPLATE = 1,
    /* Special tokens' names in the text are text like any other: for texts that are data. */
    QN_ENCODE_PLAIN = 2,
};

/* Appends the ids of TEXT. Added tokens in the text become their ids, as Hugging Face does; with
 * QN_ENCODE_PLAIN only those that are not special, as llama.cpp does where it reads a text. Text
 * need not be valid UTF-8: byte-level tokenizers take any bytes; others see U+FFFD. */
enum qins_status qn_tokenizer_encode(const struct qn_tokenizer *t, const void *text, size_t size,
                                     unsigned flags, struct qn_ids *out, struct qins_error *err);
/* Appends the bytes that the ids stand for; special tokens are left out where SKIP_SPECIAL. The
 * result may end within a character. Ids outside the vocabulary are QINS_ERR_FORMAT. */
enum qins_status qn_tokenizer_decode(const struct qn_tokenizer *t, const uint32_t *ids, size_t n,
                                     bool skip_special, struct qn_buf *out, struct qins_error *err);
#endif
