/* What a calibration has for the layers of a transport. */
#include "convert/transport_job.h"
#include "formats/codec/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { READ_ROWS = 256 };

static enum qins_status no_rows(const struct qn_transport_job *j, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, j->calibration, NULL, QN_NO_OFFSET,
                      "it keeps no rows of activations; 'qins calibrate MODEL --text FILE "
                      "--keep-rows 2048 -o OUT.h5' makes one that does");
}

/* The calibration's point of the input of layer L. */
static const struct qn_calibration_point *find_point(const struct qn_transport_job *j,
                                                     const struct qn_fitted_layer *l)
{
    const struct qn_tap_point *tap = &j->taps.points[l->part.point];
    const struct qn_calibration_point *p = qn_calibration_find(&j->file.c, tap->name);
    if (!p)
        p = qn_calibration_find(&j->file.c, l->part.matrix->name);
    return p && p->kind != QN_TAP_VALUE ? p : NULL;
}

static void count_rows(const struct qn_transport_job *j, const struct qn_calibration_point *p,
                       size_t rows[3])
{
    rows[QN_ROWS_FIT] = rows[QN_ROWS_SELECT] = rows[QN_ROWS_TEST] = 0;
    for (uint32_t i = 0; i < p->n_kept; i++)
        rows[j->file.c.kept[p->kept[i]].part]++;
}

static bool has_rows(const size_t rows[3])
{
    return rows[QN_ROWS_FIT] >= QN_LEAST_ROWS && rows[QN_ROWS_SELECT] >= QN_LEAST_ROWS &&
           rows[QN_ROWS_TEST] >= QN_LEAST_ROWS;
}

enum qins_status qn_transport_append(json_t *array, json_t *value, struct qins_error *err)
{
    return value && json_array_append_new(array, value) == 0 ? QINS_OK : qn_fail_memory(err);
}

/* An expert that text seldom reaches stays as it is. */
static enum qins_status skip(struct qn_transport_job *j, const struct qn_transport_group *g,
                             struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    qn_notice(j->monitor, "%s: too few rows were kept (%zu, %zu, %zu): its layers stay as they are",
              j->taps.points[g->tap].name, g->rows[0], g->rows[1], g->rows[2]);
    for (size_t i = g->first; i < g->first + g->n && st == QINS_OK; i++) {
        const struct qn_fitted_layer *l = &j->layers.items[i];
        json_t *s = json_object();
        qn_json_put(&s, "name", qn_json_text(l->part.matrix->name));
        qn_json_put(&s, "projection", json_string(qn_projection_name(l->projection)));
        qn_json_put(&s, "layer", json_integer(l->layer));
        qn_json_put(&s, "expert", json_integer(l->expert));
        qn_json_put(&s, "reason", json_string("too few rows were kept"));
        st = qn_transport_append(j->skipped, s, err);
    }
    return st;
}

/* What there is for the layers of G; *USED is cleared where they are left alone. */
static enum qins_status match_group(struct qn_transport_job *j, struct qn_transport_group *g,
                                    bool *used, struct qins_error *err)
{
    const struct qn_fitted_layer *l = &j->layers.items[g->first];
    const struct qn_calibration_point *p = find_point(j, l);
    *used = true;
    if (!p || p->channels != l->part.matrix->in)
        return qn_fail_at(
            err, QINS_ERR_UNSUPPORTED, j->calibration, l->part.matrix->name, QN_NO_OFFSET,
            "the calibration has no inputs of it; choose layers that it has by '--layers'");
    g->point = (size_t)(p - j->file.c.points);
    count_rows(j, p, g->rows);
    if (has_rows(g->rows))
        return QINS_OK;
    *used = false;
    if (j->m->config.n_experts && l->projection >= QN_PROJECTION_DOWN &&
        l->projection <= QN_PROJECTION_UP)
        return skip(j, g, err);
    if (p->n_kept == 0)
        return no_rows(j, err);
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, j->calibration, l->part.matrix->name, QN_NO_OFFSET,
                      "too few rows were kept: %zu to fit, %zu to select, %zu to test, and %d of "
                      "each are needed; calibrate with more text or a larger --keep-rows. Whole "
                      "windows are dealt to fit, select and test: rows of --activations have to "
                      "make several, of --context each",
                      g->rows[QN_ROWS_FIT], g->rows[QN_ROWS_SELECT], g->rows[QN_ROWS_TEST],
                      QN_LEAST_ROWS);
}

