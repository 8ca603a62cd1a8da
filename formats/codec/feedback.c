#include "formats/codec/feedback.h"

#include "core/cpu.h"
#include "formats/codec/level.h"

#include <string.h>

/* Rows side by side, so that what is done to one column is done to LANES values at once, and
 * columns in blocks, whose errors reach the columns behind the block together: each value then
 * still sees the errors in the order in which the columns stand. */
enum { LANES = 16, BLOCK = 64 };

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

/* Codes and error of column J, the I-th of its block. Inlined, so that each CPU level makes of it
 * what it can. */
static inline __attribute__((always_inline)) void round_column(struct panel *p, uint32_t j,
                                                               uint32_t i)
{
    const float *restrict v = p->v[j];
    float *restrict e = p->errors[i];
    uint16_t *restrict codes = p->codes;
    if (p->g->kind == QN_GRID_SEED) {
        qn_quantise(p->g, 1.0f, v, LANES, codes);
    } else {
        for (int r = 0; r < LANES; r++) {
            const float scale = p->scales[r];
            uint16_t code = qn_qins_code(p->shape, scale > 0.0f ? scale : 1.0f, v[r]);
            codes[r] = scale > 0.0f ? code : (uint16_t)p->shape.levels;
        }
    }
    for (int r = 0; r < LANES; r++)
        e[r] = v[r] - p->scales[r] * p->g->value[codes[r]];
}

/* Scales of column C of COUNT rows; GROUPS groups a row. */
static void load_scales(struct panel *p, const float *scales, uint32_t groups, uint32_t group,
                        size_t count)
{
    for (size_t r = 0; r < LANES; r++)
        p->scales[r] = r < count ? scales[r * groups + group] : 0.0f;
}

#define TARGET
#define WIDTH       4
#define LEVEL(name) name##_c
#define PARTS       PART(a) PART(b) PART(c) PART(d)
#include "formats/codec/feedback_panel.h"
#undef TARGET
#undef WIDTH
#undef LEVEL
#undef PARTS

#if defined(__x86_64__)
#define TARGET      __attribute__((target("avx2")))
#define WIDTH       8
#define LEVEL(name) name##_avx2
#define PARTS       PART(a) PART(b)
#include "formats/codec/feedback_panel.h"
#undef TARGET
#undef WIDTH
#undef LEVEL
#undef PARTS
#endif

typedef void panel_function(struct panel *p, const float *scales, uint32_t group, uint16_t *codes,
                            size_t count);

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
