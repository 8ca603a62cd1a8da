/* Row-major reading of arrays that a file holds in another order: transposed, sliced, expanded
 * (stride 0), Fortran order. The source is anything that yields bytes at a position. */
#ifndef QINS_FORMATS_STRIDED_H
#define QINS_FORMATS_STRIDED_H

#include "core/error.h"

/* SIZE bytes at byte OFFSET of the source. */
typedef enum qins_status (*qn_fetch_fn)(void *ctx, uint64_t offset, void *dst, size_t size,
                                        struct qins_error *err);

/* Element (i_0, …) stands at element base + Σ i_k · stride[k] of the source. */
struct qn_strided {
    unsigned rank;          /* <= QINS_MAX_RANK */
    const uint64_t *shape;  /* elements */
    const uint64_t *stride; /* elements, may be 0; any order, may overlap */
    uint64_t base;          /* elements */
    size_t element_size;    /* bytes, >= 1 */
};

/* Bytes of source that the view reaches from its start, 0 for an empty view; false if that
 * overflows 64 bits. */
bool qn_strided_extent(const struct qn_strided *v, uint64_t *bytes);

/* True if the elements follow each other in row-major order without gaps. */
bool qn_strided_is_contiguous(const struct qn_strided *v);

/* SIZE bytes from byte OFFSET of the row-major form into DST; both are multiples of the element
 * size and the range lies inside the view, whose extent was checked against the source. Memory:
 * at most 256 KiB. Thread-safe if FETCH is. */
enum qins_status qn_strided_read(const struct qn_strided *v, qn_fetch_fn fetch, void *ctx,
                                 uint64_t offset, void *dst, size_t size, struct qins_error *err);

/* Reverses the bytes of each element of SIZE bytes of elements, in place. */
void qn_swap_elements(void *data, size_t size, size_t element_size);

#endif
