#include "convert/calibrate_job.h"
#include "core/clock.h"
#include "core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A kept row of one of the files. */
struct origin {
    struct qn_kept_row row;
    size_t file;
    uint32_t index; /* in the file's table, or among the rows of a point */
    uint32_t merged;
};

struct merging {
    const char **names; /* [n]: of the files, in their order */
    struct qn_calibration_file *files;
    size_t n;
    bool parts; /* of one calibration, in order */
    const struct qn_monitor *monitor;
    struct qn_calibration c;
    uint32_t **merged;      /* [n][n_kept of the file]: place in the merged table, or DROPPED */
    struct origin *origins; /* of the rows of the point that is written */
    struct qn_gram gram;    /* of the point that is written */
};

static const uint32_t dropped = UINT32_MAX;

static int compare_origins(const void *a, const void *b)
{
    const struct origin *x = a, *y = b;
    int order = qn_kept_compare(&x->row, &y->row);
    if (order == 0 && x->file == y->file)
        return x->index < y->index ? -1 : x->index > y->index;
    return order ? order : x->file < y->file ? -1 : x->file > y->file;
}

static int compare_merged(const void *a, const void *b)
{
    const struct origin *x = a, *y = b;
    return x->merged < y->merged ? -1 : x->merged > y->merged;
}

/* The first file's description with all figures 0. */
static enum qins_status begin(struct merging *m, struct qins_error *err)
{
    json_t *j = qn_calibration_to_json(&m->files[0].c);
    char *text = j ? qn_json_dump(j, JSON_COMPACT) : NULL;
    enum qins_status st = text
                              ? qn_calibration_from_json(text, strlen(text), UINT64_MAX, &m->c, err)
                              : qn_fail_memory(err);
    m->c.tokens = m->c.windows = 0;
    m->c.n_texts = 0;
    m->c.part = (struct qn_calibration_part){0};
    for (size_t i = 0; i < m->c.n_points; i++)
        m->c.points[i].rows = 0;
    free(text);
    json_decref(j);
    return st;
}

static enum qins_status add_texts(struct merging *m, const struct qn_calibration *from,
                                  const char *name, const struct qn_monitor *monitor,
                                  struct qins_error *err)
{
    const size_t before = m->c.n_texts;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < from->n_texts && st == QINS_OK; i++) {
        for (size_t k = 0; k < before; k++)
            if (memcmp(&m->c.texts[k], &from->texts[i], sizeof *from->texts) == 0)
                qn_notice(monitor, "%s is of a text that another of the files is of, too", name);
        st = qn_calibration_add_text(&m->c, &from->texts[i], err);
    }
    return st;
}

static enum qins_status add_figures(struct merging *m, const struct qn_monitor *monitor,
                                    struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t f = 0; f < m->n && st == QINS_OK; f++) {
        const struct qn_calibration *from = &m->files[f].c;
        for (size_t i = 0; i < from->n_points; i++)
            qn_point_add(&m->c.points[i], &from->points[i]);
        qn_access_add(&m->c.access, &from->access);
        m->c.tokens += from->tokens;
        m->c.windows += from->windows;
        if (f == 0 || !m->parts) /* parts are of the same texts */
            st = add_texts(m, from, m->names[f], monitor, err);
    }
    return st;
}

/* Whether FROM's sensitivities are of the same tensors, quantised alike, as the first file's. */
static bool measured_alike(const struct qn_calibration *first, const struct qn_calibration *from)
{
    bool alike =
        from->n_sensitivities == first->n_sensitivities && from->n_head_rows == first->n_head_rows;
    for (size_t i = 0; i < first->n_sensitivities && alike; i++)
        alike = strcmp(first->sensitivities[i].tensor, from->sensitivities[i].tensor) == 0 &&
                first->sensitivities[i].levels == from->sensitivities[i].levels;
    return alike;
}

/* Means over all tokens that sensitivities were measured on; where files were not all measured
 * alike, none. */
