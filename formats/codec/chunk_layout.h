/* The header of a chunk payload and the geometry of its groups, as docs/chunk-payload.md lays
 * them down; shared by the encoder and the decoder. */
#ifndef QINS_FORMATS_CODEC_CHUNK_LAYOUT_H
#define QINS_FORMATS_CODEC_CHUNK_LAYOUT_H

#include "formats/codec/chunk.h"

enum {
    QN_PLANE_HEADER_SIZE = 5, /* codec and size in front of each plane */
    QN_MAX_RAW_BITS = 11,     /* of a 12-bit code one bit at least is coded */
};

/* Rows of `row_length` elements, each cut into groups of `group` (the last may be shorter);
 * 1 <= group <= row_length <= n, and row_length divides n. */
struct qn_groups {
    uint32_t n, row_length, group; /* elements */
};

/* One group after another: zero-initialised but for `in`. */
struct qn_group_walk {
    struct qn_groups in;
    uint32_t begin, size; /* the current group */
    uint32_t row_end;
};

/* The groups of a chunk of N elements under quantised content. */
struct qn_groups qn_chunk_groups(const struct qn_chunk_params *p, uint32_t n);
bool qn_groups_valid(const struct qn_groups *g);
uint32_t qn_groups_count(const struct qn_groups *g);
bool qn_group_next(struct qn_group_walk *w); /* false after the last group */

struct qn_chunk_header {
    struct qn_chunk_info info;
    struct qn_groups groups;
    uint32_t coded_size; /* quantised content: bytes of the section after the scales */
};

/* Bytes of N codes of 0 ... 2 * levels under QN_CODEC_STORE. */
size_t qn_codes_stored_size(unsigned levels, size_t n);

/* Writes the header of a payload of info.payload_size bytes whose sections are in place, and
 * seals it with the hash. */
void qn_chunk_seal(const struct qn_chunk_header *h, uint8_t *payload);

/* Checks hash and header, and that the sections which it announces make up the payload. */
enum qins_status qn_chunk_parse(const void *payload, size_t size, struct qn_chunk_header *h,
                                struct qins_error *err);

/* The parts of a payload: itself, or those of QN_CONTENT_BLOCKS. */
struct qn_part_walk {
    struct qn_chunk_header whole;
    struct qn_chunk_header part; /* the current one's */
    const uint8_t *payload;      /* its bytes */
    size_t first;                /* its first element's index in the chunk */
    const uint8_t *next;         /* what is behind it */
    size_t left;                 /* bytes there */
    uint32_t parts_left;
};

/* Before the first part of a payload that has passed qn_chunk_parse() with header H. */
void qn_part_walk_init(struct qn_part_walk *w, const struct qn_chunk_header *h,
                       const void *payload);
/* *more is false behind the last part. QINS_ERR_FORMAT where the parts do not make up the chunk. */
enum qins_status qn_part_next(struct qn_part_walk *w, bool *more, struct qins_error *err);

/* QINS_ERR_FORMAT unless the payload holds N elements of DTYPE. */
enum qins_status qn_chunk_check_shape(const struct qn_chunk_header *h, enum qins_dtype dtype,
                                      size_t n, struct qins_error *err);

/* N symbols from exactly SIZE bytes of a coder, *scratch made large enough. */
enum qins_status qn_chunk_decode_symbols(enum qn_codec_id id, const uint8_t *src, size_t size,
                                         uint8_t *dst, size_t n, struct qn_buf *scratch,
                                         struct qins_error *err);

/* Scale of group INDEX of quantised content; 0 for the seed grid, which has none. */
float qn_chunk_scale(const struct qn_chunk_header *h, const uint8_t *payload, uint32_t index);

/* Unpacks the codes of quantised content that has passed qn_chunk_parse() into work->codes
 * (uint16_t) and checks every code and scale. Uses work->symbols and work->scratch. */
enum qins_status qn_chunk_unpack_codes(const struct qn_chunk_header *h, const uint8_t *payload,
                                       struct qn_chunk_work *work, struct qins_error *err);

/* The grid of a header that has passed qn_chunk_parse(). */
void qn_chunk_grid(const struct qn_chunk_header *h, struct qn_grid *grid);

/* N values of DTYPE (quantisable) as floats: SRC itself if it is aligned F32, else widened into
 * *values. NULL when out of memory. */
const float *qn_chunk_floats(enum qins_dtype dtype, const void *src, size_t n,
                             struct qn_buf *values, struct qins_error *err);

#endif
