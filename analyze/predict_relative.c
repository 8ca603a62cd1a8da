#include "analyze/predict.h"

#include "formats/codec/level_error.h"

#include <math.h>
#include <string.h>

/* The distribution of the relative error r as a sum of ramps: between two bounds of u on one side
 * of a level's value, u and so nearly r is evenly spread. A ramp is two kinks; kinks are gathered
 * in bins of r, evenly many in each octave, and the distribution is walked bin by bin. */
enum {
    OCTAVE_SHIFT = 46, /* of a binary64 pattern: 64 bins in each octave */
    OCTAVE_BINS = 1 << (52 - OCTAVE_SHIFT),
    OCTAVES = 40, /* from 2^-24 to 2^16: as much as few levels of a large kappa can be off */
    BINS = OCTAVES * OCTAVE_BINS,
};
static const double least_error = 0x1p-24;

struct kinks {
    double slope[BINS + 1], offset[BINS + 1]; /* sums of m / (b - a), of that times r */
    double whole;                             /* elements whose error is 1: those that become 0 */
    double all;
};

static size_t bin_of(double r)
{
    uint64_t bits, first;
    if (!(r > least_error))
        return 0;
    memcpy(&bits, &r, sizeof bits);
    memcpy(&first, &least_error, sizeof first);
    size_t bin = (size_t)((bits >> OCTAVE_SHIFT) - (first >> OCTAVE_SHIFT));
    return bin < BINS ? bin : BINS;
}

static double bin_begin(size_t bin)
{
    uint64_t bits;
    double r;
    memcpy(&bits, &least_error, sizeof bits);
    bits += (uint64_t)bin << OCTAVE_SHIFT;
    memcpy(&r, &bits, sizeof r);
    return r;
}

/* COUNT elements between bounds A and B of u, on one side of the value D. */
static void add_ramp(struct kinks *k, double count, double a, double b, double d)
{
    if (!(count > 0.0))
        return;
    double at_a = fabs(1.0 - d / a), at_b = fabs(1.0 - d / b);
    double low = fmax(fmin(at_a, at_b), 0.0), high = fmax(fmax(at_a, at_b), low + least_error);
    double slope = count / (high - low);
    size_t begin = bin_of(low), end = bin_of(high);
    k->slope[begin] += slope;
    k->offset[begin] += slope * low;
    k->slope[end] -= slope;
    k->offset[end] -= slope * high;
}

static double counted(const struct qn_density *d, double u)
{
    struct qn_cumulative at;
    qn_density_at(d, u, &at);
    return at.count[0] + at.count[1];
}

/* Where one level is followed by so many, elements are evenly spread over it. */
enum { EVEN_FROM = 64, CLIPPED_PIECES = 24 };

/* Pieces of each half of level L: the first ones are wide for where they lie. */
static unsigned pieces_of(unsigned l)
{
    return l < 4 ? 8 : l < 16 ? 2 : 1;
}

/* The elements between A and B, in PIECES; *BELOW is how many lie below A, then BELOW_B. */
static void add_range(struct kinks *k, const struct qn_density *density, double a, double b,
                      double d, unsigned pieces, double *below, double below_b)
{
    double from = a;
    for (unsigned i = 1; i <= pieces; i++) {
        double to = i < pieces ? a + (b - a) * (double)i / (double)pieces : b;
        double below_to = i < pieces ? counted(density, to) : below_b;
        double count = below_to - *below, largest = 0.0;
        if (to >= 1.0) {
            /* The largest value of each group lies at 1 itself. */
            largest = fmin(count, below_to - counted(density, QN_BELOW_ONE));
            add_ramp(k, largest, 1.0, 1.0, d);
        }
        add_ramp(k, count - largest, from, to, d);
        from = to;
        *below = below_to;
    }
}

static double all_below(const struct qn_prediction *p, unsigned l)
{
    return p->below[l].sign[0] + p->below[l].sign[1];
}

static void gather(struct kinks *k, const struct qn_prediction *p)
{
    const double n = (double)p->levels;
    memset(k, 0, sizeof *k);
    double from = qn_level_bound(0, n, p->kappa, p->clip), below = all_below(p, 0);
    k->whole = below;
    k->all = all_below(p, p->levels);
    for (unsigned l = 1; l <= p->levels; l++) {
        double d = qn_level_value(l, n, p->kappa, p->clip);
        double to = l < p->levels ? qn_level_bound(l, n, p->kappa, p->clip) : 1.0;
        if (l >= EVEN_FROM && l < p->levels) {
            double count = all_below(p, l) - below, share = (d - from) / (to - from);
            add_ramp(k, count * share, from, d, d);
            add_ramp(k, count * (1.0 - share), d, to, d);
            below += count;
        } else {
            double half = counted(p->density, d), all = all_below(p, l);
            add_range(k, p->density, from, d, d, pieces_of(l), &below, half);
            /* What a clip cuts off is a long way wide. */
            if (d < to)
                add_range(k, p->density, d, to, d, l < p->levels ? pieces_of(l) : CLIPPED_PIECES,
                          &below, all);
        }
        from = to;
    }
}

void qn_predict_relative(const struct qn_prediction *p, struct qn_candidate *c)
{
    static const double shares[3] = {0.5, 0.9, 0.99};
    double *const out[3] = {&c->p50_rel_error, &c->p90_rel_error, &c->p99_rel_error};
    struct kinks k;
    gather(&k, p);
    double slope = 0.0, offset = 0.0, before = 0.0, begin = 0.0;
    size_t next = 0;
    for (size_t bin = 0; bin <= BINS && next < 3; bin++) {
        /* Up to the end of the bin, the kinks within it taken as gone by. */
        slope += k.slope[bin];
        offset += k.offset[bin];
        double end = bin_begin(bin + 1), share = slope * end - offset;
        share += end > 1.0 ? k.whole : 0.0;
        while (next < 3 && k.all > 0.0 && share >= shares[next] * k.all) {
            double part = share > before ? (shares[next] * k.all - before) / (share - before) : 1.0;
            *out[next++] = end > 1.0 && k.whole > 0.0 && begin <= 1.0
                               ? 1.0
                               : begin + (end - begin) * fmin(fmax(part, 0.0), 1.0);
        }
        before = share;
        begin = end;
    }
    for (; next < 3; next++)
        *out[next] = k.all > 0.0 ? 1.0 : 0.0;
}