static void merge_sensitivities(struct merging *m)
{
    struct qn_calibration *c = &m->c;
    const struct qn_calibration *first = &m->files[0].c;
    double tokens = 0.0;
    size_t other = 0, any = 0;
    for (size_t f = 0; f < m->n; f++) {
        const struct qn_calibration *from = &m->files[f].c;
        any += from->n_sensitivities > 0;
        if (!measured_alike(first, from) || from->sensitivity_tokens == 0)
            other = f + 1;
        tokens += (double)from->sensitivity_tokens;
    }
    if (any > 0 && other > 0) {
        qn_notice(m->monitor,
                  "sensitivities are left out: those of %s and %s, if any, are not of "
                  "the same tensors and levels",
                  m->names[0], m->names[other - 1]);
        for (size_t i = 0; i < c->n_sensitivities; i++)
            free(c->sensitivities[i].tensor);
        c->n_sensitivities = 0;
    }
    c->sensitivity_tokens = 0;
    for (size_t f = 0; f < m->n && c->n_sensitivities > 0; f++)
        c->sensitivity_tokens += m->files[f].c.sensitivity_tokens;
    for (size_t i = 0; i < c->n_sensitivities; i++) {
        struct qn_sensitivity *to = &c->sensitivities[i];
        double variance = 0.0;
        to->error = first->sensitivities[i].error;
        to->levels = first->sensitivities[i].levels;
        for (size_t f = 0; f < m->n; f++) {
            const struct qn_sensitivity *s = &m->files[f].c.sensitivities[i];
            const double share = (double)m->files[f].c.sensitivity_tokens / tokens;
            to->kl += share * s->kl;
            variance += share * share * s->standard_error * s->standard_error;
        }
        to->standard_error = sqrt(variance);
    }
    for (size_t f = 0; f < m->n && c->n_sensitivities > 0; f++)
        for (uint32_t i = 0; i < c->n_head_rows; i++)
            c->head_variance[i] +=
                (double)m->files[f].c.sensitivity_tokens / tokens * m->files[f].c.head_variance[i];
}

/* The table of kept rows: those of lowest priority of all. */
static enum qins_status merge_table(struct merging *m, struct qins_error *err)
{
    size_t total = 0, n = 0;
    for (size_t f = 0; f < m->n; f++)
        total += m->files[f].c.n_kept;
    m->merged = calloc(m->n, sizeof *m->merged);
    m->origins = calloc(total + 1, sizeof *m->origins);
    if (!m->merged || !m->origins)
        return qn_fail_memory(err);
    for (size_t f = 0; f < m->n; f++) {
        const struct qn_calibration *from = &m->files[f].c;
        m->merged[f] = calloc((size_t)from->n_kept + 1, sizeof *m->merged[f]);
        if (!m->merged[f])
            return qn_fail_memory(err);
        for (uint32_t i = 0; i < from->n_kept; i++)
            m->origins[n++] = (struct origin){.row = from->kept[i], .file = f, .index = i};
    }
    qsort(m->origins, n, sizeof *m->origins, compare_origins);
    free(m->c.kept);
    m->c.n_kept = n < m->c.options.keep_rows ? (uint32_t)n : m->c.options.keep_rows;
    m->c.kept = calloc((size_t)m->c.n_kept + 1, sizeof *m->c.kept);
    if (!m->c.kept)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        const bool kept = i < m->c.n_kept;
        m->merged[m->origins[i].file][m->origins[i].index] = kept ? (uint32_t)i : dropped;
        if (kept)
            m->c.kept[i] = m->origins[i].row;
    }
    return QINS_OK;
}

/* Lists the rows of POINT in m->origins, by their place in the table. */
static size_t find_rows(struct merging *m, size_t point)
{
    size_t n = 0;
    for (size_t f = 0; f < m->n; f++) {
        const struct qn_calibration_point *p = &m->files[f].c.points[point];
        for (uint32_t i = 0; i < p->n_kept; i++) {
            const uint32_t merged = m->merged[f][p->kept[i]];
            if (merged != dropped)
                m->origins[n++] = (struct origin){.file = f, .index = i, .merged = merged};
        }
    }
    qsort(m->origins, n, sizeof *m->origins, compare_merged);
    return n;
}

static enum qins_status merge_points(struct merging *m, struct qins_error *err)
{
    for (size_t i = 0; i < m->c.n_points; i++) {
        struct qn_calibration_point *p = &m->c.points[i];
        const size_t n = find_rows(m, i);
        free(p->kept);
        p->n_kept = (uint32_t)n;
        p->kept = calloc(n + 1, sizeof *p->kept);
        if (!p->kept)
            return qn_fail_memory(err);
        for (size_t k = 0; k < n; k++)
            p->kept[k] = m->origins[k].merged;
    }
    return QINS_OK;
}

