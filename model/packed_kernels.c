#include "model/packed_tables.h"

#include <math.h>

/* So near to 0 that levels are equidistant in float32. */
static const float least_kappa = 0x1p-25f;

/* The nearest number whose low digit has an opposite. */
static int nearest(double value)
{
    int v = (int)floor(value * QN_PACKED_UNIT + 0.5);
    return ((v + 128) & 255) == 0 ? v + 1 : v;
}

static int8_t high_digit(int v)
{
    return (int8_t)((v + 128) >> 8);
}

static int8_t low_digit(int v)
{
    return (int8_t)(((v + 128) & 255) - 128);
}

static void set_level(struct qn_packed_table *t, unsigned level, int v)
{
    const int8_t digit[2] = {high_digit(v), low_digit(v)};
    const unsigned above = t->levels + level, below = t->levels - level;
    t->high[above] = digit[0];
    t->low[above] = digit[1];
    t->high[below] = (int8_t)-digit[0];
    t->low[below] = (int8_t)-digit[1];
    for (unsigned k = 0; k < 2; k++)
        t->level_bytes[k][level] = (uint8_t)(digit[k] + 128);
}

bool qn_packed_table_init(struct qn_packed_table *t, const struct qn_grid *g)
{
    *t = (struct qn_packed_table){0};
    if (g->kind != QN_GRID_QINS || qn_code_bits(g->levels) > 8 || g->kappa > QN_PACKED_MAX_KAPPA)
        return false;
    t->levels = g->levels;
    t->bits = qn_code_bits(g->levels);
    const float levels = (float)g->levels;
    t->even = g->kappa < least_kappa;
    t->unit = 1.0f / (t->even ? levels : g->kappa);
    t->pole = t->even ? 0.0f : levels * ((1.0f + g->kappa) / g->kappa);
    memset(t->level_bytes, 128, sizeof t->level_bytes);
    for (unsigned l = 0; l <= g->levels; l++)
        set_level(t, l, nearest((double)g->value[g->levels + l]));
    for (unsigned c = 0; c < 128; c++) {
        t->code_bytes[0][c] = (uint8_t)(t->high[c] + 128);
        t->code_bytes[1][c] = (uint8_t)(t->low[c] + 128);
    }
    return true;
}

double qn_packed_noise(const struct qn_packed_table *t, const struct qn_grid *g,
                       const uint32_t *counts)
{
    double noise = 0, power = 0;
    for (unsigned c = 0; c <= 2 * g->levels; c++) {
        const double value = (double)g->value[c];
        const double fixed = (256.0 * t->high[c] + t->low[c]) / QN_PACKED_UNIT;
        noise += counts[c] * (fixed - value) * (fixed - value);
        power += counts[c] * value * value;
    }
    return power > 0 ? noise / power : 0;
}

size_t qn_packed_block(size_t in, size_t group)
{
    if (group >= in)
        return QN_PACKED_MAX_BLOCK;
    for (size_t block = QN_PACKED_MAX_BLOCK; block >= QN_PACKED_STEP; block /= 2)
        if (group % block == 0)
            return block;
    return group == 16 || group == 32 ? QN_PACKED_STEP : 0;
}

static size_t blocks_of(size_t in, size_t block)
{
    return (in + block - 1) / block;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t qn_packed_input_size(size_t in, size_t block)
{
    return qn_packed_steps(in) * QN_PACKED_PLANES +
           blocks_of(in, block) * 2 * QN_PACKED_LANES * sizeof(int32_t) +
           2 * aligned(blocks_of(in, block) * sizeof(float));
}

void qn_packed_input_place(struct qn_packed_input *p, size_t in, size_t block, void *memory)
{
    uint8_t *m = memory;
    p->in = in;
    p->block = block;
    p->planes = m;
    m += qn_packed_steps(in) * QN_PACKED_PLANES;
    p->offsets = (int32_t *)(void *)m;
    m += blocks_of(in, block) * 2 * QN_PACKED_LANES * sizeof(int32_t);
    p->exact = (int32_t *)(void *)m;
    m += aligned(blocks_of(in, block) * sizeof(int32_t));
    p->scales = (float *)(void *)m;
}

const struct qn_packed_kernels *qn_packed_kernels_of(enum qn_cpu_level level)
{
    if (level > qn_cpu_level())
        return NULL;
    switch (level) {
#if defined(__x86_64__)
    case QN_CPU_AVX512:
        return qn_cpu_has_vbmi() && qn_cpu_has_vnni() ? &qn_packed_kernels_avx512 : NULL;
    case QN_CPU_AVX2:
        return &qn_packed_kernels_avx2;
#endif
    default:
        return &qn_packed_kernels_c;
    }
}

const struct qn_packed_kernels *qn_packed_kernels(void)
{
    const struct qn_packed_kernels *k = qn_packed_kernels_of(qn_cpu_level());
    return k ? k : qn_packed_kernels_of(QN_CPU_AVX2);
}
