#include "formats/calibration_layout.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "formats/described.h"
#include "formats/hdf5_common.h"

#include <stdlib.h>

static const struct {
    const char *name;
    enum qins_dtype dtype;
} kept_columns[QN_KEPT_COLUMNS] = {
    [QN_KEPT_PRIORITY] = {"priority", QINS_U64}, [QN_KEPT_WINDOW] = {"window", QINS_U64},
    [QN_KEPT_POSITION] = {"position", QINS_U32}, [QN_KEPT_TOKEN] = {"token", QINS_U32},
    [QN_KEPT_PART] = {"part", QINS_U8},
};

size_t qn_kept_store(const struct qn_kept_row *row, unsigned which, uint8_t *p)
{
    switch (which) {
    case QN_KEPT_PRIORITY:
        qn_store64(p, row->priority);
        return 8;
    case QN_KEPT_WINDOW:
        qn_store64(p, row->window);
        return 8;
    case QN_KEPT_POSITION:
        qn_store32(p, row->position);
        return 4;
    case QN_KEPT_TOKEN:
        qn_store32(p, row->token);
        return 4;
    default:
        *p = row->part;
        return 1;
    }
}

size_t qn_kept_load(struct qn_kept_row *row, unsigned which, const uint8_t *p)
{
    switch (which) {
    case QN_KEPT_PRIORITY:
        row->priority = qn_load64(p);
        return 8;
    case QN_KEPT_WINDOW:
        row->window = qn_load64(p);
        return 8;
    case QN_KEPT_POSITION:
        row->position = qn_load32(p);
        return 4;
    case QN_KEPT_TOKEN:
        row->token = qn_load32(p);
        return 4;
    default:
        row->part = *p;
        return 1;
    }
}

static const struct {
    const char *path;
    enum qins_dtype dtype;
} sensitivity_columns[QN_SENSITIVITY_COLUMNS] = {
    [QN_SENSITIVITY_ERROR] = {"/sensitivity/error", QINS_F64},
    [QN_SENSITIVITY_KL] = {"/sensitivity/kl", QINS_F64},
    [QN_SENSITIVITY_STANDARD_ERROR] = {"/sensitivity/standard_error", QINS_F64},
    [QN_SENSITIVITY_LEVELS] = {"/sensitivity/levels", QINS_U32},
};

/* The float64 of a column. */
static double *sensitivity_figure(struct qn_sensitivity *row, unsigned which)
{
    return which == QN_SENSITIVITY_ERROR ? &row->error
           : which == QN_SENSITIVITY_KL  ? &row->kl
                                         : &row->standard_error;
}

size_t qn_sensitivity_store(const struct qn_sensitivity *row, unsigned which, uint8_t *p)
{
    struct qn_sensitivity copy = *row;
    if (which == QN_SENSITIVITY_LEVELS) {
        qn_store32(p, row->levels);
        return 4;
    }
    memcpy(p, sensitivity_figure(&copy, which), sizeof(double));
    return sizeof(double);
}

size_t qn_sensitivity_load(struct qn_sensitivity *row, unsigned which, const uint8_t *p)
{
    if (which == QN_SENSITIVITY_LEVELS) {
        row->levels = qn_load32(p);
        return 4;
    }
    memcpy(sensitivity_figure(row, which), p, sizeof(double));
    return sizeof(double);
}

