/* What a model, or an archive of it, is worth on a text: a report of tests. */
#ifndef QINS_ANALYZE_VALIDATE_H
#define QINS_ANALYZE_VALIDATE_H

#include "analyze/perplexity.h"
#include "core/json.h"
#include "core/shard.h"
#include "model/corpus.h"
#include "model/kv.h"

struct qn_validate_options {
    const char *model;
    const char *candidate; /* to be measured beside it, or NULL */
    const char *transport; /* path, or NULL: layers of the candidate that run natively; of the model
                              beside itself where there is no candidate */
    const char *text;      /* path, or NULL where ids are given */
    const char *ids;       /* path, or NULL */
    const char *tokenizer; /* path, or NULL: the model's */
    const char *tests;     /* names with commas between, or NULL: all there are */
    uint32_t context;      /* tokens of a window, as qn_window_size() takes it */
    enum qn_ppl_style style;
    unsigned kv_bits; /* of the candidate's V cache: 8, 6, or 0: plain; of the model beside itself
                         where there is neither candidate nor transport */
    size_t kv_page_bytes;    /* 0: the default */
    bool fused;              /* the candidate, an archive, as qn_model_open_fused() opens it */
    const char *dump_kv;     /* path of pages to write, or NULL */
    const char *save_logits; /* folder for model.npy, candidate.npy [positions][vocab] float32 and
                                next.npy, or NULL */
    const char *prompts;     /* path, or NULL: the shipped ones (examples/prompts.json, embedded) */
    uint32_t tokens;     /* generated from each prompt at most; 0: 1000. Of long-context, too, whose
                            continuations are of 256 and half the length at most */
    const char *journal; /* path of the file that makes the run resumable, or NULL. It stays
                            until whoever has saved the report removes it */
    bool resume;         /* goes on behind what the journal has */
    struct qn_shard shard; /* which windows, with PART and JOURNAL; a part goes on in any case */
    const char *part;      /* path of the finished part, which the journal becomes */
    unsigned threads;      /* >= 1 */
};

/* *report is docs/schemas/validation.schema.json, of a part validation-part.schema.json, owned by
 * the caller; NULL after a failure. A part of the same job that is there already is left as it is,
 * with a notice; one of another job is QINS_ERR_USAGE. QINS_ERR_USAGE for a test that there is not,
 * for saved logits without test perplexity or beside a journal, for prompts of text beside ids, for
 * pages to dump without a coded cache, for fused weights without a candidate or beside a transport;
 * QINS_ERR_FORMAT for a text shorter than a window, a candidate with another vocabulary, a model
 * whose logits are not finite, a journal's item of another size or with values that sums and sorted
 * figures cannot take; QINS_ERR_IO before the tests for
 * files that cannot be made; QINS_ERR_INTERRUPTED when the monitor says so. A candidate made from
 * another model is noted.
 *
 * Figures do not depend on the number of threads; it starts them itself, and the monitor is called
 * from the calling thread. One call at a time in a process.
 *
 * Memory beside that of models and sessions: about 130 bytes for each scored position of the text
 * (a record of 88, kept to the end, 40 while figures are made of it, pointers), about 35 without a
 * candidate; 35 for each token of long-context's windows (65 536 of a length, or one window), 12
 * for each token that is generated. */
enum qins_status qn_validate(const struct qn_validate_options *options,
                             const struct qn_monitor *monitor, json_t **report,
                             struct qins_error *err);

/* Joins all N parts of one job, in any order, to the report of a run that was not cut: figures are
 * the same to the last bit. QINS_ERR_USAGE where a part is missing, there twice, of another
 * job or not finished, QINS_ERR_UNSUPPORTED for parts of another version of qins, QINS_ERR_FORMAT
 * for what is no part or damaged. */
enum qins_status qn_validate_merge(const char *const *parts, size_t n,
                                   const struct qn_monitor *monitor, json_t **report,
                                   struct qins_error *err);

/* QINS_ERR_FORMAT unless the part PATH was finished and ends where it should; changed bytes, which
 * qn_validate_merge() finds, do not show. */
enum qins_status qn_validate_look_at_part(const char *path, struct qins_error *err);

/* QINS_ERR_USAGE for a LIST, as in the options or NULL, with a test that there is not; for who has
 * other work to do before qn_validate(). */
enum qins_status qn_validate_check_tests(const char *list, struct qins_error *err);

#endif
