/* Blocks of rows with a coding of their own, and who owns what of a described tensor. */
#include "core/bytes.h"
#include "formats/archive/manifest.h"

#include <stdlib.h>

bool qn_blocks_cover(const struct qn_plan_block *blocks, size_t n, uint64_t rows)
{
    uint64_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (blocks[i].row_begin != next || blocks[i].row_end <= next)
            return false;
        next = blocks[i].row_end;
    }
    return n > 0 && next == rows;
}

bool qn_plan_feeds_back(const struct qn_plan_line *line, const struct qn_plan_block *blocks,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (blocks[i].line.rounding == QN_ROUND_FEEDBACK)
            return true;
    return n == 0 && line->rounding == QN_ROUND_FEEDBACK;
}

bool qn_archive_tensor_is_quantised(const struct qn_archive_tensor *t)
{
    for (size_t i = 0; i < t->n_blocks; i++)
        if (t->blocks[i].line.content != QN_CONTENT_LOSSLESS)
            return true;
    return t->n_blocks == 0 && t->plan.content != QN_CONTENT_LOSSLESS;
}

enum qins_status qn_archive_tensor_copy(struct qn_archive_tensor *to,
                                        const struct qn_archive_tensor *from,
                                        struct qins_error *err)
{
    *to = *from;
    to->blocks = NULL;
    to->tensor.name = qn_strdup(from->tensor.name, err);
    if (!to->tensor.name)
        return QINS_ERR_MEMORY;
    if (from->n_blocks == 0)
        return QINS_OK;
    to->blocks = calloc(from->n_blocks, sizeof *to->blocks);
    if (!to->blocks) {
        qn_archive_tensor_finish(to);
        return qn_fail_memory(err);
    }
    memcpy(to->blocks, from->blocks, from->n_blocks * sizeof *to->blocks);
    return QINS_OK;
}

void qn_archive_tensor_finish(struct qn_archive_tensor *t)
{
    free(t->tensor.name);
    free(t->blocks);
    t->tensor.name = NULL;
    t->blocks = NULL;
    t->n_blocks = 0;
}

/* The block of row ROW, which one has. */
static const struct qn_plan_block *find_block(const struct qn_archive_tensor *t, uint64_t row)
{
    size_t low = 0, high = t->n_blocks;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->blocks[middle].row_begin <= row)
            low = middle;
        else
            high = middle;
    }
    return &t->blocks[low];
}

bool qn_next_part(const struct qn_archive_tensor *t, uint64_t end, struct qn_part *p)
{
    p->first += p->count;
    if (p->first >= end)
        return false;
    if (t->n_blocks == 0) {
        p->count = end - p->first;
        p->line = &t->plan;
        p->tensor_scale = t->tensor_scale;
        return true;
    }
    uint64_t row = t->layout.row_length;
    const struct qn_plan_block *b = find_block(t, p->first / row);
    p->count = qn_min_u64(b->row_end * row, end) - p->first;
    p->line = &b->line;
    p->tensor_scale = b->tensor_scale;
    return true;
}
