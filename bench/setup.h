/* What benchmarks of a model share: the model, token ids, and the report. */
#ifndef QINS_BENCH_SETUP_H
#define QINS_BENCH_SETUP_H

#include "bench/bench.h"
#include "bench/machine.h"
#include "bench/measure.h"
#include "formats/archive/reader.h"
#include "model/ids.h"
#include "model/weights.h"

struct qn_bench_setup {
    struct qn_harness harness;
    struct qn_model *model;
    struct qn_ids ids; /* of qn_bench_draw_ids() */
    unsigned threads;
    uint32_t tokens, context; /* what the options leave open is filled in */
    double min_seconds;       /* for qn_measure() */
    double begun;
    const struct qn_bench_options *options;
};

/* Holds the processors and opens or makes the model. Finish it whatever the result. */
enum qins_status qn_bench_setup_init(struct qn_bench_setup *s,
                                     const struct qn_bench_options *options,
                                     struct qins_error *err);
/* Appends N random ids of the model's vocabulary, the same every time. */
enum qins_status qn_bench_draw_ids(struct qn_bench_setup *s, size_t n, struct qins_error *err);
void qn_bench_setup_finish(struct qn_bench_setup *s);

/* OF against TO. */
struct qn_comparison {
    const struct qn_bench_candidate *of, *to;
    double goal;   /* at most, for an overhead; else at least. 0: none */
    bool overhead; /* percent more time than TO for a token; else the ratio of the speeds */
    bool unjudged; /* the goal is not for what was measured, such as weights that fit in a cache */
};

/* As the report has it. */
struct qn_spread qn_comparison_value(const struct qn_comparison *c);
/* The comparison with both sides as DESCRIBE has them; NULL without memory. */
json_t *qn_bench_comparison(const struct qn_comparison *c,
                            json_t *(*describe)(const struct qn_bench_candidate *c));
json_t *qn_bench_spread(struct qn_spread s); /* {"value", "low", "high"}; NULL without memory */
/* Of an archive: path and hash. */
json_t *qn_bench_archive(const struct qn_archive *a);

/* The report of benchmark NAME; NULL when out of memory. */
json_t *qn_bench_report(const char *name, const struct qn_bench_setup *s,
                        const struct qn_bench_candidate *candidates, size_t n_candidates,
                        const struct qn_comparison *comparisons, size_t n_comparisons);

#endif
