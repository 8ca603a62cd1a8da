/* Where a model is cut into shards: at chunks, so that each has as many source bytes as the others,
 * but for one chunk. A function of shapes, types and order of the tensors alone. */
#ifndef QINS_CONVERT_SHARD_CUT_H
#define QINS_CONVERT_SHARD_CUT_H

#include "formats/archive/part.h"

/* The range of shard S: of all chunks, in order, those whose first byte, counted over all tensors,
 * is in its piece of all bytes (qn_shard_range()). A tensor without chunks goes by its own first
 * byte, and what stands behind all bytes belongs to the last shard; so every chunk and every
 * tensor's beginning is in exactly one. The types are those that can be converted. With a count of
 * 0: all. */
enum qins_status qn_shard_cut(const struct qn_tensor_list *tensors, const struct qn_shard *s,
                              struct qn_part_range *out, struct qins_error *err);

/* Bytes of all tensors before PLACE. */
uint64_t qn_shard_place_byte(const struct qn_tensor_list *tensors,
                             const struct qn_part_place *place);

#endif
