#include "core/buf.h"
#include "core/bytes.h"
#include "formats/calibration_layout.h"
#include "formats/codec/quant.h"
#include "formats/described.h"

#include <math.h>
#include <stdlib.h>

/* p (1 - p) is 1/4 at most; the rest is for rounding. */
static const double most_variance = 0.25 + 1e-9;

struct reading {
    struct qn_calibration_file *f;
    struct qn_calibration_layout layout;
    struct qn_described described;
    struct qn_buf buf;
};

/* A column of a table. */
static enum qins_status take_column(struct reading *r, size_t tensor, const struct qn_dataset *d,
                                    struct qins_error *err)
{
    struct qn_calibration *c = &r->f->c;
    const struct qn_tensor *t = &r->f->ck->tensors.items[tensor];
    const bool kept = d->kind == QN_DATASET_KEPT;
    enum qins_status st = qn_buf_reserve(&r->buf, (size_t)t->n_bytes, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(r->f->ck, tensor, 0, r->buf.data, (size_t)t->n_bytes, err);
    for (size_t i = 0, at = 0; i < c->n_kept && kept && st == QINS_OK; i++)
        at += qn_kept_load(&c->kept[i], d->which, r->buf.data + at);
    for (size_t i = 0, at = 0; i < c->n_sensitivities && !kept && st == QINS_OK; i++)
        at += qn_sensitivity_load(&c->sensitivities[i], d->which, r->buf.data + at);
    return st;
}

static enum qins_status take_datasets(struct reading *r, struct qins_error *err)
{
    struct qn_calibration_file *f = r->f;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < r->layout.tensors.count && st == QINS_OK; i++) {
        const struct qn_dataset *d = &r->layout.items[i];
        size_t tensor = 0;
        st = qn_described_match(&r->described, &r->layout.tensors.items[i], &tensor, err);
        if (st != QINS_OK)
            break;
        if (d->kind == QN_DATASET_LARGE)
            f->large[d->point][d->which] = tensor;
        else if (d->kind == QN_DATASET_KEPT || d->kind == QN_DATASET_SENSITIVITY)
            st = take_column(r, tensor, d, err);
        else if (d->kind == QN_DATASET_MEMORY)
            st = qn_checkpoint_read(f->ck, tensor, 0, d->data,
                                    (size_t)r->layout.tensors.items[i].n_bytes, err);
    }
    return st;
}

/* Counts and sums that agree with each other. */
static bool point_is_sound(const struct qn_calibration *c, const struct qn_calibration_point *p)
{
    const uint64_t values = p->rows * p->channels;
    uint64_t not_zero = 0;
    bool sound = true;
    for (size_t i = 0; i < 2 * (size_t)QN_SUM_COUNT * p->channels; i++)
        sound = sound && isfinite(p->sums[i]);
    for (size_t i = 0; i < p->channels; i++)
        sound = sound && isfinite(p->min[i]) && isfinite(p->max[i]) && p->min[i] <= p->max[i] &&
                qn_point_sum(p, QN_SUM_SQUARES)[i] >= 0 && qn_point_sum(p, QN_SUM_ABS)[i] >= 0;
    for (size_t i = 0; i < QN_CALIBRATION_CELLS && sound; i++) {
        sound = p->histogram[i] <= values - not_zero;
        not_zero += p->histogram[i];
    }
    sound = sound && p->signs[0] <= values && p->signs[1] <= values && p->signs[2] <= values &&
            p->signs[0] + p->signs[2] == not_zero && not_zero + p->signs[1] == values;
    for (size_t i = 0; i < p->n_kept && sound; i++)
        sound = p->kept[i] < c->n_kept && (i == 0 || p->kept[i] > p->kept[i - 1]);
    return sound;
}

static bool sensitivity_is_sound(const struct qn_sensitivity *s)
{
    return isfinite(s->error) && s->error >= 0.0 && isfinite(s->kl) && s->kl >= 0.0 &&
           (s->error == 0.0 || isfinite(s->kl / s->error)) && isfinite(s->standard_error) &&
           s->standard_error >= 0.0 && s->levels >= QN_MIN_LEVELS && s->levels <= QN_MAX_LEVELS;
}

static enum qins_status check(const struct qn_calibration *c, struct qins_error *err)
{
    for (size_t i = 0; i < c->n_points; i++)
        if (!point_is_sound(c, &c->points[i]))
            return qn_fail_at(err, QINS_ERR_FORMAT, NULL, c->points[i].name, QN_NO_OFFSET,
                              "its figures contradict each other");
    for (size_t i = 0; i < c->n_kept; i++)
        if (c->kept[i].part > QN_ROWS_TEST ||
            (i > 0 && c->kept[i].priority < c->kept[i - 1].priority))
            return qn_fail(err, QINS_ERR_FORMAT, "its table of kept rows is not in order");
    for (size_t i = 0; i < c->n_sensitivities; i++)
        if (!sensitivity_is_sound(&c->sensitivities[i]))
            return qn_fail_at(err, QINS_ERR_FORMAT, NULL, c->sensitivities[i].tensor, QN_NO_OFFSET,
                              "its sensitivity has figures that cannot be");
    for (size_t i = 0; c->n_sensitivities > 0 && i < c->n_head_rows; i++)
        if (!(c->head_variance[i] >= 0.0 && c->head_variance[i] <= most_variance))
            return qn_fail(err, QINS_ERR_FORMAT, "its head_variance has figures that cannot be");
    return QINS_OK;
}

