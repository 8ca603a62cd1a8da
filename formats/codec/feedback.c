#include "formats/codec/feedback.h"

#include "core/cpu.h"
#include "formats/codec/level.h"

#include <string.h>

/* Rows side by side, so that what is done to one column is done to LANES values at once, and
 * columns in blocks, whose errors reach the columns behind the block together: each value then
 * still sees the errors in the order in which the columns stand. */
enum { LANES = 16, BLOCK = 64 };

/* Two registers, or pairs of them. */
typedef float half __attribute__((vector_size(4 * LANES / 2)));
struct lanes {
    half a, b;
};

/* LANES rows on their way. */
struct panel {
    const struct qn_grid *g;
    const struct qn_feedback *f;
    float (*v)[LANES];          /* [n], in the order of rounding */
    float errors[BLOCK][LANES]; /* of the block's columns */
    float scales[LANES];        /* of the column at hand */
    uint16_t codes[LANES];
    struct qn_qins_shape shape;
};

/* Inlined into a function for each CPU level: no operation differs between them. */
#define BODY static inline __attribute__((always_inline))

/* Codes and error of column J, the I-th of its block. */
BODY void round_column(struct panel *p, uint32_t j, uint32_t i)
{
    const float *restrict v = p->v[j];
    float *restrict e = p->errors[i];
    uint16_t *restrict codes = p->codes;
    if (p->g->kind == QN_GRID_SEED) {
        qn_quantise(p->g, 1.0f, v, LANES, codes);
    } else {
        for (int r = 0; r < LANES; r++) {
            uint16_t code = qn_qins_code(p->shape, p->scales[r], v[r]);
            codes[r] = p->scales[r] > 0.0f ? code : (uint16_t)p->shape.levels;
        }
    }
    for (int r = 0; r < LANES; r++)
        e[r] = v[r] - p->scales[r] * p->g->value[codes[r]];
}

BODY void load(struct lanes *x, const float v[LANES])
{
    memcpy(&x->a, v, sizeof x->a);
    memcpy(&x->b, v + LANES / 2, sizeof x->b);
}

BODY void store(float v[LANES], const struct lanes *x)
{
    memcpy(v, &x->a, sizeof x->a);
    memcpy(v + LANES / 2, &x->b, sizeof x->b);
}

/* x -= e weight: a product, rounded, and a difference, rounded. */
BODY void subtract(struct lanes *x, const struct lanes *e, float weight)
{
    x->a -= e->a * weight;
    x->b -= e->b * weight;
}

/* Error I of the block, of column J, to the columns behind it, up to END. */
BODY void spread_column(struct panel *p, uint32_t j, uint32_t i, uint32_t end)
{
    const float *row = p->f->factor + (size_t)j * p->f->n;
    struct lanes e, x;
    load(&e, p->errors[i]);
    for (uint32_t k = j + 1; k < end; k++) {
        load(&x, p->v[k]);
        subtract(&x, &e, row[k]);
        store(p->v[k], &x);
    }
}

/* The errors of columns BEGIN ... END - 1 to column K. */
BODY void spread_to_one(struct panel *p, uint32_t begin, uint32_t end, uint32_t k)
{
    struct lanes e, x;
    load(&x, p->v[k]);
    for (uint32_t j = begin; j < end; j++) {
        load(&e, p->errors[j - begin]);
        subtract(&x, &e, p->f->factor[(size_t)j * p->f->n + k]);
    }
    store(p->v[k], &x);
}

/* And to columns K ... K + 3, whose values stay in registers. */
BODY void spread_to_four(struct panel *p, uint32_t begin, uint32_t end, uint32_t k)
{
    float(*v)[LANES] = p->v + k;
    struct lanes e, x0, x1, x2, x3;
    const float *row = p->f->factor + (size_t)begin * p->f->n + k;
    load(&x0, v[0]);
    load(&x1, v[1]);
    load(&x2, v[2]);
    load(&x3, v[3]);
    for (uint32_t j = begin; j < end; j++, row += p->f->n) {
        load(&e, p->errors[j - begin]);
        subtract(&x0, &e, row[0]);
        subtract(&x1, &e, row[1]);
        subtract(&x2, &e, row[2]);
        subtract(&x3, &e, row[3]);
    }
    store(v[0], &x0);
    store(v[1], &x1);
    store(v[2], &x2);
    store(v[3], &x3);
}

