#include "bench/streams.h"

#include "core/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double qn_uniform(uint64_t *state)
{
    return ((double)(qn_random_u64(state) >> 11) + 0.5) * 0x1p-53;
}

void qn_gaussian_row(uint64_t *state, float row[QN_STREAM_ROW])
{
    for (size_t i = 0; i < QN_STREAM_ROW; i += 2) { /* Box and Muller */
        double r = sqrt(-2 * log(qn_uniform(state))), a = 6.283185307179586 * qn_uniform(state);
        row[i] = (float)(r * cos(a));
        row[i + 1] = (float)(r * sin(a));
    }
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float abs_max(const float *row)
{
    float m = 0;
    for (size_t i = 0; i < QN_STREAM_ROW; i++)
        m = fmaxf(m, fabsf(row[i]));
    return m;
}

static float abs_median(const float *row)
{
    float sorted[QN_STREAM_ROW];
    for (size_t i = 0; i < QN_STREAM_ROW; i++)
        sorted[i] = fabsf(row[i]);
    qsort(sorted, QN_STREAM_ROW, sizeof *sorted, compare_floats);
    return (sorted[QN_STREAM_ROW / 2 - 1] + sorted[QN_STREAM_ROW / 2]) / 2;
}

static void fill_int8(uint8_t *dst, size_t n, uint64_t seed)
{
    float row[QN_STREAM_ROW];
    for (size_t at = 0; at < n; at += QN_STREAM_ROW) {
        qn_gaussian_row(&seed, row);
        float scale = 127 / abs_max(row);
        for (size_t i = 0; i < QN_STREAM_ROW; i++)
            dst[at + i] = (uint8_t)lrintf(row[i] * scale);
    }
}

static void fill_hyperbolic(uint8_t *dst, size_t n, uint64_t seed, float levels)
{
    float row[QN_STREAM_ROW];
    for (size_t at = 0; at < n; at += QN_STREAM_ROW) {
        qn_gaussian_row(&seed, row);
        float alpha = 1 / abs_median(row);
        for (size_t i = 0; i < QN_STREAM_ROW; i++) {
            long q = lrintf(levels / (1 + alpha * fabsf(row[i])));
            dst[at + i] = (uint8_t)(row[i] < 0 ? -q : q);
        }
    }
}

static void fill_hyperbolic8(uint8_t *dst, size_t n, uint64_t seed)
{
    fill_hyperbolic(dst, n, seed, 127);
}

static void fill_hyperbolic6(uint8_t *dst, size_t n, uint64_t seed)
{
    fill_hyperbolic(dst, n, seed, 31);
}

static void fill_seed_grid(uint8_t *dst, size_t n, uint64_t seed)
{
    float row[QN_STREAM_ROW];
    for (size_t at = 0; at < n; at += QN_STREAM_ROW) {
        qn_gaussian_row(&seed, row);
        for (size_t i = 0; i < QN_STREAM_ROW; i++) {
            float z = 1 / (1 + fabsf(row[i]) * 0.02f);
            dst[at + i] = (uint8_t)lrintf(((row[i] < 0 ? -z : z) + 1) * 127.5f);
        }
    }
}

static size_t geometric(uint64_t *state, double mean) /* >= 1 */
{
    return 1 + (size_t)(log(qn_uniform(state)) / log(1 - 1 / mean));
}

static void fill_sparse(uint8_t *dst, size_t n, uint64_t seed)
{
    float row[QN_STREAM_ROW];
    size_t left = 0, used = QN_STREAM_ROW;
    int zeros = 0;
    for (size_t i = 0; i < n; i++) {
        if (left == 0) {
            zeros = !zeros;
            left = geometric(&seed, zeros ? 14 : 6);
        }
        left--;
        if (used == QN_STREAM_ROW) {
            qn_gaussian_row(&seed, row);
            used = 0;
        }
        dst[i] = zeros ? 0 : (uint8_t)lrintf(row[used++] * 20);
    }
}

static void fill_exponents(uint8_t *dst, size_t n, uint64_t seed)
{
    float row[QN_STREAM_ROW];
    for (size_t at = 0; at < n; at += QN_STREAM_ROW) {
        qn_gaussian_row(&seed, row);
        for (size_t i = 0; i < QN_STREAM_ROW; i++) {
            float w = row[i] * 0.02f;
            uint32_t bits;
            memcpy(&bits, &w, sizeof bits);
            dst[at + i] = (uint8_t)(bits >> 23);
        }
    }
}

static void fill_weights(enum qins_dtype dtype, uint8_t *dst, size_t n, uint64_t seed)
{
    const size_t width = qins_dtype_size(dtype);
    float row[QN_STREAM_ROW];
    for (size_t at = 0; at < n; at += QN_STREAM_ROW) {
        qn_gaussian_row(&seed, row);
        for (size_t i = 0; i < QN_STREAM_ROW; i++)
            row[i] *= 0.02f;
        qn_from_f32(dtype, row, dst + at * width, QN_STREAM_ROW);
    }
}

static void fill_bf16(uint8_t *dst, size_t n, uint64_t seed)
{
    fill_weights(QINS_BF16, dst, n, seed);
}

static void fill_f16(uint8_t *dst, size_t n, uint64_t seed)
{
    fill_weights(QINS_F16, dst, n, seed);
}

static void fill_f32(uint8_t *dst, size_t n, uint64_t seed)
{
    fill_weights(QINS_F32, dst, n, seed);
}

const struct qn_stream qn_streams[] = {
    {"a", "int8, absmax scale a row", 7.12, QINS_U8, fill_int8},
    {"b", "8-bit 1/(1+a|w|), a = 1/median of the row", 7.58, QINS_U8, fill_hyperbolic8},
    {"c", "the same with 31 levels", 5.55, QINS_U8, fill_hyperbolic6},
    {"d", "seed grid, sigma 0.02", 3.52, QINS_U8, fill_seed_grid},
    {"e", "70 % zeros in runs", 2.37, QINS_U8, fill_sparse},
    {"f", "exponents of BF16, sigma 0.02", 2.55, QINS_U8, fill_exponents},
    {"BF16", "weights, sigma 0.02", 10.46, QINS_BF16, fill_bf16},
    {"F16", "the same", 13.46, QINS_F16, fill_f16},
    {"F32", "the same", 26.46, QINS_F32, fill_f32},
};
const size_t qn_n_streams = sizeof qn_streams / sizeof *qn_streams;
