/* The sections of a chunk of lossless content: coded byte planes (planes.h), the most significant
 * first, as docs/chunk-payload.md lays them down. */
#ifndef QINS_FORMATS_CODEC_LOSSLESS_H
#define QINS_FORMATS_CODEC_LOSSLESS_H

#include "formats/codec/chunk_layout.h"

/* Most bytes that the planes of N elements take. */
size_t qn_lossless_bound(enum qins_dtype dtype, size_t n);

/* Codes N elements at SRC, a plane that coder WANTED does not make smaller as it is, to DST, which
 * has room for qn_lossless_bound() bytes and no more is touched. *size: bytes that it took; *top:
 * coder of the most significant plane. Uses work->symbols and work->scratch. */
enum qins_status qn_lossless_encode(enum qins_dtype dtype, enum qn_codec_id wanted,
                                    const uint8_t *src, size_t n, struct qn_chunk_work *work,
                                    uint8_t *dst, size_t *size, enum qn_codec_id *top,
                                    struct qins_error *err);

/* Decodes a payload that has passed qn_chunk_parse() with header H; else as qn_chunk_decode(). Does
 * not use work->coded. */
enum qins_status qn_lossless_decode(const struct qn_chunk_header *h, const uint8_t *payload,
                                    bool view, struct qn_chunk_work *work, void *dst,
                                    struct qins_error *err);

#endif