static enum qins_status add_grams(struct merging *m, size_t point, struct qins_error *err)
{
    qn_gram_finish(&m->gram);
    const struct qn_calibration_point *p = &m->c.points[point];
    enum qins_status st = qn_gram_check(p->name, p->channels, err);
    if (st == QINS_OK)
        st = qn_gram_init(&m->gram, p->channels, err);
    for (size_t f = 0; f < m->n && st == QINS_OK; f++)
        st = qn_large_add_gram(&m->gram, &m->files[f], point, m->monitor, err);
    return st;
}

static enum qins_status read_large(void *ctx, size_t point, enum qn_large what, uint64_t first,
                                   uint64_t count, void *dst, struct qins_error *err)
{
    struct merging *m = ctx;
    const struct qn_calibration_point *p = &m->c.points[point];
    enum qins_status st = QINS_OK;
    float *out = dst;
    if (what != QN_LARGE_ROWS) {
        if (first == 0 && what == QN_LARGE_GRAM)
            st = add_grams(m, point, err);
        if (st == QINS_OK)
            qn_gram_read(&m->gram, what, first, count, dst);
        return st;
    }
    if (first == 0)
        find_rows(m, point);
    for (uint64_t i = first; i < first + count && st == QINS_OK; i++, out += p->channels) {
        const struct origin *o = &m->origins[i];
        st = qn_calibration_read(&m->files[o->file], point, what, o->index, 1, out, err);
    }
    return st;
}

static enum qins_status open_all(struct merging *m, const char *out,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < m->n && st == QINS_OK; i++)
        if (qn_same_file(m->names[i], out))
            st = qn_fail_at(err, QINS_ERR_USAGE, out, NULL, QN_NO_OFFSET,
                            "the output is an input (%s); choose another name", m->names[i]);
    for (size_t i = 0; i < m->n && st == QINS_OK; i++) {
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = qn_calibration_open(&m->files[i], m->names[i], QN_CALIBRATION_PARTS_TOO, monitor,
                                     err);
    }
    if (st == QINS_OK)
        st = qn_calibrate_parts_check(m->files, m->names, m->n, &m->parts, err);
    for (size_t i = 1; i < m->n && st == QINS_OK && !m->parts; i++)
        st = qn_calibration_compare(&m->files[0].c, m->names[0], &m->files[i].c, m->names[i],
                                    QINS_ERR_UNSUPPORTED, err);
    return st;
}

static void finish(struct merging *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->files)
            qn_calibration_close(&m->files[i]);
        if (m->merged)
            free(m->merged[i]);
    }
    free(m->names);
    free(m->files);
    free(m->merged);
    free(m->origins);
    qn_gram_finish(&m->gram);
    qn_calibration_finish(&m->c);
}

enum qins_status qn_calibrate_merge(const char *const *files, size_t n, const char *out,
                                    const struct qn_monitor *monitor, json_t **report,
                                    struct qins_error *err)
{
    const double begun = qn_seconds();
    struct merging m = {.names = calloc(n, sizeof(const char *)),
                        .n = n,
                        .monitor = monitor,
                        .files = calloc(n, sizeof *m.files)};
    const struct qn_large_source source = {read_large, &m};
    enum qins_status st;
    if (m.files && m.names) {
        memcpy(m.names, files, n * sizeof *files);
        st = open_all(&m, out, monitor, err);
    } else {
        st = qn_fail_memory(err);
    }
    if (st == QINS_OK)
        st = begin(&m, err);
    if (st == QINS_OK)
        st = add_figures(&m, monitor, err);
    if (st == QINS_OK && m.parts)
        st = qn_calibrate_parts_sensitivity(&m.c, m.files, n, err);
    else if (st == QINS_OK)
        merge_sensitivities(&m);
    if (st == QINS_OK)
        st = merge_table(&m, err);
    if (st == QINS_OK)
        st = merge_points(&m, err);
    if (st == QINS_OK)
        st = qn_calibration_write(&m.c, out, &source, monitor, err);
    if (st == QINS_OK && report) {
        *report = qn_calibrate_report(&m.c, out, 1, qn_seconds() - begun, m.c.tokens, monitor);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    finish(&m);
    return st;
}
