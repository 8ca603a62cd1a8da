#include "convert/calibrate_job.h"

#include "core/bytes.h"

#include <stdlib.h>

/* Of a Gram matrix, read at once: each reading is a question to another process. */
enum { BLOCK = 1 << 15 /* elements */ };

enum qins_status qn_large_store_init(struct qn_calibrating *job, struct qins_error *err)
{
    struct qn_large_store *s = &job->store;
    const size_t begin = job->pass ? job->pass_end[job->pass - 1] : 0;
    const size_t n = job->pass_end[job->pass] - begin;
    const uint32_t kept = job->windows.n_kept;
    const unsigned threads = job->o->threads; /* of the pool, which may not be there yet: at most */
    enum qins_status st = QINS_OK;
    *s = (struct qn_large_store){.begin = begin, .end = begin + n};
    if (job->c.options.gram) {
        s->gram = calloc(n + 1, sizeof *s->gram);
        st = s->gram ? qn_gram_scratch_init(&s->scratch, threads, err) : qn_fail_memory(err);
    }
    if (kept > 0) {
        s->rows = calloc(n + 1, sizeof *s->rows);
        s->have = calloc(n + 1, sizeof *s->have);
        if (!s->rows || !s->have)
            return qn_fail_memory(err);
    }
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        const uint32_t channels = job->c.points[begin + i].channels;
        if (s->gram)
            st = qn_gram_init(&s->gram[i], channels, err);
        if (s->rows && st == QINS_OK) {
            s->rows[i] = calloc((size_t)kept + 1, channels * sizeof *s->rows[i]);
            s->have[i] = calloc((size_t)kept + 1, sizeof *s->have[i]);
            if (!s->rows[i] || !s->have[i])
                st = qn_fail_memory(err);
        }
    }
    return st;
}

void qn_large_store_finish(struct qn_large_store *s)
{
    for (size_t i = 0; i < s->end - s->begin; i++) {
        if (s->gram)
            qn_gram_finish(&s->gram[i]);
        if (s->rows)
            free(s->rows[i]);
        if (s->have)
            free(s->have[i]);
    }
    free(s->gram);
    free(s->rows);
    free(s->have);
    qn_gram_scratch_finish(&s->scratch);
    *s = (struct qn_large_store){0};
}

static enum qins_status set_kept(struct qn_calibration_point *p, const uint32_t *kept, uint32_t n,
                                 struct qins_error *err)
{
    free(p->kept);
    p->kept = NULL;
    p->n_kept = 0;
    if (n == 0 || !kept)
        return QINS_OK;
    p->kept = malloc(n * sizeof *p->kept);
    if (!p->kept)
        return qn_fail_memory(err);
    memcpy(p->kept, kept, n * sizeof *p->kept);
    p->n_kept = n;
    return QINS_OK;
}

/* The rows of windows that are done: others may be under way. */
static uint32_t list_kept(const struct qn_calibrating *job, const bool *have, uint32_t *kept)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < job->windows.n_kept; k++)
        if (job->windows.kept_window[k] < job->done && have[k])
            kept[n++] = k;
    return n;
}

enum qins_status qn_large_declare(struct qn_calibrating *job,
                                  const struct qn_calibration_file *passes, struct qins_error *err)
{
    const struct qn_large_store *s = &job->store;
    uint32_t *kept = calloc((size_t)job->windows.n_kept + 1, sizeof *kept);
    enum qins_status st = QINS_OK;
    size_t pass = 0;
    if (!kept)
        return qn_fail_memory(err);
    for (size_t i = 0; i < job->c.n_points && st == QINS_OK; i++) {
        struct qn_calibration_point *p = &job->c.points[i];
        const bool here = i >= s->begin && i < s->end;
        while (pass + 1 < job->n_passes && i >= job->pass_end[pass])
            pass++;
        p->gram = job->c.options.gram && (here || (passes && i < s->begin));
        if (here && s->have)
            st = set_kept(p, kept, list_kept(job, s->have[i - s->begin], kept), err);
        else if (passes && i < s->begin)
            st = set_kept(p, passes[pass].c.points[i].kept, passes[pass].c.points[i].n_kept, err);
        else
            st = set_kept(p, NULL, 0, err);
    }
    free(kept);
    return st;
}

enum qins_status qn_large_add_gram(struct qn_gram *g, struct qn_calibration_file *f, size_t point,
                                   const struct qn_monitor *monitor, struct qins_error *err)
{
    const uint32_t most = 1 + BLOCK / (g->n + 1);
    const size_t size = (size_t)most * g->n;
    double *high = malloc(size * sizeof *high);
    float *low = malloc(size * sizeof *low);
    enum qins_status st = high && low ? QINS_OK : qn_fail_memory(err);
    for (uint32_t i = 0, rows; i < g->n && st == QINS_OK; i += rows) {
        rows = most < g->n - i ? most : g->n - i;
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = qn_calibration_read(f, point, QN_LARGE_GRAM, i, rows, high, err);
        if (st == QINS_OK)
            st = qn_calibration_read(f, point, QN_LARGE_GRAM_LOW, i, rows, low, err);
        const float *row = low; /* of which the lower triangle is left out */
        for (uint32_t r = i; r < i + rows && st == QINS_OK; r++) {
            qn_gram_add_row(g, r, high + (size_t)(r - i) * g->n + r, row);
            row += g->n - r;
        }
    }
    free(high);
    free(low);
    return st;
}

enum qins_status qn_large_load(struct qn_calibrating *job, struct qn_calibration_file *f,
                               struct qins_error *err)
{
    struct qn_large_store *s = &job->store;
    enum qins_status st = QINS_OK;
    for (size_t i = s->begin; i < s->end && st == QINS_OK; i++) {
        const struct qn_calibration_point *p = &f->c.points[i];
        if (p->gram != (s->gram != NULL) || (p->n_kept > 0 && !s->rows))
            return qn_fail_at(err, QINS_ERR_FORMAT, f->ck->path, p->name, QN_NO_OFFSET,
                              "it does not hold what an unfinished calibration should; remove it");
        if (s->gram)
            st = qn_large_add_gram(&s->gram[i - s->begin], f, i, job->monitor, err);
        for (uint32_t k = 0; k < p->n_kept && st == QINS_OK; k++) {
            const size_t at = (size_t)p->kept[k] * p->channels;
            st = qn_calibration_read(f, i, QN_LARGE_ROWS, k, 1, s->rows[i - s->begin] + at, err);
            s->have[i - s->begin][p->kept[k]] = true;
        }
    }
    return st;
}

void qn_large_read(const struct qn_calibrating *job, size_t point, enum qn_large what,
                   uint64_t first, uint64_t count, void *dst)
{
    const struct qn_large_store *s = &job->store;
    const struct qn_calibration_point *p = &job->c.points[point];
    const size_t channels = p->channels;
    float *out = dst;
    if (what != QN_LARGE_ROWS) {
        qn_gram_read(&s->gram[point - s->begin], what, first, count, dst);
        return;
    }
    for (uint64_t i = first; i < first + count; i++, out += channels)
        memcpy(out, s->rows[point - s->begin] + p->kept[i] * channels, channels * sizeof *out);
}
