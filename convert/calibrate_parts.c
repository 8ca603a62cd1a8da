/* Parts of one calibration that are to be joined. */
#include "convert/calibrate_job.h"

#include <stdlib.h>
#include <string.h>

/* A file and what it is called. */
struct named {
    struct qn_calibration_file file;
    const char *name;
};

static const struct qn_calibration_part *part_of(const struct named *n)
{
    return &n->file.c.part;
}

static int compare_parts(const void *a, const void *b)
{
    const unsigned x = part_of(a)->shard.index, y = part_of(b)->shard.index;
    return x < y ? -1 : x > y;
}

/* Whether B is a part of what A, a part, is of. */
static enum qins_status check_job(const struct named *a, const struct named *b,
                                  struct qins_error *err)
{
    const struct qn_calibration_part *x = part_of(a), *y = part_of(b);
    if (y->shard.count == 0)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "%.150s is a part of a calibration, %.150s a whole one: parts are joined "
                       "by themselves",
                       a->name, b->name);
    if (x->shard.count != y->shard.count)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "%.150s is one of %u parts, %.150s one of %u",
                       a->name, x->shard.count, b->name, y->shard.count);
    if (memcmp(&x->job, &y->job, sizeof x->job) != 0 || x->windows != y->windows)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "%.150s and %.150s are parts of different jobs: other texts, options or "
                       "version of qins",
                       a->name, b->name);
    return QINS_OK;
}

/* PARTS are in order. */
static enum qins_status check_complete(const struct named *parts, size_t n, struct qins_error *err)
{
    const unsigned count = part_of(parts)->shard.count;
    uint64_t windows = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned index = part_of(&parts[i])->shard.index;
        if (i > 0 && part_of(&parts[i - 1])->shard.index == index)
            return qn_fail(err, QINS_ERR_USAGE, "%.150s and %.150s are the same part, %u of %u",
                           parts[i - 1].name, parts[i].name, index, count);
        if (index != i + 1)
            break;
        windows += parts[i].file.c.windows;
    }
    for (unsigned i = 0; i < count; i++)
        if (i >= n || part_of(&parts[i])->shard.index != i + 1)
            return qn_fail(err, QINS_ERR_USAGE, "part %u of %u is missing", i + 1, count);
    if (windows != part_of(parts)->windows)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the parts have %llu windows together, and should %llu",
                       (unsigned long long)windows, (unsigned long long)part_of(parts)->windows);
    return QINS_OK;
}

static enum qins_status check_all(struct named *all, size_t n, struct qins_error *err)
{
    size_t first = 0;
    enum qins_status st = QINS_OK;
    while (part_of(&all[first])->shard.count == 0)
        first++;
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = check_job(&all[first], &all[i], err);
    if (st == QINS_OK) {
        qsort(all, n, sizeof *all, compare_parts);
        st = check_complete(all, n, err);
    }
    return st;
}

enum qins_status qn_calibrate_parts_check(struct qn_calibration_file *files, const char **names,
                                          size_t n, bool *parts, struct qins_error *err)
{
    *parts = false;
    for (size_t i = 0; i < n; i++)
        *parts = *parts || files[i].c.part.shard.count > 0;
    if (!*parts)
        return n > 1 ? QINS_OK
                     : qn_fail(err, QINS_ERR_USAGE,
                               "%.300s is a whole calibration: '--merge' takes two or more, or all "
                               "parts of one",
                               names[0]);
    struct named *all = calloc(n, sizeof *all);
    if (!all)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct named){files[i], names[i]};
    const enum qins_status st = check_all(all, n, err);
    for (size_t i = 0; i < n; i++) {
        files[i] = all[i].file;
        names[i] = all[i].name;
    }
    free(all);
    return st;
}

/* Appends what FROM measured. */
static enum qins_status append(struct qn_calibration *c, const struct qn_calibration *from,
                               struct qins_error *err)
{
    for (size_t i = 0; i < from->n_sensitivities; i++) {
        struct qn_sensitivity *to = &c->sensitivities[c->n_sensitivities];
        *to = from->sensitivities[i];
        to->tensor = qn_strdup(from->sensitivities[i].tensor, err);
        if (!to->tensor)
            return QINS_ERR_MEMORY;
        c->n_sensitivities++;
    }
    if (from->n_sensitivities == 0 || c->head_variance)
        return QINS_OK;
    /* Each part measured the unchanged model on all windows that sensitivities are measured on. */
    const size_t bytes = from->n_head_rows * sizeof *c->head_variance;
    c->head_variance = malloc(bytes);
    if (!c->head_variance)
        return qn_fail_memory(err);
    memcpy(c->head_variance, from->head_variance, bytes);
    c->n_head_rows = from->n_head_rows;
    c->sensitivity_tokens = from->sensitivity_tokens;
    return QINS_OK;
}

enum qins_status qn_calibrate_parts_sensitivity(struct qn_calibration *c,
                                                const struct qn_calibration_file *files, size_t n,
                                                struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    size_t total = 0;
    for (size_t i = 0; i < c->n_sensitivities; i++)
        free(c->sensitivities[i].tensor);
    free(c->sensitivities);
    free(c->head_variance);
    c->head_variance = NULL;
    c->n_sensitivities = 0;
    for (size_t i = 0; i < n; i++)
        total += files[i].c.n_sensitivities;
    c->sensitivities = calloc(total + 1, sizeof *c->sensitivities);
    if (!c->sensitivities)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = append(c, &files[i].c, err);
    if (st == QINS_OK)
        qn_sensitivity_deal(c);
    return st;
}
