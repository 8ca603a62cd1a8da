#include "formats/codec/quant.h"

#include "core/bytes.h"
#include "formats/codec/kernels.h"

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
    const uint32_t most = qn_codec_kernels()->abs_max(x, n);
    if (most >= 0x7f800000u)
        *finite = false;
    return qn_float_from_bits(most);
}

void qn_quantise(const struct qn_grid *g, float scale, const float *x, size_t n, uint16_t *codes)
{
    if (g->kind == QN_GRID_SEED) {
        qn_codec_kernels()->quantise_seed(g, x, n, codes);
    } else if (scale > 0.0f) {
        qn_codec_kernels()->quantise_qins(g, scale, x, n, codes);
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
