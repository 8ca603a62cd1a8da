#include "analyze/block_formats.h"

#include "analyze/logarithm.h"
#include "analyze/sample.h"

#include <math.h>
#include <string.h>

/* The layouts are those of llama.cpp's ggml-common.h. How scales are found follows what its
 * reference quantisers do, because a line in a plot should be where that program's files are. */
enum {
    SMALL = 32,  /* weights of a block of Q8_0 and Q4_0, and of a sub-block of Q5_K and Q4_K */
    SIX = 16,    /* of a sub-block of Q6_K */
    LARGE = 256, /* of a super-block */
};

static const struct qn_block_format_info formats[QN_BLOCK_FORMATS] = {
    [QN_Q8_0] = {"Q8_0", SMALL, 34},  [QN_Q6_K] = {"Q6_K", LARGE, 210},
    [QN_Q5_K] = {"Q5_K", LARGE, 176}, [QN_Q4_K] = {"Q4_K", LARGE, 144},
    [QN_Q4_0] = {"Q4_0", SMALL, 18},
};

const struct qn_block_format_info *qn_block_format(enum qn_block_format f)
{
    return &formats[f];
}

/* As it is stored. */
static float half(float x)
{
    uint16_t bits;
    float y;
    qn_from_f32(QINS_F16, &x, &bits, 1);
    qn_to_f32(QINS_F16, &bits, &y, 1);
    return y;
}

static float nearest(float x)
{
    return floorf(x + 0.5f);
}

static float clamped(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

/* The value of the largest magnitude, with its sign. */
static float peak(const float *x, size_t n)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    return most;
}

static void code_q8_0(const float *x, float *y)
{
    float scale = fabsf(peak(x, SMALL)) / 127.0f, stored = half(scale);
    for (size_t i = 0; i < SMALL; i++)
        y[i] = scale > 0.0f ? stored * roundf(x[i] / scale) : 0.0f;
}

static void code_q4_0(const float *x, float *y)
{
    float scale = peak(x, SMALL) / -8.0f, stored = half(scale);
    for (size_t i = 0; i < SMALL; i++)
        y[i] = scale != 0.0f ? stored * (clamped(floorf(x[i] / scale + 8.5f), 0.0f, 15.0f) - 8.0f)
                             : 0.0f;
}

/* x ~ scale * l, l = -32 ... 31: the least squares scale, squares weighted by x^2, among stretched
 * scales. */
static float signed_scale(const float *x)
{
    const float levels = 32.0f, most = peak(x, SIX);
    float best = 0.0f, scale = 0.0f;
    if (fabsf(most) < 1e-15f)
        return 0.0f;
    for (int step = -10; step <= 9; step++) {
        /* The unstretched one first. */
        float stretch = step == -10 ? 0.0f : 0.1f * (float)step, lx = 0.0f, ll = 0.0f;
        float inverse = -(levels + stretch) / most;
        for (size_t i = 0; i < SIX; i++) {
            float l = clamped(nearest(inverse * x[i]), -levels, levels - 1.0f), w = x[i] * x[i];
            lx += w * x[i] * l;
            ll += w * l * l;
        }
        if (ll > 0.0f && lx * lx > best * ll) {
            scale = lx / ll;
            best = scale * lx;
        }
    }
    return scale;
}

static void code_q6_k(const float *x, float *y)
{
    enum { PARTS = LARGE / SIX };
    float scales[PARTS];
    for (size_t p = 0; p < PARTS; p++)
        scales[p] = signed_scale(x + p * SIX);
    float most = peak(scales, PARTS), inverse = most != 0.0f ? -128.0f / most : 0.0f;
    float unit = most != 0.0f ? half(1.0f / inverse) : 0.0f;
    for (size_t p = 0; p < PARTS; p++) {
        float scale = unit * clamped(nearest(inverse * scales[p]), -128.0f, 127.0f);
        for (size_t i = p * SIX; i < (p + 1) * SIX; i++)
            y[i] = scale != 0.0f ? scale * clamped(nearest(x[i] / scale), -32.0f, 31.0f) : 0.0f;
    }
}

/* x ~ scale * l - offset, l = 0 ... levels, offset >= 0. */
struct affine {
    float scale, offset;
};

/* Stretched scales that are tried, as additions to the number of levels. */
struct stretches {
    float first;
    unsigned count;
};
static const float stretch_step = 0.1f;

/* The weighted least squares fit for the codes that INVERSE and LOW give; its error, or -1. */
static float affine_fit(const float *x, const float *weights, float levels, float inverse,
                        float low, struct affine *fit)
{
    float codes[SMALL], w0 = 0.0f, wx = 0.0f, wl = 0.0f, wll = 0.0f, wlx = 0.0f, error = 0.0f;
    for (size_t i = 0; i < SMALL; i++) {
        float l = codes[i] = clamped(nearest(inverse * (x[i] - low)), 0.0f, levels), w = weights[i];
        w0 += w;
        wx += w * x[i];
        wl += w * l;
        wll += w * l * l;
        wlx += w * l * x[i];
    }
    float determinant = w0 * wll - wl * wl;
    if (!(determinant > 0.0f))
        return -1.0f;
    float scale = (w0 * wlx - wx * wl) / determinant, least = (wll * wx - wl * wlx) / determinant;
    if (least > 0.0f) {
        least = 0.0f;
        scale = wlx / wll;
    }
    for (size_t i = 0; i < SMALL; i++) {
        float off = scale * codes[i] + least - x[i];
        error += weights[i] * off * off;
    }
    *fit = (struct affine){scale, -least};
    return error;
}

