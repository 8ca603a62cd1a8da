#include "formats/codec/search.h"

#include "formats/codec/kernels.h"
#include "formats/codec/level_error.h"

#include <math.h>

static const double cell_width = 1.0 / QN_HIST_CELLS;

enum {
    TILE = 1024,      /* values whose cells are computed at once, by a loop that vectorises */
    SMALL = 2048,     /* values from which a group is worth counts of its own */
    PIECE = 1 << 20,  /* values counted in 32 bits */
    CLIP_STEPS = 20,  /* clip candidates: multiples of 1/20 */
    SHAPE_STEPS = 26, /* kappa candidates besides 0: powers of sqrt(2) from 1/8 to 724 */
    FINE_STEPS = 8,   /* kappa steps between two neighbours in the second round */
};

/* Up to PIECE values by way of integer counts of their own. */
static void add_piece(struct qn_hist *h, float scale, const float *x, size_t n)
{
    const double square = (double)scale * (double)scale;
    uint32_t counts[QN_HIST_CELLS] = {0};
    uint16_t cells[TILE];
    uint64_t zeros = 0;
    for (size_t begin = 0; begin < n; begin += TILE) {
        size_t size = n - begin < TILE ? n - begin : TILE;
        zeros += qn_codec_kernels()->cells(scale, x + begin, size, cells);
        for (size_t i = 0; i < size; i++)
            counts[cells[i]]++;
    }
    counts[0] -= (uint32_t)zeros;
    h->zeros += zeros;
    qn_codec_kernels()->merge_cells(counts, square, h);
}

/* A group too small for that. */
static void add_small(struct qn_hist *h, float scale, const float *x, size_t n)
{
    const double square = (double)scale * (double)scale;
    uint16_t cells[SMALL];
    qn_codec_kernels()->cells(scale, x, n, cells);
    for (size_t i = 0; i < n; i++) {
        uint64_t used = x[i] != 0.0f;
        h->zeros += 1 - used;
        h->count[cells[i]] += used;
        h->weight[cells[i]] += used ? square : 0.0;
    }
}

void qn_hist_add(struct qn_hist *h, float scale, const float *x, size_t n)
{
    if (!(scale > 0.0f)) {
        h->zeros += n;
    } else if (n <= SMALL) {
        add_small(h, scale, x, n);
    } else {
        for (size_t begin = 0; begin < n; begin += PIECE)
            add_piece(h, scale, x + begin, n - begin < PIECE ? n - begin : PIECE);
    }
}

void qn_hist_merge(struct qn_hist *h, const struct qn_hist *other)
{
    h->zeros += other->zeros;
    for (size_t i = 0; i < QN_HIST_CELLS; i++) {
        h->count[i] += other->count[i];
        h->weight[i] += other->weight[i];
    }
}

/* Integrals from 0 to a bound, the weight of each cell spread evenly over it. */
struct integral {
    const struct qn_hist *hist;
    struct qn_level_moments at_cell[QN_HIST_CELLS + 1];
};

/* What a cell of WEIGHT from BEGIN on contributes up to UNTIL. */
static struct qn_level_moments cell_part(double weight, double begin, double until)
{
    double share = weight * ((until - begin) / cell_width), middle = 0.5 * (begin + until);
    double length = until - begin;
    struct qn_level_moments m = {share, share * middle,
                                 share * (middle * middle + length * length * (1.0 / 12.0))};
    return m;
}

static void integrate(struct integral *in, const struct qn_hist *h)
{
    struct qn_level_moments sum = {0};
    in->hist = h;
    for (size_t i = 0; i < QN_HIST_CELLS; i++) {
        double begin = (double)i * cell_width, end = (double)(i + 1) * cell_width;
        struct qn_level_moments part = cell_part(h->weight[i], begin, end);
        in->at_cell[i] = sum;
        sum.m0 += part.m0;
        sum.m1 += part.m1;
        sum.m2 += part.m2;
    }
    in->at_cell[QN_HIST_CELLS] = sum;
}

static struct qn_level_moments integral_until(const struct integral *in, double u)
{
    size_t cell = (size_t)(u * QN_HIST_CELLS);
    if (cell >= QN_HIST_CELLS)
        return in->at_cell[QN_HIST_CELLS];
    struct qn_level_moments whole = in->at_cell[cell];
    struct qn_level_moments part = cell_part(in->hist->weight[cell], (double)cell * cell_width, u);
    whole.m0 += part.m0;
    whole.m1 += part.m1;
    whole.m2 += part.m2;
    return whole;
}

/* What the header's formula makes of whole and cut cells, at a cost that does not depend on their
 * number. Above LIMIT it may stop: the result is then above LIMIT, too. */
