/* Parts of one calibration that are to be joined. */
#include "convert/calibrate_job.h"

#include <stdlib.h>
#include <string.h>

/* Whether B, called B_NAME, is a part of what A, a part, is of; says what differs. */
static enum qins_status check_job(const struct qn_calibration *a, const char *a_name,
                                  const struct qn_calibration *b, const char *b_name,
                                  struct qins_error *err)
{
    if (b->part.shard.count == 0)
        return qn_fail(err, QINS_ERR_USAGE,
                       "%.150s is a part of a calibration, %.150s a whole one: parts are joined "
                       "by themselves",
                       a_name, b_name);
    enum qins_status st = qn_calibration_compare(a, a_name, b, b_name, QINS_ERR_USAGE, err);
    if (st == QINS_OK && a->part.shard.count == b->part.shard.count &&
        (memcmp(&a->part.job, &b->part.job, sizeof a->part.job) != 0 ||
         a->part.windows != b->part.windows))
        st = qn_fail(err, QINS_ERR_USAGE,
                     "%.150s and %.150s are parts of different jobs: other texts, options or "
                     "version of qins",
                     a_name, b_name);
    return st;
}

static enum qins_status check_windows(const struct qn_calibration_file *files, size_t n,
                                      struct qins_error *err)
{
    const uint64_t want = files[0].c.part.windows;
    uint64_t windows = 0;
    for (size_t i = 0; i < n; i++)
        windows += files[i].c.windows;
    return windows == want
               ? QINS_OK
               : qn_fail(err, QINS_ERR_FORMAT, "the parts have %llu windows together, not %llu",
                         (unsigned long long)windows, (unsigned long long)want);
}

/* A file and what it is called. */
struct named {
    struct qn_calibration_file file;
    const char *name;
};

/* Brings the files in order, with room for as many of each. */
static enum qins_status sort_with(struct qn_calibration_file *files, const char **names, size_t n,
                                  struct qn_shard *shards, size_t *order, struct named *sorted,
                                  struct qins_error *err)
{
    for (size_t i = 0; i < n; i++)
        shards[i] = files[i].c.part.shard;
    const enum qins_status st = qn_shard_order(shards, names, n, order, err);
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        sorted[i] = (struct named){files[order[i]], names[order[i]]};
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        files[i] = sorted[i].file;
        names[i] = sorted[i].name;
    }
    return st;
}

static enum qins_status sort(struct qn_calibration_file *files, const char **names, size_t n,
                             struct qins_error *err)
{
    struct qn_shard *shards = calloc(n, sizeof *shards);
    size_t *order = calloc(n, sizeof *order);
    struct named *sorted = calloc(n, sizeof *sorted);
    const enum qins_status st = shards && order && sorted
                                    ? sort_with(files, names, n, shards, order, sorted, err)
                                    : qn_fail_memory(err);
    free(shards);
    free(order);
    free(sorted);
    return st;
}

enum qins_status qn_calibrate_parts_check(struct qn_calibration_file *files, const char **names,
                                          size_t n, bool *parts, struct qins_error *err)
{
    size_t first = 0;
    while (first < n && files[first].c.part.shard.count == 0)
        first++;
    *parts = first < n;
    if (!*parts)
        return n > 1 ? QINS_OK
                     : qn_fail(err, QINS_ERR_USAGE,
                               "%.300s is a whole calibration: '--merge' takes two or more, or all "
                               "parts of one",
                               names[0]);
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        st = check_job(&files[first].c, names[first], &files[i].c, names[i], err);
    if (st == QINS_OK)
        st = sort(files, names, n, err);
    return st == QINS_OK ? check_windows(files, n, err) : st;
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
