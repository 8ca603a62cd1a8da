#include "model/synthetic.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "core/random.h"
#include "model/weights_plan.h"

#include <math.h>
#include <stdlib.h>

/* A model's weights are visited twice: to reserve room, then to fill it in the same order. */
struct making {
    struct qn_model *m;
    enum qins_dtype dtype;
    uint64_t state;  /* of the generator */
    bool fill;       /* the second time */
    uint64_t offset; /* of the next piece while filling */
};

/* N values of variance DEVIATION², spread nearly as a normal distribution: sums of four uniform
 * numbers of 16 bits (Irwin and Hall's distribution). */
static void fill_random(struct making *k, uint8_t *dst, uint64_t n, double deviation)
{
    enum { STEP = 1024 };
    static const float middle = 2.0F * 65535.0F;
    /* Each of the four has a variance of (2^32 - 1) / 12. */
    const float factor = (float)(deviation / sqrt((0x1p+32 - 1) / 3));
    float x[STEP];
    size_t size = qins_dtype_size(k->dtype);
    for (uint64_t i = 0; i < n; i += STEP) {
        size_t step = (size_t)qn_min_u64(STEP, n - i);
        for (size_t j = 0; j < step; j++) {
            const uint64_t bits = qn_random_u64(&k->state);
            const uint32_t sum = (uint32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                            (bits >> 32 & 0xffff) + (bits >> 48));
            x[j] = ((float)sum - middle) * factor;
        }
        qn_from_f32(k->dtype, x, dst + i * size, step);
    }
}

static void fill_constant(uint8_t *dst, uint64_t n, float value)
{
    float *x = (float *)(void *)dst;
    for (uint64_t i = 0; i < n; i++)
        x[i] = value;
}

/* The place of the next piece. */
static enum qins_status next(struct making *k, uint64_t n, enum qins_dtype dtype, uint8_t **place,
                             struct qins_error *err)
{
    const struct qn_weights_storage *s = k->m->storage;
    if (!k->fill)
        return qn_weights_reserve(k->m, n, dtype, &k->offset, err);
    *place = s->data + k->offset;
    k->offset += qn_weights_room(n * qins_dtype_size(dtype));
    return QINS_OK;
}

static enum qins_status make(void *ctx, const struct qn_need *need, struct qins_error *err)
{
    struct making *k = ctx;
    struct qn_matrix *x = need->matrix;
    uint64_t n = (uint64_t)need->out * need->in;
    uint8_t *weight = NULL, *bias = NULL;
    enum qins_status st = next(k, n, x ? k->dtype : QINS_F32, &weight, err);
    if (st == QINS_OK && need->bias)
        st = next(k, need->out, QINS_F32, &bias, err);
    if (st != QINS_OK || !k->fill)
        return st;
    const char *name = qn_weights_name(k->m, need->name, ".weight", err);
    if (!name)
        return QINS_ERR_MEMORY;
    if (bias)
        fill_constant(bias, need->out, 0);
    *(x ? &x->bias : &need->norm->bias) = (const float *)(const void *)bias;
    if (x) {
        fill_random(k, weight, n, sqrt(1.0 / (double)need->in));
        x->name = name;
        x->dtype = k->dtype;
        x->data = weight;
    } else {
        fill_constant(weight, n, 1);
        need->norm->name = name;
        need->norm->weight = (const float *)(const void *)weight;
    }
    return QINS_OK;
}

enum qins_status qn_model_create_random(struct qn_model **out, const struct qn_model_config *config,
                                        enum qins_dtype dtype, uint64_t seed,
                                        struct qins_error *err)
{
    struct making k = {.dtype = dtype, .state = seed};
    const char *prefix = config->arch->prefixes[0];
    *out = NULL;
    if (dtype != QINS_F32 && dtype != QINS_F16 && dtype != QINS_BF16)
        return qn_fail(err, QINS_ERR_USAGE, "random weights are F32, F16 or BF16");
    k.m = calloc(1, sizeof *k.m);
    if (!k.m)
        return qn_fail_memory(err);
    k.m->config = *config;
    k.m->synthetic = true;
    k.m->path = qn_strdup("random weights", err);
    enum qins_status st = k.m->path ? qn_weights_allocate(k.m, err) : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_weights_each(k.m, prefix, make, &k, err);
    if (st == QINS_OK)
        st = qn_weights_commit(k.m, err);
    k.fill = true;
    k.offset = 0;
    if (st == QINS_OK)
        st = qn_weights_each(k.m, prefix, make, &k, err);
    if (st == QINS_OK) {
        qn_weights_tie(k.m);
        *out = k.m;
    } else {
        qn_model_destroy(k.m);
    }
    return st;
}