static double candidate_error(const struct integral *in, unsigned levels, double kappa, double clip,
                              double limit)
{
    const struct qn_level_moments *whole = &in->at_cell[QN_HIST_CELLS];
    struct qn_level_moments from = {0};
    double error = 0.0, n = (double)levels;
    /* A clip that is too small shows in the last level alone. */
    struct qn_level_moments last = integral_until(in, qn_level_bound(levels - 1, n, kappa, clip));
    const double clipped = qn_level_error(&last, whole, qn_level_value(levels, n, kappa, clip));
    if (clipped > limit)
        return clipped;
    for (unsigned l = 0; l < levels && error <= limit; l++) {
        struct qn_level_moments to = integral_until(in, qn_level_bound(l, n, kappa, clip));
        error += qn_level_error(&from, &to, qn_level_value(l, n, kappa, clip));
        from = to;
    }
    return error > limit ? error : error + clipped;
}

static bool levels_valid(unsigned levels)
{
    return levels >= QN_MIN_LEVELS && levels <= QN_MAX_LEVELS;
}

double qn_predict_error(const struct qn_hist *h, unsigned levels, float kappa, float clip)
{
    struct integral in;
    if (!levels_valid(levels))
        return 0.0;
    integrate(&in, h);
    return candidate_error(&in, levels, (double)kappa, (double)clip, INFINITY);
}

struct search {
    struct integral in;
    unsigned levels;
    struct qn_shape_choice best;
    bool found;
};

static void try_candidate(struct search *s, double kappa, double clip)
{
    /* Rounded first: what is judged is what will be stored. */
    float k = (float)kappa, c = (float)clip;
    /* Sums over levels do not shrink but by rounding, which the second term outweighs by far. */
    const double limit =
        s->found ? 2.0 * s->best.squared_error + 1e-9 * s->in.at_cell[QN_HIST_CELLS].m2 : INFINITY;
    double error = candidate_error(&s->in, s->levels, (double)k, (double)c, limit);
    if (!s->found || error < s->best.squared_error)
        s->best = (struct qn_shape_choice){k, c, error};
    s->found = true;
}

double qn_search_kappa(unsigned i)
{
    static const double root_two = 0x1.6a09e667f3bcdp+0; /* sqrt(2) */
    double kappa = i == 0 ? 0.0 : 0.125;
    for (unsigned k = 1; k < i; k++)
        kappa *= root_two;
    return kappa;
}

static void search_coarse(struct search *s, float kappa, float clip)
{
    unsigned shapes = kappa < 0.0f ? SHAPE_STEPS + 1 : 1, clips = clip < 0.0f ? CLIP_STEPS : 1;
    for (unsigned c = 0; c < clips; c++) {
        double this_clip = clip < 0.0f ? (double)(CLIP_STEPS - c) / CLIP_STEPS : (double)clip;
        for (unsigned i = 0; i < shapes; i++)
            try_candidate(s, kappa < 0.0f ? qn_search_kappa(i) : (double)kappa, this_clip);
    }
}

/* Between the neighbours of the best candidate of the first round. */
static void search_fine(struct search *s, float kappa, float clip)
{
    const double middle = (double)s->best.clip, step = 0.25 / CLIP_STEPS;
    unsigned i = 0;
    while (kappa < 0.0f && i < SHAPE_STEPS && (float)qn_search_kappa(i) < s->best.kappa)
        i++;
    double low = qn_search_kappa(i > 0 ? i - 1 : 0);
    double high = qn_search_kappa(i < SHAPE_STEPS ? i + 1 : SHAPE_STEPS);

    for (int c = clip < 0.0f ? -3 : 0; c <= (clip < 0.0f ? 3 : 0); c++) {
        double this_clip = middle + c * step;
        if (clip < 0.0f && this_clip > 1.0)
            continue;
        for (unsigned k = 0; k <= 2 * FINE_STEPS; k++) {
            double share = (double)k / (2 * FINE_STEPS);
            try_candidate(s, kappa < 0.0f ? low + (high - low) * share : (double)kappa, this_clip);
            if (kappa >= 0.0f)
                break;
        }
    }
}

struct qn_shape_choice qn_search_shape(const struct qn_hist *h, unsigned levels, float kappa,
                                       float clip)
{
    struct search s = {.levels = levels};
    if (!levels_valid(levels))
        return (struct qn_shape_choice){kappa < 0.0f ? 0.0f : kappa, clip < 0.0f ? 1.0f : clip, 0};
    integrate(&s.in, h);
    search_coarse(&s, kappa, clip);
    if (kappa < 0.0f || clip < 0.0f)
        search_fine(&s, kappa, clip);
    return s.best;
}
