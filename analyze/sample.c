#include "analyze/sample.h"

#include "core/bytes.h"
#include "formats/codec/chunk_layout.h"

void qn_sample_init(struct qn_sample *s, const struct qn_source *source, size_t index,
                    const struct qn_layout *layout, uint64_t max_elements)
{
    const uint64_t size = layout->step * layout->inner;
    *s = (struct qn_sample){.source = source, .index = index, .layout = layout};
    s->chunks = layout->n_chunks;
    if (max_elements > 0 && size > 0)
        s->chunks = qn_min_u64(s->chunks, max_elements / size ? max_elements / size : 1);
}

bool qn_sample_more(const struct qn_sample *s)
{
    return s->taken < s->chunks;
}

enum qins_status qn_sample_next(struct qn_sample *s, struct qins_error *err)
{
    const enum qins_dtype dtype = qn_source_read_type(s->source, s->index);
    /* Evenly spread; chunks are far fewer than 2^32. */
    const uint64_t at = s->taken * s->layout->n_chunks / s->chunks;
    uint64_t first, count;
    qn_layout_chunk(s->layout, at, &first, &count);
    enum qins_status st = qn_buf_reserve(&s->raw, (size_t)count * qins_dtype_size(dtype), err);
    if (st == QINS_OK)
        st = qn_source_read(s->source, s->index, first, count, &s->work, s->raw.data, err);
    if (st != QINS_OK)
        return st;
    s->x = qn_chunk_floats(dtype, s->raw.data, (size_t)count, &s->floats, err);
    s->n = (size_t)count;
    s->taken++;
    return s->x ? QINS_OK : QINS_ERR_MEMORY;
}

void qn_sample_finish(struct qn_sample *s)
{
    qn_source_work_finish(&s->work);
    qn_buf_finish(&s->raw);
    qn_buf_finish(&s->floats);
}
