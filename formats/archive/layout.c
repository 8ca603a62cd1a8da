#include "formats/archive/layout.h"
#include "core/bytes.h"
#include "formats/codec/chunk.h"

enum {
    TARGET = 1 << 19, /* elements: the middle of the range 256 Ki … 1 Mi */
    ALIGNMENT = 256,  /* elements: a multiple of every usual block size of a group */
};

/* Product of the extents from axis BEGIN to END - 1. */
static uint64_t extent_product(const uint64_t *shape, unsigned begin, unsigned end)
{
    uint64_t n = 1;
    for (unsigned i = begin; i < end; i++)
        n *= shape[i];
    return n;
}

static bool has_elements(unsigned rank, const uint64_t *shape)
{
    for (unsigned i = 0; i < rank; i++)
        if (shape[i] == 0)
            return false;
    return true;
}

void qn_layout_init(struct qn_layout *l, unsigned rank, const uint64_t *shape)
{
    *l = (struct qn_layout){.outer = 1, .split = 1, .inner = 1, .step = 1, .row_length = 1};
    if (rank == 0 || !has_elements(rank, shape))
        return;
    unsigned axis = 0;
    uint64_t inner = extent_product(shape, 1, rank), outer = 1;
    l->row_length = rank == 1 ? shape[0] : inner;
    while (inner > QN_CHUNK_MAX) {
        outer *= shape[axis++];
        inner /= shape[axis];
    }
    /* Chunks of nearly equal size, and as few as TARGET allows. */
    uint64_t most = TARGET > inner ? TARGET / inner : 1;
    uint64_t step = qn_div_up(shape[axis], qn_div_up(shape[axis], most));
    if (inner == 1 && step < shape[axis])
        step = qn_min_u64(qn_div_up(step, ALIGNMENT) * ALIGNMENT, shape[axis]);
    l->split_axis = axis;
    l->outer = outer;
    l->split = shape[axis];
    l->inner = inner;
    l->step = step;
    l->chunks_per_outer = qn_div_up(l->split, step);
    l->n_chunks = outer * l->chunks_per_outer;
}

void qn_layout_chunk(const struct qn_layout *l, uint64_t index, uint64_t *first, uint64_t *count)
{
    uint64_t begin = index % l->chunks_per_outer * l->step;
    *first = (index / l->chunks_per_outer * l->split + begin) * l->inner;
    *count = qn_min_u64(l->step, l->split - begin) * l->inner;
}

void qn_layout_dims(const struct qn_layout *l, unsigned rank, const uint64_t *shape, uint64_t *dims)
{
    for (unsigned i = 0; i < rank; i++)
        dims[i] = i < l->split_axis ? 1 : i == l->split_axis ? l->step : shape[i];
}
