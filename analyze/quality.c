#include "analyze/quality.h"

#include "core/bytes.h"

#include <math.h>
#include <stdbool.h>

enum { BLOCK = 256, LANES = 8, CELL_SHIFT = 16 };

static const float relative_floor = 1e-8F;

static bool bits_finite(float x)
{
    return (qn_float_bits(x) & 0x7f800000u) != 0x7f800000u;
}

static bool block_finite(const float *x, const float *y, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= (qn_float_bits(x[i]) & 0x7f800000u) == 0x7f800000u;
        bad |= (qn_float_bits(y[i]) & 0x7f800000u) == 0x7f800000u;
    }
    return bad == 0;
}

/* The bits of |error| / (|x| + 1e-8), which are ordered as the values are; binary32 division is
 * exact far below a cell's width. */
static uint32_t relative_bits(double error, float x)
{
    return qn_float_bits((float)error / (fabsf(x) + relative_floor));
}

/* Sum of a product, in lanes that are independent of each other and in an order that no
 * compiler may change. */
static double dot(const double *restrict a, const double *restrict b)
{
    double lane[LANES] = {0};
    for (size_t i = 0; i < BLOCK; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lane[k] += a[i + k] * b[i + k];
    double sum = 0.0;
    for (size_t k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

static double largest(const double *a)
{
    double lane[LANES] = {0}, most = 0.0;
    for (size_t i = 0; i < BLOCK; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lane[k] = a[i + k] > lane[k] ? a[i + k] : lane[k];
    for (size_t k = 0; k < LANES; k++)
        most = lane[k] > most ? lane[k] : most;
    return most;
}

static void add_block(struct qn_quality *q, const float *restrict x, const float *restrict y)
{
    double a[BLOCK], b[BLOCK], error[BLOCK];
    uint32_t relative[BLOCK], most_relative = q->max_rel_bits, changed = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        a[i] = (double)x[i];
        b[i] = (double)y[i];
        error[i] = fabs(a[i] - b[i]);
    }
    for (size_t i = 0; i < BLOCK; i++) {
        relative[i] = relative_bits(error[i], x[i]);
        most_relative = relative[i] > most_relative ? relative[i] : most_relative;
        changed += qn_float_bits(x[i]) != qn_float_bits(y[i]);
    }
    q->max_rel_bits = most_relative;
    q->changed += changed;
    double most = largest(error);
    q->max_abs_error = most > q->max_abs_error ? most : q->max_abs_error;
    q->sum_error2 += dot(error, error);
    q->sum_source2 += dot(a, a);
    q->sum_decoded2 += dot(b, b);
    q->sum_product += dot(a, b);
    for (size_t i = 0; i < BLOCK; i++)
        q->relative[relative[i] >> CELL_SHIFT]++;
}

static void add_one(struct qn_quality *q, float x, float y)
{
    q->changed += qn_float_bits(x) != qn_float_bits(y);
    if (!bits_finite(x) || !bits_finite(y)) {
        if (qn_float_bits(x) == qn_float_bits(y))
            q->relative[0]++;
        else
            q->undefined++;
        return;
    }
    double a = (double)x, b = (double)y, e = fabs(a - b);
    q->sum_error2 += e * e;
    q->sum_source2 += a * a;
    q->sum_decoded2 += b * b;
    q->sum_product += a * b;
    q->max_abs_error = e > q->max_abs_error ? e : q->max_abs_error;
    uint32_t relative = relative_bits(e, x);
    q->max_rel_bits = relative > q->max_rel_bits ? relative : q->max_rel_bits;
    q->relative[relative >> CELL_SHIFT]++;
}

void qn_quality_add(struct qn_quality *q, const float *source, const float *decoded, size_t n)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        if (block_finite(source + i, decoded + i, BLOCK))
            add_block(q, source + i, decoded + i);
        else
            for (size_t k = 0; k < BLOCK; k++)
                add_one(q, source[i + k], decoded[i + k]);
    }
    for (; i < n; i++)
        add_one(q, source[i], decoded[i]);
    q->n += n;
}

void qn_quality_add_exact(struct qn_quality *q, uint64_t n)
{
    q->n += n;
    q->relative[0] += n;
}

void qn_quality_merge(struct qn_quality *q, const struct qn_quality *other)
{
    q->n += other->n;
    q->undefined += other->undefined;
    q->changed += other->changed;
    if (other->max_rel_bits > q->max_rel_bits)
        q->max_rel_bits = other->max_rel_bits;
    q->sum_error2 += other->sum_error2;
    q->sum_source2 += other->sum_source2;
    q->sum_decoded2 += other->sum_decoded2;
    q->sum_product += other->sum_product;
    if (other->max_abs_error > q->max_abs_error)
        q->max_abs_error = other->max_abs_error;
    for (size_t i = 0; i < QN_QUALITY_CELLS; i++)
        q->relative[i] += other->relative[i];
}

static double cell_begin(size_t cell)
{
    return (double)qn_float_from_bits((uint32_t)cell << CELL_SHIFT);
}

/* The value that PERMILLE of all elements do not exceed, nearest rank, linear in its cell but never
 * above the largest of all. */
static double quantile(const struct qn_quality *q, uint64_t permille)
{
    uint64_t rank = q->n / 1000 * permille + (q->n % 1000 * permille + 999) / 1000, seen = 0;
    if (rank == 0)
        rank = 1;
    for (size_t i = 0; i < QN_QUALITY_CELLS; i++) {
        uint64_t count = q->relative[i];
        if (seen + count < rank) {
            seen += count;
            continue;
        }
        if (i == 0) /* zero, and errors below 2^-133 */
            return 0.0;
        double share = ((double)(rank - seen) - 0.5) / (double)count;
        return fmin(cell_begin(i) + share * (cell_begin(i + 1) - cell_begin(i)),
                    (double)qn_float_from_bits(q->max_rel_bits));
    }
    return NAN;
}

void qn_quality_figures(const struct qn_quality *q, struct qn_quality_figures *out)
{
    *out = (struct qn_quality_figures){
        .n = q->n, .changed = q->changed, .cosine = 1.0, .sqnr_db = INFINITY};
    if (q->n == 0)
        return;
    if (q->undefined > 0) {
        *out = (struct qn_quality_figures){q->n, q->changed, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
        return;
    }
    out->max_abs_error = q->max_abs_error;
    out->mse = q->sum_error2 / (double)q->n;
    out->p50_rel_error = quantile(q, 500);
    out->p99_rel_error = quantile(q, 990);
    out->max_rel_error = (double)qn_float_from_bits(q->max_rel_bits);
    if (q->sum_error2 <= 0.0)
        return;
    double norms = sqrt(q->sum_source2) * sqrt(q->sum_decoded2);
    out->cosine = norms > 0.0 ? q->sum_product / norms : NAN;
    out->sqnr_db = q->sum_source2 > 0.0 ? 10.0 * log10(q->sum_source2 / q->sum_error2) : NAN;
}
