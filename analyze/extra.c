#include "analyze/extra.h"

#include "analyze/logarithm.h"
#include "analyze/predict.h"
#include "formats/codec/level_error.h"

#include <math.h>
#include <stdio.h>

enum {
    BASE_BITS = 8,
    MAX_CLUSTERS = 256,
    FLOAT_BITS = 32,
};

/* Magnitudes that stand for others: those up to bound[l] become value[l]. */
struct codebook {
    unsigned levels;
    double value[QN_MAX_LEVELS + 1], bound[QN_MAX_LEVELS + 1];
};

struct table {
    const struct qn_tensor_study *study;
    enum qn_granularity granularity; /* of scales; a dictionary's values are the tensor's */
    double signal, elements;
    struct codebook book;
    struct qn_prediction prediction;
    struct qn_extra_table *out;
};

/* What the current codebook makes of the tensor: error, SQNR, entropy, Huffman size. */
static struct qn_candidate measure(struct table *t, enum qn_granularity g)
{
    struct qn_prediction *p = &t->prediction;
    struct qn_candidate c = {.granularity = g, .levels = t->book.levels};
    struct qn_level_moments from = {0};
    double error = 0.0;
    p->density = t->study->density[g];
    p->levels = t->book.levels;
    p->unevenness = 0.0;
    for (unsigned l = 0; l <= p->levels; l++) {
        struct qn_cumulative at;
        qn_density_at(p->density, l < p->levels ? t->book.bound[l] : 1.0, &at);
        struct qn_level_moments to = {at.error[0], at.error[1], at.error[2]};
        error += qn_level_error(&from, &to, t->book.value[l]);
        p->below[l] = (struct qn_signed_counts){{at.count[0], at.count[1]}};
        from = to;
    }
    c.error = error > 0.0 ? error : 0.0;
    c.sqnr_db = qn_sqnr_db(t->signal, c.error);
    qn_predict_rate(t->study, p, &c);
    return c;
}

/* The grid with the best shape and clip, or KAPPA as it is; what lies below DROP becomes 0. */
static struct qn_candidate use_grid(struct table *t, unsigned levels, float kappa, double drop)
{
    struct qn_candidate c = {
        .granularity = t->granularity, .levels = levels, .kappa = kappa, .clip = -1.0f};
    if (kappa == 0.0f)
        c.clip = 1.0f;
    qn_candidate_search(t->study, &c, false);
    t->book.levels = levels;
    for (unsigned l = 0; l <= levels; l++) {
        double n = (double)levels, k = (double)c.kappa, clip = (double)c.clip;
        double bound = l < levels ? qn_level_bound(l, n, k, clip) : 1.0;
        t->book.value[l] = qn_level_value(l, n, k, clip);
        t->book.bound[l] = bound < drop ? drop : bound;
    }
    return measure(t, t->granularity);
}

/* K clustered values; what lies below DROP becomes 0. */
static struct qn_candidate use_clusters(struct table *t, unsigned k, double drop)
{
    double values[MAX_CLUSTERS];
    unsigned n = 0;
    qn_cluster_values(t->study->density[QN_PER_TENSOR], k, values);
    bool zero = false;
    t->book.value[0] = 0.0;
    for (unsigned i = 0; i < k; i++) {
        zero = zero || values[i] == 0.0;
        if (values[i] > 0.0 && n < k / 2)
            t->book.value[++n] = values[i];
    }
    t->book.levels = n;
    for (unsigned l = 0; l < n; l++) {
        double bound = l == 0 && !zero ? 0.0 : 0.5 * (t->book.value[l] + t->book.value[l + 1]);
        t->book.bound[l] = bound < drop ? drop : bound;
    }
    return measure(t, QN_PER_TENSOR);
}