/* Layers that stand together and share a tap make a group; what is skipped leaves the list. */
enum qins_status qn_transport_group_layers(struct qn_transport_job *j, struct qins_error *err)
{
    struct qn_fitted_layers *all = &j->layers;
    enum qins_status st = QINS_OK;
    size_t kept = 0;
    bool used;
    if (j->file.c.n_kept == 0)
        return no_rows(j, err);
    j->groups = calloc(all->n + 1, sizeof *j->groups);
    if (!j->groups)
        return qn_fail_memory(err);
    for (size_t i = 0, end; i < all->n && st == QINS_OK; i = end) {
        struct qn_transport_group *g = &j->groups[j->n_groups];
        for (end = i; end < all->n && all->items[end].part.point == all->items[i].part.point;)
            end++;
        *g = (struct qn_transport_group){.first = i, .n = end - i, .tap = all->items[i].part.point};
        st = match_group(j, g, &used, err);
        if (st != QINS_OK || !used)
            continue;
        memmove(&all->items[kept], &all->items[i], g->n * sizeof *all->items);
        g->first = kept;
        kept += g->n;
        j->n_groups++;
    }
    all->n = kept;
    if (st == QINS_OK && kept == 0)
        st = no_rows(j, err);
    return st;
}

static enum qins_status not_finite(const struct qn_transport_job *j, const char *tensor,
                                   const char *what, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, j->calibration, tensor, QN_NO_OFFSET,
                      "%s are not finite", what);
}

/* The kept rows, by part. */
static enum qins_status read_rows(struct qn_transport_job *j, const struct qn_transport_group *g,
                                  struct qn_point_work *p, struct qins_error *err)
{
    const struct qn_calibration_point *point = &j->file.c.points[g->point];
    const size_t channels = point->channels;
    size_t filled[3] = {0};
    float *parts[3] = {NULL}, *block = malloc(READ_ROWS * channels * sizeof *block);
    enum qins_status st = QINS_OK;
    bool finite = true;
    for (int i = 0; i <= QN_ROWS_TEST; i++) {
        p->rows.x[i] = parts[i] = malloc(g->rows[i] * channels * sizeof *parts[i]);
        p->rows.rows[i] = g->rows[i];
    }
    if (!block || !parts[QN_ROWS_FIT] || !parts[QN_ROWS_SELECT] || !parts[QN_ROWS_TEST]) {
        free(block);
        return qn_fail_memory(err);
    }
    for (uint32_t first = 0, n; first < point->n_kept && st == QINS_OK; first += n) {
        n = point->n_kept - first < READ_ROWS ? point->n_kept - first : READ_ROWS;
        st = qn_calibration_read(&j->file, g->point, QN_LARGE_ROWS, first, n, block, err);
        for (uint32_t i = 0; i < n && st == QINS_OK; i++) {
            const int part = j->file.c.kept[point->kept[first + i]].part;
            memcpy(parts[part] + filled[part]++ * channels, block + i * channels,
                   channels * sizeof *block);
        }
        if (st == QINS_OK)
            qn_abs_max(block, n * channels, &finite);
        if (st == QINS_OK && !finite)
            st = not_finite(j, point->name, "kept rows", err);
    }
    free(block);
    return st;
}

static enum qins_status read_range(const struct qn_transport_job *j,
                                   const struct qn_transport_group *g, struct qn_point_work *p,
                                   struct qins_error *err)
{
    const struct qn_calibration_point *point = &j->file.c.points[g->point];
    float most = 0.0F;
    for (uint32_t i = 0; i < point->channels; i++)
        most = fmaxf(most, fmaxf(-point->min[i], point->max[i]));
    p->rows.channels = point->channels;
    p->rows.abs_max = most;
    return isfinite(most) ? QINS_OK : not_finite(j, point->name, "ranges", err);
}

static enum qins_status read_weights(const struct qn_transport_job *j, struct qn_point_work *p,
                                     struct qins_error *err)
{
    const size_t channels = p->rows.channels;
    bool finite = true;
    size_t at = 0;
    for (size_t i = 0; i < p->n_layers; i++)
        p->n_out += p->layers[i].part.out;
    p->w = malloc(p->n_out * channels * sizeof *p->w);
    if (!p->w)
        return qn_fail_memory(err);
    for (size_t i = 0; i < p->n_layers; i++) {
        const struct qn_linear_part *part = &p->layers[i].part;
        qn_part_weights(part, p->w + at * channels);
        qn_abs_max(p->w + at * channels, part->out * channels, &finite);
        if (!finite)
            return qn_fail_at(err, QINS_ERR_FORMAT, j->m->path, part->matrix->name, QN_NO_OFFSET,
                              "weights are not finite");
        at += part->out;
    }
    return QINS_OK;
}

enum qins_status qn_transport_read_group(struct qn_transport_job *j,
                                         const struct qn_transport_group *g,
                                         struct qn_point_work *p, struct qins_error *err)
{
    enum qins_status st = read_range(j, g, p, err);
    if (st == QINS_OK)
        st = read_rows(j, g, p, err);
    return st == QINS_OK ? read_weights(j, p, err) : st;
}
