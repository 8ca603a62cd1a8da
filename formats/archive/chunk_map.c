#include "formats/archive/chunk_map.h"

#include "core/bytes.h"

#include <stdlib.h>

enum qins_status qn_chunk_map_init(struct qn_chunk_map *m, size_t n,
                                   uint64_t (*count)(const void *ctx, size_t i), const void *ctx,
                                   struct qins_error *err)
{
    *m = (struct qn_chunk_map){.first = calloc(n + 1, sizeof *m->first), .n = n};
    if (!m->first)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        if (!qn_add_u64(m->first[i], count(ctx, i), &m->first[i + 1]))
            return qn_fail(err, QINS_ERR_UNSUPPORTED, "too many chunks");
    return QINS_OK;
}

void qn_chunk_map_finish(struct qn_chunk_map *m)
{
    free(m->first);
    *m = (struct qn_chunk_map){0};
}

void qn_chunk_map_find(const struct qn_chunk_map *m, uint64_t item, size_t *tensor, uint64_t *chunk)
{
    size_t low = 0, high = m->n; /* first[low] <= item < first[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (m->first[middle] <= item)
            low = middle;
        else
            high = middle;
    }
    *tensor = low;
    *chunk = item - m->first[low];
}
