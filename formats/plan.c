#include "formats/plan.h"

#include "core/bytes.h"
#include "formats/limits.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLAN = 256 << 20 }; /* bytes; candidates are most of it */

static void tensor_finish(struct qn_plan_tensor *t)
{
    free(t->name);
    free(t->blocks);
    json_decref(t->candidates);
}

void qn_plan_finish(struct qn_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        tensor_finish(&p->tensors[i]);
    free(p->tensors);
    json_decref(p->summary);
    *p = (struct qn_plan){0};
}

enum qins_status qn_plan_add(struct qn_plan *p, const struct qn_tensor *t,
                             struct qn_plan_tensor **out, struct qins_error *err)
{
    enum { FIRST_CAPACITY = 64 };
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : FIRST_CAPACITY;
        struct qn_plan_tensor *tensors = realloc(p->tensors, capacity * sizeof *tensors);
        if (!tensors)
            return qn_fail_memory(err);
        p->tensors = tensors;
        p->capacity = capacity;
    }
    char *name = qn_strdup(t->name, err);
    if (!name)
        return QINS_ERR_MEMORY;
    struct qn_plan_tensor *added = &p->tensors[p->count++];
    *added = (struct qn_plan_tensor){
        .name = name,
        .dtype = t->dtype,
        .rank = t->rank,
        .line = {.group_kind = QN_GROUP_TENSOR, .access_frequency = -1.0},
        .predicted_bytes = NAN,
        .predicted_error = NAN,
        .sensitivity = NAN,
    };
    memcpy(added->shape, t->shape, sizeof added->shape);
    *out = added;
    return QINS_OK;
}

const struct qn_plan_tensor *qn_plan_find(const struct qn_plan *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->tensors[i].name, name) == 0)
            return &p->tensors[i];
    return NULL;
}

const struct qn_plan_tensor *qn_plan_at(const struct qn_plan *p, size_t index, const char *name)
{
    bool here = index < p->count && strcmp(p->tensors[index].name, name) == 0;
    return here ? &p->tensors[index] : qn_plan_find(p, name);
}

static enum qins_status fail_in(struct qins_error *err, const char *path, const char *tensor,
                                const char *problem)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, path, tensor, QN_NO_OFFSET, "%s", problem);
}

/* What keeps a line from being carried out on tensor T; NULL if nothing does. */
static const char *line_problem(const struct qn_plan_line *line, const struct qn_tensor *t)
{
    if (line->content == QN_CONTENT_LOSSLESS)
        return line->codec == QN_CODEC_BITPACK
                   ? "bitpack holds quantised codes and cannot be lossless; use store"
                   : NULL;
    if (line->content != QN_CONTENT_QINS)
        return "a plan cannot ask for the seed grid";
    if (!qn_dtype_is_quantisable(t->dtype))
        return "the plan quantises a type that cannot be quantised; its levels must be null";
    if (t->rank == 0)
        return "the plan quantises a scalar; its levels must be null";
    if (line->rounding == QN_ROUND_FEEDBACK && t->rank < 2)
        return "feedback rounding needs a matrix";
    if (line->rounding == QN_ROUND_FEEDBACK && t->shape[0] > 0 &&
        t->n_elements / t->shape[0] > QN_CHUNK_MAX)
        return "feedback rounding needs rows of at most 1048576 elements";
    return NULL;
}

