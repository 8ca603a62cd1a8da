/* Chunk payloads: the self-contained coded form of up to QN_CHUNK_MAX elements of one tensor.
 * The byte layout is in docs/chunk-payload.md. */
#ifndef QINS_FORMATS_CODEC_CHUNK_H
#define QINS_FORMATS_CODEC_CHUNK_H

#include "core/buf.h"
#include "core/tensor.h"
#include "formats/codec/codec.h"
#include "formats/codec/feedback.h"

enum {
    QN_CHUNK_MAX = 1 << 20,    /* elements */
    QN_CHUNK_HEADER_SIZE = 64, /* bytes at the front of every payload, the hash included */
};

/* Part of the archive format: never renumber. */
enum qn_content {
    QN_CONTENT_LOSSLESS = 0, /* byte planes of the source elements */
    QN_CONTENT_QINS = 1,     /* codes on the QINS grid */
    QN_CONTENT_SEED = 2,     /* codes on the seed grid */
    QN_CONTENT_BLOCKS = 3,   /* payloads of the others, one after the other */
};

/* How codes are chosen: each value's nearest level, or with the rounding error fed back into the
 * rest of its row (formats/codec/feedback.h). Part of the archive format. */
enum qn_rounding { QN_ROUND_NEAREST = 0, QN_ROUND_FEEDBACK = 1 };

/* How to encode a chunk. For quantised content each row of ROW_LENGTH elements is cut into
 * groups of GROUP elements (the last of a row may be shorter), each with its own scale
 * clip * max|x|; with TENSOR_SCALE > 0 the whole chunk has that one scale and row_length and
 * group are ignored. A chunk whose n is no multiple of ROW_LENGTH is part of a single row and
 * has n <= ROW_LENGTH. */
struct qn_chunk_params {
    enum qn_content content;
    enum qins_dtype dtype;              /* of the source */
    enum qn_codec_id codec;             /* wanted; BITPACK only for quantised content */
    unsigned levels;                    /* N, quantised content only */
    float kappa, clip;                  /* seed grid: kappa is alpha, clip is ignored */
    float tensor_scale;                 /* > 0: already multiplied by clip */
    enum qn_rounding rounding;          /* feedback: QINS grid only, whole rows */
    uint64_t row_length, group;         /* elements, >= 1 */
    const struct qn_feedback *feedback; /* to encode with feedback; rows have its n elements */
};

/* Elements that follow each other in a chunk and have one coding. */
struct qn_chunk_run {
    struct qn_chunk_params params;
    size_t n; /* elements */
};

/* Buffers that encode and decode reuse; zero-initialised is empty. One for each thread. */
struct qn_chunk_work {
    struct qn_buf values, codes, symbols, coded, scratch, rows;
};
void qn_chunk_work_finish(struct qn_chunk_work *w);

/* Encodes N elements (1 … QN_CHUNK_MAX) of SRC (canonical source bytes) and appends the payload
 * to *out. A NaN or infinity under quantised content is QINS_ERR_UNSUPPORTED; err->offset is
 * then the element's index in the chunk. */
enum qins_status qn_chunk_encode(const struct qn_chunk_params *params, const void *src, size_t n,
                                 struct qn_chunk_work *work, struct qn_buf *out,
                                 struct qins_error *err);

/* The same of a chunk of N_RUNS runs: a plain payload where there is one, else a compound one
 * (QN_CONTENT_BLOCKS) of a payload for each. All have one dtype. */
enum qins_status qn_chunk_encode_runs(const struct qn_chunk_run *runs, size_t n_runs,
                                      const void *src, struct qn_chunk_work *work,
                                      struct qn_buf *out, struct qins_error *err);

/* What a payload says of itself, after the header's own checks and the hash of the whole
 * payload. */
struct qn_chunk_info {
    enum qn_content content;
    enum qins_dtype dtype;
    enum qn_codec_id codec; /* the one really used; for lossless that of the most significant
                               plane, for blocks that of the first part */
    unsigned levels, raw_bits;
    float kappa;
    enum qn_rounding rounding;
    float error_bound; /* feedback: the largest |source - decoded| of the chunk; else 0 */
    uint32_t n_elements, n_scales;
    uint32_t n_parts;      /* 1, but for QN_CONTENT_BLOCKS */
    uint64_t payload_size; /* bytes, header included */
};

enum qins_status qn_chunk_inspect(const void *payload, size_t size, struct qn_chunk_info *info,
                                  struct qins_error *err);

/* QINS_ERR_FORMAT unless the payload is of these runs, each coded with its parameters (codec and
 * feedback apart): content, levels, kappa, rows and groups, rounding, and the scale where there is
 * one for all. */
enum qins_status qn_chunk_check_runs(const void *payload, size_t size,
                                     const struct qn_chunk_run *runs, size_t n_runs,
                                     struct qins_error *err);

/* Decodes a payload of exactly SIZE bytes that must hold exactly N elements of type DTYPE.
 * VIEW: true for the view type (F32 for narrow floats), false for the source type (quantised
 * values are rounded to it). DST holds N elements of that type. */
enum qins_status qn_chunk_decode(const void *payload, size_t size, enum qins_dtype dtype, size_t n,
                                 bool view, struct qn_chunk_work *work, void *dst,
                                 struct qins_error *err);

/* Checks a payload against N source elements: lossless content must be bit-equal, every code
 * of quantised content must be what the stored scale and grid make of the source value; with
 * feedback every decoded value must be within the stored bound, which one of them must reach.
 * *mismatches counts elements that are not; *first is the index of the first. */
enum qins_status qn_chunk_compare(const void *payload, size_t size, enum qins_dtype dtype,
                                  const void *src, size_t n, struct qn_chunk_work *work,
                                  uint64_t *mismatches, uint64_t *first, struct qins_error *err);

#endif