/* Whether it is of a kind that is asked for. */
static enum qins_status check_kind(const struct qn_calibration *c, enum qn_calibration_kinds kinds,
                                   struct qins_error *err)
{
    if (c->progress.unfinished && kinds != QN_CALIBRATION_ANY)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "it is an unfinished calibration; 'qins calibrate --resume' finishes it");
    if (c->part.shard.count > 0 && kinds == QN_CALIBRATION_WHOLE)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "it is part %u of %u of a calibration; 'qins calibrate --merge' joins them",
                       c->part.shard.index, c->part.shard.count);
    return QINS_OK;
}

/* The description alone. */
static enum qins_status describe(struct qn_described *d, struct qn_checkpoint *ck,
                                 enum qn_calibration_kinds kinds, struct qn_calibration *c,
                                 struct qins_error *err)
{
    enum qins_status st = qn_described_init(d, ck, "calibration", err);
    if (st == QINS_OK)
        st = qn_calibration_from_json(d->meta.data, d->meta.size, qn_described_bytes(d), c, err);
    return st == QINS_OK ? check_kind(c, kinds, err) : st;
}

static enum qins_status load(struct reading *r, enum qn_calibration_kinds kinds,
                             struct qins_error *err)
{
    struct qn_calibration *c = &r->f->c;
    enum qins_status st = describe(&r->described, r->f->ck, kinds, c, err);
    if (st == QINS_OK && !(r->f->large = calloc(c->n_points + 1, sizeof *r->f->large)))
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_calibration_layout_init(&r->layout, c, err);
    if (st == QINS_OK)
        st = take_datasets(r, err);
    return st == QINS_OK ? check(c, err) : st;
}

enum qins_status qn_calibration_load(struct qn_calibration_file *f, struct qn_checkpoint *ck,
                                     enum qn_calibration_kinds kinds, struct qins_error *err)
{
    *f = (struct qn_calibration_file){.ck = ck};
    struct reading r = {.f = f};
    enum qins_status st = load(&r, kinds, err);
    if (st != QINS_OK) {
        qn_error_in_file(err, st, ck->path);
        qn_calibration_close(f);
    }
    qn_calibration_layout_finish(&r.layout);
    qn_buf_finish(&r.buf);
    qn_described_finish(&r.described);
    return st;
}

enum qins_status qn_calibration_open(struct qn_calibration_file *f, const char *path,
                                     enum qn_calibration_kinds kinds,
                                     const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    *f = (struct qn_calibration_file){0};
    enum qins_status st = qn_described_open(&ck, path, "calibration", monitor, err);
    if (st == QINS_OK)
        st = qn_calibration_load(f, ck, kinds, err);
    if (st == QINS_OK) {
        st = qn_checkpoint_check_unchanged(ck, NULL, err);
        if (st != QINS_OK)
            qn_calibration_close(f);
    }
    return st;
}

enum qins_status qn_calibration_describe_part(struct qn_checkpoint *ck,
                                              struct qn_calibration_part *out,
                                              struct qins_error *err)
{
    struct qn_described d = {0};
    struct qn_calibration c = {0};
    enum qins_status st = describe(&d, ck, QN_CALIBRATION_PARTS_TOO, &c, err);
    if (st == QINS_OK && c.part.shard.count == 0)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "it is a whole calibration, not a part of one");
    *out = c.part;
    qn_calibration_finish(&c);
    qn_described_finish(&d);
    return qn_error_in_file(err, st, ck->path);
}

enum qins_status qn_calibration_read_part(const char *path, struct qn_calibration_part *out,
                                          struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    *out = (struct qn_calibration_part){0};
    enum qins_status st = qn_described_open(&ck, path, "calibration", NULL, err);
    if (st == QINS_OK)
        st = qn_calibration_describe_part(ck, out, err);
    qn_checkpoint_destroy(ck);
    return st;
}

void qn_calibration_close(struct qn_calibration_file *f)
{
    qn_calibration_finish(&f->c);
    qn_checkpoint_destroy(f->ck);
    free(f->large);
    *f = (struct qn_calibration_file){0};
}

enum qins_status qn_calibration_read(struct qn_calibration_file *f, size_t point,
                                     enum qn_large what, uint64_t first, uint64_t count, void *dst,
                                     struct qins_error *err)
{
    const struct qn_calibration_point *p = &f->c.points[point];
    const size_t tensor = f->large[point][what];
    const size_t element = qins_dtype_size(f->ck->tensors.items[tensor].dtype);
    enum qins_status st =
        qn_checkpoint_read(f->ck, tensor, qn_large_elements(p, what, 0, first) * element, dst,
                           (size_t)qn_large_elements(p, what, first, count) * element, err);
    return st == QINS_OK ? qn_checkpoint_check_unchanged(f->ck, NULL, err) : st;
}