BODY void spread_block(struct panel *p, uint32_t begin, uint32_t end)
{
    uint32_t k = end, n = p->f->n;
    for (; n - k >= 4; k += 4)
        spread_to_four(p, begin, end, k);
    for (; k < n; k++)
        spread_to_one(p, begin, end, k);
}

/* Scales of column C of COUNT rows; GROUPS groups a row. */
static void load_scales(struct panel *p, const float *scales, uint32_t groups, uint32_t group,
                        size_t count)
{
    for (size_t r = 0; r < LANES; r++)
        p->scales[r] = r < count ? scales[r * groups + group] : 0.0f;
}

BODY void round_panel(struct panel *p, const float *scales, uint32_t group, uint16_t *codes,
                      size_t count)
{
    const uint32_t n = p->f->n, groups = n / group + (n % group != 0);
    uint32_t loaded = UINT32_MAX;
    for (uint32_t begin = 0; begin < n; begin += BLOCK) {
        uint32_t size = n - begin < BLOCK ? n - begin : BLOCK;
        for (uint32_t i = 0; i < size; i++) {
            uint32_t j = begin + i, c = p->f->order ? p->f->order[j] : j;
            if (p->g->kind == QN_GRID_QINS && c / group != loaded) {
                loaded = c / group;
                load_scales(p, scales, groups, loaded, count);
            }
            round_column(p, j, i);
            for (size_t r = 0; r < count; r++)
                codes[r * n + c] = p->codes[r];
            spread_column(p, j, i, begin + size);
        }
        spread_block(p, begin, begin + size);
    }
}

typedef void panel_function(struct panel *p, const float *scales, uint32_t group, uint16_t *codes,
                            size_t count);

static void round_panel_c(struct panel *p, const float *scales, uint32_t group, uint16_t *codes,
                          size_t count)
{
    round_panel(p, scales, group, codes, count);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void round_panel_avx2(struct panel *p, const float *scales,
                                                             uint32_t group, uint16_t *codes,
                                                             size_t count)
{
    round_panel(p, scales, group, codes, count);
}
#endif

static panel_function *choose_panel_function(void)
{
#if defined(__x86_64__)
    if (qn_cpu_level() >= QN_CPU_AVX2)
        return round_panel_avx2;
#endif
    return round_panel_c;
}

/* COUNT rows into lanes; the lanes that are left over are 0. */
static void load_rows(struct panel *p, const float *x, size_t count)
{
    const uint32_t n = p->f->n;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t c = p->f->order ? p->f->order[j] : j;
        for (size_t r = 0; r < LANES; r++)
            p->v[j][r] = r < count ? x[r * n + c] : 0.0f;
    }
}

static float largest_error(const struct qn_grid *g, const float *x, const float *scales,
                           uint32_t group, const uint16_t *codes, uint32_t n)
{
    int32_t most = 0; /* magnitudes order like the integers that encode them */
    for (uint32_t begin = 0; begin < n; begin += group) {
        uint32_t end = n - begin < group ? n : begin + group;
        float scale = g->kind == QN_GRID_SEED ? 1.0f : scales[begin / group];
        for (uint32_t c = begin; c < end; c++) {
            float e = x[c] - scale * g->value[codes[c]];
            int32_t bits = (int32_t)(qn_float_bits(e) & 0x7fffffffu);
            most = bits > most ? bits : most;
        }
    }
    return qn_float_from_bits((uint32_t)most);
}

size_t qn_feedback_work(uint32_t n)
{
    return (size_t)n * LANES;
}

float qn_quantise_feedback(const struct qn_grid *g, const struct qn_feedback *f, const float *x,
                           size_t rows, const float *scales, uint32_t group, uint16_t *codes,
                           float *work)
{
    struct panel p = {
        .g = g, .f = f, .v = (float(*)[LANES])(void *)work, .shape = qn_grid_shape(g)};
    panel_function *round_some = choose_panel_function();
    const uint32_t n = f->n;
    const size_t groups = n / group + (n % group != 0);
    float largest = 0.0f;
    for (int r = 0; r < LANES; r++)
        p.scales[r] = 1.0f; /* of the seed grid's values */
    for (size_t row = 0; row < rows; row += LANES) {
        size_t count = rows - row < LANES ? rows - row : LANES;
        load_rows(&p, x + row * n, count);
        round_some(&p, scales ? scales + row * groups : NULL, group, codes + row * n, count);
    }
    for (size_t row = 0; row < rows; row++) {
        float e = largest_error(g, x + row * n, scales ? scales + row * groups : NULL, group,
                                codes + row * n, n);
        largest = e > largest ? e : largest;
    }
    return largest;
}
