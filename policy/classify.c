#include "policy/classify.h"

#include "analyze/logarithm.h"

#include <math.h>
#include <stdlib.h>

enum {
    MAX_UNITS = 1024, /* runs of rows between which cuts are tried: time is quadratic in them */
};

/* Bits a weight that packed codes take more than coded ones at an equal error, of a Gaussian:
 * Q5_K's 5.5 for 5.05 [DESIGN 2.3]. */
#define PACKED_EXCESS 0.45

enum qn_class qn_classify(const struct qn_policy *p, enum qn_treatment treatment, double touches)
{
    if (treatment == QN_TREAT_HOT)
        return QN_CLASS_HOT;
    if (treatment == QN_TREAT_COLD)
        return QN_CLASS_COLD;
    if (touches < 0.0)
        return QN_CLASS_UNKNOWN;
    return p->nothing_hot || touches <= p->cold_touches ? QN_CLASS_COLD : QN_CLASS_HOT;
}

/* Of the rows before unit i: all, their counts. */
struct split {
    const struct qn_policy *p;
    const struct qn_split_options *o;
    const struct qn_tensor_access *a;
    uint64_t unit; /* rows */
    size_t n_units;
    uint64_t sum[MAX_UNITS + 1];   /* counts */
    double weight[MAX_UNITS + 1];  /* importance */
    double best[MAX_UNITS + 1];    /* bytes, up to unit i */
    uint32_t from[MAX_UNITS + 1];  /* where its last block begins */
    uint32_t count[MAX_UNITS + 1]; /* blocks */
};

static uint64_t row_of(const struct split *s, size_t unit)
{
    uint64_t row = unit * s->unit;
    return row < s->o->n_rows ? row : s->o->n_rows;
}

static double touches_of(const struct split *s, size_t begin, size_t end)
{
    return (double)(s->sum[end] - s->sum[begin]) / (double)s->a->tokens;
}

/* Touches a token of as many of the rows as make the policy's least block. */
static double density_of(const struct split *s, size_t begin, size_t end)
{
    double rows = (double)(row_of(s, end) - row_of(s, begin));
    return touches_of(s, begin, end) * fmin(1.0, s->p->block_rows / rows);
}

static double importance_of(const struct split *s, size_t begin, size_t end)
{
    double rows = (double)(row_of(s, end) - row_of(s, begin)), all = (double)s->o->n_rows;
    double total = s->weight[s->n_units], part = s->weight[end] - s->weight[begin];
    return s->a->importance && total > 0.0 && part > 0.0 ? part / rows * all / total : 1.0;
}

/* Bytes that a block of these units takes, but for what does not depend on how rows are cut. */
static double block_price(const struct split *s, size_t begin, size_t end)
{
    double rows = (double)(row_of(s, end) - row_of(s, begin));
    double weights = rows * (double)s->o->row_length, price = s->o->block_bytes;
    /* At the one multiplier, weights whose error matters m times as much get log4(m) bits more. */
    price += weights / 8.0 * qn_log2(importance_of(s, begin, end)) / 2.0;
    /* The policy's exchange rate: at cold_touches, decoding is worth what coding saves. */
    if (s->a->looked_up && !s->a->head && !s->p->nothing_hot) {
        double density = density_of(s, begin, end), rate = s->p->cold_touches;
        double share = density > rate ? 1.0 : rate > 0.0 ? density / rate : 0.0;
        price += weights / 8.0 * PACKED_EXCESS * share;
    }
    return price;
}

static void solve(struct split *s)
{
    s->best[0] = 0.0;
    s->count[0] = 0;
    for (size_t end = 1; end <= s->n_units; end++) {
        s->best[end] = INFINITY;
        for (size_t begin = 0; begin < end; begin++) {
            double total = s->best[begin] + block_price(s, begin, end);
            if (s->count[begin] < s->o->most && total < s->best[end]) {
                s->best[end] = total;
                s->from[end] = (uint32_t)begin;
                s->count[end] = s->count[begin] + 1;
            }
        }
    }
}

