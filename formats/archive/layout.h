/* How a tensor is cut into chunks. A function of shape and element type alone, so that the
 * leaves of the source fingerprint (fingerprint.h) do not depend on how a tensor is coded. */
#ifndef QINS_FORMATS_ARCHIVE_LAYOUT_H
#define QINS_FORMATS_ARCHIVE_LAYOUT_H

#include "core/tensor.h"

/* The tensor is seen as [outer, split, inner] with outer * split * inner = n_elements: chunks
 * hold `step` indices of the split axis for one outer index, so each is one contiguous run of
 * elements. split is axis 0 unless a single slice of it exceeds QN_CHUNK_MAX elements. */
struct qn_layout {
    unsigned split_axis;
    uint64_t outer, split, inner; /* elements */
    uint64_t step;                /* indices of the split axis in a whole chunk */
    uint64_t chunks_per_outer;    /* ceil(split / step) */
    uint64_t n_chunks;            /* 0 for rank 0 and for empty tensors */
    uint64_t row_length;          /* n_elements / shape[0]; n_elements for rank 1 */
};

/* RANK and SHAPE as in struct qn_tensor (already checked for overflow). Chunks hold 256 Ki to 1 Mi
 * elements where the tensor has that many. */
void qn_layout_init(struct qn_layout *l, unsigned rank, const uint64_t *shape);

/* Element range of chunk INDEX < n_chunks. */
void qn_layout_chunk(const struct qn_layout *l, uint64_t index, uint64_t *first, uint64_t *count);

/* HDF5 chunk dimensions, `rank` of them. */
void qn_layout_dims(const struct qn_layout *l, unsigned rank, const uint64_t *shape,
                    uint64_t *dims);

#endif