/* The magnitude below which SHARE of the elements lie. */
static double magnitude_at(const struct table *t, enum qn_granularity g, double share)
{
    double low = 0.0, high = 1.0;
    const double target = share * t->elements;
    const double zeros = (double)qn_density_zeros(t->study->density[g]);
    for (int i = 0; i < 40; i++) {
        struct qn_cumulative at;
        double middle = 0.5 * (low + high);
        qn_density_at(t->study->density[g], middle, &at);
        if (at.count[0] + at.count[1] + zeros < target)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct claim {
    double low, high;
};
static const struct claim no_claim = {0.0, 0.0}, sparsity_claim = {2.0, 3.0},
                          huffman_claim = {1.5, 2.0}, dictionary_claim = {2.0, 4.0},
                          bits_claim = {1.5, 1.5}, combined_claim = {8.0, 12.0};

static struct qn_extra_row *add_row(struct table *t, const char *family, double bits,
                                    double sqnr_db, struct claim claim)
{
    struct qn_extra_row *row = &t->out->rows[t->out->count++];
    double base = t->out->count > 1 ? t->out->rows[0].bits : bits;
    *row = (struct qn_extra_row){.family = family,
                                 .bits = bits,
                                 .ratio = FLOAT_BITS / bits,
                                 .extra = base / bits,
                                 .sqnr_db = sqnr_db,
                                 .claimed_low = claim.low,
                                 .claimed_high = claim.high};
    return row;
}

static double per_weight(const struct table *t, double bytes)
{
    return 8.0 * bytes / t->elements;
}

/* Headers and scales of a candidate: what it is packed, less its codes. */
static double overhead(const struct table *t, const struct qn_candidate *c)
{
    return per_weight(t, (double)c->packed_bytes) - (double)qn_code_bits(c->levels);
}

static unsigned grid_levels(unsigned bits)
{
    return (1u << (bits - 1)) - 1;
}

static void add_grids(struct table *t)
{
    static const unsigned widths[] = {6, 4};
    struct qn_candidate c = use_grid(t, grid_levels(BASE_BITS), -1.0f, 0.0);
    struct qn_extra_row *row =
        add_row(t, "baseline", per_weight(t, (double)c.packed_bytes), c.sqnr_db, no_claim);
    snprintf(row->method, sizeof row->method, "8 bits, packed");
    row = add_row(t, "huffman", per_weight(t, (double)c.huffman_bytes), c.sqnr_db, huffman_claim);
    snprintf(row->method, sizeof row->method, "8 bits, Huffman");
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        c = use_grid(t, grid_levels(widths[i]), -1.0f, 0.0);
        row = add_row(t, "bits", per_weight(t, (double)c.packed_bytes), c.sqnr_db, bits_claim);
        snprintf(row->method, sizeof row->method, "%u bits, packed", widths[i]);
    }
}

/* Zeros by a bit map, the others in 8 bits. */
static void add_sparse(struct table *t)
{
    static const double shares[] = {0.0, 0.25, 0.5, 0.75};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double drop = shares[i] > 0.0 ? magnitude_at(t, t->granularity, shares[i]) : 0.0;
        struct qn_candidate c = use_grid(t, grid_levels(BASE_BITS), -1.0f, drop);
        double zeros = (double)qn_density_zeros(t->study->density[t->granularity]) / t->elements;
        double kept = 1.0 - (shares[i] > zeros ? shares[i] : zeros);
        double bits = 1.0 + BASE_BITS * kept + overhead(t, &c);
        struct qn_extra_row *row = add_row(t, "sparsity", bits, c.sqnr_db, sparsity_claim);
        if (shares[i] > 0.0)
            snprintf(row->method, sizeof row->method, "smallest %.0f %% dropped, 8 bits, bit map",
                     100.0 * shares[i]);
        else
            snprintf(row->method, sizeof row->method, "exact zeros left out, 8 bits, bit map");
    }
}

