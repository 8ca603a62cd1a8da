#include "formats/codec/quant.h"

#include "formats/codec/level.h"

#include <float.h>

/* Codes and values are part of what an archive means: every operation below is one IEEE
 * binary32 (or, for the table, binary64) operation, in the order in which it stands. */
_Static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must not be carried out in wider types");

static float level_qins(unsigned l, unsigned levels, float kappa)
{
    double t = (double)l / (double)levels;
    return (float)(t / (1.0 + (double)kappa * (1.0 - t)));
}

static float level_seed(unsigned l, unsigned levels, float alpha)
{
    double t = (double)l / (double)levels;
    float unit = l < levels ? (float)(t / (1.0 - t)) : 0.0f;
    return unit / alpha;
}

bool qn_grid_init(struct qn_grid *g, enum qn_grid_kind kind, unsigned levels, float kappa)
{
    bool qins = kind == QN_GRID_QINS;
    float least = qins ? 0.0f : QN_MIN_ALPHA, most = qins ? QN_MAX_KAPPA : QN_MAX_ALPHA;
    if ((!qins && kind != QN_GRID_SEED) || levels < QN_MIN_LEVELS || levels > QN_MAX_LEVELS ||
        !(kappa >= least && kappa <= most))
        return false;

    g->kind = kind;
    g->levels = levels;
    g->kappa = kappa + 0.0f; /* -0 becomes +0 */
    for (unsigned l = 0; l <= levels; l++) {
        float v = qins ? level_qins(l, levels, g->kappa) : level_seed(l, levels, g->kappa);
        g->value[levels + l] = v;
        g->value[levels - l] = l ? -v : v;
    }
    return true;
}

float qn_abs_max(const float *x, size_t n, bool *finite)
{
    /* Magnitudes order like the integers that encode them. */
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = (int32_t)(qn_float_bits(x[i]) & 0x7fffffffu);
        most = bits > most ? bits : most;
    }
    if (most >= 0x7f800000)
        *finite = false;
    return qn_float_from_bits((uint32_t)most);
}

static void quantise_qins(const struct qn_grid *g, float scale, const float *restrict x, size_t n,
                          uint16_t *restrict codes)
{
    const struct qn_qins_shape shape = qn_grid_shape(g);
    for (size_t i = 0; i < n; i++)
        codes[i] = qn_qins_code(shape, scale, x[i]);
}

static void quantise_seed(const struct qn_grid *g, const float *restrict x, size_t n,
                          uint16_t *restrict codes)
{
    const int32_t levels = (int32_t)g->levels, top = levels - 1;
    const float alpha = g->kappa, n_levels = (float)levels;
    for (size_t i = 0; i < n; i++) {
        float v = qn_bounded(alpha * qn_magnitude(x[i]), 1e30f); /* v / (1 + v) is 1 long before */
        float q = n_levels * (v / (1.0f + v));
        int32_t level = (int32_t)(q + 0.5f);
        codes[i] = qn_signed_code(x[i], level < top ? level : top, levels);
    }
}

void qn_quantise(const struct qn_grid *g, float scale, const float *x, size_t n, uint16_t *codes)
{
    if (g->kind == QN_GRID_SEED) {
        quantise_seed(g, x, n, codes);
    } else if (scale > 0.0f) {
        quantise_qins(g, scale, x, n, codes);
    } else {
        for (size_t i = 0; i < n; i++)
            codes[i] = (uint16_t)g->levels;
    }
}

void qn_dequantise(const struct qn_grid *g, float scale, const uint16_t *restrict codes, size_t n,
                   float *restrict x)
{
    /* Times 1 changes nothing. The sign is already there: rounding is symmetric. */
    const float factor = g->kind == QN_GRID_SEED ? 1.0f : scale;
    for (size_t i = 0; i < n; i++)
        x[i] = factor * g->value[codes[i]];
}

unsigned qn_code_bits(unsigned levels)
{
    unsigned bits = 1;
    while (2 * levels >> bits)
        bits++;
    return bits;
}
