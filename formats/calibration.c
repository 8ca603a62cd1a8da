#include "formats/calibration.h"

#include "core/buf.h"
#include "core/bytes.h"

#include <stdlib.h>

static const char *const kind_names[QN_TAP_KINDS] = {
    "attention", "value", "o", "mlp", "router", "down", "head", "captured",
};

const char *qn_tap_kind_name(enum qn_tap_kind kind)
{
    return kind_names[kind];
}

static void point_finish(struct qn_calibration_point *p)
{
    free(p->name);
    for (int i = 0; i < QN_POINT_TENSORS; i++)
        free(p->tensors[i]);
    free(p->sums);
    free(p->min);
    free(p->max);
    free(p->histogram);
    free(p->kept);
}

static void access_finish(struct qn_access *a)
{
    for (uint32_t i = 0; a->tensors && i < a->n_tensors; i++)
        free(a->tensors[i]);
    free(a->tensors);
    free(a->touches);
    free(a->embedding);
    free(a->experts);
}

void qn_calibration_finish(struct qn_calibration *c)
{
    for (size_t i = 0; i < c->n_points; i++)
        point_finish(&c->points[i]);
    access_finish(&c->access);
    for (size_t i = 0; i < c->n_sensitivities; i++)
        free(c->sensitivities[i].tensor);
    free(c->sensitivities);
    free(c->head_variance);
    free(c->points);
    free(c->kept);
    free(c->texts);
    free(c->model_name);
    *c = (struct qn_calibration){0};
}

uint64_t qn_point_bytes(uint64_t channels)
{
    return channels * (2 * (uint64_t)QN_SUM_COUNT * sizeof(double) + 2 * sizeof(float)) +
           QN_CALIBRATION_CELLS * sizeof(uint64_t);
}

enum qins_status qn_calibration_add_point(struct qn_calibration *c, const char *name,
                                          enum qn_tap_kind kind, uint32_t channels,
                                          const char *const *tensors, size_t n,
                                          struct qn_calibration_point **out, struct qins_error *err)
{
    if (c->n_points == c->point_capacity) {
        size_t capacity = c->point_capacity ? 2 * c->point_capacity : 64;
        struct qn_calibration_point *points = realloc(c->points, capacity * sizeof *points);
        if (!points)
            return qn_fail_memory(err);
        c->points = points;
        c->point_capacity = capacity;
    }
    struct qn_calibration_point *p = &c->points[c->n_points++];
    *p = (struct qn_calibration_point){
        .kind = kind, .layer = QN_POINT_NONE, .expert = QN_POINT_NONE, .channels = channels};
    p->name = qn_strdup(name, err);
    p->sums = calloc(channels, 2 * (size_t)QN_SUM_COUNT * sizeof *p->sums);
    p->min = calloc(channels, sizeof *p->min);
    p->max = calloc(channels, sizeof *p->max);
    p->histogram = calloc(QN_CALIBRATION_CELLS, sizeof *p->histogram);
    bool good = p->name && p->sums && p->min && p->max && p->histogram;
    for (size_t i = 0; i < n && i < QN_POINT_TENSORS && good; i++) {
        p->tensors[i] = qn_strdup(tensors[i], err);
        good = p->tensors[i] != NULL;
    }
    if (out)
        *out = p;
    return good ? QINS_OK : qn_fail_memory(err);
}

enum qins_status qn_calibration_add_text(struct qn_calibration *c, const struct qn_digest *text,
                                         struct qins_error *err)
{
    struct qn_digest *texts = realloc(c->texts, (c->n_texts + 1) * sizeof *texts);
    if (!texts)
        return qn_fail_memory(err);
    c->texts = texts;
    texts[c->n_texts++] = *text;
    return QINS_OK;
}

enum qins_status qn_access_init(struct qn_access *a, const char *const *tensors, size_t n,
                                uint32_t vocab, uint32_t n_layers, uint32_t n_experts,
                                struct qins_error *err)
{
    *a = (struct qn_access){.vocab = vocab, .n_layers = n_layers, .n_experts = n_experts};
    a->tensors = calloc(n + 1, sizeof *a->tensors);
    a->touches = calloc(n + 1, sizeof *a->touches);
    a->embedding = calloc((size_t)vocab + 1, sizeof *a->embedding);
    a->experts = calloc((size_t)n_layers * n_experts + 1, sizeof *a->experts);
    bool good = a->tensors && a->touches && a->embedding && a->experts;
    for (size_t i = 0; i < n && good; i++) {
        a->tensors[i] = qn_strdup(tensors[i], err);
        good = a->tensors[i] != NULL;
        a->n_tensors += good;
    }
    return good ? QINS_OK : qn_fail_memory(err);
}

