#include "core/buf.h"
#include "core/bytes.h"
#include "formats/calibration_layout.h"
#include "formats/described_write.h"

#include <stdlib.h>

/* What is taken from a source at a time, but for a row that is larger. */
enum { PIECE_BYTES = 1 << 20 };

struct writing {
    const struct qn_calibration *c;
    const struct qn_large_source *source;
    struct qn_calibration_layout layout;
    struct qn_buf buf;
    struct qn_described_writer out;
};

static enum qins_status place(struct writing *w, struct qins_error *err)
{
    enum qins_status st = qn_calibration_layout_init(&w->layout, w->c, err);
    for (size_t i = 0; i < w->layout.tensors.count && st == QINS_OK; i++) {
        const struct qn_tensor *t = &w->layout.tensors.items[i];
        st = qn_tensor_list_add(&w->out.tensors, t->name, strlen(t->name), t->dtype, NULL, t->rank,
                                t->shape, NULL, err);
    }
    return st;
}

static enum qins_status put_mean(struct writing *w, size_t tensor,
                                 const struct qn_calibration_point *p, enum qn_sum which,
                                 struct qins_error *err)
{
    const size_t size = p->channels * sizeof(double);
    enum qins_status st = qn_buf_reserve(&w->buf, size, err);
    if (st != QINS_OK)
        return st;
    const double *sum = qn_point_sum(p, which);
    for (size_t i = 0; i < p->channels; i++) {
        double mean = p->rows ? sum[i] / (double)p->rows : 0.0;
        memcpy(w->buf.data + i * sizeof mean, &mean, sizeof mean);
    }
    return qn_described_put(&w->out, tensor, w->buf.data, size, err);
}

static enum qins_status put_kept(struct writing *w, size_t tensor, unsigned column,
                                 struct qins_error *err)
{
    size_t size = 0;
    enum qins_status st = qn_buf_reserve(&w->buf, w->c->n_kept * sizeof(uint64_t), err);
    for (size_t i = 0; i < w->c->n_kept && st == QINS_OK; i++)
        size += qn_kept_store(&w->c->kept[i], column, w->buf.data + size);
    return st == QINS_OK ? qn_described_put(&w->out, tensor, w->buf.data, size, err) : st;
}

static enum qins_status put_sensitivity(struct writing *w, size_t tensor, unsigned column,
                                        struct qins_error *err)
{
    size_t size = 0;
    enum qins_status st = qn_buf_reserve(&w->buf, w->c->n_sensitivities * sizeof(double), err);
    for (size_t i = 0; i < w->c->n_sensitivities && st == QINS_OK; i++)
        size += qn_sensitivity_store(&w->c->sensitivities[i], column, w->buf.data + size);
    return st == QINS_OK ? qn_described_put(&w->out, tensor, w->buf.data, size, err) : st;
}

static enum qins_status put_large(struct writing *w, size_t tensor, size_t point,
                                  enum qn_large what, struct qins_error *err)
{
    const struct qn_calibration_point *p = &w->c->points[point];
    const uint64_t rows = qn_large_rows(p, what);
    const size_t element = qins_dtype_size(w->out.tensors.items[tensor].dtype);
    uint64_t step = PIECE_BYTES / (p->channels * element);
    step = step > 0 ? step : 1;
    enum qins_status st = qn_buf_reserve(&w->buf, (size_t)step * p->channels * element, err);
    for (uint64_t i = 0; i < rows && st == QINS_OK; i += step) {
        const uint64_t n = qn_min_u64(step, rows - i);
        const size_t size = (size_t)qn_large_elements(p, what, i, n) * element;
        st = w->source->read(w->source->ctx, point, what, i, n, w->buf.data, err);
        if (st == QINS_OK)
            st = qn_described_put(&w->out, tensor, w->buf.data, size, err);
    }
    return st == QINS_ERR_INTERRUPTED ? st : qn_error_in_tensor(err, st, p->name);
}

static enum qins_status put_all(struct writing *w, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < w->layout.tensors.count && st == QINS_OK; i++) {
        const struct qn_dataset *d = &w->layout.items[i];
        const size_t tensor = i + 1; /* behind the description */
        switch (d->kind) {
        case QN_DATASET_MEMORY:
            st = qn_described_put(&w->out, tensor, d->data,
                                  (size_t)w->out.tensors.items[tensor].n_bytes, err);
            break;
        case QN_DATASET_MEAN:
            st = put_mean(w, tensor, &w->c->points[d->point], (enum qn_sum)d->which, err);
            break;
        case QN_DATASET_KEPT:
            st = put_kept(w, tensor, d->which, err);
            break;
        case QN_DATASET_SENSITIVITY:
            st = put_sensitivity(w, tensor, d->which, err);
            break;
        case QN_DATASET_LARGE:
            st = put_large(w, tensor, d->point, (enum qn_large)d->which, err);
            break;
        }
    }
    return st;
}

enum qins_status qn_calibration_write(const struct qn_calibration *c, const char *path,
                                      const struct qn_large_source *source,
                                      const struct qn_monitor *monitor, struct qins_error *err)
{
    struct writing w = {.c = c, .source = source, .out = {.monitor = monitor}};
    enum qins_status st = qn_described_describe(&w.out, qn_calibration_to_json(c), err);
    if (st == QINS_OK)
        st = place(&w, err);
    if (st == QINS_OK)
        st = qn_described_create(&w.out, path, w.layout.paths, err);
    if (st == QINS_OK)
        st = put_all(&w, err);
    st = qn_described_close(&w.out, st, err);
    qn_calibration_layout_finish(&w.layout);
    qn_buf_finish(&w.buf);
    return st;
}