/* PATH begins with '/'. */
static enum qins_status add(struct qn_calibration_layout *l, const char *path,
                            enum qins_dtype dtype, unsigned rank, const uint64_t *shape,
                            struct qn_dataset item, struct qins_error *err)
{
    if (l->tensors.count == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 256;
        struct qn_dataset *items = realloc(l->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->tensors.count] = item;
    return qn_described_add(&l->tensors, l->paths, path, dtype, rank, shape, err);
}

static enum qins_status add_memory(struct qn_calibration_layout *l, const char *path,
                                   enum qins_dtype dtype, unsigned rank, const uint64_t *shape,
                                   void *data, struct qins_error *err)
{
    return add(l, path, dtype, rank, shape, (struct qn_dataset){.data = data}, err);
}

static enum qins_status add_kept(struct qn_calibration_layout *l, const struct qn_calibration *c,
                                 struct qins_error *err)
{
    const uint64_t n = c->n_kept;
    enum qins_status st = QINS_OK;
    char path[32];
    for (unsigned i = 0; i < QN_KEPT_COLUMNS && n > 0 && st == QINS_OK; i++) {
        snprintf(path, sizeof path, "/rows/%s", kept_columns[i].name);
        st = add(l, path, kept_columns[i].dtype, 1, &n,
                 (struct qn_dataset){.kind = QN_DATASET_KEPT, .which = i}, err);
    }
    return st;
}

static enum qins_status add_access(struct qn_calibration_layout *l, const struct qn_calibration *c,
                                   struct qins_error *err)
{
    const struct qn_access *a = &c->access;
    const uint64_t tensors = a->n_tensors, vocab = a->vocab;
    const uint64_t experts[2] = {a->n_layers, a->n_experts};
    if (!c->has_access)
        return QINS_OK;
    enum qins_status st = add_memory(l, "/access/tensors", QINS_U64, 1, &tensors, a->touches, err);
    if (st == QINS_OK)
        st = add_memory(l, "/access/embedding_rows", QINS_U64, 1, &vocab, a->embedding, err);
    if (st == QINS_OK && a->n_experts > 0)
        st = add_memory(l, "/access/experts", QINS_U64, 2, experts, a->experts, err);
    return st;
}

static enum qins_status add_sensitivities(struct qn_calibration_layout *l,
                                          const struct qn_calibration *c, struct qins_error *err)
{
    const uint64_t n = c->n_sensitivities, rows = c->n_head_rows;
    enum qins_status st = QINS_OK;
    for (unsigned i = 0; i < QN_SENSITIVITY_COLUMNS && n > 0 && st == QINS_OK; i++)
        st = add(l, sensitivity_columns[i].path, sensitivity_columns[i].dtype, 1, &n,
                 (struct qn_dataset){.kind = QN_DATASET_SENSITIVITY, .which = i}, err);
    if (st == QINS_OK && n > 0)
        st = add_memory(l, "/sensitivity/head_variance", QINS_F64, 1, &rows, c->head_variance, err);
    return st;
}

struct place {
    struct qn_calibration_layout *l;
    const struct qn_calibration_point *p;
    size_t point;
    const char *group; /* "/points/NAME" */
};

static enum qins_status add_figure(const struct place *at, const char *name, enum qins_dtype dtype,
                                   unsigned rank, const uint64_t *shape, struct qn_dataset item,
                                   struct qins_error *err)
{
    char *path = qn_format(err, "%s/%s", at->group, name);
    item.point = at->point;
    enum qins_status st = path ? add(at->l, path, dtype, rank, shape, item, err) : QINS_ERR_MEMORY;
    free(path);
    return st;
}

/* What every point has. */
static enum qins_status add_figures(const struct place *at, struct qins_error *err)
{
    const struct qn_calibration_point *p = at->p;
    const uint64_t channels = p->channels, cells = QN_CALIBRATION_CELLS, three = 3;
    const uint64_t sums[3] = {QN_SUM_COUNT, 2, channels}, kept = p->n_kept;
    const struct {
        const char *name;
        enum qins_dtype dtype;
        unsigned rank;
        const uint64_t *shape;
        struct qn_dataset item;
    } figures[] = {
        {"mean", QINS_F64, 1, &channels, {.kind = QN_DATASET_MEAN, .which = QN_SUM}},
        {"mean_abs", QINS_F64, 1, &channels, {.kind = QN_DATASET_MEAN, .which = QN_SUM_ABS}},
        {"second_moment",
         QINS_F64,
         1,
         &channels,
         {.kind = QN_DATASET_MEAN, .which = QN_SUM_SQUARES}},
        {"sums", QINS_F64, 3, sums, {.data = p->sums}},
        {"min", QINS_F32, 1, &channels, {.data = p->min}},
        {"max", QINS_F32, 1, &channels, {.data = p->max}},
        {"abs_histogram", QINS_U64, 1, &cells, {.data = p->histogram}},
        {"sign_counts", QINS_U64, 1, &three, {.data = (void *)(uintptr_t)p->signs}},
        {"row_index", QINS_U32, 1, &kept, {.data = p->kept}},
    };
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof figures / sizeof *figures && st == QINS_OK; i++)
        if (*figures[i].shape > 0)
            st = add_figure(at, figures[i].name, figures[i].dtype, figures[i].rank,
                            figures[i].shape, figures[i].item, err);
    return st;
}

static enum qins_status add_large(const struct place *at, struct qins_error *err)
{
    const struct qn_calibration_point *p = at->p;
    const uint64_t square[2] = {p->channels, p->channels}, rows[2] = {p->n_kept, p->channels};
    const uint64_t packed = qn_large_elements(p, QN_LARGE_GRAM_LOW, 0, p->channels);
    const struct {
        const char *name;
        enum qins_dtype dtype;
        unsigned rank;
        const uint64_t *shape;
    } sets[QN_LARGE_COUNT] = {
        [QN_LARGE_GRAM] = {"gram", QINS_F64, 2, square},
        [QN_LARGE_GRAM_LOW] = {"gram_low", QINS_F32, 1, &packed},
        [QN_LARGE_ROWS] = {"rows", QINS_F32, 2, rows},
    };
    enum qins_status st = QINS_OK;
    for (unsigned i = 0; i < QN_LARGE_COUNT && st == QINS_OK; i++)
        if (qn_large_rows(p, (enum qn_large)i) > 0)
            st = add_figure(at, sets[i].name, sets[i].dtype, sets[i].rank, sets[i].shape,
                            (struct qn_dataset){.kind = QN_DATASET_LARGE, .which = i}, err);
    return st;
}

static enum qins_status add_points(struct qn_calibration_layout *l, const struct qn_calibration *c,
                                   enum qins_status (*what)(const struct place *at,
                                                            struct qins_error *err),
                                   struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < c->n_points && st == QINS_OK; i++) {
        char *encoded = qn_hdf5_encode_name(c->points[i].name, err);
        char *group = encoded ? qn_format(err, "/points/%s", encoded) : NULL;
        const struct place at = {l, &c->points[i], i, group};
        st = group ? what(&at, err) : QINS_ERR_MEMORY;
        free(group);
        free(encoded);
    }
    return st;
}

enum qins_status qn_calibration_layout_init(struct qn_calibration_layout *l,
                                            const struct qn_calibration *c, struct qins_error *err)
{
    *l = (struct qn_calibration_layout){.paths = json_object()};
    enum qins_status st = l->paths ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = add_kept(l, c, err);
    if (st == QINS_OK)
        st = add_access(l, c, err);
    if (st == QINS_OK)
        st = add_sensitivities(l, c, err);
    if (st == QINS_OK)
        st = add_points(l, c, add_figures, err);
    if (st == QINS_OK)
        st = add_points(l, c, add_large, err);
    return st;
}

void qn_calibration_layout_finish(struct qn_calibration_layout *l)
{
    qn_tensor_list_finish(&l->tensors);
    free(l->items);
    json_decref(l->paths);
    *l = (struct qn_calibration_layout){0};
}
