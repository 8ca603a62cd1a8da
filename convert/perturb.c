#include "convert/perturb.h"

#include "core/bytes.h"
#include "formats/codec/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CELLS = 1 << 14, /* of |x| / scale: eight or more to a step of the finest grid */
    ALIGNMENT = 64,
};

/* Counts of |x| / scale by sign, as running sums: below[s][i] lie below cell i. */
struct shares {
    float scale;
    double below[2][CELLS + 1];
    double n;
};

static size_t stored_rows(const struct qn_matrix *x)
{
    return x->transposed ? x->in : x->out;
}

static size_t row_length(const struct qn_matrix *x)
{
    return x->transposed ? x->out : x->in;
}

static void read_row(const struct qn_matrix *x, size_t row, float *out)
{
    const uint8_t *data = x->data;
    qn_to_f32(x->dtype, data + row * x->stride * qins_dtype_size(x->dtype), out, row_length(x));
}

static void count_row(struct shares *s, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float u = s->scale > 0.0F ? fabsf(x[i]) / s->scale : 0.0F;
        const size_t cell = (size_t)(u * (float)CELLS);
        s->below[signbit(x[i]) ? 1 : 0][(cell < CELLS ? cell : CELLS - 1) + 1] += 1.0;
    }
    s->n += (double)n;
}

/* Values below U scales, a cut cell taken as evenly filled. */
static double below(const struct shares *s, int sign, double u)
{
    const double at = u * CELLS;
    const size_t cell = (size_t)at;
    if (cell >= CELLS)
        return s->below[sign][CELLS];
    return s->below[sign][cell] +
           (at - (double)cell) * (s->below[sign][cell + 1] - s->below[sign][cell]);
}

static double plogp(double count, double n)
{
    return count > 0.0 ? -count / n * log2(count / n) : 0.0;
}

static double entropy(const struct shares *s, unsigned levels)
{
    double bits = 0.0, last[2] = {0.0, 0.0}, zero = 0.0;
    for (unsigned l = 0; l <= levels; l++)
        for (int sign = 0; sign < 2; sign++) {
            const double end = below(s, sign, ((double)l + 0.5) / levels);
            if (l == 0)
                zero += end;
            else
                bits += plogp(end - last[sign], s->n);
            last[sign] = end;
        }
    return bits + plogp(zero, s->n);
}

static unsigned choose_levels(const struct shares *s, double bits)
{
    double best = INFINITY;
    unsigned chosen = QN_MIN_LEVELS;
    for (unsigned levels = QN_MIN_LEVELS; levels <= QN_MAX_LEVELS; levels++) {
        const double off = entropy(s, levels) - bits;
        if (fabs(off) < best) {
            best = fabs(off);
            chosen = levels;
        }
        if (off > 1.0) /* finer grids have more yet */
            break;
    }
    return chosen;
}

static enum qins_status round_all(const struct qn_matrix *x, float *row, float scale,
                                  struct qn_perturbed *out, struct qins_error *err)
{
    const size_t rows = stored_rows(x), n = row_length(x);
    struct qn_grid *g = malloc(sizeof *g);
    uint16_t *codes = calloc(n, sizeof *codes);
    const bool good = g && codes && qn_grid_init(g, QN_GRID_QINS, out->levels, 0.0F);
    for (size_t i = 0; i < rows && good; i++) {
        float *to = out->data + i * x->stride;
        double sum = 0.0;
        read_row(x, i, row);
        if (scale > 0.0F) {
            qn_quantise(g, scale, row, n, codes);
            qn_dequantise(g, scale, codes, n, to);
        } else {
            memset(to, 0, n * sizeof *to);
        }
        for (size_t k = 0; k < n; k++)
            sum += ((double)to[k] - (double)row[k]) * ((double)to[k] - (double)row[k]);
        out->error += sum;
    }
    free(g);
    free(codes);
    return good ? QINS_OK : qn_fail_memory(err);
}

/* The largest magnitude, and where the values lie below it. */
static bool look(const struct qn_matrix *x, float *row, struct shares *s)
{
    bool finite = true;
    for (size_t i = 0; i < stored_rows(x) && finite; i++) {
        read_row(x, i, row);
        s->scale = fmaxf(s->scale, qn_abs_max(row, row_length(x), &finite));
    }
    for (size_t i = 0; i < stored_rows(x) && finite; i++) {
        read_row(x, i, row);
        count_row(s, row, row_length(x));
    }
    for (int sign = 0; sign < 2; sign++)
        for (size_t i = 0; i < CELLS; i++)
            s->below[sign][i + 1] += s->below[sign][i];
    return finite;
}

enum qins_status qn_perturb(const struct qn_matrix *x, double bits, struct qn_perturbed *out,
                            struct qins_error *err)
{
    uint64_t size = 0;
    enum qins_status st = QINS_OK;
    *out = (struct qn_perturbed){0};
    if (!qn_mul_u64(stored_rows(x), x->stride, &size) ||
        !qn_mul_u64(size, sizeof *out->data, &size) || size > SIZE_MAX - ALIGNMENT)
        return qn_fail_memory(err);
    struct shares *s = calloc(1, sizeof *s);
    float *row = malloc(row_length(x) * sizeof *row);
    out->data = aligned_alloc(ALIGNMENT, (size_t)(size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    const bool good = s && row && out->data;
    if (good && look(x, row, s)) {
        out->levels = choose_levels(s, bits);
        st = round_all(x, row, s->scale, out, err);
    } else {
        st = good ? qn_fail_at(err, QINS_ERR_FORMAT, NULL, x->name, QN_NO_OFFSET,
                               "it has a weight that is not finite")
                  : qn_fail_memory(err);
    }
    free(s);
    free(row);
    if (st != QINS_OK)
        qn_perturbed_finish(out);
    return st;
}

void qn_perturbed_finish(struct qn_perturbed *p)
{
    free(p->data);
    *p = (struct qn_perturbed){0};
}
