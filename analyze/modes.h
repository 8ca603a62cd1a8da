/* What ways to store a weight make of it, measured: for "which mode meets the bars". */
#ifndef QINS_ANALYZE_MODES_H
#define QINS_ANALYZE_MODES_H

#include "analyze/weight_list.h"
#include "core/thread.h"

enum {
    QN_MODE_LEAST_BITS = 4,
    QN_MODE_MOST_BITS = 12,
    QN_MODE_BITS = QN_MODE_MOST_BITS - QN_MODE_LEAST_BITS + 1,
    QN_MODE_ELEMENTS = 1 << 18, /* of a weight, at most */
};

/* What kappa is best for. */
enum qn_mode_kappa { QN_MODE_SQUARED_ERROR, QN_MODE_RELATIVE_ERROR, QN_MODE_KAPPAS };

/* As analyze/quality.h; NaN where the weight has values that are not finite. */
struct qn_mode_figures {
    double cosine, p99_rel_error, kappa;
};

/* Plain data, for a journal. */
struct qn_modes {
    struct qn_mode_figures lossless; /* coded and decoded; kappa 0 */
    /* By the quantiser, to nearest, one scale a stored row, that of its largest magnitude; by bits
     * from QN_MODE_LEAST_BITS on. */
    struct qn_mode_figures quantised[QN_MODE_KAPPAS][QN_MODE_BITS];
};

/* Of W, or where it is larger of QN_MODE_ELEMENTS of it, in whole rows that are spread evenly (one
 * of them, or its beginning, where they are longer). Kappa is one for the weight: for the squared
 * error formats/codec/search.h's, for the 99th percentile of the relative error the best of
 * search.h's first shapes on a sixteenth of that. Does not depend on THREADS. */
enum qins_status qn_modes_measure(const struct qn_weight *w, unsigned threads,
                                  const struct qn_monitor *monitor, struct qn_modes *out,
                                  struct qins_error *err);

#endif
