/* What the tests of a validation share; each is a file of its own (analyze/test_*.c). */
#ifndef QINS_ANALYZE_VALIDATE_JOB_H
#define QINS_ANALYZE_VALIDATE_JOB_H

#include "analyze/journal.h"
#include "analyze/kv_dump.h"
#include "analyze/logits_file.h"
#include "analyze/position_report.h"
#include "analyze/prediction.h"
#include "analyze/validate.h"
#include "formats/transport.h"

/* What a pass over windows of the text took; windows that the journal had are not in it. */
struct qn_pass_cost {
    double seconds;                      /* from beginning to end */
    double model_seconds[QN_PREDICTORS]; /* each model's part */
    struct qn_compute_counts compute[QN_PREDICTORS];
    uint64_t run, resumed; /* windows */
};

enum { QN_VALIDATE_TESTS = 5 };

struct qn_validation {
    const struct qn_validate_options *options;
    const struct qn_monitor *monitor;
    /* The candidate may be NULL: the model's own figures. Both may be the same object, where a V
     * cache is all that differs. */
    struct qn_model *models[QN_PREDICTORS];
    bool compares; /* there is a candidate */
    bool merged;   /* there are no models: everything is in the journal */
    bool chosen[QN_VALIDATE_TESTS];
    struct qn_transport transport;          /* of the candidate; no layers where there is none */
    struct qn_kv_options kv[QN_PREDICTORS]; /* the model's is off */
    struct qn_corpus corpus;
    struct qn_tokenizer *tokenizer; /* or NULL: ids were given */
    uint32_t context;               /* tokens of a window */
    struct qn_text_windows windows; /* of the text, in the style that was asked for */
    struct qn_journal *journal;
    struct qn_logits_file *logits; /* with options->save_logits */
    uint64_t resumed;              /* items that the journal had when the run began */
    struct qn_compute_counts compute[QN_PREDICTORS]; /* of all tests that ran */
    struct qn_kv_counts
        kv_counts; /* the candidate's: not in the journal, so of this run alone; see "partial" */
    char kv_note[160];          /* what the text's windows cannot show of the V cache, or "" */
    struct qn_kv_dumped dumped; /* with options->dump_kv */
    const void **positions;     /* [windows]: what qn_validation_positions() hands out */
    bool collected;             /* the part's positions are in the journal */
    struct qn_pass_cost positions_cost;
};

/* A test: skipped (with a reason in the report) where it cannot be done with these models. */
struct qn_validate_test {
    const char *name; /* as --tests takes it; its key in the report has '_' in place of '-' */
    bool compares;    /* skipped without a candidate, and not run */
    /* On success *result is the test's part of the report: "passed" (true, false or null),
     * "thresholds" (what it was judged by, with their source), its figures; or {"skipped": reason},
     * which gets a "passed" of null. */
    enum qins_status (*run)(struct qn_validation *v, json_t **result, struct qins_error *err);
    /* Of a test by windows of the text: fills the journal with those of the part. Else NULL, and
     * one part does it whole. */
    enum qins_status (*collect)(struct qn_validation *v, struct qins_error *err);
};
/* In the order in which they run and stand in the report. */
extern const struct qn_validate_test *const qn_validate_tests[QN_VALIDATE_TESTS];
extern const struct qn_validate_test qn_test_consistency, qn_test_autoregressive, qn_test_sampling,
    qn_test_perplexity, qn_test_long_context;

/* Item ITEM of a test, which the journal has, where it lies there; QINS_ERR_FORMAT where it has not
 * SIZE bytes. */
enum qins_status qn_validation_item(const struct qn_validation *v, const char *test, uint64_t item,
                                    size_t size, const void **out, struct qins_error *err);
/* The same of the first N: (*OUT)[n] is the caller's to free, what it points to the journal's. */
enum qins_status qn_validation_items(const struct qn_validation *v, const char *test, uint64_t n,
                                     size_t size, const void ***out, struct qins_error *err);
/* QINS_ERR_FORMAT for an item that holds something else than it should. */
enum qins_status qn_validation_bad_item(const struct qn_validation *v, const char *test,
                                        uint64_t item, struct qins_error *err);

/* Scored positions of all windows of the text, from the journal's "windows" or by running both
 * models; tests sampling and perplexity share them. They live as long as V. There must be a
 * candidate. */
enum qins_status qn_validation_positions(struct qn_validation *v, struct qn_positions *out,
                                         struct qins_error *err);

/* Fills the journal's "windows" with those of the part, as qn_validation_positions() reads them. */
enum qins_status qn_validation_collect(struct qn_validation *v, struct qins_error *err);

/* NLL of a scored position, in float64; the second one is 0 without a candidate. */
struct qn_nll {
    double of[QN_PREDICTORS];
};

/* The same for NLL alone, of WINDOWS from the one numbered FIRST on, as the journal's TEST:
 * (*NLL)[w - FIRST] is the struct qn_nll of window w's scored positions. *NLL is the caller's to
 * free, what it points to the journal's. */
enum qins_status qn_validation_nll(struct qn_validation *v, const char *test,
                                   const struct qn_text_windows *windows, uint64_t first,
                                   const void ***nll, struct qn_pass_cost *cost,
                                   struct qins_error *err);
/* Fills the journal's TEST with those of the part. */
enum qins_status qn_validation_collect_nll(struct qn_validation *v, const char *test,
                                           const struct qn_text_windows *windows, uint64_t first,
                                           struct qn_pass_cost *cost, struct qins_error *err);
/* Whether RECORDS, a window's in the journal's track TEST, are SIZE bytes that such a pass makes of
 * windows like WINDOWS; false for tests that are not by windows. */
bool qn_validation_window_sound(const char *test, const struct qn_text_windows *windows,
                                const void *records, size_t size);
/* How many of W, llama-perplexity's windows, are among TEXT's, which test perplexity runs anyway.
 */
uint64_t qn_perplexity_shared(const struct qn_text_windows *text, const struct qn_text_windows *w);
/* Puts a test's part under its name in snake_case. */
void qn_validation_put_result(json_t **results, const char *name, json_t *result);
/* What a test that compares comes to without a candidate. */
json_t *qn_validation_skipped(void);

/* {"value": …, "bar": BAR, "comparison": "<=" …, "passed": …, "source": SOURCE} under NAME of
 * *THRESHOLDS; a value that is not finite does not pass. Returns whether it passed. */
bool qn_validation_bar(json_t **thresholds, const char *name, double value, const char *comparison,
                       double bar, const char *source);
/* How a test ends: *RESULT is J, or NULL where ST is a failure or J is NULL for want of memory. */
enum qins_status qn_validation_end(enum qins_status st, json_t *j, json_t **result,
                                   struct qins_error *err);

#endif
