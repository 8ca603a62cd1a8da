#include "convert/merge_parts.h"

#include "core/bytes.h"
#include "core/file.h"

#include <stdlib.h>

static enum qins_status fail_of(const struct qn_merge_part *p, enum qins_status st,
                                const char *text, struct qins_error *err)
{
    return qn_fail_at(err, st, p->path, NULL, QN_NO_OFFSET, "%s", text);
}

/* Whether P, as far as it is a part itself, goes with the first one that was given. */
static enum qins_status check_part(const struct qn_merge_part *first, const struct qn_merge_part *p,
                                   struct qins_error *err)
{
    const struct qn_part_info *a = &first->info, *b = &p->info;
    if (!b->complete && qn_has_suffix(p->path, ".part"))
        return fail_of(p, QINS_ERR_USAGE, "is not complete yet: run its task again", err);
    if (!b->complete)
        return fail_of(p, QINS_ERR_FORMAT, "is not complete: its last frame is missing or damaged",
                       err);
    if (strcmp(b->version, qins_version()) != 0)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, p->path, NULL, QN_NO_OFFSET,
                          "qins %s made it, and this is %s", b->version, qins_version());
    if (memcmp(&a->job, &b->job, sizeof a->job) != 0)
        return qn_fail_at(err, QINS_ERR_USAGE, p->path, NULL, QN_NO_OFFSET,
                          "is of another conversion than %s: their sources or options differ",
                          first->path);
    if (strcmp(a->source_format, b->source_format) != 0)
        return fail_of(p, QINS_ERR_FORMAT, "says another format of the source than others", err);
    return QINS_OK;
}

/* The rooms are of p->n each; SORTED takes the parts for a while. */
static enum qins_status sort_parts(struct qn_merge_parts *p, const char *const *paths,
                                   struct qn_merge_part *sorted, struct qn_shard *shards,
                                   size_t *order, struct qins_error *err)
{
    for (size_t i = 0; i < p->n; i++)
        shards[i] = p->items[i].info.shard;
    enum qins_status st = qn_shard_order(shards, paths, p->n, order, err);
    if (st != QINS_OK)
        return st;
    for (size_t i = 0; i < p->n; i++)
        sorted[i] = p->items[order[i]];
    memcpy(p->items, sorted, p->n * sizeof *sorted);
    return QINS_OK;
}

/* Every part once, from the first on. */
static enum qins_status put_in_order(struct qn_merge_parts *p, const char *const *paths,
                                     struct qins_error *err)
{
    struct qn_merge_part *sorted = calloc(p->n, sizeof *sorted);
    struct qn_shard *shards = calloc(p->n, sizeof *shards);
    size_t *order = calloc(p->n, sizeof *order);
    enum qins_status st = sorted && shards && order
                              ? sort_parts(p, paths, sorted, shards, order, err)
                              : qn_fail_memory(err);
    free(sorted);
    free(shards);
    free(order);
    return st;
}

/* Each begins where the one before ends, and the last one with a whole tensor. */
static enum qins_status check_ranges(const struct qn_merge_parts *p, struct qins_error *err)
{
    for (size_t i = 1; i < p->n; i++) {
        const struct qn_part_range *a = &p->items[i - 1].info.range, *b = &p->items[i].info.range;
        if (a->end.tensor != b->begin.tensor || a->end.chunk != b->begin.chunk ||
            a->end_chunk != b->first_chunk)
            return fail_of(&p->items[i], QINS_ERR_FORMAT,
                           "does not begin where the part before it ends", err);
    }
    if (p->items[p->n - 1].info.range.end.chunk)
        return fail_of(&p->items[p->n - 1], QINS_ERR_FORMAT, "ends within a tensor, as the last",
                       err);
    return QINS_OK;
}

enum qins_status qn_merge_parts_open(struct qn_merge_parts *p, const char *const *paths, size_t n,
                                     struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    *p = (struct qn_merge_parts){.items = calloc(n, sizeof *p->items)};
    if (!p->items)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        p->items[i].path = paths[i];
        st = qn_part_read_info(paths[i], false, &p->items[i].info, err);
        if (st != QINS_OK)
            break;
        p->n++;
        p->bytes += p->items[i].info.part_bytes;
        st = check_part(&p->items[0], &p->items[i], err);
    }
    if (st == QINS_OK)
        st = put_in_order(p, paths, err);
    return st == QINS_OK ? check_ranges(p, err) : st;
}

void qn_merge_parts_close(struct qn_merge_parts *p)
{
    for (size_t i = 0; i < p->n; i++)
        qn_part_info_finish(&p->items[i].info);
    free(p->items);
    *p = (struct qn_merge_parts){0};
}
