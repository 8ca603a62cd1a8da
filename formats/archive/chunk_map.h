/* The chunks of many tensors numbered through, as the items of one sweep. */
#ifndef QINS_FORMATS_ARCHIVE_CHUNK_MAP_H
#define QINS_FORMATS_ARCHIVE_CHUNK_MAP_H

#include "formats/archive/layout.h"

/* Chunks of tensors 0 ... n-1, numbered through. Zero-initialised is empty. */
struct qn_chunk_map {
    uint64_t *first; /* n + 1 of them: items before tensor i */
    size_t n;
};

/* COUNT(ctx, i) is the number of chunks of tensor i. */
enum qins_status qn_chunk_map_init(struct qn_chunk_map *m, size_t n,
                                   uint64_t (*count)(const void *ctx, size_t i), const void *ctx,
                                   struct qins_error *err);
void qn_chunk_map_finish(struct qn_chunk_map *m);
static inline uint64_t qn_chunk_map_total(const struct qn_chunk_map *m)
{
    return m->first[m->n];
}
/* ITEM < total. */
void qn_chunk_map_find(const struct qn_chunk_map *m, uint64_t item, size_t *tensor,
                       uint64_t *chunk);

#endif
