/* Byte-pair encoding: characters or bytes to initial symbols, then the pair of the lowest rank
 * joined again and again. */
#ifndef QINS_MODEL_BPE_H
#define QINS_MODEL_BPE_H

#include "model/ids.h"
#include "model/vocab.h"

struct qn_bpe_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX in an empty slot */
    uint32_t rank, id;
};

struct qn_bpe {
    const struct qn_vocab *vocab;
    struct qn_bpe_merge *merges; /* hash table */
    uint64_t *joints;            /* hash table, see qn_bpe_add_merge() */
    uint64_t merge_mask, joint_mask, n_merges, n_joints;
    uint32_t *edges;         /* for each id, the first and the last character of its text */
    uint32_t byte_ids[256];  /* byte level: of each byte; else what stands for a byte that belongs
                                to an unknown character. QN_NO_TOKEN where there is none */
    uint32_t ascii_ids[128]; /* not byte level: of each ASCII character */
    uint32_t unknown;        /* or QN_NO_TOKEN */
    bool unknown_missing;    /* an unk_token is named that the vocabulary lacks */
    bool byte_level, byte_fallback, fuse_unknown, ignore_merges;
};

/* VOCAB is complete and outlives the object; byte_ids, unknown and the flags are the caller's
 * to set afterwards. */
enum qins_status qn_bpe_init(struct qn_bpe *b, const struct qn_vocab *vocab,
                             struct qins_error *err);
void qn_bpe_finish(struct qn_bpe *b);

/* LEFT and RIGHT become ID; the lowest rank goes first, among equals the leftmost. The last one
 * given for a pair holds. Symbols between whose last and first character no merge joins anything
 * are never in one token: there the text is cut before anything else is done ("joints"). */
enum qins_status qn_bpe_add_merge(struct qn_bpe *b, uint32_t left, uint32_t right, uint32_t rank,
                                  uint32_t id, struct qins_error *err);

/* What one call of encode needs; zero-initialised is empty and valid. Not for two threads. */
struct qn_bpe_work {
    struct qn_ids run; /* initial symbols that may be joined */
    struct qn_buf symbols, heap, mapped;
    struct qn_bpe_cached *cache;
    uint32_t cache_mask;
};

/* TEXT_SIZE: bytes to come, which decides on the size of the cache. */
enum qins_status qn_bpe_work_init(struct qn_bpe_work *w, size_t text_size, struct qins_error *err);
void qn_bpe_work_finish(struct qn_bpe_work *w);

/* Appends the ids of one word of valid UTF-8. A character that has no token, no byte tokens and
 * no unknown token is left out, as Hugging Face does. ESCAPED: the text may hold escapes of
 * model/utf8.h. */
enum qins_status qn_bpe_encode(const struct qn_bpe *b, struct qn_bpe_work *w, const uint8_t *text,
                               size_t size, bool escaped, struct qn_ids *out,
                               struct qins_error *err);

#endif
