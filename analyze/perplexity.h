/* How well a model predicts a text. */
#ifndef QINS_ANALYZE_PERPLEXITY_H
#define QINS_ANALYZE_PERPLEXITY_H

#include "analyze/scoring.h"

struct qn_perplexity {
    double mean_nll;   /* natural logarithm */
    double perplexity; /* exp(mean_nll) */
    uint64_t tokens;   /* predicted */
};

/* Of all windows of a text, by the kernels' own logarithms: good to 1e-6. Figures do not depend on
 * the number of threads. */
enum qins_status qn_perplexity(const struct qn_model *m, const struct qn_text_windows *windows,
                               unsigned threads, const struct qn_monitor *monitor,
                               struct qn_perplexity *out, struct qins_error *err);

#endif
