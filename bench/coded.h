/* Coded weights in memory, as an archive's chunks hold them, to be decoded over and over. */
#ifndef QINS_BENCH_CODED_H
#define QINS_BENCH_CODED_H

#include "core/buf.h"
#include "formats/archive/reader.h"

/* One payload of one coding. */
struct qn_coded_piece {
    size_t begin, size; /* in `payloads` */
    size_t n;           /* elements */
    enum qins_dtype dtype;
    bool view; /* decodes to that, qn_chunk_decode() */
    void *out; /* n elements */
};

/* Zero-initialised is empty; finish it. */
struct qn_coded {
    struct qn_buf payloads, pieces;  /* bytes; struct qn_coded_piece */
    uint64_t weights, entropy_coded; /* of them those that are neither stored nor bit-packed */
    size_t fell_back; /* payloads that another coder than the wanted one made smaller */
};
void qn_coded_finish(struct qn_coded *c);

size_t qn_coded_count(const struct qn_coded *c); /* pieces */
double qn_coded_bits(const struct qn_coded *c);  /* a weight, payloads' headers included; or NaN */

/* A copy of a payload, to be decoded to OUT. */
enum qins_status qn_coded_add(struct qn_coded *c, const void *payload, size_t size,
                              enum qins_dtype dtype, size_t n, bool view, void *out,
                              struct qins_error *err);

enum { QN_WHOLE_PIECE = 0 };
/* The same weights as piece FROM of SOURCE, under another CODEC and in pages of PAGE values
 * (whole rows or equal pieces of one) or QN_WHOLE_PIECE; appended. They have the same codes on the
 * same grid, so they decode to the same values, but where a group's largest code was made smaller
 * by feedback rounding. Lossless weights stay so: `bitpack` is `store` for them. */
enum qins_status qn_coded_recode(struct qn_coded *c, const struct qn_coded *source, size_t from,
                                 enum qn_codec_id codec, size_t page, struct qn_chunk_work *work,
                                 struct qins_error *err);

enum qins_status qn_coded_decode(const struct qn_coded *c, struct qn_chunk_work *work,
                                 struct qins_error *err);

/* What one coding of an archive's tensor covers, one chunk at a time. */
struct qn_coded_run {
    size_t tensor;
    uint64_t first; /* element of the tensor */
    size_t n;
    enum qn_class access_class;
    bool quantised;
    const uint8_t *payload;
    size_t size;
};
/* Calls VISIT with each run of chunk CHUNK of tensor TENSOR. PAYLOAD is reused. */
enum qins_status qn_coded_visit(const struct qn_archive *a, size_t tensor, uint64_t chunk,
                                struct qn_buf *payload,
                                enum qins_status (*visit)(void *ctx, const struct qn_coded_run *run,
                                                          struct qins_error *err),
                                void *ctx, struct qins_error *err);

#endif