static void add_dictionaries(struct table *t)
{
    static const unsigned sizes[] = {256, 64, 16, 4};
    static const double index_bits[] = {8.0, 6.0, 4.0, 2.0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct qn_candidate c = use_clusters(t, sizes[i], 0.0);
        double table_bits = per_weight(t, 4.0 * (double)sizes[i]);
        double bits = index_bits[i] + table_bits + overhead(t, &c);
        struct qn_extra_row *row = add_row(t, "dictionary", bits, c.sqnr_db, dictionary_claim);
        snprintf(row->method, sizeof row->method, "%u clustered values, packed", sizes[i]);
        if (i == 0 || i == 3)
            continue;
        row = add_row(t, "combined", per_weight(t, (double)c.huffman_bytes) + table_bits, c.sqnr_db,
                      combined_claim);
        snprintf(row->method, sizeof row->method, "%u clustered values, Huffman", sizes[i]);
    }
}

static void add_dropped(struct table *t)
{
    struct qn_candidate c =
        use_grid(t, grid_levels(4), -1.0f, magnitude_at(t, t->granularity, 0.5));
    struct qn_extra_row *row =
        add_row(t, "combined", per_weight(t, (double)c.huffman_bytes), c.sqnr_db, combined_claim);
    snprintf(row->method, sizeof row->method, "smallest 50 %% dropped, 4 bits, Huffman");
    c = use_clusters(t, 16, magnitude_at(t, QN_PER_TENSOR, 0.5));
    row = add_row(t, "combined", per_weight(t, (double)c.huffman_bytes + 4.0 * 16), c.sqnr_db,
                  combined_claim);
    snprintf(row->method, sizeof row->method, "smallest 50 %% dropped, 16 values, Huffman");
}

/* The coarsest uniform grid that loses at most QN_EXTRA_LOSS_DB to the baseline; the finest ones
 * that reach a ratio. */
static void add_uniform(struct table *t)
{
    static const double ratios[] = {8.0, 12.0};
    const double target = t->out->rows[0].sqnr_db - QN_EXTRA_LOSS_DB;
    for (int i = 0; i < 3; i++) {
        unsigned low = 1, high = QN_MAX_LEVELS; /* the last that is too coarse, or good enough */
        while (low + 1 < high) {
            unsigned middle = low + (high - low) / 2;
            struct qn_candidate c = use_grid(t, middle, 0.0f, 0.0);
            bool up = i == 0 ? c.sqnr_db < target
                             : per_weight(t, (double)c.huffman_bytes) <= FLOAT_BITS / ratios[i - 1];
            low = up ? middle : low;
            high = up ? high : middle;
        }
        struct qn_candidate c = use_grid(t, i == 0 ? high : low, 0.0f, 0.0);
        struct qn_extra_row *row = add_row(t, "combined", per_weight(t, (double)c.huffman_bytes),
                                           c.sqnr_db, combined_claim);
        if (i == 0)
            snprintf(row->method, sizeof row->method, "uniform, N %u, Huffman, %.0f dB less", high,
                     QN_EXTRA_LOSS_DB);
        else
            snprintf(row->method, sizeof row->method, "uniform, N %u, Huffman: %.0f times", low,
                     ratios[i - 1]);
    }
}

enum qins_status qn_extra_compression(const struct qn_tensor_study *s, struct qn_extra_table *out,
                                      struct qins_error *err)
{
    (void)err;
    struct table t = {.study = s, .granularity = QN_PER_TENSOR, .out = out};
    struct qn_cumulative all;
    *out = (struct qn_extra_table){0};
    if (!s->density[QN_PER_TENSOR])
        return QINS_OK;
    if (s->density[QN_PER_ROW])
        t.granularity = QN_PER_ROW;
    qn_density_at(s->density[QN_PER_TENSOR], 1.0, &all);
    t.signal = all.error[2];
    t.elements = (double)qn_density_count(s->density[QN_PER_TENSOR]);
    add_grids(&t);
    add_sparse(&t);
    add_dictionaries(&t);
    add_dropped(&t);
    add_uniform(&t);
    for (size_t i = 0; i < out->count; i++)
        if (out->rows[i].sqnr_db >= out->rows[0].sqnr_db - QN_EXTRA_LOSS_DB &&
            out->rows[i].bits < out->rows[out->honest].bits)
            out->honest = i;
    return QINS_OK;
}