void qn_point_add(struct qn_calibration_point *into, const struct qn_calibration_point *from)
{
    const size_t n = into->channels;
    for (enum qn_sum k = QN_SUM; k < QN_SUM_COUNT; k++) {
        double *sum = qn_point_sum(into, k), *low = qn_point_sum_low(into, k);
        const double *x = qn_point_sum(from, k), *x_low = qn_point_sum_low(from, k);
        for (size_t i = 0; i < n; i++)
            qn_sum_add(&sum[i], &low[i], x[i], x_low[i]);
    }
    for (size_t i = 0; i < n && from->rows > 0; i++) {
        if (into->rows == 0 || from->min[i] < into->min[i])
            into->min[i] = from->min[i];
        if (into->rows == 0 || from->max[i] > into->max[i])
            into->max[i] = from->max[i];
    }
    for (size_t i = 0; i < QN_CALIBRATION_CELLS; i++)
        into->histogram[i] += from->histogram[i];
    for (int i = 0; i < 3; i++)
        into->signs[i] += from->signs[i];
    into->rows += from->rows;
}

void qn_access_add(struct qn_access *into, const struct qn_access *from)
{
    for (size_t i = 0; i < into->n_tensors; i++)
        into->touches[i] += from->touches[i];
    for (size_t i = 0; i < into->vocab; i++)
        into->embedding[i] += from->embedding[i];
    for (size_t i = 0; i < (size_t)into->n_layers * into->n_experts; i++)
        into->experts[i] += from->experts[i];
}

bool qn_calibration_touches(const struct qn_calibration *c, const char *tensor, uint64_t *touches)
{
    for (uint32_t i = 0; c->has_access && i < c->access.n_tensors; i++)
        if (strcmp(c->access.tensors[i], tensor) == 0) {
            *touches = c->access.touches[i];
            return true;
        }
    return false;
}

const struct qn_calibration_point *qn_calibration_find(const struct qn_calibration *c,
                                                       const char *name)
{
    for (size_t i = 0; i < c->n_points; i++)
        if (strcmp(c->points[i].name, name) == 0)
            return &c->points[i];
    for (size_t i = 0; i < c->n_points; i++) {
        const struct qn_calibration_point *p = &c->points[i];
        for (int k = 0; k < QN_POINT_TENSORS && p->tensors[k]; k++)
            if (p->kind != QN_TAP_VALUE && strcmp(p->tensors[k], name) == 0)
                return p;
    }
    return NULL;
}

