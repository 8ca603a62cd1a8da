/* What the codes of V pages are worth to coders, layer by layer. */
#ifndef QINS_ANALYZE_KV_STUDY_H
#define QINS_ANALYZE_KV_STUDY_H

#include "analyze/code_counts.h"
#include "formats/codec/codec.h"
#include "formats/kv_file.h"

/* Of the pages of a layer; bytes of pages include headers and scales. */
struct qn_kv_figures {
    struct qn_code_figures across; /* of codes; the one before is of the same token */
    double order1_time_bits; /* of a code, given its channel's of the token before, within a page;
                                NaN where pages have one token */
    uint64_t values, pages, old_pages; /* old: that the file has recoded */
    uint64_t header_bytes, scale_bytes;
    uint64_t coded[QN_CODEC_COUNT]; /* bytes of pages, every one with this coder */
    uint64_t recoded;               /* the same as qn_kv_recode() makes them */
    uint64_t held;                  /* as they are in the file */
    double zeros, sum, magnitudes, squares, min, max; /* of decoded values */
};

/* FIGURES[f->n_layers]. They do not depend on THREADS. */
enum qins_status qn_kv_study(const struct qn_kv_file *f, unsigned threads,
                             const struct qn_monitor *monitor, struct qn_kv_figures *figures,
                             struct qins_error *err);
/* All N layers as one; figures of codes are means, by values. */
void qn_kv_figures_sum_up(const struct qn_kv_figures *layers, size_t n, struct qn_kv_figures *out);

/* N of the grid. */
unsigned qn_kv_levels(const struct qn_kv_layout *l);

#endif