static void init(struct split *s)
{
    uint64_t least = (s->o->n_rows + MAX_UNITS - 1) / MAX_UNITS;
    s->unit = s->p->block_rows > least ? s->p->block_rows : least;
    s->n_units = (size_t)((s->o->n_rows + s->unit - 1) / s->unit);
    for (size_t i = 0; i < s->n_units; i++) {
        s->sum[i + 1] = s->sum[i];
        s->weight[i + 1] = s->weight[i];
        for (uint64_t r = row_of(s, i); r < row_of(s, i + 1) && r < s->a->n_counts; r++) {
            s->sum[i + 1] += s->a->counts[r];
            s->weight[i + 1] += s->a->importance ? s->a->importance[r] : 1.0;
        }
    }
}

/* *UNDECIDED: its touches lie between the thresholds. */
static struct qn_access_block make_block(const struct split *s, size_t begin, size_t end,
                                         bool *undecided)
{
    struct qn_access_block b = {row_of(s, begin), row_of(s, end), QN_CLASS_UNKNOWN, s->a->touches,
                                importance_of(s, begin, end)};
    double deciding = s->a->touches;
    if (s->a->looked_up && !s->a->head) {
        b.touches = touches_of(s, begin, end);
        deciding = density_of(s, begin, end);
    }
    b.access_class = qn_classify(s->p, s->o->treatment, deciding);
    *undecided = deciding > s->p->cold_touches && deciding < s->p->hot_touches;
    return b;
}

/* Between the thresholds a block is what the one before it is, so that classes do not change back
 * and forth; the first ones are what the first decided one is; none decided: hot. */
static void follow_neighbours(struct qn_access_block *blocks, const bool *undecided, size_t n)
{
    size_t first = 0;
    while (first < n && undecided[first])
        first++;
    for (size_t i = 0; first < n && i < n; i++)
        if (undecided[i])
            blocks[i].access_class = blocks[i > 0 ? i - 1 : first].access_class;
}

/* As many blocks as the solution has. */
static enum qins_status take_blocks(const struct split *s, struct qn_access_block **blocks,
                                    size_t *n_blocks, struct qins_error *err)
{
    size_t end = s->n_units, n = s->count[end];
    *blocks = calloc(n ? n : 1, sizeof **blocks);
    if (!*blocks)
        return qn_fail_memory(err);
    *n_blocks = n;
    bool *undecided = calloc(n ? n : 1, sizeof *undecided);
    if (!undecided)
        return qn_fail_memory(err);
    for (size_t i = n; i-- > 0; end = s->from[end])
        (*blocks)[i] = make_block(s, s->from[end], end, &undecided[i]);
    follow_neighbours(*blocks, undecided, n);
    free(undecided);
    return QINS_OK;
}

static enum qins_status one_block(const struct qn_policy *p, const struct qn_split_options *o,
                                  double touches, struct qn_access_block **blocks, size_t *n_blocks,
                                  struct qins_error *err)
{
    *blocks = calloc(1, sizeof **blocks);
    if (!*blocks)
        return qn_fail_memory(err);
    **blocks =
        (struct qn_access_block){0, o->n_rows, qn_classify(p, o->treatment, touches), touches, 1.0};
    *n_blocks = 1;
    return QINS_OK;
}

enum qins_status qn_split_rows(const struct qn_policy *p, const struct qn_split_options *o,
                               const struct qn_tensor_access *a, struct qn_access_block **blocks,
                               size_t *n_blocks, struct qins_error *err)
{
    *blocks = NULL;
    *n_blocks = 0;
    if (o->treatment != QN_TREAT_BY_ROW || !a->counts || a->tokens == 0 || o->n_rows == 0)
        return one_block(p, o, a->touches, blocks, n_blocks, err);
    struct split *s = calloc(1, sizeof *s);
    if (!s)
        return qn_fail_memory(err);
    s->p = p;
    s->o = o;
    s->a = a;
    init(s);
    solve(s);
    enum qins_status st = take_blocks(s, blocks, n_blocks, err);
    free(s);
    return st;
}
