/* Choice of kappa and clip for a tensor from a histogram of u = |x| / s, s the absolute maximum
 * of the group that x is in: no second look at the tensor. Deterministic: integer counts and
 * binary64 + - * / in a fixed order. */
#ifndef QINS_FORMATS_CODEC_SEARCH_H
#define QINS_FORMATS_CODEC_SEARCH_H

#include <stddef.h>
#include <stdint.h>

enum { QN_HIST_CELLS = 4096 };

/* Counts and sums of s^2 (the weight of a squared error in u units) for cells of equal width
 * on (0, 1]; exact zeros apart. Zero-initialised is empty. */
struct qn_hist {
    uint64_t zeros, count[QN_HIST_CELLS];
    double weight[QN_HIST_CELLS];
};

/* Adds one group: N values with absolute maximum SCALE > 0 (all-zero groups: only zeros). */
void qn_hist_add(struct qn_hist *h, float scale, const float *x, size_t n);
/* Adds other into h. Sums in floating point: always merge in a fixed order. */
void qn_hist_merge(struct qn_hist *h, const struct qn_hist *other);

struct qn_shape_choice {
    float kappa, clip;    /* clip: scale = clip * absolute maximum of the group */
    double squared_error; /* predicted, in the tensor's own units squared, summed */
};

/* Least squared error over the candidate grid. KAPPA or CLIP < 0 means free, else fixed. */
struct qn_shape_choice qn_search_shape(const struct qn_hist *h, unsigned levels, float kappa,
                                       float clip);

/* Shape I of those that a search tries first: 0, then a geometric series. */
double qn_search_kappa(unsigned i);

/* Predicted squared error of one candidate: a cell cut by a level boundary is split assuming
 * uniform density; error += weight * share * ((m - d)^2 + len^2 / 12). */
double qn_predict_error(const struct qn_hist *h, unsigned levels, float kappa, float clip);

#endif