static enum qins_status check_tensor(const struct qn_plan_tensor *p, const char *path,
                                     const struct qn_tensor *t, struct qins_error *err)
{
    char a[256], b[256];
    const char *problem = NULL;
    if (p->dtype != t->dtype)
        return qn_fail_at(err, QINS_ERR_FORMAT, path, t->name, QN_NO_OFFSET,
                          "%s in the plan, %s in the source", qins_dtype_name(p->dtype),
                          t->dtype ? qins_dtype_name(t->dtype) : t->foreign_type);
    if (p->rank != t->rank || memcmp(p->shape, t->shape, t->rank * sizeof *t->shape) != 0)
        return qn_fail_at(err, QINS_ERR_FORMAT, path, t->name, QN_NO_OFFSET,
                          "shape %.60s in the plan, %.60s in the source",
                          qn_shape_format(p->rank, p->shape, a, sizeof a),
                          qn_shape_format(t->rank, t->shape, b, sizeof b));
    if (p->n_blocks == 0)
        problem = line_problem(&p->line, t);
    else if (t->rank < 2 || t->n_elements == 0)
        problem = "blocks of rows need a matrix with elements";
    else if (p->n_blocks > QN_MAX_BLOCKS)
        problem = "more than 4096 blocks";
    else if (!qn_blocks_cover(p->blocks, p->n_blocks, t->shape[0]))
        problem = "its blocks do not cover the rows from 0 on, in order and without gaps";
    if (problem)
        return fail_in(err, path, t->name, problem);
    for (size_t i = 0; i < p->n_blocks; i++) {
        problem = line_problem(&p->blocks[i].line, t);
        if (problem)
            return qn_fail_at(err, QINS_ERR_FORMAT, path, t->name, QN_NO_OFFSET, "block %zu: %s", i,
                              problem);
    }
    return QINS_OK;
}

/* A line, to be sorted by name. */
struct entry {
    const struct qn_plan_tensor *line;
};

static int compare_names(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return strcmp(x->line->name, y->line->name);
}

static const struct qn_plan_tensor *find_sorted(const struct entry *order, size_t n, char *name)
{
    const struct qn_plan_tensor wanted = {.name = name};
    const struct entry key = {&wanted};
    const struct entry *found = bsearch(&key, order, n, sizeof *order, compare_names);
    return found ? found->line : NULL;
}

/* Names of the list are unique, those of the plan are not yet known to be. */
static enum qins_status check_all(const struct qn_plan *p, struct entry *order, const char *path,
                                  const struct qn_tensor_list *tensors, bool *known,
                                  struct qins_error *err)
{
    for (size_t i = 0; i < p->count; i++)
        order[i].line = &p->tensors[i];
    qsort(order, p->count, sizeof *order, compare_names);
    for (size_t i = 1; i < p->count; i++)
        if (compare_names(&order[i - 1], &order[i]) == 0)
            return fail_in(err, path, order[i].line->name, "it is in the plan twice");
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < tensors->count && st == QINS_OK; i++) {
        const struct qn_tensor *t = &tensors->items[i];
        const struct qn_plan_tensor *line = find_sorted(order, p->count, t->name);
        if (!line)
            return fail_in(err, path, t->name, "the plan has no line for it");
        known[line - p->tensors] = true;
        st = check_tensor(line, path, t, err);
    }
    for (size_t i = 0; i < p->count && st == QINS_OK; i++)
        if (!known[i])
            st = fail_in(err, path, p->tensors[i].name,
                         "is in the plan, but the source has no such tensor");
    return st;
}

enum qins_status qn_plan_check(const struct qn_plan *p, const char *plan_path,
                               const struct qn_tensor_list *tensors, struct qins_error *err)
{
    struct entry *order = calloc(p->count + 1, sizeof *order);
    bool *known = calloc(p->count + 1, sizeof *known);
    enum qins_status st =
        order && known ? check_all(p, order, plan_path, tensors, known, err) : qn_fail_memory(err);
    free(known);
    free(order);
    return st;
}

enum qins_status qn_plan_load(const char *path, struct qn_plan *out, struct qins_error *err)
{
    *out = (struct qn_plan){0};
    json_t *j = qn_json_load(path, MAX_PLAN, err);
    if (!j)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = qn_plan_from_json(j, out, err);
    json_decref(j);
    return qn_error_in_file(err, st, path);
}

enum qins_status qn_plan_save(const char *path, const struct qn_plan *p, struct qins_error *err)
{
    json_t *j = qn_plan_to_json(p);
    if (!j)
        return qn_fail_memory(err);
    enum qins_status st = qn_json_save(path, j, err);
    json_decref(j);
    return st;
}

const struct qn_limit qn_plan_limits[] = {
    {"plan", "file", MAX_PLAN, "bytes", "memory that the JSON takes"},
    {"plan", "blocks", QN_MAX_BLOCKS, "blocks", "memory for lines of one tensor"},
    {0},
};