static bool same_digest(const struct qn_digest *a, const struct qn_digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* "name (fingerprint)" of the model, or "no model". */
static void describe_model(const char *name, const struct qn_digest *model, char *out, size_t size)
{
    char hex[33];
    qn_digest_hex(model, hex);
    if (name)
        snprintf(out, size, "%.60s (%s)", name, hex);
    else
        snprintf(out, size, "no model");
}

static enum qins_status compare_models(const struct qn_calibration *a, const char *a_name,
                                       const struct qn_calibration *b, const char *b_name,
                                       enum qins_status status, struct qins_error *err)
{
    char left[128], right[128], a_hex[33] = "none", b_hex[33] = "none";
    if (!a->model_name != !b->model_name || !same_digest(&a->model, &b->model)) {
        describe_model(a->model_name, &a->model, left, sizeof left);
        describe_model(b->model_name, &b->model, right, sizeof right);
        return qn_fail(err, status, "%.100s is of %s, %.100s of %s: not the same model", a_name,
                       left, b_name, right);
    }
    if (a->has_tokenizer == b->has_tokenizer && same_digest(&a->tokenizer, &b->tokenizer))
        return QINS_OK;
    if (a->has_tokenizer)
        qn_digest_hex(&a->tokenizer, a_hex);
    if (b->has_tokenizer)
        qn_digest_hex(&b->tokenizer, b_hex);
    return qn_fail(err, status, "%.100s was made with tokenizer %s, %.100s with %s", a_name, a_hex,
                   b_name, b_hex);
}

/* "the archive HEX" or "the checkpoint". */
static void describe_archive(const struct qn_calibration *c, char *out, size_t size)
{
    char hex[33];
    qn_digest_hex(&c->archive, hex);
    if (c->has_archive)
        snprintf(out, size, "the archive %s", hex);
    else
        snprintf(out, size, "the checkpoint");
}

static enum qins_status compare_archives(const struct qn_calibration *a, const char *a_name,
                                         const struct qn_calibration *b, const char *b_name,
                                         enum qins_status status, struct qins_error *err)
{
    char left[64], right[64];
    if (a->has_archive == b->has_archive && same_digest(&a->archive, &b->archive))
        return QINS_OK;
    describe_archive(a, left, sizeof left);
    describe_archive(b, right, sizeof right);
    return qn_fail(err, status,
                   "%.100s was made with %s, %.100s with %s: the same model, but not the same "
                   "activations",
                   a_name, left, b_name, right);
}

static enum qins_status compare_options(const struct qn_calibration *a, const char *a_name,
                                        const struct qn_calibration *b, const char *b_name,
                                        enum qins_status status, struct qins_error *err)
{
    const struct qn_calibration_options *x = &a->options, *y = &b->options;
    const struct {
        const char *name;
        uint64_t a, b;
    } options[] = {{"--context", x->context, y->context},
                   {"--seed", x->seed, y->seed},
                   {"--keep-rows", x->keep_rows, y->keep_rows},
                   {"--gram", x->gram, y->gram}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].a != options[i].b)
            return qn_fail(err, status, "%.100s was made with %s %llu, %.100s with %llu", a_name,
                           options[i].name, (unsigned long long)options[i].a, b_name,
                           (unsigned long long)options[i].b);
    return QINS_OK;
}

static bool same_points(const struct qn_calibration *a, const struct qn_calibration *b)
{
    bool same = a->n_points == b->n_points && a->has_access == b->has_access &&
                a->access.vocab == b->access.vocab && a->access.n_tensors == b->access.n_tensors &&
                a->access.n_layers == b->access.n_layers &&
                a->access.n_experts == b->access.n_experts;
    for (size_t i = 0; i < a->n_points && same; i++)
        same = strcmp(a->points[i].name, b->points[i].name) == 0 &&
               a->points[i].channels == b->points[i].channels;
    return same;
}

enum qins_status qn_calibration_compare(const struct qn_calibration *a, const char *a_name,
                                        const struct qn_calibration *b, const char *b_name,
                                        enum qins_status status, struct qins_error *err)
{
    enum qins_status st = compare_models(a, a_name, b, b_name, status, err);
    if (st == QINS_OK)
        st = compare_archives(a, a_name, b, b_name, status, err);
    if (st == QINS_OK)
        st = compare_options(a, a_name, b, b_name, status, err);
    if (st == QINS_OK && !same_points(a, b))
        st = qn_fail(err, status, "%.200s and %.200s do not have the same points", a_name, b_name);
    return st;
}

enum qins_status qn_calibration_check_model(const struct qn_calibration *c, const char *file,
                                            const struct qn_digest *model, const char *model_path,
                                            struct qins_error *err)
{
    char made_with[128], given[33];
    if (c->model_name && same_digest(&c->model, model))
        return QINS_OK;
    describe_model(c->model_name, &c->model, made_with, sizeof made_with);
    qn_digest_hex(model, given);
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, file, NULL, QN_NO_OFFSET,
                      "the calibration was made with %s, not with %.200s (%s)", made_with,
                      model_path, given);
}

uint64_t qn_large_rows(const struct qn_calibration_point *p, enum qn_large what)
{
    if (what == QN_LARGE_ROWS)
        return p->n_kept;
    return p->gram ? p->channels : 0;
}

uint64_t qn_large_elements(const struct qn_calibration_point *p, enum qn_large what, uint64_t first,
                           uint64_t count)
{
    if (what != QN_LARGE_GRAM_LOW || count == 0)
        return count * p->channels;
    /* (n - first) + (n - first - 1) + … */
    return count * (p->channels - first) - count * (count - 1) / 2;
}