static struct affine affine_scale(const float *x, float levels, struct stretches stretches)
{
    float weights[SMALL], low = 0.0f, high = x[0], squares = 0.0f, best = 0.0f;
    for (size_t i = 0; i < SMALL; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        squares += x[i] * x[i];
    }
    struct affine found = {(high - low) / levels, -low};
    if (!(high > low))
        return (struct affine){0.0f, -low};
    for (size_t i = 0; i < SMALL; i++) {
        weights[i] = sqrtf(squares / (float)SMALL) + fabsf(x[i]);
        float l = clamped(nearest((x[i] - low) / found.scale), 0.0f, levels);
        float off = found.scale * l + low - x[i];
        best += weights[i] * off * off;
    }
    for (unsigned s = 0; s <= stretches.count; s++) {
        struct affine fit = {0};
        float stretch = stretches.first + stretch_step * (float)s;
        float inverse = (levels + stretch) / (high + found.offset);
        float error = affine_fit(x, weights, levels, inverse, -found.offset, &fit);
        if (error >= 0.0f && error < best) {
            best = error;
            found = fit;
        }
    }
    return found;
}

/* Q4_K and Q5_K: 8 sub-blocks with scales and offsets of 6 bits. */
static void code_affine(const float *x, float levels, struct stretches stretches, float *y)
{
    enum { PARTS = LARGE / SMALL };
    const float steps = 63.0f;
    struct affine parts[PARTS];
    float scale = 0.0f, offset = 0.0f;
    for (size_t p = 0; p < PARTS; p++) {
        parts[p] = affine_scale(x + p * SMALL, levels, stretches);
        scale = fmaxf(scale, parts[p].scale);
        offset = fmaxf(offset, parts[p].offset);
    }
    float unit = half(scale / steps), offset_unit = half(offset / steps);
    for (size_t p = 0; p < PARTS; p++) {
        float s = scale > 0.0f ? nearest(parts[p].scale * (steps / scale)) : 0.0f;
        float m = offset > 0.0f ? nearest(parts[p].offset * (steps / offset)) : 0.0f;
        float step = unit * clamped(s, 0.0f, steps), shift = offset_unit * clamped(m, 0.0f, steps);
        for (size_t i = p * SMALL; i < (p + 1) * SMALL; i++) {
            float l = step != 0.0f ? clamped(nearest((x[i] + shift) / step), 0.0f, levels) : 0.0f;
            y[i] = step * l - shift;
        }
    }
}

static void code_block(enum qn_block_format f, const float *x, float *y)
{
    static const struct stretches for_five = {-0.5f, 15}, for_four = {-1.0f, 20};
    switch (f) {
    case QN_Q8_0:
        code_q8_0(x, y);
        break;
    case QN_Q6_K:
        code_q6_k(x, y);
        break;
    case QN_Q5_K:
        code_affine(x, 31.0f, for_five, y);
        break;
    case QN_Q4_K:
        code_affine(x, 15.0f, for_four, y);
        break;
    default:
        code_q4_0(x, y);
        break;
    }
}

double qn_block_format_error(enum qn_block_format f, const float *x, size_t n, float *out)
{
    const size_t block = formats[f].block;
    double error = 0.0;
    for (size_t begin = 0; begin < n; begin += block) {
        float in[LARGE] = {0.0f}, y[LARGE];
        size_t size = n - begin < block ? n - begin : block;
        memcpy(in, x + begin, size * sizeof *in);
        code_block(f, in, y);
        for (size_t i = 0; i < size; i++) {
            double off = (double)y[i] - (double)in[i];
            error += off * off;
        }
        if (out)
            memcpy(out + begin, y, size * sizeof *y);
    }
    return error;
}

static double squares_of(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* Rows are cut into blocks one by one. */
static double rows_error(enum qn_block_format f, const float *x, size_t n, size_t row)
{
    double error = 0.0;
    for (size_t begin = 0; begin < n; begin += row)
        error += qn_block_format_error(f, x + begin, n - begin < row ? n - begin : row, NULL);
    return error;
}

enum qins_status qn_reference_lines(const struct qn_source *source, size_t index,
                                    const struct qn_tensor_study *study, uint64_t max_elements,
                                    struct qn_reference_line lines[QN_BLOCK_FORMATS],
                                    struct qins_error *err)
{
    const uint64_t row = study->layout.row_length;
    double errors[QN_BLOCK_FORMATS] = {0}, signal = 0.0, count = 0.0;
    struct qn_sample sample = {0};
    qn_sample_init(&sample, source, index, &study->layout, max_elements);
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && qn_sample_more(&sample)) {
        st = qn_sample_next(&sample, err);
        if (st != QINS_OK)
            break;
        for (int f = 0; f < QN_BLOCK_FORMATS; f++)
            errors[f] += rows_error((enum qn_block_format)f, sample.x, sample.n, (size_t)row);
        signal += squares_of(sample.x, sample.n);
        count += (double)sample.n;
    }
    for (int f = 0; f < QN_BLOCK_FORMATS; f++) {
        const struct qn_block_format_info *info = &formats[f];
        lines[f] = (struct qn_reference_line){
            .format = (enum qn_block_format)f,
            .bits = 8.0 * (double)info->bytes / (double)info->block,
            .rmse = count > 0.0 ? sqrt(errors[f] / count) : 0.0,
            .sqnr_db = errors[f] > 0.0 && signal > 0.0 ? qn_decibels(signal / errors[f])
                                                       : (double)INFINITY,
            .fits = row % info->block == 0};
    }
    qn_sample_finish(&sample);
    return st;
}
